//! The English of the pages and of comments: phrases that are hard to read, if a test can find them.

use super::{Findings, SourceFile, files, files_ending};

/// A phrase, in lower case, and what to write for it. A comma is a word of its own.
const PHRASES: [(&str, &str); 20] = [
    ("anew", "again"),
    ("be it", "such as"),
    ("would else", "otherwise … would"),
    ("once more", "again"),
    ("as a rule", "usually"),
    ("in any case", "always"),
    ("counts as", "is treated as"),
    ("does not count", "has no effect"),
    ("do not count", "have no effect"),
    ("whoever", "the noun, such as: the client that …"),
    ("the reference", "the original protocol, the Express server or the model store"),
    ("legacy", "original"),
    ("cannot be had", "cannot be fetched, or did not come"),
    (", where", "if, when or which"),
    ("where no", "if not"),
    ("where none", "if not"),
    ("where nothing", "if nothing"),
    ("where there are", "if there are"),
    ("where there is", "if there is"),
    ("a bit of", "some"),
];

/// Words that hide the subject at the beginning of a sentence.
const HEADLESS: [&str; 6] = ["What", "Who", "Whoever", "Those", "Nobody", "Somebody"];

/// A sentence with more words is two sentences.
const SENTENCE_MAX_WORDS: usize = 25;

#[test]
fn the_pages_are_in_plain_english() {
    let mut findings = Findings::default();
    for page in files_ending(".md") {
        for (line_number, problem) in faults_of(&page.text) {
            findings.add(format_args!("{}:{line_number}", page.path), problem);
        }
    }
    findings.none_or("write it as said; CONTRIBUTING.md says how the pages are written");
}

/// The beginning of a comment, by the end of the file's name.
const COMMENTS: [(&str, &str); 9] = [
    (".rs", "//"),
    (".sql", "--"),
    (".py", "#"),
    (".sh", "#"),
    (".toml", "#"),
    (".yaml", "#"),
    (".service", "#"),
    (".env.example", "#"),
    ("Dockerfile", "#"),
];

/// The beginning of a comment in a file, if it has comments. A script may have a name without an end.
fn mark_of(file: &SourceFile) -> Option<&'static str> {
    let by_name = COMMENTS.iter().find(|(end, _)| file.path.ends_with(end)).map(|(_, mark)| *mark);
    by_name.or_else(|| file.text.starts_with("#!").then_some("#"))
}

#[test]
fn the_comments_are_in_plain_english() {
    let mut findings = Findings::default();
    for file in files() {
        let Some(mark) = mark_of(&file) else { continue };
        for (line_number, problem) in faults_of_comments(&file.text, mark) {
            findings.add(format_args!("{}:{line_number}", file.path), problem);
        }
    }
    findings.none_or("write it as said; comments follow the rules of the pages in CONTRIBUTING.md");
}

#[test]
fn the_names_of_tests_are_in_plain_english() {
    let mut findings = Findings::default();
    for file in files_ending(".rs") {
        for (line_number, line) in (1..).zip(file.text.lines()) {
            let name = line.split("fn ").nth(1).and_then(|rest| rest.split(['(', '<']).next()).unwrap_or_default();
            let plain = format!(" {} ", name.replace('_', " "));
            let phrases = PHRASES.iter().filter(|(phrase, _)| plain.contains(&format!(" {phrase} ")));
            let faults = phrases.map(|(phrase, remedy)| format!("{phrase:?}: write {remedy:?}"));
            for fault in faults.chain(denied_nouns(&plain)) {
                findings.add(format_args!("{}:{line_number}", file.path), fault);
            }
        }
    }
    findings.none_or("a test is named by a sentence in the English of the pages");
}

/// The comments of a source file that are hard to read, each with the first line of its paragraph, from 1.
fn faults_of_comments(source: &str, mark: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for (line_number, paragraph) in paragraphs(source, mark) {
        for sentence in sentences_of(&paragraph) {
            let plain = without_code_and_links(&sentence);
            faults.extend(faults_of_sentence(&plain).into_iter().map(|fault| (line_number, fault)));
        }
    }
    faults
}

/// The paragraphs of all comments, each with its first line. Code, headings and tables are left out.
fn paragraphs(source: &str, mark: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut is_in_code, mut goes_on) = (false, false);
    for (line_number, line) in (1..).zip(source.lines()) {
        let comment = line.trim_start().strip_prefix(mark).filter(|_| !line.starts_with("#!"));
        let comment = comment.map(|text| text.trim_start_matches(['/', '!', '#']).trim());
        let Some(text) = comment else {
            (is_in_code, goes_on) = (false, false);
            continue;
        };
        let is_fence = text.starts_with("```");
        is_in_code ^= is_fence;
        if is_fence || is_in_code || text.is_empty() || text.starts_with(['#', '|']) {
            goes_on = false;
            continue;
        }
        let item = text.strip_prefix("- ");
        match found.last_mut().filter(|_| goes_on && item.is_none()) {
            Some((_, paragraph)) => *paragraph = format!("{paragraph} {text}"),
            None => found.push((line_number, item.unwrap_or(text).to_owned())),
        }
        goes_on = true;
    }
    found
}

/// The sentences of a paragraph. A full stop or question mark before a capital letter ends one.
fn sentences_of(paragraph: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    for word in paragraph.split_whitespace() {
        let sentence = sentences.last_mut().expect("there is one");
        let is_new = sentence.ends_with(['.', '?']) && word.starts_with(|first: char| !first.is_lowercase());
        if is_new {
            sentences.push(word.to_owned());
        } else {
            sentence.push_str(if sentence.is_empty() { "" } else { " " });
            sentence.push_str(word);
        }
    }
    sentences
}

/// The lines, from 1, that are hard to read, and what to do about each.
fn faults_of(page: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    let mut is_in_code = false;
    for (line_number, line) in (1..).zip(page.lines()) {
        let line = line.trim_start().trim_start_matches("> ");
        if line.starts_with("```") {
            is_in_code = !is_in_code;
        } else if !is_in_code && !line.starts_with('#') {
            for sentence in sentences(&without_code_and_links(line)) {
                faults.extend(faults_of_sentence(&sentence).into_iter().map(|fault| (line_number, fault)));
            }
        }
    }
    faults
}

/// The sentences of a line: the line itself without the mark of its list, or the parts of the cells of a table.
fn sentences(line: &str) -> Vec<String> {
    if let Some(row) = line.strip_prefix('|') {
        return row.split(['|', ';']).flat_map(|cell| cell.split(". ")).map(|part| part.trim().to_owned()).collect();
    }
    let numbered = line.split_once(". ").filter(|(number, _)| number.parse::<u32>().is_ok());
    let text = numbered.map_or(line, |(_, text)| text);
    vec![text.trim_start_matches(['-', '*', ' ']).to_owned()]
}

/// A line with a word in place of each `code`, and without the targets of links.
fn without_code_and_links(line: &str) -> String {
    let text: String = line.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "code" }).collect();
    let mut parts = text.split("](");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push(']');
        plain.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    plain
}

fn faults_of_sentence(sentence: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let words: Vec<&str> = sentence.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).collect();
    if words.len() > SENTENCE_MAX_WORDS {
        faults.push(format!("{} words in a sentence, at most {SENTENCE_MAX_WORDS}: make it two", words.len()));
    }
    let first = words.first().copied().unwrap_or_default();
    if HEADLESS.contains(&first) && !sentence.ends_with('?') {
        faults.push(format!("begins with {first:?}: name the noun, such as \"The client …\""));
    }
    if first == "Where" {
        faults.push("begins with \"Where\": write \"If\" or \"When\"".to_owned());
    }
    let plain = spelt_out(sentence);
    for (phrase, remedy) in PHRASES {
        if plain.contains(&format!(" {phrase} ")) {
            faults.push(format!("{phrase:?}: write {remedy:?}"));
        }
    }
    faults.extend(denied_nouns(&plain));
    faults
}

/// The sentence in lower case with one space around each word and each comma; other marks are dots.
fn spelt_out(sentence: &str) -> String {
    let mut plain = String::from(" ");
    for character in sentence.chars() {
        match character {
            c if c.is_alphanumeric() || c == '\'' || c == '-' => plain.extend(c.to_lowercase()),
            ',' => plain.push_str(" , "),
            ' ' => plain.push(' '),
            '*' | '_' => {}
            _ => plain.push_str(" . "),
        }
    }
    plain.push(' ');
    plain.split_whitespace().fold(String::from(" "), |text, word| text + word + " ")
}

/// `X is no Y` and `X is none` for `X is not a Y`; `there is no Y` and `is no longer` are usual.
fn denied_nouns(plain: &str) -> Option<String> {
    let words: Vec<&str> = plain.split_whitespace().collect();
    let is_denied = |at: &[&str]| {
        let [before, is, no, what] = at else { return false };
        let is_no = *no == "no" && !["longer", "more", "one", "greater"].contains(what);
        ["is", "are"].contains(is) && *before != "there" && (is_no || *no == "none")
    };
    words.windows(4).any(is_denied).then(|| "\"is no …\" or \"is none\": write \"is not a …\"".to_owned())
}

#[test]
fn phrases_and_long_sentences_are_found_and_usual_ones_are_not() {
    let long = "word ".repeat(SENTENCE_MAX_WORDS + 1);
    for odd in [
        "The page is read anew.",
        "A set, be it of one node.",
        "It would else fail.",
        "- It is read once more.",
        "1. An empty variable counts as not set.",
        "It is created, where it is missing.",
        "> Where it is missing, it is created.",
        "What is accepted stays.",
        "| a | It is no URL |",
        "A name that is none of these.",
        &long,
    ] {
        assert_eq!(faults_of(odd).len(), 1, "{odd}: {:?}", faults_of(odd));
    }
    for usual in [
        "The page is read again.",
        "It could be, it is said.",
        "What does it promise?",
        "There is no such document, and it is no longer read; there is none.",
        "`would else` is code, and so is",
        "```\nWhat is anew\n```",
        "# What it promises",
        "| what | meaning |",
        "[a link](where/be%20it.md#once-more) is not read.",
    ] {
        assert_eq!(faults_of(usual), [], "{usual}");
    }
}

#[test]
fn comments_are_read_by_paragraphs_and_sentences() {
    let source = [
        "//! A page.",
        "//!",
        "//! It is read anew. What is read",
        "//! stays.",
        "fn f() {",
        "    // It would else",
        "    // fail.",
        "    let text = \"be it\"; // Who sees this?",
        "    /// - What a list has.",
        "    /// - It is no list. `code` begins a sentence.",
        "    /// ```",
        "    /// // once more",
        "    /// ```",
        "    /// # What it promises",
        "}",
    ];
    let lines: Vec<usize> =
        faults_of_comments(&source.join("\n"), "//").into_iter().map(|(line_number, _)| line_number).collect();
    assert_eq!(lines, [3, 3, 6, 9, 10]);
    let script = "#!/bin/sh\n# What is read\n\n# Usage: a [b]\necho '-- anew' # anew\n";
    assert_eq!(faults_of_comments(script, "#").len(), 1);
    assert_eq!(faults_of_comments("-- What is read\nSELECT 1;", "--").len(), 1);
}
