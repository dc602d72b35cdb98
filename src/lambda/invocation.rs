//! What is known of an invocation, and what is logged and counted of it.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderName, HeaderValue};
use lambda_runtime::Context;
use tracing::{Instrument as _, field};

use super::metrics::Metrics;
use crate::config::Config;

/// The header in which AWS passes a trace on.
pub(super) const TRACE: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Watches the invocations of one instance of a function.
#[derive(Debug)]
pub(super) struct Watch {
    is_cold: AtomicBool,
    metrics: Option<Metrics>,
}

/// One invocation.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    /// Lambda's own id of it.
    pub(super) request_id: String,
    /// The trace header of X-Ray, where there is one.
    pub(super) trace: Option<String>,
    /// Whether it is the first of this instance, which opens the store.
    pub(super) is_cold_start: bool,
}

impl Watch {
    pub(super) fn new(config: &Config, function_name: String) -> Self {
        let adapter = config.store.adapter.name();
        let metrics = config.metrics.namespace.clone();
        let metrics = metrics.map(|namespace| Metrics { namespace, function_name, adapter });
        Self { is_cold: AtomicBool::new(true), metrics }
    }

    /// Notes that an invocation begins.
    pub(super) fn begin(&self, context: &Context) -> Invocation {
        Invocation {
            request_id: context.request_id.clone(),
            trace: context.xray_trace_id.clone(),
            is_cold_start: self.is_cold.swap(false, Ordering::Relaxed),
        }
    }

    /// Does the work of an invocation: every line that is logged meanwhile names the invocation, and what happens is
    /// counted.
    pub(super) async fn over<T>(&self, invocation: &Invocation, work: impl Future<Output = T>) -> T {
        // Of the level of errors, which need these fields most where nothing else is logged.
        let span = tracing::error_span!(
            "invocation",
            lambda.request_id = invocation.request_id,
            lambda.cold_start = invocation.is_cold_start,
            lambda.trace = invocation.trace,
            http.method = field::Empty,
            http.path = field::Empty,
            request.id = field::Empty,
            access.subject = field::Empty,
        );
        let work = work.instrument(span);
        match &self.metrics {
            Some(metrics) => metrics.count(invocation, work).await,
            None => work.await,
        }
    }
}

impl Invocation {
    /// The trace as the answer passes it on.
    pub(super) fn trace_header(&self) -> Option<HeaderValue> {
        self.trace.as_ref().and_then(|trace| HeaderValue::from_str(trace).ok())
    }
}
