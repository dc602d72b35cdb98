//! Tests of the repository itself: its pages agree with the code, and the code with its pages.
//!
//! Every failure says how to fix it.

mod dependencies;
mod english;
mod layers;
mod licences;
mod limits;
mod links;
mod names;
mod packages;
mod settings;
mod sql;
mod surface;
mod text;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository with its text.
pub(crate) struct SourceFile {
    /// The path from the repository's root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All text files of the repository that are not generated.
fn files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    collect(root(), &mut files);
    assert!(files.iter().any(|file| file.path == "tests/tidy/mod.rs"), "the repository is not where the tests look");
    files
}

/// The files whose names end like this.
pub(crate) fn files_ending(suffix: &str) -> Vec<SourceFile> {
    let mut files = files();
    files.retain(|file| file.path.ends_with(suffix));
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

fn collect(folder: &Path, files: &mut Vec<SourceFile>) {
    const NOT_OURS: [&str; 6] = [".git", ".env", "Cargo.lock", "dist", "node_modules", "target"];
    let entries = fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = entries.collect();
    paths.sort();
    for path in paths {
        let is_ours = path.file_name().is_some_and(|name| NOT_OURS.iter().all(|other| name != *other));
        if is_ours && path.is_dir() {
            collect(&path, files);
        } else if is_ours && let Ok(text) = fs::read_to_string(&path) {
            let path =
                path.strip_prefix(root()).expect("it lies in the repository").to_string_lossy().replace('\\', "/");
            files.push(SourceFile { path, text });
        }
    }
}

/// The faults that were found, each with its place.
#[derive(Default)]
struct Findings(String);

impl Findings {
    fn add(&mut self, place: impl std::fmt::Display, problem: impl std::fmt::Display) {
        writeln!(self.0, "  {place}: {problem}").expect("a string takes everything");
    }

    /// Fails if there are any faults, and lists them with the remedy.
    #[track_caller]
    fn none_or(self, remedy: &str) {
        assert!(self.0.is_empty(), "\n{}{remedy}\n", self.0);
    }
}
