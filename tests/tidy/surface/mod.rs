//! The public surface of the library: a list that is compared, so that a change of it is seen.
//!
//! The lint `unreachable_pub` makes sure that an item is `pub` only if other crates can reach it. So the list has all
//! of these items with their types, by the file that has them. It also has the traits that public types implement, and
//! the items that macros of the library make.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use proc_macro2::TokenTree;
use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, ItemImpl, ItemMacro, TraitItem, Type, Visibility};

use super::{SourceFile, files_ending, read, root};

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
    let files: Vec<SourceFile> = files_ending(".rs").into_iter().filter(|file| is_listed(&file.path)).collect();
    let parse = |file: &SourceFile| syn::parse_file(&file.text).expect("a file that compiles consists of items").items;
    let parsed: Vec<Vec<Item>> = files.iter().map(parse).collect();
    let types: BTreeSet<String> = parsed.iter().flatten().flat_map(types_of).collect();
    let mut surface = String::new();
    for (file, parsed) in files.iter().zip(&parsed) {
        let mut lines = Vec::new();
        items(parsed, &types, &mut lines);
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

/// The names of the public types that an item declares, also through a macro of the library.
fn types_of(item: &Item) -> Vec<String> {
    match item {
        Item::Struct(item) if is_public(&item.vis) => vec![item.ident.to_string()],
        Item::Enum(item) if is_public(&item.vis) => vec![item.ident.to_string()],
        Item::Macro(item) if item.ident.is_none() => {
            made_by(item).iter().filter_map(|name| name.rsplit(' ').next()).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// The call of a macro between items, without comments: `name! TenantId`. Empty for other macros than those of the
/// library that make types.
fn made_by(item: &ItemMacro) -> Vec<String> {
    let name = text(&item.mac.path);
    if !["name", "number"].contains(&name.as_str()) {
        return Vec::new();
    }
    let idents = item.mac.tokens.clone().into_iter().filter_map(|token| match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    });
    let types = idents.filter(|ident| ident.starts_with(char::is_uppercase));
    types.map(|ident| format!("{name}! {ident}")).collect()
}

/// The public functions, types and implemented traits in the text of a macro, as they stand there.
fn made_in(item: &ItemMacro) -> Vec<String> {
    let body = text(&item.mac.tokens);
    let head = |part: &str| part.split(['{', ';']).next().unwrap_or_default().trim().to_owned();
    let items = body.split("pub ").skip(1).filter(|part| !part.starts_with('(')).map(head);
    let impls = body.split("impl ").skip(1).map(head).filter(|head| head.contains(" for $"));
    items.chain(impls.map(|head| format!("impl {head}"))).collect()
}

/// The lines for the traits that an item derives.
fn derived(name: &impl ToTokens, attributes: &[Attribute], lines: &mut Vec<String>) {
    let lists = attributes.iter().filter(|attribute| attribute.path().is_ident("derive"));
    let mut traits: Vec<String> = lists
        .filter_map(|attribute| attribute.meta.require_list().ok())
        .flat_map(|list| text(&list.tokens).split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>())
        .collect();
    traits.sort_unstable();
    if !traits.is_empty() {
        lines.push(format!("derive {} for {}", traits.join(", "), text(name)));
    }
}

/// Whether the last name of a type, without its arguments, is that of a public type.
fn is_of(types: &BTreeSet<String>, of: &Type) -> bool {
    let Type::Path(path) = of else { return false };
    path.path.segments.last().is_some_and(|last| types.contains(&last.ident.to_string()))
}

fn items(items: &[Item], types: &BTreeSet<String>, lines: &mut Vec<String>) {
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
                derived(&item.ident, &item.attrs, lines);
                fields_of(&item.ident.to_string(), &item.fields, false, lines);
            }
            Item::Enum(item) if is_public(&item.vis) => {
                lines.push(format!("{}enum {}{}", marks(&item.attrs), item.ident, text(&item.generics)));
                derived(&item.ident, &item.attrs, lines);
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
            Item::Macro(item) if item.ident.as_ref().is_some_and(|name| name == "name" || name == "number") => {
                let name = item.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                lines.extend(made_in(item).into_iter().map(|line| format!("{name}! makes {line}")));
            }
            Item::Macro(item) if item.ident.is_none() => lines.extend(made_by(item)),
            Item::Impl(item) => match &item.trait_ {
                None => of_impl(item, lines),
                Some((of, _)) if is_of(types, &item.self_ty) => {
                    lines.push(format!("impl {} for {}", text(of), text(&item.self_ty)));
                }
                Some(_) => {}
            },
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
