//! The HTTP API: the protocol as routes over the sync service.
//!
//! One endpoint is one file, and the documentation of that file is the endpoint's HTTP contract. What all of them share:
//!
//! - Bodies are JSON in UTF-8, whatever their `Content-Type`, and answers are `application/json; charset=utf-8`.
//! - An answer with a status of 400 or more is `{"error", "message"}`, both text; a 400 about fields of the request also
//!   lists their names in `fields`. After a 4xx nothing has changed. After a 5xx it may have, and the same request can be
//!   sent again: an operation takes effect once.
//! - A 503 carries `Retry-After`, in seconds.
//! - Every `GET` answers a weak `ETag`, and 304 to an `If-None-Match` that names it.
//! - Every answer has an `x-request-id`: the request's own, or a new one. The server's log knows the request by it.
//! - Of equal keys in one object the last one counts; keys that the contract does not name are ignored.
//!
//! Nothing here needs a runtime: what does (time limits, compression, CORS, request ids, logs) is in `runtime`.

mod answer;
mod body;
mod changes;
mod compact;
mod document;
mod error;
mod fields;
mod health;
mod openapi;
mod operations;
mod path;
mod push;
mod query;
mod schema;
mod stats;
mod tenant;

use std::sync::Arc;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use error::{in_shape, internal_error};
pub use openapi::description;

use crate::service::SyncService;

/// The routes over a service. Every answer is complete and in JSON, the ones about unknown routes and methods included.
pub fn router(service: Arc<SyncService>) -> Router {
    let (router, _) = routes().split_for_parts();
    router.fallback(error::not_found).method_not_allowed_fallback(error::method_not_allowed).with_state(service)
}

fn routes() -> OpenApiRouter<Arc<SyncService>> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(health::health))
        .routes(routes!(operations::push_operations))
        .routes(routes!(changes::pull_changes))
        .routes(routes!(document::get_document))
        .routes(routes!(query::query_documents, document::get_document_named_query))
        .routes(routes!(stats::get_stats))
        .routes(routes!(compact::compact))
        .routes(routes!(openapi::get_openapi))
}
