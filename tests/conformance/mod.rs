//! The conformance suite over every store: one test per check per store.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syncflow_server::for_each_conformance_check;
use syncflow_server::store::conformance::CHECKS;

macro_rules! one_test_per_check {
    ($store:ident $($module:ident: [$($check:ident,)*])*) => {
        mod $store {
            $(mod $module {
                use syncflow_server::store::conformance::$module as checks;

                $(#[test]
                fn $check() {
                    crate::support::in_a_world(crate::support::stores::$store, checks::$check);
                })*
            })*
        }
    };
}

for_each_conformance_check!(one_test_per_check memory);
for_each_conformance_check!(one_test_per_check sqlite);
for_each_conformance_check!(one_test_per_check postgres);
for_each_conformance_check!(one_test_per_check mongodb);

/// The checks in a module: its public asynchronous functions whose only argument is a world.
fn checks_of(module: &Path) -> Vec<String> {
    let source = fs::read_to_string(module).expect("the module is read");
    let name = module.file_stem().and_then(|stem| stem.to_str()).expect("a module has a name");
    let functions = source.split("\npub async fn ").skip(1);
    let checks = functions.filter_map(|function| {
        let (check, rest) = function.split_once('(')?;
        let (parameters, rest) = rest.split_once(')')?;
        let is_check = parameters.trim().trim_end_matches(',') == "world: &World" && rest.trim_start().starts_with('{');
        is_check.then(|| format!("{name}::{check}"))
    });
    checks.collect()
}

#[test]
fn every_check_of_the_suite_is_in_the_list() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/conformance");
    let modules = fs::read_dir(suite).expect("the suite is read").map(|module| module.expect("a module").path());
    let written: BTreeSet<String> = modules.flat_map(|module| checks_of(&module)).collect();
    let listed: BTreeSet<String> = CHECKS.iter().map(|check| (*check).to_owned()).collect();
    assert!(written.len() > 100, "the checks are not found any more");
    assert_eq!(listed, written);
    assert_eq!(CHECKS.len(), listed.len(), "a check is in the list twice");
}
