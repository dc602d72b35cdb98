//! The answer of a function: the encoding of its body, and the limit of its size.
//!
//! Lambda limits the size of a JSON document that contains the HTTP answer, with the body as a string. Escapes may
//! double the size of a text there, while base64 always adds a third. So a text is sent as it is if it fits, and
//! otherwise in base64. A compressed body is always sent in base64.

use std::pin::Pin;

use axum::response::Response;
use http::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use lambda_http::request::RequestContext;
use lambda_http::{Body, RequestExt as _};

use crate::api::{self, AnswerLimit};
use crate::limits::lambda::{LAMBDA_ANSWER_MAX_BYTES, LAMBDA_HEAD_MAX_BYTES, LOAD_BALANCER_ANSWER_MAX_BYTES};

/// An answer in the form that Lambda expects.
pub(super) struct Answer(http::Response<Body>);

impl lambda_http::IntoResponse for Answer {
    fn into_response(self) -> Pin<Box<dyn Future<Output = http::Response<Body>> + Send>> {
        Box::pin(std::future::ready(self.0))
    }
}

/// The limit for the body of an answer to this event, in bytes of the string in JSON.
pub(super) fn max_bytes(event: &lambda_http::Request) -> usize {
    let whole = match event.request_context_ref() {
        Some(RequestContext::Alb(_)) => LOAD_BALANCER_ANSWER_MAX_BYTES,
        _ => LAMBDA_ANSWER_MAX_BYTES,
    };
    whole - LAMBDA_HEAD_MAX_BYTES
}

/// The limit for a body, in bytes, so that it fits in at least one of the two forms.
pub(super) fn limit(max_bytes: usize) -> AnswerLimit {
    AnswerLimit { max_bytes: max_bytes / 4 * 3 }
}

impl Answer {
    /// Makes the answer from a response. A response that is too large is replaced by an error.
    pub(super) async fn new(response: Response, max_bytes: usize) -> Self {
        match whole(response, max_bytes).await {
            Ok(response) => Self(response),
            Err(error) => Self(whole(error, usize::MAX).await.unwrap_or_default()),
        }
    }
}

/// Collects the body of a response. `Err` is the answer to send instead.
async fn whole(response: Response, max_bytes: usize) -> Result<http::Response<Body>, Response> {
    let (mut parts, body) = response.into_parts();
    join_repeated(&mut parts.headers);
    let bytes = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(problem) => return Err(api::internal_error(format!("the body of the answer broke off: {problem}"))),
    };
    let is_compressed = parts.headers.contains_key(CONTENT_ENCODING);
    let body = if is_compressed { Body::Binary(bytes.into()) } else { text_or_binary(bytes.into(), max_bytes) };
    if string_bytes(&body) <= max_bytes {
        Ok(http::Response::from_parts(parts, body))
    } else {
        Err(api::answer_too_large(max_bytes))
    }
}

/// Joins repeated headers into one, because Lambda would pass on only the first.
fn join_repeated(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().cloned().collect();
    for name in names {
        let values: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        if values.len() > 1
            && let Ok(joined) = HeaderValue::from_bytes(&values.join(&b", "[..]))
        {
            headers.insert(name, joined);
        }
    }
}

/// Makes a text of the body if it fits, because a client has less work with it than with base64.
fn text_or_binary(bytes: Vec<u8>, max_bytes: usize) -> Body {
    if bytes.is_empty() {
        return Body::Empty;
    }
    match String::from_utf8(bytes) {
        Ok(text) if escaped_bytes(&text) <= max_bytes => Body::Text(text),
        Ok(text) => Body::Binary(text.into_bytes()),
        Err(error) => Body::Binary(error.into_bytes()),
    }
}

/// The size of a body as a string in JSON, in bytes.
fn string_bytes(body: &Body) -> usize {
    match body {
        Body::Text(text) => escaped_bytes(text),
        Body::Binary(bytes) => bytes.len().div_ceil(3) * 4,
        _ => 0,
    }
}

fn escaped_bytes(text: &str) -> usize {
    let bytes_of = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(bytes_of).sum()
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;
    use crate::limits::api::LAMBDA_BODY_MAX_BYTES;
    use crate::limits::protocol::PAGE_MAX_BYTES;

    const MAX_BYTES: usize = LAMBDA_ANSWER_MAX_BYTES - LAMBDA_HEAD_MAX_BYTES;

    async fn body_of(text: String, max_bytes: usize) -> (u16, Body) {
        let Answer(answer) = Answer::new(text.into_response(), max_bytes).await;
        (answer.status().as_u16(), answer.into_body())
    }

    #[test]
    fn an_escaped_text_is_counted_as_it_is_written() {
        let every_ascii: String = (0..128_u8).map(char::from).collect();
        let text = format!("{every_ascii}é\u{2028}\u{10ffff}");
        let written = serde_json::to_string(&text).unwrap();
        assert_eq!(escaped_bytes(&text), written.len() - 2, "{written}");
    }

    #[tokio::test]
    async fn the_largest_page_and_the_largest_echo_fit_however_much_is_escaped() {
        // A page has less than a kibibyte in addition to its rows.
        for bytes in [PAGE_MAX_BYTES + 1_024, LAMBDA_BODY_MAX_BYTES + 1_024, limit(MAX_BYTES).max_bytes] {
            let (status, body) = body_of("\"".repeat(bytes), MAX_BYTES).await;
            assert_eq!(status, 200);
            assert!(matches!(&body, Body::Binary(sent) if sent.len() == bytes), "it goes out in base64");
            assert!(string_bytes(&body) <= MAX_BYTES);
            let (status, body) = body_of("x".repeat(bytes), MAX_BYTES).await;
            assert_eq!((status, matches!(body, Body::Text(_))), (200, true), "what is not escaped stays text");
        }
    }

    #[tokio::test]
    async fn what_fits_in_no_form_is_answered_with_an_error_that_fits() {
        let (status, body) = body_of("x".repeat(MAX_BYTES + 1), MAX_BYTES).await;
        assert_eq!(status, 500);
        assert!(body.starts_with(b"{\"error\":\"Answer too large\""), "{body:?}");
        let (status, _) = body_of("x".repeat(LOAD_BALANCER_ANSWER_MAX_BYTES), LOAD_BALANCER_ANSWER_MAX_BYTES).await;
        assert_eq!(status, 200);
    }
}
