//! Reads the part of a request's body that the routes did not read.
//!
//! Many answers are known before the whole body has arrived, for example if the route does not exist or the body is too
//! large. If the server answered and closed the connection while the client was sending, the client's system would
//! discard the answer with the connection. To keep the connection open, the rest of the body must be read. So it is
//! read, within limits.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::limits::runtime::{DISCARD_TIME_MAX_SECONDS, DISCARDED_BODY_MAX_BYTES};

/// Reads the rest of a body. If it is too much, the answer says that the connection closes.
pub(super) async fn finish_body(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let is_http_1 = request.version() < Version::HTTP_2;
    let waits_for_a_word = request.headers().contains_key(EXPECT);
    let slot = Slot::default();
    let mut response = next.run(request.map(|body| Body::new(Lent::new(body, slot.clone())))).await;
    let is_finished = match slot.take() {
        None => true,
        // This client waits for `100 Continue` before it sends the body, which it did not receive. So it need not send
        // the body at all.
        Some(rest) if waits_for_a_word && !rest.was_asked_for => false,
        Some(rest) => discard(rest.body).await,
    };
    if is_http_1 && !is_finished {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads a body to its end, within limits. Returns whether the end was reached.
async fn discard(mut body: Body) -> bool {
    let reading = async {
        let mut bytes_left = DISCARDED_BODY_MAX_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            match bytes_left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(left) => bytes_left = left,
                None => return false,
            }
        }
        true
    };
    let time_max = Duration::from_secs(DISCARD_TIME_MAX_SECONDS.into());
    tokio::time::timeout(time_max, reading).await.unwrap_or(false)
}

/// The slot to which a lent body returns.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Rest>>>);

struct Rest {
    body: Body,
    was_asked_for: bool,
}

impl Slot {
    fn take(&self) -> Option<Rest> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Rest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that returns to its slot if it is dropped before its end.
struct Lent {
    body: Option<Body>,
    was_asked_for: bool,
    slot: Slot,
}

impl Lent {
    fn new(body: Body, slot: Slot) -> Self {
        Self { body: Some(body), was_asked_for: false, slot }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.slot.lock() = Some(Rest { body, was_asked_for: self.was_asked_for });
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let lent = &mut *self;
        let Some(body) = &mut lent.body else { return Poll::Ready(None) };
        lent.was_asked_for = true;
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            lent.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
