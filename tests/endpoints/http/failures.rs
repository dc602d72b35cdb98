//! Failures of the server: which information a client receives, and which it does not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::Method;
use serde_json::json;
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::Host;
use syncflow_server::store::memory::MemoryStore;
use syncflow_server::store::{ErrorKind, Result, Store, StoreError, delegate_store};

use crate::endpoints::client::{Answer, Api, insert};
use crate::endpoints::contract;
use crate::endpoints::raw::Connection;
use crate::endpoints::server::{self, Server};
use crate::support::logs::Logs;

const INTERNAL: &str = "password of the database: hunter2";

/// A store in which every call fails.
#[derive(Debug, Clone, Copy)]
enum Faulty {
    Fails(ErrorKind),
    Panics,
    Hangs,
}

async fn meet<T>(faulty: &Faulty, method: &'static str, _: impl Future<Output = Result<T>>) -> Result<T> {
    match faulty {
        Faulty::Fails(kind) => Err(StoreError::new("faulty", method, *kind, INTERNAL)),
        Faulty::Panics => panic!("{INTERNAL}"),
        Faulty::Hangs => std::future::pending().await,
    }
}

/// The store that is never asked.
static UNASKED: LazyLock<MemoryStore> = LazyLock::new(MemoryStore::new);

impl Store for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    delegate_store!(|this| &*UNASKED, around meet; load, commit, changes, note_pulled, changes_by_time, client);
    delegate_store!(|this| &*UNASKED, around meet; remember, document, query, stats, clients, count_clients, compact);
    delegate_store!(|this| &*UNASKED, around meet; tenants, claim, survey, heads, watch, announce, check, audit);
    delegate_store!(|this| &*UNASKED, around meet; operation_ids, client_rows, learn, scrub, erase_tenant);
    delegate_store!(|this| &*UNASKED, around meet; aged_place, expire, count_expired);
}

/// A clock that advances by a quarter of a minute whenever it is read. Waits end at once.
#[derive(Debug, Default)]
struct HurriedHost(AtomicU64);

impl Host for HurriedHost {
    fn now_ms(&self) -> UnixMs {
        UnixMs::new(self.0.fetch_add(15_000, Ordering::Relaxed))
    }
    fn random_bits(&self) -> u64 {
        0
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }
}

async fn server_on(store: impl Store + 'static, settings: &[(&str, &str)]) -> Server {
    server::start_with(Arc::new(store), Arc::new(TokioHost), settings).await
}

/// The answers of all routes that need the store.
async fn answers(api: &Api) -> Vec<Answer> {
    let push = json!({"clientId": "a", "operations": [insert("op-1", "doc-1", "a", 1, 5)]}).to_string();
    vec![
        api.post("/operations", push).await,
        api.post("/changes", "{}").await,
        api.post("/changes", r#"{"clientId":"a"}"#).await,
        api.post("/changes", r#"{"cursor":null}"#).await,
        api.post("/compact", "{}").await,
        api.post("/documents/todos/query", "{}").await,
        api.get("/documents/todos/doc-1").await,
        api.get("/documents/todos/query").await,
        api.get("/stats").await,
    ]
}

#[tokio::test]
async fn a_store_that_is_unavailable_or_busy_is_503_with_retry_after() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Busy] {
        let server = server_on(Faulty::Fails(kind), &[]).await;
        for answer in answers(&server.api).await {
            assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
            assert!(!answer.text().contains("hunter2"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_for_good_is_500_and_internals_stay_inside() {
    let server = server_on(Faulty::Fails(ErrorKind::Failed), &[]).await;
    for answer in answers(&server.api).await {
        assert_eq!((answer.status, &answer.json()["error"]), (500, &json!("Internal error")));
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
        assert_eq!(answer.header("retry-after"), "");
    }
}

#[tokio::test]
async fn what_went_wrong_is_logged_once_under_the_id_of_the_request() {
    let log = Logs::capture();
    for (fault, status, level) in [
        (Faulty::Fails(ErrorKind::Failed), 500, "ERROR"),
        (Faulty::Panics, 500, "ERROR"),
        (Faulty::Fails(ErrorKind::Busy), 503, "WARN"),
    ] {
        let server = server_on(fault, &[]).await;
        let id = format!("id-{level}-{fault:?}");
        let answer = server.api.send(Method::GET, "/stats", &[("x-request-id", &id)], "").await;
        assert_eq!((answer.status, answer.header("x-request-id")), (status, id.as_str()));
        let text = log.take();
        let about: Vec<&str> = text.lines().filter(|line| line.contains(INTERNAL)).collect();
        let [line] = about[..] else { panic!("{status}: {text}") };
        assert!(line.contains(&id) && line.contains(level), "{line}");
    }
}

#[tokio::test]
async fn health_is_503_and_unavailable_while_the_store_cannot_be_reached() {
    let server = server_on(Faulty::Fails(ErrorKind::Unavailable), &[]).await;
    let answer = server.api.get("/health").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    let body = answer.json();
    assert_eq!((&body["status"], &body["adapter"]), (&json!("unavailable"), &json!("faulty")));
    assert!(body["error"].is_string() && body["message"].is_string() && !answer.text().contains("hunter2"));
}

#[tokio::test]
async fn a_panic_is_500_and_the_server_goes_on() {
    let server = server_on(Faulty::Panics, &[]).await;
    for answer in answers(&server.api).await {
        assert_eq!(answer.status, 500);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    }
    let page = "http://localhost:5173";
    let answer = server.api.send(Method::GET, "/stats", &[("origin", page)], "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (500, page));
    assert_eq!(server.api.get("/openapi.json").await.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_503() {
    let server = server_on(Faulty::Hangs, &[("REQUEST_TIMEOUT_SECONDS", "1")]).await;
    for answer in [server.api.get("/health").await, server.api.post("/changes", "{}").await] {
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
        assert_eq!(answer.json()["error"], "Unavailable");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_503_too() {
    let server = server_on(MemoryStore::new(), &[("REQUEST_TIMEOUT_SECONDS", "1")]).await;
    let mut connection = Connection::to(server.api.authority()).await;
    connection.head("POST /changes", &[("content-length", "100")]).await;
    connection.write("{").await;
    let answer = connection.answer().await;
    contract::check(&Method::POST, "/changes", &answer);
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn a_compaction_that_runs_out_of_time_says_that_there_is_more() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let server = server::start_with(store, Arc::new(HurriedHost::default()), &[]).await;
    for push in 0..3 {
        let operations: Vec<_> = (1..=1_000)
            .map(|number| insert(&format!("op-{push}-{number}"), "doc-1", "a", push * 1_000 + number, 5))
            .collect();
        server.api.accept(&operations).await;
    }
    let mut deleted = 0;
    let mut calls = 0;
    loop {
        let answer = server.api.post("/compact", r#"{"olderThanDays":0}"#).await.json();
        deleted += answer["deletedCount"].as_u64().unwrap();
        calls += 1;
        if answer["hasMore"] == false {
            break;
        }
        assert!(answer["message"].as_str().unwrap().contains("next call"), "{answer}");
    }
    assert_eq!(deleted, 3_000);
    assert!(calls > 1, "the clock gives one call time for two steps");
}
