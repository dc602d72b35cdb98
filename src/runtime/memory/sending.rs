//! An answer on its way to the client, whose memory is counted until it is sent.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

/// An answer that is being sent.
pub(super) struct Sending {
    pub(super) body: Body,
    /// The account of the request, which is closed when this is dropped.
    pub(super) account: Option<Arc<dyn Any + Send + Sync>>,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
        if !self.body.is_end_stream() {
            return Poll::Ready(Some(Ok(frame)));
        }
        // The connection may keep the last piece long after it has taken it.
        let account = self.account.take();
        Poll::Ready(Some(Ok(frame.map_data(|bytes| Bytes::from_owner(LastPiece { bytes, _account: account })))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The last piece of an answer. Its memory is counted until it is sent.
struct LastPiece {
    bytes: Bytes,
    _account: Option<Arc<dyn Any + Send + Sync>>,
}

impl AsRef<[u8]> for LastPiece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
