//! The names in a source file, in imports, expressions and macros.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Every path of more than one name in a source text, with `self` and `super` resolved to `crate::…`.
///
/// `module` is the text's own module, such as `["core", "decide"]`.
pub(super) fn paths(source: &str, module: &[&str]) -> Vec<String> {
    let mut paths = Vec::new();
    let module: Vec<String> = module.iter().map(|&name| name.to_owned()).collect();
    walk(tokens(source), &module, &[], &mut |path| paths.push(path.join("::")));
    paths
}

/// Every word of a source text that is neither in a comment nor in a literal.
pub(super) fn words(source: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut streams = vec![tokens(source)];
    while let Some(stream) = streams.pop() {
        for token in stream {
            match token {
                TokenTree::Ident(word) => words.push(word.to_string()),
                TokenTree::Group(group) => streams.push(group.stream()),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
    words
}

fn tokens(source: &str) -> TokenStream {
    source.parse().expect("a file that compiles consists of tokens")
}

/// Goes through tokens. `prefix` is the path before the braces around them in an import.
fn walk(stream: TokenStream, module: &[String], prefix: &[String], found: &mut impl FnMut(&[String])) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut index = 0;
    while index < tokens.len() {
        match &tokens[index] {
            TokenTree::Ident(_) => index = walk_path(&tokens, index, module, prefix, found),
            TokenTree::Group(group) => {
                let mut inner = module.to_vec();
                inner.extend(module_opened_before(&tokens[..index]));
                walk(group.stream(), &inner, &[], found);
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        index += 1;
    }
}

/// Reads the path that begins at a word. Returns the index of its last token.
fn walk_path(
    tokens: &[TokenTree],
    begin: usize,
    module: &[String],
    prefix: &[String],
    found: &mut impl FnMut(&[String]),
) -> usize {
    let mut path = prefix.to_vec();
    let mut index = begin;
    let mut end = begin;
    while let Some(TokenTree::Ident(word)) = tokens.get(index) {
        path.push(word.to_string());
        end = index;
        if !is_path_separator(&tokens[index + 1..]) {
            break;
        }
        index += 3;
    }
    if let Some(TokenTree::Group(group)) = tokens.get(index)
        && index > end
        && group.delimiter() == Delimiter::Brace
    {
        walk(group.stream(), module, &path, found);
        return index;
    }
    let is_imported = begin > 0 && matches!(&tokens[begin - 1], TokenTree::Ident(word) if *word == "use");
    if path.len() > 1 || is_imported {
        found(&absolute(&path, module));
    }
    end
}

fn is_path_separator(tokens: &[TokenTree]) -> bool {
    let is_colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    is_colon(tokens.first()) && is_colon(tokens.get(1))
}

/// The name in `mod name { … }`, if the tokens end before such braces.
fn module_opened_before(tokens: &[TokenTree]) -> Option<String> {
    match tokens {
        [.., TokenTree::Ident(keyword), TokenTree::Ident(name)] if *keyword == "mod" => Some(name.to_string()),
        _ => None,
    }
}

fn absolute(path: &[String], module: &[String]) -> Vec<String> {
    let mut here = module;
    let mut rest = path;
    let mut is_relative = false;
    while let [first, behind @ ..] = rest {
        match first.as_str() {
            "self" => {}
            "super" => here = here.split_last().map_or(&[][..], |(_, parent)| parent),
            _ => break,
        }
        is_relative = true;
        rest = behind;
    }
    // An import may end in `self`, which means the path before it.
    let rest = rest.strip_suffix(&["self".to_owned()]).unwrap_or(rest);
    if is_relative {
        return ["crate".to_owned()].iter().chain(here).chain(rest).cloned().collect();
    }
    rest.to_vec()
}

#[test]
fn names_are_found_wherever_they_stand() {
    let source = r#"
        //! std::comment
        use std::{fs::{self, File}, fmt};
        use super::limits::*;
        mod tests {
            use super::super::page;
            fn test() { print!("std::text {}", std::env::var("X")); let x: Vec<::std::net::Ipv4Addr> = Vec::new(); }
        }
    "#;
    let expected = [
        "std::fs",
        "std::fs::File",
        "std::fmt",
        "crate::core::limits",
        "crate::core::page",
        "std::env::var",
        "std::net::Ipv4Addr",
        "Vec::new",
    ];
    assert_eq!(paths(source, &["core", "clock"]), expected);
    assert!(words(source).contains(&"print".to_owned()));
    assert!(!words(source).contains(&"comment".to_owned()));
}
