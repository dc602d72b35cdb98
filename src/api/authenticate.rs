//! The seam through which a server or an application finds the principal of a request.

use async_trait::async_trait;
use http::request::Parts;

use crate::core::access::Principal;

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
