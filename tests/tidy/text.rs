//! Texts that no file may contain, and the form of pages.

use std::collections::BTreeMap;

use super::{Findings, files, files_ending, read};

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    const MAX_LINES: usize = 500;
    const PROGRAMS: [&str; 4] = [".rs", ".py", ".sh", ".sql"];
    let mut findings = Findings::default();
    for file in PROGRAMS.into_iter().flat_map(files_ending) {
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            findings.add(&file.path, format_args!("{lines} lines"));
        }
    }
    findings.none_or("split it by subject; a file has 500 lines or fewer");
}

#[test]
fn no_line_is_too_long_to_be_read_beside_another() {
    const MAX_CHARACTERS: usize = 120;
    const KINDS: [&str; 6] = [".rs", ".py", ".sh", ".yaml", ".yml", "/test"];
    let mut findings = Findings::default();
    for file in KINDS.into_iter().flat_map(files_ending) {
        for (index, line) in file.text.lines().enumerate() {
            // A text in quotes need not be broken.
            if line.chars().count() > MAX_CHARACTERS && !line.contains('"') {
                findings.add(format_args!("{}:{}", file.path, index + 1), "is too long");
            }
        }
    }
    findings.none_or("break it; a line has 120 characters or fewer");
}

#[test]
fn no_folder_has_too_many_files_to_be_seen_at_once() {
    const MAX_FILES: usize = 12;
    let mut counts = BTreeMap::new();
    for file in files() {
        let folder = file.path.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default();
        if ["src", "tests", "local-dev"].iter().any(|part| folder.split('/').next() == Some(part)) {
            *counts.entry(folder).or_insert(0_usize) += 1;
        }
    }
    let mut findings = Findings::default();
    for (folder, count) in counts.into_iter().filter(|(_, count)| *count > MAX_FILES) {
        findings.add(folder, format_args!("{count} files"));
    }
    findings.none_or("put those that belong together into a folder below it; a folder has 12 files or fewer");
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    // Each is split, so that this file does not contain it.
    const FORBIDDEN: [(&str, &str, &str); 7] = [
        ("#[all", "ow", "use #[expect(lint, reason = \"…\")]"),
        ("#![all", "ow", "use #[expect(lint, reason = \"…\")]"),
        ("#[ign", "ore", "make the test run, or remove it"),
        ("TO", "DO", "do it, or open an issue"),
        ("FIX", "ME", "mend it, or open an issue"),
        ("to", "do!", "write it"),
        ("unimple", "mented!", "write it"),
    ];
    let mut findings = Findings::default();
    for file in files() {
        for (index, line) in file.text.lines().enumerate() {
            for (head, tail, remedy) in FORBIDDEN {
                if line.contains(&format!("{head}{tail}")) {
                    findings.add(format_args!("{}:{}", file.path, index + 1), format_args!("{head}{tail}: {remedy}"));
                }
            }
        }
    }
    findings.none_or("what is in the repository is finished");
}

#[test]
fn no_path_of_somebodys_machine_is_named() {
    const HOMES: [(&str, &str); 3] = [("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/")];
    let mut findings = Findings::default();
    for file in files() {
        for (index, line) in file.text.lines().enumerate() {
            for (head, tail) in HOMES {
                if line.contains(&format!("{head}{tail}")) {
                    findings.add(format_args!("{}:{}", file.path, index + 1), format_args!("{head}{tail}"));
                }
            }
        }
    }
    findings.none_or("use a path from the repository's root, or a temporary directory");
}

#[test]
fn every_figure_has_its_date_machine_and_command() {
    let page = read("docs/performance.md");
    let mut findings = Findings::default();
    let sections = page.split("\n#").skip(1);
    let mut count = 0;
    for section in sections.filter(|section| section.contains("\n|")) {
        let title = section.lines().next().unwrap_or_default();
        count += 1;
        for mark in ["Date: ", "Machine: ", "Command: "] {
            if !section.lines().any(|line| line.starts_with(mark)) {
                findings.add(title, format_args!("no line begins with {mark:?}"));
            }
        }
    }
    assert!(count > 5, "the sections with tables are not found any more");
    findings.none_or("say when, where and how it was measured, or how to measure it again");
}

#[test]
fn a_line_of_markdown_is_one_sentence() {
    let mut findings = Findings::default();
    for file in files_ending(".md") {
        for (line_number, problem) in faults_of_markdown(&file.text) {
            findings.add(format_args!("{}:{line_number}", file.path), problem);
        }
    }
    findings.none_or("write every sentence in a line of its own, and in no more than one");
}

/// Lines, from 1, that contain more than one sentence or end within one.
fn faults_of_markdown(text: &str) -> Vec<(usize, &'static str)> {
    let mut faults = Vec::new();
    let mut is_in_code = false;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if line.trim_start().starts_with("```") {
            is_in_code = !is_in_code;
            continue;
        }
        if is_in_code || !is_prose(line) {
            continue;
        }
        let sentence = without_code(line);
        if ends_of_sentences(&sentence) > 0 {
            faults.push((index + 1, "a sentence ends within this line"));
        }
        let goes_on = lines.peek().is_some_and(|(_, next)| is_prose(next) && !is_item(next));
        if goes_on && !sentence.trim_end_matches('*').ends_with(['.', ':', '!', '?', ')']) {
            faults.push((index + 1, "a sentence goes on in the next line"));
        }
    }
    faults
}

fn is_prose(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches("> ");
    !line.is_empty() && !line.starts_with(['#', '|', '<', '[']) && !line.starts_with("```")
}

fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("- ") || line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok())
}

/// A line with its `code` removed.
fn without_code(line: &str) -> String {
    line.split('`').enumerate().map(|(index, part)| if index % 2 == 0 { part } else { "code" }).collect()
}

/// The number of sentences that end before the end of a line.
fn ends_of_sentences(line: &str) -> usize {
    let text =
        line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['-', '.', ' ', '>']);
    let pairs = text.split(['.', '!', '?']).skip(1);
    pairs.filter(|rest| rest.strip_prefix(' ').is_some_and(|next| next.starts_with(char::is_uppercase))).count()
}

#[test]
fn sentences_that_share_a_line_or_span_two_are_found() {
    let faults = |text| faults_of_markdown(text).iter().map(|(line, _)| *line).collect::<Vec<usize>>();
    let none: [usize; 0] = [];
    assert_eq!(
        faults("One sentence.\nAnother: `a. B` in version 1.2 of it.\n\n- An item\n- Another\n1. First.\n"),
        none
    );
    assert_eq!(faults("```\nOne. Two\nthree\n```\n# Title. Here\n| A. B |\n"), none);
    assert_eq!(faults("One. Two.\n"), [1]);
    assert_eq!(faults("It goes\non.\n"), [1]);
    assert_eq!(faults("> [!WARNING]\n> **In a box.**\n> Another.\n"), none);
    assert_eq!(faults("> In a box. Another.\n> It goes\n> on.\n"), [1, 2]);
}
