//! The settings: the code, the local server's example and the page have the same ones with the same defaults.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};

use syncflow_server::config::{Config, VARIABLES};

use super::{Findings, files_ending, read};

/// The list of all names, which is compared with the other files of its folder, with the example and with the page.
const NAMES: &str = "src/config/names.rs";
const EXAMPLE: &str = "local-dev/.env.example";
/// The page with the table of all settings.
const PAGE: &str = "docs/configuration.md";
/// The default in this table if the text below the table explains it.
const EXPLAINED: &str = "see below";

/// The variables in the code: literals in capitals, before the tests of each file.
fn variables_of_code() -> Vec<String> {
    let files =
        files_ending(".rs").into_iter().filter(|file| file.path.starts_with("src/config/") && file.path != NAMES);
    let texts: Vec<String> = files.map(|file| file.text).collect();
    let code = texts.iter().map(|text| text.split("#[cfg(test)]").next().unwrap_or_default());
    let mut variables = Vec::new();
    let mut streams: Vec<TokenStream> =
        code.map(|code| code.parse().expect("a file that compiles consists of tokens")).collect();
    while let Some(stream) = streams.pop() {
        for token in stream {
            match token {
                TokenTree::Group(group) => streams.push(group.stream()),
                TokenTree::Literal(literal) => variables.extend(variable(literal.to_string().trim_matches('"'))),
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
    variables.sort();
    variables.dedup();
    variables
}

fn variable(text: &str) -> Option<String> {
    let is_variable = text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    is_variable.then(|| text.to_owned())
}

/// The rows `| `NAME` | default | … |` of the table of variables.
fn rows(text: &str) -> BTreeMap<String, String> {
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let name = variable(cells.next()?.trim_matches('`'))?;
        Some((name, cells.next()?.trim_matches('`').to_owned()))
    });
    rows.collect()
}

fn lines_of_example() -> BTreeMap<String, String> {
    let lines = read(EXAMPLE);
    let lines = lines.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((variable(name)?, value.to_owned()))
    });
    lines.collect()
}

#[test]
fn every_setting_is_in_the_example_and_on_the_page() {
    let mut findings = Findings::default();
    for (page, on_page) in [(EXAMPLE, lines_of_example()), (PAGE, rows(&read(PAGE)))] {
        for name in VARIABLES.iter().filter(|name| !on_page.contains_key(**name)) {
            findings.add(page, format_args!("{name} is missing, which the code reads"));
        }
        for name in on_page.keys().filter(|name| !VARIABLES.contains(&name.as_str())) {
            findings.add(page, format_args!("{name} is not one of the variables that the code reads"));
        }
    }
    findings.none_or("name it in the example and in the page's table, or nowhere");
}

#[test]
fn the_list_of_the_names_has_every_setting() {
    assert_eq!(
        variables_of_code(),
        VARIABLES,
        "{NAMES} lists what the other files of its folder read, in the order of the alphabet"
    );
}

#[test]
fn the_example_has_the_defaults_of_the_page() {
    let in_example = lines_of_example();
    let mut findings = Findings::default();
    for (name, default) in rows(&read(PAGE)) {
        // If the page explains the default, the example has no value.
        let expected = if default == EXPLAINED { String::new() } else { default };
        if in_example.get(&name) != Some(&expected) {
            findings.add(EXAMPLE, format_args!("{name} is {:?}, its default {expected:?}", in_example.get(&name)));
        }
    }
    findings.none_or("the table of docs/configuration.md says what the defaults are; write the same");
}

/// Settings with which every variable has an effect: those of each store, and those of sign-in.
const SURROUNDINGS: [&[(&str, &str)]; 4] = [
    &[],
    &[("POSTGRES_CONNECTION_STRING", "postgresql://h/d")],
    &[("MONGO_URI", "mongodb://h")],
    &[("AUTH_HS256_SECRET", "a secret that is long enough for this"), ("AUTH_TENANT", "team")],
];

/// The settings in some surroundings, with one more variable or none.
fn config(surroundings: &[(&str, &str)], more: Option<(&str, &str)>) -> Result<Config, String> {
    let find = |name: &str| surroundings.iter().chain(&more).find(|(variable, _)| *variable == name);
    Config::read(|name| find(name).map(|(_, value)| (*value).to_owned())).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_of_the_page_are_those_of_the_code() {
    // It is a value of some variables and wrong for the others, and not the default of any.
    const OTHER: &str = "7";
    let mut findings = Findings::default();
    for (name, default) in rows(&read(PAGE)) {
        if default.is_empty() || default == EXPLAINED {
            continue;
        }
        let mut has_effect = false;
        for surroundings in SURROUNDINGS {
            let unset = config(surroundings, None).expect("the settings are right");
            let set = config(surroundings, Some((name.as_str(), default.as_str())));
            if set.as_ref() != Ok(&unset) {
                findings.add(PAGE, format_args!("{name}={default} is not what the code takes without it: {set:?}"));
            }
            has_effect |= config(surroundings, Some((name.as_str(), OTHER))).as_ref() != Ok(&unset);
        }
        if !has_effect {
            findings.add(&name, "it has no effect in these surroundings; add some in tests/tidy/settings.rs");
        }
    }
    findings.none_or("a variable that is set to its default on the page changes nothing");
}
