//! Failures between the store and its server, and their meaning for the caller.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind as ErrorOfSystem;

use deadpool::managed::{PoolError, TimeoutType};
use tokio_postgres::error::{DbError, SqlState};

use super::connections::manager::ConnectError;
use crate::core::access::labels::DamagedLabels;
use crate::core::filter::DamagedData;
use crate::store::{ErrorKind, Obstacle, StoreError};

/// The adapter's name.
pub(super) const NAME: &str = "postgres";

/// Why a statement has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The pool cannot provide a connection.
    Pool(PoolError<ConnectError>),
    /// The driver or the server refused the statement, or the connection broke.
    Driver(tokio_postgres::Error),
    /// No answer came in time.
    Late,
    /// The answer is not one that the store's statements give.
    Answer(&'static str),
    /// A row is not as the store writes it. The text has the column and the problem, but not the contents.
    Damaged(String),
    /// The database contains something that must not be used as ours.
    Unsuitable(String),
}

/// The meaning of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The connection cannot be used any more, but another one may work.
    LostConnection,
    /// The server cannot work now.
    Unavailable,
    /// The server is too busy.
    Busy,
    /// The commit of another process was faster.
    Contended,
    /// The statement took longer than it may.
    TooSlow,
    /// The server would refuse the statement again.
    Refused,
}

impl Failure {
    /// Whether the statement may succeed at once on another connection. It may have taken effect on this one.
    pub(super) fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Driver(error) if meaning(error) == Meaning::LostConnection)
    }

    /// Whether a guarded write failed because another process was faster.
    pub(super) fn is_contended(&self) -> bool {
        matches!(self, Self::Driver(error) if meaning(error) == Meaning::Contended)
    }

    /// Whether the server lost a prepared statement, or cannot execute it because the schema has changed. The statement
    /// has had no effect.
    pub(super) fn is_about_preparation(&self) -> bool {
        let codes = [SqlState::INVALID_SQL_STATEMENT_NAME, SqlState::FEATURE_NOT_SUPPORTED];
        self.code().is_some_and(|code| codes.contains(code))
    }

    /// Whether the statement names objects that do not exist, or that have changed since the connection read about
    /// them. This happens after the schema or the database was dropped or restored from a backup. The statement has had
    /// no effect.
    pub(super) fn is_about_schema(&self) -> bool {
        let codes = [
            SqlState::UNDEFINED_TABLE,
            SqlState::INVALID_SCHEMA_NAME,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::UNDEFINED_OBJECT,
            // The columns of a plan have changed, or a cached type or table is gone.
            SqlState::FEATURE_NOT_SUPPORTED,
            SqlState::INTERNAL_ERROR,
        ];
        self.code().is_some_and(|code| codes.contains(code))
    }

    /// Whether the connection is still in a known state.
    pub(super) fn leaves_connection_usable(&self) -> bool {
        let is_answered = matches!(self, Self::Driver(error) if error.as_db_error().is_some());
        is_answered && !self.is_lost_connection() && !self.is_about_schema()
    }

    /// The error code of the server, if it sent one.
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
            Self::Answer(_) | Self::Damaged(_) | Self::Unsuitable(_) => Meaning::Refused,
        };
        match meaning {
            Meaning::LostConnection | Meaning::Unavailable => ErrorKind::Unavailable,
            Meaning::Busy | Meaning::Contended => ErrorKind::Busy,
            Meaning::TooSlow => ErrorKind::TooSlow,
            Meaning::Refused => ErrorKind::Failed,
        }
    }

    /// The error of the port, in one of its methods.
    pub(super) fn during(self, operation: &'static str) -> StoreError {
        let obstacle = self.obstacle();
        StoreError::new(NAME, operation, self.kind(), self).with_obstacle(obstacle)
    }

    /// The reason why the store cannot use its database, if it is known.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        match self {
            Self::Pool(PoolError::Backend(ConnectError::Driver(error))) => Some(obstacle(error)),
            Self::Pool(PoolError::Timeout(TimeoutType::Create)) | Self::Late => Some(Obstacle::Silent),
            Self::Driver(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Some(Obstacle::Rights),
            _ => None,
        }
    }
}

/// The tables whose keys are guards. If a commit finds a key taken, its decision was about an older state.
const GUARDED: [&str; 2] = ["syncflow_operation_ids", "syncflow_documents"];

/// The meaning of a driver's error, by the classes of PostgreSQL's error codes.
fn meaning(error: &tokio_postgres::Error) -> Meaning {
    let Some(code) = error.code() else {
        let is_ours = error.source().is_some_and(|source| !source.is::<std::io::Error>());
        return if is_ours && !error.is_closed() { Meaning::Refused } else { Meaning::LostConnection };
    };
    match code.code() {
        // The server is shutting down, starting up, crashed, or has become a read-only standby.
        "57P01" | "57P02" | "57P03" | "57P05" | "25006" => Meaning::LostConnection,
        "40001" | "40P01" => Meaning::Contended,
        // Another process was faster to write the same operation or to create the same document.
        "23505" if error.as_db_error().and_then(DbError::table).is_some_and(|table| GUARDED.contains(&table)) => {
            Meaning::Contended
        }
        "55P03" => Meaning::Busy,
        "57014" => Meaning::TooSlow,
        // A transaction was idle, or the database was dropped or does not exist.
        "25P03" | "57P04" | "3D000" => Meaning::Unavailable,
        code => match code.get(..2) {
            // The connection broke, or a pooler reports a fault of its own connections.
            Some("08") => Meaning::LostConnection,
            // The login was refused, memory, disk or connections are used up, or the system failed. The request is not
            // at fault, and may succeed when the new password is known here.
            Some("28" | "53" | "58") => Meaning::Unavailable,
            _ => Meaning::Refused,
        },
    }
}

/// The reason behind an error of a new connection.
fn obstacle(error: &tokio_postgres::Error) -> Obstacle {
    if let Some(code) = error.code() {
        return match code.code() {
            "3D000" => Obstacle::Database,
            "42501" => Obstacle::Rights,
            code if code.starts_with("28") => Obstacle::Login,
            _ => Obstacle::Unreachable,
        };
    }
    // The driver does not make the kinds of its errors public.
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

/// The server's messages about a login repeat the user and the database. If the connection string is malformed, these
/// may be parts of a password, so a fixed text is used instead.
fn without_names(error: &tokio_postgres::Error) -> Option<&'static str> {
    match obstacle(error) {
        Obstacle::Login => Some("the login is refused"),
        Obstacle::Database => Some("there is no such database"),
        Obstacle::Rights => Some("the user may not connect to the database"),
        _ => None,
    }
}

impl From<DamagedLabels> for Failure {
    fn from(damaged: DamagedLabels) -> Self {
        Self::Damaged(damaged.to_string())
    }
}

impl From<DamagedData> for Failure {
    fn from(damaged: DamagedData) -> Self {
        Self::Damaged(damaged.to_string())
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
            Self::Damaged(what) => return write!(formatter, "a row is damaged, {what}"),
            Self::Unsuitable(why) => return formatter.write_str(why),
            // An error without a code has the driver's own text, which contains no names.
            Self::Pool(PoolError::Backend(ConnectError::Driver(error))) => match (error.code(), without_names(error)) {
                (Some(code), Some(what)) => return write!(formatter, "{what} ({})", code.code()),
                _ => error,
            },
            Self::Driver(error) => error,
            Self::Pool(PoolError::Backend(error)) => error,
            Self::Pool(error) => error,
        };
        // The driver's errors are only understandable together with their sources.
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

/// A hint for errors that a setting causes.
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

/// A hint if TLS is required but not available.
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
            Self::Late | Self::Answer(_) | Self::Damaged(_) | Self::Unsuitable(_) => None,
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
