//! Spans of the log and of the service, as far as traces have them too.
//!
//! The service opens a span of `tracing` for each group of pushes, because it knows nothing of OpenTelemetry. Here this
//! span becomes one of a trace, and calls of the store within it become its children.
//!
//! The routes record the tenant and the number of operations in the span that the lines of the log share. The span of
//! the request in its trace gets them here too.

use std::cell::RefCell;
use std::fmt::Debug;

use opentelemetry::trace::{TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{self, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::REQUEST_TARGET;
use crate::service::TRACE_TARGET;

/// The fields that become attributes, and the names of these.
const ATTRIBUTES: [(&str, &str); 3] = [
    ("access.tenant", "syncflow.tenant"),
    ("operations.count", "syncflow.operations"),
    ("pushes.count", "syncflow.pushes"),
];

/// Whether a span concerns traces.
pub(super) fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && [TRACE_TARGET, REQUEST_TARGET].contains(&metadata.target())
}

/// Makes spans of traces from those that the library opens for them.
#[derive(Debug)]
pub(super) struct Spans(pub(super) SdkTracer);

/// The span of a trace that belongs to one of `tracing`.
struct Traced {
    context: Context,
    is_group: bool,
}

/// A group of pushes of which no request is known that is traced.
struct Untraced {
    name: &'static str,
    attributes: Vec<KeyValue>,
}

thread_local! {
    /// The groups that this thread works on now, the innermost last.
    static ENTERED: RefCell<Vec<ContextGuard>> = const { RefCell::new(Vec::new()) };
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, spans: layer::Context<'_, S>) {
        let Some(span) = spans.span(id) else { return };
        if attributes.metadata().target() == TRACE_TARGET {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(Untraced { name: attributes.metadata().name(), attributes: fields.0 });
            return;
        }
        let context = Context::current();
        if context.span().span_context().is_sampled() {
            span.extensions_mut().insert(Traced { context, is_group: false });
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, spans: layer::Context<'_, S>) {
        let Some(span) = spans.span(id) else { return };
        if let Some(Traced { context, .. }) = span.extensions().get() {
            let mut fields = Fields::default();
            values.record(&mut fields);
            context.span().set_attributes(fields.0);
        }
    }

    /// The first request that is traced becomes the parent of its group. The others and the group are linked, so that
    /// each is found from the other one.
    fn on_follows_from(&self, id: &Id, follows: &Id, spans: layer::Context<'_, S>) {
        let (Some(group), Some(request)) = (spans.span(id), spans.span(follows)) else { return };
        let Some(request) = request.extensions().get().map(|traced: &Traced| traced.context.clone()) else { return };
        let mut extensions = group.extensions_mut();
        if let Some(Untraced { name, attributes }) = extensions.remove() {
            let span = self.0.span_builder(name).with_attributes(attributes).start_with_context(&self.0, &request);
            extensions.insert(Traced { context: request.with_span(span), is_group: true });
        } else if let Some(Traced { context: group, .. }) = extensions.get_mut() {
            group.span().add_link(request.span().span_context().clone(), Vec::new());
            request.span().add_link(group.span().span_context().clone(), Vec::new());
        }
    }

    fn on_enter(&self, id: &Id, spans: layer::Context<'_, S>) {
        if let Some(group) = group(id, &spans) {
            let entered = group.attach();
            ENTERED.with_borrow_mut(|groups| groups.push(entered));
        }
    }

    fn on_exit(&self, id: &Id, spans: layer::Context<'_, S>) {
        if group(id, &spans).is_some() {
            let left = ENTERED.with_borrow_mut(Vec::pop);
            drop(left);
        }
    }

    fn on_close(&self, id: Id, spans: layer::Context<'_, S>) {
        if let Some(group) = group(&id, &spans) {
            group.span().end();
        }
    }
}

/// The span in a trace of a group of pushes.
fn group<S: Subscriber + for<'a> LookupSpan<'a>>(id: &Id, spans: &layer::Context<'_, S>) -> Option<Context> {
    let span = spans.span(id)?;
    let extensions = span.extensions();
    let traced = extensions.get::<Traced>().filter(|traced| traced.is_group)?;
    Some(traced.context.clone())
}

/// The attributes of a span.
#[derive(Default)]
struct Fields(Vec<KeyValue>);

impl Fields {
    fn add(&mut self, field: &Field, value: impl FnOnce() -> opentelemetry::Value) {
        if let Some((_, name)) = ATTRIBUTES.iter().find(|(of_log, _)| *of_log == field.name()) {
            self.0.push(KeyValue::new(*name, value()));
        }
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, || i64::try_from(value).unwrap_or(i64::MAX).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, || format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
    use tracing::field;
    use tracing_subscriber::filter::filter_fn;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// The spans that have ended.
    #[derive(Debug, Clone, Default)]
    struct Ended(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Ended {
        fn on_start(&self, _: &mut Span, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().unwrap().push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn a_group_is_one_span_that_leads_to_all_its_requests_and_back() {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder().with_span_processor(ended.clone()).build();
        let tracer = provider.tracer("test");
        let subscriber = tracing_subscriber::registry().with(Spans(tracer.clone()).with_filter(filter_fn(is_traced)));
        tracing::subscriber::with_default(subscriber, || {
            let request = |name: &'static str| {
                let context = Context::new().with_span(tracer.start(name));
                let _attached = context.clone().attach();
                (context, tracing::error_span!(target: REQUEST_TARGET, "request", access.tenant = field::Empty))
            };
            let ((first, of_first), (second, of_second)) = (request("first"), request("second"));
            of_second.record("access.tenant", field::display("team"));
            let untraced = tracing::error_span!(target: REQUEST_TARGET, "request");
            let group = tracing::debug_span!(target: TRACE_TARGET, parent: None, "group", pushes.count = 3_usize);
            for request in [untraced, of_first, of_second] {
                group.follows_from(request.id());
            }
            {
                // The task of the second request does the work.
                let _attached = second.clone().attach();
                group.in_scope(|| drop(tracer.start("inside")));
                drop(tracer.start("outside"));
            }
            drop(group);
            first.span().end();
            second.span().end();
        });
        let spans = ended.0.lock().unwrap();
        let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["inside", "outside", "group", "first", "second"]);
        let [inside, outside, group, first, second] = spans.as_slice() else { panic!("five spans") };
        let id = |span: &SpanData| span.span_context.span_id();
        assert_eq!(
            [inside.parent_span_id, outside.parent_span_id, group.parent_span_id],
            [group, second, first].map(id)
        );
        let linked = |span: &SpanData| span.links.iter().map(|link| link.span_context.span_id()).collect::<Vec<_>>();
        assert_eq!((linked(group), linked(first), linked(second)), (vec![id(second)], vec![], vec![id(group)]));
        assert_eq!(group.attributes, [KeyValue::new("syncflow.pushes", 3_i64)]);
        assert_eq!(second.attributes, [KeyValue::new("syncflow.tenant", "team")]);
    }

    #[test]
    fn without_a_request_that_is_traced_there_is_no_span() {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder().with_span_processor(ended.clone()).build();
        let spans = Spans(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(spans.with_filter(filter_fn(is_traced)));
        tracing::subscriber::with_default(subscriber, || {
            let group = tracing::debug_span!(target: TRACE_TARGET, parent: None, "group");
            group.in_scope(|| assert!(!Context::current().has_active_span()));
        });
        assert_eq!(ended.0.lock().unwrap().len(), 0);
    }
}
