//! The end of the local server while its store is at work.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use syncflow_server::limits::protocol::FILTER_MAX_CONDITIONS;
use syncflow_server::limits::runtime::STOP_END_MAX_SECONDS;

use super::client::{insert, with};
use super::local::{Local, end_unread};
use super::raw::Connection;

/// How long the end may take: three times what the pages promise, since machines differ.
const END_MAX: Duration = Duration::from_secs(STOP_END_MAX_SECONDS as u64 * 3);

/// How deep the data of the documents are.
const LEVELS: usize = 55;

/// Sends a query whose answer nobody reads yet.
async fn query(local: &Local, filter: &Value) -> Connection {
    let mut connection = Connection::to(local.authority()).await;
    let body = json!({ "filter": filter }).to_string();
    connection.head("POST /documents/todos/query", &[("content-length", &body.len().to_string())]).await;
    connection.write(body).await;
    connection
}

/// Tells a server to stop, and checks that it ends by itself in time.
async fn stop(mut local: Local) {
    let told_at = Instant::now();
    local.signal("TERM").await;
    assert_eq!(end_unread(&mut local).await, Some(0));
    assert!(told_at.elapsed() < END_MAX, "{:?}", told_at.elapsed());
}

/// Data that take long to look at: many levels, and at the lowest one a long list of keys.
fn deep(keys: usize) -> String {
    let lowest: Vec<_> = (0..keys).map(|number| format!("\"key-{number}\":{number}")).collect();
    format!("{}{{{}}}{}", "{\"k\":".repeat(LEVELS), lowest.join(","), "}".repeat(LEVELS))
}

#[tokio::test]
async fn a_reader_in_a_long_filter_does_not_hold_up_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &[("POOL_SIZE", "2")]).await;
    let data = deep(50_000);
    for number in 1..=40 {
        let operation =
            with(insert(&format!("op-{number}"), &format!("doc-{number}"), "a", number, 1), "data", "DATA".into());
        let push = json!({"clientId": "a", "operations": [operation]}).to_string().replace("\"DATA\"", &data);
        let answer = local.api.send_unchecked(Method::POST, "/operations", &[], push.into_bytes()).await;
        assert_eq!(answer.status, 200);
    }
    let path = ["k"; LEVELS].join(".");
    let filter: serde_json::Map<_, _> =
        (0..FILTER_MAX_CONDITIONS).map(|number| (format!("{path}.key-{number}"), json!(number))).collect();
    let filter = Value::Object(filter);
    let queries = join_all((0..60).map(|_| query(&local, &filter))).await;
    // When one is answered, the next one is at work.
    let mut queries = queries.into_iter();
    let first = queries.next().unwrap().answer().await;
    assert!([200, 503].contains(&first.status), "{}", first.text());
    stop(local).await;
    drop(queries);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reader_that_waits_for_its_disk_for_ever_does_not_hold_up_the_end() {
    let directory = tempfile::tempdir().unwrap();
    // It is loaded into the server, whose disk then does not answer from when it is told.
    let library = directory.path().join("hang.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/endpoints/hang.c");
    let mut compiler = tokio::process::Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]);
    assert!(compiler.status().await.expect("a C compiler").success());
    let mut server = super::local::command(directory.path(), &[("POOL_SIZE", "2")]);
    server.env("LD_PRELOAD", library);
    let local = Local::run(server).await;
    local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    std::fs::write(directory.path().join("hang"), "").unwrap();
    let waiting = query(&local, &json!({"n": 1})).await;
    while !directory.path().join("hung").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop(local).await;
    drop(waiting);
}
