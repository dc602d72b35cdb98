//! A layer that counts requests by their routes.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use super::{Counted, Recorder};
use crate::api::waiting::holdings::MayWait;

/// Counts requests, if there is something that records them.
#[derive(Debug, Clone)]
pub(crate) struct CountRequests(pub(crate) Option<Arc<dyn Recorder>>);

impl<S> Layer<S> for CountRequests {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, recorder: self.0.clone() }
    }
}

/// A service whose requests are counted.
#[derive(Debug, Clone)]
pub(crate) struct Counting<S> {
    inner: S,
    recorder: Option<Arc<dyn Recorder>>,
}

impl<S, B> Service<Request> for Counting<S>
where
    S: Service<Request, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Some(recorder) = self.recorder.clone() else { return self.inner.call(request).boxed() };
        let exchange = Exchange {
            recorder,
            route: request.extensions().get().cloned(),
            method: method_of(&request),
            began: Instant::now(),
            status: None,
            may_wait: false,
        };
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
        .boxed()
    }
}

/// The method of a request. A client can invent any, so unusual ones are counted together.
fn method_of(request: &Request) -> &'static str {
    ["GET", "HEAD", "OPTIONS", "POST"].into_iter().find(|known| request.method() == known).unwrap_or("other")
}

/// A request that is counted when it is answered, or when its client goes away.
struct Exchange {
    recorder: Arc<dyn Recorder>,
    route: Option<MatchedPath>,
    method: &'static str,
    began: Instant,
    status: Option<u16>,
    may_wait: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.recorder.record(Counted::Request {
            route: self.route.as_ref().map_or("", MatchedPath::as_str),
            method: self.method,
            status: self.status,
            took: self.began.elapsed(),
            may_wait: self.may_wait,
        });
    }
}
