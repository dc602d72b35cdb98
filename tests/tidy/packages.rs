//! The files that install the server elsewhere: they set variables that exist.

use syncflow_server::config::VARIABLES;

use super::{Findings, files};

/// Other names in these files: variables of the databases' images, and families of addresses.
const OF_OTHERS: [&str; 6] = ["AF_INET", "AF_INET6", "AF_UNIX", "POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_USER"];

#[test]
fn packages_set_no_variable_that_the_server_does_not_read() {
    let mut findings = Findings::default();
    let mut found = 0;
    for file in files() {
        if !(file.path == "Dockerfile" || file.path.starts_with("packaging/")) {
            continue;
        }
        found += 1;
        let words = file.text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for name in words.filter(|word| is_name(word)) {
            if !VARIABLES.contains(&name) && !OF_OTHERS.contains(&name) {
                findings.add(&file.path, format_args!("{name} is not a setting"));
            }
        }
    }
    assert!(found > 5, "the packages are where this looks");
    findings.none_or("see docs/configuration.md for the settings");
}

/// Whether a word looks like a variable: capitals with an underscore.
fn is_name(word: &str) -> bool {
    word.contains('_')
        && word.starts_with(|first: char| first.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}
