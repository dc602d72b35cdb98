//! A collector that keeps what it receives, and what a test reads of it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use super::super::{PATIENCE, PAUSE};
use crate::lambda::http::Listening;

/// The trace of a caller.
pub(super) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The span of the caller.
pub(super) const CALLER: &str = "00f067aa0ba902b7";

/// The header of a caller that traces the request.
pub(super) fn traceparent() -> String {
    format!("00-{TRACE}-{CALLER}-01")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Requests with their headers.
type Received = Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>;

/// A collector that keeps what it receives.
pub(super) struct Collector {
    listening: Listening,
    pub(super) received: Received,
}

impl Collector {
    pub(super) async fn start() -> Self {
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

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}/otlp", self.listening.authority())
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|(_, request)| &request.resource_spans);
        resources.flat_map(|spans| &spans.scope_spans).flat_map(|spans| spans.spans.clone()).collect()
    }

    /// Waits for a span with this name.
    pub(super) async fn span(&self, name: &str) -> Span {
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

pub(super) fn value(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

pub(super) fn attribute(span: &Span, name: &str) -> Option<String> {
    value(&span.attributes, name)
}
