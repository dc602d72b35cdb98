//! Statistics and compaction.

use serde_json::{Value, json};
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::Host as _;

use crate::endpoints::client::{Api, insert, with};

pub(crate) async fn statistics_count_operations_documents_and_what_clients_have_not_pulled(api: &Api) {
    assert_eq!(api.stats().await, json!({"totalOperations": 0, "totalDocuments": 0, "unsyncedOperations": 0}));
    let deleted = with(insert("op-3", "doc-2", "a", 3, 7), "type", json!("delete"));
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5), insert("op-2", "doc-2", "a", 2, 6), deleted]).await;
    assert_eq!(
        api.stats().await,
        json!({"totalOperations": 3, "totalDocuments": 1, "unsyncedOperations": 0}),
        "nobody has pulled yet"
    );
    api.pull(&json!({"clientId": "b", "since": 0, "limit": 2})).await;
    assert_eq!(api.stats().await["unsyncedOperations"], 1);
    api.pull(&json!({"clientId": "b", "since": 6})).await;
    assert_eq!(api.stats().await["unsyncedOperations"], 0);
    let page = api.pull(&json!({"clientId": "c", "cursor": null, "limit": 1})).await;
    api.accept(&[insert("op-4", "doc-3", "a", 4, 8)]).await;
    api.pull(&json!({"clientId": "c", "cursor": page["cursor"]})).await;
    assert_eq!(api.stats().await["unsyncedOperations"], 1, "c has everything now, and b misses one");
}

pub(crate) async fn compaction_removes_log_entries_and_never_documents(api: &Api) {
    let deleted = with(insert("op-2", "doc-2", "a", 2, 6), "type", json!("delete"));
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5), deleted]).await;
    let answer = api.post("/compact", r#"{"olderThanDays":0}"#).await;
    assert_eq!(answer.text(), r#"{"message":"Compaction completed","deletedCount":2,"hasMore":false}"#);
    let stats = api.stats().await;
    assert_eq!((&stats["totalOperations"], &stats["totalDocuments"]), (&json!(0), &json!(1)));
    assert_eq!(api.document("todos", "doc-1").await, Some(json!({"_id": "doc-1", "_rev": 1, "n": 5})));
    assert_eq!(api.post("/compact", r#"{"olderThanDays":0}"#).await.json()["deletedCount"], 0);
}

pub(crate) async fn compaction_goes_by_when_the_server_received_an_operation(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5)]).await;
    for request in ["", "{}", r#"{"olderThanDays":30}"#, r#"{"olderThanDays":0.5}"#, r#"{"olderThanDays":1e300}"#] {
        let answer = api.post("/compact", request).await.json();
        assert_eq!((&answer["deletedCount"], &answer["hasMore"]), (&json!(0), &json!(false)), "{request}");
    }
    assert_eq!(api.stats().await["totalOperations"], 1, "its old timestamp is its client's affair");
}

pub(crate) async fn an_age_that_is_not_a_number_from_zero_removes_nothing(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5)]).await;
    for age in ["null", "-1", "-0.001", "\"0\"", "[]", "{}", "true"] {
        let answer = api.post("/compact", format!("{{\"olderThanDays\":{age}}}")).await;
        assert_eq!(answer.faulty_fields(), ["olderThanDays"], "{age}");
    }
    assert_eq!(api.stats().await["totalOperations"], 1);
}

pub(crate) async fn an_operation_that_was_compacted_away_is_still_known(api: &Api) {
    let first = insert("op-1", "doc-1", "a", 1, 5);
    api.accept(&[first.clone(), insert("op-2", "doc-1", "a", 2, 6)]).await;
    api.post("/compact", r#"{"olderThanDays":0}"#).await;
    api.accept(&[first]).await;
    assert_eq!(api.stats().await["totalOperations"], 0);
    assert_eq!(api.document("todos", "doc-1").await.unwrap()["_rev"], 2);
}

pub(crate) async fn every_client_reaches_the_documents_across_a_compaction(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5), insert("op-2", "doc-2", "a", 2, 6)]).await;
    let cursor = api.pull(&json!({"cursor": null, "limit": 1})).await["cursor"].clone();
    api.pull(&json!({"clientId": "old", "since": 0, "limit": 1})).await;
    let update = with(insert("op-3", "doc-1", "a", 3, 7), "data", json!({"more": true}));
    api.accept(&[with(update, "type", json!("update"))]).await;
    api.post("/compact", r#"{"olderThanDays":0}"#).await;
    let whole = json!({"n": 5, "more": true});
    for request in [
        json!({"cursor": cursor}),
        json!({"cursor": null}),
        json!({"clientId": "old", "since": 5}),
        json!({"clientId": "new", "since": 0}),
        json!({"since": 0}),
    ] {
        let page = api.pull(&request).await;
        let documents: Vec<_> = page["operations"].as_array().unwrap().iter().map(|entry| &entry["data"]).collect();
        assert!(documents.contains(&&whole) && documents.contains(&&json!({"n": 6})), "{request}: {page}");
    }
}

pub(crate) async fn clients_are_listed_with_what_they_lack(api: &Api) {
    let list = async |request: &str| api.post("/clients", request).await.json();
    assert_eq!(list("").await, json!({"clients": [], "next": null}));
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5), insert("op-2", "doc-2", "a", 2, 6)]).await;
    let begun_ms = TokioHost.now_ms().get();
    api.pull(&json!({"clientId": "phone", "cursor": null})).await;
    api.pull(&json!({"clientId": "laptop", "since": 0, "limit": 1})).await;
    api.pull(&json!({"cursor": null})).await;
    api.accept(&[insert("op-3", "doc-3", "a", 3, 7)]).await;
    let all = list("{}").await;
    let behind = |page: &Value| {
        let clients = page["clients"].as_array().unwrap();
        clients.iter().map(|client| format!("{} {}", client["clientId"], client["behind"])).collect::<Vec<_>>()
    };
    assert_eq!((behind(&all), &all["next"]), (vec!["\"laptop\" 2".to_owned(), "\"phone\" 1".to_owned()], &Value::Null));
    for client in all["clients"].as_array().unwrap() {
        assert!((begun_ms..=TokioHost.now_ms().get()).contains(&client["seenAt"].as_u64().unwrap()), "{client}");
    }
    let first = list(r#"{"limit":1}"#).await;
    assert_eq!((behind(&first).len(), &first["next"]), (1, &json!("laptop")));
    assert_eq!(behind(&list(r#"{"limit":1,"after":"laptop"}"#).await), ["\"phone\" 1"]);
    assert_eq!(list(r#"{"after":"phone"}"#).await, json!({"clients": [], "next": null}));
    for (request, field) in [(r#"{"after":""}"#, "after"), (r#"{"after":null}"#, "after"), (r#"{"limit":0}"#, "limit")]
    {
        assert_eq!(api.post("/clients", request).await.faulty_fields(), [field], "{request}");
    }
}
