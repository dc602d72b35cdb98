//! The routes with their layers as one service, which uses a path as it is written.

use std::convert::Infallible;
#[cfg(feature = "local")]
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use axum::{BoxError, Router};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Uri;
use http::uri::PathAndQuery;
use tower::Service;

#[cfg(feature = "local")]
use super::metrics::Metrics;
use super::traces::Traces;

/// The routes with all their layers: one service for every transport.
///
/// A slash at the end of a path is ignored, and nothing else about a path is changed. A proxy that lets requests
/// through by their paths must read a path in the same way as this server.
#[derive(Debug, Clone)]
pub struct App {
    router: Router,
    #[cfg(feature = "local")]
    metrics: Option<Arc<Metrics>>,
}

impl App {
    /// The layers of a router run after its routing, so the router must be layered already.
    pub(super) fn new(layered: Router) -> Self {
        Self {
            router: layered,
            #[cfg(feature = "local")]
            metrics: None,
        }
    }

    /// The same service, whose connections are among these metrics.
    #[cfg(feature = "local")]
    pub(super) fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// The same service, whose requests are traced if there are traces.
    #[must_use]
    pub fn traced(mut self, traces: Option<&Traces>) -> Self {
        if let Some(traces) = traces {
            self.router = traces.requests(self.router);
        }
        self
    }

    /// The metrics, if there are some.
    #[cfg(feature = "local")]
    pub(super) fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.metrics.as_ref()
    }
}

impl<B> Service<Request<B>> for App
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(uri) = without_trailing_slash(request.uri()) {
            *request.uri_mut() = uri;
        }
        self.router.call(request).boxed()
    }
}

/// The URI without the slash at the end of its path, if there is one after other characters.
fn without_trailing_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty())?;
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}").parse(),
        None => path.parse::<PathAndQuery>(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path_and_query.ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trimmed(uri: &str) -> String {
        let uri: Uri = uri.parse().unwrap();
        without_trailing_slash(&uri).unwrap_or(uri).to_string()
    }

    #[test]
    fn one_slash_at_the_end_is_dropped_and_every_other_one_stays() {
        for (uri, expected) in [
            ("/health", "/health"),
            ("/health/", "/health"),
            ("/health//", "/health/"),
            ("/", "/"),
            ("//", "/"),
            ("//health/", "//health"),
            ("/documents//x/", "/documents//x"),
            ("/documents/todos/a%2F/", "/documents/todos/a%2F"),
            ("/stats/?x=/", "/stats?x=/"),
            ("/stats?x=/", "/stats?x=/"),
            ("http://localhost:3000/stats/", "http://localhost:3000/stats"),
        ] {
            assert_eq!(trimmed(uri), expected, "{uri}");
        }
    }
}
