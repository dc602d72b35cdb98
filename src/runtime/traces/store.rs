//! A store whose calls are spans.

use std::sync::Arc;

use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::store::{ErrorKind, Result, Store, delegate_store};

/// Passes every call on to a store, with a span if it belongs to a request that is traced.
#[derive(Debug)]
pub(super) struct TracedStore {
    store: Arc<dyn Store>,
    tracer: SdkTracer,
}

impl TracedStore {
    pub(super) fn new(store: Arc<dyn Store>, tracer: SdkTracer) -> Self {
        Self { store, tracer }
    }

    /// The span of a call that begins. Calls that belong to no request have none, such as those of a watcher.
    fn span(&self, method: &'static str) -> Option<Span> {
        Context::map_current(|parent| {
            if !parent.span().span_context().is_sampled() {
                return None;
            }
            let store = self.store.name();
            let span = self.tracer.span_builder(format!("{store} {method}")).with_kind(SpanKind::Client);
            let span = span.with_attributes([
                KeyValue::new("db.system.name", system(store)),
                KeyValue::new("db.operation.name", method),
            ]);
            Some(span.start_with_context(&self.tracer, parent))
        })
    }
}

/// The name that the conventions of OpenTelemetry give to a store.
fn system(store: &'static str) -> &'static str {
    if store == "postgres" { "postgresql" } else { store }
}

/// A call in progress. If it is dropped before the answer, it was cancelled because its time was over.
struct Call {
    span: Span,
    problem: Option<&'static str>,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(problem) = self.problem {
            self.span.set_attribute(KeyValue::new("error.type", problem));
            self.span.set_status(Status::error(""));
        }
        self.span.end();
    }
}

async fn traced<T>(store: &TracedStore, method: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
    let Some(span) = store.span(method) else { return call.await };
    let mut traced = Call { span, problem: Some("canceled") };
    let answer = call.await;
    traced.problem = answer.as_ref().err().map(|error| word(error.kind()));
    answer
}

/// The kind of an error. Its text may have a part of a document.
fn word(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Busy => "busy",
        ErrorKind::TooSlow => "too slow",
        ErrorKind::Failed => "failed",
    }
}

impl Store for TracedStore {
    delegate_store!(|this| &*this.store, around traced; all);
}
