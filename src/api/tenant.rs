//! Whose data a request is about.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::error::ApiError;
use crate::core::names::TenantId;

/// The tenant of a request, resolved here and nowhere else. There is one, `default`, as long as nobody signs in.
pub(super) struct Tenant(pub(super) TenantId);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(TenantId::trusted("default")))
    }
}
