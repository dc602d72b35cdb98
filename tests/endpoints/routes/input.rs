//! Bad input of every kind. The answer is a JSON error that names the fault, and nothing has changed.

use serde_json::{Value, json};

use crate::endpoints::client::{Api, insert, with};

/// The routes that read a body.
const POSTS: [&str; 4] = ["/operations", "/changes", "/compact", "/documents/todos/query"];

/// Sends bodies to routes that must refuse them all, and checks that nothing has changed.
async fn refuse(api: &Api, requests: impl IntoIterator<Item = (&str, Vec<u8>)>) {
    api.accept(&[insert("before", "doc-1", "a", 1, 5)]).await;
    let before = (api.stats().await, api.document("todos", "doc-1").await, api.pull(&json!({})).await);
    for (path, body) in requests {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let answer = api.post(path, body).await;
        assert_eq!(answer.status, 400, "{path} {shown}");
        assert!(answer.bytes.len() < 10_000, "{path} {shown}: an error does not repeat what was sent");
    }
    let after = (api.stats().await, api.document("todos", "doc-1").await, api.pull(&json!({})).await);
    assert_eq!(before, after);
}

fn push_with(key: &str, text: &str) -> Vec<u8> {
    // The value is inserted as text, because a JSON library would not write some of them.
    let operation = with(insert("bad", "doc-1", "a", 2, 6), key, json!("MARK"));
    let push = json!({"clientId": "a", "operations": [insert("good", "doc-2", "a", 2, 6), operation]}).to_string();
    push.replace("\"MARK\"", text).into_bytes()
}

pub(crate) async fn a_body_that_is_not_a_json_object_is_refused_everywhere(api: &Api) {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let bodies: Vec<Vec<u8>> = [
        "{",
        "nonsense",
        "[]",
        "null",
        "5",
        "\"text\"",
        "{} {}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":}",
        "a=1&b=2",
        "{}\u{feff}",
    ]
    .map(|body| body.as_bytes().to_vec())
    .into_iter()
    .chain([
        deep,
        b"{\"a\":\"\xff\"}".to_vec(),
        b"\xc3\x28".to_vec(),
        vec![0],
        format!("\"{}\"", "x".repeat(1_000_000)).into_bytes(),
    ])
    .collect();
    refuse(api, POSTS.into_iter().flat_map(|path| bodies.iter().map(move |body| (path, body.clone())))).await;
}

pub(crate) async fn a_field_of_a_wrong_type_is_refused_and_named(api: &Api) {
    let names = [
        "5",
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"a\\u0000b\"",
        "\"a\\nb\"",
        "\"\\ud800\"",
        &format!("\"{}\"", "x".repeat(257)),
    ];
    let timestamps = ["\"5\"", "null", "0", "-1", "1.5", "9007199254740992", "1e300", "1e400", "[]", "true"];
    let types = ["\"batch\"", "\"INSERT\"", "\"\"", "null", "5", "[\"insert\"]"];
    let clocks = [
        "null",
        "5",
        "[]",
        "\"{}\"",
        "{\"a\":-1}",
        "{\"a\":1.5}",
        "{\"a\":\"1\"}",
        "{\"a\":null}",
        "{\"\":1}",
        "{\"a\":9007199254740992}",
    ];
    let data =
        ["null", "5", "[]", "\"{}\"", "{\"a\":\"\\u0000\"}", "{\"\\u0000\":1}", "{\"a\":\"\\ud800\"}", "{\"a\":1e400}"];
    let mut requests = Vec::new();
    for key in ["id", "collection", "docId", "clientId"] {
        requests.extend(names.iter().map(|text| (key, *text)));
    }
    for (key, texts) in [("timestamp", &timestamps[..]), ("type", &types), ("vectorClock", &clocks), ("data", &data)] {
        requests.extend(texts.iter().map(|text| (key, *text)));
    }
    for (key, text) in &requests {
        let answer = api.post("/operations", push_with(key, text)).await;
        if answer.json().get("fields").is_some() {
            let [field] = &answer.faulty_fields()[..] else { panic!("{key} {text}: {}", answer.text()) };
            assert!(field.starts_with(&format!("operations[1].{key}")), "{key} {text}: {field}");
        }
    }
    refuse(api, requests.iter().map(|(key, text)| ("/operations", push_with(key, text)))).await;
}

pub(crate) async fn a_missing_field_is_refused_and_named(api: &Api) {
    for key in ["id", "type", "collection", "docId", "data", "timestamp", "clientId", "vectorClock"] {
        let mut operation = insert("bad", "doc-1", "a", 2, 6);
        operation.as_object_mut().unwrap().remove(key);
        let push = json!({"clientId": "a", "operations": [insert("good", "doc-2", "a", 2, 6), operation]});
        let answer = api.post("/operations", push.to_string()).await;
        assert_eq!(answer.faulty_fields(), [format!("operations[1].{key}")]);
    }
    assert_eq!(api.stats().await["totalOperations"], 0);
}

pub(crate) async fn a_body_that_is_not_a_push_is_refused_and_named(api: &Api) {
    for (push, fields) in [
        (json!({"operations": []}), vec!["clientId"]),
        (json!({"clientId": "a"}), vec!["operations"]),
        (json!({"clientId": "a", "operations": {}}), vec!["operations"]),
        (json!({"clientId": "a", "operations": null}), vec!["operations"]),
        (json!({"clientId": 5, "operations": "x"}), vec!["clientId", "operations"]),
        (
            json!({"clientId": "", "operations": [null, [], 5]}),
            vec!["clientId", "operations[0]", "operations[1]", "operations[2]"],
        ),
    ] {
        assert_eq!(api.post("/operations", push.to_string()).await.faulty_fields(), fields, "{push}");
    }
}

pub(crate) async fn of_many_faults_twenty_are_named_and_the_rest_counted(api: &Api) {
    let push = json!({"clientId": "a", "operations": vec![Value::Null; 1_000]});
    let answer = api.post("/operations", push.to_string()).await;
    assert_eq!(answer.faulty_fields().len(), 20);
    assert!(answer.json()["message"].as_str().unwrap().ends_with("; and 980 more"));
}

pub(crate) async fn what_is_too_large_or_too_deep_is_refused_and_named(api: &Api) {
    let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    let large = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    let clock = |clients: usize| {
        json!((0..clients).map(|client| (format!("c{client}"), json!(1))).collect::<serde_json::Map<_, _>>())
            .to_string()
    };
    // More than 256 KiB.
    let long_names =
        |clients: usize| (0..clients).map(|client| format!("{client:0>250}")).collect::<Vec<_>>().join("\":1,\"");
    let limit = 1024 * 1024;
    for (key, text) in [
        ("data", deep(65)),
        ("data", deep(100_000)),
        ("data", large(limit + 1)),
        ("vectorClock", clock(10_001)),
        ("vectorClock", format!(r#"{{"c1":1,"{}":1}}"#, long_names(1_100))),
        ("vectorClock", deep(100_000)),
    ] {
        let answer = api.post("/operations", push_with(key, &text)).await;
        let [field] = &answer.faulty_fields()[..] else { panic!("{key}: {}", answer.text()) };
        assert!(field.starts_with(&format!("operations[1].{key}")), "{field}");
    }
    let too_many = vec![insert("op", "doc", "a", 1, 5); 1_001];
    let push = json!({"clientId": "a", "operations": too_many});
    assert_eq!(api.post("/operations", push.to_string()).await.faulty_fields(), ["operations"]);
    assert_eq!(api.stats().await["totalOperations"], 0);
    for (key, text) in [("data", deep(64)), ("data", large(limit)), ("vectorClock", clock(10_000))] {
        let operation =
            String::from_utf8(push_with(key, &text)).unwrap().replace("doc-1", &format!("doc-{}", text.len()));
        let operation = operation.replace("bad", &format!("bad-{}", text.len()));
        let answer = api.post("/operations", operation).await;
        assert_eq!(answer.status, 200, "what is just within a limit is fine: {}", answer.text());
    }
}

pub(crate) async fn of_equal_keys_the_last_one_counts(api: &Api) {
    let operation = r#"{"id":7,"id":"op-1","type":"insert","collection":"todos","docId":"doc-1","data":null,
        "data":{"a":1,"a":2},"timestamp":"x","timestamp":5,"clientId":"a","vectorClock":{"a":"x","a":1}}"#;
    let push = format!(r#"{{"clientId":5,"operations":7,"clientId":"a","operations":[{operation}]}}"#);
    assert_eq!(api.post("/operations", push).await.status, 200);
    assert_eq!(api.document("todos", "doc-1").await.unwrap()["a"], 2);
    assert_eq!(api.post("/changes", r#"{"since":"x","since":5}"#).await.json()["operations"], json!([]));
}

pub(crate) async fn unknown_keys_are_tolerated_however_odd(api: &Api) {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (path, known) in [
        ("/changes", ""),
        ("/compact", ""),
        ("/documents/todos/query", ""),
        ("/operations", r#","clientId":"a","operations":[]"#),
    ] {
        let answer = api.post(path, format!(r#"{{"unknown":"\ud800","deep":{deep}{known}}}"#)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}

/// Texts that would do harm if a database executed them.
const STATEMENTS: [&str; 10] = [
    "'; DROP SCHEMA public CASCADE; --",
    "\"; DELETE FROM syncflow_documents; --",
    "' OR '1'='1",
    "\\' OR 1=1 --",
    "1); TRUNCATE operations; SELECT (1",
    "$1 ${schema} {schema} %s ?1 :name @p",
    "{\"$ne\": null}",
    "x'); SELECT pg_sleep(60); --",
    "},{NULL,\"a\"",
    "$$; COMMIT; --",
];

/// A text as a segment of a path.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |escaped, byte| format!("{escaped}%{byte:02X}"))
}

pub(crate) async fn texts_that_look_like_statements_are_only_texts(api: &Api) {
    api.accept(&[insert("bystander", "bystander", "a", 1, 5)]).await;
    for (number, text) in STATEMENTS.into_iter().enumerate() {
        let operation = json!({
            "id": text, "type": "insert", "collection": text, "docId": text, "data": {text: {text: [text, number]}},
            "timestamp": 10 + number, "clientId": text, "synced": true, "vectorClock": {text: 1},
        });
        api.accept(std::slice::from_ref(&operation)).await;
        api.accept(std::slice::from_ref(&operation)).await;

        let document = api.document(&escaped(text), &escaped(text)).await.expect("it is found by its names");
        assert_eq!(document, json!({"_id": text, "_rev": 1, text: {text: [text, number]}}));
        for filter in
            [json!({format!("{text}.{text}"): text}), json!({"_id": text}), json!({text: {text: [text, number]}})]
        {
            assert_eq!(api.query(&escaped(text), &json!({"filter": filter})).await, [text], "{filter}");
        }
        assert_eq!(api.query("todos", &json!({"filter": {text: text}})).await, Vec::<String>::new());
        assert_eq!(api.query("todos", &json!({"filter": {"n": text}})).await, Vec::<String>::new());

        let page = api.pull(&json!({"cursor": null, "clientId": text})).await;
        assert_eq!(page["operations"][number + 1], operation, "a cursor");
        let page = api.pull(&json!({"since": 9 + number, "clientId": text})).await;
        assert_eq!(page["operations"][number + 1], operation, "a since");
        let refused = api.post("/changes", json!({"cursor": text}).to_string()).await;
        assert_eq!(refused.faulty_fields(), ["cursor"]);
        let refused = api.post("/documents/todos/query", json!({"cursor": text}).to_string()).await;
        assert_eq!(refused.faulty_fields(), ["cursor"]);
    }
    let documents = STATEMENTS.len() + 1;
    assert_eq!(api.stats().await["totalDocuments"], documents);
    assert_eq!(api.stats().await["totalOperations"], documents);
    assert_eq!(api.document("todos", "bystander").await, Some(json!({"_id": "bystander", "_rev": 1, "n": 5})));
}
