//! The commands of the program, as `docs/operator.md` shows them, over every store that has a database.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{delete, insert, inserts, update};
use syncflow_server::core::names::ClientId;
use syncflow_server::core::numbers::{Seq, UnixMs};
use syncflow_server::core::progress::Progress;
use syncflow_server::store::Store;
use syncflow_server::store::mongodb::MongoStore;
use syncflow_server::store::postgres::PostgresStore;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use crate::endpoints::local::{Local, command, run_to_end};
use crate::support::mongo::Database;
use crate::support::postgres::Schema;
use crate::support::processes::free_port;
use crate::support::stores::open_sqlite;

const PAGE: &str = include_str!("../../docs/operator.md");

/// The beginning of a command on the page.
const PROGRAM: &str = "$ cargo run --bin local -- ";

pub(super) fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// The exit code, the standard output and the standard error of a command.
pub(super) async fn run(
    directory: &Path,
    settings: &[(&str, &str)],
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let mut command = command(directory, settings);
    let output = run_to_end(command.args(arguments)).await;
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The tenant of the page.
async fn shop(store: Arc<dyn Store>) {
    let world = World::new(store).as_tenant("shop");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    let now_ms = UnixMs::new(u64::try_from(now.as_millis()).expect("a time before the end"));
    world.host.set_ms(now_ms);
    let milk = [
        insert("op-1", "milk").data(r#"{"title":"milk"}"#).clock(&[("phone", 1)]).at(1),
        update("op-2", "milk").data(r#"{"done":true}"#).clock(&[("phone", 2)]).at(2),
    ];
    world.apply(milk).await;
    let bread =
        [insert("op-3", "bread").clock(&[("phone", 1)]).at(3), delete("op-4", "bread").clock(&[("phone", 2)]).at(4)];
    world.apply(bread).await;
    world.since("tablet", 0, 9).await;
    let progress = Progress { pulled_seq: Seq::new(2), seen_at_ms: now_ms };
    world.store.note_pulled(&world.tenant, &ClientId::literal("phone"), progress).await.expect("it is noted");
}

/// The commands on a page, each with the output below it.
pub(super) fn commands_of(page: &'static str) -> Vec<(Vec<&'static str>, String)> {
    let mut commands: Vec<(Vec<&str>, String)> = Vec::new();
    let mut is_console = false;
    for line in page.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_console = language == "console";
        } else if let Some(arguments) = line.strip_prefix(PROGRAM) {
            commands.push((arguments.split(' ').collect(), String::new()));
        } else if is_console
            && !line.starts_with('$')
            && let Some((_, output)) = commands.last_mut()
        {
            output.push_str(line);
            output.push('\n');
        }
    }
    commands
}

/// Replaces times, which are others in each run.
fn without_times(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = match line.split_once("seen ") {
            Some((before, _)) => format!("{before}seen"),
            None => line.to_owned(),
        };
        let line = match line.split_once("\"receivedAtMs\":") {
            Some((before, after)) => format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
            None => line,
        };
        lines.push(line);
    }
    lines.join("\n")
}

/// Runs the commands of the page in their order. Returns how many there are.
async fn walk(settings: &[(&str, &str)], directory: &Path, has_backups: bool) -> usize {
    let commands = commands_of(PAGE);
    for (arguments, expected) in &commands {
        let (code, said, log) = run(directory, settings, arguments).await;
        if !has_backups && matches!(arguments[0], "backup" | "restore") {
            assert_eq!((code, said.as_str()), (Some(2), ""), "{arguments:?}");
            assert!(log.contains("pg_dump") || log.contains("mongodump"), "{log}");
            continue;
        }
        assert_eq!((code, without_times(&said)), (Some(0), without_times(expected)), "{arguments:?}: {log}");
    }
    commands.len()
}

const LEAST_COMMANDS: usize = 18;

#[tokio::test]
async fn the_commands_of_the_page_work_with_sqlite() {
    let directory = directory();
    shop(open_sqlite(&directory.path().join("syncflow.db"))).await;
    assert!(walk(&[], directory.path(), true).await >= LEAST_COMMANDS);
}

#[tokio::test]
async fn the_commands_of_the_page_work_with_postgres() {
    let (directory, schema) = (directory(), Schema::new());
    let options = schema.options();
    shop(Arc::new(PostgresStore::new(&options).expect("the options are right"))).await;
    let settings = [("POSTGRES_CONNECTION_STRING", &*options.connection_string), ("POSTGRES_SCHEMA", schema.name())];
    assert!(walk(&settings, directory.path(), false).await >= LEAST_COMMANDS);
}

#[tokio::test]
async fn the_commands_of_the_page_work_with_mongodb() {
    let (directory, database) = (directory(), Database::new());
    shop(Arc::new(MongoStore::new(&database.options()).expect("the options are right"))).await;
    let settings = [("MONGO_URI", database.uri()), ("MONGO_DB_NAME", database.name())];
    assert!(walk(&settings, directory.path(), false).await >= LEAST_COMMANDS);
}

#[tokio::test]
async fn nothing_is_destroyed_without_a_yes() {
    let directory = directory();
    shop(open_sqlite(&directory.path().join("syncflow.db"))).await;
    assert_eq!(run(directory.path(), &[], &["backup", "b.db"]).await.0, Some(0));
    for arguments in [
        &["erase-tenant", "shop"][..],
        &["erase-document", "shop", "todos", "milk"],
        &["forget-client", "shop", "phone"],
        &["restore", "b.db"],
    ] {
        let (code, said, log) = run(directory.path(), &[], arguments).await;
        assert_eq!((code, said.as_str()), (Some(2), ""), "{log}");
        assert!(log.contains("--yes"), "{log}");
    }
    let (code, said, _) = run(directory.path(), &[], &["stats", "--json"]).await;
    let stats: Value = serde_json::from_str(&said).expect("a line of JSON");
    assert_eq!((code, &stats["documents"], &stats["logEntries"]), (Some(0), &1.into(), &4.into()));
}

#[tokio::test]
async fn commands_work_beside_a_server_that_runs() {
    let directory = directory();
    shop(open_sqlite(&directory.path().join("syncflow.db"))).await;
    let local = Local::start(directory.path(), &[]).await;
    for arguments in [&["verify"][..], &["stats", "shop"], &["backup", "b.db"], &["export", "shop"]] {
        let (code, _, log) = run(directory.path(), &[], arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {log}");
    }
    let (code, _, log) = run(directory.path(), &[], &["restore", "b.db", "--yes"]).await;
    assert_eq!(code, Some(1));
    assert!(log.contains("stop it first"), "{log}");
    drop(local);
}

#[tokio::test]
async fn erasing_waits_for_a_process_that_holds_the_file_for_long() {
    let directory = directory();
    let file = directory.path().join("syncflow.db");
    shop(open_sqlite(&file)).await;
    let busy = rusqlite::Connection::open(&file).expect("the file opens");
    busy.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    // This is longer than SQLite itself waits for a lock.
    let release = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        busy.execute_batch("ROLLBACK").expect("the lock is given back");
    };
    let arguments = ["erase-document", "shop", "todos", "milk", "--yes"];
    let ((code, said, log), ()) = futures_util::future::join(run(directory.path(), &[], &arguments), release).await;
    assert_eq!((code, said.as_str()), (Some(0), "deleted (log entries overwritten 2)\n"), "{log}");
}

#[tokio::test]
async fn an_export_goes_through_a_pipe_and_one_that_is_cut_off_is_refused() {
    let directory = directory();
    shop(open_sqlite(&directory.path().join("syncflow.db"))).await;
    let (code, lines, log) = run(directory.path(), &[], &["export", "shop"]).await;
    assert_eq!((code, lines.lines().count(), log.trim_end()), (Some(0), 6, "shop: lines 6"));
    let import = async |text: &str| {
        let mut import = command(directory.path(), &[]);
        import.args(["import", "copy", "--json"]).stdin(Stdio::piped());
        let mut child = import.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // It may end before it has read everything.
        let _ = stdin.write_all(text.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.expect("an end");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let cut = lines.lines().take(3).collect::<Vec<_>>().join("\n");
    let (code, log) = import(&cut).await;
    assert_eq!(code, Some(1));
    assert!(log.contains("cut off after line 3"), "{log}");
    let (code, log) = import(&lines.replace(r#""rev":2"#, r#""rev":"hunter2""#)).await;
    assert_eq!(code, Some(1));
    assert!(log.starts_with("line 2: ") || log.starts_with("line 3: "), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
    assert_eq!(import(&lines).await.0, Some(0));
    fs::write(directory.path().join("there.jsonl"), "").expect("a file");
    for (arguments, why) in [
        (&["export", "shop", "there.jsonl"][..], "exists already"),
        (&["import", "copy", "missing.jsonl"], "there is no such file"),
        (&["import", "copy", "there.jsonl"], "cut off"),
    ] {
        let (code, _, log) = run(directory.path(), &[], arguments).await;
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(why), "{log}");
    }
}

#[tokio::test]
async fn what_is_damaged_or_not_there_ends_with_1() {
    let directory = directory();
    let file = directory.path().join("syncflow.db");
    shop(open_sqlite(&file)).await;
    for arguments in [
        &["document", "show", "shop", "todos", "none"][..],
        &["document", "history", "shop", "todos", "none"],
        &["forget-client", "shop", "nobody", "--yes"],
    ] {
        assert_eq!(run(directory.path(), &[], arguments).await.0, Some(1), "{arguments:?}");
    }
    let connection = rusqlite::Connection::open(&file).expect("the file opens");
    connection.execute("UPDATE heads SET documents = 7", []).expect("the statement is right");
    drop(connection);
    let (code, said, _) = run(directory.path(), &[], &["verify", "--json"]).await;
    let row: Value = serde_json::from_str(&said).expect("a line of JSON");
    assert_eq!((code, &row["findingCount"], &row["findings"][0]["fault"]), (Some(1), &1.into(), &"counter".into()));
    let (code, said, _) = run(directory.path(), &[], &["verify", "shop"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("the head says 7, and there are 1"), "{said}");
}

#[tokio::test]
async fn wrong_arguments_and_stores_are_refused_in_one_line() {
    let directory = directory();
    for arguments in [
        &["clients"][..],
        &["stats", "a", "hunter2"],
        &["stats", "--hunter2"],
        &["document", "hunter2", "t", "c", "d"],
        &["compact", "--older-than-days", "hunter2"],
        &["compact", "--older-than-days"],
        &["verify", "--dry-run"],
        &["verify", ""],
    ] {
        let (code, said, log) = run(directory.path(), &[], arguments).await;
        assert_eq!((code, said.as_str(), log.lines().count()), (Some(2), "", 1), "{arguments:?}: {log}");
        assert!(log.starts_with("local: ") && !log.contains("hunter2"), "{log}");
    }
    let (code, said, _) = run(directory.path(), &[], &["verify", "--help"]).await;
    assert_eq!(code, Some(0));
    assert!(said.contains("local erase-document TENANT COLLECTION ID") && said.contains("Ends with 0"), "{said}");
    let (code, _, log) = run(directory.path(), &[("ADAPTER", "memory")], &["tenants"]).await;
    assert_eq!(code, Some(2));
    assert!(log.starts_with("ADAPTER: "), "{log}");
    for arguments in [&["tenants"][..], &["backup", "b.db"], &["erase-tenant", "shop", "--yes"]] {
        let (code, _, log) = run(directory.path(), &[], arguments).await;
        assert!(matches!(code, Some(1 | 2)), "{log}");
        assert!(log.contains("there is no file"), "{log}");
        assert!(fs::read_dir(directory.path()).expect("a directory").next().is_none(), "no file is made");
    }
    let nobody = format!("postgresql://u:hunter2@127.0.0.1:{}/d", free_port());
    let (code, _, log) = run(directory.path(), &[("POSTGRES_CONNECTION_STRING", &nobody)], &["tenants"]).await;
    assert_eq!(code, Some(1));
    assert!(log.contains("no server listens") && !log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn check_is_a_command_too() {
    let directory = directory();
    World::new(open_sqlite(&directory.path().join("syncflow.db"))).apply(inserts(1)).await;
    let (code, said, _) = run(directory.path(), &[], &["check"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "sqlite: well\n"));
}

#[tokio::test]
async fn compact_says_what_retention_would_remove_and_then_removes_it() {
    let directory = directory();
    // The clock of this world is years behind that of the program.
    let world = World::new(open_sqlite(&directory.path().join("syncflow.db"))).as_tenant("shop");
    world.apply([insert("op-1", "milk"), insert("op-2", "bread"), delete("op-3", "bread")]).await;
    drop(world);
    let settings = [("TOMBSTONE_DAYS", "30"), ("ID_DAYS", "60"), ("FINGERPRINT_DAYS", "60")];
    let compact = async |arguments: &[&str]| {
        let (code, said, log) = run(directory.path(), &settings, &[&["compact", "shop"], arguments].concat()).await;
        assert_eq!(code, Some(0), "{log}");
        said
    };
    let removed = |of| format!("shop: log entries {of} 3, tombstones 1, remains of earlier entries 2\n");
    assert_eq!(compact(&["--dry-run"]).await, removed("to remove"));
    assert_eq!(compact(&["--dry-run"]).await, removed("to remove"), "nothing was removed");
    assert_eq!(compact(&[]).await, removed("removed"));
    let row: Value = serde_json::from_str(&compact(&["--json"]).await).expect("a line of JSON");
    let expected = serde_json::json!({
        "tenant": "shop", "removedEntries": 0, "removedTombstones": 0, "removedRemains": 0, "isDryRun": false,
    });
    assert_eq!(row, expected);
    let (code, said, log) = run(directory.path(), &[], &["verify", "shop"]).await;
    assert_eq!(code, Some(0), "{said} {log}");
}
