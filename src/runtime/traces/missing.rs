//! A build without traces.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use tracing_subscriber::layer::Identity;

use crate::config::{ConfigError, TracesConfig};
use crate::store::Store;

/// The traces of a process. This build has none.
#[derive(Debug)]
pub enum Traces {}

/// The sending of spans. This build sends none.
#[derive(Debug)]
pub enum Exports {}

impl Traces {
    /// Reads where traces go. `None` if the settings name no collector.
    ///
    /// # Errors
    /// If they name one, because this build cannot send traces.
    pub fn open(config: &TracesConfig) -> Result<Option<Self>, ConfigError> {
        const PROBLEM: &str = "this build sends no traces; build it with the feature traces";
        match config.endpoint {
            None => Ok(None),
            Some(_) => Err(ConfigError::new("OTEL_EXPORTER_OTLP_ENDPOINT", PROBLEM)),
        }
    }

    /// Begins to send spans. This must be called within Tokio.
    pub fn export(&mut self) -> Exports {
        match *self {}
    }

    /// How many spans were lost, because they found no room or the collector did not take them.
    #[must_use]
    pub fn lost_spans(&self) -> Arc<AtomicU64> {
        match *self {}
    }

    /// A store whose calls are traced.
    #[must_use]
    pub fn store(&self, _: Arc<dyn Store>) -> Arc<dyn Store> {
        match *self {}
    }

    pub(in crate::runtime) fn requests(&self, _: Router) -> Router {
        match *self {}
    }

    pub(in crate::runtime) fn spans(&self) -> Identity {
        match *self {}
    }
}

impl Exports {
    /// Sends the spans that wait, within a short time.
    #[expect(clippy::unused_async, reason = "a build with traces waits here")]
    pub async fn finish(self) {
        match self {}
    }
}
