//! The crates that a build links: no more than it uses.

mod features;

use std::process::Command;

use super::{Findings, files_ending};

/// The crates that a build with these features links, by name.
fn linked(features: &str) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--no-default-features"])
        .args(["--features", features])
        .current_dir(super::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names in UTF-8");
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn has(linked: &[String], name: &str) -> bool {
    linked.iter().any(|other| other == name)
}

#[test]
fn a_function_without_the_feature_links_nothing_of_aws() {
    for store in ["sqlite", "postgres"] {
        let linked = linked(&format!("lambda,{store}"));
        assert!(has(&linked, "lambda_runtime"), "{linked:?}");
        let aws: Vec<_> = linked.iter().filter(|name| name.starts_with("aws-")).collect();
        assert!(aws.is_empty(), "{store}: {aws:?}");
    }
}

#[test]
fn with_the_feature_there_is_one_tls_and_no_service_that_is_not_called() {
    let linked = linked("lambda,postgres,aws");
    assert!(has(&linked, "aws-sigv4") && has(&linked, "ring"), "{linked:?}");
    for name in ["aws-lc-rs", "aws-lc-sys", "openssl-sys", "native-tls", "aws-sdk-rds", "aws-sdk-ssm", "aws-sdk-sso"] {
        assert!(!has(&linked, name), "{name} is linked");
    }
}

#[test]
fn a_first_build_optimises_only_the_dependencies_that_are_named() {
    let manifest = std::fs::read_to_string(super::root().join("Cargo.toml")).expect("a manifest");
    let (_, of_all) = manifest.split_once("[profile.dev.package.\"*\"]").expect("a profile of all dependencies");
    let of_all = of_all.split("\n[").next().unwrap_or_default();
    assert!(
        !of_all.contains("opt-level"),
        "all dependencies are optimised, and a first build takes three times as long"
    );
}

#[test]
fn the_published_package_has_every_source_file_of_its_programs() {
    const FOLDERS: [&str; 5] = ["src/", "handlers/", "examples/", "benches/", "local-dev/"];
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let listing = Command::new(cargo)
        .args(["package", "--list", "--allow-dirty", "--package", "syncflow-server"])
        .current_dir(super::root())
        .output()
        .expect("cargo runs");
    assert!(listing.status.success(), "{}", String::from_utf8_lossy(&listing.stderr));
    let listed = String::from_utf8(listing.stdout).expect("names in UTF-8");
    let mut findings = Findings::default();
    for file in files_ending(".rs") {
        let is_of_a_member = file.path.starts_with("local-dev/load/");
        let is_of_the_package = FOLDERS.iter().any(|folder| file.path.starts_with(folder)) && !is_of_a_member;
        if is_of_the_package && !listed.lines().any(|name| name == file.path) {
            findings.add(&file.path, "is not published");
        }
    }
    findings.none_or("add it to `include` in Cargo.toml");
}
