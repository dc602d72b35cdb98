//! The commands on the pages, executed one by one as by a reader: with a shell, curl and the local server.

use serde_json::Value;
use tokio::process::Command;

use crate::endpoints::local::Local;
use crate::tidy::files_ending;

/// The address of the server on the pages.
const ADDRESS: &str = "localhost:3000";

/// The pages with commands, the least number of commands on each, and the policy for conflicts of its server.
const PAGES: [(&str, usize, &str); 4] = [
    ("README.md", 3, "reject"),
    ("docs/protocol.md", 14, "reject"),
    ("docs/writing-a-client.md", 7, "reject"),
    ("docs/conflicts.md", 6, "merge"),
];

/// The commands of these pages need tokens; see `tests/endpoints/access/walk.rs`.
const PAGES_WITH_TOKENS: [&str; 2] = ["docs/access.md", "docs/rules.md"];

/// A block of code: its language, its text, and its first line.
struct Block<'a> {
    language: &'a str,
    text: String,
    line_number: usize,
}

impl Block<'_> {
    fn is_command(&self) -> bool {
        self.language == "sh" && self.text.contains(ADDRESS)
    }
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((line_number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let text = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        blocks.push(Block { language, text: text.collect::<Vec<_>>().join("\n"), line_number });
    }
    blocks
}

/// Runs the commands of a page in their order against a fresh server, and returns their number.
async fn run_commands(path: &str, text: &str, policy: &str) -> usize {
    let directory = tempfile::tempdir().expect("a directory");
    let local = Local::start(directory.path(), &[("PORT", "0"), ("CONFLICT_POLICY", policy)]).await;
    let blocks = blocks(text);
    let mut commands = 0;
    for (index, command) in blocks.iter().enumerate().filter(|(_, block)| block.is_command()) {
        commands += 1;
        let place = format!("{path}:{}", command.line_number);
        let answer = blocks.get(index + 1).filter(|block| block.language == "json");
        let answer = answer.unwrap_or_else(|| panic!("{place}: no answer stands below the command"));
        let text = command.text.replace(ADDRESS, local.api.authority());
        let ran = Command::new("sh").arg("-c").arg(text).output().await.expect("a shell");
        assert!(ran.status.success(), "{place}: {} (is curl installed?)", String::from_utf8_lossy(&ran.stderr));
        let given: Value = serde_json::from_slice(&ran.stdout).expect("an answer in JSON");
        let expected: Value = serde_json::from_str(&answer.text)
            .unwrap_or_else(|error| panic!("{path}:{}: the answer is not JSON: {error}", answer.line_number));
        assert_eq!(given, expected, "{place}: the answer is another one than the page's");
    }
    commands
}

#[tokio::test]
async fn every_command_of_the_pages_gives_the_answer_below_it() {
    for (path, least, policy) in PAGES {
        let pages = files_ending(path);
        let page = pages.iter().find(|page| page.path == path).unwrap_or_else(|| panic!("{path} is missing"));
        let commands = run_commands(path, &page.text, policy).await;
        assert!(
            commands >= least,
            "{path} walks through the API in blocks of `sh`, each with one of `json` below it: {commands} of {least}"
        );
    }
}

#[test]
fn every_page_with_commands_is_run() {
    for page in files_ending(".md") {
        let has_commands = blocks(&page.text).iter().any(Block::is_command);
        let is_run = PAGES_WITH_TOKENS.contains(&&*page.path) || PAGES.iter().any(|(path, ..)| *path == page.path);
        assert_eq!(
            has_commands, is_run,
            "{}: list the pages with commands in tests/endpoints/routes/pages.rs",
            page.path
        );
    }
}
