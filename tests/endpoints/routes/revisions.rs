//! Pushes whose operations name revisions in place of clocks.

use serde_json::{Value, json};

use crate::endpoints::client::{Answer, Api, insert, list, text, with};

/// An insert that names a revision of its document.
fn by_revision(id: &str, document: &str, client: &str, revision: u64) -> Value {
    let mut operation = insert(id, document, client, 1, 5);
    operation.as_object_mut().unwrap().remove("vectorClock");
    with(operation, "baseRev", json!(revision))
}

async fn push(api: &Api, cursor: Value, operations: &[Value]) -> Answer {
    api.post("/operations", json!({"clientId": "a", "cursor": cursor, "operations": operations}).to_string()).await
}

pub(crate) async fn an_operation_names_the_revision_that_its_author_saw(api: &Api) {
    let first = by_revision("op-1", "doc-1", "a", 0);
    let answer = push(api, Value::Null, std::slice::from_ref(&first)).await.json();
    assert_eq!((list(&answer["accepted"]), list(&answer["conflicts"])), (vec![first], vec![]));
    let reached = &answer["revisions"];
    assert_eq!((&reached[0]["id"], &reached[0]["rev"], &reached[1]), (&json!("op-1"), &json!(1), &Value::Null));
    assert!(reached[0]["raised"]["a"].as_u64() > Some(1_700_000_000_000), "{reached}");
    let place = answer["place"].clone();
    let update = with(by_revision("op-2", "doc-1", "b", 1), "type", json!("update"));
    assert_eq!(list(&push(api, place.clone(), &[update]).await.json()["accepted"]).len(), 1);
    let answer = push(api, place, &[by_revision("op-3", "doc-1", "a", 1)]).await.json();
    let conflict = &answer["conflicts"][0];
    assert_eq!((&conflict["conflict"]["relation"], &conflict["conflict"]["rev"]), (&json!("concurrent"), &json!(2)));
    let known = json!({"clientId": "a", "cursor": null, "place": answer["place"],
        "operations": [by_revision("op-4", "doc-1", "a", 2)]});
    assert_eq!(list(&api.post("/operations", known.to_string()).await.json()["accepted"]).len(), 1);
    let page = api.pull(&json!({"cursor": null, "as": "documents"})).await;
    let document = &page["operations"][0];
    assert_eq!((&document["rev"], &document["id"]), (&json!(3), &json!("op-4")));
    assert_eq!(document["vectorClock"].as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "b"]);
    let answer = push(api, page["cursor"].clone(), &[by_revision("op-5", "doc-1", "a", 3)]).await.json();
    assert_eq!((list(&answer["accepted"]).len(), text(&answer["place"])), (1, text(&api.head().await)));
}

pub(crate) async fn a_revision_needs_the_place_that_it_is_known_from(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5), insert("op-2", "doc-1", "a", 2, 6)]).await;
    let operation = by_revision("op-3", "doc-1", "a", 2);
    let without = json!({"clientId": "a", "operations": [operation]}).to_string();
    assert_eq!(api.post("/operations", without).await.faulty_fields(), ["cursor"]);
    assert_eq!(push(api, Value::Null, std::slice::from_ref(&operation)).await.faulty_fields(), ["cursor"]);
    let head = api.head().await;
    for cursor in [json!("l.2.123456789abc"), json!("l.7.1"), json!("s.2.1.0!5")] {
        let gone = push(api, cursor.clone(), std::slice::from_ref(&operation)).await;
        assert_eq!((gone.status, &gone.json()["reason"]), (410, &json!("reset")), "{cursor}");
        let body = json!({"clientId": "a", "cursor": head, "place": cursor, "operations": [operation]});
        assert_eq!(api.post("/operations", body.to_string()).await.status, 410, "{cursor}");
    }
    assert_eq!(api.stats().await["totalOperations"], 2);
    let first = by_revision("op-4", "doc-2", "a", 0);
    let without = json!({"clientId": "a", "operations": [first]}).to_string();
    let answer = api.post("/operations", without).await;
    assert_eq!((answer.status, answer.json().get("place")), (200, None), "0 needs no place, and nothing is asked for");
    assert_eq!(push(api, head, &[operation]).await.status, 200);
}

pub(crate) async fn what_is_wrong_with_a_revision_is_named(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5)]).await;
    let head = api.head().await;
    let one = |key: &str, value: Value| with(by_revision("op-2", "doc-1", "a", 1), key, value);
    let mut neither = one("type", json!("insert"));
    neither.as_object_mut().unwrap().remove("baseRev");
    for (operation, field) in [
        (one("baseRev", json!(-1)), "operations[0].baseRev"),
        (one("baseRev", json!(0.5)), "operations[0].baseRev"),
        (one("baseRev", json!("1")), "operations[0].baseRev"),
        (one("baseRev", json!(null)), "operations[0].baseRev"),
        (one("baseRev", json!(9_007_199_254_740_992_u64)), "operations[0].baseRev"),
        (one("vectorClock", json!({"a": 1})), "operations[0].baseRev"),
        (one("baseRev", json!(2)), "operations[0].baseRev"),
        (one("docId", json!("doc-9")), "operations[0].baseRev"),
        (neither, "operations[0].vectorClock"),
    ] {
        assert_eq!(
            push(api, head.clone(), std::slice::from_ref(&operation)).await.faulty_fields(),
            [field],
            "{operation}"
        );
        let partial = json!({"clientId": "a", "cursor": head, "partial": true,
            "operations": [operation, by_revision("op-1", "doc-1", "a", 0)]});
        let answer = api.post("/operations", partial.to_string()).await.json();
        assert_eq!(answer["refused"][0]["fields"], json!([field.trim_start_matches("operations[0].")]));
    }
    for cursor in [json!(5), json!("x"), json!(true)] {
        assert_eq!(push(api, cursor, &[]).await.faulty_fields(), ["cursor"]);
    }
    let same_id = [one("docId", json!("doc-1")), one("baseRev", json!(0))];
    assert_eq!(push(api, head, &same_id).await.faulty_fields(), ["operations[1].id"]);
    assert_eq!(api.stats().await["totalOperations"], 1);
}
