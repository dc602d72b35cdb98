//! Makes connections for the pool.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, Socket};

use super::login::{Login, LoginSource};
use super::transport::{MakeTransport, Transport};
use crate::limits::store::postgres::LOGIN_MAX_ATTEMPTS;

/// Connects to one database.
pub(crate) struct Connector {
    pub(crate) config: Config,
    pub(crate) transport: MakeTransport,
    /// The source of logins, if they do not come from the connection string.
    pub(crate) logins: Option<Arc<dyn LoginSource>>,
}

/// A client and the connection that has to be polled for it.
pub(crate) type Opened = (Client, Connection<Socket, Transport>);

/// Why there is no new connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The driver or the server refused.
    Driver(tokio_postgres::Error),
    /// The source of logins has none.
    Login(Box<dyn Error + Send + Sync>),
}

impl Connector {
    /// A connection that nobody drives yet.
    pub(crate) async fn open(&self) -> Result<Opened, ConnectError> {
        let Some(logins) = &self.logins else { return self.connect_with(self.config.clone()).await };
        let mut login = logins.login().await.map_err(ConnectError::Login)?;
        for _ in 1..LOGIN_MAX_ATTEMPTS {
            match self.connect_as(&login).await {
                Err(ConnectError::Driver(error)) if is_refused_login(&error) => {
                    // The server's message is more useful than the failure to find another login.
                    let next = logins.login_after(&login).await.unwrap_or_else(|problem| {
                        tracing::warn!(error.cause = %problem, "no other login for the database can be had");
                        None
                    });
                    login = next.ok_or(ConnectError::Driver(error))?;
                }
                connected => return connected,
            }
        }
        self.connect_as(&login).await
    }

    async fn connect_as(&self, login: &Login) -> Result<Opened, ConnectError> {
        let mut config = self.config.clone();
        if let Some(user) = &login.user {
            config.user(user);
        }
        config.password(&login.password);
        self.connect_with(config).await
    }

    async fn connect_with(&self, config: Config) -> Result<Opened, ConnectError> {
        config.connect(self.transport.clone()).await.map_err(ConnectError::Driver)
    }

    /// A connection that a task of its own drives.
    pub(crate) async fn connect(&self) -> Result<ClientWrapper, ConnectError> {
        let (client, connection) = self.open().await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error.cause = %error, "connection to the database broke");
            }
        });
        Ok(ClientWrapper::new(client, task))
    }
}

/// Whether the server does not know the user, or not with this password.
fn is_refused_login(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
    error.code().is_some_and(|code| codes.contains(code))
}

impl Manager for Connector {
    type Type = ClientWrapper;
    type Error = ConnectError;

    async fn create(&self) -> Result<ClientWrapper, ConnectError> {
        // This future is large and rarely used, so it is boxed to keep the futures of all statements small.
        Box::pin(self.connect()).await
    }

    /// A closed connection is known without a request. The hook of the pool checks the others if that is needed.
    async fn recycle(&self, connection: &mut ClientWrapper, _: &Metrics) -> RecycleResult<ConnectError> {
        if connection.is_closed() { Err(RecycleError::message("connection closed")) } else { Ok(()) }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver(error) => error.fmt(formatter),
            Self::Login(problem) => write!(formatter, "there is no login for the database: {problem}"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Driver(error) => error.source(),
            Self::Login(problem) => problem.source(),
        }
    }
}
