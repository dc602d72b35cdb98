//! The start of the program: its arguments, and its messages about wrong settings and stores that do not work.

use std::path::Path;
use std::time::Duration;

use mongodb::bson::doc;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::client::insert;
use super::local::{Local, command, run_to_end};
use crate::mongodb::proxy::name_of;
use crate::support::mongo_greeter::Greeter;
use crate::support::postgres::connect;
use crate::support::postgres_server::PostgresServer;
use crate::support::processes::{free_port, write_for_server};

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// The exit code, the standard output and the standard error.
async fn run(mut command: Command) -> (Option<i32>, String, String) {
    let output = run_to_end(&mut command).await;
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn run_with(directory: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = command(directory, settings);
    command.args(arguments);
    run(command).await
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).expect("a directory").next().is_none()
}

#[tokio::test]
async fn help_and_version_are_said_and_nothing_is_started() {
    let directory = directory();
    for argument in ["--help", "-h"] {
        let (code, said, log) = run_with(directory.path(), &[argument], &[("PORT", "0")]).await;
        assert_eq!((code, log.as_str()), (Some(0), ""));
        assert!(
            said.starts_with("local: ") && said.contains("local --check") && said.contains("SQLITE_PATH"),
            "{said}"
        );
    }
    let (code, said, _) = run_with(directory.path(), &["--version"], &[("PORT", "0")]).await;
    assert_eq!((code, said), (Some(0), format!("syncflow-server {}\n", env!("CARGO_PKG_VERSION"))));
    assert!(is_empty(directory.path()));
}

#[tokio::test]
async fn the_help_names_the_program_as_it_was_started() {
    let directory = directory();
    let link = directory.path().join("my-sync");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_local"), &link).unwrap();
    let mut command = Command::new(&link);
    command.arg("--help").env_clear();
    let (_, said, _) = run(command).await;
    assert!(said.starts_with("my-sync: ") && said.contains("my-sync --check"), "{said}");
}

#[tokio::test]
async fn other_arguments_are_refused_and_not_repeated() {
    let directory = directory();
    for arguments in [&["start"][..], &["--port=80"], &["--help", "--check"], &["postgresql://u:hunter2@h/d"], &[""]] {
        let (code, said, log) = run_with(directory.path(), arguments, &[("PORT", "0")]).await;
        assert_eq!((code, said.as_str(), log.lines().count()), (Some(2), "", 1), "{arguments:?}: {log}");
        assert!(log.starts_with("local: ") && !log.contains("hunter2"), "{log}");
    }
    assert!(is_empty(directory.path()));
}

#[tokio::test]
async fn serving_may_be_asked_for_and_the_installed_program_has_its_own_name() {
    let directory = directory();
    let mut serving = command(directory.path(), &[("ADAPTER", "memory")]);
    serving.arg("serve");
    let local = Local::run(serving).await;
    assert_eq!(local.api.get("/livez").await.status, 200);
    let mut installed = Command::new(env!("CARGO_BIN_EXE_syncflow-server"));
    let help = run_to_end(installed.env_clear().arg("--help").current_dir(directory.path())).await;
    assert!(String::from_utf8_lossy(&help.stdout).starts_with("syncflow-server: an offline-first sync server"));
}

#[tokio::test]
async fn a_check_says_that_all_is_well_or_what_is_not_and_makes_no_file() {
    let directory = directory();
    let (code, said, log) = run_with(directory.path(), &["--check"], &[]).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(said.starts_with("sqlite: well; the file does not exist yet"), "{said}");
    assert!(is_empty(directory.path()));
    let (code, _, log) = run_with(directory.path(), &["--check"], &[("SQLITE_PATH", "./no/x.db")]).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("SQLITE_PATH: "), "{log}");
    let (code, _, log) = run_with(directory.path(), &["--check"], &[("SQLITE_PATH", "./x.db/")]).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("is one of a directory"), "{log}");
    let (code, _, log) = run_with(directory.path(), &["--check"], &[("PORT", "none")]).await;
    assert_eq!(code, Some(2), "{log}");

    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    let (code, said, log) = run_with(directory.path(), &["--check"], &[]).await;
    assert_eq!((code, said.as_str()), (Some(0), "sqlite: well\n"), "{log}");
    drop(local);

    let nobody = format!("postgresql://u:hunter2@127.0.0.1:{}/d", free_port());
    let settings = [("POSTGRES_CONNECTION_STRING", nobody.as_str())];
    let (code, _, log) = run_with(directory.path(), &["--check"], &settings).await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("POSTGRES_CONNECTION_STRING: no server listens") && !log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_server_is_asked_for_its_health_with_its_own_settings() {
    let directory = directory();
    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    let port = local.authority().rsplit_once(':').expect("an address with a port").1.to_owned();
    let settings = [("PORT", port.as_str()), ("BIND", "0.0.0.0"), ("AUTH", "off")];
    let (code, said, log) = run_with(directory.path(), &["health"], &settings).await;
    assert_eq!((code, said.as_str()), (Some(0), "well\n"), "{log}");
    drop(local);
    let (code, said, log) = run_with(directory.path(), &["health"], &settings).await;
    assert_eq!((code, said.as_str()), (Some(1), ""), "{log}");
    assert!(log.starts_with("no answer from 127.0.0.1:"), "{log}");
}

#[tokio::test]
async fn a_variable_that_is_misspelt_is_named_with_the_one_that_is_meant() {
    let directory = directory();
    let settings = [("SQLITE_PTH", "/data/hunter2"), ("DATABASE_URL", "postgresql://u:hunter2@h/d"), ("PORT", "0")];
    std::fs::write(directory.path().join(".env"), "MONGODB_URI=mongodb://u:hunter2@h\n").unwrap();
    let local = Local::start(directory.path(), &settings).await;
    local.signal("TERM").await;
    let (_, log) = local.end().await;
    for (name, meant) in
        [("SQLITE_PTH", "SQLITE_PATH"), ("DATABASE_URL", "POSTGRES_CONNECTION_STRING"), ("MONGODB_URI", "MONGO_URI")]
    {
        let line = log.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {log}"));
        assert!(line.contains("WARN") && line.contains(meant), "{line}");
    }
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_name_to_listen_on_is_resolved_and_a_foreign_address_is_not_the_port_s_fault() {
    let directory = directory();
    let local = Local::start(directory.path(), &[("BIND", "localhost"), ("PORT", "0"), ("ADAPTER", "memory")]).await;
    assert_eq!(local.api.get("/health").await.status, 200);
    // This address is from a range that is reserved for documentation.
    let settings = [("AUTH", "off"), ("BIND", "192.0.2.1"), ("PORT", "0"), ("ADAPTER", "memory")];
    let (code, _, log) = run_with(directory.path(), &[], &settings).await;
    assert_eq!(code, Some(2));
    assert!(log.starts_with("BIND: 192.0.2.1 is not an address of this machine"), "{log}");
    let port = local.authority().rsplit(':').next().unwrap().to_owned();
    let (code, _, log) = run_with(directory.path(), &[], &[("PORT", &port), ("ADAPTER", "memory")]).await;
    assert_eq!(code, Some(2));
    assert!(log.starts_with(&format!("PORT: port {port} of 127.0.0.1 is in use")), "{log}");
}

#[tokio::test]
async fn a_connection_string_that_is_wrong_is_refused_with_what_to_do() {
    let directory = directory();
    let file = directory.path().join("secret");
    std::fs::write(&file, "mysql://u:hunter2@h/d\n").unwrap();
    let file = file.to_str().unwrap();
    for (variable, text, what) in [
        ("POSTGRES_CONNECTION_STRING", "mysql://u:hunter2@h/d", "MySQL; it must begin with postgresql://"),
        ("POSTGRES_CONNECTION_STRING", "postgresql://u:hunter2@x@h/d", "write %40 for @"),
        ("POSTGRES_CONNECTION_STRING", "host=h password=a hunter2=x", "single quotes"),
        ("POSTGRES_CONNECTION_STRING_FILE", file, "MySQL; it must begin with postgresql://"),
        ("MONGO_URI", "mysql://u:hunter2@h/d", "MySQL; it must begin with mongodb://"),
        ("MONGO_URI", "mongodb://u:pass?hunter2@h", "%3F for ?"),
        ("MONGO_URI_FILE", file, "MySQL; it must begin with mongodb://"),
        ("MONGO_URI_FILE", "/no/such/file", "the file /no/such/file cannot be read"),
        ("SQLITE_PATH", ":memory:", "ADAPTER=memory"),
        ("SQLITE_PATH", ".", "a directory"),
    ] {
        let settings = [(variable, text), ("PORT", "0"), ("LOG_LEVEL", "warn")];
        let (code, _, log) = run_with(directory.path(), &[], &settings).await;
        assert_eq!((code, log.lines().count()), (Some(2), 1), "{text}: {log}");
        assert!(log.starts_with(&format!("{variable}: ")) && log.contains(what), "{text}: {log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}

/// Starts a server and waits for the first error in its log.
async fn first_error(directory: &Path, settings: &[(&str, &str)]) -> String {
    let mut all = vec![("PORT", "0"), ("LOG_LEVEL", "error")];
    all.extend(settings);
    let mut child = command(directory, &all).spawn().expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    let read = tokio::time::timeout(Duration::from_secs(120), log.read_line(&mut line)).await;
    read.expect("a line in time").expect("text");
    assert!(child.try_wait().expect("a state").is_none(), "it serves on: {line}");
    line
}

#[tokio::test]
async fn a_store_that_does_not_work_is_said_at_the_start_in_plain_words() {
    let server = PostgresServer::start_with(&[], |data| {
        let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        write_for_server(&data.join("pg_hba.conf"), rules);
    })
    .await;
    let admin = connect(&server.url()).await;
    admin
        .batch_execute("CREATE ROLE u LOGIN PASSWORD 'hunter2'; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        .await
        .unwrap();
    let port = server.port();
    let directory = directory();
    for (text, what) in [
        (format!("postgresql://u:hunter2@127.0.0.1:{}/postgres", free_port()), "no server listens"),
        ("postgresql://u:hunter2@no-such-host.invalid/postgres".to_owned(), "the host is unknown"),
        (
            format!("postgresql://u:not-hunter2@127.0.0.1:{port}/postgres"),
            "refuses the login; correct user and password",
        ),
        (format!("postgresql://u@127.0.0.1:{port}/postgres"), "refuses the login"),
        (format!("postgresql://u:hunter2@127.0.0.1:{port}/missing"), "no such database"),
        (format!("postgresql://u:hunter2@127.0.0.1:{port}/postgres?sslmode=require"), "no TLS connection"),
    ] {
        let line = first_error(directory.path(), &[("POSTGRES_CONNECTION_STRING", &text)]).await;
        assert!(line.contains("ERROR") && line.contains("POSTGRES_CONNECTION_STRING: "), "{text}: {line}");
        assert!(line.contains(what) && !line.contains("hunter2"), "{text}: {line}");
    }
    let text = format!("postgresql://u:hunter2@127.0.0.1:{port}/postgres");
    for schema in ["", "public", "a \"b\""] {
        let settings = [("POSTGRES_CONNECTION_STRING", &*text), ("POSTGRES_SCHEMA", schema)];
        let line = first_error(directory.path(), &settings).await;
        assert!(line.contains("POSTGRES_SCHEMA: ") && line.contains("answered with 500"), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
        let sql = line.split_once(", run: ").and_then(|(_, rest)| rest.split_once(" (docs/")).map(|(sql, _)| sql);
        admin.batch_execute(sql.unwrap_or_else(|| panic!("SQL to paste: {line}"))).await.expect("it can be pasted");
        let (code, _, log) = run_with(directory.path(), &["--check"], &settings).await;
        assert_eq!(code, Some(0), "{schema}: {log}");
    }

    // No server listens here either, and the driver searches for one as long as it may. That must be long enough for a
    // first attempt on a busy machine.
    let uri = format!("mongodb://u:hunter2@127.0.0.1:{}/?serverSelectionTimeoutMS=4000", free_port());
    let line = first_error(directory.path(), &[("MONGO_URI", &uri)]).await;
    assert!(line.contains("MONGO_URI: no server listens") && !line.contains("hunter2"), "{line}");
}

#[tokio::test]
async fn what_mongodb_refuses_is_said_at_the_start_in_plain_words() {
    let server = Greeter::start(|command| match name_of(command) {
        "saslStart" => doc! { "ok": 0, "code": 18, "errmsg": "Authentication failed for hunter2." },
        _ => doc! { "ok": 0, "code": 13, "errmsg": "not authorized on syncflow" },
    })
    .await;
    let directory = directory();
    for (login, options, what) in [
        ("u:hunter2@", "", "MongoDB refuses the login; correct user and password"),
        ("", "", "the user lacks rights"),
        ("u:hunter2@", "&tls=true&serverSelectionTimeoutMS=500", "no TLS connection"),
    ] {
        let uri = format!("mongodb://{login}{}/?replicaSet=rs0&directConnection=true{options}", server.address());
        let line = first_error(directory.path(), &[("MONGO_URI", &uri)]).await;
        assert!(line.contains("ERROR") && line.contains("MONGO_URI: "), "{uri}: {line}");
        assert!(line.contains(what) && !line.contains("hunter2"), "{uri}: {line}");
    }
}

#[tokio::test]
async fn a_server_that_started_before_its_database_says_when_that_answers() {
    let mut server = PostgresServer::start(&[]).await;
    server.stop("INT");
    let directory = directory();
    let url = server.url();
    let mut local = Local::start(directory.path(), &[("POSTGRES_CONNECTION_STRING", &url), ("PORT", "0")]).await;
    while local.api.get("/health").await.status != 503 {}
    server.start_again().await;
    local.log_until("the store answers now").await;
    assert_eq!(local.api.get("/health").await.status, 200);
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    // While the database starts, it may refuse connections in further ways.
    let errors = log.lines().filter(|line| line.contains("ERROR"));
    let advice = errors.filter_map(|line| line.split_once("POSTGRES_CONNECTION_STRING").map(|(_, advice)| advice));
    let advice: Vec<&str> = advice.collect();
    assert!(!advice.is_empty(), "{log}");
    assert!(advice.windows(2).all(|pair| pair[0] != pair[1]), "once, until it changes: {log}");
}

/// The files in a directory that contain a text.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let files = std::fs::read_dir(directory).expect("a directory").map(|file| file.expect("a file"));
    let found = files.filter(|file| {
        let bytes = std::fs::read(file.path()).expect("bytes");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    });
    found.map(|file| file.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn what_was_deleted_and_compacted_is_in_no_byte_of_sqlites_files() {
    const MARKER: &str = "the-deleted-text";
    let directory = directory();
    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    let mut counter = 0;
    // Some documents fit a cell and others need their own pages. Some replace others.
    for round in 0..3_usize {
        for document in 0..60_usize {
            counter += 1;
            let mut operation = insert(&format!("op-{counter}"), &format!("doc-{document}"), "a", counter, counter);
            operation["data"] = json!({ "text": MARKER.repeat(1 + (document * 7 + round) % 90 * 4) });
            local.api.accept(&[operation]).await;
        }
    }
    assert!(!files_with(directory.path(), MARKER).is_empty(), "the test knows where to look");
    for document in 0..60 {
        counter += 1;
        let delete = json!({
            "id": format!("op-{counter}"), "type": "delete", "collection": "todos", "docId": format!("doc-{document}"),
            "data": null, "timestamp": counter, "clientId": "a", "vectorClock": { "a": counter },
        });
        local.api.accept(&[delete]).await;
    }
    let answer = local.api.post("/compact", r#"{"olderThanDays":0}"#).await.json();
    assert_eq!((&answer["deletedCount"], &answer["hasMore"]), (&json!(counter), &json!(false)));
    assert_eq!(files_with(directory.path(), MARKER), Vec::<String>::new(), "while it runs");
    local.signal("TERM").await;
    assert_eq!(local.end().await.0, Some(0));
    assert_eq!(files_with(directory.path(), MARKER), Vec::<String>::new(), "after it has stopped");
}
