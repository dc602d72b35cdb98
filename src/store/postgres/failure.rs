//! What can go wrong between the store and its server, and what it means for the caller.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind as ErrorOfSystem;

use deadpool::managed::{PoolError, TimeoutType};
use tokio_postgres::error::{DbError, SqlState};

use super::NAME;
use super::manager::ConnectError;
use crate::store::{ErrorKind, Obstacle, StoreError};

/// Why there is no answer of the protocol.
#[derive(Debug)]
pub(super) enum Failure {
    /// The pool has no connection to give.
    Pool(PoolError<ConnectError>),
    /// The driver or the server refused the statement, or the connection broke.
    Driver(tokio_postgres::Error),
    /// There was no answer in time.
    Late,
    /// The answer is none that the store's statements give.
    Answer(&'static str),
    /// The database has something that must not be used as ours.
    Unsuitable(String),
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The connection is of no more use; another one may be.
    LostConnection,
    /// The server cannot work now.
    Unavailable,
    /// Others are in the way.
    Busy,
    /// Somebody else's commit is in the way.
    Contended,
    /// The server would refuse it again.
    Refused,
}

impl Failure {
    /// Whether the same statement may work at once on another connection. It may have had its effect on this one.
    pub(super) fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Driver(error) if meaning(error) == Meaning::LostConnection)
    }

    /// Whether a guarded write failed because somebody else was faster.
    pub(super) fn is_contended(&self) -> bool {
        matches!(self, Self::Driver(error) if meaning(error) == Meaning::Contended)
    }

    /// Whether the server no longer has a prepared statement, or can no longer carry it out since the schema has changed;
    /// the statement has had no effect then.
    pub(super) fn is_about_preparation(&self) -> bool {
        let codes = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::FEATURE_NOT_SUPPORTED];
        self.code().is_some_and(|code| codes.contains(code))
    }

    /// Whether the statement names what is not there, or what is no longer as the connection knows it. So it is after
    /// somebody dropped the schema or the database, or restored it from a backup; the statement has had no effect then.
    pub(super) fn is_about_schema(&self) -> bool {
        let codes = [
            SqlState::UNDEFINED_TABLE,
            SqlState::INVALID_SCHEMA_NAME,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::UNDEFINED_OBJECT,
            // A plan whose columns have changed, or the cache of a type or table that is gone.
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::INTERNAL_ERROR,
        ];
        self.code().is_some_and(|code| codes.contains(code))
    }

    /// Whether the connection is in a known state still.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        let is_answered = matches!(self, Self::Driver(error) if error.as_db_error().is_some());
        is_answered && !self.is_lost_connection() && !self.is_about_schema()
    }

    /// The code that the server gave, if it did.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Driver(error) => error.code(),
            _ => None,
        }
    }

    fn kind(&self) -> ErrorKind {
        let meaning = match self {
            Self::Pool(PoolError::Timeout(TimeoutType::Wait)) => Meaning::Busy,
            Self::Pool(PoolError::Backend(ConnectError::Driver(error))) | Self::Driver(error) => meaning(error),
            Self::Pool(_) | Self::Late => Meaning::Unavailable,
            Self::Answer(_) | Self::Unsuitable(_) => Meaning::Refused,
        };
        match meaning {
            Meaning::LostConnection | Meaning::Unavailable => ErrorKind::Unavailable,
            Meaning::Busy | Meaning::Contended => ErrorKind::Busy,
            Meaning::Refused => ErrorKind::Failed,
        }
    }

    /// The error of the port, for one of its methods.
    pub(super) fn during(self, operation: &'static str) -> StoreError {
        let obstacle = self.obstacle();
        StoreError::new(NAME, operation, self.kind(), self).with_obstacle(obstacle)
    }

    /// What stands between the store and its database, where that is known.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        match self {
            Self::Pool(PoolError::Backend(ConnectError::Driver(error))) => Some(obstacle(error)),
            Self::Pool(PoolError::Timeout(TimeoutType::Create)) | Self::Late => Some(Obstacle::Silent),
            Self::Driver(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Some(Obstacle::Rights),
            _ => None,
        }
    }
}

/// The tables whose keys are guards: a commit that finds one taken was decided about an older state.
const GUARDED: [&str; 2] = ["syncflow_operation_ids", "syncflow_documents"];

/// What an error of the driver means, by the classes of PostgreSQL's error codes.
fn meaning(error: &tokio_postgres::Error) -> Meaning {
    let Some(code) = error.code() else {
        let is_ours = error.source().is_some_and(|source| !source.is::<std::io::Error>());
        return if is_ours && !error.is_closed() { Meaning::Refused } else { Meaning::LostConnection };
    };
    match code.code() {
        // A server that is shutting down, crashed or is starting up; one that became a read-only standby.
        "57P01" | "57P02" | "57P03" | "57P05" | "25006" => Meaning::LostConnection,
        "40001" | "40P01" => Meaning::Contended,
        // Somebody else was faster to write the same operation, or to create the same document.
        "23505" if error.as_db_error().and_then(DbError::table).is_some_and(|table| GUARDED.contains(&table)) => {
            Meaning::Contended
        }
        "55P03" => Meaning::Busy,
        // A statement that took too long, a transaction that was idle, a database that was dropped, or is not there.
        "57014" | "25P03" | "57P04" | "3D000" => Meaning::Unavailable,
        code => match code.get(..2) {
            // The connection, or what a pooler has to say about its own.
            Some("08") => Meaning::LostConnection,
            // A login that was refused: the request is not at fault, and may work once the password is known here.
            // No memory, disk or connection left; errors of the system.
            Some("28" | "53" | "58") => Meaning::Unavailable,
            _ => Meaning::Refused,
        },
    }
}

/// What an error means that a new connection met.
fn obstacle(error: &tokio_postgres::Error) -> Obstacle {
    if let Some(code) = error.code() {
        return match code.code() {
            "3D000" => Obstacle::Database,
            "42501" => Obstacle::Rights,
            code if code.starts_with("28") => Obstacle::Login,
            _ => Obstacle::Unreachable,
        };
    }
    // The driver keeps the kinds of its errors to itself.
    let text = error.to_string();
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    if text.contains("TLS") {
        return Obstacle::Tls;
    }
    if text.contains("authentication") || source.contains("password missing") {
        return Obstacle::Login;
    }
    let Some(io) = error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) else {
        let is_late = text.contains("timeout");
        return if is_late { Obstacle::Silent } else { Obstacle::Unreachable };
    };
    match io.kind() {
        ErrorOfSystem::ConnectionRefused | ErrorOfSystem::NotFound => Obstacle::Refused,
        ErrorOfSystem::TimedOut => Obstacle::Silent,
        _ if source.contains("lookup") => Obstacle::UnknownHost,
        _ => Obstacle::Unreachable,
    }
}

/// What the server says of a login repeats the user and the database, which may be pieces of a password where a
/// connection string is not what it was meant to be.
fn without_names(error: &tokio_postgres::Error) -> Option<&'static str> {
    match obstacle(error) {
        Obstacle::Login => Some("the login is refused"),
        Obstacle::Database => Some("there is no such database"),
        Obstacle::Rights => Some("the user may not connect to the database"),
        _ => None,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error: &dyn Error = match self {
            Self::Pool(PoolError::Timeout(TimeoutType::Wait)) => {
                return formatter.write_str("no connection became free in time");
            }
            Self::Pool(PoolError::Timeout(_)) => return formatter.write_str("could not connect in time"),
            Self::Late => return formatter.write_str("no answer in time"),
            Self::Answer(what) => return write!(formatter, "the answer had {what}"),
            Self::Unsuitable(why) => return formatter.write_str(why),
            // Without a code the words are the driver's own, which name nothing.
            Self::Pool(PoolError::Backend(ConnectError::Driver(error))) => match (error.code(), without_names(error)) {
                (Some(code), Some(what)) => return write!(formatter, "{what} ({})", code.code()),
                _ => error,
            },
            Self::Driver(error) => error,
            Self::Pool(PoolError::Backend(error)) => error,
            Self::Pool(error) => error,
        };
        // The driver's errors say what they are only together with their sources.
        write!(formatter, "{error}")?;
        let mut source = error.source();
        while let Some(cause) = source {
            write!(formatter, ": {cause}")?;
            source = cause.source();
        }
        if let Some(hint) = hint(error) {
            write!(formatter, " ({hint})")?;
        }
        Ok(())
    }
}

/// What helps against errors whose cause is a setting.
fn hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let error = error.downcast_ref::<tokio_postgres::Error>()?;
    let Some(of_server) = error.as_db_error() else { return hint_about_tls(error) };
    let is_refused_setting =
        ["startup parameter", "command-line options"].iter().any(|words| of_server.message().contains(words));
    if is_refused_setting {
        return Some("a pooler must be declared as one");
    }
    let is_taken = [SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_FUNCTION].contains(of_server.code());
    is_taken.then_some("another program has a name of ours in this schema; set another schema")
}

/// What helps where TLS is asked for and cannot be had.
fn hint_about_tls(error: &tokio_postgres::Error) -> Option<&'static str> {
    let reason = error.source()?.to_string();
    if reason.contains("does not support TLS") {
        return Some(
            "switch TLS on in the server, or if the network on the way to it is yours alone, set sslmode=disable in the \
             connection string",
        );
    }
    reason.contains("invalid peer certificate").then_some(
        "name the file of its authority in POSTGRES_CA_FILE, or set sslmode=require in the connection string to encrypt \
         without asking who answers",
    )
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Pool(error) => Some(error),
            Self::Driver(error) => Some(error),
            Self::Late | Self::Answer(_) | Self::Unsuitable(_) => None,
        }
    }
}

impl From<PoolError<ConnectError>> for Failure {
    fn from(error: PoolError<ConnectError>) -> Self {
        Self::Pool(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}
