//! The settings of the store, and the connection string.

pub(super) mod error;
mod refusal;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};

pub use self::error::PostgresOptionsError;
use super::connections::login::{Login, LoginSource};
use super::connections::tls::TlsMode;
use super::connections::transport::Beginning;
use crate::limits::store::postgres::SCHEMA_NAME_MAX_BYTES;
use crate::limits::store::{STORE_CONNECT_TIME_MAX_MS, STORE_LOCK_TIME_MAX_MS, STORE_STATEMENT_TIME_MAX_MS};

/// The port of a server if the connection string has none.
const PORT: u16 = 5432;

/// How long a connection is silent before the system checks whether its other end still exists.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);

/// The pause between two of these checks.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How many checks without an answer end a connection.
const KEEPALIVE_RETRIES: u32 = 3;

/// The settings with which the store reaches its database.
#[derive(Clone)]
pub struct PostgresOptions {
    /// A URL (`postgresql://user:password@host:5432/database?sslmode=verify-full`) or `key=value` pairs, as in libpq.
    /// All values of `sslmode` work: `allow` means `prefer`, and the others mean the same as in libpq. The default is
    /// `verify-full`. It is `prefer` if there is no `ca_file` and every host is this machine: a Unix socket,
    /// `localhost` or a loopback address.
    ///
    /// With any value, a password is never sent in clear text to another machine over a connection without TLS.
    pub connection_string: String,
    /// The source of logins, if they do not come from the connection string.
    pub logins: Option<Arc<dyn LoginSource>>,
    /// The schema of the tables and functions, 1 to 63 bytes, which is created if it does not exist. `None` means
    /// `syncflow`, or `public` if an earlier version has its tables there.
    pub schema: Option<String>,
    /// A PEM file with the certificates to trust in place of those of the system.
    pub ca_file: Option<PathBuf>,
    /// The kind of the server to which the connections lead.
    pub peer: Peer,
    /// The greatest number of connections, at least one.
    pub pool_size: usize,
}

/// The kind of the server to which connections lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The database server. Time limits are set on each connection, and statements are prepared.
    Server,
    /// A pooler that may run each transaction on another connection (PgBouncer, RDS Proxy). It is sent no settings, so
    /// time limits must be set for the role on the server.
    Pooler,
}

/// The parts of a connection string that describe the server and the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The server's name, or `None` if there are several or none with a name.
    pub host: Option<String>,
    /// The port of the first server.
    pub port: u16,
    /// The login. The password is empty if there is none.
    pub login: Login,
    /// Whether nothing is sent without encryption.
    pub is_always_encrypted: bool,
}

impl PostgresOptions {
    /// The defaults for a connection string: no schema, a direct connection, a pool of 10.
    #[must_use]
    pub fn new(connection_string: &str) -> Self {
        Self {
            connection_string: connection_string.to_owned(),
            logins: None,
            schema: None,
            ca_file: None,
            peer: Peer::Server,
            pool_size: 10,
        }
    }

    /// The parts of the connection string that describe the server and the login.
    ///
    /// # Errors
    /// If the options cannot be used.
    pub fn parts(&self) -> Result<Parts, PostgresOptionsError> {
        let (config, tls) = self.parse()?;
        let host = match config.get_hosts() {
            [Host::Tcp(host)] => Some(host.clone()),
            _ => None,
        };
        let password = config.get_password().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        Ok(Parts {
            host,
            port: config.get_ports().first().copied().unwrap_or(PORT),
            login: Login { user: config.get_user().map(str::to_owned), password },
            is_always_encrypted: tls.is_always_encrypted(),
        })
    }

    /// The driver's settings, and the TLS mode.
    pub(super) fn parse(&self) -> Result<(Config, TlsMode), PostgresOptionsError> {
        let is_name = |name: &String| !name.is_empty() && name.len() <= SCHEMA_NAME_MAX_BYTES && !name.contains('\0');
        if !self.schema.as_ref().is_none_or(is_name) {
            return Err(PostgresOptionsError::Schema);
        }
        if self.pool_size == 0 {
            return Err(PostgresOptionsError::PoolSize);
        }
        let refused = PostgresOptionsError::ConnectionString;
        let (rest, sslmode) = take_sslmode(&self.connection_string);
        let mut config =
            Config::from_str(&rest).map_err(|error| refused(refusal::of(&self.connection_string, &error)))?;
        if has_login_in_host(&config) || has_login_in_path(&rest) {
            return Err(refused(refusal::UNESCAPED.to_owned()));
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(refused("names no host".to_owned()));
        }
        let tls = match sslmode {
            Some(word) => TlsMode::parse(word).ok_or_else(|| {
                refused("sslmode must be disable, allow, prefer, require, verify-ca or verify-full".to_owned())
            })?,
            None if self.ca_file.is_none() && is_this_machine(&config) => TlsMode::Prefer,
            None => TlsMode::VerifyFull,
        };
        config.ssl_mode(tls.negotiation());
        self.complete(&mut config);
        Ok((config, tls))
    }

    /// Sets everything that the connection string does not.
    fn complete(&self, config: &mut Config) {
        if config.get_application_name().is_none() {
            config.application_name(env!("CARGO_PKG_NAME"));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_millis(STORE_CONNECT_TIME_MAX_MS));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_millis(STORE_CONNECT_TIME_MAX_MS));
        }
        if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            config.keepalives_idle(KEEPALIVE_AFTER);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEPALIVE_INTERVAL);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(KEEPALIVE_RETRIES);
        }
        if self.peer == Peer::Server {
            let theirs = config.get_options().unwrap_or_default();
            let limit = STORE_STATEMENT_TIME_MAX_MS;
            // A statement that only waits is not too slow.
            let lock_limit = STORE_LOCK_TIME_MAX_MS;
            // The plan of a prepared statement may date from a time when its table was small. JIT compilation is never
            // worthwhile for rows that fit a page, whatever the planner expects of large tables.
            let options = format!(
                "-c statement_timeout={limit} -c lock_timeout={lock_limit} \
                 -c idle_in_transaction_session_timeout={limit} -c enable_seqscan=off -c jit=off -c search_path=pg_catalog,pg_temp {theirs}"
            );
            config.options(options.trim_end());
        }
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The connection string has a password in it.
        formatter
            .debug_struct("PostgresOptions")
            .field("schema", &self.schema)
            .field("ca_file", &self.ca_file)
            .field("peer", &self.peer)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}

/// Whether a part of a login is in the place of a host, because the password contained an `@`.
fn has_login_in_host(config: &Config) -> bool {
    config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@')))
}

/// Whether a part of a login is in the path of a URL, because the password contained an `@` and then a `/`.
fn has_login_in_path(text: &str) -> bool {
    let path = text.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
    path.and_then(|path| path.split('?').next()).is_some_and(|path| path.contains('@'))
}

/// Whether every host is the machine of this process.
fn is_this_machine(config: &Config) -> bool {
    let is_local_name = |name: &str| {
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    };
    let is_local = |host: &Host| match host {
        Host::Tcp(name) => is_local_name(name),
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    // The driver connects to the addresses, if there are any. The names are then used only for certificates.
    match config.get_hostaddrs() {
        [] => config.get_hosts().iter().all(is_local),
        addresses => addresses.iter().all(IpAddr::is_loopback),
    }
}

/// How connections begin. If one to another machine may be made without TLS, the driver is told that the server has
/// TLS, and does not ask it. So [`super::connections::transport`] handles the whole beginning.
pub(super) fn begin(config: &mut Config, tls: TlsMode) -> Result<Beginning, PostgresOptionsError> {
    if tls.is_always_encrypted() || is_this_machine(config) {
        return Ok(Beginning::AsTheDriverSays);
    }
    let refused = |why: &str| Err(PostgresOptionsError::ConnectionString(why.to_owned()));
    if config.get_ssl_negotiation() == SslNegotiation::Direct {
        return refused("sslnegotiation=direct needs sslmode=require or a stricter one");
    }
    if config.get_hosts().iter().any(|host| !matches!(host, Host::Tcp(_))) {
        return refused("names a socket beside other hosts");
    }
    if config.get_hosts().is_empty() {
        for address in config.get_hostaddrs().to_vec() {
            config.host(address.to_string());
        }
    }
    config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
    Ok(if tls == TlsMode::Disable { Beginning::Clear } else { Beginning::TlsIfOffered })
}

/// Removes `sslmode` from a connection string, because the driver does not know all of its values.
fn take_sslmode(text: &str) -> (String, Option<&str>) {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let Some((head, query)) = text.rsplit_once('?') else { return (text.to_owned(), None) };
        let parts: Vec<&str> = query.split('&').collect();
        let sslmode = parts.iter().rev().find_map(|part| part.strip_prefix("sslmode="));
        let rest: Vec<&str> = parts.into_iter().filter(|part| !part.starts_with("sslmode=")).collect();
        return (format!("{head}?{}", rest.join("&")), sslmode);
    }
    let parameters = parameters(text);
    // The driver refuses a quote that is not closed.
    let is_whole = |value: &str| !value.starts_with('\'') || value.len() > 1 && value.ends_with('\'');
    let is_sslmode = |parameter: &&Parameter<'_>| parameter.key == "sslmode" && is_whole(parameter.value);
    let sslmode = parameters.iter().rfind(is_sslmode).map(|parameter| parameter.value.trim_matches('\''));
    let rest: Vec<&str> = parameters.iter().filter(|other| !is_sslmode(other)).map(|other| other.text).collect();
    (rest.join(" "), sslmode)
}

/// A parameter of a connection string that is not a URL.
struct Parameter<'a> {
    /// All of it, such as `password = 'a b'`.
    text: &'a str,
    key: &'a str,
    /// The value, with its quotes if it has some.
    value: &'a str,
}

/// The parameters of a connection string that is not a URL. Text without `=` becomes a key, which the driver refuses.
fn parameters(text: &str) -> Vec<Parameter<'_>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').unwrap_or((rest, ""));
        let after = after.trim_start();
        let (value, behind) = after.split_at(end_of_value(after));
        let text = &rest[..rest.len() - behind.len()];
        found.push(Parameter { text, key: key.trim_end(), value });
        rest = behind.trim_start();
    }
    found
}

/// The length of the value at the beginning of a text, in bytes. A backslash takes the next character as it is.
fn end_of_value(text: &str) -> usize {
    let is_quoted = text.starts_with('\'');
    let mut is_escaped = false;
    for (place, character) in text.char_indices().skip(usize::from(is_quoted)) {
        if !is_escaped && is_quoted && character == '\'' {
            return place + 1;
        }
        if !is_escaped && !is_quoted && character.is_whitespace() {
            return place;
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::SslMode;

    use super::*;

    fn parse(connection_string: &str) -> Result<(Config, TlsMode), PostgresOptionsError> {
        PostgresOptions::new(connection_string).parse()
    }

    #[test]
    fn every_sslmode_of_libpq_is_known_in_both_forms_of_a_connection_string() {
        for (word, mode, negotiation) in [
            ("disable", TlsMode::Disable, SslMode::Disable),
            ("allow", TlsMode::Prefer, SslMode::Prefer),
            ("prefer", TlsMode::Prefer, SslMode::Prefer),
            ("require", TlsMode::Require, SslMode::Require),
            ("verify-ca", TlsMode::VerifyCa, SslMode::Require),
            ("verify-full", TlsMode::VerifyFull, SslMode::Require),
        ] {
            for text in [
                format!("postgresql://u:p@h:5433/d?sslmode={word}&target_session_attrs=read-write"),
                format!("postgres://u:p@h:5433/d?target_session_attrs=read-write&sslmode={word}"),
                format!("host=h port=5433 user=u password=p  sslmode={word} dbname=d"),
            ] {
                let (config, tls) = parse(&text).unwrap();
                assert_eq!((tls, config.get_ssl_mode()), (mode, negotiation), "{text}");
                assert_eq!(config.get_hosts(), [Host::Tcp("h".to_owned())], "{text}");
                assert_eq!((config.get_ports(), config.get_dbname()), (&[5433][..], Some("d")), "{text}");
            }
        }
        assert!(parse("postgresql://h/d?sslmode=full").is_err());
    }

    #[test]
    fn a_parameter_may_have_blanks_and_quotes() {
        for text in [
            "host=localhost sslmode = require",
            "sslmode='require' host = localhost",
            "sslmode =require host=localhost",
        ] {
            let (config, tls) = parse(text).unwrap();
            assert_eq!(
                (tls, config.get_hosts()),
                (TlsMode::Require, &[Host::Tcp("localhost".to_owned())][..]),
                "{text}"
            );
        }
        for text in ["host=localhost sslmode", "host=localhost sslmode='require", "sslmode=require =x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_quoted_value_has_no_parameters_in_it() {
        let (config, tls) = parse(r"host=h password='a \' sslmode=disable' sslmode=require").unwrap();
        assert_eq!(config.get_password(), Some(&b"a ' sslmode=disable"[..]));
        assert_eq!(tls, TlsMode::Require);
    }

    #[test]
    fn full_verification_is_the_default_except_on_this_machine() {
        for (text, expected) in [
            ("postgresql://h/d", TlsMode::VerifyFull),
            ("postgresql://10.0.0.1/d", TlsMode::VerifyFull),
            ("postgresql://0.0.0.0/d", TlsMode::VerifyFull),
            ("postgresql://localhost.example/d", TlsMode::VerifyFull),
            ("postgresql://localhost,h/d", TlsMode::VerifyFull),
            ("host=localhost hostaddr=10.0.0.1", TlsMode::VerifyFull),
            ("postgresql://localhost/d", TlsMode::Prefer),
            ("postgresql://127.0.0.1/d", TlsMode::Prefer),
            ("host=::1", TlsMode::Prefer),
            ("host=/var/run/postgresql", TlsMode::Prefer),
            ("host=h hostaddr=127.0.0.2", TlsMode::Prefer),
        ] {
            let mut options = PostgresOptions::new(text);
            assert_eq!(options.parse().unwrap().1, expected, "{text}");
            options.ca_file = Some("ca.pem".into());
            assert_eq!(options.parse().unwrap().1, TlsMode::VerifyFull, "{text} with a file of certificates");
        }
    }

    #[test]
    fn connections_that_may_be_without_tls_are_guarded_except_on_this_machine() {
        for (text, expected) in [
            ("postgresql://h/d?sslmode=disable", Beginning::Clear),
            ("postgresql://h/d?sslmode=prefer", Beginning::TlsIfOffered),
            ("hostaddr=10.0.0.1 sslmode=allow", Beginning::TlsIfOffered),
            ("postgresql://h/d", Beginning::AsTheDriverSays),
            ("postgresql://h/d?sslmode=require", Beginning::AsTheDriverSays),
            ("postgresql://localhost/d?sslmode=disable", Beginning::AsTheDriverSays),
        ] {
            let (mut config, tls) = parse(text).unwrap();
            assert_eq!(begin(&mut config, tls).unwrap(), expected, "{text}");
        }
        for text in ["host=h sslmode=prefer sslnegotiation=direct", "host=/tmp,h sslmode=disable"] {
            let (mut config, tls) = parse(text).unwrap();
            assert!(begin(&mut config, tls).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_sent_to_a_server_and_not_to_a_pooler() {
        let mut options = PostgresOptions::new("host=h options='-c statement_timeout=5'");
        let (config, _) = options.parse().unwrap();
        assert_eq!(
            config.get_options(),
            Some(
                "-c statement_timeout=10000 -c lock_timeout=9000 -c idle_in_transaction_session_timeout=10000 \
                 -c enable_seqscan=off -c jit=off -c search_path=pg_catalog,pg_temp -c statement_timeout=5"
            )
        );
        options.peer = Peer::Pooler;
        assert_eq!(options.parse().unwrap().0.get_options(), Some("-c statement_timeout=5"));
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (text, what) in [
            ("mysql://u:hidden@h/d", "mysql:// is the scheme of MySQL; it must begin with postgresql://"),
            ("mongodb://u:hidden@h/d", "mongodb:// is the scheme of MongoDB"),
            ("postgresql://u:hid@den@h/d", "write %40 for @"),
            ("postgresql://u:hid@den:x@h/d", "write %40 for @"),
            ("postgresql://u:hid@d/en@h/d", "write %40 for @"),
            ("postgresql://u:p@h:port/d", "the value of port"),
            ("host=h password=a hidden=x", "single quotes"),
            ("host=h password='a hidden", "not closed"),
            ("hidden", "must be a URL"),
        ] {
            let refusal = parse(text).unwrap_err().to_string();
            assert!(refusal.contains(what) && !refusal.contains("hidden"), "{text}: {refusal}");
        }
    }

    #[test]
    fn bad_settings_are_refused_without_telling_a_secret() {
        for text in ["", "postgresql://", "host", "postgresql://u:hidden@h:port/d", "host=h password=hidden colour=red"]
        {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, PostgresOptionsError::ConnectionString(_)), "{text}: {error}");
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
        let with = |change: fn(&mut PostgresOptions)| {
            let mut options = PostgresOptions::new("postgresql://u:hidden@h/d");
            change(&mut options);
            assert!(!format!("{options:?}").contains("hidden"));
            options.parse().unwrap_err()
        };
        for schema in [String::new(), "s".repeat(64), "a\0b".to_owned()] {
            let mut options = PostgresOptions::new("host=h");
            options.schema = Some(schema);
            assert!(matches!(options.parse().unwrap_err(), PostgresOptionsError::Schema));
        }
        assert!(matches!(with(|options| options.pool_size = 0), PostgresOptionsError::PoolSize));
    }
}
