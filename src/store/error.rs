//! The errors of stores.

use std::error::Error;
use std::fmt;

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The database cannot be reached, is shutting down, or did not answer in time. The same request may succeed later.
    Unavailable,
    /// The database is too busy. The same request may succeed later.
    Busy,
    /// The database took too long for the request. The same request may work later, and a smaller one is likelier to
    /// work.
    TooSlow,
    /// The database refused the request or gave an unexpected answer. The same request would fail again.
    Failed,
}

/// The reason why a store cannot use its database, if it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// No process listens at the address.
    Refused,
    /// The host's name has no address.
    UnknownHost,
    /// No answer came in time.
    Silent,
    /// The server cannot be reached for another reason.
    Unreachable,
    /// The server does not accept the user and password.
    Login,
    /// The server has no such database.
    Database,
    /// The user lacks rights that the store needs.
    Rights,
    /// No encrypted and trusted connection can be made.
    Tls,
}

/// An error of a store, with the name of the store, the method of the port, the kind and the cause.
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

    /// Adds the reason why the store cannot use its database.
    #[must_use]
    pub fn with_obstacle(self, obstacle: Option<Obstacle>) -> Self {
        Self { obstacle, ..self }
    }

    /// The reason why the store cannot use its database, if it is known.
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

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        match self.kind {
            ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::TooSlow => true,
            ErrorKind::Failed => false,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ErrorKind::Unavailable => "is unavailable",
            ErrorKind::Busy => "is busy",
            ErrorKind::TooSlow => "was too slow",
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
