//! The error of the service.

use std::sync::Arc;

use crate::core::decide::quota::QuotaExceeded;
use crate::store::StoreError;

/// Why a request ends without an answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// Other requests changed the same documents repeatedly. Nothing was changed, and a later attempt may succeed.
    #[error("gave up after {attempts} attempts because others changed the same rows each time")]
    Contended {
        /// The number of attempts.
        attempts: u32,
    },
    /// The tenant would keep more than it may. Nothing was changed.
    #[error("{0}")]
    QuotaExceeded(QuotaExceeded),
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}
