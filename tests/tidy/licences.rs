//! The rules for dependencies in `deny.toml`, as far as they can be checked without `cargo deny`.
//!
//! That program takes minutes to build. This test checks the parts that need no network: licences, banned crates, the
//! registry, and requirements that any version would meet.

use std::collections::BTreeMap;
use std::process::Command;

use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use super::Findings;

#[derive(Deserialize)]
struct Policy {
    graph: Graph,
    licenses: Licences,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// The registry, or `None` for a package of the repository.
    source: Option<String>,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    req: String,
    path: Option<String>,
}

/// The packages that a build for this target may use.
fn packages(target: &str) -> Vec<Package> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--all-features", "--format-version", "1", "--filter-platform", target])
        .current_dir(super::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Metadata>(&output.stdout).expect("cargo describes the packages").packages
}

/// Whether the package is offered under one of these licences.
fn is_allowed(licence: &str, allowed: &[&String]) -> bool {
    let allows = |requirement: &LicenseReq| allowed.iter().any(|allowed| requirement.to_string() == **allowed);
    Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|expression| expression.evaluate(allows))
}

#[test]
fn dependencies_have_the_licences_and_sources_that_deny_toml_allows() {
    const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
    let policy: Policy = toml::from_str(&super::read("deny.toml")).expect("deny.toml is as it was");
    let all = policy.graph.targets.iter().flat_map(|target| packages(target));
    let all: BTreeMap<String, Package> =
        all.map(|package| (format!("{} {}", package.name, package.version), package)).collect();
    assert!(all.len() > 200, "the dependencies are not found");
    let mut findings = Findings::default();
    for (place, package) in &all {
        let Some(source) = &package.source else {
            for Dependency { name, req, path } in &package.dependencies {
                if req == "*" && path.is_none() {
                    findings.add(place, format_args!("takes any version of {name}"));
                }
            }
            continue;
        };
        if source != REGISTRY {
            findings.add(place, format_args!("comes from {source}"));
        }
        if let Some(banned) = policy.bans.deny.iter().find(|banned| banned.name == package.name) {
            findings.add(place, &banned.reason);
        }
        let exceptions = policy.licenses.exceptions.iter().filter(|exception| exception.name == package.name);
        let exceptions = exceptions.flat_map(|exception| &exception.allow);
        let allowed: Vec<&String> = policy.licenses.allow.iter().chain(exceptions).collect();
        let licence = package.license.as_deref().unwrap_or("no licence");
        if !is_allowed(licence, &allowed) {
            findings.add(place, format_args!("its licence is {licence}"));
        }
    }
    findings.none_or("Take another crate, or decide in deny.toml that this one may be used, and say why.");
}

#[test]
fn an_expression_of_licences_is_read_as_it_is_meant() {
    let allowed = ["MIT".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
    let allowed: Vec<&String> = allowed.iter().collect();
    for licence in ["MIT", "MIT OR GPL-3.0", "GPL-2.0/MIT", "Apache-2.0 WITH LLVM-exception OR ISC"] {
        assert!(is_allowed(licence, &allowed), "{licence}");
    }
    for licence in ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "", "my own"] {
        assert!(!is_allowed(licence, &allowed), "{licence}");
    }
}
