//! The memory that an answer may take, and that it takes until it is sent.

use axum::body::HttpBody;
use axum::extract::Request;
use axum::response::Response;
use http::Method;
use http::header::CONTENT_ENCODING;

use crate::limits::runtime::{
    DOCUMENT_RESERVED_BYTES, ENCODER_BASE_BYTES, ENCODER_MAX_BYTES, PUSH_RESERVED_BYTES, READ_RESERVED_BYTES,
    REQUEST_FREE_BYTES,
};

/// The memory that the answer of an endpoint usually needs at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reserved {
    pub(super) bytes: usize,
    pub(super) is_for_read: bool,
}

impl Reserved {
    pub(super) fn of(request: &Request) -> Self {
        if request.method() != Method::POST {
            Self { bytes: DOCUMENT_RESERVED_BYTES, is_for_read: true }
        } else if request.uri().path().trim_end_matches('/').ends_with("/operations") {
            Self { bytes: PUSH_RESERVED_BYTES, is_for_read: false }
        } else {
            Self { bytes: READ_RESERVED_BYTES, is_for_read: true }
        }
    }
}

/// The size of the routes' answer before compression, in bytes.
#[derive(Debug, Clone, Copy)]
struct AnsweredBytes(usize);

/// Records the size of an answer.
pub(in crate::runtime) fn note_size<B: HttpBody>(mut response: Response<B>) -> Response<B> {
    let size = response.body().size_hint();
    let bytes = size.upper().unwrap_or(size.lower());
    response.extensions_mut().insert(AnsweredBytes(usize::try_from(bytes).unwrap_or(usize::MAX)));
    response
}

/// The memory of an answer until it is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerMemory {
    /// The bytes of the answer and of its compressor.
    pub(super) bytes: usize,
    /// Whether the answer itself is so small that the connection takes it at once.
    pub(super) is_small: bool,
}

impl AnswerMemory {
    /// Takes the recorded size from an answer.
    pub(super) fn take(response: &mut Response) -> Self {
        let answer = response.extensions_mut().remove::<AnsweredBytes>().map_or(0, |bytes| bytes.0);
        let encoder = if response.headers().contains_key(CONTENT_ENCODING) {
            ENCODER_MAX_BYTES.min(ENCODER_BASE_BYTES.saturating_add(answer.saturating_mul(2)))
        } else {
            0
        };
        Self { bytes: answer.saturating_add(encoder), is_small: answer <= REQUEST_FREE_BYTES }
    }
}
