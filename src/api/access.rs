//! The principal of a request: its source, and whether its role permits the action of the endpoint.
//!
//! Only here does a request get its tenant. If an endpoint has an extractor of this file among its arguments, it cannot
//! be reached without a principal. Every endpoint about a tenant's data has one.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use tracing::field;

use super::error::ApiError;
use crate::core::access::{Action, Principal};
use crate::service::SyncService;

/// The field of a log span for the subject of the principal. It is set if the span has it.
pub const SUBJECT_FIELD: &str = "access.subject";

/// Finds the principal of a request from its head.
///
/// The tenant and the role of a request come only from this principal.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// Finds the principal of this request.
    ///
    /// # Errors
    /// If the request must not be served. The answer says no more than [`Denied`] does.
    async fn authenticate(&self, head: &Parts) -> Result<Principal, Denied>;
}

/// Why a request has no principal. Each reason has a fixed text in the answer. A 401 also has `WWW-Authenticate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// The request has no token: 401.
    Missing,
    /// The request has more than one token, or one that cannot be read: 400.
    Malformed,
    /// The token is not valid on this server: 401.
    InvalidToken,
    /// The token has expired: 401.
    Expired,
    /// The token grants several tenants, and the request does not name one of them: 400.
    TenantNeeded,
    /// The token does not grant the tenant that the request names: 403.
    ForbiddenTenant,
    /// The token is valid, but grants no tenant or no known role: 403.
    NoAccess,
    /// The token cannot be checked at the moment: 503.
    Unavailable,
    /// The caller sends too many requests: 429.
    TooManyRequests {
        /// After how many seconds the next request is served.
        retry_after_seconds: u64,
    },
}

/// The state that the routes share.
#[derive(Clone)]
pub(super) struct ApiState {
    pub(super) service: Arc<SyncService>,
    pub(super) source: PrincipalSource,
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
    if principal.is_expired(state.service.now_ms()) {
        return Err(ApiError::Denied(Denied::Expired));
    }
    tracing::Span::current().record(SUBJECT_FIELD, field::display(&principal.subject));
    if principal.role.permits(action) { Ok(principal) } else { Err(ApiError::ForbiddenRole) }
}
