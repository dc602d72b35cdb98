//! Watches the invocations of an instance: their fields in the log, and their metrics.

use std::sync::atomic::{AtomicBool, Ordering};

use lambda_runtime::Context;
use tracing::{Instrument as _, field};

use super::invocation::Invocation;
use super::metrics::Metrics;
use crate::config::Config;

/// Watches the invocations of one instance of a function.
#[derive(Debug)]
pub(super) struct Watch {
    is_cold: AtomicBool,
    metrics: Option<Metrics>,
}

impl Watch {
    pub(super) fn new(config: &Config, function_name: String) -> Self {
        let adapter = config.store.adapter.name();
        let metrics = config.metrics.namespace.clone();
        let metrics = metrics.map(|namespace| Metrics { namespace, function_name, adapter });
        Self { is_cold: AtomicBool::new(true), metrics }
    }

    /// Called when an invocation begins.
    pub(super) fn begin(&self, context: &Context) -> Invocation {
        Invocation {
            request_id: context.request_id.clone(),
            trace: context.xray_trace_id.clone(),
            is_cold_start: self.is_cold.swap(false, Ordering::Relaxed),
        }
    }

    /// Does the work of an invocation. All lines that are logged meanwhile name the invocation, and its metrics are
    /// counted.
    pub(super) async fn over<T>(&self, invocation: &Invocation, work: impl Future<Output = T>) -> T {
        // The span has the level of errors, so that its fields are there even if only errors are logged.
        let span = tracing::error_span!(
            "invocation",
            lambda.request_id = invocation.request_id,
            lambda.cold_start = invocation.is_cold_start,
            lambda.trace = invocation.trace,
            http.method = field::Empty,
            http.path = field::Empty,
            request.id = field::Empty,
            access.subject = field::Empty,
            access.tenant = field::Empty,
            client.id = field::Empty,
            operations.count = field::Empty,
            body.bytes = field::Empty,
            error.fields = field::Empty,
        );
        let work = work.instrument(span);
        match &self.metrics {
            Some(metrics) => metrics.count(invocation, work).await,
            None => work.await,
        }
    }
}
