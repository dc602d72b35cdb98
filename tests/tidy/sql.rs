//! The SQL of the PostgreSQL store: no name in it depends on the search path. Another role may have put a function or
//! operator there.

use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

use super::{Findings, SourceFile, files};

/// Words before a parenthesis that belong to the grammar, or that name the columns of the preceding call.
const GRAMMAR: [&str; 19] = [
    "and",
    "any",
    "as",
    "asked",
    "by",
    "coalesce",
    "exists",
    "from",
    "greatest",
    "in",
    "least",
    "materialized",
    "not",
    "on",
    "or",
    "over",
    "then",
    "where",
    "all",
];

/// Types that are words of the grammar.
const TYPES: [&str; 3] = ["bigint", "boolean", "integer"];

/// Whether a literal is SQL or a part of it.
fn is_sql(literal: &str) -> bool {
    ["{schema}.", "SELECT", "pg_catalog."].iter().any(|mark| literal.contains(mark))
}

/// The SQL in the literals of a source file before its tests.
fn statements(file: &SourceFile) -> Vec<String> {
    let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut statements = Vec::new();
    let mut streams: Vec<TokenStream> = vec![code.parse().expect("a file that compiles consists of tokens")];
    while let Some(stream) = streams.pop() {
        let mut is_attribute = false;
        for token in stream {
            // Documentation comments are attributes too.
            let begins_attribute = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#')
                || is_attribute && matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '!');
            match token {
                TokenTree::Group(group) if !is_attribute => streams.push(group.stream()),
                TokenTree::Literal(literal) if is_sql(&literal.to_string()) => statements.push(literal.to_string()),
                _ => {}
            }
            is_attribute = begins_attribute;
        }
    }
    statements
}

/// The names in a statement that depend on the search path.
fn unqualified(statement: &str) -> Vec<String> {
    let mut found = Vec::new();
    let without_texts: String = statement.split('\'').step_by(2).collect();
    let mut rest = without_texts.trim_start_matches("r#").trim_matches(['"', '#']).replace("\\\"", "\"");
    // An operator with its schema is replaced by a word.
    while let Some(begin) = rest.find("OPERATOR(pg_catalog.") {
        let end = rest[begin..].find(')').map_or(rest.len(), |length| begin + length + 1);
        rest.replace_range(begin..end, " and ");
    }
    for (place, _) in rest.match_indices('(') {
        let before = rest[..place].trim_end();
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_.{}\"".contains(c);
        let name = before.rsplit(|c: char| !is_word(c)).next().unwrap_or_default().to_lowercase();
        let has_schema = name.starts_with("pg_catalog.") || name.starts_with("{schema}.");
        let is_alias =
            before.len() > name.len() && before[..before.len() - name.len()].trim_end().to_lowercase().ends_with(" as");
        if !name.is_empty() && !has_schema && !is_alias && !GRAMMAR.contains(&name.as_str()) && !is_clause(before) {
            found.push(format!("{name}("));
        }
    }
    for (place, _) in rest.match_indices("::") {
        let kind = rest[place + 2..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').next();
        let kind = kind.unwrap_or_default();
        if !kind.starts_with("pg_catalog.") && !TYPES.contains(&kind) {
            found.push(format!("::{kind}"));
        }
    }
    for (place, word) in rest.match_indices("COLLATE ") {
        if !rest[place + word.len()..].starts_with("pg_catalog.") {
            found.push("COLLATE".to_owned());
        }
    }
    for operator in [" = ", " < ", " > ", " <= ", " >= ", " + ", " - ", " || ", " @> ", " <> ", " * "] {
        let is_assignment = operator == " = " && (rest.contains(" SET ") || rest.contains("search_path"));
        if rest.contains(operator) && !is_assignment && !rest.contains("SELECT *") {
            found.push(operator.trim().to_owned());
        }
    }
    found
}

/// Whether a parenthesis after this text begins the columns of a table or of a conflict, or a key.
fn is_clause(before: &str) -> bool {
    let before = before.to_lowercase();
    ["conflict", "syncflow_clients as c", "key"].iter().any(|clause| before.ends_with(clause))
}

#[test]
fn no_statement_depends_on_the_search_path() {
    let mut findings = Findings::default();
    let mut count = 0;
    for file in files().iter().filter(|file| file.path.starts_with("src/store/postgres/")) {
        if Path::new(&file.path).extension().is_some_and(|extension| extension == "rs") {
            for statement in statements(file) {
                count += 1;
                for name in unqualified(&statement) {
                    findings.add(&file.path, format_args!("{name} in {statement}"));
                }
            }
        }
    }
    assert!(count > 15, "the store has more statements than the {count} that were found");
    findings.none_or("name the schema: pg_catalog.count(*), a OPERATOR(pg_catalog.=) b, $1::pg_catalog.jsonb");
}

#[test]
fn every_function_of_the_schema_has_a_search_path_of_its_own() {
    let mut findings = Findings::default();
    for file in files().iter().filter(|file| file.path.starts_with("src/store/postgres/migrations/")) {
        for function in file.text.split("CREATE FUNCTION ").skip(1) {
            let head = function.split("AS $$").next().unwrap_or_default();
            let name = head.split('(').next().unwrap_or_default();
            if !head.contains("\nSET search_path = pg_catalog, pg_temp\n") {
                findings.add(&file.path, format_args!("{name} has another search path"));
            }
        }
        for line in file.text.lines().filter(|line| !line.trim_start().starts_with("--")) {
            for (place, _) in line.match_indices("syncflow_") {
                let is_index = line.starts_with("CREATE INDEX ") && place == "CREATE INDEX ".len();
                if !is_index && !line[..place].ends_with("{schema}.") {
                    findings.add(&file.path, format_args!("a name of ours without its schema in {line}"));
                }
            }
        }
    }
    findings.none_or("write SET search_path = pg_catalog, pg_temp at the function, and {schema}. before names of ours");
}

#[test]
fn names_without_a_schema_are_found() {
    for (statement, expected) in [
        ("SELECT count(*) FROM {schema}.t", "count("),
        ("SELECT $1::jsonb FROM {schema}.t", "::jsonb"),
        ("SELECT 1 FROM {schema}.t WHERE a = $1", "="),
        ("SELECT a COLLATE \"C\" FROM {schema}.t", "COLLATE"),
    ] {
        assert_eq!(unqualified(statement), [expected], "{statement}");
    }
}
