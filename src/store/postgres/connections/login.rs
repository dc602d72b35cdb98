//! Logins that do not come from the connection string.

use std::error::Error;
use std::fmt;

use async_trait::async_trait;

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user, or `None` for the user in the connection string.
    pub user: Option<String>,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Provides the login for each new connection, so that a password may change while the store is open.
#[async_trait]
pub trait LoginSource: Send + Sync {
    /// The login for a new connection.
    ///
    /// # Errors
    /// If there is none. Requests that wait for the connection are told that the store is unavailable.
    async fn login(&self) -> Result<Login, Box<dyn Error + Send + Sync>>;

    /// The login to use after the server has refused this one. `None` if there is no other, which ends the attempt.
    ///
    /// # Errors
    /// As for [`login`](Self::login).
    async fn login_after(&self, refused: &Login) -> Result<Option<Login>, Box<dyn Error + Send + Sync>>;
}
