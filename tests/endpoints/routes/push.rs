//! The answers to pushes, for each case of the original protocol.

use serde_json::{Value, json};

use crate::endpoints::client::{Api, insert, list, with};

fn push_of(operations: &str) -> String {
    format!(r#"{{"clientId":"a","operations":[{operations}]}}"#)
}

pub(crate) async fn accepted_operations_are_echoed_byte_for_byte(api: &Api) {
    let operation = "{\"id\":\"op-1\",\"type\":\"insert\", \"collection\":\"todos\",\n\"docId\":\"doc-1\",\
                     \"data\":{ \"n\": 12345678901234567890, \"é\":\"\\u00e9\" },\"timestamp\":5.0,\"clientId\":\"a\",\
                     \"synced\":\"whatever\",\"vectorClock\":{\"a\":1},\"extra\":[1]}";
    let answer = api.post("/operations", push_of(operation)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), format!("{{\"accepted\":[{operation}],\"conflicts\":[]}}"));
}

pub(crate) async fn no_operations_are_a_push_too(api: &Api) {
    let answer = api.post("/operations", push_of("")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"accepted":[],"conflicts":[]}"#));
}

pub(crate) async fn a_known_id_is_accepted_again_and_changes_nothing(api: &Api) {
    let first = insert("op-1", "doc-1", "a", 1, 5);
    api.accept(std::slice::from_ref(&first)).await;
    let other = with(insert("op-1", "doc-2", "b", 7, 9), "data", json!({"other": true}));
    api.accept(&[other]).await;
    assert_eq!(api.stats().await["totalOperations"], 1);
    assert_eq!(api.document("todos", "doc-2").await, None);
    assert_eq!(api.document("todos", "doc-1").await, Some(json!({"_id": "doc-1", "_rev": 1, "n": 5})));
}

pub(crate) async fn one_id_for_two_operations_of_a_push_is_refused_and_named(api: &Api) {
    let first = insert("op-1", "doc-1", "a", 1, 5);
    let same = with(first.clone(), "synced", json!(true));
    let operations = [
        first.clone(),
        insert("op-2", "doc-2", "a", 2, 6),
        same,
        with(first.clone(), "data", json!({"n": 6})),
        with(first.clone(), "docId", json!("doc-3")),
    ];
    let push = json!({"clientId": "a", "operations": operations}).to_string();
    let refused = api.post("/operations", push.clone()).await;
    assert_eq!(refused.faulty_fields(), ["operations[3].id", "operations[4].id"]);
    assert_eq!(api.stats().await["totalOperations"], 0);
    api.accept(&[first]).await;
    assert_eq!(api.post("/operations", push).await.status, 400, "whether or not the id is known");
    assert_eq!(api.stats().await["totalOperations"], 1);
}

pub(crate) async fn an_operation_that_a_push_has_twice_is_accepted_twice_and_applied_once(api: &Api) {
    let data = [r#"{"a":1,"b":[2]}"#, r#"{ "b": [2.0], "a": 10e-1 }"#, r#"{"a":1,"b":[2]}"#];
    let texts = data.map(|data| insert("op-1", "doc-1", "a", 1, 5).to_string().replace(r#"{"n":5}"#, data));
    let answer = api.post("/operations", push_of(&texts.join(","))).await;
    assert_eq!(answer.text(), format!(r#"{{"accepted":[{}],"conflicts":[]}}"#, texts.join(",")));
    assert_eq!(api.document("todos", "doc-1").await, Some(json!({"_id": "doc-1", "_rev": 1, "a": 1, "b": [2]})));
    assert_eq!(api.stats().await["totalOperations"], 1);
}

pub(crate) async fn one_id_pushed_eight_times_at_once_is_accepted_in_each_answer(api: &Api) {
    let operation = insert("op-1", "doc-1", "a", 1, 5);
    let pushes = (0..8).map(|_| api.push(std::slice::from_ref(&operation)));
    for (accepted, conflicts) in futures_util::future::join_all(pushes).await {
        assert_eq!((accepted, conflicts), (vec![operation.clone()], vec![]));
    }
    assert_eq!(api.stats().await["totalOperations"], 1);
}

pub(crate) async fn a_concurrent_operation_is_answered_with_the_servers_data_and_clock(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5)]).await;
    let sent = with(insert("op-2", "doc-1", "b", 1, 9), "synced", json!(true));
    let (accepted, conflicts) = api.push(std::slice::from_ref(&sent)).await;
    assert_eq!(accepted, Vec::<Value>::new());
    let details = json!({
        "relation": "concurrent", "rev": 1, "deleted": false, "operationId": "op-1", "clientId": "a", "timestamp": 5,
    });
    let expected = with(with(with(sent, "data", json!({"n": 5})), "vectorClock", json!({"a": 1})), "conflict", details);
    assert_eq!(conflicts, [expected]);
    assert_eq!(api.document("todos", "doc-1").await.unwrap()["_rev"], 1);
}

pub(crate) async fn an_operation_that_happens_before_conflicts_with_a_tombstone_as_null(api: &Api) {
    api.accept(&[
        insert("op-1", "doc-1", "a", 2, 5),
        with(insert("op-2", "doc-1", "a", 3, 6), "type", json!("delete")),
    ])
    .await;
    let sent = with(insert("op-3", "doc-1", "a", 1, 9), "synced", json!("no boolean"));
    let (_, conflicts) = api.push(&[sent]).await;
    let [conflict] = &conflicts[..] else { panic!("{conflicts:?}") };
    assert_eq!((&conflict["data"], &conflict["vectorClock"]), (&Value::Null, &json!({"a": 3})));
    assert_eq!((&conflict["type"], &conflict["timestamp"]), (&json!("insert"), &json!(9)));
    assert_eq!(conflict["synced"], false);
    let details = &conflict["conflict"];
    assert_eq!((&details["relation"], &details["deleted"]), (&json!("happens-before"), &json!(true)));
    assert_eq!((&details["rev"], &details["operationId"]), (&json!(2), &json!("op-2")));
}

pub(crate) async fn an_equal_or_later_clock_is_accepted_and_missing_counters_count_as_zero(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5)]).await;
    let equal = with(insert("op-2", "doc-1", "b", 0, 6), "vectorClock", json!({"a": 1, "b": 0}));
    let later = with(insert("op-3", "doc-1", "b", 1, 7), "vectorClock", json!({"a": 1, "b": 1}));
    api.accept(&[equal, later]).await;
    assert_eq!(api.document("todos", "doc-1").await, Some(json!({"_id": "doc-1", "_rev": 3, "n": 7})));
    let without_a = insert("op-4", "doc-1", "b", 5, 8);
    assert_eq!(api.push(&[without_a]).await.1.len(), 1);
}

pub(crate) async fn an_unknown_document_is_created_whatever_the_clock(api: &Api) {
    let empty_clock = with(insert("op-1", "doc-1", "a", 1, 5), "vectorClock", json!({}));
    let distant_clock =
        with(insert("op-2", "doc-2", "a", 1, 5), "vectorClock", json!({"z": 9_007_199_254_740_991_u64}));
    api.accept(&[empty_clock, distant_clock]).await;
    assert_eq!(api.stats().await["totalDocuments"], 2);
}

pub(crate) async fn an_update_merges_one_level_deep_and_null_stays(api: &Api) {
    let base = with(insert("op-1", "doc-1", "a", 1, 5), "data", json!({"kept": 1, "deep": {"x": 1}, "gone": 2}));
    let patch = with(insert("op-2", "doc-1", "a", 2, 6), "data", json!({"deep": {"y": 2}, "gone": null}));
    api.accept(&[base, with(patch, "type", json!("update"))]).await;
    let expected = json!({"_id": "doc-1", "_rev": 2, "kept": 1, "deep": {"y": 2}, "gone": null});
    assert_eq!(api.document("todos", "doc-1").await, Some(expected));
}

pub(crate) async fn an_update_creates_an_unknown_document(api: &Api) {
    api.accept(&[with(insert("op-1", "doc-1", "a", 1, 5), "type", json!("update"))]).await;
    assert_eq!(api.document("todos", "doc-1").await, Some(json!({"_id": "doc-1", "_rev": 1, "n": 5})));
}

pub(crate) async fn an_update_of_a_deleted_document_revives_it_with_its_own_data_alone(api: &Api) {
    let deleted = with(insert("op-2", "doc-1", "a", 2, 6), "type", json!("delete"));
    let update = with(insert("op-3", "doc-1", "a", 3, 7), "data", json!({"new": true}));
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5), deleted, with(update, "type", json!("update"))]).await;
    assert_eq!(api.document("todos", "doc-1").await, Some(json!({"_id": "doc-1", "_rev": 3, "new": true})));
    let page = api.pull(&json!({"since": 0, "clientId": "x"})).await;
    assert_eq!(list(&page["operations"])[2]["type"], "insert", "clients would merge an update into what they kept");
}

pub(crate) async fn an_insert_replaces_the_data_of_an_existing_document(api: &Api) {
    let first = with(insert("op-1", "doc-1", "a", 1, 5), "data", json!({"old": 1}));
    api.accept(&[first, insert("op-2", "doc-1", "a", 2, 6)]).await;
    assert_eq!(api.document("todos", "doc-1").await, Some(json!({"_id": "doc-1", "_rev": 2, "n": 6})));
}

pub(crate) async fn a_delete_leaves_a_tombstone_whose_revision_counts_on(api: &Api) {
    let deleted = with(insert("op-2", "doc-1", "a", 2, 6), "type", json!("delete"));
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5), deleted]).await;
    assert_eq!(api.document("todos", "doc-1").await, None);
    assert_eq!(api.stats().await["totalDocuments"], 0);
    api.accept(&[insert("op-3", "doc-1", "a", 3, 7)]).await;
    assert_eq!(api.document("todos", "doc-1").await.unwrap()["_rev"], 3);
}

pub(crate) async fn a_delete_of_an_unknown_document_is_accepted_and_guards_it(api: &Api) {
    let deleted = with(insert("op-1", "doc-1", "a", 2, 6), "type", json!("delete"));
    api.accept(&[with(deleted, "data", Value::Null)]).await;
    assert_eq!(api.stats().await["totalOperations"], 1);
    assert_eq!(api.push(&[insert("op-2", "doc-1", "a", 1, 5)]).await.1.len(), 1);
}

pub(crate) async fn of_many_who_create_one_document_at_once_one_wins_and_the_others_conflict(api: &Api) {
    let clients = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let operations = clients.map(|client| insert(&format!("op-{client}"), "doc-1", client, 1, 5));
    let answers =
        futures_util::future::join_all(operations.iter().map(|operation| api.push(std::slice::from_ref(operation))))
            .await;
    let accepted: usize = answers.iter().map(|(accepted, _)| accepted.len()).sum();
    let conflicts: usize = answers.iter().map(|(_, conflicts)| conflicts.len()).sum();
    assert_eq!((accepted, conflicts), (1, 7));
    assert_eq!(api.document("todos", "doc-1").await.unwrap()["_rev"], 1);
    assert_eq!(api.stats().await["totalOperations"], 1);
}

pub(crate) async fn later_operations_of_a_push_see_the_earlier_ones(api: &Api) {
    let (accepted, conflicts) = api
        .push(&[
            insert("op-1", "doc-1", "a", 1, 5),
            insert("op-1", "doc-1", "a", 1, 5),
            insert("op-2", "doc-1", "b", 1, 6),
        ])
        .await;
    assert_eq!((accepted.len(), conflicts.len()), (2, 1));
    assert_eq!(api.stats().await["totalOperations"], 1);
}

pub(crate) async fn a_faulty_operation_fails_the_push_as_a_whole(api: &Api) {
    let operations = [
        insert("op-1", "doc-1", "a", 1, 5),
        with(insert("op-2", "doc-2", "a", 2, 6), "type", json!("batch")),
        with(insert("op-3", "", "a", 3, 7), "timestamp", json!("yesterday")),
    ];
    let answer = api.post("/operations", json!({"clientId": "a", "operations": operations}).to_string()).await;
    assert_eq!(answer.faulty_fields(), ["operations[1].type", "operations[2].docId", "operations[2].timestamp"]);
    assert_eq!(api.stats().await["totalOperations"], 0);
    assert_eq!(api.document("todos", "doc-1").await, None);
}

pub(crate) async fn a_partial_push_is_done_without_what_is_refused(api: &Api) {
    let half = |key: &str| json!({key: "x".repeat(600_000)});
    let operations = [
        with(insert("op-1", "", "a", 1, 5), "timestamp", json!("yesterday")),
        with(insert("op-2", "doc-1", "a", 2, 6), "data", half("left")),
        with(with(insert("op-3", "doc-1", "a", 3, 7), "data", half("right")), "type", json!("update")),
        json!(7),
        insert("op-4", "doc-2", "a", 4, 8),
        with(insert("op-5", "doc-1", "a", 5, 9), "type", json!("update")),
    ];
    let push = json!({"clientId": "a", "operations": operations, "partial": true}).to_string();
    for _ in 0..2 {
        let answer = api.post("/operations", push.clone()).await;
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        let accepted: Vec<&Value> =
            answer["accepted"].as_array().expect("a list").iter().map(|operation| &operation["id"]).collect();
        assert_eq!(accepted, ["op-2", "op-4"]);
        assert_eq!(answer["conflicts"], json!([]));
        let expected = json!([
            {"index": 0, "id": "op-1", "fields": ["docId", "timestamp"], "message":
                "docId: must not be empty; timestamp: must be an integer from 1 to 9007199254740991"},
            {"index": 2, "id": "op-3", "fields": ["data"], "message": "the document would have more than 1048576 bytes"},
            {"index": 3, "fields": [], "message": "must be an object"},
            {"index": 5, "id": "op-5", "fields": [], "message":
                "an earlier operation of the push on the same document is refused"},
        ]);
        assert_eq!(answer["refused"], expected);
        assert_eq!(api.stats().await["totalOperations"], 2);
    }
    let faulty = json!({"clientId": "a", "operations": [], "partial": "yes"}).to_string();
    assert_eq!(api.post("/operations", faulty).await.faulty_fields(), ["partial"]);
}

pub(crate) async fn a_document_that_grows_too_large_fails_the_push_and_names_the_data(api: &Api) {
    let half = |key: &str| json!({key: "x".repeat(600_000)});
    api.accept(&[with(insert("op-1", "doc-1", "a", 1, 5), "data", half("left"))]).await;
    let update = with(with(insert("op-3", "doc-1", "a", 2, 6), "data", half("right")), "type", json!("update"));
    let push = json!({"clientId": "a", "operations": [insert("op-2", "doc-2", "a", 1, 5), update]});
    let answer = api.post("/operations", push.to_string()).await;
    assert_eq!(answer.faulty_fields(), ["operations[1].data"]);
    assert_eq!(api.stats().await["totalOperations"], 1, "the operation before it is not applied either");
}

pub(crate) async fn conflicts_that_would_answer_too_much_fail_the_push_and_name_the_operations(api: &Api) {
    let large = json!({"a": "x".repeat(1_000_000)});
    api.accept(&[with(insert("op-1", "doc-1", "a", 1, 5), "data", large)]).await;
    let conflicts = (0..5).map(|index| insert(&format!("conflict-{index}"), "doc-1", "b", 1, 5));
    let mut operations = vec![insert("op-2", "doc-2", "b", 1, 5)];
    operations.extend(conflicts);
    let push = |operations: &[Value]| json!({"clientId": "b", "operations": operations}).to_string();
    let answer = api.post("/operations", push(&operations)).await;
    assert_eq!(answer.faulty_fields(), ["operations"]);
    assert_eq!(api.stats().await["totalOperations"], 1, "the operation that would be accepted is not applied either");
    let (accepted, conflicts) = api.push(&operations[..4]).await;
    assert_eq!((accepted.len(), conflicts.len()), (1, 3), "fewer at a time are answered");
}

pub(crate) async fn documents_that_are_too_much_together_fail_the_push_and_name_the_operations(api: &Api) {
    let large = json!({"a": "x".repeat(1_000_000)});
    for number in 0..17 {
        let id = format!("doc-{number}");
        api.accept(&[with(insert(&format!("large-{number}"), &id, "a", 1, 5), "data", large.clone())]).await;
    }
    let update = |number: usize| {
        with(insert(&format!("op-{number}"), &format!("doc-{number}"), "a", 2, 6), "type", json!("update"))
    };
    let updates: Vec<Value> = (0..17).map(update).collect();
    let push = json!({"clientId": "a", "operations": updates}).to_string();
    let answer = api.post("/operations", push).await;
    assert_eq!(answer.faulty_fields(), ["operations"]);
    assert_eq!(api.stats().await["totalOperations"], 17, "nothing is applied");
    for half in updates.chunks(9) {
        api.accept(half).await;
    }
}

pub(crate) async fn a_client_may_push_operations_of_another(api: &Api) {
    let push = json!({"clientId": "tablet", "operations": [insert("op-1", "doc-1", "phone", 1, 5)]});
    assert_eq!(api.post("/operations", push.to_string()).await.status, 200);
    assert_eq!(api.pull(&json!({})).await["operations"][0]["clientId"], "phone");
}

pub(crate) async fn data_comes_back_with_the_bytes_that_were_pushed(api: &Api) {
    let data = r#"{"z":12345678901234567890,"a":1.0,"e":1E2,"q":"\u00e9\/","k":{"b":[1.10,-0],"a":null},"":"😀"}"#;
    let operation = format!(
        r#"{{"id":"op-1","type":"insert","collection":"todos","docId":"doc-1","data":{data},"timestamp":5,"clientId":"a","vectorClock":{{}}}}"#
    );
    assert_eq!(api.post("/operations", push_of(&operation)).await.status, 200);
    let changes = api.post("/changes", "{}").await.text();
    assert!(changes.contains(&format!("\"data\":{data},")), "{changes}");
    let document = api.get("/documents/todos/doc-1").await.text();
    assert_eq!(document, format!("{{\"_id\":\"doc-1\",\"_rev\":1,{}", &data[1..]));
}

pub(crate) async fn names_of_any_script_come_back_as_they_were(api: &Api) {
    let name = "Zoë's \"todo\" \\ list / 📱 %2F ?";
    let operation = with(with(insert(name, name, name, 1, 5), "collection", json!(name)), "synced", json!(true));
    api.accept(std::slice::from_ref(&operation)).await;
    assert_eq!(api.pull(&json!({})).await["operations"], json!([operation]));
    let longest = "é".repeat(128);
    api.accept(&[insert(&longest, &longest, &longest, 1, 6)]).await;
}
