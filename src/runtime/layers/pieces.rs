//! Hands on an answer in pieces.
//!
//! The routes answer in one piece, which may have megabytes. Compressing these at once would keep a thread from other
//! requests, `/health` included. A connection would take all of it at once too, and nobody would see whether the client
//! reads.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};

use crate::limits::runtime::ANSWER_PIECE_BYTES;

/// Divides the body of an answer.
pub(super) fn in_pieces<B>(response: Response<B>) -> Response<Pieces<B>> {
    response.map(|body| Pieces { body, rest: Bytes::new(), gives_way: false })
}

/// A body in pieces.
pub(super) struct Pieces<B> {
    body: B,
    /// The rest of the last frame.
    rest: Bytes,
    /// Whether other tasks have their turn before the next piece.
    gives_way: bool,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if std::mem::take(&mut self.gives_way) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) if frame.is_data() => self.rest = frame.into_data().unwrap_or_default(),
                other => return Poll::Ready(other),
            }
        }
        let piece_bytes = self.rest.len().min(ANSWER_PIECE_BYTES);
        let piece = self.rest.split_to(piece_bytes);
        self.gives_way = !self.rest.is_empty();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn an_answer_is_handed_on_in_pieces_between_which_others_have_their_turn() {
        let bytes = vec![b'x'; ANSWER_PIECE_BYTES * 2 + 1];
        let answer = in_pieces(Response::new(Body::from(bytes)));
        let mut body = answer.into_body();
        for (bytes, left) in [(ANSWER_PIECE_BYTES, ANSWER_PIECE_BYTES + 1), (ANSWER_PIECE_BYTES, 1), (1, 0)] {
            let frame =
                body.frame().now_or_never().expect("it is there").expect("it is not the end").expect("no error");
            assert_eq!(frame.into_data().expect("data").len(), bytes);
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(left as u64), left == 0));
            assert_eq!(body.frame().now_or_never().is_none(), left > 0);
        }
    }
}
