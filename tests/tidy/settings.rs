//! The settings: the code, the local server's example and the page have the same ones with the same defaults.

use std::collections::BTreeMap;

use proc_macro2::{TokenStream, TokenTree};

use syncflow_server::config::VARIABLES;

use super::{Findings, files_ending, read};

/// The file with the table of all settings.
const CODE: &str = "src/config/mod.rs";
/// The list of all names, which is compared with the other files of its folder.
const NAMES: &str = "src/config/names.rs";
const EXAMPLE: &str = "local-dev/.env.example";
const PAGE: &str = "docs/configuration.md";

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
        let mut cells = line.trim_start_matches("//!").trim().strip_prefix('|')?.split('|').map(str::trim);
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
fn every_setting_is_in_the_code_the_example_and_the_page() {
    let in_code = variables_of_code();
    assert!(in_code.len() > 5, "the code names its variables in literals");
    let pages = [(CODE, rows(&read(CODE))), (EXAMPLE, lines_of_example()), (PAGE, rows(&read(PAGE)))];
    let mut findings = Findings::default();
    for (page, on_page) in &pages {
        for name in in_code.iter().filter(|name| !on_page.contains_key(*name)) {
            findings.add(page, format_args!("{name} is missing, which the code reads"));
        }
        for name in on_page.keys().filter(|name| !in_code.contains(name)) {
            findings.add(page, format_args!("{name} is none of the variables that the code reads"));
        }
    }
    findings.none_or("name it in the table at the top of the code, in the example and in the page's table, or nowhere");
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
fn every_default_is_the_same_everywhere() {
    let (in_code, in_example, on_page) = (rows(&read(CODE)), lines_of_example(), rows(&read(PAGE)));
    let mut findings = Findings::default();
    for (name, default) in &in_code {
        if on_page.get(name) != Some(default) {
            findings.add(PAGE, format_args!("{name} has the default {:?}, in the code {default:?}", on_page.get(name)));
        }
        // If the code explains the default, the example has no value.
        let expected = if default == "see below" { "" } else { default };
        if in_example.get(name).map(String::as_str) != Some(expected) {
            findings.add(EXAMPLE, format_args!("{name} is {:?}, its default {expected:?}", in_example.get(name)));
        }
    }
    findings.none_or("the table at the top of src/config/mod.rs says what the defaults are; write the same");
}
