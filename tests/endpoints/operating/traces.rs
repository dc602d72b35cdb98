//! Traces: which spans a collector receives, and that a collector holds up nothing.

use std::fs;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::response::Redirect;
use axum::routing::post;
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use super::{PATIENCE, PAUSE};
use crate::endpoints::client::{insert, with};
use crate::endpoints::local::{Local, command, run_to_end};
use crate::endpoints::raw::Connection;
use crate::lambda::http::Listening;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// The header of a caller that traces the request.
fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

type Received = Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>;

/// A collector that keeps what it receives.
struct Collector {
    listening: Listening,
    received: Received,
}

impl Collector {
    async fn start() -> Self {
        let received = Received::default();
        let kept = Arc::clone(&received);
        let take = async move |headers: HeaderMap, body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).expect("spans in the form of the protocol");
            kept.lock().unwrap().push((headers, request));
            ExportTraceServiceResponse::default().encode_to_vec()
        };
        let listening = Listening::start(Router::new().route("/otlp/v1/traces", post(take))).await;
        Self { listening, received }
    }

    fn endpoint(&self) -> String {
        format!("http://{}/otlp", self.listening.authority())
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|(_, request)| &request.resource_spans);
        resources.flat_map(|spans| &spans.scope_spans).flat_map(|spans| spans.spans.clone()).collect()
    }

    /// Waits for a span with this name.
    async fn span(&self, name: &str) -> Span {
        let waiting = async {
            loop {
                match self.spans().into_iter().find(|span| span.name == name) {
                    Some(span) => return span,
                    None => tokio::time::sleep(PAUSE).await,
                }
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.unwrap_or_else(|_| panic!("no span {name} among {:?}", self.spans()))
    }
}

fn value(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    value(&span.attributes, name)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[tokio::test]
async fn a_push_has_a_span_of_its_callers_trace_and_one_for_each_call_of_the_store() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("headers"), "api-key=hunter2%20hunter2\n").unwrap();
    let endpoint = collector.endpoint();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS_FILE", "headers"),
        ("OTEL_SERVICE_NAME", "sync of a test"),
        ("LOG_FORMAT", "json"),
        ("LOG_LEVEL", "trace"),
        // Metrics are measured around the same calls.
        ("METRICS_BIND", "127.0.0.1:0"),
    ];
    let local = Local::start(directory.path(), &settings).await;
    let operations = [
        with(insert("op-1", "doc-1", "a", 1, 1), "data", json!({"text": "private"})),
        insert("op-2", "doc-2", "a", 2, 2),
    ];
    let body = json!({"clientId": "pusher", "operations": operations}).to_string();
    let traceparent = traceparent();
    let headers = [("traceparent", &*traceparent), ("authorization", "Bearer hunter3")];
    assert_eq!(local.api.send(Method::POST, "/operations", &headers, body).await.status, 200);
    assert_eq!(local.api.get("/documents/todos/doc-1?clock=1").await.status, 200);
    assert_eq!(local.api.get("/documents/todos/none").await.status, 404);
    assert_eq!(local.api.get("/private?private").await.status, 404);
    let of_document = collector.span("GET /documents/{collection}/{id}").await;
    let unknown = collector.span("GET").await;
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    let spans = collector.spans();
    let of_caller: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let named = |name: &str| {
        let found: Vec<&&Span> = of_caller.iter().filter(|span| span.name == name).collect();
        let [span] = found.as_slice() else { panic!("one span {name} among {of_caller:?}") };
        **span
    };
    let (push, group) = (named("POST /operations"), named("group of pushes"));
    let (load, commit) = (named("sqlite load"), named("sqlite commit"));
    assert_eq!((hex(&push.parent_span_id), push.kind), (CALLER.to_owned(), SpanKind::Server as i32));
    assert_eq!((&group.parent_span_id, group.kind), (&push.span_id, SpanKind::Internal as i32));
    for call in [load, commit] {
        assert_eq!((&call.parent_span_id, call.kind), (&group.span_id, SpanKind::Client as i32), "{call:?}");
        assert_eq!(attribute(call, "db.system.name").as_deref(), Some("sqlite"));
        assert!(call.start_time_unix_nano >= push.start_time_unix_nano && call.end_time_unix_nano > 0, "{call:?}");
    }
    assert_eq!(attribute(commit, "db.operation.name").as_deref(), Some("commit"));
    for (span, name, expected) in [
        (push, "http.request.method", Some("POST")),
        (push, "http.route", Some("/operations")),
        (push, "http.response.status_code", Some("200")),
        (push, "network.protocol.version", Some("1.1")),
        (push, "syncflow.tenant", Some("default")),
        (push, "syncflow.operations", Some("2")),
        (push, "error.type", None),
        (group, "syncflow.pushes", Some("1")),
        (group, "syncflow.operations", Some("2")),
        (commit, "error.type", None),
        (&of_document, "http.route", Some("/documents/{collection}/{id}")),
        (&unknown, "http.response.status_code", Some("404")),
        (&unknown, "http.route", None),
    ] {
        assert_eq!(attribute(span, name).as_deref(), expected, "{name} of {}", span.name);
    }
    assert_ne!(hex(&of_document.trace_id), TRACE);
    assert_eq!(of_document.parent_span_id, Vec::<u8>::new());
    let received = collector.received.lock().unwrap();
    for (headers, request) in &*received {
        assert_eq!(headers["api-key"], "hunter2 hunter2");
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let resource = &request.resource_spans[0].resource.as_ref().expect("a resource").attributes;
        assert_eq!(value(resource, "service.name").as_deref(), Some("sync of a test"));
        let text = format!("{request:?}");
        for secret in ["private", "hunter", "doc-1", "clock", "pusher"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    assert!(!log.contains("hunter"), "{log}");
    // The span of a group does not hide that of the request, and the line leads to the trace.
    let line = log.lines().find(|line| line.contains("\"answered\"")).expect("the line of the push");
    let line: serde_json::Value = serde_json::from_str(line).expect("an object");
    assert_eq!((&line["span"]["trace.id"], &line["span"]["http.path"]), (&json!(TRACE), &json!("/operations")));
}

#[tokio::test]
async fn a_ratio_decides_about_requests_whose_callers_have_not() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let endpoint = collector.endpoint();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_TRACES_SAMPLER_ARG", "0"),
        ("ADAPTER", "memory"),
        ("LOG_FORMAT", "json"),
    ];
    let local = Local::start(directory.path(), &settings).await;
    assert_eq!(local.api.get("/stats").await.status, 200);
    assert_eq!(local.api.send(Method::GET, "/health", &[("traceparent", &traceparent())], "").await.status, 200);
    assert_eq!(local.api.get("/stats").await.status, 200);
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    // The server sends the spans that wait before it ends.
    let mut names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    names.sort();
    assert_eq!((code, names), (Some(0), ["GET /health", "memory check"].map(str::to_owned).to_vec()), "{log}");
    assert_eq!(log.lines().filter(|line| line.contains("trace.id")).count(), 1, "{log}");
}

#[tokio::test]
async fn the_span_of_a_stream_ends_when_the_stream_begins_and_one_of_a_pull_says_that_it_may_wait() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let endpoint = collector.endpoint();
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("ADAPTER", "memory")];
    let local = Local::start(directory.path(), &settings).await;
    let mut stream = Connection::to(local.authority()).await;
    stream.head("GET /changes/stream", &[]).await;
    let of_stream = collector.span("GET /changes/stream").await;
    assert_eq!(attribute(&of_stream, "http.response.status_code").as_deref(), Some("200"));
    local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    local.api.pull(&json!({"cursor": null, "wait": 1})).await;
    let of_pull = collector.span("POST /changes").await;
    assert_eq!(attribute(&of_pull, "syncflow.may_wait").as_deref(), Some("true"));
    assert_eq!(attribute(&of_pull, "syncflow.operations").as_deref(), Some("1"));
    // The watcher that the stream needs belongs to no request.
    let of_requests = ["GET /changes/stream", "POST /operations", "POST /changes"];
    let spans = collector.spans();
    let roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
    assert!(roots.clone().all(|span| of_requests.contains(&&*span.name)), "{:?}", roots.collect::<Vec<_>>());
    drop(stream);
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_neither_requests_nor_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("ADAPTER", "memory")];
    let local = Local::start(directory.path(), &settings).await;
    assert_eq!(local.api.get("/stats").await.status, 200);
    let (_first, _) = tokio::time::timeout(PATIENCE, silent.accept()).await.expect("spans are sent").unwrap();
    // The server waits for the collector now.
    for number in 1..=50 {
        local.api.accept(&[insert(&format!("op-{number}"), &format!("doc-{number}"), "a", number, number)]).await;
    }
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("that waited at the end are lost"), "{log}");
    assert!(!log.contains("what still runs is cut off"), "{log}");
}

#[tokio::test]
async fn a_failure_is_logged_without_the_headers_and_a_redirect_is_not_followed() {
    let followed = Arc::new(Mutex::new(0));
    let count = Arc::clone(&followed);
    let elsewhere = post(async move || *count.lock().unwrap() += 1);
    let redirect = post(async || Redirect::temporary("/elsewhere"));
    let router = Router::new().route("/v1/traces", redirect).route("/elsewhere", elsewhere);
    let listening = Listening::start(router).await;
    let endpoint = format!("http://{}", listening.authority());
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"),
        ("ADAPTER", "memory"),
        ("LOG_LEVEL", "trace"),
    ];
    let mut local = Local::start(directory.path(), &settings).await;
    assert_eq!(local.api.get("/stats").await.status, 200);
    local.log_until("the answer has the status 307").await;
    assert_eq!(local.api.get("/stats").await.status, 200);
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("traces.lost_spans") && !log.contains("hunter2"), "{log}");
    assert_eq!(*followed.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_collector_on_another_machine_needs_an_encrypted_connection() {
    let directory = tempfile::tempdir().unwrap();
    for (variable, settings) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318")][..]),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example"), ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")],
        ),
    ] {
        for argument in [None, Some("--check")] {
            let ended = run_to_end(command(directory.path(), settings).args(argument)).await;
            let line = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(2), "{line}");
            assert!(line.starts_with(&format!("{variable}: must be ")) && !line.contains("hunter2"), "{line}");
        }
    }
}
