//! The shapes of requests and of answers that are written piece by piece, and the errors that endpoints share, as
//! `/openapi.json` describes them.
#![expect(dead_code, reason = "requests are read and long answers written without an intermediate form")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{IntoResponses, ToSchema};

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
    r#type: WriteType,
    /// At most 1 MiB and 64 levels deep.
    #[schema(example = json!({"title": "Buy milk", "completed": false}))]
    data: BTreeMap<String, Value>,
}

/// An operation that deletes its document.
#[derive(ToSchema)]
pub(super) struct Delete {
    #[serde(flatten)]
    made: Made,
    r#type: DeleteType,
    /// Ignored.
    #[schema(required = false)]
    data: Value,
}

/// What an operation is about, and who made it when; its `id` is its own for ever.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct Made {
    id: Name,
    collection: Name,
    doc_id: Name,
    /// When the client made it, by its own clock.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64, example = 1_234_567_890)]
    timestamp: u64,
    client_id: Name,
    /// Ignored: the client's own mark.
    #[schema(required = false, example = false)]
    synced: Value,
    /// What the client had seen, itself included: a counter for each client, at most 1,000 of them.
    #[schema(example = json!({"client-123": 1}))]
    vector_clock: BTreeMap<Name, Counter>,
}

/// What a write does to its document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum WriteType {
    Insert,
    Update,
}

/// What a delete does to its document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum DeleteType {
    Delete,
}

/// What an operation does to its document.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
enum OperationType {
    Insert,
    Update,
    Delete,
}

/// The number of a client's operations that somebody has seen.
#[derive(ToSchema)]
#[schema(minimum = 0, maximum = 9_007_199_254_740_991_i64)]
struct Counter(u64);

/// Operations that a client made.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct PushRequest {
    client_id: Name,
    #[schema(max_items = 1_000)]
    operations: Vec<Operation>,
}

/// What became of pushed operations: each is in one of the lists.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(super) struct PushAnswer {
    /// Those that took effect, now or when they were pushed before, exactly as sent.
    accepted: Vec<Operation>,
    /// Those whose author had not seen what the document is now; they changed nothing.
    conflicts: Vec<Conflict>,
}

/// An operation as sent, but with `data` (`null` if the document is deleted) and `vectorClock` of the server's document.
#[derive(ToSchema)]
struct Conflict {
    #[serde(flatten)]
    made: Made,
    r#type: OperationType,
    #[schema(required = true)]
    data: Option<BTreeMap<String, Value>>,
    #[serde(rename = "conflict")]
    details: ConflictDetails,
}

/// How the operation stands to the server's document.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
struct ConflictDetails {
    relation: Relation,
    /// The document's revision.
    #[schema(minimum = 1)]
    rev: u64,
    /// Whether the document is deleted.
    deleted: bool,
    /// The operation that wrote the document last.
    operation_id: String,
    /// Who made that operation.
    client_id: String,
    /// When it was made, by its author's clock.
    timestamp: u64,
}

/// How the operation's vector clock stands to the document's.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
enum Relation {
    HappensBefore,
    Concurrent,
}

/// Which changes a client asks for. With the key `cursor`, `since` is ignored.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct ChangesRequest {
    /// The cursor of the last answer; `null` or empty to start from nothing.
    #[schema(required = false)]
    cursor: Option<String>,
    /// The greatest `timestamp` of the last page that the client applied.
    #[schema(required = false, default = 0, maximum = 18_014_398_509_481_984_i64, example = 1_234_567_890)]
    since: u64,
    /// Most operations of the page; more than 1,000 count as 1,000.
    #[schema(required = false, minimum = 1, default = 100, example = 100)]
    limit: u64,
    /// Who asks; a client that gives it misses nothing even if it knows only `since`.
    #[schema(required = false)]
    client_id: Name,
    /// Ignored: what a client has is told by its cursor, or by its id and `since`.
    #[schema(required = false)]
    vector_clock: BTreeMap<String, Value>,
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
    /// Where to go on; left out where the request had neither a cursor nor a `clientId`.
    #[schema(required = false)]
    cursor: String,
    /// Whether there is more, so that it is worth asking again at once.
    has_more: bool,
}

/// An operation as the server hands it out.
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
    /// With the bytes that were pushed; `null` for a delete.
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
}

/// A document: its data, and two keys of the server's.
#[derive(ToSchema)]
pub(super) struct Document {
    #[schema(example = "doc-1")]
    _id: String,
    /// How many operations were applied to it.
    #[schema(minimum = 1, example = 1)]
    _rev: u64,
}

/// Which documents of a collection a client asks for.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct QueryRequest {
    /// Paths (keys with dots between them) and the values that are expected there; at most 100. All documents without it.
    #[schema(required = false, example = json!({"completed": false}))]
    filter: BTreeMap<String, Value>,
    /// Most documents of the page; more than 1,000 count as 1,000.
    #[schema(required = false, minimum = 1, default = 1_000, example = 1_000)]
    limit: u64,
    /// The cursor of the last answer; `null` or empty to start with the newest document.
    #[schema(required = false)]
    cursor: Option<String>,
}

/// A page of documents, newest first by their last operations.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(super) struct QueryAnswer {
    documents: Vec<Document>,
    /// How many documents this page has.
    count: usize,
    /// Whether more documents match.
    has_more: bool,
    /// Where to go on; `null` where there is no more.
    #[schema(required = true)]
    cursor: Option<String>,
}

/// What is to be removed from the log.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct CompactRequest {
    /// The age from which on entries are removed, in days.
    #[schema(required = false, minimum = 0, default = 30, example = 30)]
    older_than_days: f64,
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
#[response(status = 410, description = "the cursor is not of this log; start again from nothing")]
pub(super) struct CursorGone(#[to_schema] ErrorBody<'static>);

/// A page that cannot be cut.
#[derive(IntoResponses)]
#[response(status = 422, description = "too many changes share a timestamp; pull with a cursor")]
pub(super) struct RunTooLong(#[to_schema] ErrorBody<'static>);

/// A server that cannot do this now.
#[derive(IntoResponses)]
#[response(status = 503, description = "the server cannot do this now; to be sent again after `Retry-After` seconds")]
pub(super) struct Unavailable(#[to_schema] ErrorBody<'static>);

/// What goes wrong around an endpoint.
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
