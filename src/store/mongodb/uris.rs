//! How to connect, where that may change while the store is open.

use std::error::Error;

use async_trait::async_trait;

/// Says how to connect once a login was refused, so that a password may change while the store is open.
#[async_trait]
pub trait Uris: Send + Sync {
    /// The URI after the server has refused the login of this one; `None` where there is no other.
    ///
    /// # Errors
    /// When it cannot be said; whoever waits for it is told that the store is unavailable.
    async fn uri_after(&self, refused: &str) -> Result<Option<String>, Box<dyn Error + Send + Sync>>;
}
