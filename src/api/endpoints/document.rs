//! `GET /documents/:collection/:id`: the current state of one document.
//!
//! The parts of the path are percent-decoded, so an id may contain `%2F`. Each part has 1 to 256 bytes of UTF-8 without
//! control characters.
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"_id":"doc-1","_rev":1,"title":"Buy milk"}` with a weak `ETag` of its revision and content |
//! | 200 | with `?clock=1`: `{"_id":"doc-1","_rev":1,"_clock":{"client-1":1},"title":"Buy milk"}` |
//! | 304 | `If-None-Match` names that `ETag` |
//! | 400 | a bad percent escape, `collection` or `id` is not a name, or `clock` is neither 1 nor 0 |
//! | 404 | `{"error":"Document not found","message":"No document with ID 'doc-1' in collection 'todos'"}` |
//!
//! With `?clock=1` the answer has what a writer needs: the document's vector clock as `_clock`, beside its revision.
//! The 404 of a deleted document then also has `"deleted":{"rev":2,"vectorClock":{"client-1":2}}`. An operation whose
//! clock has seen this one writes over the tombstone.
//!
//! `_id` and `_rev` are always the server's, and so is `_clock` with `?clock=1`. Keys with these names in the data are
//! left out. The rest of the data has
//! the bytes that were pushed if one operation wrote it. After updates, only its values do.
//!
//! `GET /documents/:collection/query` is the document with the id `query`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Uri};

use crate::api::access::Reader;
use crate::api::answer;
use crate::api::error::ApiError;
use crate::api::path::{AtDocument, InCollection};
use crate::api::schema::{self, BadRequest, Known, LayerErrors, Name, NoDocument, Unauthorized, Unavailable};
use crate::core::access::Principal;
use crate::core::document::Document;
use crate::core::names::{DocumentId, DocumentKey};
use crate::service::SyncService;

/// The current state of one document.
#[utoipa::path(
    get,
    path = "/documents/{collection}/{id}",
    tag = "documents",
    security(("token" = [])),
    params(
        ("collection" = inline(Name), Path, description = "the collection", example = "todos"),
        ("id" = inline(Name), Path, description = "the document's id", example = "doc-1"),
        ("clock" = Option<u8>, Query, minimum = 0, maximum = 1, description = "1 for an answer with the clock"),
    ),
    responses(
        (status = 200, description = "the document", body = schema::Document),
        Known, BadRequest, NoDocument, LayerErrors, Unauthorized, Unavailable,
    ),
)]
pub(in crate::api) async fn get_document(
    State(service): State<Arc<SyncService>>,
    Reader(principal): Reader,
    AtDocument(key): AtDocument,
    uri: Uri,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    answer_with(&service, &principal, key, (&uri, &request)).await
}

/// The document with the id `query`.
#[utoipa::path(
    get,
    path = "/documents/{collection}/query",
    tag = "documents",
    security(("token" = [])),
    params(
        ("collection" = inline(Name), Path, description = "the collection", example = "todos"),
        ("clock" = Option<u8>, Query, minimum = 0, maximum = 1, description = "1 for an answer with the clock"),
    ),
    responses(
        (status = 200, description = "the document", body = schema::Document),
        Known, BadRequest, NoDocument, LayerErrors, Unauthorized, Unavailable,
    ),
)]
pub(in crate::api) async fn get_document_named_query(
    State(service): State<Arc<SyncService>>,
    Reader(principal): Reader,
    InCollection(collection): InCollection,
    uri: Uri,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let key = DocumentKey { collection, id: DocumentId::literal("query") };
    answer_with(&service, &principal, key, (&uri, &request)).await
}

async fn answer_with(
    service: &SyncService,
    principal: &Principal,
    key: DocumentKey,
    (uri, request): (&Uri, &HeaderMap),
) -> Result<Response, ApiError> {
    if !wants_clock(uri.query().unwrap_or_default())? {
        let Some(document) = service.document_as(principal, &key).await? else {
            return Err(ApiError::DocumentNotFound(key));
        };
        let mut text = String::with_capacity(document.wire_bytes());
        document.write(&mut text);
        return Ok(answer::conditional_json(request, Some(document.rev), text));
    }
    match service.document_state_as(principal, &key).await? {
        None => Err(ApiError::DocumentNotFound(key)),
        Some(Document { rev, clock, data: None, .. }) => Err(ApiError::DocumentDeleted { key, rev, clock }),
        Some(document) => {
            let mut text = String::with_capacity(document.bytes());
            document.write(&key.id, &mut text);
            Ok(answer::conditional_json(request, Some(document.rev), text))
        }
    }
}

/// Reads the parameter `clock`, of which the last one is used. Other parameters are ignored.
fn wants_clock(query: &str) -> Result<bool, ApiError> {
    let parameters = query.split('&').map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
    match parameters.rev().find(|(name, _)| *name == "clock") {
        None | Some((_, "0")) => Ok(false),
        Some((_, "1")) => Ok(true),
        Some(_) => Err(ApiError::bad_field("clock", "must be 1 or 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_asked_for_with_1() {
        for (query, wants) in
            [("", false), ("x=1", false), ("clock=0", false), ("clock=1", true), ("a&clock=0&clock=1", true)]
        {
            assert!(wants_clock(query).is_ok_and(|wanted| wanted == wants), "{query}");
        }
        for query in ["clock", "clock=", "clock=2", "clock=true", "clock=1&clock=%31"] {
            assert!(matches!(wants_clock(query), Err(ApiError::BadFields(_))), "{query}");
        }
    }
}
