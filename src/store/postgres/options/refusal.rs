//! Describes the faults of a connection string without repeating a word of it, which the driver's own errors do.

use std::error::Error as _;

use crate::store::address::{ESCAPES, seems_unescaped, wrong_scheme};

/// The message for a password with an `@` in it.
pub(super) const UNESCAPED: &str = "the password seems to have an @ in it that is not escaped; in the user and the \
                                    password write %40 for @, %3A for :, %2F for /, %3F for ?, %23 for # and %25 for %";

/// The keys whose values the driver checks.
const KEYS: [&str; 13] = [
    "channel_binding",
    "connect_timeout",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// Why the driver cannot read a connection string.
pub(super) fn of(text: &str, error: &tokio_postgres::Error) -> String {
    if let Some(problem) = wrong_scheme(text, ["postgresql", "postgres"]) {
        return problem;
    }
    let is_url = text.contains("://");
    if is_url && seems_unescaped(text) {
        return format!("the user or the password seems to have a character in it that is not escaped; {ESCAPES}");
    }
    let reason = error.source().map(ToString::to_string).unwrap_or_default();
    let key = KEYS.iter().find(|key| reason == format!("invalid value for option `{key}`"));
    match key {
        Some(key) => format!("the value of {key} is not valid"),
        None if is_url => "must be a URL such as postgresql://user:password@host:5432/database".to_owned(),
        None if reason.starts_with("unknown option") => {
            "has a key that is unknown; a value with spaces goes into single quotes, as in password='a b'".to_owned()
        }
        None if reason.starts_with("unterminated") => "has a single quote that is not closed".to_owned(),
        None => "must be a URL such as postgresql://user:password@host:5432/database, or pairs such as host=h user=u \
             password='p' dbname=d"
            .to_owned(),
    }
}
