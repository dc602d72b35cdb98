//! `GET /health`: whether the server and its store can be reached.
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"status":"ok","adapter":"sqlite"}`: the store answered just now |
//! | 304 | `If-None-Match` names the `ETag` of that |
//! | 503 | `{"status":"unavailable","adapter":"sqlite","error":"Unavailable","message":"…"}` with `Retry-After` |

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::answer;
use crate::api::error::to_json;
use crate::api::schema::{BadRequest, Known, LayerErrors};
use crate::limits::api::RETRY_AFTER_SECONDS;
use crate::service::SyncService;

/// A server whose store can be reached.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Healthy {
    #[schema(pattern = "^ok$")]
    status: &'static str,
    /// The store that is used.
    #[schema(example = "sqlite")]
    adapter: &'static str,
}

/// A server whose store cannot be reached.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Unhealthy {
    /// Left out if the server is too busy to ask its store.
    #[schema(required = false, pattern = "^unavailable$")]
    status: &'static str,
    /// The store that is used. Left out together with `status`.
    #[schema(required = false, example = "sqlite")]
    adapter: &'static str,
    error: &'static str,
    message: &'static str,
}

/// Whether the server and its store can be reached.
#[utoipa::path(
    get,
    path = "/health",
    tag = "server",
    responses(
        (status = 200, description = "the store answered just now", body = Healthy),
        (status = 503, description = "the store cannot be reached", body = Unhealthy),
        Known,
        BadRequest,
        LayerErrors,
    ),
)]
pub(in crate::api) async fn health(State(service): State<Arc<SyncService>>, request: HeaderMap) -> Response {
    let adapter = service.adapter();
    let Err(error) = service.check().await else {
        return answer::conditional_json(&request, None, to_json(&Healthy { status: "ok", adapter }));
    };
    tracing::warn!(error.cause = %error, "the store cannot be reached");
    let body = Unhealthy {
        status: "unavailable",
        adapter,
        error: "Unavailable",
        message: "The store cannot be reached right now",
    };
    let mut response = answer::json(StatusCode::SERVICE_UNAVAILABLE, to_json(&body));
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    response
}
