//! Links between the pages: their targets exist.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Findings, files, files_ending, root};

#[test]
fn a_link_of_a_page_leads_somewhere() {
    let anchors: BTreeMap<String, BTreeSet<String>> =
        files_ending(".md").into_iter().map(|page| (page.path, anchors(&page.text))).collect();
    let mut findings = Findings::default();
    for page in files_ending(".md") {
        for (line_number, link) in links(&page.text) {
            if let Some(problem) = fault_of(&link, &page.path, &anchors) {
                findings.add(format_args!("{}:{line_number}", page.path), problem);
            }
        }
    }
    findings.none_or("correct the link; an anchor is a heading in lower case, with dashes for spaces");
}

#[test]
fn a_page_that_the_code_names_exists() {
    // The text is split, so that this file does not contain the path of a page itself.
    let folder = ["docs", "/"].concat();
    let mut findings = Findings::default();
    for file in files() {
        // Links on pages are relative to the page and have their own test.
        if Path::new(&file.path).extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        for (line_number, line) in (1..).zip(file.text.lines()) {
            for (at, _) in line.match_indices(&folder) {
                let is_part = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
                let path = line[at..].split(|c| !is_part(c)).next().unwrap_or_default();
                let Some((path, _)) = path.split_once(".md") else { continue };
                if !root().join(format!("{path}.md")).exists() {
                    findings.add(format_args!("{}:{line_number}", file.path), format_args!("{path}.md does not exist"));
                }
            }
        }
    }
    findings.none_or("name the page that has it now");
}

/// The fault of a link on a page, if it has one. Addresses on the web are not requested.
fn fault_of(link: &str, page: &str, anchors: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { page.to_owned() } else { resolved(page, file) };
    if !root().join(&path).exists() {
        return Some(format!("{path} does not exist"));
    }
    let anchor = anchor?;
    let is_there = anchors.get(&path).is_some_and(|anchors| anchors.contains(anchor));
    (!is_there).then(|| format!("{path} has no heading #{anchor}"))
}

/// The path of a file as a page names it, from the repository's root.
fn resolved(page: &str, file: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.trim_end_matches('/').split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The lines of a page that are not code, each with its number from 1.
fn prose(page: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_in_code = false;
    (1..).zip(page.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_in_code ^= is_fence;
        !is_in_code && !is_fence
    })
}

/// The targets of the links on a page, each with its line.
fn links(page: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (line_number, line) in prose(page) {
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            links.push((line_number, target.to_owned()));
        }
    }
    links
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, heading) in prose(page).filter(|(_, line)| line.starts_with('#')) {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        // A heading that occurs again gets its number at the end.
        let mut unique = anchor.clone();
        let mut number = 0;
        while !anchors.insert(unique) {
            number += 1;
            unique = format!("{anchor}-{number}");
        }
    }
    anchors
}

#[test]
fn broken_links_and_anchors_are_found() {
    const PAGE: &str = "docs/operate.md";
    let page = "# One & two\n\n## POST /documents/:collection/query\n## Same\n## Same\n```\n# No heading\n```\n";
    let known = BTreeMap::from([(PAGE.to_owned(), anchors(page))]);
    let fault = |link| fault_of(link, PAGE, &known);
    for anchor in ["#one--two", "#post-documentscollectionquery", "#same", "#same-1"] {
        assert_eq!(fault(anchor), None);
    }
    for good in ["../README.md", "./protocol.md", "../docs/", "https://example.com/#no"] {
        assert_eq!(fault(good), None);
    }
    assert!(fault("#no-heading").is_some_and(|problem| problem.contains("no heading")));
    assert!(fault("missing.md").is_some_and(|problem| problem.contains("/missing.md does not exist")));
    let links: Vec<String> =
        links("[a](b.md) `c`, [d](#e)\n```\n[f](g.md)\n```\n").into_iter().map(|(_, link)| link).collect();
    assert_eq!(links, ["b.md", "#e"]);
}
