//! The memory of an instance. It serves one request at a time, so the limits of one request bound it.

use async_compression::Level;
use async_compression::tokio::write::{BrotliEncoder, GzipEncoder};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use syncflow_server::api::Endpoint;
use syncflow_server::limits::api::LAMBDA_BODY_MAX_BYTES;
use syncflow_server::limits::runtime::MEMORY_MIN_BYTES;
use tokio::io::AsyncWriteExt as _;

use super::status;
use crate::lambda::binaries::binary_of;
use crate::lambda::emulator::{Instance, Outcome};
use crate::lambda::events::Source;
use crate::lambda::functions::{directory, sqlite_in};

/// Half of what the template gives a function that pushes, pulls or queries.
const PEAK_MAX_KIB: u64 = 256 * 1024;

macro_rules! encoded {
    ($encoder:ident, $bytes:expr) => {{
        let mut encoder = $encoder::with_quality(Vec::new(), Level::Fastest);
        encoder.write_all($bytes).await.expect("memory takes all");
        encoder.shutdown().await.expect("memory takes all");
        encoder.into_inner()
    }};
}

fn operation(number: usize, document: usize, kind: &str, data: &Value) -> Value {
    json!({
        "id": format!("op-{number}"), "type": kind, "collection": "todos", "docId": format!("doc-{document}"),
        "data": data, "timestamp": number, "clientId": "a", "vectorClock": {"a": number},
    })
}

fn push_of(operations: &[Value]) -> Vec<u8> {
    json!({"clientId": "a", "operations": operations}).to_string().into_bytes()
}

async fn send(instance: &mut Instance, path: &str, encoding: Option<&'static str>, body: &[u8]) -> u64 {
    let encoding = encoding.map(|name| (http::header::CONTENT_ENCODING, HeaderValue::from_static(name)));
    let headers: HeaderMap = encoding.into_iter().collect();
    status_of(&instance.invoke(&Source::FunctionUrl.event(&Method::POST, path, &headers, body)).await)
}

fn status_of(outcome: &Outcome) -> u64 {
    outcome.as_ref().expect("an answer")["statusCode"].as_u64().expect("a status")
}

fn check_peak(instance: &Instance) {
    let peak = status(&instance.proc(), "VmHWM:");
    let kib: u64 = peak.trim_end_matches(" kB").parse().expect("a number");
    println!("at most {kib} KiB");
    assert!(kib < PEAK_MAX_KIB, "{kib} KiB");
}

#[tokio::test]
async fn the_hardest_requests_stay_within_half_of_a_function_s_memory() {
    const DOCUMENTS: usize = 18;
    let (_directory, path) = directory();
    let mut settings = sqlite_in(&path);
    settings.push(("MEMORY_MAX_BYTES".to_owned(), MEMORY_MIN_BYTES.to_string()));

    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &settings).await;
    let large = json!({"text": "x".repeat(900_000)});
    for number in 1..=DOCUMENTS {
        let body = push_of(&[operation(number, number, "insert", &large)]);
        assert_eq!(send(&mut push, "/operations", None, &body).await, 200);
    }
    let updates = |first: usize, of: fn(usize) -> usize, count: usize| {
        let update = |index| operation(first + index, of(index), "update", &json!({"n": index}));
        push_of(&(0..count).map(update).collect::<Vec<_>>())
    };
    // All that a push may load, and what grows with every operation on one document.
    assert_eq!(send(&mut push, "/operations", None, &updates(100, |index| index + 1, 17)).await, 200);
    assert_eq!(send(&mut push, "/operations", None, &updates(200, |_| 1, 1_000)).await, 200);
    let spaces = vec![b' '; 200 * 1024 * 1024];
    let bombs = [("gzip", encoded!(GzipEncoder, &spaces)), ("br", encoded!(BrotliEncoder, &spaces))];
    let whole = vec![b' '; LAMBDA_BODY_MAX_BYTES];
    for (encoding, bomb) in &bombs {
        assert!(bomb.len() < LAMBDA_BODY_MAX_BYTES);
        assert_eq!(send(&mut push, "/operations", Some(*encoding), bomb).await, 413, "{encoding}");
    }
    assert_eq!(send(&mut push, "/operations", None, &whole).await, 400);
    check_peak(&push);

    let mut pull = Instance::start(binary_of(Endpoint::PullChanges), &settings).await;
    for (encoding, bomb) in &bombs {
        assert_eq!(send(&mut pull, "/changes", Some(*encoding), bomb).await, 413, "{encoding}");
    }
    assert_eq!(send(&mut pull, "/changes", None, br#"{"cursor":null,"limit":1000}"#).await, 200);
    check_peak(&pull);

    let mut query = Instance::start(binary_of(Endpoint::QueryDocuments), &settings).await;
    let value = json!({"filter": {"a": "x".repeat(LAMBDA_BODY_MAX_BYTES - 100)}}).to_string();
    assert_eq!(send(&mut query, "/documents/todos/query", None, value.as_bytes()).await, 400);
    let keys: Vec<String> = (0..400_000).map(|number| format!("\"{number:x}\":1")).collect();
    let keys = format!("{{\"filter\":{{{}}}}}", keys.join(","));
    assert_eq!(send(&mut query, "/documents/todos/query", None, keys.as_bytes()).await, 400);
    let nothing = br#"{"filter":{"a":1,"b":2}}"#;
    assert_eq!(send(&mut query, "/documents/todos/query", None, nothing).await, 200);
    check_peak(&query);
}
