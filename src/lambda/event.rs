//! Converts an event of Lambda into a request for the routes.

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::Request;
use http::header::ACCEPT_ENCODING;
use http::{HeaderName, HeaderValue, Uri};
use lambda_http::RequestExt as _;
use lambda_http::request::RequestContext;

use super::lazy::Deadline;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes a request from an event. It has the path as the client sent it, the function's deadline, and Lambda's request
/// id if the client sent none.
pub(super) fn request(event: lambda_http::Request) -> Request {
    let mut target = path(&event);
    if let Some(query) = event.uri().query() {
        target.push('?');
        target.push_str(query);
    }
    let context = event.lambda_context();
    let is_rest_api = matches!(event.request_context_ref(), Some(RequestContext::ApiGatewayV1(_)));
    let (mut parts, body) = event.into_parts();
    // A text that is not a path with a query is replaced by `/`, which no route has.
    parts.uri = target.parse().unwrap_or_else(|_| Uri::from_static("/"));
    parts.extensions.insert(Deadline(context.deadline()));
    if !parts.headers.contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(&context.request_id)
    {
        parts.headers.insert(REQUEST_ID, id);
    }
    if is_rest_api {
        // A REST API passes on the base64 of a compressed body without decoding it, unless all types are set to be
        // binary. It can compress answers itself.
        parts.headers.remove(ACCEPT_ENCODING);
    }
    let body = match body {
        lambda_http::Body::Text(text) => Body::from(text),
        lambda_http::Body::Binary(bytes) => Body::from(bytes),
        _ => Body::empty(),
    };
    Request::from_parts(parts, body)
}

/// The path of a request, percent-encoded and without a stage.
fn path(event: &lambda_http::Request) -> String {
    let raw = event.raw_http_path();
    match event.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => {
            let raw = without_stage(raw, context.stage.as_deref());
            let is_function_url = context.domain_name.as_deref().is_some_and(|name| name.contains(".lambda-url."));
            // An HTTP API has decoded the path, a function's URL has not.
            if is_function_url { encode(raw, is_safe_or_percent) } else { encode(raw, is_safe) }
        }
        _ => encode(raw, is_safe_or_percent),
    }
}

/// The path without the name of the stage, which an HTTP API leaves at its beginning.
fn without_stage<'a>(path: &'a str, stage: Option<&str>) -> &'a str {
    let rest = stage.and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path)
}

/// Escapes the bytes for which `stays` returns false.
fn encode(path: &str, stays: fn(u8) -> bool) -> String {
    let mut encoded = String::with_capacity(path.len());
    if !path.starts_with('/') {
        encoded.push('/');
    }
    for byte in path.bytes() {
        if stays(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Whether a byte may stand in a path unescaped (RFC 3986, section 3.3).
fn is_safe(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte)
}

/// The same for a path that is already percent-encoded.
fn is_safe_or_percent(byte: u8) -> bool {
    is_safe(byte) || byte == b'%'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_removed_if_it_is_the_first_part_of_the_path() {
        assert_eq!(without_stage("/prod/health", Some("prod")), "/health");
        assert_eq!(without_stage("/prod", Some("prod")), "");
        assert_eq!(without_stage("/production/health", Some("prod")), "/production/health");
        assert_eq!(without_stage("/health", Some("$default")), "/health");
        assert_eq!(without_stage("/health", None), "/health");
    }

    #[test]
    fn a_decoded_path_is_encoded_again_and_an_encoded_one_is_left_alone() {
        assert_eq!(encode("/documents/c/a b?#%2Fé", is_safe), "/documents/c/a%20b%3F%23%252F%C3%A9");
        assert_eq!(encode("/documents/c/a%2Fb%zz é", is_safe_or_percent), "/documents/c/a%2Fb%zz%20%C3%A9");
        assert_eq!(encode("", is_safe), "/");
    }
}
