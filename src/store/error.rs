//! What can go wrong in a store.

use std::error::Error;
use std::fmt;

/// What kind of accident it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The database cannot be reached, is shutting down, or did not answer in time; the same request may work later.
    Unavailable,
    /// The database is too busy with others; the same request may work later.
    Busy,
    /// The database refused or answered what it never should; the same request would fail again.
    Failed,
}

/// What stands between a store and its database, where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// Nobody listens at the address.
    Refused,
    /// The host's name has no address.
    UnknownHost,
    /// There is no answer in time.
    Silent,
    /// The server cannot be reached, for another reason.
    Unreachable,
    /// The server does not take user and password.
    Login,
    /// The server has no such database.
    Database,
    /// The user may not do what the store needs.
    Rights,
    /// There is no encrypted connection that can be trusted.
    Tls,
}

/// An accident in a store: which store, which of the port's methods, what kind, and why.
#[derive(Debug)]
pub struct StoreError {
    store: &'static str,
    operation: &'static str,
    kind: ErrorKind,
    obstacle: Option<Obstacle>,
    source: Box<dyn Error + Send + Sync>,
}

impl StoreError {
    /// An error of the named store in the named method of the port.
    pub fn new(
        store: &'static str,
        operation: &'static str,
        kind: ErrorKind,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { store, operation, kind, obstacle: None, source: source.into() }
    }

    /// The same error with what stands between the store and its database.
    #[must_use]
    pub fn with_obstacle(self, obstacle: Option<Obstacle>) -> Self {
        Self { obstacle, ..self }
    }

    /// What stands between the store and its database, where that is known.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.obstacle
    }

    /// The adapter.
    #[must_use]
    pub fn store(&self) -> &'static str {
        self.store
    }

    /// The method of the port.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// What kind of accident it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same request may work later.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        match self.kind {
            ErrorKind::Unavailable | ErrorKind::Busy => true,
            ErrorKind::Failed => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ErrorKind::Unavailable => "is unavailable",
            ErrorKind::Busy => "is busy",
            ErrorKind::Failed => "failed",
        };
        write!(formatter, "{} {kind} in {}: {}", self.store, self.operation, self.source)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
