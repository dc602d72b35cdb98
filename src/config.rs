//! Every setting, its variable and its default.
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `BIND` | `127.0.0.1` | address or name of this machine to listen on; `0.0.0.0` for every IPv4 address |
//! | `PORT` | `3000` | port to listen on; `0` for any that is free |
//! | `ADAPTER` | see below | `sqlite`, `postgres`, `mongodb` or `memory` (nothing is kept when the server ends) |
//! | `SQLITE_PATH` | `./syncflow.db` | the SQLite database; made where there is none |
//! | `POSTGRES_CONNECTION_STRING` | | the PostgreSQL database, `postgresql://user:pass@host:5432/name` |
//! | `POSTGRES_CONNECTION_STRING_FILE` | | a file that has the connection string instead |
//! | `POSTGRES_SECRET_ARN` | | ARN or name of an AWS secret with user and password, or the whole connection string |
//! | `POSTGRES_PARAMETER` | | ARN or name of a parameter of AWS Systems Manager with the same |
//! | `POSTGRES_IAM_AUTH` | `false` | `true` to log in to RDS as the role that the process has in AWS, without a password |
//! | `POSTGRES_SCHEMA` | see below | the schema of its tables; made where there is none |
//! | `POSTGRES_CA_FILE` | | a PEM file with the certificates to trust, in place of those of the system |
//! | `POSTGRES_POOLER` | `false` | `true` where a pooler such as PgBouncer or RDS Proxy stands before the server |
//! | `MONGO_URI` | | the MongoDB servers, `mongodb://host:27017/?replicaSet=rs0` or `mongodb+srv://host` |
//! | `MONGO_URI_FILE` | | a file that has the URI instead |
//! | `MONGO_SECRET_ARN` | | ARN or name of an AWS secret with user and password, or the whole URI |
//! | `MONGO_PARAMETER` | | ARN or name of a parameter of AWS Systems Manager with the same |
//! | `MONGO_DB_NAME` | `syncflow` | the database on that server |
//! | `MONGO_OPERATIONS_COLLECTION` | `operations` | its collection of operations |
//! | `MONGO_DOCUMENTS_COLLECTION` | `documents` | its collection of documents |
//! | `POOL_SIZE` | `10` | connections to the database, or readers of SQLite, 1 to 1,000; MongoDB gets one more, and PostgreSQL too if it is more than 1 |
//! | `REQUEST_TIMEOUT_SECONDS` | `30` | how long a request may take, 1 to 30 |
//! | `MEMORY_MAX_BYTES` | `268435456` | memory that requests and answers in flight may take together, from 67,108,864 |
//! | `HTTP2` | `off` | `on` to speak HTTP/2 in clear text too, as a proxy may want it |
//! | `CONNECTIONS_PER_ADDRESS` | `100` | connections of one address (IPv6: of a /64), 1 to 4,096 |
//! | `TRUSTED_PROXIES` | `127.0.0.0/8,::1` | addresses and networks of proxies, which say who their clients are; `none` |
//! | `RATE_PER_PRINCIPAL` | see below | requests a second of one subject of a tenant, 1 to 1,000,000, or `off` |
//! | `RATE_PER_ADDRESS` | see below | requests a second from one address (IPv6: a /64), 1 to 1,000,000, or `off` |
//! | `COMPACT_OLDER_THAN_DAYS` | `30` | what the scheduled compaction of a Lambda removes, a number of days from 0 |
//! | `ALLOWED_ORIGINS` | see below | origins whose pages may call the server, with commas between them; `*` for all |
//! | `ALLOWED_HOSTS` | | names by which the server may be called besides `localhost` and IP addresses, perhaps with ports |
//! | `AUTH` | see below | `off` for a server that everybody may use, as the admin of the tenant `default` |
//! | `AUTH_HS256_SECRET` | | a secret of at least 32 bytes that signs JSON Web Tokens with HS256 |
//! | `AUTH_HS256_SECRET_FILE` | | a file that has the secret instead |
//! | `AUTH_JWKS` | | the keys of an identity provider that sign tokens, as JSON (RFC 7517) |
//! | `AUTH_JWKS_FILE` | | a file that has the keys instead |
//! | `AUTH_JWKS_URL` | | the URL at which the provider publishes the keys instead; `https`, or `http` on this machine |
//! | `AUTH_ISSUER` | | what `iss` of a token must be; needed with the keys of a provider |
//! | `AUTH_AUDIENCE` | | what `aud` of a token must be or contain; needed with the keys of a provider |
//! | `AUTH_TENANT` | | the one tenant of all JSON Web Tokens |
//! | `AUTH_TENANT_CLAIM` | | the claim with the tenant, by its path; `sub` for a tenant for each user |
//! | `AUTH_ROLE_CLAIM` | `role` | the claim with the role, by its path |
//! | `AUTH_TOKENS_FILE` | | a file with the hashes of static tokens, one a line |
//! | `LOG_FORMAT` | `pretty` | `pretty` for people, `json` for machines |
//! | `METRICS_NAMESPACE` | `syncflow-server` | the CloudWatch namespace of a Lambda's metrics; `off` for none |
//! | `LOG_LEVEL` | `info` | `error`, `warn`, `info`, `debug`, `trace`, `off`, or directives such as `warn,syncflow_server=debug` |
//!
//! In a Lambda the defaults of `POOL_SIZE` and `LOG_FORMAT` are `1` and `json`.
//!
//! Requests need a token if a secret, keys or a file of tokens is set. If none is, and `AUTH` is not `off`, only a server
//! that listens on a loopback address starts, and everybody may use it.
//!
//! Without `RATE_PER_PRINCIPAL` and `RATE_PER_ADDRESS` the rates are 50 and 200 for a server that asks for tokens and
//! listens on other addresses than loopback ones. For every other server they are `off`. In a Lambda they have no effect.
//!
//! Without `POSTGRES_SCHEMA` the schema is `syncflow`, or `public` if an earlier version has its tables there.
//!
//! If `ADAPTER` is not set, the server uses the store whose connection string, file, secret or parameter is set, and
//! SQLite if none is. If `ALLOWED_ORIGINS` is not set, pages of this machine may call the server: those of `localhost`,
//! of names below it and of loopback addresses, at any port. An empty variable is treated as not set.

mod auth;
mod edge;
mod file;
mod names;
mod origins;
mod secret;
mod store;

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

pub use self::auth::{AuthConfig, JwtConfig, KeyConfig, TenantConfig, TokenConfig};
pub use self::edge::{ConnectionConfig, RateConfig, TrustedProxies};
pub use self::names::{NearMiss, VARIABLES, near_misses};
pub use self::origins::{AllowedHosts, AllowedOrigins, Authority, Origin};
pub use self::secret::Secret;
pub use self::store::{Adapter, Connection, SecretKeeper, SecretPlace, StoreConfig};
use crate::limits::api::{COMPACT_DEFAULT_DAYS, LAMBDA_BODY_MAX_BYTES, REQUEST_BODY_MAX_BYTES};
use crate::limits::lambda::METRICS_NAMESPACE_MAX_BYTES;
use crate::limits::runtime::REQUEST_TIME_MAX_SECONDS;

/// The settings of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The address at which the local server listens.
    pub listen: Listen,
    /// The settings about sign-in.
    pub auth: AuthConfig,
    /// The store of operations and documents.
    pub store: StoreConfig,
    /// The treatment of requests before they reach the routes.
    pub http: HttpConfig,
    /// Which connections the local server takes.
    pub connections: ConnectionConfig,
    /// The settings of the scheduled compaction.
    pub compaction: CompactionConfig,
    /// The destination of a Lambda's metrics.
    pub metrics: MetricsConfig,
    /// The settings of the log.
    pub log: LogConfig,
}

/// The address at which the local server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub bind: IpAddr,
    /// The port, or 0 for any free one.
    pub port: u16,
}

/// The treatment of requests before they reach the routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The origins whose pages may call the server.
    pub allowed_origins: AllowedOrigins,
    /// The names by which the server may be called.
    pub allowed_hosts: AllowedHosts,
    /// The time limit of a request.
    pub request_timeout: Duration,
    /// The largest body of a request, both as sent and after decompression, in bytes. It is not a setting, but depends
    /// on the kind of process.
    pub body_max_bytes: usize,
    /// Memory that all requests and answers may take together, in bytes.
    pub memory_max_bytes: usize,
    /// The limits for the rates of requests.
    pub rates: RateConfig,
}

/// The settings of the scheduled compaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactionConfig {
    /// The age of the log entries to remove, in days.
    pub older_than_days: f64,
}

/// The destination of a Lambda's metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The namespace in CloudWatch, or `None` for no metrics.
    pub namespace: Option<String>,
}

/// The settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber`'s `EnvFilter`.
    pub filter: String,
}

/// The form of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object each.
    Json,
}

/// A wrong setting: the variable and its fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    variable: &'static str,
    problem: String,
}

impl ConfigError {
    /// Describes the fault of a variable in one line.
    pub fn new(variable: &'static str, problem: impl fmt::Display) -> Self {
        Self { variable, problem: problem.to_string().replace(['\n', '\r'], " ") }
    }
}

impl Config {
    /// Reads all settings. `look_up` returns the value of a variable.
    ///
    /// # Errors
    /// If a variable has a value that is not allowed, or if two variables contradict each other.
    pub fn read(look_up: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::read_with(&Defaults::OF_A_SERVER, look_up)
    }

    /// The same with the defaults of a Lambda, which answers one request at a time and logs in JSON.
    ///
    /// # Errors
    /// As for [`Config::read`].
    pub fn read_in_a_lambda(look_up: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Self::read_with(&Defaults::OF_A_LAMBDA, look_up)
    }

    fn read_with(defaults: &Defaults, look_up: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let variables = Variables(&look_up);
        let listen = Listen {
            bind: bind(&variables)?,
            port: variables.parse("PORT", "3000", "must be an integer from 0 to 65535")?,
        };
        let auth = auth::auth(&variables)?;
        let is_local = !defaults.is_called_directly || listen.bind.to_canonical().is_loopback();
        let strangers_reach_it = !is_local && matches!(auth, AuthConfig::On(_));
        Ok(Self {
            listen,
            auth,
            store: StoreConfig {
                adapter: store::adapter(&variables)?,
                pool_size: variables.integer("POOL_SIZE", defaults.pool_size, 1_000)?,
            },
            http: HttpConfig {
                allowed_origins: allowed_origins(&variables)?,
                allowed_hosts: allowed_hosts(&variables, defaults)?,
                request_timeout: request_timeout(&variables)?,
                body_max_bytes: defaults.body_max_bytes,
                memory_max_bytes: edge::memory_max_bytes(&variables)?,
                rates: edge::rates(&variables, strangers_reach_it)?,
            },
            connections: edge::connections(&variables)?,
            compaction: CompactionConfig { older_than_days: older_than_days(&variables)? },
            metrics: MetricsConfig { namespace: metrics_namespace(&variables)? },
            log: LogConfig { format: log_format(&variables, defaults)?, filter: log_filter(&variables)? },
        })
    }
}

/// The defaults that depend on the kind of process.
struct Defaults {
    pool_size: u32,
    log_format: &'static str,
    body_max_bytes: usize,
    /// Whether clients call this process directly, so that nothing else has checked `Host` before.
    is_called_directly: bool,
}

impl Defaults {
    const OF_A_SERVER: Self =
        Self { pool_size: 10, log_format: "pretty", body_max_bytes: REQUEST_BODY_MAX_BYTES, is_called_directly: true };
    const OF_A_LAMBDA: Self =
        Self { pool_size: 1, log_format: "json", body_max_bytes: LAMBDA_BODY_MAX_BYTES, is_called_directly: false };
}

/// The variables that are set and not empty.
struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn get(&self, variable: &str) -> Option<String> {
        (self.0)(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn get_or(&self, variable: &str, default: &str) -> String {
        self.get(variable).unwrap_or_else(|| default.to_owned())
    }

    fn parse<T: std::str::FromStr>(&self, variable: &'static str, default: &str, rule: &str) -> Result<T, ConfigError> {
        let value = self.get_or(variable, default);
        value.parse().map_err(|_| wrong(variable, rule, &value))
    }

    /// An integer from 1 to `max`.
    fn integer(&self, variable: &'static str, default: u32, max: u32) -> Result<u32, ConfigError> {
        let rule = format!("must be an integer from 1 to {max}");
        let value = self.parse(variable, &default.to_string(), &rule)?;
        if (1..=max).contains(&value) { Ok(value) } else { Err(wrong(variable, &rule, &value.to_string())) }
    }
}

fn wrong(variable: &'static str, rule: &str, value: &str) -> ConfigError {
    if secret::may_be_in(value) || secret::looks_like_a_password(value) {
        return ConfigError::new(variable, format_args!("{rule}, not what it is set to"));
    }
    ConfigError::new(variable, format_args!("{rule}, not {value:?}"))
}

/// The address to listen on. If a name has several addresses, the first IPv4 address is used.
fn bind(variables: &Variables<'_>) -> Result<IpAddr, ConfigError> {
    const VARIABLE: &str = "BIND";
    let name = variables.get_or(VARIABLE, "127.0.0.1");
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let addresses: Vec<IpAddr> =
        (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|found| found.ip()).collect()).unwrap_or_default();
    let first = addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first());
    let rule = "must be an IP address, or a name such as localhost that has one";
    first.copied().ok_or_else(|| wrong(VARIABLE, rule, &name))
}

fn allowed_origins(variables: &Variables<'_>) -> Result<AllowedOrigins, ConfigError> {
    const VARIABLE: &str = "ALLOWED_ORIGINS";
    let Some(list) = variables.get(VARIABLE) else { return Ok(AllowedOrigins::Loopback) };
    let rule = "must be * or origins such as https://app.example.com";
    AllowedOrigins::parse(&list).map_err(|text| wrong(VARIABLE, rule, text))
}

fn allowed_hosts(variables: &Variables<'_>, defaults: &Defaults) -> Result<AllowedHosts, ConfigError> {
    const VARIABLE: &str = "ALLOWED_HOSTS";
    if !defaults.is_called_directly {
        return Ok(AllowedHosts::Any);
    }
    let rule = "must be names such as sync.example.com or sync.example.com:8443";
    AllowedHosts::parse(&variables.get_or(VARIABLE, "")).map_err(|text| wrong(VARIABLE, rule, text))
}

fn request_timeout(variables: &Variables<'_>) -> Result<Duration, ConfigError> {
    let seconds = variables.integer("REQUEST_TIMEOUT_SECONDS", REQUEST_TIME_MAX_SECONDS, REQUEST_TIME_MAX_SECONDS)?;
    Ok(Duration::from_secs(seconds.into()))
}

fn older_than_days(variables: &Variables<'_>) -> Result<f64, ConfigError> {
    const VARIABLE: &str = "COMPACT_OLDER_THAN_DAYS";
    let rule = "must be a number from 0";
    let days: f64 = variables.parse(VARIABLE, &COMPACT_DEFAULT_DAYS.to_string(), rule)?;
    if days.is_finite() && days >= 0.0 { Ok(days) } else { Err(wrong(VARIABLE, rule, &days.to_string())) }
}

/// Source of the rule: `PutMetricData` in the documentation of the CloudWatch API.
fn metrics_namespace(variables: &Variables<'_>) -> Result<Option<String>, ConfigError> {
    const VARIABLE: &str = "METRICS_NAMESPACE";
    let namespace = variables.get_or(VARIABLE, "syncflow-server");
    if namespace == "off" {
        return Ok(None);
    }
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#:".contains(&byte);
    let is_free = !namespace.starts_with(':') && !namespace.starts_with("AWS/");
    let is_name = namespace.len() <= METRICS_NAMESPACE_MAX_BYTES && namespace.bytes().all(is_known);
    let rule = format!(
        "must be off or a namespace of at most {METRICS_NAMESPACE_MAX_BYTES} letters, digits and .-_/#: that does not \
         begin with : or AWS/"
    );
    if is_free && is_name { Ok(Some(namespace)) } else { Err(wrong(VARIABLE, &rule, &namespace)) }
}

fn log_format(variables: &Variables<'_>, defaults: &Defaults) -> Result<LogFormat, ConfigError> {
    match variables.get_or("LOG_FORMAT", defaults.log_format).as_str() {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        other => Err(wrong("LOG_FORMAT", "must be pretty or json", other)),
    }
}

fn log_filter(variables: &Variables<'_>) -> Result<String, ConfigError> {
    const VARIABLE: &str = "LOG_LEVEL";
    let filter = variables.get_or(VARIABLE, "info");
    // A single word that is not a level would be read as the name of a module, and would turn off everything else.
    let is_directive = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        level.parse::<LevelFilter>().is_ok()
    };
    let is_known = filter.split(',').all(is_directive) && filter.parse::<Targets>().is_ok();
    let rule = "must be error, warn, info, debug, trace, off, or directives such as warn,syncflow_server=debug";
    if is_known { Ok(filter) } else { Err(wrong(VARIABLE, rule, &filter)) }
}

#[cfg(test)]
mod tests;
