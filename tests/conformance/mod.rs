//! The conformance suite over every store: one test per check per store.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syncflow_server::conformance::CHECKS;

use crate::support::stores::for_each_store;

for_each_store!({
    use syncflow_server::conformance_suite;

    // Each test is in a module of its group, and that in one of the store.
    conformance_suite!(port, |check| crate::support::in_a_world(super::super::open, check));
    conformance_suite!(service, |check| crate::support::in_a_world(super::super::open, check));
});

/// The checks in a module: its public asynchronous functions whose only argument is a world.
///
/// A module may be a folder, with modules in it whose checks the group has as its own.
fn checks_of(group: &str, module: &Path) -> Vec<String> {
    if module.is_dir() {
        let inner = fs::read_dir(module).expect("the folder is read");
        return inner.flat_map(|inner| checks_of(group, &inner.expect("a module").path())).collect();
    }
    let source = fs::read_to_string(module).expect("the module is read");
    let folder = if module.ends_with("mod.rs") { module.parent() } else { Some(module) };
    let name = folder.and_then(Path::file_stem).and_then(|stem| stem.to_str()).expect("a module has a name");
    let functions = source.split("\npub async fn ").skip(1);
    let checks = functions.filter_map(|function| {
        let (check, rest) = function.split_once('(')?;
        let (parameters, rest) = rest.split_once(')')?;
        let is_check = parameters.trim().trim_end_matches(',') == "world: &World" && rest.trim_start().starts_with('{');
        is_check.then(|| format!("{group}::{name}::{check}"))
    });
    checks.collect()
}

#[test]
fn every_check_of_the_suite_is_in_the_list() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
    let mut written = BTreeSet::new();
    for group in ["port", "service"] {
        let modules = fs::read_dir(suite.join(group)).expect("the group is read");
        written.extend(modules.flat_map(|module| checks_of(group, &module.expect("a module").path())));
    }
    let listed: BTreeSet<String> = CHECKS.iter().map(|check| (*check).to_owned()).collect();
    assert!(written.len() > 100, "the checks are not found any more");
    assert_eq!(listed, written);
    assert_eq!(CHECKS.len(), listed.len(), "a check is in the list twice");
}
