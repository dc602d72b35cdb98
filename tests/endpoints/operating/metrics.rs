//! The page of metrics: it parses, and each figure moves when it should.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use syncflow_server::config::parse_rules;
use syncflow_server::core::access::{Principal, Role};
use syncflow_server::core::clock::VectorClock;
use syncflow_server::core::names::{ClientId, DocumentKey, OperationId, Subject, TenantId};
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::core::operation::{Change, Operation};
use syncflow_server::runtime::TokioHost;
use syncflow_server::runtime::metrics::{CountWork, Metrics};
use syncflow_server::service::{PushRequest, SyncService};
use syncflow_server::store::memory::MemoryStore;

use super::exposition::Page;
use super::{PATIENCE, PAUSE};
use crate::endpoints::client::{insert, with};
use crate::endpoints::local::{Local, command, run_to_end};
use crate::endpoints::raw::Connection;

const SETTINGS: [(&str, &str); 2] = [("METRICS_BIND", "127.0.0.1:0"), ("LOG_LEVEL", "warn")];

async fn page_of(local: &Local) -> Page {
    let answer = reqwest::get(format!("{}/metrics", local.metrics())).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.expect("text");
    Page::parse(&text).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
}

/// Reads the page until a figure has a value.
async fn page_with(local: &Local, name: &str, labels: &[(&str, &str)], value: f64) -> Page {
    let read = async {
        loop {
            let page = page_of(local).await;
            if page.value(name, labels) == Some(value) {
                return page;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{name} never becomes {value}"))
}

/// How much a figure grows from one page to another.
fn growth(before: &Page, after: &Page, name: &str, labels: &[(&str, &str)]) -> f64 {
    after.value(name, labels).unwrap_or_default() - before.value(name, labels).unwrap_or_default()
}

#[tokio::test]
async fn the_page_parses_and_its_counters_move_with_the_work() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &SETTINGS).await;
    let before = page_of(&local).await;
    local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1), insert("op-2", "doc-2", "a", 2, 2)]).await;
    local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    let (_, conflicts) = local.api.push(&[insert("op-3", "doc-1", "b", 1, 3)]).await;
    assert_eq!(conflicts.len(), 1);
    local.api.pull(&json!({"cursor": null})).await;
    local.api.get("/nothing/here").await;
    local.api.get("/documents/todos/doc-1").await;
    local.api.post("/compact", r#"{"olderThanDays":0}"#).await;
    let after = page_of(&local).await;
    for (name, labels, expected) in [
        ("syncflow_operations_total", &[("outcome", "accepted")][..], 2.0),
        ("syncflow_operations_total", &[("outcome", "duplicate")], 1.0),
        ("syncflow_operations_total", &[("outcome", "conflicting")], 1.0),
        ("syncflow_operations_total", &[("outcome", "forbidden")], 0.0),
        ("syncflow_pages_pulled_total", &[], 1.0),
        ("syncflow_operations_pulled_total", &[], 2.0),
        ("syncflow_compacted_entries_total", &[], 2.0),
        ("syncflow_http_requests_total", &[("route", "/operations"), ("method", "POST"), ("status", "200")], 3.0),
        ("syncflow_http_requests_total", &[("route", "/changes"), ("status", "200")], 1.0),
        ("syncflow_http_requests_total", &[("route", "/documents/{collection}/{id}"), ("status", "200")], 1.0),
        ("syncflow_http_requests_total", &[("route", "none"), ("method", "GET"), ("status", "404")], 1.0),
        ("syncflow_http_request_duration_seconds_count", &[("route", "/operations")], 3.0),
        ("syncflow_http_request_duration_seconds_count", &[("route", "/changes")], 1.0),
        ("syncflow_group_pushes_count", &[], 3.0),
        ("syncflow_group_pushes_sum", &[], 3.0),
        ("syncflow_group_operations_sum", &[], 4.0),
        ("syncflow_store_call_duration_seconds_count", &[("call", "commit")], 1.0),
        ("syncflow_store_call_duration_seconds_count", &[("call", "load")], 3.0),
        ("syncflow_store_errors_total", &[("call", "commit")], 0.0),
    ] {
        let growth = growth(&before, &after, name, labels);
        assert!((growth - expected).abs() < 0.5, "{name} {labels:?}: {growth}, expected {expected}");
    }
    for (name, least) in [
        ("syncflow_connections", 1.0),
        ("syncflow_memory_max_bytes", 1e6),
        ("syncflow_store_pool_max", 2.0),
        ("syncflow_start_time_seconds", 1e9),
    ] {
        assert!(after.value(name, &[]).is_some_and(|value| value >= least), "{name}: {:?}", after.value(name, &[]));
    }
    assert_eq!(after.value("syncflow_build_info", &[("store", "sqlite")]), Some(1.0));
}

#[tokio::test]
async fn listeners_and_their_wake_ups_are_counted_and_a_wait_is_not_a_slow_answer() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &SETTINGS).await;
    let mut stream = Connection::to(local.authority()).await;
    stream.head("GET /changes/stream", &[]).await;
    page_with(&local, "syncflow_listeners", &[], 1.0).await;
    let pull = json!({"cursor": null, "wait": 25});
    let waiting = local.api.pull(&pull);
    let push = async {
        page_with(&local, "syncflow_listeners", &[], 2.0).await;
        local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    };
    let (pulled, ()) = tokio::join!(waiting, push);
    assert_eq!(pulled["operations"].as_array().map(Vec::len), Some(1));
    let page = page_with(&local, "syncflow_wake_up_latency_seconds_count", &[], 1.0).await;
    let timed = |route| page.value("syncflow_http_request_duration_seconds_count", &[("route", route)]);
    assert_eq!((timed("/changes (wait)"), timed("/changes")), (Some(1.0), None));
    drop(stream);
    page_with(&local, "syncflow_listeners", &[], 0.0).await;
}

#[tokio::test]
async fn what_requests_hold_is_shown_while_they_hold_it_and_a_client_that_leaves_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let more = [("ADAPTER", "memory"), ("TRUSTED_PROXIES", "none"), ("CONNECTIONS_PER_ADDRESS", "1")];
    let local = Local::start(directory.path(), &[&SETTINGS[..], &more].concat()).await;
    let before = page_of(&local).await;
    for name in ["connections", "requests_in_flight", "memory_in_flight_bytes", "connections_refused_total"] {
        assert_eq!(before.value(&format!("syncflow_{name}"), &[]), Some(0.0), "{name}");
    }
    let mut push = Connection::to(local.authority()).await;
    push.head("POST /operations", &[("content-length", "100000"), ("expect", "100-continue")]).await;
    assert_eq!(push.answer().await.status, 100);
    push.write(vec![b' '; 50_000]).await;
    page_with(&local, "syncflow_memory_in_flight_bytes", &[], 50_000.0).await;
    let page = page_of(&local).await;
    assert_eq!(page.value("syncflow_connections", &[]), Some(1.0));
    assert_eq!(page.value("syncflow_requests_in_flight", &[]), Some(1.0));
    // The address has its only connection, which is in use.
    let mut second = Connection::to(local.authority()).await;
    assert_eq!(second.answer().await.status, 503);
    page_with(&local, "syncflow_connections_refused_total", &[], 1.0).await;
    drop((push, second));
    // Its body was not whole, which is an answer that nobody reads.
    page_with(&local, "syncflow_http_requests_total", &[("route", "/operations"), ("status", "400")], 1.0).await;
    page_with(&local, "syncflow_connections", &[], 0.0).await;
    let mut waiting = Connection::to(local.authority()).await;
    let pull = r#"{"cursor":null,"wait":25}"#;
    waiting.head("POST /changes", &[("content-length", &pull.len().to_string())]).await;
    waiting.write(pull).await;
    page_with(&local, "syncflow_listeners", &[], 1.0).await;
    drop(waiting);
    let canceled = [("route", "/changes"), ("status", "canceled")];
    page_with(&local, "syncflow_http_requests_total", &canceled, 1.0).await;
    for name in ["connections", "requests_in_flight", "memory_in_flight_bytes"] {
        page_with(&local, &format!("syncflow_{name}"), &[], 0.0).await;
    }
}

#[tokio::test]
async fn a_survey_at_the_start_says_how_long_logs_are_and_how_far_clients_lag_behind() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &[]).await;
    local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1), insert("op-2", "doc-2", "a", 2, 2)]).await;
    local.api.pull(&json!({"cursor": null, "clientId": "phone"})).await;
    local.signal("TERM").await;
    assert_eq!(local.end().await.0, Some(0));
    let local = Local::start(directory.path(), &SETTINGS).await;
    let page = page_with(&local, "syncflow_surveyed_tenants", &[], 1.0).await;
    assert_eq!(page.value("syncflow_log_entries", &[]), Some(2.0));
    assert_eq!(page.value("syncflow_log_entries_max", &[]), Some(2.0));
    assert_eq!(page.value("syncflow_clients", &[("lag", "0")]), Some(1.0));
    assert_eq!(page.value("syncflow_clients", &[("lag", "more")]), Some(0.0));
    assert!(page.value("syncflow_horizon_age_seconds", &[]).is_some_and(|age| (0.0..3_600.0).contains(&age)));
    assert!(page.value("syncflow_survey_end_seconds", &[]).is_some_and(|at| at > 1.7e9));
}

#[test]
fn what_is_forbidden_or_refused_is_counted() {
    crate::support::block_on(async {
        let metrics = Metrics::new("memory");
        let rules = "[collections.notes]\nread = [\"everyone\"]\nwrite = [\"role:admin\"]\n\n\
                     [others]\nread = [\"everyone\"]\nwrite = [\"everyone\"]\n";
        let service = SyncService::new(Arc::new(MemoryStore::new()), Arc::new(TokioHost))
            .with_rules(parse_rules(rules).expect("rules"))
            .with_validation(|_, operation| if operation.id.as_str() == "op-2" { Err("no".into()) } else { Ok(()) })
            .with_observer(CountWork(Arc::clone(&metrics) as _));
        let principal = Principal::new(TenantId::literal("t"), Subject::literal("s"), Role::Writer);
        let delete = |id: &str, collection: &str| Operation {
            id: OperationId::literal(id),
            change: Change::Delete,
            key: DocumentKey::parse(collection, id).unwrap(),
            timestamp: UnixMs::new(1),
            client_id: ClientId::literal("a"),
            clock: VectorClock::default(),
        };
        let operations = vec![delete("op-1", "notes"), delete("op-2", "notes"), delete("op-3", "free")];
        service.push_as(&principal, PushRequest::new(operations).partial()).await.expect("it is answered");
        let page = Page::parse(&metrics.page()).unwrap();
        let outcome = |outcome| page.value("syncflow_operations_total", &[("outcome", outcome)]);
        assert_eq!((outcome("forbidden"), outcome("refused")), (Some(1.0), Some(1.0)));
    });
}

#[tokio::test]
async fn no_label_carries_what_a_client_chose() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &SETTINGS).await;
    let chosen = with(insert("chosen-op", "chosen-doc", "chosen-client", 1, 1), "collection", json!("chosen-kind"));
    local.api.accept(&[chosen]).await;
    for path in ["/chosen-route", "/documents/chosen-kind/chosen-doc", "/documents/chosen-kind/chosen-none"] {
        local.api.get(path).await;
    }
    let odd = reqwest::Method::from_bytes(b"CHOSEN").unwrap();
    local.api.send_unchecked(odd, "/operations", &[], Vec::new()).await;
    let page = page_of(&local).await;
    let labels = page.0.values().flat_map(|family| &family.samples).flat_map(|sample| sample.labels.values());
    let labels: BTreeSet<&String> = labels.collect();
    assert!(labels.iter().all(|label| !label.to_lowercase().contains("chosen")), "{labels:?}");
    assert!(labels.contains(&"other".to_owned()), "the method: {labels:?}");
}

/// The names of metrics in a text.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("syncflow_") && *word != "syncflow_server").map(str::to_owned).collect()
}

/// All queries of a dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        Value::Object(members) => {
            for (key, value) in members {
                match value {
                    Value::String(text) if key == "expr" => found.push(text.clone()),
                    value => expressions(value, found),
                }
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn dashboard_alerts_and_runbook_name_the_metrics_that_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &SETTINGS).await;
    local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    let page = page_with(&local, "syncflow_clients", &[("lag", "0")], 0.0).await;
    let samples: BTreeSet<String> =
        page.0.values().flat_map(|family| &family.samples).map(|sample| sample.name.clone()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read =
        |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|problem| panic!("{path}: {problem}"));

    let rules = read("packaging/prometheus/syncflow-server.rules.yaml");
    let dashboard: Value = serde_json::from_str(&read("packaging/grafana/syncflow-server.json")).expect("JSON");
    let mut queries = Vec::new();
    expressions(&dashboard["panels"], &mut queries);
    assert!(queries.len() > 15, "{queries:?}");
    for (file, text) in [("the rules", &rules), ("the dashboard", &queries.join("\n"))] {
        let unknown: Vec<String> = names_in(text).difference(&samples).cloned().collect();
        assert!(unknown.is_empty(), "{file} name what the page does not have: {unknown:?}; it has {samples:?}");
    }

    let runbook = read("docs/operate.md");
    let families: BTreeSet<String> = page.0.keys().cloned().collect();
    let described: BTreeSet<String> = names_in(&runbook).into_iter().collect();
    assert_eq!(described, families, "docs/operate.md has a table of all metrics and no others");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(runbook.contains(&format!("\n### {alert}\n")), "the runbook has a section for {alert}");
    }
}

#[tokio::test]
async fn the_listener_of_metrics_answers_nothing_else_and_needs_an_address_that_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &[("METRICS_BIND", "127.0.0.1:0"), ("ADAPTER", "memory")]).await;
    let base = local.metrics().to_owned();
    for (path, expected) in [("/livez", 200), ("/readyz", 200), ("/", 404), ("/operations", 404), ("/stats", 404)] {
        assert_eq!(reqwest::get(format!("{base}{path}")).await.unwrap().status(), expected, "{path}");
    }
    let post = reqwest::Client::new().post(format!("{base}/metrics")).send().await.unwrap();
    assert_eq!(post.status(), 405);
    assert_eq!(local.api.get("/metrics").await.status, 404, "clients do not see it");
    let taken = base.trim_start_matches("http://");
    let ended = run_to_end(&mut command(directory.path(), &[("METRICS_BIND", taken), ("LOG_LEVEL", "warn")])).await;
    let log = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), log.lines().count()), (Some(2), 1), "{log}");
    assert!(log.starts_with("METRICS_BIND: port ") && log.contains("is in use"), "{log}");
}

#[tokio::test]
async fn connections_that_say_nothing_leave_room_for_the_page_again() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &[("METRICS_BIND", "127.0.0.1:0"), ("ADAPTER", "memory")]).await;
    let authority = local.metrics().trim_start_matches("http://").to_owned();
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(Connection::to(&authority).await);
    }
    let read = async {
        while reqwest::get(format!("http://{authority}/metrics")).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("silent connections end");
    drop(silent);
}
