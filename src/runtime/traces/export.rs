//! Sends spans that have ended to the collector. They wait in a bounded queue, and no request waits for them.

use std::future::pending;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use opentelemetry::Context;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use percent_encoding::percent_decode_str;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::config::{ConfigError, Secret};
use crate::limits::runtime::{
    TRACE_ANSWER_MAX_BYTES, TRACE_END_TIME_MAX_MS, TRACE_EXPORT_MAX_ATTEMPTS, TRACE_EXPORT_TIME_MAX_MS, TRACE_PAUSE_MS,
    TRACE_QUEUE_MAX_ENTRIES, TRACE_WARNING_PAUSE_MS,
};
use crate::runtime::client::Remote;

/// The path for traces below the URL of a collector.
const PATH: &str = "/v1/traces";

/// Spans that wait to be sent.
#[derive(Debug)]
pub(super) struct Queue {
    spans: mpsc::Sender<SpanData>,
    /// How many spans were lost, here or on their way to the collector.
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// A queue, and the task that empties it.
    pub(super) fn to(collector: Collector, resource: &Resource) -> (Self, Exporter) {
        let (sender, spans) = mpsc::channel(TRACE_QUEUE_MAX_ENTRIES);
        let lost = Arc::new(AtomicU64::new(0));
        let queue = Self { spans: sender, lost: Arc::clone(&lost) };
        let resource = ResourceAttributesWithSchema::from(resource);
        (queue, Exporter { spans, lost, told: 0, collector, resource, warned_at: None })
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// The task that empties the queue has an end of its own.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The place that spans are sent to.
#[derive(Debug)]
pub(super) struct Collector {
    remote: Remote,
    path: Uri,
    headers: HeaderMap,
}

impl Collector {
    /// Reads the URL and the headers of the settings.
    pub(super) fn new(endpoint: &str, headers: Option<&Secret>) -> Result<Self, ConfigError> {
        const RULE: &str = "must be a URL such as https://collector.example.com:4318 without a query; http is for this \
                            machine alone";
        let wrong = || ConfigError::new("OTEL_EXPORTER_OTLP_ENDPOINT", RULE);
        let remote = Remote::parse(endpoint).filter(|remote| !remote.path().contains('?')).ok_or_else(wrong)?;
        let path = format!("{}{PATH}", remote.path().trim_end_matches('/')).parse().map_err(|_| wrong())?;
        let mut read = HeaderMap::new();
        if let Some(secret) = headers {
            read = parse_headers(secret.reveal()).ok_or_else(|| {
                let variable = secret.variable().unwrap_or("OTEL_EXPORTER_OTLP_HEADERS");
                ConfigError::new(variable, "must be name=value, with commas between them and values encoded as in URLs")
            })?;
        }
        read.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        Ok(Self { remote, path, headers: read })
    }

    /// Sends spans once. Returns how many the collector refused.
    async fn send(&self, spans: Bytes) -> Result<u64, Failure> {
        let mut request = Request::new(Full::new(spans));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        let sending = self.remote.send(request, TRACE_ANSWER_MAX_BYTES);
        let answer = timeout(Duration::from_millis(TRACE_EXPORT_TIME_MAX_MS), sending).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        let answer = answer.map_err(|cause| Failure { cause, is_final: false })?;
        if !answer.status().is_success() {
            let cause = format!("the answer has the status {}", answer.status().as_u16());
            return Err(Failure { cause, is_final: !may_work_later(answer.status()) });
        }
        // An answer in another form is one of a collector that took everything.
        let answer = ExportTraceServiceResponse::decode(answer.into_body()).unwrap_or_default();
        let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or_default())
    }
}

/// The statuses after which the protocol lets a client try again.
fn may_work_later(status: StatusCode) -> bool {
    [429, 502, 503, 504].contains(&status.as_u16())
}

/// Headers as the specification of OpenTelemetry writes them in a variable.
fn parse_headers(text: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let name: HeaderName = name.trim().parse().ok()?;
        let value: Vec<u8> = percent_decode_str(value.trim()).collect();
        let mut value = HeaderValue::from_bytes(&value).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Some(headers)
}

/// Why spans could not be sent.
#[derive(Debug)]
struct Failure {
    cause: String,
    /// Whether the same spans would fail again.
    is_final: bool,
}

/// Empties the queue.
#[derive(Debug)]
pub(super) struct Exporter {
    spans: mpsc::Receiver<SpanData>,
    lost: Arc<AtomicU64>,
    /// How many lost spans the log has told of.
    told: u64,
    collector: Collector,
    resource: ResourceAttributesWithSchema,
    /// When the log last said that spans could not be sent.
    warned_at: Option<Instant>,
}

impl Exporter {
    /// How many spans were lost. It grows as long as the process runs.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Sends spans until it is told to stop, and then those that wait.
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut spans = Vec::new();
        while !is_stopped(&stop) {
            tokio::select! {
                () = self.collect(&mut spans) => {}
                () = stopped(&mut stop) => {}
            }
            self.send(mem::take(&mut spans), &mut stop).await;
        }
        self.spans.close();
        while self.spans.recv_many(&mut spans, TRACE_QUEUE_MAX_ENTRIES).await > 0 {
            self.send(mem::take(&mut spans), &mut stop).await;
        }
        if self.lost.load(Ordering::Relaxed) > self.told {
            self.warned_at = None;
            self.warn("the server ended");
        }
    }

    /// Waits for a span, and then for a while for others.
    async fn collect(&mut self, spans: &mut Vec<SpanData>) {
        if self.spans.recv_many(spans, TRACE_QUEUE_MAX_ENTRIES).await == 0 {
            // No span can come any more.
            return pending().await;
        }
        let others = async {
            while spans.len() < TRACE_QUEUE_MAX_ENTRIES {
                let missing = TRACE_QUEUE_MAX_ENTRIES - spans.len();
                if self.spans.recv_many(spans, missing).await == 0 {
                    break;
                }
            }
        };
        // If the time is over, fewer are sent.
        let _ = timeout(Duration::from_millis(TRACE_PAUSE_MS), others).await;
    }

    /// Sends spans, some times if the collector cannot take them.
    async fn send(&mut self, spans: Vec<SpanData>, stop: &mut watch::Receiver<bool>) {
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let body = Bytes::from(ExportTraceServiceRequest { resource_spans }.encode_to_vec());
        for attempt in 1..=TRACE_EXPORT_MAX_ATTEMPTS {
            let failure = match self.collector.send(body.clone()).await {
                Ok(0) if self.lost.load(Ordering::Relaxed) == self.told => return,
                Ok(refused) => {
                    self.lost.fetch_add(refused, Ordering::Relaxed);
                    let cause =
                        if refused > 0 { "the collector refused them" } else { "they could not be sent in time" };
                    return self.warn(cause);
                }
                Err(failure) => failure,
            };
            let is_last = failure.is_final || attempt == TRACE_EXPORT_MAX_ATTEMPTS || is_stopped(stop);
            if is_last {
                self.lost.fetch_add(count, Ordering::Relaxed);
            }
            self.warn(&failure.cause);
            if is_last {
                return;
            }
            let pause = Duration::from_millis(TRACE_PAUSE_MS << (attempt - 1));
            tokio::select! {
                () = sleep(pause) => {}
                () = stopped(stop) => {}
            }
        }
    }

    /// Says in the log that spans could not be sent, unless it has just done so.
    fn warn(&mut self, cause: &str) {
        let pause = Duration::from_millis(TRACE_WARNING_PAUSE_MS);
        if self.warned_at.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.warned_at = Some(Instant::now());
        let lost = self.lost.load(Ordering::Relaxed);
        let untold = lost - mem::replace(&mut self.told, lost);
        tracing::warn!(error.cause = cause, traces.lost_spans = untold, "spans of traces could not be sent");
    }
}

/// Whether the task was told to stop, or nothing can tell it any more.
fn is_stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

/// Completes when the task is told to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nothing can tell it any more.
    let _ = stop.wait_for(|is_told| *is_told).await;
}

/// The sending of spans, while the process runs.
#[derive(Debug)]
pub struct Exports {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Exports {
    /// Begins to empty a queue. This must be called within Tokio.
    pub(super) fn begin(exporter: Option<Exporter>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            if let Some(exporter) = exporter {
                exporter.run(stopped).await;
            }
        });
        Self { stop, task }
    }

    /// Sends the spans that wait, within a short time.
    pub async fn finish(mut self) {
        // An error means that the task has ended already.
        let _ = self.stop.send(true);
        if timeout(Duration::from_millis(TRACE_END_TIME_MAX_MS), &mut self.task).await.is_err() {
            self.task.abort();
            tracing::warn!("spans of traces that waited at the end are lost, since the collector took too long");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_to_the_path_for_traces_below_the_url_over_an_encrypted_connection() {
        let path = |url: &str| Collector::new(url, None).map(|collector| collector.path.to_string());
        for (url, expected) in [
            ("https://c.example:4318", "/v1/traces"),
            ("https://c.example/", "/v1/traces"),
            ("https://c.example/otlp/", "/otlp/v1/traces"),
            ("http://localhost:4318/a/b", "/a/b/v1/traces"),
        ] {
            assert_eq!(path(url), Ok(expected.to_owned()), "{url}");
        }
        for url in ["http://c.example:4318", "c.example:4318", "https://u:hunter2@c.example", "https://c.example?a=b"] {
            let line = path(url).unwrap_err().to_string();
            assert!(line.starts_with("OTEL_EXPORTER_OTLP_ENDPOINT: must be a URL"), "{line}");
            assert!(!line.contains("hunter2"), "{line}");
        }
    }

    #[test]
    fn headers_are_read_as_the_specification_writes_them_and_are_never_shown() {
        let secret = |text: &str| Secret::from(text.to_owned());
        let collector = |text: &str| Collector::new("https://c.example", Some(&secret(text)));
        let read = collector(" api-key = hunter2%3D%2C , x=a=b,,").unwrap();
        assert_eq!(["api-key", "x"].map(|name| read.headers[name].to_str().unwrap()), ["hunter2=,", "a=b"]);
        assert!(!format!("{read:?}").contains("hunter2"));
        assert_eq!(collector("content-type=x").unwrap().headers["content-type"], "application/x-protobuf");
        for text in ["hunter2", "a b=hunter2", "=hunter2", "x=hunter2%0A"] {
            let line = collector(text).unwrap_err().to_string();
            assert!(line.starts_with("OTEL_EXPORTER_OTLP_HEADERS: must be name=value"), "{line}");
            assert!(!line.contains("hunter2"), "{line}");
        }
    }

    #[test]
    fn spans_that_find_no_room_are_lost_and_counted() {
        let collector = Collector::new("https://c.example", None).unwrap();
        let (queue, exporter) = Queue::to(collector, &Resource::builder_empty().build());
        let lost = Arc::clone(&exporter.lost);
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = opentelemetry::trace::TracerProvider::tracer(&provider, "test");
        for _ in 0..TRACE_QUEUE_MAX_ENTRIES + 3 {
            drop(opentelemetry::trace::Tracer::start(&tracer, "span"));
        }
        assert_eq!((exporter.spans.len(), lost.load(Ordering::Relaxed)), (TRACE_QUEUE_MAX_ENTRIES, 3));
    }
}
