//! The traces of a process: their spans, and where they are put in.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::export::{Collector, Exporter, Exports, Queue};
use super::requests::TraceRequests;
use super::spans::{Spans, is_traced};
use super::store::TracedStore;
use crate::config::{ConfigError, TracesConfig};
use crate::limits::runtime::{TRACE_ATTRIBUTES_MAX_ENTRIES, TRACE_LINKS_MAX_ENTRIES};
use crate::store::Store;

/// The traces of a process.
#[derive(Debug)]
pub struct Traces {
    tracer: SdkTracer,
    /// It waits here until it may begin.
    exporter: Option<Exporter>,
    lost_spans: Arc<AtomicU64>,
}

impl Traces {
    /// Reads where traces go. `None` if the settings name no collector.
    ///
    /// # Errors
    /// If they cannot be sent there safely. The error names the variable to check.
    pub fn open(config: &TracesConfig) -> Result<Option<Self>, ConfigError> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        let collector = Collector::new(endpoint, config.headers.as_ref())?;
        let resource = Resource::builder_empty()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let (queue, exporter) = Queue::to(collector, &resource);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(queue)
            .with_sampler(Sampler::parent_based(Sampler::TraceIdRatioBased(config.ratio)))
            .with_max_attributes_per_span(TRACE_ATTRIBUTES_MAX_ENTRIES)
            .with_max_links_per_span(TRACE_LINKS_MAX_ENTRIES)
            .with_max_events_per_span(0)
            .with_resource(resource)
            .build();
        let scope = InstrumentationScope::builder("syncflow-server").with_version(env!("CARGO_PKG_VERSION")).build();
        let lost_spans = exporter.lost();
        Ok(Some(Self { tracer: provider.tracer_with_scope(scope), exporter: Some(exporter), lost_spans }))
    }

    /// Begins to send spans. This must be called within Tokio.
    pub fn export(&mut self) -> Exports {
        Exports::begin(self.exporter.take())
    }

    /// How many spans were lost, because they found no room or the collector did not take them.
    #[must_use]
    pub fn lost_spans(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost_spans)
    }

    /// A store whose calls are traced.
    #[must_use]
    pub fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(TracedStore::new(store, self.tracer.clone()))
    }

    /// The same routes, whose requests are traced.
    pub(in crate::runtime) fn requests(&self, routes: Router) -> Router {
        routes.layer(TraceRequests(self.tracer.clone()))
    }

    /// Makes spans of traces from those that the library opens for them.
    pub(in crate::runtime) fn spans<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        Spans(self.tracer.clone()).with_filter(filter_fn(is_traced).with_max_level_hint(LevelFilter::DEBUG))
    }
}
