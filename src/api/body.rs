//! Request bodies: bounded, in UTF-8, and read as JSON with any `Content-Type`.
//!
//! Some systems begin every text with a byte order mark, which JSON does not allow. One is skipped.

use std::any::Any;
use std::error::Error;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::error::ApiError;
use crate::core::text::Text;
use crate::limits::api::INFLATED_BODY_MAX_BYTES;

/// The field of a log span for the size of the body, when it is decompressed. It is set if the span has it.
const BODY_FIELD: &str = "body.bytes";

const BYTE_ORDER_MARK: char = '\u{feff}';

/// A value that lives as long as the text of the request's body. It is an extension of the request.
///
/// Parts of the text may outlive the request: a push waits in its group after its client has left.
#[derive(Clone)]
pub(crate) struct BodyOwner {
    _owner: Arc<dyn Any + Send + Sync>,
}

impl BodyOwner {
    #[cfg(any(test, feature = "runtime"))]
    pub(crate) fn new(owner: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _owner: owner }
    }
}

/// Bytes of a body with their owner.
struct Owned {
    bytes: Vec<u8>,
    _owner: BodyOwner,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

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
        let owner = request.extensions().get::<BodyOwner>().cloned();
        let mut body = Limited::new(request.into_body(), INFLATED_BODY_MAX_BYTES);
        // One buffer, since a small piece of a body may hold a large buffer of the connection.
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(|error| unreadable(&*error))?.into_data() {
                append(&mut bytes, &data);
            }
        }
        tracing::Span::current().record(BODY_FIELD, bytes.len());
        let bytes = match owner {
            Some(owner) => Bytes::from_owner(Owned { bytes, _owner: owner }),
            None => Bytes::from(bytes),
        };
        let text = Text::try_from(bytes);
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_owner_of_a_body_lives_as_long_as_a_part_of_its_text() {
        let owner = Arc::new(());
        let mut request = Request::new(Body::from(r#"{"a":1}"#));
        request.extensions_mut().insert(BodyOwner::new(Arc::clone(&owner) as _));
        let body = BodyText::from_request(request, &()).now_or_never().expect("it is there");
        let Ok(body) = body else { panic!("it is a text") };
        let part = body.as_text().slice_ref(&body.as_text()[1..4]);
        drop(body);
        assert_eq!((&*part, Arc::strong_count(&owner)), (r#""a""#, 2));
        drop(part);
        assert_eq!(Arc::strong_count(&owner), 1);
    }
}
