//! Traces: which spans a collector receives.

mod collector;
mod faults;
mod kinds;

use std::fs;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use reqwest::Method;
use serde_json::json;

use self::collector::{CALLER, Collector, TRACE, attribute, hex, traceparent, value};
use crate::endpoints::client::{insert, with};
use crate::endpoints::local::{Local, command, run_to_end};
use crate::endpoints::raw::Connection;

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
async fn without_a_collector_no_request_has_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"),
        ("OTEL_SERVICE_NAME", "sync of a test"),
        ("OTEL_TRACES_SAMPLER_ARG", "1"),
        ("ADAPTER", "memory"),
        ("LOG_FORMAT", "json"),
        ("LOG_LEVEL", "trace"),
    ];
    let local = Local::start(directory.path(), &settings).await;
    let (body, traceparent) = (r#"{"cursor":null}"#, traceparent());
    assert_eq!(local.api.send(Method::POST, "/changes", &[("traceparent", &traceparent)], body).await.status, 200);
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("/changes") && !log.contains("trace.id") && !log.contains(TRACE), "{log}");
}

#[tokio::test]
async fn a_request_begins_a_trace_of_its_own_if_the_headers_of_its_caller_are_not_as_they_should_be() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let endpoint = collector.endpoint();
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("ADAPTER", "memory")];
    let local = Local::start(directory.path(), &settings).await;
    let (good, long) = (traceparent(), format!("{}-{}", traceparent(), "0".repeat(4_000)));
    // Neither the second of two headers nor a long one is a reason to refuse a request.
    let mut connection = Connection::to(local.authority()).await;
    connection.head("GET /openapi.json", &[("traceparent", &good), ("traceparent", &good)]).await;
    assert_eq!(connection.answer().await.status, 200);
    assert_eq!(local.api.send(Method::GET, "/stats", &[("traceparent", &long)], "").await.status, 200);
    let state: Vec<String> = (0..300).map(|number| format!("vendor{number}=hunter2")).collect();
    let headers = [("traceparent", &*good), ("tracestate", &*state.join(","))];
    assert_eq!(local.api.send(Method::GET, "/health", &headers, "").await.status, 200);
    local.signal("TERM").await;
    assert_eq!(local.end().await.0, Some(0));
    for (name, is_of_caller) in [("GET /openapi.json", false), ("GET /stats", false), ("GET /health", true)] {
        let span = collector.span(name).await;
        let parent = if is_of_caller { CALLER } else { "" };
        assert_eq!((hex(&span.parent_span_id), hex(&span.trace_id) == TRACE), (parent.to_owned(), is_of_caller));
        assert_eq!(span.trace_state, "", "{name}");
    }
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
