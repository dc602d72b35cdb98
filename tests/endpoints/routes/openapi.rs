//! The OpenAPI document, and proof that checks against it can fail.

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use syncflow_server::limits::protocol::SINCE_MAX;

use crate::endpoints::client::{Answer, Api, insert};
use crate::endpoints::contract;

pub(crate) async fn the_document_is_openapi_3_1_and_has_every_route(api: &Api) {
    let answer = api.get("/openapi.json").await;
    let known = [("if-none-match", answer.header("etag"))];
    assert_eq!(api.send(Method::GET, "/openapi.json", &known, "").await.status, 304);
    let document = answer.json();
    assert_eq!(document, serde_json::from_str::<Value>(syncflow_server::api::description()).unwrap());
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths: Vec<(&str, Vec<&str>)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, item)| (path.as_str(), item.as_object().unwrap().keys().map(String::as_str).collect()))
        .collect();
    let expected = [
        ("/changes", vec!["post"]),
        ("/changes/stream", vec!["get"]),
        ("/clients", vec!["post"]),
        ("/compact", vec!["post"]),
        ("/documents/{collection}/query", vec!["get", "post"]),
        ("/documents/{collection}/{id}", vec!["get"]),
        ("/health", vec!["get"]),
        ("/livez", vec!["get"]),
        ("/openapi.json", vec!["get"]),
        ("/operations", vec!["post"]),
        ("/readyz", vec!["get"]),
        ("/stats", vec!["get"]),
    ];
    for (path, methods) in &expected {
        let (_, found) = paths.iter().find(|(found, _)| found == path).unwrap_or_else(|| panic!("no {path}"));
        assert!(methods.iter().all(|method| found.contains(method)), "{path}: {found:?}");
    }
    assert_eq!(paths.len(), expected.len());
}

pub(crate) async fn a_real_answer_of_every_endpoint_is_as_described(api: &Api) {
    api.accept(&[insert("described-1", "described", "a", 1, 1), insert("described-2", "query", "a", 2, 2)]).await;
    let delete = json!({
        "id": "described-3", "type": "delete", "collection": "todos", "docId": "query", "timestamp": 3,
        "clientId": "a", "vectorClock": {"a": 3},
    });
    let requests = [
        (Method::GET, "/documents/{collection}/query", "/documents/todos/query", Value::Null),
        (
            Method::POST,
            "/operations",
            "/operations",
            json!({"clientId": "b", "operations": [
                insert("described-4", "described", "b", 1, 4), delete,
            ]}),
        ),
        (Method::POST, "/changes", "/changes", json!({"cursor": null})),
        (Method::POST, "/changes", "/changes", json!({"since": 0})),
        (Method::GET, "/documents/{collection}/{id}", "/documents/todos/described", Value::Null),
        (Method::POST, "/documents/{collection}/query", "/documents/todos/query", json!({"limit": 1})),
        (Method::GET, "/stats", "/stats", Value::Null),
        (Method::POST, "/clients", "/clients", json!({})),
        (Method::POST, "/compact", "/compact", json!({})),
        (Method::GET, "/health", "/health", Value::Null),
        (Method::GET, "/livez", "/livez", Value::Null),
        (Method::GET, "/readyz", "/readyz", Value::Null),
        (Method::GET, "/openapi.json", "/openapi.json", Value::Null),
    ];
    let document = serde_json::from_str::<Value>(syncflow_server::api::description()).unwrap();
    // A stream does not end, and has tests of its own. This is an answer of its route that does.
    let odd = api.send(Method::GET, "/changes/stream", &[("last-event-id", "x")], "").await;
    assert_eq!(odd.faulty_fields(), ["Last-Event-ID"]);
    for (path, method, _) in operations(&document).filter(|(path, ..)| *path != "/changes/stream") {
        let is_asked =
            requests.iter().any(|(by, template, ..)| *template == path && by.as_str().to_lowercase() == method);
        assert!(is_asked, "no request for {method} {path}");
    }
    for (method, _, path, body) in requests {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        // The client compares the answer with the description.
        let answer = api.send(method.clone(), path, &[], body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    }
}

#[test]
fn the_document_describes_which_bodies_are_taken() {
    let push = |operation: &Value| {
        contract::is_request("post", "/operations", &json!({"clientId": "a", "operations": [operation]}))
    };
    let operation = |kind: &str, key: &str, value: Value| {
        let mut operation = json!({
            "id": "op", "type": kind, "collection": "c", "docId": "d", "data": {}, "timestamp": 1, "clientId": "a",
            "vectorClock": {"a": 1},
        });
        operation[key] = value;
        operation
    };
    for (kind, key, value) in [
        ("insert", "synced", json!("x")),
        ("update", "data", json!({"a": null})),
        ("delete", "data", json!(null)),
        ("delete", "data", json!(5)),
        ("insert", "id", json!("smile \u{1f600} \u{a0}")),
    ] {
        assert_eq!(push(&operation(kind, key, value.clone())), Ok(()), "{kind} {key} {value}");
    }
    for (kind, key, value) in [
        ("insert", "data", json!(null)),
        ("update", "data", json!([])),
        ("insert", "id", json!("a\u{7}")),
        ("insert", "collection", json!("\u{9f}")),
        ("delete", "docId", json!("")),
        ("insert", "vectorClock", json!({"": 1})),
        ("insert", "vectorClock", json!({"a\n": 1})),
        ("replace", "synced", json!(false)),
    ] {
        assert!(push(&operation(kind, key, value.clone())).is_err(), "{kind} {key} {value}");
    }
    let pull = |since: u64| contract::is_request("post", "/changes", &json!({ "since": since }));
    assert_eq!(pull(SINCE_MAX), Ok(()));
    // This is the next integer that a double can hold.
    assert!(pull(SINCE_MAX + 4).is_err());
}

#[test]
fn the_document_says_that_only_a_push_needs_a_body() {
    let document = serde_json::from_str::<Value>(syncflow_server::api::description()).unwrap();
    for (path, is_required) in
        [("/operations", true), ("/changes", false), ("/compact", false), ("/documents/{collection}/query", false)]
    {
        assert_eq!(document["paths"][path]["post"]["requestBody"]["required"], is_required, "{path}");
    }
}

#[test]
fn the_document_says_which_routes_need_a_token() {
    let document = serde_json::from_str::<Value>(syncflow_server::api::description()).unwrap();
    assert_eq!(document["components"]["securitySchemes"]["token"]["type"], "http");
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    for (path, method, operation) in operations(&document) {
        let is_open = matches!(path, "/health" | "/livez" | "/openapi.json" | "/readyz");
        let expected = if is_open { Value::Null } else { json!([{"token": []}]) };
        assert_eq!(operation["security"], expected, "{method} {path}");
        assert_eq!(operation["responses"]["401"].is_null(), is_open, "{method} {path}");
        assert!(operation["responses"]["403"].is_object(), "{method} {path}");
    }
}

#[test]
fn every_operation_has_an_id_of_its_own_and_a_tag_that_is_described() {
    let document = serde_json::from_str::<Value>(syncflow_server::api::description()).unwrap();
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let mut ids: Vec<&str> = operations(&document)
        .map(|(path, method, operation)| {
            assert!(tags.contains(&&operation["tags"][0]), "{method} {path}");
            operation["operationId"].as_str().unwrap()
        })
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    assert_eq!(document["servers"][0]["url"], "/");
    assert_eq!(document["components"]["schemas"]["Document"]["additionalProperties"], true);
}

/// Every operation of the document, with its path and method.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn answer(status: u16, body: &Value) -> Answer {
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    let headers = HeaderMap::from_iter([(reqwest::header::CONTENT_TYPE, json)]);
    Answer { status, headers, bytes: body.to_string().into_bytes() }
}

#[test]
fn an_answer_that_the_document_does_not_describe_is_found() {
    let stats = json!({"totalOperations": 1, "totalDocuments": 1, "unsyncedOperations": 0});
    let get_stats = |answer: &Answer| contract::describes(&Method::GET, "/stats", answer);
    assert_eq!(get_stats(&answer(200, &stats)), Ok(()));
    for (status, body) in [
        (200, json!({"totalOperations": "1", "totalDocuments": 1, "unsyncedOperations": 0})),
        (200, json!({"totalOperations": -1, "totalDocuments": 1, "unsyncedOperations": 0})),
        (200, json!({"totalOperations": 1, "totalDocuments": 1})),
        (200, json!({"totalOperations": 1, "totalDocuments": 1, "unsyncedOperations": 0, "more": 0})),
        (201, stats.clone()),
        (404, json!({"error": "Not found", "message": ""})),
        (500, json!({"error": "Internal error"})),
        (500, json!({"error": 5, "message": ""})),
        (304, stats.clone()),
    ] {
        assert!(get_stats(&answer(status, &body)).is_err(), "{status} {body}");
    }
    let mut untyped = answer(200, &stats);
    untyped.headers.clear();
    assert!(get_stats(&untyped).is_err());
    let missing = answer(404, &json!({"error": "Not found", "message": "", "stack": "trace"}));
    assert!(contract::describes(&Method::GET, "/nope", &missing).is_err());
    let without_allow = answer(405, &json!({"error": "Method not allowed", "message": ""}));
    assert!(contract::describes(&Method::PUT, "/stats", &without_allow).is_err());
}

#[test]
fn a_pulled_operation_that_lacks_or_adds_a_key_is_found() {
    let entry = json!({
        "id": "op", "type": "insert", "collection": "c", "docId": "d", "data": {}, "timestamp": 1, "clientId": "a",
        "synced": true, "vectorClock": {"a": 1},
    });
    let check = |entry: &Value| {
        let page = json!({"operations": [entry], "conflicts": [], "cursor": "l.1.1", "hasMore": false});
        contract::describes(&Method::POST, "/changes", &answer(200, &page))
    };
    assert_eq!(check(&entry), Ok(()));
    for key in ["id", "type", "collection", "docId", "data", "timestamp", "clientId", "synced", "vectorClock"] {
        let mut entry = entry.clone();
        entry.as_object_mut().unwrap().remove(key);
        assert!(check(&entry).is_err(), "{key}");
    }
    for (key, value) in
        [("type", json!("batch")), ("data", json!([])), ("vectorClock", json!({"a": -1})), ("more", json!(1))]
    {
        let mut entry = entry.clone();
        entry[key] = value;
        assert!(check(&entry).is_err(), "{key}");
    }
}
