//! `POST /changes`: pull the operations of all clients.
//!
//! All keys of the request are optional, and so is the whole body:
//!
//! | key | meaning |
//! |---|---|
//! | `cursor` | the `cursor` of the previous answer; `null` or empty without one. With this key, `since` is ignored |
//! | `since` | the greatest `timestamp` of the last page that the client applied, an integer from 0; default 0 |
//! | `limit` | integer from 1: the most operations on the page; default 100, larger values than 1,000 mean 1,000 |
//! | `clientId` | the client; a name (1 to 256 bytes of UTF-8 without control characters) |
//! | `vectorClock` | an object, which is ignored |
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"operations":[…],"conflicts":[],"cursor":"…","hasMore":false}` |
//! | 400 | the body is not a JSON object, or one of its fields is wrong |
//! | 410 | `"reason":"reset"`: the cursor is of another log (the database was restored); start without a cursor |
//! | 422 | more changes than fit a page share a timestamp, and neither `cursor` nor `clientId` tells them apart |
//!
//! An operation has the keys `id`, `type`, `collection`, `docId`, `data`, `timestamp`, `clientId`, `synced` (always
//! `true`) and `vectorClock`. `data` has the bytes that were pushed, and is `null` for a delete. A client also receives
//! its own operations. A page has at most 4 MiB, with one of its operations counted twice. `hasMore` says whether the
//! client should send the next request at once.
//!
//! *With a `cursor`*, a client receives everything after it, in the order of the log. A client that has nothing first
//! receives each document as one operation with all of its data. So does a client that was away until compaction
//! removed the history that it needs. Such an operation is an `insert`, or a `delete` if the client may still have the
//! document.
//!
//! *With `since` and a `clientId`*, a client receives the same and misses nothing: the server remembers which `since`
//! to expect after each page. If the greatest timestamps of two pages are equal, a page may end with one of its
//! operations repeated with a greater timestamp. A `since` that the server does not remember is answered from the
//! beginning.
//!
//! *With `since` alone*, a client receives the operations with a greater `timestamp`, ordered by timestamp. A page
//! never ends between equal timestamps, and the answer has no `cursor`. Operations that are pushed late with an older
//! timestamp are missed in this mode.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::access::Reader;
use crate::api::answer;
use crate::api::body::BodyText;
use crate::api::error::{ApiError, Faults};
use crate::api::fields::{Fields, limit, name, string};
use crate::api::schema::{
    BadRequest, ChangesAnswer, ChangesRequest, CursorGone, LayerErrors, QuotaExceeded, RunTooLong, Unauthorized,
    Unavailable,
};
use crate::core::cursor::Cursor;
use crate::core::json::{self, ObjectWriter};
use crate::core::names::ClientId;
use crate::core::numbers::UnixMs;
use crate::core::operation::LogEntry;
use crate::limits::protocol::{PAGE_DEFAULT_OPERATIONS, PAGE_MAX_OPERATIONS, SINCE_MAX};
use crate::service::{PullFrom, PullRequest, Pulled, PulledPage, SyncService};

/// Pulls the operations of all clients.
#[utoipa::path(
    post,
    path = "/changes",
    tag = "sync",
    security(("token" = [])),
    request_body(content = ChangesRequest, description = "an empty body is treated as `{}`"),
    responses(
        (status = 200, description = "a page of changes", body = ChangesAnswer),
        BadRequest, CursorGone, RunTooLong, LayerErrors, Unauthorized, QuotaExceeded, Unavailable,
    ),
)]
pub(in crate::api) async fn pull_changes(
    State(service): State<Arc<SyncService>>,
    Reader(principal): Reader,
    body: BodyText,
) -> Result<Response, ApiError> {
    let request = read(body.or_empty_object())?;
    match service.pull_as(&principal, request).await? {
        Pulled::Page(page) => Ok(answer::json(StatusCode::OK, write(&page))),
        Pulled::Reset => Err(ApiError::CursorReset),
        Pulled::RunTooLong => Err(ApiError::RunTooLong),
    }
}

/// The keys of the request.
pub(in crate::api) const KEYS: [&str; 5] = ["cursor", "since", "limit", "clientId", "vectorClock"];

pub(in crate::api) fn read(text: &str) -> Result<PullRequest, ApiError> {
    let mut faults = Faults::default();
    let mut fields = Fields::of_body(text, &KEYS, &mut faults)?;
    let from = if fields.raw("cursor").is_some() {
        fields.required("cursor", cursor).map(PullFrom::Cursor)
    } else {
        fields.optional("since", UnixMs::EPOCH, since).map(PullFrom::Since)
    };
    let max_operations = fields.optional("limit", PAGE_DEFAULT_OPERATIONS, limit(PAGE_MAX_OPERATIONS));
    let client_id = fields.optional("clientId", None, |text| name(ClientId::parse)(text).map(Some));
    let _ = fields.optional("vectorClock", (), an_object);
    let request = from.zip(max_operations).zip(client_id).map(|((from, max_operations), client_id)| PullRequest {
        from,
        client_id,
        max_operations,
    });
    faults.into_result(request).map_err(ApiError::BadFields)
}

fn since(text: &str) -> Result<UnixMs, String> {
    json::integer(text, SINCE_MAX).map(UnixMs::new).map_err(|problem| problem.to_string())
}

fn cursor(text: &str) -> Result<Option<Cursor>, String> {
    if text == "null" {
        return Ok(None);
    }
    match &*string(text)? {
        "" => Ok(None),
        text => Cursor::parse(text).map(Some).map_err(|problem| problem.to_string()),
    }
}

fn an_object(text: &str) -> Result<(), &'static str> {
    if text.starts_with('{') { Ok(()) } else { Err("must be an object") }
}

pub(in crate::api) fn write(page: &PulledPage) -> String {
    let bytes: usize = page.entries.iter().map(LogEntry::wire_bytes).sum();
    let mut text = String::with_capacity(bytes + ANSWER_FRAME_BYTES);
    ObjectWriter::write(&mut text, |object| {
        object.array("operations", &page.entries, |out, entry| entry.write(out));
        object.raw("conflicts", "[]");
        if let Some(cursor) = page.cursor {
            object.string("cursor", &cursor.to_string());
        }
        object.boolean("hasMore", page.has_more);
    });
    text
}

/// The bytes of a page without its operations, more or less.
const ANSWER_FRAME_BYTES: usize = 150;

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> String {
        format!("{:?}", read(text).unwrap().from)
    }

    #[test]
    fn the_key_cursor_chooses_the_mode_whatever_else_is_there() {
        assert_eq!(from("{}"), "Since(UnixMs(0))");
        assert_eq!(from(r#"{"since":5.0}"#), "Since(UnixMs(5))");
        assert_eq!(from(r#"{"since":9007199254741008}"#), "Since(UnixMs(9007199254741008))");
        for nothing in ["null", "\"\""] {
            assert_eq!(from(&format!(r#"{{"since":"x","cursor":{nothing}}}"#)), "Cursor(None)");
        }
        assert!(from(r#"{"cursor":"l.1.2","since":3}"#).starts_with("Cursor(Some("));
    }

    #[test]
    fn every_faulty_field_of_a_pull_is_named() {
        for (text, field) in [
            (r#"{"since":null}"#, "since"),
            (r#"{"since":-1}"#, "since"),
            (r#"{"since":0.5}"#, "since"),
            (r#"{"since":"5"}"#, "since"),
            (r#"{"since":1e300}"#, "since"),
            (r#"{"limit":0}"#, "limit"),
            (r#"{"cursor":5}"#, "cursor"),
            (r#"{"cursor":"x"}"#, "cursor"),
            (r#"{"clientId":null}"#, "clientId"),
            (r#"{"clientId":""}"#, "clientId"),
            (r#"{"vectorClock":null}"#, "vectorClock"),
            (r#"{"vectorClock":[]}"#, "vectorClock"),
        ] {
            match read(text) {
                Err(ApiError::BadFields(faults)) => {
                    assert!(faults.to_string().starts_with(&format!("{field}: ")), "{text}: {faults}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_clock_of_any_size_is_ignored() {
        let clock: Vec<String> = (0..5_000).map(|client| format!("\"{client}\":\"x\"")).collect();
        assert!(read(&format!("{{\"vectorClock\":{{{}}}}}", clock.join(","))).is_ok());
    }
}
