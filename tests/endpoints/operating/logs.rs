//! The log: who did how much, why a request was refused, and what a signal reads again.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use crate::endpoints::client::insert;
use crate::endpoints::local::Local;

/// The lines of a log in JSON.
fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|problem| panic!("{problem}: {line}"))).collect()
}

#[tokio::test]
async fn one_line_says_in_the_form_of_the_log_that_the_server_has_started() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &[("LOG_FORMAT", "json"), ("METRICS_BIND", "127.0.0.1:0")]).await;
    let (address, metrics) = (local.authority().to_owned(), local.metrics().trim_start_matches("http://").to_owned());
    local.signal("TERM").await;
    let (_, log) = local.end().await;
    let lines = lines(&log);
    let started: Vec<_> = lines.iter().filter(|line| line["message"] == "started").collect();
    let [started] = started.as_slice() else { panic!("one line: {log}") };
    assert_eq!((&started["listen.address"], &started["metrics.address"]), (&json!(address), &json!(metrics)));
    assert_eq!((&started["store.name"], &started["level"]), (&json!("sqlite"), &json!("INFO")));
    assert_eq!(started["server.version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_line_of_a_request_says_who_how_much_and_why_not() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [("LOG_FORMAT", "json"), ("ADAPTER", "memory")];
    let local = Local::start(directory.path(), &settings).await;
    local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1), insert("op-2", "doc-2", "a", 2, 2)]).await;
    let pull = json!({"cursor": null, "clientId": "phone"});
    local.api.pull(&pull).await;
    let bad = json!({"clientId": 7, "operations": [{}]}).to_string();
    let refused = local.api.send(Method::POST, "/operations", &[], bad.clone()).await;
    local.signal("TERM").await;
    let (_, log) = local.end().await;
    let lines = lines(&log);
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "answered").collect();
    let [push, pulled, faulty] = answered.as_slice() else { panic!("three requests: {log}") };
    for line in [push, pulled, faulty] {
        let span = &line["span"];
        assert_eq!((&span["access.subject"], &span["access.tenant"]), (&json!("anybody"), &json!("default")), "{line}");
        assert_eq!(span["peer.address"], "127.0.0.1", "{line}");
    }
    assert_eq!((&push["span"]["client.id"], &push["span"]["operations.count"]), (&json!("pusher"), &json!(2)));
    assert!(push["span"]["body.bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{push}");
    assert!(push["answer.bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{push}");
    assert_eq!((&pulled["span"]["client.id"], &pulled["span"]["operations.count"]), (&json!("phone"), &json!(2)));
    assert_eq!(pulled["span"]["body.bytes"], pull.to_string().len());
    assert_eq!((&faulty["http.status"], &faulty["span"]["body.bytes"]), (&json!(400), &json!(bad.len())));
    let named = faulty["span"]["error.fields"].as_str().expect("fields");
    assert!(named.starts_with('"') && refused.faulty_fields().iter().all(|field| named.contains(field)), "{faulty}");
    assert_eq!(push["span"]["error.fields"], Value::Null);
}

#[tokio::test]
async fn a_hangup_reads_the_level_again_and_a_wrong_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(".env");
    fs::write(&file, "LOG_LEVEL=error\n").unwrap();
    let mut local = Local::start(directory.path(), &[("ADAPTER", "memory")]).await;
    assert_eq!(local.api.get("/stats").await.status, 200);
    fs::write(&file, "LOG_LEVEL=loud\n").unwrap();
    local.signal("HUP").await;
    local.log_until("the settings stay as they were").await;
    fs::write(&file, "LOG_LEVEL=info\n").unwrap();
    local.signal("HUP").await;
    local.log_until("the settings were read again").await;
    assert_eq!(local.api.get("/documents/a/b").await.status, 404);
    local.log_until("/documents/a/b").await;
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("/stats") && log.contains("LOG_LEVEL: must be"), "{log}");
}

#[tokio::test]
async fn a_hangup_reads_the_file_of_tokens_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    let line = |digit: &str, subject: &str| format!("{} t writer {subject}\n", digit.repeat(64));
    fs::write(&file, line("0", "ann")).unwrap();
    let mut local = Local::start(directory.path(), &[("ADAPTER", "memory"), ("AUTH_TOKENS_FILE", "tokens")]).await;
    fs::write(&file, line("0", "ann") + &line("1", "bob")).unwrap();
    // No request has come that would read the file.
    local.signal("HUP").await;
    local.log_until("AUTH_TOKENS_FILE: the file was read again").await;
    local.log_until("the settings were read again").await;
}
