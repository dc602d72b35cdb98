//! Wake-ups of the push function, published to an endpoint that takes the place of AppSync.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use syncflow_server::api::Endpoint;

use super::moto::settings;
use crate::lambda::binaries::binary_of;
use crate::lambda::emulator::Instance;
use crate::lambda::functions::{event, push_of, read};
use crate::lambda::http::Listening;

/// How the endpoint answers.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Takes,
    FailsEvents,
    Refuses,
    Hangs,
}

/// An Event API that keeps what is published.
struct EventApi {
    mood: Mutex<Mood>,
    published: Mutex<Vec<(HeaderMap, Value)>>,
}

async fn publish(State(api): State<Arc<EventApi>>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).expect("the request is JSON");
    api.published.lock().expect("no panic").push((headers, body));
    let mood = *api.mood.lock().expect("no panic");
    match mood {
        Mood::Takes => r#"{"failed":[],"successful":[{"identifier":"1","index":0}]}"#.into_response(),
        Mood::FailsEvents => r#"{"failed":[{"index":0}],"successful":[]}"#.into_response(),
        Mood::Refuses => (StatusCode::FORBIDDEN, r#"{"errors":[]}"#).into_response(),
        Mood::Hangs => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            StatusCode::OK.into_response()
        }
    }
}

/// An endpoint, and the settings of a function that publishes to it.
async fn world() -> (Arc<EventApi>, Listening, tempfile::TempDir, Vec<(String, String)>) {
    let api = Arc::new(EventApi { mood: Mutex::new(Mood::Takes), published: Mutex::default() });
    let listening = Listening::start(Router::new().route("/event", post(publish)).with_state(Arc::clone(&api))).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("syncflow.db").display().to_string();
    let own = [
        ("SQLITE_PATH", path),
        ("WAKE", "appsync".to_owned()),
        ("APPSYNC_EVENTS_URL", format!("http://{}/event", listening.authority())),
    ];
    let settings = own.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(settings()).collect();
    (api, listening, directory, settings)
}

fn push(number: u64) -> Value {
    event(&Method::POST, "/operations", &push_of(number, &json!({})))
}

/// The wake-ups that the last invocation counted: those that were published, and those that failed.
fn counted(function: &Instance) -> (Value, Value) {
    let line = function.metrics().pop().expect("a line");
    (line["WakeUps"].clone(), line["WakeUpErrors"].clone())
}

#[tokio::test]
async fn a_push_that_took_effect_tells_the_channel_of_its_tenant() {
    let (api, _listening, _directory, settings) = world().await;
    let mut function = Instance::start(binary_of(Endpoint::PushOperations), &settings).await;
    assert_eq!(read(function.invoke(&push(1)).await).0, 200, "{}", function.log());
    assert_eq!(counted(&function), (json!(1), json!(0)), "{}", function.log());
    let (headers, body) = api.published.lock().expect("no panic").pop().expect("it is published");
    assert_eq!(body, json!({"channel": "/syncflow/default", "events": [r#"{"event":"changed"}"#]}));
    assert_eq!(headers["content-type"], "application/json");
    let signature = headers["authorization"].to_str().expect("a text");
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=testing/"), "{signature}");
    assert!(signature.contains("/eu-central-1/appsync/aws4_request, SignedHeaders="), "{signature}");
    // The same push changes nothing, and neither does one that is refused.
    assert_eq!(read(function.invoke(&push(1)).await).0, 200);
    assert_eq!(read(function.invoke(&event(&Method::POST, "/operations", "{")).await).0, 400);
    assert!(api.published.lock().expect("no panic").is_empty());
    assert_eq!(counted(&function), (Value::Null, Value::Null));
}

#[tokio::test]
async fn a_wake_up_that_fails_or_hangs_is_counted_and_the_push_is_answered() {
    let (api, _listening, _directory, settings) = world().await;
    let mut function = Instance::start(binary_of(Endpoint::PushOperations), &settings).await;
    for (number, mood) in (1..).zip([Mood::FailsEvents, Mood::Refuses, Mood::Hangs]) {
        *api.mood.lock().expect("no panic") = mood;
        let (status, answer) = read(function.invoke(&push(number)).await);
        assert_eq!((status, answer["accepted"].as_array().map(Vec::len)), (200, Some(1)), "{mood:?}");
        assert_eq!(counted(&function), (json!(0), json!(1)), "{mood:?}: {}", function.log());
    }
    assert_eq!(api.published.lock().expect("no panic").len(), 3);
}

#[tokio::test]
async fn a_pull_says_when_to_ask_again_unless_clients_are_woken() {
    let (_api, _listening, _directory, woken) = world().await;
    let polled: Vec<_> = woken.iter().filter(|(name, _)| name != "WAKE").cloned().collect();
    let pull = |body: &str| event(&Method::POST, "/changes", body);
    for (settings, expected) in [(&woken, Value::Null), (&polled, json!(5))] {
        let mut function = Instance::start(binary_of(Endpoint::PullChanges), settings).await;
        let waiting = pull(r#"{"cursor":null,"wait":25}"#);
        let answer = tokio::time::timeout(Duration::from_secs(20), function.invoke(&waiting)).await;
        let (_, page) = read(answer.expect("it does not wait"));
        assert_eq!((&page["operations"], &page["pollAfterSeconds"]), (&json!([]), &expected), "{}", function.log());
        let (_, page) = read(function.invoke(&pull(r#"{"since":0,"clientId":"a"}"#)).await);
        assert_eq!(page.get("pollAfterSeconds"), None, "original clients see no change");
    }
}

#[tokio::test]
async fn wrong_settings_of_wake_ups_stop_a_function() {
    let (_api, _listening, _directory, settings) = world().await;
    let settings: Vec<_> = settings.into_iter().filter(|(name, _)| name != "APPSYNC_EVENTS_URL").collect();
    let mut function = Instance::start(binary_of(Endpoint::PushOperations), &settings).await;
    assert_eq!(function.end().await, Some(1));
    assert!(function.log().contains("APPSYNC_EVENTS_URL: is needed with WAKE=appsync"), "{}", function.log());
}
