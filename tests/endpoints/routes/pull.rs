//! The answers to pulls in every mode.

use serde_json::{Value, json};

use crate::endpoints::client::{Api, ids, insert, list, with};

const KEYS: [&str; 9] = ["clientId", "collection", "data", "docId", "id", "synced", "timestamp", "type", "vectorClock"];

/// Pushes operations with these timestamps, each on its own document: `op-1`, `op-2` and so on.
async fn push_at(api: &Api, timestamps: &[u64]) {
    let operations: Vec<Value> = (1_u64..)
        .zip(timestamps)
        .map(|(number, timestamp)| insert(&format!("op-{number}"), &format!("doc-{number}"), "a", number, *timestamp))
        .collect();
    api.accept(&operations).await;
}

pub(crate) async fn a_page_has_the_keys_of_the_original_protocol_and_a_cursor(api: &Api) {
    let deleted = with(insert("op-2", "doc-2", "a", 2, 6), "type", json!("delete"));
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5), deleted]).await;
    let page = api.pull(&json!({"since": 0, "clientId": "b"})).await;
    assert_eq!(page["conflicts"], json!([]));
    assert_eq!(page["hasMore"], false);
    assert!(page["cursor"].is_string());
    let operations = list(&page["operations"]);
    for operation in &operations {
        assert!(operation.as_object().unwrap().keys().eq(KEYS), "{operation}");
        assert_eq!(operation["synced"], true, "clients push back what comes as not synced");
    }
    assert_eq!(operations[0], with(insert("op-1", "doc-1", "a", 1, 5), "synced", json!(true)));
    assert_eq!((&operations[1]["type"], &operations[1]["data"]), (&json!("delete"), &Value::Null));
}

pub(crate) async fn a_client_gets_its_own_operations_too(api: &Api) {
    push_at(api, &[5]).await;
    assert_eq!(ids(&api.pull(&json!({"clientId": "a"})).await), ["op-1"]);
}

pub(crate) async fn nothing_to_pull_is_an_empty_page(api: &Api) {
    for request in [json!({}), json!({"cursor": null}), json!({"clientId": "a", "since": 7})] {
        let page = api.pull(&request).await;
        assert_eq!((&page["operations"], &page["hasMore"]), (&json!([]), &json!(false)), "{request}");
    }
}

pub(crate) async fn a_cursor_gives_each_change_once_in_the_order_of_the_log(api: &Api) {
    push_at(api, &[9, 5, 5, 7]).await;
    let mut cursor = Value::Null;
    let mut pulled = Vec::new();
    loop {
        let page = api.pull(&json!({"cursor": cursor, "limit": 3})).await;
        pulled.extend(ids(&page));
        cursor = page["cursor"].clone();
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!(pulled, ["op-1", "op-2", "op-3", "op-4"]);
    api.accept(&[insert("op-5", "doc-1", "a", 5, 1)]).await;
    let page = api.pull(&json!({"cursor": cursor})).await;
    assert_eq!(ids(&page), ["op-5"]);
    assert_eq!(api.pull(&json!({"cursor": page["cursor"]})).await["operations"], json!([]));
}

pub(crate) async fn from_nothing_each_document_comes_once_and_no_old_tombstone(api: &Api) {
    push_at(api, &[5, 6, 7]).await;
    let update = with(insert("op-4", "doc-1", "a", 4, 8), "data", json!({"more": true}));
    let deleted = with(insert("op-5", "doc-2", "a", 5, 9), "type", json!("delete"));
    api.accept(&[with(update, "type", json!("update")), deleted]).await;
    for nothing in [json!({"cursor": null}), json!({"cursor": ""}), json!({"cursor": null, "since": "ignored"})] {
        let page = api.pull(&nothing).await;
        assert_eq!(ids(&page), ["op-3", "op-4"], "{nothing}");
        let last = &page["operations"][1];
        assert_eq!((&last["type"], &last["data"]), (&json!("insert"), &json!({"n": 5, "more": true})));
    }
}

pub(crate) async fn a_cursor_of_another_log_is_answered_with_410(api: &Api) {
    push_at(api, &[5]).await;
    for cursor in ["l.1.123", "l.2.123", "s.1.123.1"] {
        let answer = api.post("/changes", json!({"cursor": cursor}).to_string()).await;
        assert_eq!(answer.status, 410, "{cursor}");
        assert_eq!((&answer.json()["error"], &answer.json()["reason"]), (&json!("Cursor reset"), &json!("reset")));
    }
}

pub(crate) async fn an_original_client_misses_nothing_that_shares_a_timestamp_across_pages(api: &Api) {
    push_at(api, &[5; 7]).await;
    let expected: Vec<String> = (1..=7).map(|number| format!("op-{number}")).collect();
    assert_eq!(api.pull_as_original("old", 0, 2).await, expected);
}

pub(crate) async fn an_original_client_misses_nothing_that_comes_late_or_after_the_far_future(api: &Api) {
    push_at(api, &[5, 4_000_000_000_000_000]).await;
    let page = api.pull(&json!({"clientId": "old", "since": 0})).await;
    assert_eq!(ids(&page), ["op-1", "op-2"]);
    api.accept(&[insert("late", "doc-9", "a", 9, 3)]).await;
    let page = api.pull(&json!({"clientId": "old", "since": 4_000_000_000_000_000_u64})).await;
    assert_eq!(ids(&page), ["late", "late"], "the second has a timestamp after `since`");
    assert_eq!(page["operations"][1]["timestamp"], 4_000_000_000_000_001_u64);
    api.accept(&[insert("later", "doc-10", "a", 10, 4)]).await;
    let page = api.pull(&json!({"clientId": "old", "since": 4_000_000_000_000_001_u64})).await;
    assert_eq!(ids(&page)[..1], ["later"]);
}

pub(crate) async fn an_original_client_whose_answer_was_lost_gets_the_same_again(api: &Api) {
    push_at(api, &[5, 6, 7]).await;
    let ask = json!({"clientId": "old", "since": 0, "limit": 2});
    let first = ids(&api.pull(&ask).await);
    assert_eq!(ids(&api.pull(&ask).await), first);
    assert_eq!(ids(&api.pull(&json!({"clientId": "old", "since": 6})).await), ["op-3"]);
    assert_eq!(ids(&api.pull(&json!({"clientId": "old", "since": 6})).await), ["op-3"]);
}

pub(crate) async fn timestamps_at_their_limit_are_told_apart_by_a_since_beyond_it(api: &Api) {
    push_at(api, &[9_007_199_254_740_991; 5]).await;
    assert_eq!(api.pull_as_original("old", 0, 2).await.len(), 5);
}

pub(crate) async fn an_unknown_since_is_answered_from_the_beginning(api: &Api) {
    push_at(api, &[9, 5, 7]).await;
    assert_eq!(api.pull_as_original("stranger", 5, 1).await, ["op-1", "op-2", "op-3"]);
    api.accept(&[insert("late", "doc-9", "a", 9, 1)]).await;
    // 9 stands for the first page, and each further page has the next number.
    assert_eq!(api.pull_as_original("stranger", 11, 1).await, ["late"]);
}

pub(crate) async fn without_a_client_id_pages_are_by_timestamp_and_end_between_unequal_ones(api: &Api) {
    push_at(api, &[7, 5, 5, 6]).await;
    let page = api.pull(&json!({"since": 0, "limit": 1})).await;
    assert_eq!((ids(&page), &page["hasMore"]), (vec!["op-2".to_owned(), "op-3".to_owned()], &json!(true)));
    assert_eq!(page.get("cursor"), None);
    assert_eq!(ids(&api.pull(&json!({"since": 5})).await), ["op-4", "op-1"]);
}

pub(crate) async fn a_run_of_equal_timestamps_that_fits_no_page_is_422(api: &Api) {
    for half in ["x", "y"] {
        let operations: Vec<Value> = (1..=501)
            .map(|number| insert(&format!("{half}-{number}"), &format!("{half}-{number}"), half, number, 5))
            .collect();
        api.accept(&operations).await;
    }
    let answer = api.post("/changes", r#"{"since":4}"#).await;
    assert_eq!(answer.status, 422);
    assert!(answer.json()["message"].as_str().unwrap().contains("cursor"));
    assert_eq!(api.pull_as_original("old", 4, 1_000).await.len(), 1_002);
}

pub(crate) async fn a_client_may_begin_at_the_end_of_the_log(api: &Api) {
    api.accept(&[insert("op-0", "doc-0", "a", 1, 5)]).await;
    let forms = [json!({}), json!({"as": "documents"}), json!({"as": "documents", "collections": ["todos"]})];
    for (number, mut request) in (1..).zip(forms) {
        let head = api.head().await;
        request["cursor"] = json!("now");
        let page = api.pull(&request).await;
        assert_eq!((ids(&page), &page["hasMore"]), (vec![], &json!(false)), "{request}");
        assert_eq!(page["cursor"].as_str().unwrap().split('~').next(), head.as_str(), "{request}");
        let id = format!("op-{number}");
        api.accept(&[insert(&id, &id, "a", 1, 5)]).await;
        request["cursor"] = page["cursor"].clone();
        assert_eq!(ids(&api.pull(&request).await), [id], "{request}");
    }
}

pub(crate) async fn limits_are_integers_from_one_and_clamped(api: &Api) {
    let operations: Vec<Value> = (1..=1_000)
        .map(|number| insert(&format!("op-{number}"), &format!("doc-{number}"), "a", number, number))
        .collect();
    api.accept(&operations).await;
    api.accept(&[insert("op-1001", "doc-1001", "a", 1_001, 1_001)]).await;
    for (limit, operations) in [("", 100), (r#","limit":1"#, 1), (r#","limit":5.0"#, 5), (r#","limit":1001"#, 1_000)] {
        let answer = api.post("/changes", format!("{{\"cursor\":null{limit}}}")).await;
        assert_eq!(ids(&answer.json()).len(), operations, "{limit}");
        assert_eq!(answer.json()["hasMore"], true);
    }
    for limit in ["1e30", "99999999999999999999999999"] {
        assert_eq!(ids(&api.post("/changes", format!("{{\"limit\":{limit}}}")).await.json()).len(), 1_000, "{limit}");
    }
    for limit in ["0", "-1", "\"10\"", "1.5", "null", "true", "[]", "1e400"] {
        let answer = api.post("/changes", format!("{{\"limit\":{limit}}}")).await;
        // With a number beyond the range of a double, either the whole body is not readable JSON, or the field is
        // wrong.
        assert_eq!(answer.status, 400, "{limit}");
    }
}

pub(crate) async fn a_since_is_an_integer_from_zero(api: &Api) {
    push_at(api, &[5, 6]).await;
    assert_eq!(ids(&api.post("/changes", r#"{"since":5.0}"#).await.json()), ["op-2"]);
    for since in ["null", "\"5\"", "-1", "0.5", "1e300", "[]", "true"] {
        let answer = api.post("/changes", format!("{{\"since\":{since}}}")).await;
        assert_eq!(answer.faulty_fields(), ["since"], "{since}");
    }
}

pub(crate) async fn every_faulty_field_of_a_pull_is_named(api: &Api) {
    for (request, fields) in [
        (
            r#"{"since":-1,"limit":0,"clientId":"","vectorClock":null}"#,
            vec!["since", "limit", "clientId", "vectorClock"],
        ),
        (r#"{"cursor":"l.1","since":-1}"#, vec!["cursor"]),
        (r#"{"cursor":5}"#, vec!["cursor"]),
        (r#"{"cursor":"q.1"}"#, vec!["cursor"]),
        (r#"{"clientId":null}"#, vec!["clientId"]),
        (r#"{"clientId":7}"#, vec!["clientId"]),
        (r#"{"vectorClock":[1]}"#, vec!["vectorClock"]),
    ] {
        assert_eq!(api.post("/changes", request).await.faulty_fields(), fields, "{request}");
    }
}

pub(crate) async fn a_clock_of_any_size_in_a_pull_is_ignored(api: &Api) {
    let clock: serde_json::Map<String, Value> = (0..5_000).map(|client| (format!("c{client}"), json!(1))).collect();
    push_at(api, &[5]).await;
    assert_eq!(ids(&api.pull(&json!({"vectorClock": clock})).await), ["op-1"]);
}

pub(crate) async fn a_page_is_bounded_in_bytes(api: &Api) {
    for number in 1..=6 {
        let large = json!({"text": "x".repeat(1_000_000)});
        api.accept(&[with(
            insert(&format!("op-{number}"), &format!("doc-{number}"), "a", number, number),
            "data",
            large,
        )])
        .await;
    }
    let answer = api.post("/changes", "{}").await;
    assert!(answer.bytes.len() < 4 * 1024 * 1024 + 1_000, "{}", answer.bytes.len());
    assert_eq!(
        (ids(&answer.json()).len(), &answer.json()["hasMore"]),
        (3, &json!(true)),
        "with room for one of them again"
    );
    assert_eq!(api.pull_as_original("old", 0, 100).await.len(), 6);
}
