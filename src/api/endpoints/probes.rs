//! `GET /livez` and `GET /readyz`: what a supervisor and a load balancer ask.
//!
//! | route | status | answer |
//! |---|---|---|
//! | `/livez` | 200 | `{"status":"ok"}`: the process answers requests |
//! | `/readyz` | 200 | `{"status":"ok"}`: the store answered just now, and the server takes requests |
//! | `/readyz` | 503 | `{"status":"draining","error":"Unavailable","message":"…"}`: the server is about to stop |
//! | `/readyz` | 503 | `{"status":"unavailable","error":"Unavailable","message":"…"}`: the store does not answer |
//!
//! Neither needs a token, and neither waits for other requests. `/livez` does not ask the store: a restart of the
//! server does not mend a database. `/readyz` waits for its store for at most 2 seconds.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use futures_util::future::{Either, select};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::answer;
use crate::api::error::to_json;
use crate::api::schema::{BadRequest, LayerErrors};
use crate::limits::api::{READY_TIME_MAX_MS, RETRY_AFTER_SECONDS};
use crate::service::SyncService;

/// The routes that say how the server is. They take no place among other requests, and no rate limits them.
pub const PROBES: [&str; 3] = ["/health", "/livez", "/readyz"];

/// A process that answers.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Alive {
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

/// A server that takes no requests now.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NotReady {
    /// Left out if the server is too busy to answer.
    #[schema(required = false, pattern = "^(draining|unavailable)$")]
    status: &'static str,
    error: &'static str,
    message: &'static str,
}

/// Whether the server takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It does, and its store answered just now.
    Ready,
    /// It is about to stop.
    Draining,
    /// Its store does not answer.
    Unavailable,
}

/// Asks whether a server takes requests. The answer comes within [`READY_TIME_MAX_MS`].
pub async fn readiness(service: &SyncService) -> Readiness {
    if service.is_draining() {
        return Readiness::Draining;
    }
    let time_over = service.sleep(Duration::from_millis(READY_TIME_MAX_MS));
    let cause = match select(pin!(service.check()), time_over).await {
        Either::Left((Ok(()), _)) if service.is_draining() => return Readiness::Draining,
        Either::Left((Ok(()), _)) => return Readiness::Ready,
        Either::Left((Err(error), _)) => error.to_string(),
        Either::Right(_) => format!("no answer within {READY_TIME_MAX_MS} ms"),
    };
    tracing::warn!(error.cause = cause, "the store cannot be reached");
    Readiness::Unavailable
}

/// Whether the process answers.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "server",
    responses((status = 200, description = "the process answers", body = Alive), BadRequest, LayerErrors),
)]
pub(in crate::api) async fn livez() -> Response {
    answer::json(StatusCode::OK, to_json(&Alive { status: "ok" }))
}

/// Whether the server takes requests.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "server",
    responses(
        (status = 200, description = "the store answered just now", body = Alive),
        (status = 503, description = "the server is about to stop, or its store does not answer", body = NotReady),
        BadRequest,
        LayerErrors,
    ),
)]
pub(in crate::api) async fn readyz(State(service): State<Arc<SyncService>>) -> Response {
    let (status, message) = match readiness(&service).await {
        Readiness::Ready => return answer::json(StatusCode::OK, to_json(&Alive { status: "ok" })),
        Readiness::Draining => ("draining", "The server is about to stop"),
        Readiness::Unavailable => ("unavailable", "The store cannot be reached right now"),
    };
    let body = NotReady { status, error: "Unavailable", message };
    let mut response = answer::json(StatusCode::SERVICE_UNAVAILABLE, to_json(&body));
    response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    response
}
