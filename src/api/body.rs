//! Request bodies: bounded, in UTF-8, and read as JSON whatever they say that they are.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;

use super::error::ApiError;
use crate::core::limits::{DISCARDED_BODY_MAX_BYTES, INFLATED_BODY_MAX_BYTES};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The text of a request's body, of at most [`INFLATED_BODY_MAX_BYTES`].
pub(super) struct BodyText(String);

impl BodyText {
    /// The text, which may be no JSON at all.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, or an empty object where the client sent nothing.
    pub(super) fn or_empty_object(&self) -> &str {
        if self.0.trim().is_empty() { "{}" } else { &self.0 }
    }
}

impl<S: Sync> FromRequest<S> for BodyText {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = bounded(request.into_body(), INFLATED_BODY_MAX_BYTES);
        let bytes = body.collect().await.map_err(|error| unreadable(&error))?.to_bytes();
        let text = String::from_utf8(bytes.into());
        text.map(Self).map_err(|error| ApiError::bad_request(format!("the body is not UTF-8: {}", error.utf8_error())))
    }
}

/// Why a body could not be read to its end.
fn unreadable(error: &axum::Error) -> ApiError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<TooLarge>() {
            return ApiError::BodyTooLarge;
        }
        cause = error.source();
    }
    ApiError::bad_request(format!("the body cannot be read: {error}"))
}

/// Ends a body with an error where it is longer than `max_bytes`.
///
/// The error comes behind what the client still had to send, up to [`DISCARDED_BODY_MAX_BYTES`]. Answering earlier means
/// to close a connection that the client is still writing to, and then it would often lose the answer.
pub fn bounded(body: Body, max_bytes: usize) -> Body {
    let is_too_large = body.size_hint().lower() > max_bytes as u64;
    let state = if is_too_large { State::beyond() } else { State::Within { bytes_left: max_bytes } };
    Body::new(Bounded { body, state })
}

#[derive(Debug, thiserror::Error)]
#[error("the body is too large")]
struct TooLarge;

struct Bounded {
    body: Body,
    state: State,
}

enum State {
    /// What comes is handed on.
    Within { bytes_left: usize },
    /// What comes is thrown away.
    Beyond { bytes_left: usize },
    /// Nothing comes any more.
    Ended,
}

impl State {
    fn beyond() -> Self {
        Self::Beyond { bytes_left: DISCARDED_BODY_MAX_BYTES }
    }

    /// The state behind a chunk.
    fn after(&self, bytes: usize) -> Self {
        match *self {
            Self::Within { bytes_left } if bytes <= bytes_left => Self::Within { bytes_left: bytes_left - bytes },
            Self::Within { .. } => Self::beyond(),
            Self::Beyond { bytes_left } if bytes <= bytes_left => Self::Beyond { bytes_left: bytes_left - bytes },
            Self::Beyond { .. } | Self::Ended => Self::Ended,
        }
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let State::Ended = self.state {
                return Poll::Ready(None);
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    let ended = std::mem::replace(&mut self.state, State::Ended);
                    let is_too_large = matches!(ended, State::Beyond { .. });
                    return Poll::Ready(is_too_large.then(|| Err(TooLarge.into())));
                }
            };
            self.state = self.state.after(frame.data_ref().map_or(0, Bytes::len));
            match self.state {
                State::Within { .. } => return Poll::Ready(Some(Ok(frame))),
                State::Beyond { .. } => {}
                State::Ended => return Poll::Ready(Some(Err(TooLarge.into()))),
            }
        }
    }
}
