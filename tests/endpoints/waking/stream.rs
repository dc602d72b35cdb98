//! Streams of events.

use futures_util::future::join_all;
use serde_json::{Value, json};
use syncflow_server::api::Api as Routes;
use syncflow_server::core::access::{Principal, Role};
use syncflow_server::core::names::{Subject, TenantId};
use syncflow_server::limits::api::SUBJECT_STREAMS_MAX_REQUESTS;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::Host as _;
use tokio::time::{sleep, timeout};

use super::events::{Event, Events, open as open_stream};
use super::{A_WHILE, PATIENCE, in_memory, server_of, service_over};
use crate::endpoints::client::{Api, insert, text};
use crate::endpoints::server::{read, start_routes};
use crate::support::stores::for_each_store;

/// The cursor behind everything.
async fn newest(api: &Api) -> String {
    text(&api.pull(&json!({"cursor": null, "limit": 1000})).await["cursor"])
}

async fn push(api: &Api, number: u64) {
    let id = format!("op-{number}");
    api.accept(&[insert(&id, &id, "a", number, 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_at_once_where_the_log_is_and_then_when_it_has_changed() {
    let (_, server) = in_memory().await;
    let mut events = Events::of(&server.api, &[]).await;
    assert_eq!(events.changed().await, "l.0.0");
    for number in 1..=3 {
        push(&server.api, number).await;
        assert_eq!(events.changed().await, newest(&server.api).await);
    }
    let page = server.api.pull(&json!({"cursor": newest(&server.api).await})).await;
    assert_eq!(page["operations"], json!([]), "the id is a cursor");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_goes_on_says_at_once_only_what_is_new() {
    let (_, server) = in_memory().await;
    push(&server.api, 1).await;
    let known = newest(&server.api).await;
    let mut events = Events::of(&server.api, &[("last-event-id", &known)]).await;
    sleep(A_WHILE).await;
    push(&server.api, 2).await;
    assert_eq!(events.changed().await, newest(&server.api).await, "not the place that is known");
    for old in [known, "l.0.0".to_owned(), "l.9.9".to_owned(), "l.1.1~5".to_owned()] {
        let mut events = Events::of(&server.api, &[("last-event-id", &old)]).await;
        assert_eq!(events.changed().await, newest(&server.api).await, "{old}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_last_event_id_is_refused_and_an_empty_one_is_not() {
    let (_, server) = in_memory().await;
    for odd in ["x", "l.0.0~", "q.1", "l.0"] {
        let answer = server.api.send(reqwest::Method::GET, "/changes/stream", &[("last-event-id", odd)], "").await;
        assert_eq!(answer.faulty_fields(), ["Last-Event-ID"], "{odd}");
    }
    Events::of(&server.api, &[("last-event-id", "")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_on_the_way_keeps_or_compresses_a_stream() {
    let (_, server) = in_memory().await;
    let events = Events::of(&server.api, &[("accept-encoding", "gzip, br, zstd")]).await;
    let header = |name: &str| events.headers.get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!((header("content-type"), header("x-accel-buffering")), ("text/event-stream", "no"));
    assert!(header("cache-control").split(", ").any(|directive| directive == "no-cache"));
    assert_eq!(header("content-encoding"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_another_tenant_makes_no_event() {
    let (_, server) = in_memory().await;
    let mut events = Events::of(&server.api, &[("tenant", "one")]).await;
    assert_eq!(events.changed().await, "l.0.0");
    push(&server.api, 1).await;
    sleep(A_WHILE).await;
    let body = json!({"clientId": "b", "operations": [insert("op-2", "doc-2", "b", 1, 1)]}).to_string();
    server.api.send(reqwest::Method::POST, "/operations", &[("tenant", "one")], body).await;
    let page = server.api.send(reqwest::Method::POST, "/changes", &[("tenant", "one")], r#"{"cursor":null}"#).await;
    assert_eq!(Value::String(events.changed().await), page.json()["cursor"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_has_so_many_streams_and_a_closed_one_makes_room() {
    let (_, server) = in_memory().await;
    let greedy = [("subject", "greedy")];
    let mut streams = join_all((0..SUBJECT_STREAMS_MAX_REQUESTS).map(|_| Events::of(&server.api, &greedy))).await;
    let refused = server.api.send(reqwest::Method::GET, "/changes/stream", &greedy, "").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "10"), "{}", refused.text());
    assert_eq!(refused.json()["error"], "too_many_streams");
    Events::of(&server.api, &[("subject", "modest")]).await;
    streams.pop();
    let opened = async {
        while open_stream(&server.api, &greedy).await.status() != 200 {
            sleep(A_WHILE).await;
        }
    };
    timeout(PATIENCE, opened).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_hold_no_memory_that_others_need() {
    let (_, server) = in_memory().await;
    let subjects: Vec<String> = (0..8).map(|number| format!("subject-{number}")).collect();
    let mut streams = Vec::new();
    for subject in subjects.iter().flat_map(|subject| [subject; SUBJECT_STREAMS_MAX_REQUESTS]) {
        streams.push(Events::of(&server.api, &[("subject", subject)]).await);
    }
    for number in 1..=5 {
        push(&server.api, number).await;
    }
    let newest = newest(&server.api).await;
    for events in &mut streams {
        while events.changed().await != newest {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_principal_expires() {
    let service = service_over(std::sync::Arc::new(syncflow_server::store::memory::MemoryStore::new()));
    let principal = Principal::new(TenantId::literal("t"), Subject::literal("s"), Role::Reader);
    let principal = principal.valid_until_ms(TokioHost.now_ms().plus_ms(3_000));
    let routes = Routes::builder(service).fixed_principal(principal).build();
    let server = start_routes(routes, &read(&[("ADAPTER", "memory")]), ()).await;
    let mut events = Events::of(&server.api, &[]).await;
    assert_eq!(events.changed().await, "l.0.0");
    assert_eq!(events.next().await, Event::End { data: r#"{"reason":"expired"}"#.to_owned() });
    assert_eq!(events.next().await, Event::Over);
    assert_eq!(open_stream(&server.api, &[]).await.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_needs_a_principal() {
    let service = service_over(std::sync::Arc::new(syncflow_server::store::memory::MemoryStore::new()));
    let server = start_routes(Routes::builder(service).build(), &read(&[("ADAPTER", "memory")]), ()).await;
    let answer = server.api.get("/changes/stream").await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
}

for_each_store!({
    #[tokio::test(flavor = "multi_thread")]
    async fn a_push_to_another_server_makes_an_event() {
        let home = open().await;
        let here = super::server_of(&super::service_over(home.store())).await;
        let there = super::server_of(&super::service_over(home.open_again())).await;
        let mut events = super::Events::of(&here.api, &[]).await;
        assert_eq!(events.changed().await, "l.0.0");
        for number in 1..=2 {
            super::push(&there.api, number).await;
            assert_eq!(events.changed().await, super::newest(&there.api).await);
        }
    }
});
