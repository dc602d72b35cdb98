//! The commands of the pages about access and rules, executed one by one as by a reader.

use serde_json::Value;
use tokio::process::Command;

use crate::endpoints::local::{Local, command, run_to_end};

/// The address of the pages' server.
const ADDRESS: &str = "localhost:3000";

/// The blocks of code of a page: the language and the text of each.
fn blocks(page: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push((language, text.join("\n")));
    }
    blocks
}

/// Makes the tokens of a page and runs its commands. Returns how many tokens and commands there are.
async fn walk(page: &str, settings: &[(&str, &str)]) -> (usize, usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let blocks = blocks(page);
    if let Some((_, rules)) = blocks.iter().find(|(language, _)| *language == "toml") {
        std::fs::write(directory.path().join("rules.toml"), rules).expect("the file is written");
    }
    let local = Local::start(directory.path(), settings).await;
    let mut tokens = Vec::new();
    for line in blocks.iter().filter(|(language, _)| *language == "console").flat_map(|(_, text)| text.lines()) {
        let Some((name, made)) = line.split_once("=$(cargo run --bin local -- ") else { continue };
        let arguments = made.trim_end_matches(')').split(' ').map(|argument| argument.trim_matches('\''));
        let ended = run_to_end(command(directory.path(), settings).args(arguments)).await;
        assert!(ended.status.success(), "{line}");
        tokens.push((name.trim_start_matches("$ "), String::from_utf8(ended.stdout).expect("a token")));
    }
    let mut commands = 0;
    for ((language, text), (language_below, answer)) in blocks.iter().zip(&blocks[1..]) {
        if *language != "sh" {
            continue;
        }
        commands += 1;
        assert_eq!(*language_below, "json", "no answer stands below {text}");
        let tokens = tokens.iter().map(|(name, token)| (*name, token.trim()));
        let ran = Command::new("sh").arg("-c").arg(text.replace(ADDRESS, local.authority())).envs(tokens).output();
        let ran = ran.await.expect("a shell");
        assert!(ran.status.success(), "{text}: {} (is curl installed?)", String::from_utf8_lossy(&ran.stderr));
        let given: Value = serde_json::from_slice(&ran.stdout).expect("an answer in JSON");
        let expected: Value = serde_json::from_str(answer).expect("the page's answers are JSON");
        assert_eq!(given, expected, "{text}");
    }
    (tokens.len(), commands)
}

const SECRET: (&str, &str) = ("AUTH_HS256_SECRET", "a secret that openssl would have made");

#[tokio::test]
async fn every_command_of_the_page_about_access_gives_the_answer_below_it() {
    let (tokens, commands) =
        walk(include_str!("../../../docs/access.md"), &[SECRET, ("AUTH_TENANT_CLAIM", "tenant")]).await;
    assert_eq!(tokens, 2, "the page makes two tokens");
    assert!(commands >= 5, "the page walks in blocks of `sh`, each with one of `json` below it");
}

#[tokio::test]
async fn every_command_of_the_page_about_rules_gives_the_answer_below_it() {
    let settings = [SECRET, ("AUTH_TENANT", "family"), ("RULES_FILE", "rules.toml")];
    let (tokens, commands) = walk(include_str!("../../../docs/rules.md"), &settings).await;
    assert_eq!((tokens, commands), (3, 5));
}
