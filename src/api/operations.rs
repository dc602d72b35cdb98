//! `POST /operations`: push the operations that a client made.
//!
//! Request: `{"clientId":"client-123","operations":[…]}`, at most 1,000 operations, each an object with
//!
//! | key | value |
//! |---|---|
//! | `id` | what identifies the operation for ever; a name |
//! | `type` | `insert`, `update` or `delete` |
//! | `collection`, `docId` | the document; names |
//! | `data` | an object, at most 1 MiB and 64 levels deep; needed for `insert` and `update`, ignored for `delete` |
//! | `timestamp` | integer from 1 to 2^53−1, the client's own time |
//! | `clientId` | who made it; a name |
//! | `vectorClock` | object: client to counter, an integer from 0 to 2^53−1; at most 1,000 clients |
//! | `synced` | ignored |
//!
//! Names are 1 to 256 bytes of UTF-8 without control characters. `clientId` of the push is needed, but need not be that
//! of its operations. A lone surrogate, U+0000 and a number beyond a double's range have no place in `data`.
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"accepted":[…],"conflicts":[…]}`: each operation is in one of them |
//! | 400 | something is wrong with the request; every faulty field is named, and nothing was applied |
//!
//! *Accepted* are operations that took effect, now or when they were pushed before: an id takes effect once, whatever the
//! retries. They survive any crash from then on, and are answered with exactly the bytes that were sent.
//! An operation that reuses the id of another one is accepted too, and has no effect. Within one push two operations with
//! one id are a 400 that names the later one's `id`, unless their fields have equal JSON values.
//!
//! *In conflict* are operations whose vector clock *happens before* that of the server's document or is *concurrent* with
//! it. They changed nothing. They are answered as sent, but with `data` (`null` if it is deleted) and `vectorClock` of the
//! server's document, and with
//! `"conflict":{"relation":"concurrent","rev":3,"deleted":false,"operationId":"…","clientId":"…","timestamp":…}`: how the
//! clocks stand, and the rest of the server's document.
//!
//! An `insert` replaces the document's data, an `update` puts its keys over those of the document (`null` stays as a
//! value) and creates the document where there is none, a `delete` leaves a tombstone. A document that would be larger
//! than 1 MiB is a 400 that names the operation's `data`; conflicts that would answer more than 4 MiB of documents are a
//! 400 that names `operations`, and a push of fewer operations does not have them. Behind a Lambda echo and conflicts
//! together have to fit what it may hand on ([`AnswerLimit`]), and a push whose answer might not is the same 400.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use http::StatusCode;

use super::access::Writer;
use super::answer;
use super::body::BodyText;
use super::error::ApiError;
use super::push;
use super::schema::{BadRequest, LayerErrors, PushAnswer, PushRequest, Unauthorized, Unavailable};
use crate::core::decide::{Conflict, Outcome, Refused};
use crate::core::json::{ObjectWriter, Picked};
use crate::core::limits::{DOCUMENT_MAX_BYTES, PUSH_CONFLICTS_MAX_BYTES};
use crate::service::SyncService;

/// Pushes the operations that a client made.
#[utoipa::path(
    post,
    path = "/operations",
    tag = "sync",
    security(("token" = [])),
    request_body = PushRequest,
    responses(
        (status = 200, description = "what became of each operation", body = PushAnswer),
        BadRequest, LayerErrors, Unauthorized, Unavailable,
    ),
)]
pub(super) async fn push_operations(
    State(service): State<Arc<SyncService>>,
    Writer(principal): Writer,
    limit: Option<Extension<AnswerLimit>>,
    body: BodyText,
) -> Result<Response, ApiError> {
    let push = push::read(body.as_text())?;
    let conflicts_max_bytes = conflicts_max_bytes(&push.texts, limit.map(|Extension(limit)| limit))?;
    match service.push_within(&principal.tenant, push.operations, conflicts_max_bytes).await? {
        Ok(outcomes) => Ok(answer::json(StatusCode::OK, write(&push.texts, &outcomes))),
        Err(Refused::DocumentTooLarge { index }) => Err(ApiError::bad_field(
            format_args!("operations[{index}].data"),
            format_args!("the document would have more than {DOCUMENT_MAX_BYTES} bytes"),
        )),
        Err(Refused::DocumentDamaged { index }) => {
            Err(ApiError::Internal { cause: format!("the document of operations[{index}] is damaged in the store") })
        }
        Err(Refused::ConflictsTooLarge { max_bytes }) => Err(ApiError::bad_field(
            "operations",
            format_args!("have conflicts whose documents are more than {max_bytes} bytes; push fewer at a time"),
        )),
    }
}

/// How many bytes the body of an answer may have, where whoever hands it on limits that; an extension of the request.
///
/// A push that might answer more is refused before it takes effect.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLimit {
    /// The bytes, before any encoding.
    pub max_bytes: usize,
}

/// How many bytes the documents of a push's conflicts may have, when every operation may be answered as it was sent.
fn conflicts_max_bytes(texts: &[&str], limit: Option<AnswerLimit>) -> Result<usize, ApiError> {
    let Some(AnswerLimit { max_bytes }) = limit else { return Ok(PUSH_CONFLICTS_MAX_BYTES) };
    let echoed_bytes: usize = texts.iter().map(|text| text.len() + 1).sum();
    match max_bytes.checked_sub(ANSWER_FRAME_BYTES + echoed_bytes) {
        Some(left) => Ok(left.min(PUSH_CONFLICTS_MAX_BYTES)),
        None => Err(ApiError::bad_field(
            "operations",
            format_args!("are answered as sent, which is more than {max_bytes} bytes; push fewer at a time"),
        )),
    }
}

/// The bytes of an answer without any operation in it.
const ANSWER_FRAME_BYTES: usize = r#"{"accepted":[],"conflicts":[]}"#.len();

fn write(texts: &[&str], outcomes: &[Outcome]) -> String {
    let mut answer = String::with_capacity(texts.iter().map(|text| text.len() + 1).sum::<usize>() + ANSWER_FRAME_BYTES);
    let outcomes = || texts.iter().zip(outcomes);
    let accepted = outcomes().filter(|(_, outcome)| matches!(outcome, Outcome::Applied | Outcome::Duplicate));
    let conflicts = outcomes().filter_map(|(text, outcome)| match outcome {
        Outcome::Conflict(conflict) => Some((text, conflict)),
        Outcome::Applied | Outcome::Duplicate => None,
    });
    ObjectWriter::write(&mut answer, |object| {
        object.array("accepted", accepted, |out, (text, _)| out.push_str(text));
        object.array("conflicts", conflicts, |out, (text, conflict)| write_conflict(out, text, conflict));
    });
    answer
}

/// The members of a pushed operation that are answered as sent, whatever comes of it, and the client's own mark.
const SENT_KEYS: [&str; 7] = ["id", "type", "collection", "docId", "timestamp", "clientId", "synced"];

/// Writes an operation as sent, with the server's data and clock in place of its own.
fn write_conflict(out: &mut String, text: &str, conflict: &Conflict) {
    ObjectWriter::write(out, |object| {
        let mut is_synced = false;
        if let Ok(sent) = Picked::parse(text, &SENT_KEYS) {
            for key in SENT_KEYS {
                match sent.get(key) {
                    Some(value) if key == "synced" => is_synced = value == "true",
                    Some(value) => object.raw(key, value),
                    None => {}
                }
            }
        }
        conflict.write_members(is_synced, object);
    });
}
