//! `GET /documents/:collection/:id`: the current state of one document.
//!
//! The parts of the path are percent-decoded, so an id may contain `%2F`. Each part has 1 to 256 bytes of UTF-8 without
//! control characters.
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"_id":"doc-1","_rev":1,"title":"Buy milk"}` with a weak `ETag` of its revision and content |
//! | 304 | `If-None-Match` names that `ETag` |
//! | 400 | a bad percent escape, or `collection` or `id` is not a name |
//! | 404 | `{"error":"Document not found","message":"No document with ID 'doc-1' in collection 'todos'"}` |
//!
//! `_id` and `_rev` are always the server's. Keys with these names in the data are left out. The rest of the data has
//! the bytes that were pushed if one operation wrote it. After updates, only its values do.
//!
//! `GET /documents/:collection/query` is the document with the id `query`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::api::access::Reader;
use crate::api::answer;
use crate::api::error::ApiError;
use crate::api::path::{AtDocument, InCollection};
use crate::api::schema::{BadRequest, Document, Known, LayerErrors, Name, NoDocument, Unauthorized, Unavailable};
use crate::core::access::Principal;
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
    ),
    responses(
        (status = 200, description = "the document", body = Document),
        Known, BadRequest, NoDocument, LayerErrors, Unauthorized, Unavailable,
    ),
)]
pub(in crate::api) async fn get_document(
    State(service): State<Arc<SyncService>>,
    Reader(principal): Reader,
    AtDocument(key): AtDocument,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    answer_with(&service, &principal, key, &request).await
}

/// The document with the id `query`.
#[utoipa::path(
    get,
    path = "/documents/{collection}/query",
    tag = "documents",
    security(("token" = [])),
    params(("collection" = inline(Name), Path, description = "the collection", example = "todos")),
    responses(
        (status = 200, description = "the document", body = Document),
        Known, BadRequest, NoDocument, LayerErrors, Unauthorized, Unavailable,
    ),
)]
pub(in crate::api) async fn get_document_named_query(
    State(service): State<Arc<SyncService>>,
    Reader(principal): Reader,
    InCollection(collection): InCollection,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let key = DocumentKey { collection, id: DocumentId::literal("query") };
    answer_with(&service, &principal, key, &request).await
}

async fn answer_with(
    service: &SyncService,
    principal: &Principal,
    key: DocumentKey,
    request: &HeaderMap,
) -> Result<Response, ApiError> {
    match service.document_as(principal, &key).await? {
        Some(document) => {
            let mut text = String::with_capacity(document.wire_bytes());
            document.write(&mut text);
            Ok(answer::conditional_json(request, Some(document.rev), text))
        }
        None => Err(ApiError::DocumentNotFound(key)),
    }
}
