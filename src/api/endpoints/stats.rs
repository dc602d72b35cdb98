//! `GET /stats`: the statistics, in a time that does not grow with the log.
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"totalOperations":1523,"totalDocuments":342,"unsyncedOperations":12}` |
//! | 304 | `If-None-Match` names the `ETag` of that |
//!
//! `totalOperations` is the number of entries in the log, without those that compaction has removed. `totalDocuments`
//! is the number of documents that are not deleted. `unsyncedOperations` is the number of entries in the log that at
//! least one active client has not pulled yet. A client is active if it pulled in the last 30 days; without active
//! clients the number is 0.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::access::Reader;
use crate::api::answer;
use crate::api::error::{ApiError, to_json};
use crate::api::schema::{BadRequest, Known, LayerErrors, Unauthorized, Unavailable};
use crate::service::SyncService;

/// The statistics of a tenant.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Statistics {
    /// The number of entries in the log.
    #[schema(example = 1523)]
    total_operations: u64,
    /// The number of documents that are not deleted.
    #[schema(example = 342)]
    total_documents: u64,
    /// The number of entries in the log that at least one client has not pulled yet, of those that pulled in the last
    /// 30 days.
    #[schema(example = 12)]
    unsynced_operations: u64,
}

/// Counters of operations and documents.
#[utoipa::path(
    get,
    path = "/stats",
    tag = "maintenance",
    security(("token" = [])),
    responses(
        (status = 200, description = "the counters now", body = Statistics),
        Known, BadRequest, LayerErrors, Unauthorized, Unavailable,
    ),
)]
pub(in crate::api) async fn get_stats(
    State(service): State<Arc<SyncService>>,
    Reader(principal): Reader,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let stats = service.stats(&principal.tenant).await?;
    let body = Statistics {
        total_operations: stats.operations,
        total_documents: stats.documents,
        unsynced_operations: stats.unsynced_operations,
    };
    Ok(answer::conditional_json(&request, None, to_json(&body)))
}
