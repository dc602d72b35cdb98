//! The list of feature sets in `.ci/features` has every set that is deployed or documented.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::tidy::{Findings, SourceFile, files, read};

type Features = BTreeSet<String>;

fn features<'a>(names: impl IntoIterator<Item = &'a str>) -> Features {
    names.into_iter().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The sets that CI lints. Two of them have steps of their own.
fn linted() -> Vec<Features> {
    let list = read(".ci/features");
    let lines = list.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut sets: Vec<Features> = lines.map(|line| features(line.split(','))).collect();
    let run = read(".ci/run");
    assert!(run.contains("--lib --no-default-features -- "), "a step lints the library without features");
    sets.push(Features::new());
    sets
}

fn names(list: Option<&Value>) -> Features {
    features(list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str))
}

/// The sets of the contexts of Cargo Lambda, with their names.
fn sets_of_contexts() -> Vec<(String, Features)> {
    let contexts: Table = read("CargoLambda.toml").parse().expect("the contexts are TOML");
    let sets = contexts.iter().filter_map(|(name, table)| {
        let list = if name == "build" { table.get("features") } else { table.get("build")?.get("features") };
        list.map(|list| (format!("CargoLambda.toml, {name}"), names(Some(list))))
    });
    sets.collect()
}

/// The sets in commands of `cargo` that leave out the default features, and in manifests of examples.
fn sets_in(file: &SourceFile) -> Vec<Features> {
    let text = file.text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let mut words = line.split_whitespace().skip_while(|word| *word != "--features");
        if line.contains("--no-default-features")
            && let Some(list) = words.nth(1)
        {
            // A script of the repository goes through the stores.
            for store in ["sqlite", "postgres", "mongodb"] {
                found.push(features(list.trim_matches(['"', '\'', '`']).replace("$store", store).split(',')));
            }
        }
        if line.starts_with("syncflow-server = ") && line.contains("default-features = false") {
            let manifest: Table = line.parse().expect("a dependency is TOML");
            found.push(names(manifest["syncflow-server"].get("features")));
        }
    }
    found
}

#[test]
fn every_feature_set_that_is_deployed_or_documented_is_linted() {
    let linted = linted();
    let mut sets = sets_of_contexts();
    assert!(sets.len() > 3, "the contexts are where this looks");
    let is_read = |path: &str| {
        path.split('.').next_back() == Some("md") || path == "Dockerfile" || path.starts_with("local-dev/")
    };
    for file in files().into_iter().filter(|file| is_read(&file.path)) {
        sets.extend(sets_in(&file).into_iter().map(|set| (file.path.clone(), set)));
    }
    assert!(sets.iter().any(|(path, _)| path == "docs/embedding.md"), "the pages are where this looks");
    let mut findings = Findings::default();
    for (place, set) in sets.into_iter().filter(|(_, set)| !linted.contains(set)) {
        findings.add(place, format_args!("{set:?} is not linted"));
    }
    findings.none_or("add the set to .ci/features");
}

#[test]
fn every_feature_is_in_a_set_and_every_name_in_a_set_is_a_feature() {
    let manifest: Table = read("Cargo.toml").parse().expect("the manifest is TOML");
    let declared = manifest["features"].as_table().expect("there are features");
    let mut expected = features(declared.keys().map(String::as_str));
    for name in names(declared.get("default")) {
        assert!(declared.contains_key(&name), "{name} is a feature");
    }
    // The default features have a step of their own.
    expected.remove("default");
    let mut found: Features = linted().into_iter().flatten().collect();
    found.extend(names(declared.get("default")));
    assert_eq!(found, expected);
}

#[test]
fn sets_of_features_are_found_in_commands_and_manifests() {
    let sets = |text: &str| {
        let file = SourceFile { path: "page.md".to_owned(), text: text.to_owned() };
        sets_in(&file).into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let expected = [features(["lambda", "postgres"])];
    assert_eq!(sets("$ cargo build --no-default-features --features lambda,postgres --bin x"), expected);
    assert_eq!(sets("cargo build --no-default-features \\\n  --features \"postgres,lambda\""), expected);
    assert_eq!(sets("cargo build --no-default-features --features \"lambda,$store\"").len(), 3);
    let manifest =
        "syncflow-server = { path = \"..\", default-features = false, features = [\"lambda\", \"postgres\"] }";
    assert_eq!(sets(manifest), expected);
    assert!(sets("$ cargo test --all-features tidy").is_empty());
}
