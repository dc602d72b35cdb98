//! `POST /changes`: pull the operations of all clients.
//!
//! All keys of the request are optional, and so is the whole body:
//!
//! | key | meaning |
//! |---|---|
//! | `cursor` | the `cursor` of the previous answer; `null` or empty without one. With this key, `since` is ignored |
//! | `as` | with `cursor`: `"operations"`, the default, or `"documents"` |
//! | `collections` | with `"as":"documents"`: 1 to 100 names; the page has documents of these collections alone |
//! | `since` | the greatest `timestamp` of the last page that the client applied, an integer from 0; default 0 |
//! | `limit` | integer from 1: the most operations on the page; default 100, larger values than 1,000 mean 1,000 |
//! | `wait` | with `cursor`: integer from 0 to 25; for how many seconds the answer may wait for changes; default 0 |
//! | `clientId` | the client; a name (1 to 256 bytes of UTF-8 without control characters) |
//! | `subjects` | with `cursor`: `true` adds to each operation the `subject` that pushed it; for the role `admin` |
//! | `resolutions` | with `cursor`: `true` adds the record of a conflict, as `resolution`; for the role `admin` |
//! | `vectorClock` | an object, which is ignored |
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"operations":[…],"conflicts":[],"cursor":"…","hasMore":false}` |
//! | 400 | the body is not a JSON object, or one of its fields is wrong |
//! | 403 | the client may not see every document and pulls with `since`; it needs a cursor |
//! | 403 | `foreign_client`: the `clientId` belongs to another subject |
//! | 403 | `forbidden_role`: `subjects` and `resolutions` are for admins |
//! | 410 | `"reason":"reset"`: the cursor is of another log (the database was restored); start without a cursor |
//! | 410 | `"reason":"view"`: the client may see other documents than before; start without a cursor |
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
//! *With `"as":"documents"`*, a client receives each document that was changed after the cursor, once and whole. They
//! come in the order of the last changes, each with its revision as `rev`. With `collections`, the cursor moves over
//! the documents of all others. So it is only for the same collections, and a request with others is a 400.
//!
//! *With `wait`*, a request that finds nothing is answered as soon as something has changed, or with an empty page when
//! its time is over. The time is shorter if too many requests wait, if the server stops, or if the token expires. In a
//! Lambda it is 0.
//!
//! *With `since` and a `clientId`*, a client receives the same and misses nothing: the server remembers which `since`
//! to expect after each page. If the greatest timestamps of two pages are equal, a page may end with one of its
//! operations repeated with a greater timestamp. A `since` that the server does not remember is answered from the
//! beginning.
//!
//! *With `since` alone*, a client receives the operations with a greater `timestamp`, ordered by timestamp. A page
//! never ends between equal timestamps, and the answer has no `cursor`. Operations that are pushed late with an older
//! timestamp are missed in this mode.

mod wait;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use self::wait::{pull, pull_within};
use crate::api::access::{CLIENT_FIELD, OPERATIONS_FIELD, Reader, Seating};
use crate::api::answer;
use crate::api::body::BodyText;
use crate::api::error::{ApiError, Faults};
use crate::api::fields::{Fields, boolean, limit, name, not_of_server, string};
use crate::api::schema::{
    BadRequest, ChangesAnswer, ChangesRequest, CursorGone, LayerErrors, QuotaExceeded, RunTooLong, Unauthorized,
    Unavailable,
};
use crate::api::waiting::holdings::{Holding, MayWait};
use crate::core::access::Action;
use crate::core::cursor::{Cursor, NotACursor};
use crate::core::feed::Collections;
use crate::core::json::{self, List, ObjectWriter};
use crate::core::names::{ClientId, Collection};
use crate::core::numbers::UnixMs;
use crate::core::operation::LogEntry;
use crate::limits::api::WAIT_MAX_SECONDS;
use crate::limits::protocol::{PAGE_DEFAULT_OPERATIONS, PAGE_MAX_OPERATIONS, PULL_MAX_COLLECTIONS, SINCE_MAX};
use crate::service::{PullFrom, PullRequest, PulledPage, SyncService};

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
    State(seating): State<Seating>,
    Reader(principal): Reader,
    holding: Holding,
    body: BodyText,
) -> Result<Response, ApiError> {
    let Asked { mut request, wait, is_from_now } = read(body.or_empty_object())?;
    for (key, is_asked) in [(SUBJECTS, request.with_subjects), (RESOLUTIONS, request.with_resolutions)] {
        if is_asked && !principal.role.permits(Action::Administer) {
            return Err(ApiError::ForbiddenField(key));
        }
    }
    drop(body);
    if is_from_now {
        request = service.request_from_now(&principal, request).await?;
    }
    if let Some(client_id) = &request.client_id {
        tracing::Span::current().record(CLIENT_FIELD, client_id.as_str());
    }
    let mark = match &request.from {
        PullFrom::Documents { collections: Some(collections), .. } => Some(collections.fingerprint()),
        _ => None,
    };
    let wait = holding.wait_time(wait);
    let has_cursor = !matches!(request.from, PullFrom::Since(_));
    let page = if wait.is_zero() {
        pull(&service, &principal, request).await?
    } else {
        pull_within(wait, &service, &principal, (&seating, &holding), request).await?
    };
    tracing::Span::current().record(OPERATIONS_FIELD, page.entries.len());
    let end = page.cursor.filter(|_| has_cursor && !page.has_more);
    let poll_after = end.and_then(|end| service.poll_after_seconds(&principal.tenant, end.position()));
    let mut response = answer::json(StatusCode::OK, write(&page, mark, poll_after));
    if !wait.is_zero() {
        response.extensions_mut().insert(MayWait);
    }
    Ok(response)
}

/// The keys of the request.
pub(in crate::api) const KEYS: [&str; 9] =
    ["cursor", "as", "since", "limit", "wait", "clientId", SUBJECTS, RESOLUTIONS, "vectorClock"];

/// The key for the subjects of operations.
const SUBJECTS: &str = "subjects";

/// The key for what was resolved by resolutions.
const RESOLUTIONS: &str = "resolutions";

/// The key of the list of collections.
pub(in crate::api) const COLLECTIONS: &str = "collections";

/// A request for a page, and how long it may wait for changes.
#[derive(Debug)]
pub(in crate::api) struct Asked {
    request: PullRequest,
    wait: Duration,
    /// Whether the cursor stands for the end of the log.
    is_from_now: bool,
}

pub(in crate::api) fn read(text: &str) -> Result<Asked, ApiError> {
    let mut faults = Faults::default();
    let (mut fields, list) = Fields::of_body_with_list(text, &KEYS, COLLECTIONS, PULL_MAX_COLLECTIONS, &mut faults)?;
    let is_limited = !matches!(list, List::Missing);
    let collections = if is_limited {
        let names = fields.names(COLLECTIONS, list, PULL_MAX_COLLECTIONS, Collection::parse);
        names.and_then(|names| fields.checked(COLLECTIONS, Collections::new(names))).map(Some)
    } else {
        Some(None)
    };
    let form = fields.optional("as", Form::Operations, form);
    let has_cursor = fields.raw("cursor").is_some();
    if form == Some(Form::Documents) && !has_cursor {
        fields.fault("as", "documents needs the key cursor, which is null for a client that has nothing");
    }
    if form == Some(Form::Operations) && is_limited {
        fields.fault(COLLECTIONS, "needs the key as with the value documents");
    }
    let is_from_now = fields.raw("cursor").is_some_and(|text| string(text).is_ok_and(|text| text == NOW));
    let from = if has_cursor {
        // The place is not known yet.
        let cursor = if is_from_now { Some(Some(MarkedCursor::BEGINNING)) } else { fields.required("cursor", cursor) };
        if let (Some(Some(MarkedCursor { collections: Some(mark), .. })), Some(collections)) = (&cursor, &collections)
            && collections.as_ref().map(Collections::fingerprint) != Some(*mark)
        {
            fields.fault("cursor", "is one of other collections, which are pulled with it; null begins with these");
        }
        cursor.zip(form).zip(collections).map(|((cursor, form), collections)| {
            let view = cursor.as_ref().and_then(|cursor| cursor.view);
            let after = cursor.map(|cursor| cursor.cursor);
            let from = match form {
                Form::Operations => PullFrom::Cursor(after),
                Form::Documents => PullFrom::Documents { after, collections },
            };
            (from, view)
        })
    } else {
        fields.optional("since", UnixMs::EPOCH, since).map(|since| (PullFrom::Since(since), None))
    };
    let max_operations = fields.optional("limit", PAGE_DEFAULT_OPERATIONS, limit(PAGE_MAX_OPERATIONS));
    if fields.raw("wait").is_some() && !has_cursor {
        fields.fault("wait", "needs the key cursor, which is null for a client that has nothing");
    }
    let wait = fields.optional("wait", Duration::ZERO, wait);
    let client_id =
        fields.optional("clientId", None, |text| name(ClientId::parse)(text).and_then(not_of_server).map(Some));
    let [with_subjects, with_resolutions] = [SUBJECTS, RESOLUTIONS].map(|key| {
        let is_asked = fields.optional(key, false, boolean);
        if is_asked == Some(true) && !(has_cursor && form == Some(Form::Operations)) {
            fields.fault(key, "needs the key cursor, and operations rather than documents");
        }
        is_asked
    });
    let _ = fields.optional("vectorClock", (), an_object);
    let audit = with_subjects.zip(with_resolutions);
    let request = from.zip(max_operations).zip(client_id.zip(audit));
    let request = request.map(|(((from, view), max_operations), (client_id, audit))| PullRequest {
        client_id,
        max_operations,
        view,
        with_subjects: audit.0,
        with_resolutions: audit.1,
        ..PullRequest::new(from)
    });
    let asked = request.zip(wait).map(|(request, wait)| Asked { request, wait, is_from_now });
    faults.into_result(asked).map_err(ApiError::BadFields)
}

/// The form in which changes are returned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Operations,
    Documents,
}

fn form(text: &str) -> Result<Form, String> {
    match &*string(text)? {
        "operations" => Ok(Form::Operations),
        "documents" => Ok(Form::Documents),
        _ => Err("must be operations or documents".to_owned()),
    }
}

fn since(text: &str) -> Result<UnixMs, String> {
    json::integer(text, SINCE_MAX).map(UnixMs::new).map_err(|problem| problem.to_string())
}

fn wait(text: &str) -> Result<Duration, String> {
    let seconds = json::integer(text, WAIT_MAX_SECONDS);
    seconds.map(Duration::from_secs).map_err(|_| format!("must be an integer from 0 to {WAIT_MAX_SECONDS}"))
}

/// A cursor as a client has it.
#[derive(Debug)]
pub(in crate::api) struct MarkedCursor {
    pub(in crate::api) cursor: Cursor,
    /// The fingerprint of the collections to which its pull was limited.
    collections: Option<u64>,
    /// The fingerprint of the client's view, if it might not see everything.
    view: Option<u64>,
}

impl MarkedCursor {
    const BEGINNING: Self = Self { cursor: Cursor::BEGINNING, collections: None, view: None };
}

/// The cursor of a client that only wants to hear of what comes.
const NOW: &str = "now";

/// Stands before the fingerprint of the collections in the text of a cursor.
const COLLECTIONS_MARK: char = '~';

/// Stands before the fingerprint of the view.
const VIEW_MARK: char = '!';

/// Reads a cursor of a request. With `null` and an empty text the client has nothing yet.
pub(in crate::api) fn cursor(text: &str) -> Result<Option<MarkedCursor>, String> {
    if text == "null" {
        return Ok(None);
    }
    let text = string(text)?;
    if text.is_empty() {
        return Ok(None);
    }
    marked_cursor(&text).map(Some).map_err(|problem| problem.to_string())
}

/// Reads the text of a cursor.
pub(super) fn marked_cursor(text: &str) -> Result<MarkedCursor, NotACursor> {
    let (rest, view) = split_mark(text, VIEW_MARK)?;
    let (place, collections) = split_mark(rest, COLLECTIONS_MARK)?;
    Ok(MarkedCursor { cursor: Cursor::parse(place)?, collections, view })
}

/// The text before a mark, and the number behind it.
fn split_mark(text: &str, mark: char) -> Result<(&str, Option<u64>), NotACursor> {
    let Some((before, number)) = text.split_once(mark) else { return Ok((text, None)) };
    let number = u64::from_str_radix(number, 16).map_err(|_| NotACursor)?;
    Ok((before, Some(number)))
}

fn an_object(text: &str) -> Result<(), &'static str> {
    if text.starts_with('{') { Ok(()) } else { Err("must be an object") }
}

/// Writes a page. `mark` is the fingerprint of the collections to which the pull was limited. `poll_after` is the pause
/// before it is worth asking again, in seconds.
pub(in crate::api) fn write(page: &PulledPage, mark: Option<u64>, poll_after: Option<u64>) -> String {
    let bytes: usize = page.entries.iter().map(LogEntry::wire_bytes).sum();
    let mut text = String::with_capacity(bytes + ANSWER_FRAME_BYTES);
    ObjectWriter::write(&mut text, |object| {
        object.array("operations", &page.entries, |out, entry| entry.write(out));
        object.raw("conflicts", "[]");
        if let Some(cursor) = page.cursor {
            let mut text = cursor.to_string();
            for (mark, number) in [(COLLECTIONS_MARK, mark), (VIEW_MARK, page.view)] {
                if let Some(number) = number {
                    text = format!("{text}{mark}{number:x}");
                }
            }
            object.string("cursor", &text);
        }
        object.boolean("hasMore", page.has_more);
        if let Some(seconds) = poll_after {
            object.number("pollAfterSeconds", seconds);
        }
    });
    text
}

/// The bytes of a page without its operations, more or less.
const ANSWER_FRAME_BYTES: usize = 150;

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> String {
        format!("{:?}", read(text).unwrap().request.from)
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
        assert_eq!(from(r#"{"as":"operations"}"#), "Since(UnixMs(0))");
        assert_eq!(from(r#"{"as":"operations","cursor":null}"#), "Cursor(None)");
    }

    #[test]
    fn documents_may_be_limited_to_some_collections() {
        let all = from(r#"{"cursor":null,"as":"documents"}"#);
        assert_eq!(all, "Documents { after: None, collections: None }");
        let some = from(r#"{"cursor":"l.1.2","as":"documents","collections":["b","a","b"]}"#);
        assert!(some.ends_with(r#"collections: Some(Collections({"a", "b"})) }"#), "{some}");
    }

    #[test]
    fn a_cursor_of_some_collections_is_only_for_these() {
        let mark = Collections::new([Collection::literal("a")]).unwrap().fingerprint();
        let page = PulledPage { entries: Vec::new(), cursor: Some(Cursor::BEGINNING), has_more: false, view: None };
        let answer: serde_json::Value = serde_json::from_str(&write(&page, Some(mark), None)).unwrap();
        let request = |rest: &str| format!(r#"{{"cursor":{},{rest}}}"#, answer["cursor"]);
        let same = from(&request(r#""as":"documents","collections":["a"]"#));
        assert!(same.starts_with("Documents { after: Some("), "{same}");
        for others in [
            r#""limit":1"#,
            r#""as":"documents""#,
            r#""as":"documents","collections":["a","b"]"#,
            r#""as":"operations""#,
        ] {
            let Err(ApiError::BadFields(faults)) = read(&request(others)) else { panic!("{others}") };
            assert!(faults.to_string().starts_with("cursor: is one of other collections"), "{faults}");
        }
        let of_all = from(r#"{"cursor":"l.0.0","as":"documents","collections":["a"]}"#);
        assert!(of_all.starts_with("Documents { after: Some("), "who has everything may go on with less: {of_all}");
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
            (r#"{"cursor":"l.0.0~"}"#, "cursor"),
            (r#"{"cursor":"l.0.0~x"}"#, "cursor"),
            (r#"{"as":"documents"}"#, "as"),
            (r#"{"as":"documents","since":5}"#, "as"),
            (r#"{"as":"x","cursor":null}"#, "as"),
            (r#"{"as":null}"#, "as"),
            (r#"{"cursor":null,"collections":["a"]}"#, "collections"),
            (r#"{"cursor":null,"as":"documents","collections":null}"#, "collections"),
            (r#"{"cursor":null,"as":"documents","collections":"a"}"#, "collections"),
            (r#"{"cursor":null,"as":"documents","collections":[]}"#, "collections"),
            (r#"{"cursor":null,"as":"documents","collections":["a",""]}"#, "collections[1]"),
            (r#"{"cursor":null,"as":"documents","collections":["a",5]}"#, "collections[1]"),
            (r#"{"wait":5}"#, "wait"),
            (r#"{"cursor":null,"wait":26}"#, "wait"),
            (r#"{"cursor":null,"wait":-1}"#, "wait"),
            (r#"{"cursor":null,"wait":0.5}"#, "wait"),
            (r#"{"cursor":null,"wait":"5"}"#, "wait"),
            (r#"{"cursor":null,"wait":null}"#, "wait"),
            (r#"{"clientId":null}"#, "clientId"),
            (r#"{"clientId":""}"#, "clientId"),
            (r#"{"clientId":"syncflow-server"}"#, "clientId"),
            (r#"{"cursor":null,"clientId":"syncflow-server::clock"}"#, "clientId"),
            (r#"{"subjects":1}"#, "subjects"),
            (r#"{"subjects":true}"#, "subjects"),
            (r#"{"cursor":null,"as":"documents","subjects":true}"#, "subjects"),
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
    fn a_client_may_begin_at_the_end_of_the_log() {
        for (text, expected) in [
            (r#"{"cursor":"now"}"#, true),
            (r#"{"cursor":"n\u006fw","as":"documents","collections":["a"],"wait":5}"#, true),
            (r#"{"cursor":"l.0.0"}"#, false),
            (r#"{"cursor":null}"#, false),
        ] {
            assert_eq!(read(text).unwrap().is_from_now, expected, "{text}");
        }
    }

    #[test]
    fn a_clock_of_any_size_is_ignored() {
        let clock: Vec<String> = (0..5_000).map(|client| format!("\"{client}\":\"x\"")).collect();
        assert!(read(&format!("{{\"vectorClock\":{{{}}}}}", clock.join(","))).is_ok());
    }
}
