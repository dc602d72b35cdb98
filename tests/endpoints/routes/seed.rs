//! The examples from the original protocol's documentation, unchanged: its clients work with this server.

use serde_json::{Value, json};

use crate::endpoints::client::Api;
use crate::endpoints::contract;

const PUSH: &str = r#"{
"clientId": "client-123",
"operations": [
{
"id": "op-uuid",
"type": "insert",
"collection": "todos",
"docId": "doc-1",
"data": { "title": "Buy milk", "completed": false },
"timestamp": 1234567890,
"clientId": "client-123",
"synced": false,
"vectorClock": { "client-123": 1 }
}
]
}"#;

const PULL: &str = r#"{
"since": 1234567890,
"limit": 100,
"clientId": "client-123",
"vectorClock": { "client-1": 5, "client-2": 3 }
}"#;

const QUERY: &str = r#"{
"filter": { "completed": false }
}"#;

const COMPACT: &str = r#"{
"olderThanDays": 30
}"#;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub(crate) async fn health_says_ok_and_names_the_adapter(api: &Api) {
    let health = api.get("/health").await.json();
    assert_eq!(health["status"], "ok");
    assert!(health["adapter"].is_string());
    assert_eq!(health.as_object().unwrap().len(), 2);
}

pub(crate) async fn a_push_is_accepted(api: &Api) {
    let answer = api.post("/operations", PUSH).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"accepted": parsed(PUSH)["operations"], "conflicts": []}));
}

pub(crate) async fn a_pull_gives_operations_and_no_conflicts(api: &Api) {
    let answer = api.post("/changes", PULL).await;
    assert_eq!((answer.status, &answer.json()["operations"]), (200, &json!([])));
    api.post("/operations", PUSH).await;
    let answer = api.post("/changes", PULL.replace("1234567890", "1234567889").replace("client-123", "client-9")).await;
    let mut expected = parsed(PUSH)["operations"].clone();
    expected[0]["synced"] = json!(true);
    assert_eq!((&answer.json()["operations"], &answer.json()["conflicts"]), (&expected, &json!([])));
}

pub(crate) async fn a_document_is_got_by_its_id(api: &Api) {
    api.post("/operations", PUSH).await;
    let expected = json!({"_id": "doc-1", "_rev": 1, "title": "Buy milk", "completed": false});
    assert_eq!(api.get("/documents/todos/doc-1").await.json(), expected);
}

pub(crate) async fn documents_are_queried_by_a_filter(api: &Api) {
    api.post("/operations", PUSH).await;
    let answer = api.post("/documents/todos/query", QUERY).await.json();
    let expected = json!([{"_id": "doc-1", "_rev": 1, "title": "Buy milk", "completed": false}]);
    assert_eq!((&answer["documents"], &answer["count"]), (&expected, &json!(1)));
}

pub(crate) async fn statistics_have_the_three_counters(api: &Api) {
    api.post("/operations", PUSH).await;
    let expected = json!({"totalOperations": 1, "totalDocuments": 1, "unsyncedOperations": 0});
    assert_eq!(api.get("/stats").await.json(), expected);
}

pub(crate) async fn compaction_says_that_it_is_completed(api: &Api) {
    api.post("/operations", PUSH).await;
    let answer = api.post("/compact", COMPACT).await.json();
    assert_eq!((&answer["message"], &answer["deletedCount"]), (&json!("Compaction completed"), &json!(0)));
}

pub(crate) async fn an_error_has_the_two_texts(api: &Api) {
    let expected =
        json!({"error": "Document not found", "message": "No document with ID 'doc-1' in collection 'todos'"});
    let answer = api.get("/documents/todos/doc-1").await;
    assert_eq!((answer.status, answer.json()), (404, expected));
}

pub(crate) async fn the_testing_section_works(api: &Api) {
    assert_eq!(api.get("/health").await.status, 200);
    assert_eq!(api.get("/stats").await.status, 200);
    let answer = api.post("/changes", r#"{ "since": 0, "limit": 100, "clientId": "test" }"#).await;
    assert_eq!((answer.status, &answer.json()["hasMore"]), (200, &json!(false)));
}

#[test]
fn the_document_describes_the_examples() {
    for (template, request) in
        [("/operations", PUSH), ("/changes", PULL), ("/documents/{collection}/query", QUERY), ("/compact", COMPACT)]
    {
        assert_eq!(contract::is_request("post", template, &parsed(request)), Ok(()), "{template}");
    }
    let without_id = json!({"clientId": "a", "operations": [{"type": "insert"}]});
    assert!(contract::is_request("post", "/operations", &without_id).is_err());
    assert!(contract::is_request("post", "/changes", &json!({"limit": 0})).is_err());
}
