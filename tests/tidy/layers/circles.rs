//! No circle between files: of two files of the library, at most one depends on the other, directly or through others.
//!
//! A file depends on another if its code names an item that the other file defines. These rules apply:
//!
//! - A name is followed through imports and re-exports to the file that defines it. So a child that uses an item of a
//!   sibling depends on the sibling, even if it names the parent that re-exports the item.
//! - A re-export does not make a file depend on the name, unless the code of the same file uses it. Neither
//!   does `mod x;`.
//! - A parent and its child are two files like any others. If the parent uses an item of the child, the child may not
//!   use an item that the parent itself defines.
//! - Tests are left out: they may use everything.
//! - Methods have no path, so a call of a method is not seen.

use std::collections::{BTreeMap, BTreeSet};

use quote::ToTokens as _;
use syn::{Attribute, Item, UseTree, Visibility};

use super::super::{Findings, SourceFile, files_ending, names};

/// A file of the library without its tests.
struct Module {
    file: String,
    /// The names that the file brings into its namespace.
    imports: Vec<Import>,
    /// Every path in its code, beginning with `crate` if it is one of the library.
    paths: Vec<Vec<String>>,
}

/// A name that a file imports or re-exports.
struct Import {
    /// The name, or `*` for all names of a module.
    name: String,
    path: Vec<String>,
    /// Whether the import alone makes the file depend on the name.
    is_used: bool,
}

/// All modules by their paths, such as `["core", "decide"]`.
type Modules = BTreeMap<Vec<String>, Module>;

/// The files on which each file depends.
type Dependencies = BTreeMap<String, BTreeSet<String>>;

fn modules(files: &[SourceFile]) -> Modules {
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let files = files.iter().filter(|file| file.path.starts_with("src/") && !is_test(&file.path));
    files.map(|file| (module_of(&file.path), module(file))).collect()
}

fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

fn module(file: &SourceFile) -> Module {
    let here = module_of(&file.path);
    let parsed = syn::parse_file(&file.text).expect("a file that compiles consists of items");
    let items: Vec<Item> = parsed.items.into_iter().filter(|item| !is_for_tests(item)).collect();
    let children: BTreeSet<String> = items.iter().filter_map(declared_module).collect();
    let mut imports = Vec::new();
    let mut code = String::new();
    for item in items {
        match item {
            Item::Use(item) => {
                let is_private = matches!(item.vis, Visibility::Inherited);
                names_in(&item.tree, &mut Vec::new(), &mut |name, path| {
                    let path = absolute(path, &here, &children, &[]);
                    imports.push(Import { name: name.to_owned(), path, is_used: is_private });
                });
            }
            item => code.push_str(&item.to_token_stream().to_string()),
        }
    }
    let words: BTreeSet<String> = names::words(&code).into_iter().collect();
    for import in &mut imports {
        import.is_used |= words.contains(&import.name);
    }
    let own: Vec<&str> = here.iter().map(String::as_str).collect();
    let paths = names::paths(&code, &own).into_iter();
    let paths = paths.map(|path| path.split("::").map(str::to_owned).collect::<Vec<_>>());
    let paths = paths.map(|path| absolute(&path, &here, &children, &imports)).collect();
    Module { file: file.path.clone(), imports, paths }
}

fn is_for_tests(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| attribute.to_token_stream().to_string().starts_with("# [cfg (test"))
}

fn declared_module(item: &Item) -> Option<String> {
    match item {
        Item::Mod(item) if item.content.is_none() => Some(item.ident.to_string()),
        _ => None,
    }
}

/// Goes through the names of an import, each with its path.
fn names_in(tree: &UseTree, before: &mut Vec<String>, found: &mut impl FnMut(&str, &[String])) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            names_in(&path.tree, before, found);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| names_in(tree, before, found)),
        UseTree::Name(name) if name.ident == "self" => found(&before.last().cloned().unwrap_or_default(), before),
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            found(&name, &[before.as_slice(), std::slice::from_ref(&name)].concat());
        }
        UseTree::Rename(rename) => {
            found(&rename.rename.to_string(), &[before.as_slice(), &[rename.ident.to_string()]].concat());
        }
        UseTree::Glob(_) => found("*", &[before.as_slice(), &["*".to_owned()]].concat()),
    }
}

/// A path from the root of the library, if it begins with `self`, `super`, a child or an imported name.
fn absolute(path: &[String], here: &[String], children: &BTreeSet<String>, imports: &[Import]) -> Vec<String> {
    let root = ["crate".to_owned()];
    let Some((first, rest)) = path.split_first() else { return Vec::new() };
    match first.as_str() {
        "self" => [&root, here, rest].concat(),
        "super" => {
            let depth = path.iter().take_while(|name| *name == "super").count();
            [&root, &here[..here.len().saturating_sub(depth)], &path[depth..]].concat()
        }
        _ if children.contains(first) => [&root, here, path].concat(),
        _ => match imports.iter().find(|import| import.name == *first) {
            Some(import) => [&import.path, rest].concat(),
            None => path.to_vec(),
        },
    }
}

/// The file that defines what a path names, or `None` if the path ends at a module or leaves the library.
fn definition<'m>(path: &[String], modules: &'m Modules, depth: u32) -> Option<&'m str> {
    const MAX_DEPTH: u32 = 16;
    if path.first().is_none_or(|first| first != "crate") || depth > MAX_DEPTH {
        return None;
    }
    let inside = &path[1..];
    let end = (0..=inside.len()).rev().find(|end| modules.contains_key(&inside[..*end]))?;
    let module = &modules[&inside[..end]];
    let (name, rest) = inside[end..].split_first()?;
    let through = |import: &Import| definition(&[&import.path, rest].concat(), modules, depth + 1);
    if let Some(import) = module.imports.iter().find(|import| import.name == *name) {
        // A name that comes from another crate may also be that of an item of this file, in another namespace.
        return if import.path.first().is_some_and(|first| first == "crate") {
            through(import)
        } else {
            Some(&module.file)
        };
    }
    Some(&module.file)
}

fn dependencies(modules: &Modules) -> Dependencies {
    let of = |module: &Module| {
        let imports = module.imports.iter().filter(|import| import.is_used).map(|import| &import.path);
        let named = imports.chain(&module.paths).filter_map(|path| definition(path, modules, 0));
        named.filter(|file| *file != module.file).map(str::to_owned).collect()
    };
    modules.values().map(|module| (module.file.clone(), of(module))).collect()
}

/// The shortest way from a file back to itself, for each file that has one. Each circle is listed once.
fn circles(dependencies: &Dependencies) -> Vec<Vec<String>> {
    let mut found = BTreeMap::new();
    for file in dependencies.keys() {
        if let Some(circle) = shortest_circle(file, dependencies) {
            let members: BTreeSet<String> = circle.iter().cloned().collect();
            found.entry(members).or_insert(circle);
        }
    }
    found.into_values().collect()
}

fn shortest_circle(file: &str, dependencies: &Dependencies) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![file.to_owned()]];
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| dependencies.get(last)).into_iter().flatten() {
                if next == file {
                    return Some(way);
                }
                if seen.insert(next.clone()) {
                    longer.push([way.as_slice(), std::slice::from_ref(next)].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

fn circles_in(files: &[SourceFile]) -> Vec<Vec<String>> {
    circles(&dependencies(&modules(files)))
}

#[test]
fn no_two_files_depend_on_each_other() {
    let files = files_ending(".rs");
    let found = dependencies(&modules(&files));
    assert!(found["src/service/push.rs"].contains("src/core/operation.rs"), "dependencies are not found any more");
    let mut findings = Findings::default();
    for circle in circles(&found) {
        findings.add(circle.join(" → "), "and back");
    }
    findings.none_or("move what they share into a file of its own, or to the one that both may use");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles in a tree of files, each a path below `src` and a text.
    fn circles_of(tree: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| SourceFile { path: format!("src/{path}"), text: (*text).to_owned() };
        let files: Vec<SourceFile> = tree.iter().map(file).collect();
        circles_in(&files).iter().map(|circle| circle.join(" ").replace("src/", "")).collect()
    }

    const LIB: (&str, &str) = ("lib.rs", "mod a; mod b; mod c;");

    #[test]
    fn two_siblings_that_import_each_other_are_a_circle() {
        let a = ("a.rs", "use crate::b::Two; pub struct One(Two);");
        assert_eq!(
            circles_of(&[LIB, a, ("b.rs", "use super::a::One; pub struct Two; fn f(_: One) {}")]),
            ["a.rs b.rs"]
        );
        assert_eq!(circles_of(&[LIB, a, ("b.rs", "pub struct Two; fn f() { crate::a::g(); }")]), ["a.rs b.rs"]);
        assert_eq!(circles_of(&[LIB, a, ("b.rs", "pub struct Two; impl From<crate::a::One> for Two {}")]).len(), 1);
        assert_eq!(circles_of(&[LIB, a, ("b.rs", "pub struct Two;")]), Vec::<String>::new());
    }

    #[test]
    fn a_circle_through_three_files_and_a_module_that_is_named_is_found() {
        let tree = [
            LIB,
            ("a.rs", "use crate::b; fn f() { b::g(); }"),
            ("b.rs", "pub fn g() { crate::c::h(); }"),
            ("c.rs", "use crate::a::{self, f as g}; pub fn h() { a::f(); }"),
        ];
        assert_eq!(circles_of(&tree), ["a.rs b.rs c.rs"]);
    }

    #[test]
    fn a_re_export_is_followed_and_is_not_a_dependency_itself() {
        let facade = ("a/mod.rs", "mod x; mod y; pub use x::One; pub(crate) use self::y::*;");
        let x = ("a/x.rs", "pub struct One;");
        let y = ("a/y.rs", "use super::One; pub fn g(_: One) {}");
        assert_eq!(circles_of(&[("lib.rs", "mod a;"), facade, x, y]), Vec::<String>::new());
        let x = ("a/x.rs", "pub struct One; fn f() { crate::a::y::g(One); }");
        assert_eq!(circles_of(&[("lib.rs", "mod a;"), facade, x, y]), ["a/x.rs a/y.rs"]);
    }

    #[test]
    fn a_parent_and_its_child_may_not_use_each_other() {
        let child = ("a/x.rs", "use super::Shared; pub struct One(Shared);");
        for parent in [
            "mod x; use x::One; pub struct Shared; fn f(_: One) {}",
            "mod x; pub use x::One; pub struct Shared; fn f(_: One) {}",
            "mod x; pub struct Shared; fn f() { x::g(); }",
        ] {
            assert_eq!(circles_of(&[("lib.rs", "mod a;"), ("a.rs", parent), child]), ["a.rs a/x.rs"], "{parent}");
        }
        let only_re_exports = ("a.rs", "mod x; pub use x::One; pub struct Shared;");
        assert_eq!(circles_of(&[("lib.rs", "mod a;"), only_re_exports, child]), Vec::<String>::new());
    }

    #[test]
    fn tests_may_use_everything() {
        let a = ("a.rs", "mod tests; pub struct One; #[cfg(test)] mod inner { use crate::b::Two; }");
        let b = ("b.rs", "use crate::a::One; pub struct Two(One);");
        assert_eq!(circles_of(&[LIB, a, b, ("a/tests.rs", "use crate::b::Two;")]), Vec::<String>::new());
    }
}
