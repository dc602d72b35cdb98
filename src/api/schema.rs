//! The schemas in `/openapi.json` of requests, of answers that are written by hand, and of shared errors.
//!
//! Requests are read field by field, so that all faults can be named, and long answers are written as text. So most of
//! these types only describe. The tests of this file compare the requests with their readers and the answers with their
//! writers. Every test over HTTP also compares its answers with the description (`tests/endpoints/contract.rs`).
#![expect(dead_code, reason = "requests are read and long answers written without an intermediate form")]

mod resolved;

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

use self::resolved::ResolvedOperation;
use super::error::ErrorBody;

/// A name: 1 to 256 bytes of UTF-8 without control characters.
#[derive(ToSchema, PartialEq, Eq, PartialOrd, Ord)]
#[schema(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
pub(super) struct Name(String);

/// One insert, update or delete of one document, made by one client. Further keys are kept in the answer and ignored.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Operation {
    Write(Write),
    Delete(Delete),
}

/// An operation that gives its document data.
#[derive(ToSchema)]
#[schema(example = json!({
    "id": "op-uuid", "type": "insert", "collection": "todos", "docId": "doc-1",
    "data": {"title": "Buy milk", "completed": false}, "timestamp": 1_234_567_890, "clientId": "client-123",
    "synced": false, "vectorClock": {"client-123": 1},
}))]
pub(super) struct Write {
    #[serde(flatten)]
    made: Made,
    #[serde(flatten)]
    seen: Seen,
    r#type: WriteType,
    /// At most 1 MiB and 64 levels deep.
    #[schema(example = json!({"title": "Buy milk", "completed": false}))]
    data: BTreeMap<String, Value>,
    /// Ignored; clients use it themselves.
    #[schema(required = false, example = false)]
    synced: Value,
}

/// An operation that deletes its document.
#[derive(ToSchema)]
pub(super) struct Delete {
    #[serde(flatten)]
    made: Made,
    #[serde(flatten)]
    seen: Seen,
    r#type: DeleteType,
    /// Ignored.
    #[schema(required = false)]
    data: Value,
    /// Ignored; clients use it themselves.
    #[schema(required = false, example = false)]
    synced: Value,
}

/// The document of an operation, its author and its time. Its `id` is never used for another operation.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct Made {
    id: Name,
    collection: Name,
    doc_id: Name,
    /// The time of the operation by the client's clock.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991.0, example = 1_234_567_890)]
    timestamp: u64,
    client_id: Name,
}

/// The state of the document that the author had seen. An operation has exactly one of both.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct Seen {
    /// All that the client had seen, this operation included: a counter for each client, at most 10,000 clients
    /// and 256 KiB.
    #[schema(required = false, example = json!({"client-123": 1}))]
    vector_clock: BTreeMap<Name, Counter>,
    /// The revision of the document that the client had seen; 0 if there was none. Above 0, the push needs `cursor`.
    #[schema(required = false, maximum = 9_007_199_254_740_991.0)]
    base_rev: u64,
}

/// The effect of a write on its document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum WriteType {
    Insert,
    Update,
}

/// The effect of a delete on its document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum DeleteType {
    Delete,
}

/// The effect of an operation on its document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum OperationType {
    Insert,
    Update,
    Delete,
}

/// The number of a client's operations that were seen.
#[derive(ToSchema)]
#[schema(minimum = 0, maximum = 9_007_199_254_740_991.0)]
struct Counter(u64);

/// The operations of a client.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct PushRequest {
    client_id: Name,
    #[schema(max_items = 1_000)]
    operations: Vec<Operation>,
    /// Whether operations that are at fault stop only the later ones on their documents. All of these are answered in
    /// `refused`.
    #[schema(required = false, default = false)]
    partial: bool,
    /// Whether an operation is in conflict if its author's counter is not greater than in the document's clock.
    #[schema(required = false, default = false)]
    strict: bool,
    /// The cursor of the pull from which the client knows the revisions in `baseRev`; `null` if it has pulled nothing.
    #[schema(required = false)]
    cursor: Option<String>,
    /// The `place` of the answer to an earlier push from which the client knows some of these revisions.
    #[schema(required = false)]
    place: Option<String>,
}

/// The outcomes of pushed operations. Each operation is in one of the lists.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(super) struct PushAnswer {
    /// Operations that took effect, now or in an earlier push, exactly as they were sent.
    accepted: Vec<Operation>,
    /// Operations whose author had not seen the document's current state. They changed nothing.
    conflicts: Vec<Conflict>,
    /// Accepted operations whose author had not seen the document's content, if the server has resolved conflicts.
    #[schema(required = false)]
    resolved: Vec<ResolvedOperation>,
    /// Operations that are at fault, and those that may build on them, in the order of the push. They changed nothing.
    /// Only for a partial push.
    #[schema(required = false)]
    refused: Vec<RefusedOperation>,
    /// The revisions to which accepted operations with a `baseRev` have led, as far as they are still those of their
    /// documents. Only for a push with the key `cursor`.
    #[schema(required = false)]
    revisions: Vec<ReachedRevision>,
    /// The place in the log up to which the revisions in this answer are known. Only for a push with the key `cursor`.
    #[schema(required = false)]
    place: String,
}

/// The revision to which an operation has led.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
struct ReachedRevision {
    /// The id of the operation.
    id: String,
    #[schema(minimum = 1)]
    rev: u64,
    /// The entries of the document's clock that that of the revision in `baseRev` does not have, or has with a smaller
    /// counter.
    #[schema(example = json!({"client-123": 1_700_000_000_000_u64}))]
    raised: BTreeMap<String, Counter>,
}

/// An operation of a partial push that is at fault.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
struct RefusedOperation {
    /// Its index in the push.
    #[schema(maximum = 999)]
    index: u64,
    /// Its id, if it has a valid one.
    #[schema(required = false)]
    id: String,
    /// The fields at fault, named from the operation on. Empty if the operation as a whole is refused.
    #[schema(max_items = 5, example = json!(["data"]))]
    fields: Vec<String>,
    message: String,
}

/// An operation as it was sent, but with the server's `data` (`null` if the document is deleted) and `vectorClock`.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct Conflict {
    #[serde(flatten)]
    made: Made,
    /// The vector clock of the server's document.
    vector_clock: BTreeMap<Name, Counter>,
    r#type: OperationType,
    #[schema(required = true)]
    data: Option<BTreeMap<String, Value>>,
    /// Whether the operation was sent with the value true.
    synced: bool,
    #[serde(rename = "conflict")]
    details: ConflictDetails,
}

/// The relation of the operation to the server's document.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
struct ConflictDetails {
    relation: Relation,
    /// The document's revision. It is missing, as all that follows, if the client may not see the document.
    #[schema(minimum = 1, required = false)]
    rev: u64,
    /// Whether the document is deleted.
    #[schema(required = false)]
    deleted: bool,
    /// The operation that wrote the document last.
    #[schema(required = false)]
    operation_id: String,
    /// The author of that operation.
    #[schema(required = false)]
    client_id: String,
    /// The time of that operation by its author's clock.
    #[schema(required = false)]
    timestamp: u64,
}

/// The relation of the operation's vector clock to the document's, or that the client may not do this.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
enum Relation {
    HappensBefore,
    Concurrent,
    Forbidden,
}

/// The changes that a client requests. With the key `cursor`, `since` is ignored.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ChangesRequest {
    /// The cursor of the last answer; `null` or empty for a client that has nothing. With `now` a client only hears of
    /// later changes.
    #[schema(required = false)]
    cursor: Option<String>,
    /// Whether the answer has every operation, or each changed document once and whole. `documents` needs the key
    /// `cursor`.
    #[schema(required = false, inline, default = "operations")]
    r#as: Form,
    /// With `"as":"documents"`: the only collections whose documents the client wants.
    #[schema(required = false, min_items = 1, max_items = 100, example = json!(["todos"]))]
    collections: Vec<Name>,
    /// The greatest `timestamp` of the last page that the client applied.
    #[schema(required = false, default = 0, maximum = 18_014_398_509_481_984.0, example = 1_234_567_890)]
    since: u64,
    /// The most operations on the page; more than 1,000 means 1,000.
    #[schema(required = false, minimum = 1, default = 100, example = 100)]
    limit: u64,
    /// With `cursor`: for how many seconds the answer may wait for changes if there are none.
    #[schema(required = false, maximum = 25, default = 0, example = 20)]
    wait: u64,
    /// The client. With it, a client that knows only `since` misses nothing.
    #[schema(required = false)]
    client_id: Name,
    /// With `cursor`: whether each operation has the subject that pushed it. For the roles `admin` and `service`.
    #[schema(required = false, default = false)]
    subjects: bool,
    /// With `cursor`: whether each resolution says what was resolved. For the roles `admin` and `service`.
    #[schema(required = false, default = false)]
    resolutions: bool,
    /// Ignored: the cursor, or the client's id and `since`, say what a client has.
    #[schema(required = false)]
    vector_clock: BTreeMap<String, Value>,
}

/// The form of changes.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum Form {
    Operations,
    Documents,
}

/// A page of changes.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(super) struct ChangesAnswer {
    operations: Vec<PulledOperation>,
    /// Always empty.
    #[schema(max_items = 0)]
    conflicts: Vec<Operation>,
    /// The cursor of the next page. Left out if the request had neither a cursor nor a `clientId`.
    #[schema(required = false)]
    cursor: String,
    /// Whether there is more, so that the client should send the next request at once.
    has_more: bool,
    /// How many seconds a client waits before it asks again. Left out if the server has other ways to tell it.
    #[schema(required = false, minimum = 1)]
    poll_after_seconds: u64,
}

/// An operation as a pull returns it.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
struct PulledOperation {
    #[schema(example = "op-uuid")]
    id: String,
    r#type: OperationType,
    #[schema(example = "todos")]
    collection: String,
    #[schema(example = "doc-1")]
    doc_id: String,
    /// The bytes that were pushed; `null` for a delete.
    #[schema(required = true, example = json!({"title": "Buy milk"}))]
    data: Option<BTreeMap<String, Value>>,
    #[schema(minimum = 1, example = 1_234_567_890)]
    timestamp: u64,
    #[schema(example = "client-1")]
    client_id: String,
    /// Always true.
    synced: bool,
    #[schema(example = json!({"client-1": 1, "client-2": 0}))]
    vector_clock: BTreeMap<String, Counter>,
    /// With `"as":"documents"`: the number of operations that were applied to the document.
    #[schema(required = false, minimum = 1, example = 1)]
    rev: u64,
    /// True if the client must remove the document, because it may no longer see it.
    #[schema(required = false)]
    removed: bool,
    /// With `"subjects":true`: the subject that pushed the operation, if the log has it.
    #[schema(required = false, example = "ann")]
    subject: String,
    /// With `"resolutions":true`: the outcome of a conflict, the relation of the clocks, the winner, and the operation
    /// if a part of it is lost.
    #[schema(required = false)]
    resolution: BTreeMap<String, Value>,
}

/// A document: its data, and the keys of the server.
#[derive(ToSchema)]
pub(super) struct Document {
    #[schema(example = "doc-1")]
    _id: String,
    /// The number of operations that were applied to it.
    #[schema(minimum = 1, example = 1)]
    _rev: u64,
    /// The vector clock of the document, if the request asks for clocks. Otherwise a key of the data.
    #[schema(required = false, example = json!({"client-1": 1}))]
    _clock: Value,
}

/// The documents of a collection that a client requests.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct QueryRequest {
    /// Paths (keys with dots between them) and the values that are expected there, or objects of operators; `$and`,
    /// `$or` and `$not`. At most 100 conditions. All documents without it.
    #[schema(required = false, example = json!({"completed": false, "priority": {"$gte": 2}}))]
    filter: BTreeMap<String, Value>,
    /// The most documents on the page; more than 1,000 means 1,000.
    #[schema(required = false, minimum = 1, default = 1_000, example = 1_000)]
    limit: u64,
    /// The cursor of the last answer; `null` or empty to start with the newest document.
    #[schema(required = false)]
    cursor: Option<String>,
    /// One path: 1 for its smallest value first, -1 for its greatest. Without it the newest document comes first.
    #[schema(required = false, example = json!({"title": 1}))]
    sort: BTreeMap<String, i8>,
    /// Whether the documents have their vector clocks.
    #[schema(required = false, default = false, example = false)]
    clock: bool,
}

/// A page of documents, newest first by their last operations, or sorted.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(super) struct QueryAnswer {
    documents: Vec<Document>,
    /// How many documents this page has.
    count: usize,
    /// Whether more documents match.
    has_more: bool,
    /// The cursor of the next page; `null` if there is no more.
    #[schema(required = true)]
    cursor: Option<String>,
}

/// The entries to remove from the log.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct CompactRequest {
    /// The age from which on entries are removed, in days.
    #[schema(required = false, minimum = 0, default = 30, example = 30)]
    older_than_days: f64,
}

/// The page of clients that is wanted.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ClientsRequest {
    /// The `next` of the last answer.
    #[schema(required = false)]
    after: Name,
    /// The most clients on the page; more than 1,000 means 1,000.
    #[schema(required = false, minimum = 1, default = 100, example = 100)]
    limit: u64,
}

/// The client has what it asks for.
#[derive(IntoResponses)]
#[response(status = 304, description = "`If-None-Match` names the `ETag` of what would be answered")]
pub(super) struct Known;

/// A request that is not served for who makes it.
#[derive(IntoResponses)]
#[response(
    status = 401,
    description = "the request has no token, or one that is not valid; `WWW-Authenticate` says which"
)]
pub(super) struct Unauthorized(#[to_schema] ErrorBody<'static>);

/// A request that cannot be read.
#[derive(IntoResponses)]
#[response(status = 400, description = "the request, or a field of it that `fields` names, is wrong")]
pub(super) struct BadRequest(#[to_schema] ErrorBody<'static>);

/// A document that does not exist.
#[derive(IntoResponses)]
#[response(status = 404, description = "there is no such document, or it is deleted")]
pub(super) struct NoDocument(#[to_schema] ErrorBody<'static>);

/// A cursor of another log.
#[derive(IntoResponses)]
#[response(status = 410, description = "the cursor is not of this log; start from nothing and push again what it lost")]
pub(super) struct CursorGone(#[to_schema] ErrorBody<'static>);

/// A page that cannot be cut.
#[derive(IntoResponses)]
#[response(status = 422, description = "too many changes share a timestamp; pull with a cursor")]
pub(super) struct RunTooLong(#[to_schema] ErrorBody<'static>);

/// A tenant that may not keep more.
#[derive(IntoResponses)]
#[response(status = 507, description = "the tenant would keep more than its quota; nothing has changed")]
pub(super) struct QuotaExceeded(#[to_schema] ErrorBody<'static>);

/// A server that cannot do this now.
#[derive(IntoResponses)]
#[response(status = 503, description = "the server cannot do this now; to be sent again after `Retry-After` seconds")]
pub(super) struct Unavailable(#[to_schema] ErrorBody<'static>);

/// The errors of the layers around an endpoint.
#[derive(IntoResponses)]
pub(super) enum LayerErrors {
    #[response(
        status = 403,
        description = "who makes the request may not do this, or the page's `Origin` may not call the server"
    )]
    ForeignOrigin(#[to_schema] ErrorBody<'static>),
    #[response(status = 413, description = "the body is larger than 10 MiB, as sent or inflated")]
    TooLarge(#[to_schema] ErrorBody<'static>),
    #[response(status = 415, description = "the body's `Content-Encoding` is unknown")]
    UnsupportedEncoding(#[to_schema] ErrorBody<'static>),
    #[response(status = 421, description = "the server is not called what `Host` says")]
    ForeignHost(#[to_schema] ErrorBody<'static>),
    #[response(
        status = 429,
        description = "there were too many requests; to be sent again after `Retry-After` seconds"
    )]
    TooManyRequests(#[to_schema] ErrorBody<'static>),
    #[response(status = 500, description = "the server failed; its log has the details under this `x-request-id`")]
    Internal(#[to_schema] ErrorBody<'static>),
    #[response(status = 501, description = "the body's `Transfer-Encoding` is not `chunked`")]
    UnsupportedTransferCoding(#[to_schema] ErrorBody<'static>),
}

#[cfg(test)]
mod tests;
