//! Request bodies: bounded, in UTF-8, and read as JSON whatever they say that they are.
//!
//! Some systems begin every text with a byte order mark, which JSON does not have; one is skipped.

use std::error::Error;

use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::error::ApiError;
use crate::core::limits::INFLATED_BODY_MAX_BYTES;
use crate::core::text::Text;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text of a request's body, of at most [`INFLATED_BODY_MAX_BYTES`]. What is read of it can share its memory.
pub(super) struct BodyText(Text);

impl BodyText {
    /// The text, which may be no JSON at all.
    pub(super) fn as_text(&self) -> &Text {
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
        let body = Limited::new(request.into_body(), INFLATED_BODY_MAX_BYTES);
        let bytes = body.collect().await.map_err(|error| unreadable(&*error))?.to_bytes();
        let text = Text::try_from(bytes);
        let text = text.map_err(|error| ApiError::bad_request(format!("the body is not UTF-8: {error}")))?;
        let without_mark = text.strip_prefix(BYTE_ORDER_MARK).map(|text_behind| text.slice_ref(text_behind));
        Ok(Self(without_mark.unwrap_or(text)))
    }
}

/// Why a body could not be read to its end: it is too large, here or at a layer outside, or it broke.
fn unreadable(error: &(dyn Error + 'static)) -> ApiError {
    let mut causes = std::iter::successors(Some(error), |error| Error::source(*error));
    if causes.any(<dyn Error>::is::<LengthLimitError>) {
        return ApiError::BodyTooLarge;
    }
    ApiError::bad_request(format!("the body cannot be read: {error}"))
}
