//! URIs that may change while the store is open.

use std::error::Error;

use async_trait::async_trait;

/// Provides another URI after a login was refused, so that a password may change while the store is open.
#[async_trait]
pub trait UriSource: Send + Sync {
    /// The URI to use after the server has refused the login of this one. `None` if there is no other.
    ///
    /// # Errors
    /// If it cannot be found out. Requests that wait for it are told that the store is unavailable.
    async fn uri_after(&self, refused: &str) -> Result<Option<String>, Box<dyn Error + Send + Sync>>;
}
