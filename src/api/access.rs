//! The principal of a request: its source, and whether its role permits the action of the endpoint.
//!
//! Only here does a request get its tenant. If an endpoint has an extractor of this file among its arguments, it cannot
//! be reached without a principal. Every endpoint about a tenant's data has one.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use tracing::field;

use super::authenticate::{Authenticate, Denied};
use super::error::ApiError;
use super::waiting::seats::Seats;
use crate::core::access::{Action, Principal};
use crate::service::SyncService;

/// The field of a log span for the subject of the principal. It is set if the span has it.
pub const SUBJECT_FIELD: &str = "access.subject";

/// The same for the tenant of the principal.
const TENANT_FIELD: &str = "access.tenant";

/// The same for the client that the request names.
pub(super) const CLIENT_FIELD: &str = "client.id";

/// The same for the number of operations that a push has, or that a page answers.
pub(super) const OPERATIONS_FIELD: &str = "operations.count";

/// The state that the routes share.
#[derive(Clone)]
pub(super) struct ApiState {
    pub(super) service: Arc<SyncService>,
    pub(super) source: PrincipalSource,
    pub(super) description: Description,
    pub(super) seating: Seating,
}

/// The seats of requests that wait for changes.
#[derive(Clone)]
pub(super) struct Seating {
    pub(super) streams: Arc<Seats>,
    pub(super) waits: Arc<Seats>,
}

impl Seating {
    pub(super) fn new(max_streams: usize) -> Self {
        Self { streams: Seats::for_streams(max_streams), waits: Seats::for_waits() }
    }
}

impl FromRef<ApiState> for Seating {
    fn from_ref(state: &ApiState) -> Self {
        state.seating.clone()
    }
}

/// Returns the description of all routes. It is part of the state, because the route that answers it is described too.
#[derive(Clone, Copy)]
pub(super) struct Description(pub(super) fn() -> &'static str);

impl FromRef<ApiState> for Description {
    fn from_ref(state: &ApiState) -> Self {
        state.description
    }
}

impl FromRef<ApiState> for Arc<SyncService> {
    fn from_ref(state: &ApiState) -> Self {
        Arc::clone(&state.service)
    }
}

/// The source of the principal of a request.
#[derive(Clone)]
pub(super) enum PrincipalSource {
    /// The extensions of the request, into which a middleware has put it.
    Extension,
    /// The same principal for each request.
    Fixed(Principal),
    /// The head of the request.
    Head(Arc<dyn Authenticate>),
}

impl PrincipalSource {
    async fn principal(&self, head: &Parts) -> Result<Principal, Denied> {
        match self {
            Self::Extension => head.extensions.get().cloned().ok_or(Denied::Missing),
            Self::Fixed(principal) => Ok(principal.clone()),
            Self::Head(authenticate) => authenticate.authenticate(head).await,
        }
    }
}

/// A principal that may read.
pub(super) struct Reader(pub(super) Principal);

/// A principal that may push.
pub(super) struct Writer(pub(super) Principal);

/// A principal that may remove history.
pub(super) struct Admin(pub(super) Principal);

impl FromRequestParts<ApiState> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        permitted(head, state, Action::Read).await.map(Self)
    }
}

impl FromRequestParts<ApiState> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        permitted(head, state, Action::Push).await.map(Self)
    }
}

impl FromRequestParts<ApiState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(head: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        permitted(head, state, Action::Administer).await.map(Self)
    }
}

/// The principal of a request, if it has one that is still valid and whose role permits the action.
async fn permitted(head: &Parts, state: &ApiState, action: Action) -> Result<Principal, ApiError> {
    let principal = state.source.principal(head).await.map_err(ApiError::Denied)?;
    if principal.tenant.is_reserved() {
        return Err(ApiError::ForbiddenRole);
    }
    if principal.is_expired(state.service.now_ms()) {
        return Err(ApiError::Denied(Denied::Expired));
    }
    let span = tracing::Span::current();
    span.record(SUBJECT_FIELD, field::display(&principal.subject));
    span.record(TENANT_FIELD, field::display(&principal.tenant));
    if principal.role.permits(action) { Ok(principal) } else { Err(ApiError::ForbiddenRole) }
}
