//! Who makes the requests to a server.

use crate::core::access::{Principal, Role};
use crate::core::names::{Subject, TenantId};

/// The principal of every request to a server without authentication: the admin of the tenant `default`.
#[must_use]
pub fn anybody() -> Principal {
    Principal::new(TenantId::trusted("default"), Subject::trusted("anybody"), Role::Admin)
}
