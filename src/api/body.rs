//! Request bodies: bounded, in UTF-8, and read as JSON with any `Content-Type`.
//!
//! Some systems begin every text with a byte order mark, which JSON does not allow. One is skipped.

use std::error::Error;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::error::ApiError;
use crate::core::text::Text;
use crate::limits::api::INFLATED_BODY_MAX_BYTES;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text of a request's body, of at most [`INFLATED_BODY_MAX_BYTES`]. Its parts can share its memory.
pub(super) struct BodyText(Text);

impl BodyText {
    /// The text, which may not be JSON.
    pub(super) fn as_text(&self) -> &Text {
        &self.0
    }

    /// The text, or an empty object if the client sent nothing.
    pub(super) fn or_empty_object(&self) -> &str {
        if self.0.trim().is_empty() { "{}" } else { &self.0 }
    }
}

impl<S: Sync> FromRequest<S> for BodyText {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let mut body = Limited::new(request.into_body(), INFLATED_BODY_MAX_BYTES);
        // One buffer, since a small piece of a body may hold a large buffer of the connection.
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(|error| unreadable(&*error))?.into_data() {
                append(&mut bytes, &data);
            }
        }
        let text = Text::try_from(Bytes::from(bytes));
        let text = text.map_err(|error| ApiError::bad_request(format!("the body is not UTF-8: {error}")))?;
        let without_mark = text.strip_prefix(BYTE_ORDER_MARK).map(|text_behind| text.slice_ref(text_behind));
        Ok(Self(without_mark.unwrap_or(text)))
    }
}

/// Adds a piece to a buffer, which never has more than a quarter of it free.
fn append(buffer: &mut Vec<u8>, piece: &[u8]) {
    if buffer.capacity() - buffer.len() < piece.len() {
        buffer.reserve_exact(piece.len().max(buffer.len() / 4));
    }
    buffer.extend_from_slice(piece);
}

/// Why a body could not be read completely: it is too large for this layer or an outer one, or the connection broke.
fn unreadable(error: &(dyn Error + 'static)) -> ApiError {
    let mut causes = std::iter::successors(Some(error), |error| Error::source(*error));
    if causes.any(<dyn Error>::is::<LengthLimitError>) {
        return ApiError::BodyTooLarge;
    }
    ApiError::bad_request(format!("the body cannot be read: {error}"))
}
