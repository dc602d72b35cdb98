//! The limits: each has its unit in its name, and some code enforces it.

use super::{Findings, files_ending, names};

/// The units, which are the last words of names.
const UNITS: [&str; 28] = [
    "ATTEMPTS",
    "BITS",
    "BYTES",
    "CHARACTERS",
    "COLLECTIONS",
    "CONDITIONS",
    "CONNECTIONS",
    "DAYS",
    "DIGITS",
    "DOCUMENTS",
    "ENTRIES",
    "FAULTS",
    "JOBS",
    "KEYS",
    "FILES",
    "HOURS",
    "LETTERS",
    "LEVELS",
    "MEMBERS",
    "MS",
    "OPERATIONS",
    "PLACES",
    "REQUESTS",
    "ROWS",
    "SECONDS",
    "TENANTS",
    "THREADS",
    "VALUES",
];

/// The folder of the limits.
const FOLDER: &str = "src/limits/";

/// Numbers without a unit.
const WITHOUT_UNIT: [&str; 3] = ["INTEGER_MAX", "SINCE_MAX", "SINCE_FOREIGN_MAX"];

/// The name of every limit, with the file that has it.
fn limits() -> Vec<(String, String)> {
    let mut limits = Vec::new();
    for file in files_ending(".rs").into_iter().filter(|file| file.path.starts_with(FOLDER)) {
        let names = file.text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
        limits.extend(names.map(|name| (file.path.clone(), name.to_owned())));
    }
    assert!(limits.len() > 20, "{FOLDER} has the limits as `pub const NAME: …`, one a line");
    limits
}

#[test]
fn a_limit_ends_in_its_unit() {
    let mut findings = Findings::default();
    for (file, name) in limits() {
        let unit = name.rsplit('_').next().unwrap_or_default();
        if !UNITS.contains(&unit) && !WITHOUT_UNIT.contains(&name.as_str()) {
            findings.add(file, format_args!("{name}: {unit} is not a unit"));
        }
    }
    findings.none_or("rename it, as in PUSH_MAX_OPERATIONS; a new unit goes into tests/tidy/limits.rs");
}

#[test]
fn a_limit_is_kept_somewhere() {
    let files = files_ending(".rs");
    let words: Vec<String> = files
        .iter()
        .filter(|file| !file.path.starts_with("tests/") && !file.path.starts_with("src/conformance/"))
        .flat_map(|file| names::words(&file.text))
        .collect();
    let mut findings = Findings::default();
    for (file, name) in limits() {
        // One of the two is the definition.
        if words.iter().filter(|word| **word == name).count() < 2 {
            findings.add(file, format_args!("nothing keeps {name}"));
        }
    }
    findings.none_or("use it at the place that the limit is for, or remove it");
}

#[test]
fn a_limit_is_with_the_others() {
    let mut findings = Findings::default();
    let is_elsewhere = |path: &str| path.starts_with("src/") && !path.starts_with(FOLDER);
    for file in files_ending(".rs").into_iter().filter(|file| is_elsewhere(&file.path)) {
        // A constant at the beginning of a line belongs to a module; those of a function or a test are its own.
        for line in file.text.lines() {
            let declared = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("const ");
            let name = declared.and_then(|rest| rest.split(':').next()).unwrap_or_default();
            if name.contains("_MAX_") || name.contains("_MIN_") || name.ends_with("_ATTEMPTS") {
                findings.add(&file.path, name);
            }
        }
    }
    findings.none_or("move it into the file of its layer in src/limits/");
}
