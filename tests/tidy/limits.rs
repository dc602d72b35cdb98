//! The limits: each has its unit in its name, and some code enforces it.

use super::{Findings, files_ending, names, read};

/// Units, as last words.
const UNITS: [&str; 21] = [
    "ATTEMPTS",
    "BITS",
    "BYTES",
    "CHARACTERS",
    "CONDITIONS",
    "CONNECTIONS",
    "DAYS",
    "DOCUMENTS",
    "ENTRIES",
    "FAULTS",
    "KEYS",
    "FILES",
    "LEVELS",
    "MEMBERS",
    "MS",
    "OPERATIONS",
    "PLACES",
    "REQUESTS",
    "SECONDS",
    "TENANTS",
    "VALUES",
];

/// Numbers without a unit.
const WITHOUT_UNIT: [&str; 3] = ["INTEGER_MAX", "SINCE_MAX", "SINCE_FOREIGN_MAX"];

fn limits() -> Vec<String> {
    let text = read("src/core/limits.rs");
    let names = text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(names.len() > 20, "src/core/limits.rs has its limits as `pub const NAME: …`, one a line");
    names
}

#[test]
fn a_limit_ends_in_its_unit() {
    let mut findings = Findings::default();
    for name in limits() {
        let unit = name.rsplit('_').next().unwrap_or_default();
        if !UNITS.contains(&unit) && !WITHOUT_UNIT.contains(&name.as_str()) {
            findings.add(&name, format_args!("{unit} is no unit"));
        }
    }
    findings.none_or(
        "rename it in src/core/limits.rs, as in PUSH_MAX_OPERATIONS; a new unit goes into tests/tidy/limits.rs",
    );
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
    for name in limits() {
        // One of the two is the definition.
        if words.iter().filter(|word| **word == name).count() < 2 {
            findings.add("src/core/limits.rs", format_args!("nothing keeps {name}"));
        }
    }
    findings.none_or("use it where the limit applies, or remove it");
}
