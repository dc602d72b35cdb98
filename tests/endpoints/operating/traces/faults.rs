//! Collectors that are silent, down or wrong: they hold up nothing, and the spans that are lost are counted.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Redirect;
use axum::routing::{MethodRouter, post};
use futures_util::future::join_all;
use futures_util::stream;
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::net::TcpListener;

use super::super::exposition::Page;
use super::super::{PATIENCE, PAUSE};
use crate::endpoints::client::insert;
use crate::endpoints::local::Local;
use crate::lambda::http::Listening;

/// The spans that are lost by now, as the metrics say.
async fn lost_spans(local: &Local) -> u64 {
    let answer = reqwest::get(format!("{}/metrics", local.metrics())).await.expect("an answer");
    let page = Page::parse(&answer.text().await.expect("text")).expect("a page");
    let lost = page.value("syncflow_trace_spans_lost_total", &[]).expect("the counter");
    format!("{lost:.0}").parse().expect("a whole number")
}

/// Waits until so many spans are lost, or more.
async fn lost_spans_from(local: &Local, least: u64) -> u64 {
    let read = async {
        loop {
            let lost = lost_spans(local).await;
            if lost >= least {
                return lost;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("there are never {least} lost spans"))
}

/// The settings of a server with metrics, whose collector is at a URL.
fn settings(endpoint: &str) -> [(&str, &str); 5] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"),
        ("ADAPTER", "memory"),
        ("METRICS_BIND", "127.0.0.1:0"),
        ("LOG_LEVEL", "trace"),
    ]
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
async fn spans_that_find_no_room_are_lost_and_counted_and_requests_go_on() {
    const REQUESTS: u64 = 2_200;
    /// The span of the request, and that of its call of the store.
    const SPANS_OF_REQUEST: u64 = 2;
    const ROOM: u64 = 2 * 2_048;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&endpoint).map(|(name, value)| (name, if name == "LOG_LEVEL" { "warn" } else { value }));
    let mut local = Local::start(directory.path(), &settings).await;
    let clients = (0..8).map(async |_| {
        for _ in 0..REQUESTS / 8 {
            assert_eq!(local.api.get("/stats").await.status, 200);
        }
    });
    join_all(clients).await;
    let lost = lost_spans_from(&local, REQUESTS * SPANS_OF_REQUEST - ROOM).await;
    assert!(lost <= REQUESTS * SPANS_OF_REQUEST, "{lost}");
    local.log_until("no answer in time").await;
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("traces.lost_spans") && !log.contains("what still runs is cut off"), "{log}");
}

#[tokio::test]
async fn a_collector_that_takes_nothing_costs_the_spans_and_a_line_without_the_headers() {
    const REQUESTS: u64 = 10;
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let followed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&followed);
    let elsewhere = post(async move || count.fetch_add(1, Ordering::Relaxed).to_string());
    let endless = post(async || {
        let more = stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[0; 16 * 1024])));
        Body::from_stream(more)
    });
    let redirect = post(async || Redirect::temporary("/elsewhere"));
    let collectors: [(&str, Option<MethodRouter>); 5] = [
        ("no connection: ", None),
        ("the answer has the status 500", Some(post(async || StatusCode::INTERNAL_SERVER_ERROR))),
        ("the answer has the status 503", Some(post(async || StatusCode::SERVICE_UNAVAILABLE))),
        ("the answer cannot be read: ", Some(endless)),
        ("the answer has the status 307", Some(redirect)),
    ];
    let runs = collectors.into_iter().map(async |(cause, answers)| {
        let router = |answers| Router::new().route("/v1/traces", answers).route("/elsewhere", elsewhere.clone());
        let listening = match answers {
            Some(answers) => Some(Listening::start(router(answers)).await),
            None => None,
        };
        let authority = listening.as_ref().map_or(down.to_string(), |listening| listening.authority().to_owned());
        let endpoint = format!("http://{authority}");
        let directory = tempfile::tempdir().unwrap();
        let mut local = Local::start(directory.path(), &settings(&endpoint)).await;
        assert_eq!(lost_spans(&local).await, 0);
        for _ in 0..REQUESTS {
            assert_eq!(local.api.get("/stats").await.status, 200);
        }
        assert_eq!(lost_spans_from(&local, 2 * REQUESTS).await, 2 * REQUESTS, "{cause}");
        assert_eq!(local.api.get("/stats").await.status, 200);
        local.log_until(cause).await;
        local.signal("TERM").await;
        let (code, log) = local.end().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("traces.lost_spans") && !log.contains("hunter2"), "{log}");
    });
    join_all(runs).await;
    assert_eq!(followed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn spans_are_sent_again_to_a_collector_that_was_busy_and_those_that_it_refuses_are_counted() {
    const REFUSED: u64 = 3;
    let bodies: Arc<Mutex<Vec<Bytes>>> = Arc::default();
    let kept = Arc::clone(&bodies);
    let take = async move |body: Bytes| {
        let mut bodies = kept.lock().unwrap();
        bodies.push(body);
        if bodies.len() < 3 {
            return (StatusCode::TOO_MANY_REQUESTS, Vec::new());
        }
        let partial =
            ExportTracePartialSuccess { rejected_spans: REFUSED.cast_signed(), error_message: "hunter3".into() };
        (StatusCode::OK, ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec())
    };
    let listening = Listening::start(Router::new().route("/v1/traces", post(take))).await;
    let endpoint = format!("http://{}", listening.authority());
    let directory = tempfile::tempdir().unwrap();
    let mut local = Local::start(directory.path(), &settings(&endpoint)).await;
    for _ in 0..REFUSED {
        assert_eq!(local.api.get("/stats").await.status, 200);
    }
    assert_eq!(lost_spans_from(&local, 1).await, REFUSED);
    local.log_until("the answer has the status 429").await;
    let bodies = bodies.lock().unwrap().clone();
    assert!(bodies[0] == bodies[1] && bodies[1] == bodies[2], "the same spans are sent again");
    assert!(ExportTraceServiceRequest::decode(bodies[2].clone()).is_ok());
}
