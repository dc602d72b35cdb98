//! The answers of the functions, behind each service.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::Client;
use serde_json::{Value, json};
use syncflow_server::api::Endpoint;
use tempfile::TempDir;

use super::binaries::binary_of;
use super::emulator::{Instance, Outcome};
use super::events::Source;
use super::front::Front;
use crate::endpoints::server;
use crate::support::postgres::Schema;
use crate::support::processes::free_port;

/// Settings for an SQLite database in a directory. The database need not exist yet.
pub(super) fn sqlite_in(directory: &str) -> Vec<(String, String)> {
    let path = format!("{directory}/syncflow.db");
    vec![("ADAPTER".to_owned(), "sqlite".to_owned()), ("SQLITE_PATH".to_owned(), path)]
}

/// Settings for a schema, with the URL of its server or of a proxy.
pub(super) fn postgres_in(schema: &Schema, url: &str) -> Vec<(String, String)> {
    vec![
        ("POSTGRES_CONNECTION_STRING".to_owned(), url.to_owned()),
        ("POSTGRES_SCHEMA".to_owned(), schema.name().to_owned()),
    ]
}

/// Settings for the database of MongoDB at a URI.
pub(super) fn mongodb_at(uri: &str) -> Vec<(String, String)> {
    [("ADAPTER", "mongodb"), ("MONGO_URI", uri)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

pub(super) fn directory() -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("a path in UTF-8").to_owned();
    (directory, path)
}

/// An event from a function's URL.
pub(crate) fn event(method: &Method, path: &str, body: &str) -> Value {
    Source::FunctionUrl.event(method, path, &HeaderMap::new(), body.as_bytes())
}

pub(crate) fn push_of(number: u64, data: &Value) -> String {
    let operation = json!({
        "id": format!("op-{number}"), "type": "insert", "collection": "todos", "docId": format!("doc-{number}"),
        "data": data, "timestamp": number, "clientId": "a", "synced": false, "vectorClock": {"a": number},
    });
    json!({"clientId": "a", "operations": [operation]}).to_string()
}

/// The status and the JSON of an answer whose body is text.
pub(crate) fn read(outcome: Outcome) -> (u64, Value) {
    let answer = outcome.expect("an answer");
    let body = answer["body"].as_str().expect("a body");
    let json = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body}"));
    (answer["statusCode"].as_u64().expect("a status"), json)
}

/// Good and bad requests to every endpoint.
fn requests() -> Vec<(Method, &'static str, String)> {
    let with_unicode = push_of(2, &json!({"title": "Zoë's \"📱\" \\ / \u{2028}", "n": [1.50, null]}));
    let mut requests = vec![
        (Method::POST, "/operations", push_of(1, &json!({"title": "Buy milk"}))),
        (Method::POST, "/operations", with_unicode),
        (Method::POST, "/operations", push_of(1, &json!({"title": "again"}))),
        (Method::POST, "/operations", push_of(1, &json!({})).replace("op-1", "op-3").replace("{\"a\":1}", "{\"b\":1}")),
        (Method::POST, "/operations", "{".to_owned()),
        (Method::POST, "/operations", String::new()),
        (Method::POST, "/changes", r#"{"cursor":null,"limit":1}"#.to_owned()),
        (Method::POST, "/changes", r#"{"since":0,"clientId":"b"}"#.to_owned()),
        (Method::POST, "/changes", r#"{"since":-1}"#.to_owned()),
        (Method::POST, "/changes", "\n{ \"since\" : 0\t}".to_owned()),
        (Method::POST, "/documents/todos/query", r#"{"filter":{"title":"Buy milk"}}"#.to_owned()),
        (Method::POST, "/documents/caf%C3%A9%20%3F/query", String::new()),
        (Method::POST, "/compact", r#"{"olderThanDays":"x"}"#.to_owned()),
        (Method::POST, "/compact", r#"{"olderThanDays":30}"#.to_owned()),
    ];
    for path in [
        "/health",
        "/stats",
        "/stats/",
        "/documents/todos/doc-1",
        "/documents/todos/doc-1?clock=1",
        "/documents/todos/doc-1?clock=0&x=%3F&clock=2",
        "/documents/todos/n%20ne",
        "/documents/a%25b/query",
    ] {
        requests.push((Method::GET, path, String::new()));
        requests.push((Method::OPTIONS, path, String::new()));
        requests.push((Method::DELETE, path, String::new()));
    }
    requests
}

/// The answers as a client sees them, without the server's ids and times.
async fn seen_by_a_client(authority: &str) -> Vec<String> {
    let client = Client::new();
    let mut seen = Vec::new();
    for (method, path, body) in requests() {
        let mut request = client.request(method.clone(), format!("http://{authority}{path}"));
        if !body.is_empty() {
            request = request.body(body);
        }
        let response = request.send().await.expect("an answer");
        let mut headers: Vec<String> = Vec::new();
        for name in response.headers().keys() {
            let values: Vec<&str> = response
                .headers()
                .get_all(name)
                .iter()
                .map(|value| value.to_str().expect("a header in ASCII"))
                .collect();
            // A preflight is answered before the routes. Only the local server knows their methods there.
            let is_known_ahead = method == Method::OPTIONS && name == "allow";
            if !is_known_ahead
                && !["date", "x-request-id", "x-amzn-trace-id", "content-length"].contains(&name.as_str())
            {
                headers.push(format!("{name}: {}", values.join(", ").replace(", ", ",")));
            }
        }
        headers.sort_unstable();
        let status = response.status();
        let body = response.text().await.expect("a whole answer");
        seen.push(format!("{method} {path} -> {status} {headers:?} {body}"));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_the_local_server_for_every_source_of_events() {
    let local = server::sqlite().await;
    let expected = seen_by_a_client(local.api.authority()).await;
    for source in Source::ALL {
        let (_directory, path) = directory();
        let settings = sqlite_in(&path);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
        let front = Front::start(source, &settings).await;
        let seen = seen_by_a_client(front.authority()).await;
        for (seen, expected) in seen.iter().zip(&expected) {
            // If a path has several endpoints, a function answers a wrong method with only its own methods.
            let differs_in_allow = expected.contains("/query ->") && expected.contains(" 405 ");
            assert!(seen == expected || differs_in_allow, "{source:?}\n{seen}\n{expected}");
        }
        assert_eq!(seen.len(), expected.len());
    }
}

#[tokio::test]
async fn a_function_serves_its_own_route_and_no_other() {
    let (_directory, path) = directory();
    for endpoint in Endpoint::ALL {
        let mut instance = Instance::start(binary_of(endpoint), &sqlite_in(&path)).await;
        for (method, path, own) in [
            (Method::GET, "/health", Endpoint::Health),
            (Method::POST, "/operations", Endpoint::PushOperations),
            (Method::POST, "/changes", Endpoint::PullChanges),
            (Method::GET, "/documents/todos/query", Endpoint::GetDocument),
            (Method::POST, "/documents/todos/query", Endpoint::QueryDocuments),
            (Method::GET, "/stats", Endpoint::GetStats),
            (Method::POST, "/compact", Endpoint::Compact),
            (Method::GET, "/openapi.json", Endpoint::Health),
        ] {
            let body = if own == Endpoint::PushOperations { r#"{"clientId":"a","operations":[]}"# } else { "" };
            let (status, answer) = read(instance.invoke(&event(&method, path, body)).await);
            let is_served = answer["error"] != "Not found" && answer["error"] != "Method not allowed";
            let is_own = own == endpoint && path != "/openapi.json";
            assert_eq!(is_served, is_own, "{endpoint:?} {method} {path}: {status} {answer}");
        }
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_tried_again_by_the_next_request() {
    let (_home, home) = directory();
    let inner = format!("{home}/later");
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &sqlite_in(&inner)).await;
    for _ in 0..2 {
        let outcome = instance.invoke(&event(&Method::GET, "/stats", "")).await;
        assert_eq!(outcome.as_ref().expect("an answer")["headers"]["retry-after"], "1");
        let (status, answer) = read(outcome);
        assert_eq!((status, &answer["error"]), (503, &json!("Unavailable")));
    }
    assert!(instance.log().contains("SQLITE_PATH"), "{}", instance.log());
    std::fs::create_dir(&inner).expect("a directory");
    let (status, answer) = read(instance.invoke(&event(&Method::GET, "/stats", "")).await);
    assert_eq!((status, &answer["totalOperations"]), (200, &json!(0)));
}

#[tokio::test]
async fn what_the_operator_must_mend_is_said_once_in_plain_words() {
    let url = format!("postgresql://u:hunter2@127.0.0.1:{}/postgres", free_port());
    let settings = [("POSTGRES_CONNECTION_STRING", url.as_str()), ("POSTGRES_SCEMA", "x")];
    let settings: Vec<(String, String)> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &settings).await;
    for _ in 0..2 {
        let (status, _) = read(instance.invoke(&event(&Method::GET, "/stats", "")).await);
        assert_eq!(status, 503);
    }
    let log = instance.log();
    assert_eq!(log.matches("POSTGRES_CONNECTION_STRING: no server listens").count(), 1, "{log}");
    assert_eq!(log.matches("POSTGRES_SCEMA is set, but not read; POSTGRES_SCHEMA may be meant").count(), 1, "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_wrong_setting_ends_the_function_with_a_line_that_names_the_variable() {
    let mut instance =
        Instance::start(binary_of(Endpoint::Health), &[("POOL_SIZE".to_owned(), "none".to_owned())]).await;
    assert_eq!(instance.end().await, Some(1));
    assert!(instance.log().starts_with("POOL_SIZE: must be"), "{}", instance.log());
}

#[tokio::test]
async fn a_request_is_answered_before_the_deadline() {
    let (_directory, path) = directory();
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &sqlite_in(&path)).await;
    let page = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("http://localhost:5173"))]);
    let from_a_page = Source::FunctionUrl.event(&Method::GET, "/stats", &page, b"");
    // No time is left if the deadline is closer than the margin.
    let outcome = instance.invoke_within(&from_a_page, Duration::from_millis(1)).await;
    let answer = outcome.as_ref().expect("an answer");
    assert_eq!(answer["headers"]["access-control-allow-origin"], "http://localhost:5173");
    let (status, answer) = read(outcome);
    assert_eq!((status, &answer["error"]), (503, &json!("Unavailable")));
    assert_eq!(read(instance.invoke(&event(&Method::GET, "/stats", "")).await).0, 200);
}

#[tokio::test]
async fn an_event_that_is_not_a_request_is_reported_as_an_error_and_the_function_lives_on() {
    let (_directory, path) = directory();
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &sqlite_in(&path)).await;
    for odd in [json!(null), json!({}), json!([1]), json!("text"), json!({"version": "2.0"})] {
        let error = instance.invoke(&odd).await.expect_err("no request");
        assert!(error["errorMessage"].is_string(), "{odd}: {error}");
    }
    assert_eq!(read(instance.invoke(&event(&Method::GET, "/stats", "")).await).0, 200);
}

#[tokio::test]
async fn the_largest_answers_are_handed_on_whatever_they_consist_of() {
    const HALF_A_MEBIBYTE: usize = 512 * 1024;
    let (_directory, path) = directory();
    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &sqlite_in(&path)).await;
    let mut pull = Instance::start(binary_of(Endpoint::PullChanges), &sqlite_in(&path)).await;
    // Each character is an escape in the document already, and its size doubles again in the function's answer.
    let text = "\"".repeat(HALF_A_MEBIBYTE - 100);
    for number in 1..=6 {
        let outcome = push.invoke(&event(&Method::POST, "/operations", &push_of(number, &json!({"t": text})))).await;
        assert_eq!(read(outcome).1["conflicts"], json!([]));
    }
    let mut cursor = Value::Null;
    let mut pulled = 0;
    loop {
        let request = json!({"cursor": cursor, "limit": 1_000}).to_string();
        // The emulator refuses an answer above the limit.
        let answer = pull.invoke(&event(&Method::POST, "/changes", &request)).await.expect("an answer");
        let body = answer["body"].as_str().expect("a body").as_bytes();
        let is_base64 = answer["isBase64Encoded"] == json!(true);
        let body = if is_base64 { STANDARD.decode(body).expect("base64") } else { body.to_vec() };
        let page: Value = serde_json::from_slice(&body).expect("JSON");
        let operations = page["operations"].as_array().expect("operations").len();
        assert_eq!(is_base64, operations > 1, "one such document fits as text, two and more do not");
        pulled += operations;
        cursor = page["cursor"].clone();
        if page["hasMore"] == json!(false) {
            break;
        }
    }
    assert_eq!(pulled, 6);
}

#[tokio::test]
async fn an_answer_is_compressed_when_asked_but_for_a_rest_api() {
    let (_directory, path) = directory();
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &sqlite_in(&path)).await;
    let mut headers = HeaderMap::new();
    headers.insert("accept-encoding", "gzip".parse().unwrap());
    for source in Source::ALL {
        let event = source.event(&Method::GET, "/stats", &headers, b"");
        let answer = instance.invoke(&event).await.expect("an answer");
        let answer = source.answer(&answer);
        let is_compressed = answer.headers().get("content-encoding").is_some_and(|encoding| encoding == "gzip");
        assert_eq!(is_compressed, source != Source::RestApi, "{source:?}");
        assert_eq!(answer.body().starts_with(b"{"), !is_compressed);
    }
}

#[tokio::test]
async fn lambdas_request_id_is_that_of_the_answer_and_the_log_where_the_client_has_none() {
    let (_directory, path) = directory();
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &sqlite_in(&path)).await;
    let answer = instance.invoke(&event(&Method::GET, "/stats", "")).await.expect("an answer");
    let id = answer["headers"]["x-request-id"].as_str().expect("an id");
    assert!(id.starts_with("8476a536-"), "{id}");
    let log = instance.log();
    let line = log.lines().find(|line| line.contains("\"answered\"")).expect("an access log");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(line["span"]["request.id"], id);
}

#[tokio::test]
async fn pages_are_let_in_by_their_origin_for_every_source_of_events_and_the_host_is_not_asked() {
    let (_directory, path) = directory();
    let mut settings = sqlite_in(&path);
    settings.push(("ALLOWED_ORIGINS".to_owned(), "https://app.example.com".to_owned()));
    settings.push(("ALLOWED_HOSTS".to_owned(), "no name at all".to_owned()));
    let mut instance = Instance::start(binary_of(Endpoint::GetStats), &settings).await;
    for source in Source::ALL {
        for (host, origin, status) in [
            ("api.example.com", "https://app.example.com", 200),
            ("api.example.com", "https://api.example.com", 200),
            ("api.example.com", "https://evil.example", 403),
            ("api.example.com", "http://localhost:5173", 403),
            ("api.example.com", "null", 403),
            ("any.example", "", 200),
        ] {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).unwrap())]);
            if !origin.is_empty() {
                headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            let answer = instance.invoke(&source.event(&Method::GET, "/stats", &headers, b"")).await;
            let answer = source.answer(&answer.expect("an answer"));
            assert_eq!(answer.status(), status, "{source:?} {host} {origin}");
        }
    }
}
