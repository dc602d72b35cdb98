//! A layer that gives each request a span, which continues the trace of its caller.

use std::task::{Context as TaskContext, Poll};

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Version;
use opentelemetry::trace::{FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use tower::{Layer, Service};

use super::TraceName;
use super::traceparent::caller;
use crate::api::waiting::holdings::MayWait;

/// Gives each request a span.
#[derive(Debug, Clone)]
pub(super) struct TraceRequests(pub(super) SdkTracer);

impl<S> Layer<S> for TraceRequests {
    type Service = Tracing<S>;

    fn layer(&self, inner: S) -> Tracing<S> {
        Tracing { inner, tracer: self.0.clone() }
    }
}

/// A service whose requests have spans.
#[derive(Debug, Clone)]
pub(super) struct Tracing<S> {
    inner: S,
    tracer: SdkTracer,
}

impl<S, B> Service<Request> for Tracing<S>
where
    S: Service<Request, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let context = span_of(&self.tracer, &request);
        if !context.span().span_context().is_sampled() {
            return self.inner.call(request).boxed();
        }
        let name = TraceName(context.span().span_context().trace_id().to_string());
        request.extensions_mut().insert(name);
        let exchange = Exchange { context: context.clone(), status: None, may_wait: false };
        let answering = self.inner.call(request);
        async move {
            // All of it moves in here, so that it is dropped at the end.
            let mut exchange = exchange;
            let answered = answering.await;
            if let Ok(response) = &answered {
                exchange.status = Some(response.status().as_u16());
                exchange.may_wait = response.extensions().get::<MayWait>().is_some();
            }
            answered
        }
        .with_context(context)
        .boxed()
    }
}

/// The span of a request, named after its method and the pattern of its route. Its path may have the id of a document.
fn span_of(tracer: &SdkTracer, request: &Request) -> Context {
    let parent = match caller(request.headers()) {
        Some(caller) => Context::new().with_remote_span_context(caller),
        None => Context::new(),
    };
    let method = method_of(request);
    let mut attributes = vec![KeyValue::new("http.request.method", method.unwrap_or("_OTHER"))];
    attributes.extend(version_of(request).map(|version| KeyValue::new("network.protocol.version", version)));
    let method = method.unwrap_or("HTTP");
    let name = match request.extensions().get::<MatchedPath>() {
        Some(route) => {
            attributes.push(KeyValue::new("http.route", route.as_str().to_owned()));
            format!("{method} {}", route.as_str())
        }
        None => method.to_owned(),
    };
    let span = tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
    parent.with_span(span.start_with_context(tracer, &parent))
}

/// The method of a request, if it is a usual one. A client can invent any.
fn method_of(request: &Request) -> Option<&'static str> {
    ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"].into_iter().find(|known| request.method() == known)
}

fn version_of(request: &Request) -> Option<&'static str> {
    match request.version() {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

/// A request whose span ends when its answer begins, or when its client goes away.
struct Exchange {
    context: Context,
    status: Option<u16>,
    may_wait: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let span = self.context.span();
        match self.status {
            Some(status) => {
                span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
                if status >= 500 {
                    span.set_attribute(KeyValue::new("error.type", status.to_string()));
                    span.set_status(Status::error(""));
                }
            }
            None => span.set_attribute(KeyValue::new("error.type", "canceled")),
        }
        if self.may_wait {
            span.set_attribute(KeyValue::new("syncflow.may_wait", true));
        }
        span.end();
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

    use super::*;

    fn trace_of(ratio: f64, traceparent: &str) -> (String, bool) {
        let sampler = Sampler::parent_based(Sampler::TraceIdRatioBased(ratio));
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let request = Request::get("/stats").header("traceparent", traceparent).body(Body::empty()).unwrap();
        let context = span_of(&provider.tracer("test"), &request);
        let span = context.span();
        (span.span_context().trace_id().to_string(), span.span_context().is_sampled())
    }

    #[test]
    fn the_caller_decides_and_without_one_the_ratio_does() {
        let of_caller = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (flags, is_sampled) in [("00", false), ("01", true)] {
            for ratio in [0.0, 1.0] {
                let traceparent = format!("00-{of_caller}-00f067aa0ba902b7-{flags}");
                assert_eq!(trace_of(ratio, &traceparent), (of_caller.to_owned(), is_sampled));
            }
        }
        for odd in ["", "00", "01-", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-x-y-z"] {
            let (new, is_sampled) = trace_of(1.0, odd);
            assert!(new.len() == 32 && new.chars().any(|digit| digit != '0') && is_sampled, "{odd}");
            assert!(!trace_of(0.0, odd).1, "{odd}");
        }
    }
}
