//! Conflicts that the server resolves, by settings and rules, over HTTP.

use serde_json::{Value, json};

use crate::endpoints::client::Answer;
use crate::endpoints::local::Local;

/// An operation on the document `doc` of a collection.
fn operation(id: &str, kind: &str, collection: &str, client: &str, at: u64, data: &Value) -> Value {
    json!({
        "id": id, "type": kind, "collection": collection, "docId": "doc", "data": data, "timestamp": at,
        "clientId": client, "vectorClock": {client: 1},
    })
}

fn push_of(operations: &[Value]) -> String {
    json!({"clientId": "a", "operations": operations}).to_string()
}

async fn push(server: &Local, operations: &[Value]) -> Answer {
    server.api.post("/operations", push_of(operations)).await
}

#[tokio::test]
async fn an_operation_that_lost_is_accepted_and_its_author_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let rules = "[collections.notes]\nconflicts = \"reject\"";
    let settings = [("CONFLICT_POLICY", "merge"), ("RULES", rules), ("ADAPTER", "memory")];
    let server = Local::start(directory.path(), &settings).await;
    let first = operation("op-1", "insert", "todos", "a", 10, &json!({"x": 1, "y": 1}));
    let late = operation("op-2", "update", "todos", "b", 5, &json!({"x": 2, "z": 2}));
    let answer = push(&server, &[first.clone(), late.clone()]).await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "accepted": [first, late], "conflicts": [],
        "resolved": [{
            "id": "op-2", "operation": "syncflow-server::resolved::op-2", "outcome": "lost",
            "lost": {"x": 2, "z": 2},
        }],
    });
    assert_eq!(answer.json(), expected);
    let again = push(&server, std::slice::from_ref(&late)).await;
    assert_eq!(again.json(), json!({"accepted": [late], "conflicts": []}));
    let audit = server.api.post("/changes", json!({"cursor": "l.0.0", "resolutions": true}).to_string()).await;
    let page = audit.json();
    let resolution = &page["operations"][1];
    assert_eq!(resolution["id"], "syncflow-server::resolved::op-2");
    assert_eq!(resolution["data"], json!({"x": 1, "y": 1}));
    assert_eq!(resolution["resolution"]["operation"]["data"], json!({"x": 2, "z": 2}));
    let plain = server.api.post("/changes", json!({"since": 0, "clientId": "b"}).to_string()).await.json();
    assert!(plain["operations"][1].get("resolution").is_none());
    // The rules say something else for this collection, and forbid nothing.
    let first = operation("op-3", "insert", "notes", "a", 10, &json!({}));
    let answer = push(&server, &[first, operation("op-4", "update", "notes", "b", 50, &json!({}))]).await.json();
    assert_eq!(answer["conflicts"][0]["id"], "op-4");
}

#[tokio::test]
async fn ids_of_resolutions_are_reserved() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Local::start(directory.path(), &[("ADAPTER", "memory")]).await;
    let answer =
        push(&server, &[operation("syncflow-server::resolved::x", "insert", "todos", "a", 1, &json!({}))]).await;
    assert_eq!((answer.status, &answer.json()["fields"]), (400, &json!(["operations[0].id"])));
}

#[tokio::test]
async fn an_operation_that_cannot_be_decided_does_not_stop_an_original_client() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Local::start(directory.path(), &[("POISON", "quarantine"), ("ADAPTER", "memory")]).await;
    let document = |id: &str, kind: &str, document: &str, data: Value| {
        let mut operation = operation(id, kind, "todos", "a", 1, &data);
        operation["docId"] = json!(document);
        operation
    };
    assert_eq!(push(&server, &[document("op-1", "insert", "doc-1", json!({}))]).await.status, 200);
    let mut without_data = document("op-3", "update", "doc-2", json!(null));
    without_data.as_object_mut().expect("an object").remove("data");
    let operations = [
        document("op-2", "insert", "doc-2", json!({"x": 1})),
        without_data,
        document("op-4", "insert", "doc-2", json!("a text")),
        document("op-5", "update", "doc-2", json!({"y": 1})),
        json!(7),
    ];
    let push_as = async |client: &str| {
        let body = json!({"clientId": client, "operations": operations}).to_string();
        server.api.send_unchecked(reqwest::Method::POST, "/operations", &[], body.into_bytes()).await
    };
    assert_eq!(push_as("old").await.status, 400, "the server does not know the client yet");
    assert_eq!(server.api.post("/changes", r#"{"since":0,"clientId":"old"}"#).await.status, 200);
    assert_eq!(server.api.post("/changes", r#"{"cursor":null,"clientId":"new"}"#).await.status, 200);
    assert_eq!(push_as("new").await.status, 400, "it is a client with a cursor");
    for _ in 0..2 {
        let answer = push_as("old").await;
        assert_eq!((answer.status, answer.json()), (200, json!({"accepted": operations, "conflicts": []})));
        let read = server.api.get("/documents/todos/doc-2").await.json();
        assert_eq!((&read["x"], &read["y"], &read["_rev"]), (&json!(1), &json!(1), &json!(3)));
        let kept = server.api.post("/documents/syncflow-server:quarantine/query", "").await.json();
        assert_eq!(kept["count"], 2);
        assert!(kept["documents"].to_string().contains("a text"));
    }
}

#[tokio::test]
async fn the_quarantine_needs_room_for_those_operations_alone_that_cannot_be_decided() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Local::start(directory.path(), &[("POISON", "quarantine"), ("ADAPTER", "memory")]).await;
    assert_eq!(push(&server, &[operation("op-0", "insert", "todos", "a", 1, &json!({}))]).await.status, 200);
    assert_eq!(server.api.post("/changes", r#"{"since":0,"clientId":"old"}"#).await.status, 200);
    let kept =
        async || server.api.post("/documents/syncflow-server:quarantine/query", "").await.json()["count"].clone();
    for round in 0..3_u64 {
        let mut operations: Vec<Value> = (0..999)
            .map(|number| {
                let mut operation = operation(&format!("op-{round}-{number}"), "delete", "todos", "a", 1, &Value::Null);
                operation["docId"] = json!(format!("doc-{round}-{number}"));
                operation
            })
            .collect();
        let mut faulty = operation(&format!("faulty-{round}"), "insert", "todos", "a", 1, &json!({}));
        faulty["vectorClock"] = json!({"a\u{0}": round});
        operations.push(faulty.clone());
        let body = json!({"clientId": "old", "operations": operations}).to_string();
        let answer = server.api.send_unchecked(reqwest::Method::POST, "/operations", &[], body.into_bytes()).await;
        assert_eq!(answer.status, 200, "round {round}: {}", answer.json());
        assert_eq!(kept().await, json!(round + 1));
    }
    let kept = server.api.post("/documents/syncflow-server:quarantine/query", "").await.json();
    for round in 0..3 {
        assert!(kept["documents"].to_string().contains(&format!("faulty-{round}")), "it is there as it was sent");
    }
}
