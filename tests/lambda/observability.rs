//! Signals of a function: its log, its metrics, and its trace.

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use syncflow_server::api::Endpoint;

use super::binaries::{SCHEDULED_COMPACTION, binary_of};
use super::emulator::{Instance, TRACE};
use super::events::Source;
use super::functions::{directory, event, postgres_in, push_of, read, sqlite_in};
use crate::support::postgres::{Schema, connect, server_url};

/// Settings for a database in a directory, and more settings.
fn with(path: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    sqlite_in(path).into_iter().chain(more).collect()
}

/// Reads the new lines of a log. Each must be an object.
struct Lines(usize);

impl Lines {
    fn take(&mut self, instance: &Instance) -> Vec<Value> {
        let log = instance.log();
        let new = log[self.0..].lines();
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|problem| panic!("{problem}: {line}"));
        let new: Vec<Value> = new.map(parse).collect();
        self.0 = log.len();
        new
    }
}

/// The metrics that a line declares, and no other values.
fn values(line: &Value) -> Value {
    let directive = &line["_aws"]["CloudWatchMetrics"];
    assert_eq!(directive.as_array().map(Vec::len), Some(1), "{line}");
    let declared = directive[0]["Metrics"].as_array().expect("metrics");
    let values = declared.iter().map(|metric| {
        let name = metric["Name"].as_str().expect("a name");
        let unit = if name == "StoreLatency" { "Milliseconds" } else { "Count" };
        assert_eq!(metric["Unit"], unit, "{line}");
        let value = match &line[name] {
            // The times differ, but their number does not.
            Value::Array(times) => {
                assert!(times.iter().all(|time| time.as_f64().is_some_and(|time| time >= 0.0)), "{line}");
                json!({"calls": times.len()})
            }
            value => value.clone(),
        };
        (name.to_owned(), value)
    });
    let values: serde_json::Map<String, Value> = values.collect();
    // The other keys are `_aws`, two dimensions, the request's id and its trace.
    assert_eq!(line.as_object().map(serde_json::Map::len), Some(values.len() + 5), "{line}");
    Value::Object(values)
}

fn last_values(instance: &Instance) -> Value {
    values(instance.metrics().last().expect("a line of metrics"))
}

#[tokio::test]
async fn every_line_of_a_request_names_the_invocation_and_whether_it_was_the_first() {
    let (_directory, path) = directory();
    let settings = with(&path, &[("LOG_LEVEL", "debug")]);
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &settings).await;
    let mut lines = Lines(0);
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", "the-clients-own".parse().unwrap());
    let with_id = Source::FunctionUrl.event(&Method::GET, "/stats", &headers, b"");
    let mut ids = Vec::new();
    for (number, event) in [with_id, event(&Method::GET, "/nowhere", "")].iter().enumerate() {
        instance.invoke(event).await.expect("an answer");
        let lines = lines.take(&instance);
        let own: Vec<&Value> = lines.iter().filter(|line| line["target"].as_str().is_some_and(is_ours)).collect();
        assert!(own.iter().any(|line| line["message"] == "answered"), "{lines:?}");
        for line in own {
            let span = &line["span"];
            assert_eq!(span["lambda.cold_start"], json!(number == 0), "{line}");
            assert_eq!(span["lambda.trace"], TRACE, "{line}");
            assert_eq!(span["http.path"], ["/stats", "/nowhere"][number], "{line}");
            assert_eq!(span["http.method"], "GET", "{line}");
            let id = span["lambda.request_id"].as_str().expect("an id").to_owned();
            assert!(id.starts_with("8476a536-"), "{line}");
            assert_eq!(span["request.id"], if number == 0 { "the-clients-own" } else { id.as_str() }, "{line}");
            ids.push(id);
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 2, "each invocation has one id, and another one than the others: {ids:?}");
}

fn is_ours(target: &str) -> bool {
    target.starts_with("syncflow_server") || target.starts_with("tower_http")
}

#[tokio::test]
async fn the_line_of_a_failure_names_the_invocation_if_nothing_else_is_logged() {
    let (_directory, path) = directory();
    let settings = with(&format!("{path}/none"), &[("LOG_LEVEL", "warn")]);
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &settings).await;
    for is_first in [true, false] {
        let mut lines = Lines(instance.log().len());
        assert_eq!(read(instance.invoke(&event(&Method::GET, "/stats", "")).await).0, 503);
        let lines = lines.take(&instance);
        let [line] = lines.as_slice() else { panic!("a failure is logged once: {lines:?}") };
        assert!(line["error.cause"].as_str().is_some_and(|cause| cause.contains("SQLITE_PATH")), "{line}");
        assert_eq!(line["span"]["lambda.cold_start"], json!(is_first), "{line}");
        assert_eq!(line["span"]["http.path"], "/stats", "{line}");
    }
}

#[tokio::test]
async fn the_trace_goes_into_every_answer() {
    let (_directory, path) = directory();
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &sqlite_in(&path)).await;
    for source in Source::ALL {
        for path in ["/stats", "/nowhere"] {
            let event = source.event(&Method::GET, path, &HeaderMap::new(), b"");
            let answer = source.answer(&instance.invoke(&event).await.expect("an answer"));
            assert_eq!(answer.headers()["x-amzn-trace-id"], TRACE, "{source:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_push_is_counted_by_its_outcomes() {
    let (_directory, path) = directory();
    let mut instance = Instance::start(binary_of(Endpoint::PushOperations), &sqlite_in(&path)).await;
    let push = |operations: Value| {
        event(&Method::POST, "/operations", &json!({"clientId": "a", "operations": operations}).to_string())
    };
    let operation = |id: &str, document: &str, clock: Value| {
        json!({"id": id, "type": "insert", "collection": "todos", "docId": document, "data": {}, "timestamp": 1,
               "clientId": "a", "vectorClock": clock})
    };
    let first = operation("op-1", "doc-1", json!({"a": 1}));
    assert_eq!(read(instance.invoke(&push(json!([first]))).await).0, 200);
    let expected = json!({"ColdStart": 1, "OperationsAccepted": 1, "OperationsDuplicate": 0, "OperationsInConflict": 0,
                          "StoreLatency": {"calls": 2}, "StoreErrors": 0});
    assert_eq!(last_values(&instance), expected);

    let outcome = instance
        .invoke(&push(json!([
            operation("op-2", "doc-2", json!({"a": 1})),
            operation("op-3", "doc-3", json!({"a": 1})),
            operation("op-4", "doc-1", json!({"b": 1})),
            first,
        ])))
        .await;
    let (status, answer) = read(outcome);
    assert_eq!((status, answer["conflicts"].as_array().map(Vec::len)), (200, Some(1)), "{answer}");
    let expected = json!({"ColdStart": 0, "OperationsAccepted": 2, "OperationsDuplicate": 1, "OperationsInConflict": 1,
                          "StoreLatency": {"calls": 2}, "StoreErrors": 0});
    assert_eq!(last_values(&instance), expected);

    // A refused push has no outcomes, and those of the previous push are not counted again.
    assert_eq!(read(instance.invoke(&push(json!([{}]))).await).0, 400);
    assert_eq!(last_values(&instance), json!({"ColdStart": 0}));
    assert_eq!(instance.metrics().len(), 3);
}

#[tokio::test]
async fn every_function_writes_one_line_for_each_request_with_what_it_did() {
    let (_directory, path) = directory();
    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &sqlite_in(&path)).await;
    for number in 1..=3 {
        let body = push_of(number, &json!({}));
        assert_eq!(read(push.invoke(&event(&Method::POST, "/operations", &body)).await).0, 200);
    }
    for (endpoint, method, path_asked, body, mut expected) in [
        (Endpoint::Health, Method::GET, "/health", "", json!({"StoreLatency": {"calls": 1}, "StoreErrors": 0})),
        (
            Endpoint::PullChanges,
            Method::POST,
            "/changes",
            r#"{"cursor":null}"#,
            json!({"OperationsPulled": 3, "StoreLatency": {"calls": 1}, "StoreErrors": 0}),
        ),
        (
            Endpoint::GetDocument,
            Method::GET,
            "/documents/todos/doc-1",
            "",
            json!({"StoreLatency": {"calls": 1}, "StoreErrors": 0}),
        ),
        (
            Endpoint::QueryDocuments,
            Method::POST,
            "/documents/todos/query",
            "",
            json!({"StoreLatency": {"calls": 1}, "StoreErrors": 0}),
        ),
        (Endpoint::GetStats, Method::GET, "/stats", "", json!({"StoreLatency": {"calls": 1}, "StoreErrors": 0})),
        (
            Endpoint::Compact,
            Method::POST,
            "/compact",
            r#"{"olderThanDays":0}"#,
            json!({"EntriesCompacted": 3, "StoreLatency": {"calls": 1}, "StoreErrors": 0}),
        ),
    ] {
        let mut instance = Instance::start(binary_of(endpoint), &sqlite_in(&path)).await;
        let outcome = instance.invoke(&event(&method, path_asked, body)).await;
        let id = outcome.as_ref().expect("an answer")["headers"]["x-request-id"].clone();
        assert_eq!(read(outcome).0, 200);
        let metrics = instance.metrics();
        let [line] = metrics.as_slice() else { panic!("one line: {metrics:?}") };
        expected["ColdStart"] = json!(1);
        assert_eq!(values(line), expected, "{endpoint:?}");
        assert_eq!(line["RequestId"], id);
        assert_eq!(line["Trace"], TRACE);
        assert_eq!(line["FunctionName"], binary_of(endpoint).name);
        assert_eq!(line["Adapter"], "sqlite");
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "syncflow-server");
        assert_eq!(directive["Dimensions"], json!([["FunctionName", "Adapter"]]));
        assert!(line["_aws"]["Timestamp"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{line}");
    }
}

#[tokio::test]
async fn the_scheduled_compaction_is_logged_and_counted_too() {
    let (_directory, path) = directory();
    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &sqlite_in(&path)).await;
    for number in 1..=2 {
        let body = push_of(number, &json!({}));
        assert_eq!(read(push.invoke(&event(&Method::POST, "/operations", &body)).await).0, 200);
    }
    let mut instance = Instance::start(SCHEDULED_COMPACTION, &sqlite_in(&path)).await;
    for (is_first, deleted) in [(true, 2), (false, 0)] {
        let mut lines = Lines(instance.log().len());
        let done = instance.invoke(&json!({"olderThanDays": 0})).await.expect("an answer");
        assert_eq!(done["deletedCount"], deleted);
        // The calls are: a list of the tenants, a step for the only tenant, and a list of the tenants after it.
        let expected = json!({"ColdStart": u8::from(is_first), "EntriesCompacted": deleted,
                              "StoreLatency": {"calls": 3}, "StoreErrors": 0});
        assert_eq!(last_values(&instance), expected);
        let lines = lines.take(&instance);
        let line = lines.iter().find(|line| line["message"] == "compacted").expect("a line of the log");
        assert_eq!(line["span"]["lambda.cold_start"], json!(is_first), "{line}");
        assert_eq!(line["span"]["lambda.trace"], TRACE, "{line}");
        let metrics = instance.metrics();
        assert_eq!(metrics.last().expect("a line")["RequestId"], line["span"]["lambda.request_id"]);
    }
}

#[tokio::test]
async fn a_call_of_the_store_that_the_deadline_ends_is_counted_as_an_error() {
    let schema = Schema::new();
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &postgres_in(&schema, &server_url())).await;
    let ask = event(&Method::GET, "/stats", "");
    assert_eq!(read(instance.invoke(&ask).await).0, 200);
    let admin = connect(&server_url()).await;
    let lock = format!("BEGIN; LOCK TABLE {}.syncflow_heads", schema.quoted());
    admin.batch_execute(&lock).await.expect("the lock is free");
    assert_eq!(read(instance.invoke_within(&ask, Duration::from_secs(1)).await).0, 503);
    let expected = |errors| json!({"ColdStart": 0, "StoreLatency": {"calls": 1}, "StoreErrors": errors});
    assert_eq!(last_values(&instance), expected(1));
    admin.batch_execute("ROLLBACK").await.expect("the lock is given back");
    assert_eq!(read(instance.invoke(&ask).await).0, 200);
    assert_eq!(last_values(&instance), expected(0));
    assert_eq!(instance.metrics()[0]["Adapter"], "postgres");
}

#[tokio::test]
async fn metrics_have_the_namespace_of_the_setting_or_are_off() {
    let (_directory, path) = directory();
    for (namespace, expected) in [("Sync/prod", Some(json!("Sync/prod"))), ("off", None)] {
        let settings = with(&path, &[("METRICS_NAMESPACE", namespace)]);
        let mut instance = Instance::start(binary_of(Endpoint::GetStats), &settings).await;
        assert_eq!(read(instance.invoke(&event(&Method::GET, "/stats", "")).await).0, 200);
        let metrics = instance.metrics();
        let found = metrics.first().map(|line| line["_aws"]["CloudWatchMetrics"][0]["Namespace"].clone());
        assert_eq!(found, expected);
    }
}
