//! An invocation of a function, with its ids.

use http::{HeaderName, HeaderValue};

/// The header in which AWS sends the trace id.
pub(super) const TRACE: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// One invocation.
#[derive(Debug, Clone)]
pub(super) struct Invocation {
    /// The id that Lambda gave the invocation.
    pub(super) request_id: String,
    /// The trace header of X-Ray, if there is one.
    pub(super) trace: Option<String>,
    /// Whether this is the first invocation of its instance, which opens the store.
    pub(super) is_cold_start: bool,
}

impl Invocation {
    /// The trace header for the answer.
    pub(super) fn trace_header(&self) -> Option<HeaderValue> {
        self.trace.as_ref().and_then(|trace| HeaderValue::from_str(trace).ok())
    }
}
