//! Dependencies point one way: entry points → api → service → port → core, and stores → port → core.

mod circles;

use super::{Findings, SourceFile, files_ending, names};

/// A part of the library, and what it may name.
struct Layer {
    /// The folder of its files. If two fit, the longer one is used.
    folder: &'static str,
    /// The library's modules that it may name, with their limits. `limits::x` stands for the limits of `x` alone.
    modules: &'static [&'static str],
    reach: Reach,
}

impl Layer {
    /// Whether its code may name a path of the library, which begins with `crate`.
    fn may_name(&self, path: &str) -> bool {
        let mut names = path.split("::").skip(1);
        let first = names.next().unwrap_or_default();
        if first != "limits" {
            return self.modules.contains(&first);
        }
        // Limits belong to the layer of the module's name; every layer may name those of the protocol.
        let owner = names.next().unwrap_or_default();
        let alone = format!("limits::{owner}");
        owner == "protocol" || self.modules.iter().any(|module| *module == owner || *module == alone)
    }
}

/// The rights of the code in a layer.
#[derive(PartialEq)]
enum Reach {
    /// It decides: no I/O, clock, randomness or waiting, and only crates that hold data.
    Core,
    /// It may wait for what it is given, but has no I/O, clock or threads of its own.
    Pure,
    /// It may use the machine.
    Machine,
}

const LAYERS: [Layer; 15] = [
    Layer { folder: "src/core/", modules: &["core"], reach: Reach::Core },
    Layer { folder: "src/store/", modules: &["core", "store"], reach: Reach::Pure },
    Layer { folder: "src/store/sqlite/", modules: &["core", "store"], reach: Reach::Machine },
    Layer { folder: "src/store/postgres/", modules: &["core", "store"], reach: Reach::Machine },
    Layer { folder: "src/store/mongodb/", modules: &["core", "store"], reach: Reach::Machine },
    Layer { folder: "src/service/", modules: &["core", "store", "service"], reach: Reach::Pure },
    Layer { folder: "src/conformance/", modules: &["core", "store", "service", "conformance"], reach: Reach::Pure },
    Layer { folder: "src/api/", modules: &["core", "store", "service", "api"], reach: Reach::Pure },
    Layer { folder: "src/auth/", modules: &["core", "api", "auth"], reach: Reach::Pure },
    Layer { folder: "src/config/", modules: CONFIG, reach: Reach::Machine },
    Layer { folder: "src/limits/", modules: &[], reach: Reach::Core },
    Layer { folder: "src/aws/", modules: &["core", "store", "config", "aws"], reach: Reach::Machine },
    Layer { folder: "src/tokio_host.rs", modules: &["core", "service", "limits::runtime"], reach: Reach::Machine },
    Layer { folder: "src/runtime/", modules: RUNTIME, reach: Reach::Machine },
    Layer { folder: "src/lambda/", modules: LAMBDA, reach: Reach::Machine },
];

/// The settings are checked against the limits of the layers that they are for.
const CONFIG: &[&str] = &["core", "config", "limits::api", "limits::auth", "limits::lambda", "limits::runtime"];
const RUNTIME: &[&str] = &["core", "store", "service", "api", "auth", "config", "aws", "tokio_host", "runtime"];
const LAMBDA: &[&str] = &["core", "store", "service", "api", "auth", "config", "runtime", "aws", "lambda"];

/// The crates that only hold data. The last one is for tests.
const CRATES_OF_THE_CORE: [&str; 8] =
    ["bytes", "bytestring", "serde", "serde_json", "sha2", "thiserror", "twox_hash", "proptest"];

/// Crates and modules that use the machine.
const MACHINE: [&str; 10] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];

/// Words that write to the terminal, or wait.
const WORDS_NOT_OF_THE_CORE: [&str; 7] = ["async", "await", "dbg", "eprint", "eprintln", "print", "println"];

fn layer_of(path: &str) -> Option<&'static Layer> {
    LAYERS.iter().filter(|layer| path.starts_with(layer.folder)).max_by_key(|layer| layer.folder.len())
}

/// The files of all layers, each with its layer and the paths that it names.
fn layered() -> Vec<(SourceFile, &'static Layer, Vec<String>)> {
    let layered = files_ending(".rs").into_iter().filter_map(|file| {
        let layer = layer_of(&file.path)?;
        let module = file.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
        let paths = names::paths(&file.text, &module.split('/').collect::<Vec<_>>());
        Some((file, layer, paths))
    });
    layered.collect()
}

/// Whether a path names a module or crate, something inside it, or something that contains it (which could be imported
/// and continued).
fn touches(path: &str, thing: &str) -> bool {
    let is_in = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}::"));
    is_in(path, thing) || is_in(thing, path)
}

#[test]
fn every_file_of_the_library_is_in_a_layer() {
    let mut findings = Findings::default();
    for file in files_ending(".rs").iter().filter(|file| file.path.starts_with("src/") && file.path != "src/lib.rs") {
        if layer_of(&file.path).is_none() {
            findings.add(&file.path, "it has no layer");
        }
    }
    findings.none_or("give its folder a layer in tests/tidy/layers.rs and a row in ARCHITECTURE.md");
}

#[test]
fn dependencies_point_one_way() {
    let mut findings = Findings::default();
    for (file, layer, paths) in layered() {
        for path in paths.iter().filter(|path| path.starts_with("crate")) {
            let first = path.split("::").nth(1).unwrap_or_default();
            let is_own_macro = file.text.contains(&format!("macro_rules! {first} {{"));
            if !is_own_macro && !layer.may_name(path) {
                findings.add(&file.path, format_args!("{path}, but this may name only {:?}", layer.modules));
            }
        }
    }
    findings.none_or("move the code to the layer that may know both (ARCHITECTURE.md has the map)");
}

#[test]
fn what_decides_does_not_reach_the_machine() {
    let mut findings = Findings::default();
    for (file, _, paths) in layered().iter().filter(|(_, layer, _)| layer.reach != Reach::Machine) {
        for path in paths.iter().filter(|path| MACHINE.iter().any(|thing| touches(path, thing))) {
            findings.add(&file.path, path);
        }
    }
    findings.none_or("take what the machine says as an argument, or through `service::Host` or the port");
}

#[test]
fn the_core_only_computes() {
    let manifest = super::read("Cargo.toml");
    let is_dependency = |name: &str| {
        let dashed = name.replace('_', "-");
        manifest.lines().any(|line| [name, &dashed].iter().any(|name| line.starts_with(&format!("{name} = "))))
    };
    let mut findings = Findings::default();
    for (file, _, paths) in layered().iter().filter(|(_, layer, _)| layer.reach == Reach::Core) {
        for path in paths {
            let first = path.split("::").next().unwrap_or_default();
            if is_dependency(first) && !CRATES_OF_THE_CORE.contains(&first) {
                findings.add(&file.path, format_args!("{path}, but the core uses only {CRATES_OF_THE_CORE:?}"));
            }
        }
        for word in names::words(&file.text) {
            if WORDS_NOT_OF_THE_CORE.contains(&word.as_str()) {
                findings.add(&file.path, format_args!("`{word}`, but the core neither waits nor writes"));
            }
        }
    }
    findings.none_or("do it in `service` or further out, and hand the core a value");
}

#[test]
fn a_layer_may_name_its_modules_and_their_limits() {
    let layer = Layer { folder: "src/a/", modules: &["core", "limits::api"], reach: Reach::Machine };
    for path in
        ["crate::core::numbers", "crate::limits::core::X", "crate::limits::api::X", "crate::limits::protocol::X"]
    {
        assert!(layer.may_name(path), "{path}");
    }
    for path in ["crate::api::Api", "crate::limits::store::X", "crate::limits", "crate::protocol"] {
        assert!(!layer.may_name(path), "{path}");
    }
}

#[test]
fn a_path_touches_what_it_is_in_and_what_is_in_it() {
    assert!(
        touches("std::fs::File", "std::fs") && touches("std::time", "std::time::Instant") && touches("std", "std::io")
    );
    assert!(
        !touches("std::fmt", "std::fs")
            && !touches("std::fsx", "std::fs")
            && !touches("std::time::Duration", "std::time::Instant")
    );
}
