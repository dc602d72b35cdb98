//! The layers around the routes, in the order in which a request passes them.

mod callers;
mod inflate;
mod pieces;
mod unread_body;

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, StatusCode};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::map_request_body::MapRequestBodyLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_http::validate_request::ValidateRequestHeaderLayer;
use tracing::{Span, field};

use self::callers::Callers;
use self::inflate::inflate;
use self::pieces::in_pieces;
use self::unread_body::finish_body;
use super::access::rates::{Rates, check_rate};
use super::addresses::Addresses;
use super::app::App;
use super::memory::{Memory, note_size, within_memory};
use super::metrics::CountRequests;
#[cfg(feature = "local")]
use super::metrics::Metrics;
use super::traces::{REQUEST_TARGET, TraceName};
use crate::api;
use crate::config::{AllowedOrigins, HttpConfig};
use crate::limits::runtime::{
    LOG_PATH_MAX_CHARACTERS, PREFLIGHT_KEPT_MAX_SECONDS, REQUEST_ID_MAX_BYTES, WAIT_MARGIN_SECONDS,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers that a page may send in addition to those that are always allowed.
///
/// They are listed because `*` does not include `authorization`. Libraries for tracing add the last two.
const ALLOWED_HEADERS: [HeaderName; 9] = [
    AUTHORIZATION,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    IF_NONE_MATCH,
    REQUEST_ID,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("x-syncflow-tenant"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// Puts the layers around the routes.
///
/// A layer of `from_fn` copies all layers within it for every request. So only a layer that waits for something after
/// the routes, or before them, is made in this way.
#[must_use]
pub fn app(routes: Router, config: &HttpConfig) -> App {
    layered(routes, config, Memory::new(config.memory_max_bytes), CountRequests(None))
}

/// The same, with the requests, their memory and their connections among the metrics.
#[cfg(feature = "local")]
#[must_use]
pub fn measured_app(routes: Router, config: &HttpConfig, metrics: &Arc<Metrics>) -> App {
    let memory = Memory::new(config.memory_max_bytes);
    let (held, all) = (Arc::clone(&memory), Arc::clone(&memory));
    metrics.watch("memory_in_flight_bytes", "Memory that requests and answers hold", move || held.held_bytes());
    metrics.watch("memory_max_bytes", "The most memory that they may hold", {
        let max_bytes = config.memory_max_bytes;
        move || max_bytes
    });
    metrics.watch("requests_in_flight", "Requests that are being served", move || all.requests_in_flight());
    layered(routes, config, memory, CountRequests(Some(Arc::clone(metrics) as _))).with_metrics(Arc::clone(metrics))
}

fn layered(routes: Router, config: &HttpConfig, memory: Arc<Memory>, count: CountRequests) -> App {
    let body_max_bytes = config.body_max_bytes;
    let wait_max = config.request_timeout.saturating_sub(Duration::from_secs(WAIT_MARGIN_SECONDS.into()));
    let rates = config.rates.per_address.map(|per_second| Arc::new(Rates::new(per_second)));
    let callers = Arc::new(Callers::new(config));
    let layers = ServiceBuilder::new()
        .layer(count)
        .map_request(forget_odd_request_id)
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span_of)
                .on_request(())
                .on_response(log_access)
                .on_body_chunk(())
                .on_eos(())
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(from_fn(complete))
        .layer(checked(move |request| callers.admit(request)))
        .layer(cors(&config.allowed_origins))
        .layer(checked(move |request| check_rate(rates.as_deref(), request)))
        .layer(from_fn_with_state((memory, wait_max), within_memory))
        .map_response(in_shape)
        .map_response(plain_if_nothing_is_acceptable)
        .layer(CompressionLayer::new())
        .map_response(keep_status)
        .map_response(in_pieces)
        .map_response(note_size)
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, config.request_timeout))
        .layer(RequestBodyLimitLayer::new(body_max_bytes))
        .layer(MapRequestBodyLayer::new(Body::new))
        .layer(checked(move |request| inflate(request, body_max_bytes)));
    App::new(routes.layer(layers))
}

/// A layer that checks or changes requests, and answers those that it refuses.
#[expect(clippy::result_large_err, reason = "tower-http gives the answer this type")]
fn checked<E: IntoResponse>(
    check: impl Fn(&mut Request) -> Result<(), E> + Clone,
) -> ValidateRequestHeaderLayer<impl Fn(&mut Request) -> Result<(), Response> + Clone> {
    ValidateRequestHeaderLayer::custom(move |request: &mut Request| check(request).map_err(E::into_response))
}

/// The status that the routes answered with.
#[derive(Clone, Copy)]
struct AnsweredStatus(StatusCode);

fn keep_status<B>(mut response: Response<B>) -> Response<B> {
    let status = AnsweredStatus(response.status());
    response.extensions_mut().insert(status);
    response
}

/// Removes the 406 that the compression layer sets if the client refuses every content coding. The work is already done
/// at this point, and the client would do it again.
fn plain_if_nothing_is_acceptable<B>(mut response: Response<B>) -> Response<B> {
    if let Some(AnsweredStatus(status)) = response.extensions().get().copied() {
        *response.status_mut() = status;
    }
    response
}

/// Gives the bare status of a layer the shape of every other error.
fn in_shape<B>(response: Response<B>) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    api::in_shape(response.map(Body::new))
}

/// Drops a client's request id that is not suitable for logs, so that the request gets a new one.
fn forget_odd_request_id(mut request: Request) -> Request {
    let is_odd = |id: &HeaderValue| id.len() > REQUEST_ID_MAX_BYTES || id.to_str().is_err() || id.is_empty();
    if request.headers().get(REQUEST_ID).is_some_and(is_odd) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// A span that an entry point has opened around a request, with its own fields and room for those of `span_of`. It is
/// used in place of a new span, because a log line shows only one.
#[derive(Debug, Clone)]
pub struct OpenSpan(pub Span);

/// The fields of every line that is logged during a request. They never include its body, query or credentials.
///
/// The span has the level of errors, so that its fields are there even if only errors are logged.
fn span_of(request: &Request) -> Span {
    let request_id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let (method, path) = (cut(request.method().as_str()), cut(request.uri().path()));
    if let Some(OpenSpan(span)) = request.extensions().get() {
        span.record("http.method", field::display(&method));
        span.record("http.path", field::display(&path));
        span.record("request.id", request_id);
        return span.clone();
    }
    let addresses = request.extensions().get::<Addresses>();
    tracing::error_span!(
        target: REQUEST_TARGET,
        "request",
        http.method = %method,
        http.path = %path,
        request.id = request_id,
        trace.id = request.extensions().get::<TraceName>().map(|trace| field::display(&trace.0)),
        peer.address = addresses.map(|addresses| field::display(addresses.peer)),
        client.address = addresses.map(|addresses| field::display(addresses.client)),
        access.subject = field::Empty,
        access.tenant = field::Empty,
        client.id = field::Empty,
        operations.count = field::Empty,
        body.bytes = field::Empty,
        error.fields = field::Empty,
    )
}

/// The beginning of a text that a client sent.
fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LOG_PATH_MAX_CHARACTERS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

fn log_access<B: HttpBody>(response: &Response<B>, latency: Duration, _: &Span) {
    let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    // The size of an answer that is compressed while it is sent is not known yet.
    let answer_bytes = response.body().size_hint().exact();
    let status = response.status().as_u16();
    tracing::info!(http.status = status, http.latency_ms = latency_ms, answer.bytes = answer_bytes, "answered");
}

/// Reads the rest of the request's body, and completes the answer.
///
/// Browsers must not guess another type than `Content-Type`. Caches must not give the answer to another user, nor use
/// it again without asking the server. The CORS layer answers every `OPTIONS` itself, with an empty 200.
async fn complete(request: Request, next: Next) -> Response {
    let can_be_kept = [Method::GET, Method::HEAD].contains(request.method());
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = finish_body(request, next).await;
    if is_preflight && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    let kept = if can_be_kept { "private, no-cache" } else { "no-store" };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(kept));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn cors(allowed: &AllowedOrigins) -> CorsLayer {
    let origin = match allowed.clone() {
        AllowedOrigins::Any => AllowOrigin::any(),
        some => AllowOrigin::predicate(move |origin, _| some.contains(origin)),
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers(ALLOWED_HEADERS)
        .expose_headers([ETAG, REQUEST_ID, RETRY_AFTER, WWW_AUTHENTICATE])
        .max_age(Duration::from_secs(PREFLIGHT_KEPT_MAX_SECONDS))
}

fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "without a text".to_owned(), |text| text.to_string()),
    };
    api::internal_error(format!("panic: {text}"))
}
