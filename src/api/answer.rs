//! Answers: JSON that is already written, and 304 for content that the client already has.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use twox_hash::XxHash64;

use crate::core::numbers::Rev;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// An answer with a text in JSON.
pub(super) fn json(status: StatusCode, text: impl Into<Body>) -> Response {
    (status, [(CONTENT_TYPE, JSON)], text.into()).into_response()
}

/// Whether the headers say that the answer is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE) == Some(&JSON)
}

/// A 200 with a weak entity tag, or a 304 if the request names this tag.
///
/// The tag is a hash of the text itself, so it never stands for another text, even after the database was restored from
/// a backup. The `revision` comes before the hash, if there is one.
pub(super) fn conditional_json(request: &HeaderMap, revision: Option<Rev>, text: String) -> Response {
    let hash = XxHash64::oneshot(0, text.as_bytes());
    let tag = match revision {
        Some(revision) => format!("\"{revision}-{hash:x}\""),
        None => format!("\"{hash:x}\""),
    };
    let mut response =
        if names(request, &tag) { StatusCode::NOT_MODIFIED.into_response() } else { json(StatusCode::OK, text) };
    if let Ok(tag) = HeaderValue::from_str(&format!("W/{tag}")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Whether `If-None-Match` contains a tag, by the weak comparison of RFC 9110, section 8.8.3.2.
fn names(request: &HeaderMap, tag: &str) -> bool {
    let lists = request.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    // A tag of another server may contain a comma. Its parts are then different from all our tags.
    lists.flat_map(|list| list.split(',')).map(str::trim).any(|named| {
        let opaque = named.strip_prefix("W/").unwrap_or(named);
        named == "*" || opaque == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(if_none_match: &[&str], revision: Option<Rev>, text: &str) -> (StatusCode, String) {
        let mut request = HeaderMap::new();
        for value in if_none_match {
            request.append(IF_NONE_MATCH, value.parse().unwrap());
        }
        let response = conditional_json(&request, revision, text.to_owned());
        (response.status(), response.headers()[ETAG].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_tag_is_weak_and_stands_for_one_text() {
        let (status_of_first, tag) = status(&[], Some(Rev::new(7)), "{}");
        assert_eq!(status_of_first, StatusCode::OK);
        assert!(tag.starts_with("W/\"7-"), "{tag}");
        assert_ne!(status(&[], Some(Rev::new(7)), "{ }").1, tag);
        assert_eq!(status(&[], None, "{}").1, status(&[], None, "{}").1);
    }

    #[test]
    fn a_tag_is_found_in_lists_and_compared_weakly() {
        let (_, tag) = status(&[], None, "{}");
        let strong = tag.trim_start_matches("W/");
        for known in [&[tag.as_str()][..], &[strong], &["\"x\"", strong], &["\"a,b\" , W/\"c\",", &tag], &["*"]] {
            assert_eq!(status(known, None, "{}").0, StatusCode::NOT_MODIFIED, "{known:?}");
        }
        for unknown in [&["\"x\""][..], &[""], &["W/"], &[tag.trim_end_matches('"')]] {
            assert_eq!(status(unknown, None, "{}").0, StatusCode::OK, "{unknown:?}");
        }
    }
}
