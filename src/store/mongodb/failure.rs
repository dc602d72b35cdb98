//! Failures between the store and its server, and their meaning for the caller.

use std::error::Error;
use std::fmt;

use mongodb::error::{
    ErrorKind as DriverKind, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, WriteFailure,
};

use crate::core::access::labels::DamagedLabels;
use crate::core::filter::DamagedData;
use crate::store::{ErrorKind, Obstacle, StoreError};

/// The adapter's name.
pub(super) const NAME: &str = "mongodb";

/// Two transactions wrote the same document.
const WRITE_CONFLICT: i32 = 112;

/// The answer to a command when user and password are wrong.
const AUTHENTICATION_FAILED: i32 = 18;

/// The user lacks the right, or there was no login.
const UNAUTHORIZED: i32 = 13;

/// The key exists already.
const DUPLICATE_KEY: i32 = 11_000;

/// There is no such collection.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// The codes of a server that does not know a command, or may not execute it in its configuration.
const UNKNOWN_COMMAND_CODES: [i32; 3] = [59, 115, 8_000];

/// The codes of a server that cannot work for a while: it stops, starts, steps down, or has lost disk space or the
/// other members.
const PASSING_CODES: [i32; 19] =
    [6, 7, 64, 89, 91, 134, 189, 202, 246, 251, 262, 9_001, 10_107, 11_600, 11_602, 13_435, 13_436, 14_031, 16_500];

/// A command took longer than it may.
const MAX_TIME_EXPIRED: i32 = 50;

/// The codes of a busy server: lock timeouts, write conflicts, too many requests.
const BUSY_CODES: [i32; 4] = [24, 46, WRITE_CONFLICT, 462];

/// Why a command has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// The driver or the server refused the command, or the connection broke.
    Driver(mongodb::error::Error),
    /// The server refused one of the statements of a command.
    Statement { code: i32, message: String },
    /// No answer came in time.
    Late,
    /// Other transactions were in the way for too long.
    Crowded,
    /// The deployment or the database cannot hold our store.
    Unsuitable(String),
    /// The answer is not one that the store's commands get.
    Answer(&'static str),
    /// A row is not as the store writes it. The text has the field and the problem, but not the contents.
    Damaged(String),
}

impl Failure {
    /// Whether another transaction is in the way.
    pub(super) fn is_write_conflict(&self) -> bool {
        self.code() == Some(WRITE_CONFLICT)
    }

    /// Whether the key exists already.
    pub(super) fn is_duplicate_key(&self) -> bool {
        self.code() == Some(DUPLICATE_KEY)
    }

    /// Whether there is no such collection.
    pub(super) fn is_missing_collection(&self) -> bool {
        self.code() == Some(NAMESPACE_NOT_FOUND)
    }

    /// Whether the server does not know the command at all.
    pub(super) fn is_unknown_command(&self) -> bool {
        let is_of_driver =
            matches!(self, Self::Driver(error) if matches!(*error.kind, DriverKind::IncompatibleServer { .. }));
        is_of_driver || self.code().is_some_and(|code| UNKNOWN_COMMAND_CODES.contains(&code))
    }

    /// Whether the transaction had no effect and may succeed if it is repeated.
    pub(super) fn is_transient(&self) -> bool {
        self.has_label(TRANSIENT_TRANSACTION_ERROR)
    }

    /// Whether it is unknown if the transaction took effect. Its commit may be repeated.
    pub(super) fn is_unknown_commit(&self) -> bool {
        matches!(self, Self::Late) || self.has_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
    }

    /// Whether the driver searched for a server and could reach none.
    pub(super) fn is_no_server(&self) -> bool {
        matches!(self, Self::Driver(error) if matches!(*error.kind, DriverKind::ServerSelection { .. }))
    }

    /// Whether the connection broke during a command.
    pub(super) fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Driver(error) if matches!(*error.kind, DriverKind::Io(_)))
    }

    /// Whether the server refused the login, with which every new connection begins.
    pub(super) fn is_refused_login(&self) -> bool {
        let is_of_driver =
            matches!(self, Self::Driver(error) if matches!(*error.kind, DriverKind::Authentication { .. }));
        is_of_driver || self.code() == Some(AUTHENTICATION_FAILED)
    }

    fn has_label(&self, label: &str) -> bool {
        matches!(self, Self::Driver(error) if error.contains_label(label))
    }

    /// The error code of the server, if it sent one.
    pub(super) fn code(&self) -> Option<i32> {
        match self {
            Self::Driver(error) => code_of(error),
            Self::Statement { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The meaning for the caller.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Late => ErrorKind::Unavailable,
            Self::Crowded => ErrorKind::Busy,
            // The commit may have taken effect, so it must not be answered like one that was ended in time.
            _ if self.is_unknown_commit() => ErrorKind::Unavailable,
            _ if self.code() == Some(MAX_TIME_EXPIRED) => ErrorKind::TooSlow,
            _ if self.code().is_some_and(|code| BUSY_CODES.contains(&code)) => ErrorKind::Busy,
            _ if self.code().is_some_and(|code| PASSING_CODES.contains(&code)) => ErrorKind::Unavailable,
            Self::Unsuitable(_) | Self::Answer(_) | Self::Damaged(_) | Self::Statement { .. } => ErrorKind::Failed,
            Self::Driver(error) => match &*error.kind {
                DriverKind::ServerSelection { .. }
                | DriverKind::Io(_)
                | DriverKind::ConnectionPoolCleared { .. }
                | DriverKind::DnsResolve { .. } => ErrorKind::Unavailable,
                // A rotation may have reached the database but not yet the secret.
                _ if self.is_refused_login() => ErrorKind::Unavailable,
                _ if self.is_transient() => ErrorKind::Unavailable,
                _ => ErrorKind::Failed,
            },
        }
    }

    /// The error of the port, in one of its methods.
    pub(super) fn during(self, operation: &'static str) -> StoreError {
        let obstacle = self.obstacle();
        StoreError::new(NAME, operation, self.kind(), self).with_obstacle(obstacle)
    }

    /// The reason why the store cannot use its database, if it is known.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        if self.is_refused_login() {
            return Some(Obstacle::Login);
        }
        if self.code() == Some(UNAUTHORIZED) {
            return Some(Obstacle::Rights);
        }
        match self {
            Self::Late => Some(Obstacle::Silent),
            Self::Driver(error) => match &*error.kind {
                // The driver gives the reason only as text, together with the addresses of its servers.
                DriverKind::ServerSelection { message, .. } => Some(obstacle(message)),
                DriverKind::DnsResolve { .. } => Some(Obstacle::UnknownHost),
                DriverKind::InvalidTlsConfig { .. } => Some(Obstacle::Tls),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The reason why the driver can reach no server, from its text about the last attempt.
fn obstacle(message: &str) -> Obstacle {
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match () {
        () if has(&["connection refused", "no such file"]) => Obstacle::Refused,
        () if has(&["lookup", "dns", "resolve", "no such host"]) => Obstacle::UnknownHost,
        () if has(&["certificate", "handshake", "invalidcontenttype", "alert"]) => Obstacle::Tls,
        () if has(&["timed out", "timeout:", "deadline"]) && !has(&["error:"]) => Obstacle::Silent,
        () => Obstacle::Unreachable,
    }
}

fn code_of(error: &mongodb::error::Error) -> Option<i32> {
    match &*error.kind {
        DriverKind::Command(error) => Some(error.code),
        DriverKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        DriverKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        DriverKind::InsertMany(error) => {
            let first = error.write_errors.as_ref().and_then(|errors| errors.first()).map(|error| error.code);
            first.or(error.write_concern_error.as_ref().map(|error| error.code))
        }
        DriverKind::BulkWrite(failed) => {
            let first = failed.write_errors.iter().min_by_key(|(index, _)| **index).map(|(_, error)| error.code);
            // The source of the error says what ended the command as a whole.
            let whole = || {
                let source = error.source()?.downcast_ref::<Box<mongodb::error::Error>>()?;
                code_of(source)
            };
            first.or_else(|| failed.write_concern_errors.first().map(|error| error.code)).or_else(whole)
        }
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
        match self {
            // The driver's messages about these errors repeat hosts, users and options. If the URI is malformed, these
            // may be parts of a password.
            Self::Driver(error) => match self.obstacle() {
                Some(Obstacle::Login) => formatter.write_str("the login is refused"),
                Some(Obstacle::Refused) => formatter.write_str("no server can be reached: none listens at the address"),
                Some(Obstacle::UnknownHost) => formatter.write_str("no server can be reached: the host is unknown"),
                Some(Obstacle::Tls) => formatter.write_str("no server can be reached: TLS fails"),
                Some(Obstacle::Silent) => formatter.write_str("no server can be reached: there is no answer in time"),
                Some(Obstacle::Unreachable) => formatter.write_str("no server can be reached, or none is a primary"),
                _ => match &*error.kind {
                    DriverKind::InvalidArgument { .. } => {
                        formatter.write_str("the driver cannot use an argument, which may be a part of the URI")
                    }
                    // The driver would add the whole answer in hexadecimal digits.
                    DriverKind::Command(refused) => {
                        write!(formatter, "the command was refused with {}: {}", refused.code, refused.message)
                    }
                    _ => error.fmt(formatter),
                },
            },
            Self::Statement { code, message } => write!(formatter, "a statement was refused with {code}: {message}"),
            Self::Late => formatter.write_str("no answer in time"),
            Self::Crowded => formatter.write_str("others were in the way for too long"),
            Self::Unsuitable(why) => formatter.write_str(why),
            Self::Answer(what) => write!(formatter, "the answer had {what}"),
            Self::Damaged(what) => write!(formatter, "a row is damaged, {what}"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Driver(error) => Some(error),
            Self::Statement { .. }
            | Self::Late
            | Self::Crowded
            | Self::Unsuitable(_)
            | Self::Answer(_)
            | Self::Damaged(_) => None,
        }
    }
}

impl From<mongodb::error::Error> for Failure {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Driver(error)
    }
}
