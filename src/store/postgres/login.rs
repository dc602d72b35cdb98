//! Who connects, where that is not for the connection string to say.

use std::error::Error;
use std::fmt;

use async_trait::async_trait;

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user; `None` leaves the one of the connection string.
    pub user: Option<String>,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Says for each new connection who connects, so that a password may change while the store is open.
#[async_trait]
pub trait Logins: Send + Sync {
    /// The login for a new connection.
    ///
    /// # Errors
    /// When there is none to be had; whoever waits for the connection is told that the store is unavailable.
    async fn login(&self) -> Result<Login, Box<dyn Error + Send + Sync>>;

    /// The login after the server has refused this one; `None` where there is no other, which ends the attempt.
    ///
    /// # Errors
    /// Those of [`login`](Self::login).
    async fn login_after(&self, refused: &Login) -> Result<Option<Login>, Box<dyn Error + Send + Sync>>;
}
