//! The principal of a request: where it comes from, and whether its role permits what the endpoint does.
//!
//! This is the one place where a request gets its tenant. An endpoint that has an extractor of this file among its
//! arguments cannot be reached without a principal, and every endpoint about a tenant's data has one.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use tracing::field;

use super::error::ApiError;
use crate::core::access::{Action, Principal};
use crate::service::SyncService;

/// The field of a log span that says who makes the request; a span that has it gets the subject.
pub const SUBJECT_FIELD: &str = "access.subject";

/// Finds out who makes a request, from its head.
///
/// The principal that it gives is the only source of the tenant and the role.
#[async_trait]
pub trait Authenticate: Send + Sync {
    /// Finds out the principal of this request.
    ///
    /// # Errors
    /// When the request is not to be served; the answer says no more than [`Denied`] does.
    async fn authenticate(&self, head: &Parts) -> Result<Principal, Denied>;
}

/// Why a request has no principal. The answer has a fixed text for each, and `WWW-Authenticate` with a 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// The request has no token: 401.
    Missing,
    /// The request has more than one token, or one in a form that cannot be read: 400.
    Malformed,
    /// The token is not one of this server's: 401.
    InvalidToken,
    /// The token was valid until a moment ago: 401.
    Expired,
    /// The token names several tenants, and the request does not say which one it is about: 400.
    TenantNeeded,
    /// The token does not name the tenant that the request is about: 403.
    ForbiddenTenant,
    /// The token is valid, but says no tenant or role that the server knows: 403.
    NoAccess,
    /// It cannot be found out now whether the token is valid: 503.
    Unavailable,
    /// Somebody asks too often: 429.
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

/// Where the principal of a request comes from.
#[derive(Clone)]
pub(super) enum PrincipalSource {
    /// The request's extensions; a middleware has put it there.
    Extension,
    /// It is the same for each request.
    Fixed(Principal),
    /// The request's head.
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

/// The principal of a request, if there is one, it is still valid, and its role permits the action.
async fn permitted(head: &Parts, state: &ApiState, action: Action) -> Result<Principal, ApiError> {
    let principal = state.source.principal(head).await.map_err(ApiError::Denied)?;
    if principal.is_expired(state.service.now_ms()) {
        return Err(ApiError::Denied(Denied::Expired));
    }
    tracing::Span::current().record(SUBJECT_FIELD, field::display(&principal.subject));
    if principal.role.permits(action) { Ok(principal) } else { Err(ApiError::ForbiddenRole) }
}
