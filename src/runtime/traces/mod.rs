//! Traces of requests, which are sent to a collector of OpenTelemetry.
//!
//! A request has a span, and so has each call of the store within it. The pushes of a group share one span, because
//! they share one commit. A span of a request ends when its answer begins, so a stream of events does not keep it open.
//! A pull that waits for changes keeps its span open for the time of the request.
//!
//! No span has a query, a path, an id, a token or a part of a document.

#[cfg(feature = "traces")]
mod enabled;
#[cfg(feature = "traces")]
mod export;
#[cfg(not(feature = "traces"))]
mod missing;
#[cfg(feature = "traces")]
mod requests;
#[cfg(feature = "traces")]
mod spans;
#[cfg(feature = "traces")]
mod store;
#[cfg(feature = "traces")]
mod traceparent;

#[cfg(feature = "traces")]
pub use self::enabled::Traces;
#[cfg(feature = "traces")]
pub use self::export::Exports;
#[cfg(not(feature = "traces"))]
pub use self::missing::{Exports, Traces};

/// The target of the span that the lines of a request share in the log.
pub(super) const REQUEST_TARGET: &str = "syncflow_server::runtime::layers";

/// The trace of a request, for the lines of the log. It is an extension of the request.
#[derive(Debug, Clone)]
pub(super) struct TraceName(pub(super) String);
