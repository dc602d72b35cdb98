//! Each kind of request: the span of its route, with those of its calls of the store below it.

use std::collections::BTreeMap;
use std::fs;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::Method;
use serde_json::json;

use super::collector::{CALLER, Collector, attribute, hex};
use crate::endpoints::client::{insert, with};
use crate::endpoints::local::{Local, command, run_to_end};
use crate::endpoints::raw::Connection;

/// A word that only clients know. No span has it.
const PRIVATE: &str = "hunter2";

/// A request, and the spans that it must have.
struct Kind {
    method: Method,
    path: &'static str,
    body: String,
    status: u16,
    /// The pattern of the route, empty if there is none.
    route: &'static str,
    /// The calls of the store in the order of their names.
    calls: &'static [&'static str],
}

fn kind(method: Method, path: &'static str, status: u16, calls: &'static [&'static str]) -> Kind {
    Kind { method, path, body: String::new(), status, route: path, calls }
}

fn post(path: &'static str, body: &impl ToString, status: u16, calls: &'static [&'static str]) -> Kind {
    Kind { body: body.to_string(), ..kind(Method::POST, path, status, calls) }
}

fn kinds() -> Vec<Kind> {
    const DOCUMENT: &str = "/documents/{collection}/{id}";
    const QUERY: &str = "/documents/{collection}/query";
    let operation = insert("hunter2-op", "hunter2-doc", "hunter2-client", 1, 1);
    let operation = with(with(operation, "collection", json!("hunter2-kind")), "data", json!({"hunter2": "hunter2"}));
    let push = json!({"clientId": "hunter2-client", "operations": [operation]});
    vec![
        post("/operations", &push, 200, &["commit", "load"]),
        // The same operation is a duplicate, so there is nothing to commit.
        post("/operations", &push, 200, &["load"]),
        post("/operations", &json!({"operations": "hunter2"}), 400, &[]),
        post("/changes", &json!({"cursor": null, "clientId": "hunter2-client"}), 200, &["changes", "note_pulled"]),
        // The subject of the token has not used this client's id before.
        post(
            "/changes",
            &json!({"since": 0, "clientId": "hunter2-other"}),
            200,
            &["changes", "claim", "client", "remember"],
        ),
        post("/changes", &json!({"since": 0}), 200, &["changes_by_time"]),
        post("/changes", &json!({"cursor": "hunter2"}), 400, &[]),
        Kind { route: DOCUMENT, ..kind(Method::GET, "/documents/hunter2-kind/hunter2-doc", 200, &["document"]) },
        Kind { route: DOCUMENT, ..kind(Method::GET, "/documents/hunter2-kind/none?hunter2", 404, &["document"]) },
        Kind {
            route: QUERY,
            ..post("/documents/hunter2-kind/query", &json!({"filter": {"hunter2": "hunter2"}}), 200, &["query"])
        },
        kind(Method::GET, "/stats", 200, &["stats"]),
        post("/clients", &"", 200, &["clients", "heads"]),
        post("/compact", &json!({"olderThanDays": 1}), 200, &["compact"]),
        kind(Method::GET, "/health", 200, &["check"]),
        kind(Method::GET, "/readyz", 200, &["check"]),
        kind(Method::GET, "/livez", 200, &[]),
        kind(Method::GET, "/openapi.json", 200, &[]),
        Kind { route: "", ..kind(Method::GET, "/hunter2?hunter2=hunter2", 404, &[]) },
    ]
}

/// A token of a static file, which has its line.
async fn token(directory: &std::path::Path) -> String {
    let arguments = ["token", "new", "--tenant", "team", "--role", "admin", "--subject", PRIVATE];
    let ended = run_to_end(command(directory, &[]).args(arguments)).await;
    let said = String::from_utf8(ended.stdout).unwrap();
    fs::write(directory.join("tokens"), said.lines().last().expect("a line")).unwrap();
    said.lines().find(|line| line.starts_with("sft_")).expect("a token").to_owned()
}

/// The names of the calls below a span, in the order of the names.
fn calls_below(spans: &[Span], id: &[u8]) -> Vec<String> {
    let below = spans.iter().filter(|span| span.parent_span_id == id && span.kind == SpanKind::Client as i32);
    let mut calls: Vec<String> = below.filter_map(|span| attribute(span, "db.operation.name")).collect();
    calls.sort();
    calls
}

#[tokio::test]
async fn every_kind_of_request_has_its_route_its_status_and_its_calls_of_the_store() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let token = token(directory.path()).await;
    let endpoint = collector.endpoint();
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("AUTH_TOKENS_FILE", "tokens"), ("LOG_LEVEL", "warn")];
    let local = Local::start(directory.path(), &settings).await;
    let (kinds, bearer) = (kinds(), format!("Bearer {token}"));
    let trace = |index: usize| format!("{:032x}", index + 1);
    for (index, kind) in kinds.iter().enumerate() {
        let traceparent = format!("00-{}-{CALLER}-01", trace(index));
        let headers = [("traceparent", &*traceparent), ("authorization", &bearer), ("x-private", PRIVATE)];
        let answer = local.api.send(kind.method.clone(), kind.path, &headers, kind.body.clone()).await;
        assert_eq!(answer.status, kind.status, "{} {}: {}", kind.method, kind.path, answer.text());
    }
    let mut stream = Connection::to(local.authority()).await;
    let of_stream = format!("00-{}-{CALLER}-01", trace(kinds.len()));
    stream.head("GET /changes/stream", &[("traceparent", &of_stream), ("authorization", &bearer)]).await;
    collector.span("GET /changes/stream").await;
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    let mut traces: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for span in collector.spans() {
        traces.entry(hex(&span.trace_id)).or_default().push(span);
    }
    for (index, kind) in kinds.iter().enumerate() {
        let spans = traces.get(&trace(index)).unwrap_or_else(|| panic!("{} {} has no trace", kind.method, kind.path));
        let of_caller: Vec<&Span> = spans.iter().filter(|span| hex(&span.parent_span_id) == CALLER).collect();
        let [request] = of_caller.as_slice() else { panic!("one span of the request among {spans:?}") };
        let name = format!("{} {}", kind.method, kind.route);
        assert_eq!((&*request.name, request.kind), (name.trim(), SpanKind::Server as i32));
        let route = Some(kind.route).filter(|route| !route.is_empty());
        assert_eq!(attribute(request, "http.route").as_deref(), route, "{name}");
        assert_eq!(attribute(request, "http.response.status_code"), Some(kind.status.to_string()), "{name}");
        // The calls of a push stand below its group.
        let group = spans.iter().find(|span| span.name == "group of pushes");
        assert_eq!(group.is_some(), kind.path == "/operations" && kind.status == 200, "{name}");
        let above = group.map_or(&request.span_id, |group| &group.span_id);
        assert_eq!(calls_below(spans, above), kind.calls, "{name}");
        assert_eq!(spans.len(), 1 + usize::from(group.is_some()) + kind.calls.len(), "{name}: {spans:?}");
    }
    let received = format!("{:?}", collector.received.lock().unwrap());
    assert!(received.contains("StringValue(\"team\")"), "the tenant is in the spans");
    for private in [PRIVATE, &token, &token[4..]] {
        assert!(!received.contains(private), "{private} is in {received}");
    }
    drop(stream);
}
