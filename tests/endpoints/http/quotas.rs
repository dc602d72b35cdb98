//! Quotas by settings, over HTTP.

use serde_json::{Value, json};

use crate::endpoints::local::Local;

fn insert(number: u64) -> Value {
    json!({
        "id": format!("op-{number}"), "type": "insert", "collection": "todos", "docId": format!("doc-{number}"),
        "data": {}, "timestamp": number, "clientId": "a", "vectorClock": {"a": number},
    })
}

fn push_of(operations: &[Value]) -> String {
    json!({"clientId": "a", "operations": operations}).to_string()
}

#[tokio::test]
async fn a_push_beyond_a_quota_is_507_and_a_delete_makes_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Local::start(directory.path(), &[("TENANT_MAX_DOCUMENTS", "2"), ("ADAPTER", "memory")]).await;
    let push = async |operations: &[Value]| server.api.post("/operations", push_of(operations)).await;
    assert_eq!(push(&[insert(1), insert(2)]).await.status, 200);
    let refused = push(&[insert(3)]).await;
    assert_eq!(refused.status, 507);
    assert!(!refused.headers.contains_key("retry-after"), "the same request would be refused again");
    let expected = json!({
        "error": "Quota exceeded",
        "message": "The request exceeds the quota: this tenant may have at most 2 documents; deleting some makes room",
    });
    assert_eq!(refused.json(), expected);
    let mut delete = insert(4);
    (delete["type"], delete["docId"]) = (json!("delete"), json!("doc-1"));
    delete.as_object_mut().expect("an object").remove("data");
    assert_eq!(push(&[delete]).await.status, 200);
    assert_eq!(push(&[insert(3)]).await.status, 200);
    assert_eq!(server.api.stats().await["totalDocuments"], 2);
}

#[tokio::test]
async fn a_new_original_client_beyond_the_quota_is_507_and_one_with_a_cursor_pulls() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Local::start(directory.path(), &[("TENANT_MAX_CLIENTS", "1"), ("ADAPTER", "memory")]).await;
    assert_eq!(server.api.post("/operations", push_of(&[insert(1), insert(2)])).await.status, 200);
    let pull = async |client: &str, from: Value| {
        let mut request = json!({"clientId": client, "limit": 1});
        request.as_object_mut().expect("an object").extend(from.as_object().expect("an object").clone());
        server.api.post("/changes", request.to_string()).await.status
    };
    assert_eq!(pull("first", json!({"since": 0})).await, 200);
    assert_eq!(pull("second", json!({"since": 0})).await, 507);
    assert_eq!(pull("second", json!({"cursor": null})).await, 200);
    assert_eq!(pull("first", json!({"since": 1})).await, 200);
}
