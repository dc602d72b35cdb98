//! Documents by id and by filter.

use reqwest::Method;
use serde_json::{Value, json};

use crate::endpoints::client::{Api, insert, list, text, with};

/// Pushes documents of the collection `todos`, in their order.
async fn put(api: &Api, documents: &[(&str, Value)]) {
    for (number, (id, data)) in (1_u64..).zip(documents) {
        api.accept(&[with(insert(&format!("put-{id}"), id, "a", number, number), "data", data.clone())]).await;
    }
}

pub(crate) async fn a_document_has_its_id_and_revision_from_the_server(api: &Api) {
    put(api, &[("doc-1", json!({"_id": "forged", "_rev": 99, "title": "x", "nested": {"_id": 1}}))]).await;
    let answer = api.get("/documents/todos/doc-1").await;
    assert_eq!(answer.text(), r#"{"_id":"doc-1","_rev":1,"nested":{"_id":1},"title":"x"}"#);
}

pub(crate) async fn a_document_that_is_not_there_is_named_in_the_404(api: &Api) {
    put(api, &[("doc-2", json!({}))]).await;
    for path in ["/documents/todos/doc-1", "/documents/nothing/doc-2"] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, &answer.json()["error"]), (404, &json!("Document not found")));
    }
    let message = api.get("/documents/todos/doc-1").await.json()["message"].clone();
    assert_eq!(message, "No document with ID 'doc-1' in collection 'todos'");
}

pub(crate) async fn a_deleted_document_is_not_there(api: &Api) {
    put(api, &[("doc-1", json!({}))]).await;
    api.accept(&[with(insert("op-2", "doc-1", "a", 2, 6), "type", json!("delete"))]).await;
    assert_eq!(api.get("/documents/todos/doc-1").await.status, 404);
    assert_eq!(api.query("todos", &json!({})).await, Vec::<String>::new());
}

pub(crate) async fn an_id_may_contain_a_slash_and_anything_else_that_is_escaped(api: &Api) {
    for (id, path) in
        [("a/b", "a%2Fb"), ("a b", "a%20b"), ("é", "%C3%A9"), ("%", "%25"), ("a+b", "a+b"), ("q?x#y", "q%3Fx%23y")]
    {
        put(api, &[(id, json!({}))]).await;
        let answer = api.get(&format!("/documents/todos/{path}")).await;
        assert_eq!((answer.status, &answer.json()["_id"]), (200, &json!(id)));
    }
}

pub(crate) async fn names_in_a_path_are_checked_and_named(api: &Api) {
    let long = "x".repeat(257);
    for (path, fields) in [
        (format!("/documents/todos/{long}"), vec!["id"]),
        (format!("/documents/{long}/doc-1"), vec!["collection"]),
        ("/documents/a%00/b%0A".to_owned(), vec!["collection", "id"]),
    ] {
        assert_eq!(api.get(&path).await.faulty_fields(), fields, "{path}");
    }
    assert_eq!(api.post("/documents/a%00/query", "{}").await.faulty_fields(), ["collection"]);
}

pub(crate) async fn a_document_may_be_named_query(api: &Api) {
    assert_eq!(api.get("/documents/todos/query").await.status, 404);
    put(api, &[("query", json!({"x": 1}))]).await;
    assert_eq!(api.document("todos", "query").await, Some(json!({"_id": "query", "_rev": 1, "x": 1})));
    let answer = api.send(Method::DELETE, "/documents/todos/query", &[], "").await;
    assert_eq!(answer.status, 405);
    for method in ["GET", "HEAD", "POST"] {
        assert!(answer.header("allow").contains(method), "{}", answer.header("allow"));
    }
}

pub(crate) async fn a_query_answers_newest_first_by_last_commit_with_its_count(api: &Api) {
    put(api, &[("doc-1", json!({})), ("doc-2", json!({})), ("doc-3", json!({}))]).await;
    api.accept(&[insert("again", "doc-1", "a", 9, 1)]).await;
    let answer = api.post("/documents/todos/query", r#"{"filter":{}}"#).await.json();
    let ids: Vec<String> = list(&answer["documents"]).iter().map(|document| text(&document["_id"])).collect();
    assert_eq!(ids, ["doc-1", "doc-3", "doc-2"]);
    assert_eq!((&answer["count"], &answer["hasMore"], &answer["cursor"]), (&json!(3), &json!(false), &Value::Null));
    assert_eq!(api.query("todos", &json!({})).await, ids);
}

pub(crate) async fn a_query_goes_on_from_its_cursor(api: &Api) {
    put(api, &[("doc-1", json!({})), ("doc-2", json!({})), ("doc-3", json!({}))]).await;
    let first = api.post("/documents/todos/query", r#"{"limit":2,"cursor":null}"#).await.json();
    assert_eq!((&first["count"], &first["hasMore"]), (&json!(2), &json!(true)));
    let rest = json!({"limit": 2, "cursor": first["cursor"]});
    assert_eq!(api.query("todos", &rest).await, ["doc-1"]);
    assert_eq!(api.query("todos", &json!({"cursor": "", "limit": 1e30})).await.len(), 3);
}

pub(crate) async fn a_filter_compares_by_type_and_numbers_by_value(api: &Api) {
    let data = json!({"n": 1, "text": "1", "yes": true, "deep": {"x": {"y": 2}}, "tags": ["a", 1], "none": null});
    put(api, &[("doc-1", data), ("doc-2", json!({"n": "1"}))]).await;
    for (filter, matched) in [
        (r#"{"n":1}"#, vec!["doc-1"]),
        (r#"{"n":1.0}"#, vec!["doc-1"]),
        (r#"{"n":10e-1}"#, vec!["doc-1"]),
        (r#"{"n":"1"}"#, vec!["doc-2"]),
        (r#"{"deep.x.y":2}"#, vec!["doc-1"]),
        (r#"{"deep":{"x":{"y":2}}}"#, vec!["doc-1"]),
        (r#"{"tags":"a"}"#, vec!["doc-1"]),
        (r#"{"tags":["a",1]}"#, vec!["doc-1"]),
        (r#"{"tags":["a"]}"#, vec![]),
        (r#"{"none":null}"#, vec!["doc-2", "doc-1"]),
        (r#"{"n":1,"text":"1","yes":true}"#, vec!["doc-1"]),
        (r#"{"n":1,"text":1}"#, vec![]),
        (r#"{"n":{"$eq":{"$ne":5}}}"#, vec![]),
        (r#"{"n":{"$ne":5}}"#, vec!["doc-2", "doc-1"]),
        (r#"{"_id":"doc-2"}"#, vec!["doc-2"]),
        (r#"{"_rev":1}"#, vec!["doc-2", "doc-1"]),
    ] {
        let request: Value = serde_json::from_str(&format!("{{\"filter\":{filter}}}")).unwrap();
        assert_eq!(api.query("todos", &request).await, matched, "{filter}");
    }
}

pub(crate) async fn the_greatest_number_of_a_double_is_taken_and_no_greater_one(api: &Api) {
    // The first number is the greatest double as some programs print it. The last one is just below the numbers that
    // round to infinity.
    let numbers =
        ["1.7976931348623158e308", "-17976931348623158E292", "1.7976931348623157e+308", "1.79769313486231580e308"];
    let push = |id: &str, number: &str| {
        let operation = insert(id, id, "a", 1, 5).to_string().replace(r#"{"n":5}"#, &format!("{{\"n\":{number}}}"));
        assert!(operation.contains(number), "{operation}");
        format!("{{\"clientId\":\"a\",\"operations\":[{operation}]}}")
    };
    for (id, number) in ["doc-1", "doc-2", "doc-3", "doc-4"].into_iter().zip(numbers) {
        let answer = api.post("/operations", push(id, number)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let document = api.get(&format!("/documents/todos/{id}")).await.text();
        assert_eq!(document, format!("{{\"_id\":\"{id}\",\"_rev\":1,\"n\":{number}}}"));
    }
    for (number, matched) in [
        ("1.7976931348623158e308", json!(["doc-4", "doc-1"])),
        ("179769313486231580e291", json!(["doc-4", "doc-1"])),
        ("-1.7976931348623158e308", json!(["doc-2"])),
        ("1.7976931348623157e308", json!(["doc-3"])),
    ] {
        let query = format!("{{\"filter\":{{\"n\":{number}}}}}");
        let answer = api.post("/documents/todos/query", query).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let documents = answer.json()["documents"].as_array().unwrap().clone();
        let ids: Vec<Value> = documents.iter().map(|document| document["_id"].clone()).collect();
        assert_eq!(json!(ids), matched, "{number}");
    }
    for beyond in ["1.7976931348623159e308", "-1.7976931348623159e308", "1e309", "17976931348623159e292"] {
        let refused = api.post("/operations", push("doc-9", beyond)).await;
        assert_eq!(refused.faulty_fields(), ["operations[0].data"], "{beyond}");
        let refused = api.post("/documents/todos/query", format!("{{\"filter\":{{\"n\":{beyond}}}}}")).await;
        assert_eq!(refused.faulty_fields(), ["filter.n"], "{beyond}");
    }
}

pub(crate) async fn keys_and_values_of_a_filter_never_reach_a_query_as_text(api: &Api) {
    put(api, &[("doc-1", json!({"a'b\"c": "'; DROP TABLE documents; --", "x": {"$where": "1"}, "[0]": 2, "": 3}))])
        .await;
    for filter in
        [json!({"a'b\"c": "'; DROP TABLE documents; --"}), json!({"x.$where": "1"}), json!({"[0]": 2}), json!({"": 3})]
    {
        assert_eq!(api.query("todos", &json!({"filter": filter})).await, ["doc-1"], "{filter}");
    }
    let strange =
        [json!({"x') OR 1=1 --": 1}), json!({"x.$where": "return true"}), json!({"\"": 1}), json!({"$[*]": 2})];
    for filter in strange {
        assert_eq!(api.query("todos", &json!({"filter": filter})).await, Vec::<String>::new(), "{filter}");
    }
    for operator in ["$where", "$nor", "$expr"] {
        let refused =
            api.post("/documents/todos/query", json!({"filter": {operator: "return true"}}).to_string()).await;
        assert_eq!(refused.faulty_fields(), [format!("filter.{operator}")]);
    }
}

pub(crate) async fn a_collection_that_nobody_wrote_to_has_no_documents(api: &Api) {
    let answer = api.post("/documents/nothing/query", r#"{"filter":{"x":1}}"#).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), r#"{"documents":[],"count":0,"hasMore":false,"cursor":null}"#);
}

pub(crate) async fn every_faulty_field_of_a_query_is_named(api: &Api) {
    let many: serde_json::Map<String, Value> = (0..101).map(|number| (format!("k{number}"), json!(1))).collect();
    let long = "k".repeat(1_025);
    for (request, fields) in [
        (r#"{"filter":null}"#.to_owned(), vec!["filter"]),
        (r#"{"filter":[],"limit":0,"cursor":7}"#.to_owned(), vec!["limit", "cursor", "filter"]),
        (r#"{"cursor":"l.1.2"}"#.to_owned(), vec!["cursor"]),
        (r#"{"filter":{"a.b":"\u0000","c":1,"d":"\ud800"}}"#.to_owned(), vec!["filter.a.b", "filter.d"]),
        (r#"{"filter":{"a\u0000":1}}"#.to_owned(), vec!["filter.a\0"]),
        (json!({"filter": many}).to_string(), vec!["filter"]),
        (json!({"filter": {"a": "x".repeat(64 * 1024)}}).to_string(), vec!["filter"]),
        (json!({"filter": {"a": 1}}).to_string().replace(':', &format!(":{}", " ".repeat(512 * 1024))), vec!["filter"]),
        (json!({"filter": {".".repeat(64): 1}}).to_string(), vec![&*format!("filter.{}", ".".repeat(64))]),
    ] {
        assert_eq!(api.post("/documents/todos/query", request.clone()).await.faulty_fields(), fields, "{request}");
    }
    let answer = api.post("/documents/todos/query", json!({"filter": {long: 1}}).to_string()).await;
    let [field] = &answer.faulty_fields()[..] else { panic!("{}", answer.text()) };
    assert!(field.starts_with("filter.kkk") && field.len() < 200, "{field}");
    let longest = json!({"filter": {"k".repeat(1_024): 1}});
    assert_eq!(api.query("todos", &longest).await, Vec::<String>::new());
}

pub(crate) async fn a_document_and_its_tombstone_give_their_clocks_if_they_are_asked_for(api: &Api) {
    put(api, &[("doc-1", json!({"_clock": "mine", "title": "x"}))]).await;
    let path = "/documents/todos/doc-1";
    for plain in [path.to_owned(), format!("{path}?clock=0"), format!("{path}?x")] {
        assert_eq!(api.get(&plain).await.text(), r#"{"_id":"doc-1","_rev":1,"_clock":"mine","title":"x"}"#);
    }
    let with_clock = api.get(&format!("{path}?clock=1")).await;
    assert_eq!(with_clock.text(), r#"{"_id":"doc-1","_rev":1,"_clock":{"a":1},"title":"x"}"#);
    assert_eq!(api.get(&format!("{path}?clock=yes")).await.faulty_fields(), ["clock"]);
    assert!(api.get("/documents/todos/doc-2?clock=1").await.json().get("deleted").is_none());
    api.accept(&[with(insert("op-2", "doc-1", "a", 2, 6), "type", json!("delete"))]).await;
    let missing = api.get(path).await;
    assert!(missing.json().get("deleted").is_none());
    let deleted = api.get(&format!("{path}?clock=1")).await;
    assert_eq!((deleted.status, &deleted.json()["message"]), (404, &missing.json()["message"]));
    assert_eq!(deleted.json()["deleted"], json!({"rev": 2, "vectorClock": {"a": 2}}));
    // The clock is enough to write over the tombstone.
    let mut clock = deleted.json()["deleted"]["vectorClock"].clone();
    clock["b"] = json!(1);
    let again = with(insert("op-3", "doc-1", "b", 1, 7), "vectorClock", clock);
    api.accept(&[again]).await;
    assert_eq!(api.get(path).await.json()["_rev"], 3);
}

pub(crate) async fn a_query_compares_sorts_and_gives_clocks(api: &Api) {
    put(api, &[("one", json!({"n": 1})), ("two", json!({"n": 2})), ("none", json!({})), ("three", json!({"n": 3}))])
        .await;
    let found = async |body: Value| api.query("todos", &body).await;
    assert_eq!(found(json!({"filter": {"n": {"$gte": 2}}})).await, ["three", "two"]);
    assert_eq!(found(json!({"filter": {"n": {"$ne": 2}}})).await, ["three", "none", "one"]);
    assert_eq!(
        found(json!({"filter": {"$or": [{"n": {"$exists": false}}, {"n": {"$in": [1]}}]}})).await,
        ["none", "one"]
    );
    assert_eq!(found(json!({"filter": {"n": {"$not": {"$lt": 3}}}})).await, ["three", "none"]);
    assert_eq!(found(json!({"sort": {"n": 1}})).await, ["none", "one", "two", "three"]);
    assert_eq!(found(json!({"sort": {"n": -1}, "filter": {"n": {"$lt": 3}}})).await, ["two", "one"]);
    let page = |body: Value| async move { api.post("/documents/todos/query", body.to_string()).await };
    let first = page(json!({"sort": {"n": -1}, "limit": 2, "clock": true})).await.json();
    assert_eq!(first["documents"][0], json!({"_id": "three", "_rev": 1, "_clock": {"a": 4}, "n": 3}));
    assert_eq!((&first["count"], &first["hasMore"]), (&json!(2), &json!(true)));
    let last = page(json!({"sort": {"n": -1}, "cursor": first["cursor"]})).await.json();
    assert_eq!(last["documents"], json!([{"_id": "one", "_rev": 1, "n": 1}, {"_id": "none", "_rev": 1}]));
    assert_eq!((&last["hasMore"], &last["cursor"]), (&json!(false), &Value::Null));
    for (body, field) in [
        (json!({"cursor": first["cursor"]}), "cursor"),
        (json!({"sort": {"n": 1}, "cursor": "q.1"}), "cursor"),
        (json!({"sort": {"n": 2}}), "sort"),
        (json!({"sort": {"n": 1, "m": 1}}), "sort"),
        (json!({"clock": 1}), "clock"),
        (json!({"filter": {"n": {"$regex": "x"}}}), "filter.n.$regex"),
        (json!({"filter": {"n": {"$gt": 1, "m": 1}}}), "filter.n"),
        (json!({"filter": {"$where": "x"}}), "filter.$where"),
    ] {
        assert_eq!(page(body.clone()).await.faulty_fields(), [field], "{body}");
    }
}
