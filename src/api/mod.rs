//! The HTTP API: the protocol as routes over the sync service.
//!
//! Each endpoint is in its own file, whose documentation is the endpoint's HTTP contract. These rules apply to all
//! endpoints:
//!
//! - Bodies are JSON in UTF-8, whatever their `Content-Type`, and answers are `application/json; charset=utf-8`.
//! - An answer with a status of 400 or more is `{"error", "message"}`, both text. A 400 about fields of the request
//!   also lists their names in `fields`. After a 4xx nothing has changed. After a 5xx something may have changed, and
//!   the same request can be sent again, because an operation takes effect once.
//! - A 503 carries `Retry-After`, in seconds.
//! - Every `GET` answers a weak `ETag`, and 304 to an `If-None-Match` that names it.
//! - Every answer has an `x-request-id`: that of the request, or a new one. The server's log has the same id.
//! - If an object has a key several times, the last value is used. Keys that the contract does not name are ignored.
//!
//! - Every endpoint but `/health` and `/openapi.json` needs a principal ([`Api`] says where it comes from), and a role:
//!
//!   | role | may |
//!   |---|---|
//!   | `reader` | `POST /changes`, `GET /changes/stream`, `GET /documents/…`, `POST /documents/…/query`, `GET /stats` |
//!   | `writer` | that, and `POST /operations` |
//!   | `admin`, `service` | that, and `POST /compact` |
//!
//!   | status | error | when |
//!   |---|---|---|
//!   | 401 | `missing_token`, `invalid_token`, `expired` | the request has no principal; `WWW-Authenticate: Bearer` |
//!   | 403 | `forbidden_tenant`, `forbidden_role`, `no_access` | the principal may not do this |
//!   | 403 | `foreign_client` | a client id in the request belongs to another subject |
//!   | 400 | `tenant_needed`, `malformed_token` | the request does not say who makes it, or about which tenant |
//!
//! Nothing here needs a runtime: what does (time limits, compression, CORS, request ids, logs) is in `runtime`. So is
//! what keeps foreign pages out, which the routes alone do not ask about.

mod access;
mod answer;
mod authenticate;
pub(crate) mod body;
mod builder;
mod endpoints;
mod error;
mod fields;
mod path;
mod push_body;
mod routes;
mod schema;
pub(crate) mod waiting;

use std::sync::Arc;

use axum::Router;

pub use access::SUBJECT_FIELD;
pub use authenticate::{Authenticate, Denied};
pub use builder::Api;
#[doc(hidden)]
pub use endpoints::compact::age_ms as compaction_age_ms;
#[doc(hidden)]
pub use endpoints::probes::{PROBES, Readiness, readiness};
#[doc(hidden)]
pub use endpoints::push::AnswerLimit;
#[doc(hidden)]
pub use error::{Refusal, answer_too_large, in_shape, internal_error, unavailable};
pub use routes::{Endpoint, description};

use crate::service::SyncService;

/// The routes over a service, for a server whose own middleware puts the principal of each request into its extensions.
///
/// A request without a principal is answered with 401. [`Api`] describes the other sources of principals.
pub fn router(service: Arc<SyncService>) -> Router {
    Api::builder(service).build()
}
