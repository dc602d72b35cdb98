//! The public surface of the library: a list that is compared, so that a change of it is seen.
//!
//! The lint `unreachable_pub` makes sure that an item is `pub` only if other crates can reach it. So the list has all
//! of these items with their types, by the file that has them.

use std::fmt::Write as _;
use std::fs;

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, TraitItem, Visibility};

use super::{files_ending, read, root};

const LIST: &str = "tests/tidy/surface/list.txt";
const RENEW: &str = "SYNCFLOW_RENEW";

#[test]
fn the_public_surface_is_the_listed_one() {
    let surface = surface();
    assert!(surface.lines().count() > 100, "the public items are not found any more");
    if std::env::var_os(RENEW).is_some() {
        fs::write(root().join(LIST), &surface).expect("the list can be written");
        return;
    }
    let listed = read(LIST);
    let mut changes = String::new();
    for line in listed.lines().filter(|line| !surface.lines().any(|other| other == *line)) {
        writeln!(changes, "  - {line}").expect("a string takes everything");
    }
    for line in surface.lines().filter(|line| !listed.lines().any(|other| other == *line)) {
        writeln!(changes, "  + {line}").expect("a string takes everything");
    }
    assert!(
        changes.is_empty() && surface == listed,
        "\n{changes}if this is meant, renew {LIST}: {RENEW}=1 cargo test --all-features tidy::surface\n"
    );
}

fn surface() -> String {
    let mut surface = String::new();
    for file in files_ending(".rs").into_iter().filter(|file| is_listed(&file.path)) {
        let parsed = syn::parse_file(&file.text).expect("a file that compiles consists of items");
        let mut lines = Vec::new();
        items(&parsed.items, &mut lines);
        if !lines.is_empty() {
            writeln!(surface, "{}", file.path).expect("a string takes everything");
        }
        for line in lines {
            writeln!(surface, "  {line}").expect("a string takes everything");
        }
    }
    surface
}

/// The checks of the conformance suite have a list of their own.
fn is_listed(path: &str) -> bool {
    let checks = ["src/conformance/port/", "src/conformance/service/"];
    path.starts_with("src/") && !checks.iter().any(|folder| path.starts_with(folder))
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Tokens as a text without the spaces that only part tokens.
fn text(tokens: &impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (wide, narrow) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        ("& ", "&"),
        (" ,", ","),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        (" :", ":"),
        (" ;", ";"),
    ] {
        text = text.replace(wide, narrow);
    }
    text
}

/// The marks that others depend on.
fn marks(attributes: &[Attribute]) -> String {
    let marks = ["non_exhaustive", "must_use"];
    let has = |mark: &&str| attributes.iter().any(|attribute| attribute.path().is_ident(mark));
    let is_hidden = attributes.iter().any(|attribute| {
        attribute.path().is_ident("doc")
            && attribute.meta.require_list().is_ok_and(|list| text(&list.tokens) == "hidden")
    });
    let hidden = if is_hidden { "#[doc(hidden)] " } else { "" };
    marks.iter().filter(|mark| has(mark)).fold(hidden.to_owned(), |text, mark| text + "#[" + mark + "] ")
}

fn fields_of(name: &str, fields: &Fields, all: bool, lines: &mut Vec<String>) {
    for (index, field) in fields.iter().enumerate().filter(|(_, field)| all || is_public(&field.vis)) {
        let field_name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
        lines.push(format!("{name}.{field_name}: {}", text(&field.ty)));
    }
}

fn items(items: &[Item], lines: &mut Vec<String>) {
    for item in items {
        match item {
            Item::Const(item) if is_public(&item.vis) => {
                lines.push(format!("const {}: {}", item.ident, text(&item.ty)));
            }
            Item::Static(item) if is_public(&item.vis) => {
                lines.push(format!("static {}: {}", item.ident, text(&item.ty)));
            }
            Item::Fn(item) if is_public(&item.vis) => {
                lines.push(format!("{}{}", marks(&item.attrs), text(&item.sig)));
            }
            Item::Type(item) if is_public(&item.vis) => {
                lines.push(format!("type {} = {}", text(&item.ident), text(&item.ty)));
            }
            Item::Use(item) if is_public(&item.vis) => {
                lines.push(format!("{}use {}", marks(&item.attrs), text(&item.tree)));
            }
            Item::Mod(item) if is_public(&item.vis) => lines.push(format!("{}mod {}", marks(&item.attrs), item.ident)),
            Item::Struct(item) if is_public(&item.vis) => {
                lines.push(format!("{}struct {}{}", marks(&item.attrs), item.ident, text(&item.generics)));
                fields_of(&item.ident.to_string(), &item.fields, false, lines);
            }
            Item::Enum(item) if is_public(&item.vis) => {
                lines.push(format!("{}enum {}{}", marks(&item.attrs), item.ident, text(&item.generics)));
                for variant in &item.variants {
                    let name = format!("{}::{}", item.ident, variant.ident);
                    lines.push(name.clone());
                    fields_of(&name, &variant.fields, true, lines);
                }
            }
            Item::Trait(item) if is_public(&item.vis) => {
                lines.push(format!("trait {}: {}", item.ident, text(&item.supertraits)));
                for member in &item.items {
                    if let TraitItem::Fn(function) = member {
                        lines.push(format!("{}::{}", item.ident, text(&function.sig)));
                    }
                }
            }
            Item::Macro(item) if item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export")) => {
                lines.push(format!("macro {}", item.ident.as_ref().map(ToString::to_string).unwrap_or_default()));
            }
            Item::Impl(item) if item.trait_.is_none() => of_impl(item, lines),
            _ => {}
        }
    }
}

fn of_impl(item: &ItemImpl, lines: &mut Vec<String>) {
    let name = text(&item.self_ty);
    for member in &item.items {
        match member {
            ImplItem::Fn(function) if is_public(&function.vis) => {
                lines.push(format!("{name}::{}{}", marks(&function.attrs), text(&function.sig)));
            }
            ImplItem::Const(constant) if is_public(&constant.vis) => {
                lines.push(format!("{name}::const {}: {}", constant.ident, text(&constant.ty)));
            }
            _ => {}
        }
    }
}
