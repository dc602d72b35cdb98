//! `POST /operations`: push the operations that a client made.
//!
//! Request: `{"clientId":"client-123","operations":[…]}`, at most 1,000 operations, each an object with
//!
//! | key | value |
//! |---|---|
//! | `id` | what identifies the operation for ever; a name that does not begin with `syncflow-server::resolved::` |
//! | `type` | `insert`, `update` or `delete` |
//! | `collection`, `docId` | the document; names |
//! | `data` | an object, at most 1 MiB and 64 levels deep; needed for `insert` and `update`, ignored for `delete` |
//! | `timestamp` | integer from 1 to 2^53−1, the client's own time |
//! | `clientId` | who made it; a name, but not `syncflow-server` or one that begins with `syncflow-server:` |
//! | `vectorClock` | object: client to counter, an integer from 0 to 2^53−1; at most 10,000 clients and 256 KiB |
//! | `baseRev` | in place of `vectorClock`: the revision that the author saw, from 0 to 2^53−1 |
//! | `synced` | ignored |
//!
//! Names are 1 to 256 bytes of UTF-8 without control characters. `clientId` of the push is needed, but need not be that
//! of its operations. A lone surrogate, U+0000 and a number beyond a double's range have no place in `data`.
//!
//! `"partial":true` beside `operations` makes a push *partial*: an operation that is at fault stops only the later ones
//! on its document.
//!
//! `"cursor":"…"` beside `operations` says from which place of the log the client knows the revisions in `baseRev`, and
//! is needed for those above 0. `"place":"…"` says the same of revisions from the answer to an earlier push.
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"accepted":[…],"conflicts":[…]}`: each operation is in one of them, or in `refused` of a partial push |
//! | 400 | something is wrong with the request; every faulty field is named, and nothing was applied |
//! | 403 | `foreign_client`: the client id in `fields` belongs to another subject, and nothing was applied |
//! | 410 | `reset`: `cursor` or `place` is of another log, and nothing was applied |
//!
//! *Accepted* operations took effect, now or in an earlier push: an id takes effect once, however often it is pushed.
//! They survive any crash from then on, and are answered with exactly the bytes that were sent. An operation that
//! reuses the id of a different one is accepted too, and has no effect. Two operations of one push may have the same id
//! only if their fields have equal JSON values. Otherwise the answer is a 400 that names the later one's `id`.
//!
//! Operations *in conflict* have a vector clock that *happens before* that of the server's document or is *concurrent*
//! with it. They changed nothing. They are answered as they were sent, but with the server's `data` (`null` if the
//! document is deleted) and `vectorClock`. In addition they have
//! `"conflict":{"relation":"concurrent","rev":3,"deleted":false,"operationId":"…","clientId":"…","timestamp":…}`: the
//! relation of the clocks, and the rest of the server's document.
//!
//! An operation with a `baseRev` is applied if the document has this revision, and otherwise it is in conflict as
//! `concurrent`. The server derives its clock. With the key `cursor`, the answer also has the `revisions` that were
//! reached, and the `place` up to which they are known.
//!
//! *Resolved* operations are accepted ones whose author had not seen the document's content, under a
//! [policy](crate::core::policy) with which the server resolves conflicts. If there are any, the answer also has
//! `"resolved":[{"id":"…","operation":"…","outcome":"lost","lost":{…}}]`. `operation` is the id of the resolution in
//! the log. `outcome` says how much of the operation survived: `won`, `lost` or `merged`. `lost` has the values that
//! did not. An operation that is pushed again is not in this list.
//!
//! An `insert` replaces the document's data. An `update` adds its data to those of the document, replaces equal keys
//! (`null` stays a value), and creates the document if there is none. A `delete` leaves a tombstone. If a document
//! would become larger than 1 MiB, the answer is a 400 that names the operation's `data`.
//!
//! *Refused* operations of a partial push changed nothing. Each has its `index` in the push, its `id` if it has a valid
//! one, the `fields` at fault and a `message`. It is refused for faults of its fields or because its document
//! would become larger than 1 MiB. It may also be refused because its author belongs to another subject, or because the
//! application does not allow it. Later operations on its document are refused too.
//!
//! A push is also answered with a 400 in the following cases. It names `operations`; fewer operations at a time help.
//! If the client pulls with `since`, the server carries the push out in several commits where that helps.
//!
//! - The documents in the conflicts have more than 4 MiB together.
//! - The documents that the push changes have more than 16 MiB together, before it or after it.
//! - The documents that the push updates have more than 500,000 keys together.
//! - The clocks that the server derives have more than 4 MiB together.
//! - Several operations take the database too long.
//! - Behind a Lambda, echo and conflicts might be larger than the answer that it may pass on ([`AnswerLimit`]).

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::response::Response;
use http::StatusCode;

use crate::api::access::{CLIENT_FIELD, OPERATIONS_FIELD, Writer};
use crate::api::answer;
use crate::api::body::BodyText;
use crate::api::error::{ApiError, excerpt};
use crate::api::push_body::{self, BUILDS_ON_REFUSED, Faulty, Partial};
use crate::api::schema::{
    self, BadRequest, CursorGone, LayerErrors, PushAnswer, QuotaExceeded, Unauthorized, Unavailable,
};
use crate::core::access::Principal;
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::{OperationRefused, Outcome, Reached, Refused};
use crate::core::json::{ObjectWriter, Picked, Sink, string};
use crate::core::names::OperationId;
use crate::core::text::Text;
use crate::limits::api::REFUSED_MAX_BYTES;
use crate::limits::protocol::{DOCUMENT_MAX_BYTES, PUSH_CONFLICTS_MAX_BYTES};
use crate::service::{InvalidOperation, PushRequest, Pushed, ServiceError, SyncService, Undecidable};

/// Pushes the operations of a client.
#[utoipa::path(
    post,
    path = "/operations",
    tag = "sync",
    security(("token" = [])),
    request_body = schema::PushRequest,
    responses(
        (status = 200, description = "what became of each operation", body = PushAnswer),
        BadRequest, CursorGone, LayerErrors, Unauthorized, QuotaExceeded, Unavailable,
    ),
)]
pub(in crate::api) async fn push_operations(
    State(service): State<Arc<SyncService>>,
    Writer(principal): Writer,
    limit: Option<Extension<AnswerLimit>>,
    body: BodyText,
) -> Result<Response, ApiError> {
    let limit = limit.map(|Extension(limit)| limit);
    let answer = push(&service, &principal, limit, body.as_text()).await;
    // The push of an original client may go on without the operations that are at fault.
    if let Err(ApiError::BadFields(_)) = &answer
        && let Some(lenient) = push_leniently(&service, &principal, limit, body.as_text()).await?
    {
        return Ok(lenient);
    }
    answer
}

async fn push(
    service: &SyncService,
    principal: &Principal,
    limit: Option<AnswerLimit>,
    body: &Text,
) -> Result<Response, ApiError> {
    let push_body::ReadPush { texts, operations, bases, asks_for_place, client_id, partial, is_strict, .. } =
        push_body::read(body)?;
    let span = tracing::Span::current();
    span.record(CLIENT_FIELD, client_id.as_str());
    span.record(OPERATIONS_FIELD, operations.len());
    let partial = partial.map(Refusals::of);
    let conflicts_max_bytes = conflicts_max_bytes(&texts, partial.as_ref(), asks_for_place, limit)?;
    let request = PushRequest::new(operations).with_client(client_id).with_conflicts_max_bytes(conflicts_max_bytes);
    let known = bases.places.iter().map(|place| place.seq).max().unwrap_or_default();
    let request = request.with_bases(bases);
    let request = if partial.is_some() { request.partial() } else { request };
    let request = if is_strict { request.strict() } else { request };
    let outcomes = outcomes_of(service.push_as(principal, request).await?)?;
    let reached = if asks_for_place {
        let applied = outcomes.iter().filter(|outcome| outcome.is_applied()).count();
        let place = service.place_from(&principal.tenant, known.plus(applied as u64)).await;
        Some(ReachedPlace(place))
    } else {
        None
    };
    Ok(answer::json(StatusCode::OK, write(&texts, &outcomes, partial, reached.as_ref())))
}

/// Pushes the operations that can be decided, and puts the others into quarantine. All are answered as accepted.
///
/// `None` if the client does not pull with `since`, or if the quarantine has no room. Nothing has changed then, unless
/// the decision has found more operations for the quarantine, or other pushes have used up its room meanwhile. The
/// others have taken effect then, and are known when the client pushes them again.
async fn push_leniently(
    service: &SyncService,
    principal: &Principal,
    limit: Option<AnswerLimit>,
    body: &Text,
) -> Result<Option<Response>, ApiError> {
    let Ok(read) = push_body::read_leniently(body) else { return Ok(None) };
    let push_body::ReadPush { texts: good, operations, bases, client_id, partial, is_strict, is_partial, .. } = read;
    let Some(Partial { indexes, faulty }) = partial.filter(|_| !is_partial) else { return Ok(None) };
    let mut undecidable = Vec::new();
    let mut texts: Vec<(usize, &str)> = indexes.iter().copied().zip(good).collect();
    for Faulty { index, text, faults } in &faulty {
        texts.push((*index, text));
        undecidable.push(Undecidable::new(text, faults.to_string()));
    }
    texts.sort_unstable();
    let texts: Vec<&str> = texts.into_iter().map(|(_, text)| text).collect();
    let has_room = async |undecidable: &[Undecidable<'_>]| {
        let bytes = undecidable.iter().map(|undecidable| undecidable.text.len()).sum();
        service.has_room_in_quarantine(&principal.tenant, &client_id, undecidable.len(), bytes).await
    };
    if !has_room(&undecidable).await? {
        return Ok(None);
    }
    let conflicts_max_bytes = conflicts_max_bytes(&texts, None, false, limit)?;
    let request = PushRequest::new(operations).with_client(client_id.clone()).with_bases(bases).lenient();
    let request = request.with_conflicts_max_bytes(conflicts_max_bytes);
    let request = if is_strict { request.strict() } else { request };
    let decided = outcomes_of(service.push_as(principal, request).await?)?;
    // An operation in quarantine is answered as one that has changed nothing.
    let mut outcomes = vec![Outcome::Duplicate; texts.len()];
    for (index, outcome) in indexes.into_iter().zip(decided) {
        match outcome {
            Outcome::Refused(refused) => undecidable.push(Undecidable::new(texts[index], reason_of(&refused).1)),
            outcome => outcomes[index] = outcome,
        }
    }
    // The decision may have found more of them, and other pushes may have used up the room.
    if !service.quarantine(&principal.tenant, &client_id, &undecidable).await? {
        return Ok(None);
    }
    Ok(Some(answer::json(StatusCode::OK, write(&texts, &outcomes, None, None))))
}

/// The outcomes of a push, or the error of one that was refused.
fn outcomes_of(pushed: Pushed) -> Result<Vec<Outcome>, ApiError> {
    match pushed {
        Pushed::Decided(outcomes) => Ok(outcomes),
        Pushed::Invalid(invalid) => Err(ApiError::bad_fields(
            invalid.into_iter().map(|InvalidOperation { index, message }| (format!("operations[{index}]"), message)),
        )),
        Pushed::Refused(Refused::DocumentTooLarge { index }) => Err(ApiError::bad_field(
            format_args!("operations[{index}].data"),
            format_args!("the document would have more than {DOCUMENT_MAX_BYTES} bytes"),
        )),
        Pushed::Refused(Refused::ClockTooLarge { index }) => {
            Err(ApiError::bad_field(format_args!("operations[{index}].vectorClock"), CLOCK_TOO_LARGE))
        }
        Pushed::Refused(Refused::ForeignClient { index }) => {
            let field = index.map_or("clientId".to_owned(), |index| format!("operations[{index}].clientId"));
            Err(ApiError::ForeignClient { field })
        }
        Pushed::Refused(Refused::UnknownBase { index }) => {
            Err(ApiError::bad_field(format_args!("operations[{index}].baseRev"), UNKNOWN_BASE))
        }
        Pushed::Refused(Refused::OtherLog) => Err(ApiError::CursorReset),
        Pushed::Refused(Refused::ClocksTooLarge { max_bytes }) => Err(ApiError::bad_field(
            "operations",
            format_args!("have clocks that are more than {max_bytes} bytes together; push fewer at a time"),
        )),
        Pushed::Refused(Refused::DocumentDamaged { index }) => {
            Err(ApiError::Internal { cause: format!("the document of operations[{index}] is damaged in the store") })
        }
        Pushed::Refused(Refused::ConflictsTooLarge { max_bytes }) => Err(ApiError::bad_field(
            "operations",
            format_args!("have conflicts whose documents are more than {max_bytes} bytes; push fewer at a time"),
        )),
        Pushed::Refused(Refused::DocumentsTooLarge { max_bytes }) => Err(ApiError::bad_field(
            "operations",
            format_args!("change documents that are more than {max_bytes} bytes together; push fewer at a time"),
        )),
        Pushed::Refused(Refused::TooManyKeys { max_keys }) => Err(ApiError::bad_field(
            "operations",
            format_args!("update documents that have more than {max_keys} keys together; push fewer at a time"),
        )),
        Pushed::Refused(Refused::QuotaExceeded(exceeded)) => Err(ServiceError::QuotaExceeded(exceeded).into()),
        Pushed::Refused(Refused::TooSlow) => {
            Err(ApiError::bad_field("operations", "take the database too long; push fewer at a time"))
        }
    }
}

/// The limit for the body of an answer, if the service that passes it on has one. It is an extension of the request.
///
/// A push whose answer might be larger is refused before it takes effect.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLimit {
    /// The limit in bytes, before any encoding.
    pub max_bytes: usize,
}

/// The limit for all documents in a push's conflicts together, in bytes. It leaves room for every operation as it was
/// sent.
fn conflicts_max_bytes(
    texts: &[&str],
    refusals: Option<&Refusals>,
    asks_for_place: bool,
    limit: Option<AnswerLimit>,
) -> Result<usize, ApiError> {
    let Some(AnswerLimit { max_bytes }) = limit else { return Ok(PUSH_CONFLICTS_MAX_BYTES) };
    // Each operation is answered as it was sent or, in a partial push, by a refusal.
    let least_bytes = refusals.map_or(0, |_| REFUSED_MAX_BYTES);
    let refused_bytes = refusals.map_or(0, |refusals| refusals.written.iter().map(|(_, text)| text.len() + 1).sum());
    // The id and the author of an operation are answered twice then, and they are part of its text.
    let reached_bytes = |text: &str| if asks_for_place { text.len() + REACHED_FRAME_BYTES } else { 0 };
    let echoed_bytes =
        texts.iter().map(|text| text.len().max(least_bytes) + 1 + reached_bytes(text)).sum::<usize>() + refused_bytes;
    match max_bytes.checked_sub(ANSWER_FRAME_BYTES + echoed_bytes) {
        Some(left) => Ok(left.min(PUSH_CONFLICTS_MAX_BYTES)),
        None => Err(ApiError::bad_field(
            "operations",
            format_args!("are answered with more than {max_bytes} bytes; push fewer at a time"),
        )),
    }
}

/// The size of an answer without any operation, in bytes.
const ANSWER_FRAME_BYTES: usize =
    r#"{"accepted":[],"conflicts":[],"resolved":[],"refused":[],"revisions":[],"place":"l.1fffffffffffff.ffffffffffff"}"#
        .len();

/// The size of the revision that an operation has reached, without its names, in bytes.
const REACHED_FRAME_BYTES: usize =
    r#"{"id":,"rev":9007199254740991,"raised":{:9007199254740991,"syncflow-server::clock":9007199254740991}},"#.len();

/// The refusals of a partial push.
pub(in crate::api) struct Refusals {
    /// The index in the push of each operation that was decided.
    decided: Vec<usize>,
    /// The index and the text of each refusal.
    written: Vec<(usize, String)>,
}

impl Refusals {
    /// The refusals of the operations with faults in their fields.
    pub(in crate::api) fn of(partial: Partial<'_>) -> Self {
        let written = |Faulty { index, text, faults }: &Faulty<'_>| {
            (*index, refusal(*index, text, faults.names(), &faults.to_string()))
        };
        Self { decided: partial.indexes, written: partial.faulty.iter().map(written).collect() }
    }

    /// Adds the refusals of operations that were refused later. Returns all in the order of the push.
    fn with(self, texts: &[&str], outcomes: &[Outcome]) -> Vec<(usize, String)> {
        let Self { decided, mut written } = self;
        for ((index, text), outcome) in decided.into_iter().zip(texts).zip(outcomes) {
            let Outcome::Refused(refused) = outcome else { continue };
            let (field, message) = reason_of(refused);
            written.push((index, refusal(index, text, field, &message)));
        }
        written.sort_by_key(|(index, _)| *index);
        written
    }
}

/// The field at fault and the message for an operation that is refused.
fn reason_of(refused: &OperationRefused) -> (Option<&'static str>, String) {
    match refused {
        OperationRefused::DocumentTooLarge => {
            (Some("data"), format!("the document would have more than {DOCUMENT_MAX_BYTES} bytes"))
        }
        OperationRefused::ClockTooLarge => (Some("vectorClock"), CLOCK_TOO_LARGE.to_owned()),
        OperationRefused::UnknownBase => (Some("baseRev"), UNKNOWN_BASE.to_owned()),
        OperationRefused::ForeignClient => (Some("clientId"), FOREIGN_CLIENT.to_owned()),
        OperationRefused::BuildsOnRefused => (None, BUILDS_ON_REFUSED.to_owned()),
        OperationRefused::Invalid(message) => (None, excerpt(message)),
    }
}

/// The message for an operation whose clock and that of its document are too large together.
const CLOCK_TOO_LARGE: &str = "has too many clients together with the clock of the document";

/// The message for an operation whose author belongs to another subject.
const FOREIGN_CLIENT: &str = "belongs to another subject than the one that pushes";

/// The message for an operation that names a revision of a document that does not exist.
const UNKNOWN_BASE: &str = "is a revision of a document that does not exist";

/// The refusal of one operation.
fn refusal<'f>(index: usize, text: &str, fields: impl IntoIterator<Item = &'f str>, message: &str) -> String {
    let mut written = String::new();
    ObjectWriter::write(&mut written, |object| {
        object.number("index", index as u64);
        let members = Picked::parse(text, &["id"]);
        if let Some(id) = members.ok().and_then(|members| string(members.get("id")?).ok())
            && OperationId::parse(&id).is_ok()
        {
            object.string("id", &id);
        }
        object.array("fields", fields, Sink::push_string);
        object.string("message", message);
    });
    written
}

/// The place in the log up to which the revisions of an answer are known, if it could be found.
pub(in crate::api) struct ReachedPlace(pub(in crate::api) Option<Position>);

/// The answer to a push: its operations by their outcomes, and the refusals of a partial one. If the client asks for
/// it, the answer also has the revisions that were reached, and their place.
pub(in crate::api) fn write(
    texts: &[&str],
    outcomes: &[Outcome],
    refusals: Option<Refusals>,
    reached: Option<&ReachedPlace>,
) -> String {
    let mut answer = String::with_capacity(texts.iter().map(|text| text.len() + 1).sum::<usize>() + ANSWER_FRAME_BYTES);
    let outcomes_of = || texts.iter().zip(outcomes);
    let accepted = outcomes_of().filter(|(_, outcome)| outcome.is_accepted());
    let conflicts =
        outcomes_of().filter(|(_, outcome)| matches!(outcome, Outcome::Conflict(_) | Outcome::Forbidden(_)));
    ObjectWriter::write(&mut answer, |object| {
        object.array("accepted", accepted, |out, (text, _)| out.push_str(text));
        object.array("conflicts", conflicts, |out, (text, outcome)| write_conflict(out, text, outcome));
        let resolved = || {
            outcomes.iter().filter_map(|outcome| match outcome {
                Outcome::Resolved(resolved) => Some(resolved),
                _ => None,
            })
        };
        if resolved().next().is_some() {
            object.array("resolved", resolved(), |out, resolved| resolved.write(out));
        }
        if let Some(refusals) = refusals {
            object.array("refused", refusals.with(texts, outcomes), |out, (_, refusal)| out.push_str(&refusal));
        }
        if let Some(ReachedPlace(place)) = reached {
            let reached = outcomes_of().filter_map(|(text, outcome)| match outcome {
                Outcome::Reached(reached) => Some((text, reached)),
                _ => None,
            });
            object.array("revisions", reached, |out, (text, reached)| write_reached(out, text, reached));
            if let Some(place) = place {
                object.string("place", &Cursor::Log(*place).to_string());
            }
        }
    });
    answer
}

/// Writes the revision that an operation has reached.
fn write_reached(out: &mut String, text: &str, Reached { rev, raised, .. }: &Reached) {
    ObjectWriter::write(out, |object| {
        if let Some(id) = Picked::parse(text, &["id"]).ok().as_ref().and_then(|sent| sent.get("id")) {
            object.raw("id", id);
        }
        object.number("rev", rev.get());
        object.raw("raised", raised.json().as_str());
    });
}

/// The members of a pushed operation that are answered as sent, whatever comes of it, and the client's own mark.
const SENT_KEYS: [&str; 7] = ["id", "type", "collection", "docId", "timestamp", "clientId", "synced"];

/// Writes an operation as it was sent, but with the server's data and clock.
fn write_conflict(out: &mut String, text: &str, outcome: &Outcome) {
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
        outcome.write_members(is_synced, object);
    });
}
