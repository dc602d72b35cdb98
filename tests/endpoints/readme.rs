//! The README's walk, command by command, as its reader runs it: with a shell, curl and the local server.

use serde_json::Value;
use tokio::process::Command;

use super::local::Local;

/// Where the README's server listens.
const ADDRESS: &str = "localhost:3000";

/// A block of code: its language, its text, and the line where it begins.
struct Block<'a> {
    language: &'a str,
    text: String,
    line_number: usize,
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

#[tokio::test]
async fn every_command_of_the_readme_gives_the_answer_below_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    let blocks = blocks(include_str!("../../README.md"));
    let mut commands = 0;
    for (command, answer) in blocks.iter().zip(&blocks[1..]) {
        if command.language != "sh" || !command.text.contains(ADDRESS) {
            continue;
        }
        commands += 1;
        let place = format!("README.md:{}", command.line_number);
        assert_eq!(answer.language, "json", "{place}: no answer stands below the command");
        let text = command.text.replace(ADDRESS, local.api.authority());
        let ran = Command::new("sh").arg("-c").arg(text).output().await.expect("a shell");
        assert!(ran.status.success(), "{place}: {} (is curl installed?)", String::from_utf8_lossy(&ran.stderr));
        let given: Value = serde_json::from_slice(&ran.stdout).expect("an answer in JSON");
        let expected: Value = serde_json::from_str(&answer.text).expect("the README's answers are JSON");
        assert_eq!(given, expected, "{place}: the answer is another one than the README's");
    }
    assert!(
        commands >= 7,
        "the README walks through the endpoints in blocks of `sh`, each with one of `json` below it"
    );
}
