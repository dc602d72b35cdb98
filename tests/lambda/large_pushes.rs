//! Pushes whose answer would be too large to be passed on. They are refused before they take effect.

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use syncflow_server::api::Endpoint;

use super::binaries::binary_of;
use super::emulator::Instance;
use super::events::Source;
use super::functions::{directory, event, read, sqlite_in};

fn insert(id: &str, document: &str, author: &str, counter: u64, data: &Value) -> Value {
    json!({
        "id": id, "type": "insert", "collection": "todos", "docId": document, "data": data, "timestamp": 1,
        "clientId": author, "vectorClock": {author: counter},
    })
}

fn push_of(operations: &[Value]) -> String {
    json!({"clientId": "a", "operations": operations}).to_string()
}

fn text_of(bytes: usize) -> Value {
    json!({"text": "x".repeat(bytes)})
}

#[tokio::test]
async fn a_push_whose_echo_and_conflicts_cannot_be_handed_on_is_refused_and_changes_nothing() {
    let (_directory, path) = directory();
    let settings = sqlite_in(&path);
    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &settings).await;
    let mut counters = Instance::start(binary_of(Endpoint::GetStats), &settings).await;
    let mut pushed = async |operations: &[Value]| {
        read(push.invoke(&event(&Method::POST, "/operations", &push_of(operations))).await)
    };
    let (status, _) = pushed(&[insert("base", "contested", "a", 9, &text_of(1_000_000))]).await;
    assert_eq!(status, 200);

    let fine: Vec<Value> =
        (0..3).map(|n| insert(&format!("fine-{n}"), "new", "b", n + 1, &text_of(1_000_000))).collect();
    let lost: Vec<Value> = (0..2).map(|n| insert(&format!("lost-{n}"), "contested", "b", 1, &json!({}))).collect();
    let (status, answer) = pushed(&[&fine[..], &lost].concat()).await;
    assert_eq!((status, &answer["fields"]), (400, &json!(["operations"])), "{answer}");
    let counted = read(counters.invoke(&event(&Method::GET, "/stats", "")).await).1;
    assert_eq!(counted["totalOperations"], 1, "nothing of it took effect");

    let (status, answer) = pushed(&[&fine[..1], &lost].concat()).await;
    assert_eq!(status, 200, "fewer at a time are answered");
    let listed = |list: &str| answer[list].as_array().map(Vec::len);
    assert_eq!((listed("accepted"), listed("conflicts")), (Some(1), Some(2)));
}

#[tokio::test]
async fn a_push_whose_echo_a_load_balancer_would_not_take_is_refused_and_changes_nothing() {
    let (_directory, path) = directory();
    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &sqlite_in(&path)).await;
    // The size of each character doubles in a string, and base64 would not fit either.
    let large = insert("large", "large", "a", 1, &json!({"text": "\"".repeat(400_000)}));
    for (id, status, fields) in [("large", 400, json!(["operations"])), ("small", 200, Value::Null)] {
        let operation = if id == "large" { large.clone() } else { insert(id, id, "a", 1, &json!({})) };
        let body = push_of(&[operation]);
        let event = Source::LoadBalancer.event(&Method::POST, "/operations", &HeaderMap::new(), body.as_bytes());
        let (answered, answer) = read(push.invoke(&event).await);
        assert_eq!((answered, &answer["fields"]), (status, &fields), "{answer}");
    }
    let through_its_url = event(&Method::POST, "/operations", &push_of(&[large]));
    let answer = push.invoke(&through_its_url).await.expect("an answer");
    assert_eq!(answer["statusCode"], 200, "who hands on more gets it, and the id was not known yet");
}

#[tokio::test]
async fn a_partial_push_whose_refusals_a_load_balancer_might_not_take_is_refused() {
    let (_directory, path) = directory();
    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &sqlite_in(&path)).await;
    let operations: Vec<Value> =
        (0..999).map(|n| insert(&format!("op-{n}"), &format!("doc-{n}"), "a", 1, &json!({}))).collect();
    // Each operation might be refused with a message that is longer than the operation itself.
    for (is_partial, count, status) in [(true, 999, 400), (true, 99, 200), (false, 999, 200)] {
        let body = json!({"clientId": "a", "operations": operations[..count], "partial": is_partial}).to_string();
        let event = Source::LoadBalancer.event(&Method::POST, "/operations", &HeaderMap::new(), body.as_bytes());
        let (answered, answer) = read(push.invoke(&event).await);
        let accepted = answer["accepted"].as_array().map_or(0, Vec::len);
        assert_eq!((answered, accepted), (status, if status == 200 { count } else { 0 }), "{}", answer["message"]);
    }
}

#[tokio::test]
async fn a_push_beyond_a_quota_of_the_settings_is_507() {
    let (_directory, path) = directory();
    let mut settings = sqlite_in(&path);
    settings.push(("TENANT_MAX_OPERATION_IDS".to_owned(), "1".to_owned()));
    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &settings).await;
    for (id, expected) in [("first", 200), ("second", 507), ("first", 200)] {
        let body = push_of(&[insert(id, id, "a", 1, &json!({}))]);
        let (status, answer) = read(push.invoke(&event(&Method::POST, "/operations", &body)).await);
        assert_eq!(status, expected, "{id}: {answer}");
    }
}
