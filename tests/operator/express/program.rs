//! The command `import-express`, as `docs/from-express.md` shows it.

use std::fs;

use serde_json::{Value, json};

use super::layout::{Express, Kind, operation, url_of};
use crate::operator::program::{commands_of, directory, run};
use crate::support::mongo::Database;
use crate::support::postgres::Schema;

const PAGE: &str = include_str!("../../../docs/from-express.md");

const LEAST_COMMANDS: usize = 4;

/// The Express server of the page.
async fn shop(kind: Kind) -> Express {
    let express = Express::new(kind).await;
    express
        .push(&[
            operation("op-1", "insert", ("todos", "milk"), json!({"title": "milk"}), ("phone", 1)),
            operation("op-2", "update", ("todos", "milk"), json!({"done": true}), ("phone", 2)),
            operation("op-3", "insert", ("todos", "bread"), json!({"title": "bread"}), ("phone", 3)),
            operation("op-4", "delete", ("todos", "bread"), Value::Null, ("phone", 4)),
        ])
        .await;
    express
}

/// The arguments that name the schema of a test.
fn arguments<'a>(express: &'a Express, words: &[&'a str]) -> Vec<&'a str> {
    let schema = express.schema().filter(|_| words.first() == Some(&"import-express"));
    words.iter().copied().chain(schema.into_iter().flat_map(|schema| ["--schema", schema])).collect()
}

/// Runs the commands of the page in their order.
async fn walk(express: &Express, settings: &[(&str, &str)]) {
    let (directory, url) = (directory(), express.url());
    let settings: Vec<(&str, &str)> = settings.iter().copied().chain([("EXPRESS_URL", url.as_str())]).collect();
    let commands = commands_of(PAGE);
    assert!(commands.len() >= LEAST_COMMANDS, "{commands:?}");
    for (words, expected) in &commands {
        let (code, said, log) = run(directory.path(), &settings, &arguments(express, words)).await;
        assert_eq!((code, said.as_str()), (Some(0), expected.as_str()), "{words:?}: {log}");
    }
}

#[tokio::test]
async fn the_commands_of_the_page_move_from_postgresql_to_sqlite() {
    walk(&shop(Kind::Postgres).await, &[]).await;
}

#[tokio::test]
async fn the_commands_of_the_page_move_from_mongodb_to_postgresql() {
    let schema = Schema::new();
    let options = schema.options();
    let settings = [("POSTGRES_CONNECTION_STRING", &*options.connection_string), ("POSTGRES_SCHEMA", schema.name())];
    walk(&shop(Kind::Mongo).await, &settings).await;
}

#[tokio::test]
async fn the_commands_of_the_page_move_from_postgresql_to_mongodb() {
    let database = Database::new();
    let settings = [("MONGO_URI", database.uri()), ("MONGO_DB_NAME", database.name())];
    walk(&shop(Kind::Postgres).await, &settings).await;
}

#[tokio::test]
async fn rows_that_cannot_be_taken_over_are_printed_and_left_out_only_if_that_is_asked_for() {
    let (express, directory) = (shop(Kind::Postgres).await, directory());
    express.execute("UPDATE {schema}.documents SET data = '[\"hunter2\"]' WHERE id = 'milk'").await;
    let url = express.url();
    let settings = [("EXPRESS_URL", url.as_str())];
    let import = async |words: &[&str]| run(directory.path(), &settings, &arguments(&express, words)).await;
    let (code, said, log) = import(&["import-express", "shop", "--dry-run", "--json"]).await;
    let rows: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!((code, rows.len()), (Some(1), 2), "{log}");
    assert_eq!(rows[0]["place"], "documents \"todos\" \"milk\"");
    let report = json!({
        "tenant": "shop", "documents": 1, "presentDocuments": 0, "ids": 2, "clients": 1, "completedDocuments": 0,
        "overwrittenOperations": 0, "badRows": 1, "leftOutOperations": 2, "isDryRun": true,
    });
    assert_eq!(rows[1], report);
    assert_eq!(run(directory.path(), &[], &["tenants"]).await.1, "", "nothing is written");
    let (code, said, log) = import(&["import-express", "shop"]).await;
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(log.starts_with("documents \"todos\" \"milk\": data must be"), "{log}");
    let (code, said, _) = import(&["import-express", "shop", "--skip-bad"]).await;
    assert_eq!(code, Some(0));
    assert!(said.contains("shop: documents ") && said.contains("bad rows 1, left out 2"), "{said}");
    assert!(!said.contains("hunter2") && !log.contains("hunter2"));
}

#[tokio::test]
async fn a_database_that_cannot_be_read_is_named_without_its_password() {
    let directory = directory();
    let import = &["import-express", "shop"][..];
    let (code, _, log) = run(directory.path(), &[], import).await;
    assert_eq!(code, Some(2));
    assert!(log.starts_with("EXPRESS_URL: must be set"), "{log}");
    for (url, words, code, why) in [
        ("mysql://u:hunter2@h/d", import, 2, "is the scheme of MySQL"),
        ("mongodb://u:hunter2@h", import, 2, "must name the database"),
        ("mongodb://u:hunter2@h/d", &["import-express", "shop", "--schema", "s"][..], 2, "has no schema"),
        ("postgresql://u:hunter2@127.0.0.1:1/d", import, 1, "EXPRESS_URL: no server listens at the host and port"),
    ] {
        let (found, said, log) = run(directory.path(), &[("EXPRESS_URL", url)], words).await;
        assert_eq!((found, said.as_str()), (Some(code), ""), "{log}");
        assert!(log.contains(why) && !log.contains("hunter2"), "{log}");
    }
    let express = shop(Kind::Postgres).await;
    let file = directory.path().join("url");
    fs::write(&file, express.url()).expect("a file");
    let settings = [("EXPRESS_URL_FILE", "url")];
    let (code, _, log) = run(directory.path(), &settings, &["import-express", "shop", "--schema", "nothing"]).await;
    assert_eq!(code, Some(1));
    assert!(log.contains("the schema nothing does not have the tables of an Express server"), "{log}");
    for words in [&["import-express"][..], &["import-express", "a", "b"], &["import", "a", "--skip-bad"]] {
        assert_eq!(run(directory.path(), &settings, words).await.0, Some(2), "{words:?}");
    }
    let url = url_of(&Database::new());
    let (code, _, log) = run(directory.path(), &[("EXPRESS_URL", &url)], import).await;
    assert_eq!(code, Some(1));
    assert!(log.contains("does not have the collections of an Express server"), "{log}");
}
