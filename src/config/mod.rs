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
mod compaction;
mod defaults;
mod http;
mod listen;
mod log;
mod metrics;
mod names;
mod secret;
mod store;
mod variables;

use self::defaults::Defaults;
use self::variables::Variables;

pub use self::auth::{AuthConfig, JwtConfig, KeyConfig, TenantConfig, TokenConfig};
pub use self::compaction::CompactionConfig;
pub use self::http::HttpConfig;
pub use self::http::hosts::{AllowedHosts, Authority};
pub use self::http::origins::AllowedOrigins;
pub(crate) use self::http::origins::Origin;
pub use self::http::rates::RateConfig;
pub use self::listen::Listen;
pub use self::listen::connections::{ConnectionConfig, TrustedProxies};
pub use self::log::{LogConfig, LogFormat};
pub use self::metrics::MetricsConfig;
pub use self::names::{NearMiss, VARIABLES, near_misses};
pub use self::secret::Secret;
pub use self::store::{Adapter, Connection, SecretKeeper, SecretPlace, StoreConfig};
pub use self::variables::ConfigError;

/// The settings of a process.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
        let listen = Listen::read(&variables)?;
        let auth = AuthConfig::read(&variables)?;
        let is_local = !defaults.is_called_directly || listen.bind.to_canonical().is_loopback();
        let strangers_reach_it = !is_local && matches!(auth, AuthConfig::On(_));
        Ok(Self {
            listen,
            auth,
            store: StoreConfig::read(&variables, defaults.pool_size)?,
            http: HttpConfig::read(&variables, defaults, strangers_reach_it)?,
            connections: ConnectionConfig::read(&variables)?,
            compaction: CompactionConfig::read(&variables)?,
            metrics: MetricsConfig::read(&variables)?,
            log: LogConfig::read(&variables, defaults.log_format)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::api::LAMBDA_BODY_MAX_BYTES;

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        let look_up =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
        Config::read(look_up).map_err(|error| error.to_string())
    }

    #[test]
    fn with_nothing_set_it_is_sqlite_on_port_3000_of_this_machine() {
        let config = read(&[]).unwrap();
        assert_eq!(config.listen, Listen { bind: "127.0.0.1".parse().unwrap(), port: 3_000 });
        assert_eq!(config.store.adapter, Adapter::Sqlite { path: "./syncflow.db".into() });
        assert_eq!(config.store.pool_size, 10);
        assert_eq!(config.http.allowed_origins, AllowedOrigins::Loopback);
        assert_eq!(config.http.allowed_hosts, AllowedHosts::Listed(Vec::new()));
        assert_eq!(config.http.request_timeout, Duration::from_secs(30));
        assert_eq!(config.log, LogConfig { format: LogFormat::Pretty, filter: "info".to_owned() });
    }

    #[test]
    fn a_lambda_has_defaults_of_its_own_and_the_same_variables() {
        let read = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(variable, _)| *variable == name);
            Config::read_in_a_lambda(|name| find(name).map(|(_, value)| (*value).to_owned())).unwrap()
        };
        let config = read(&[]);
        assert_eq!((config.store.pool_size, config.log.format), (1, LogFormat::Json));
        assert_eq!(config.http.body_max_bytes, LAMBDA_BODY_MAX_BYTES);
        assert_eq!(config.http.allowed_origins, AllowedOrigins::Loopback);
        assert_eq!(config.http.allowed_hosts, AllowedHosts::Any);
        let config = read(&[("POOL_SIZE", "3"), ("LOG_FORMAT", "pretty"), ("COMPACT_OLDER_THAN_DAYS", "0.5")]);
        assert_eq!((config.store.pool_size, config.log.format), (3, LogFormat::Pretty));
        assert!((config.compaction.older_than_days - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_server_that_strangers_reach_with_tokens_limits_how_often_they_ask() {
        let rates = |variables: &[(&str, &str)]| read(variables).map(|config| config.http.rates);
        let none = RateConfig::default();
        let secret = ("AUTH_HS256_SECRET", "a secret that is long enough for this");
        let tenant = ("AUTH_TENANT", "team");
        assert_eq!(rates(&[]), Ok(none));
        assert_eq!(rates(&[secret, tenant]), Ok(none));
        assert_eq!(rates(&[("BIND", "0.0.0.0"), ("AUTH", "off")]), Ok(none));
        let set = RateConfig { per_principal: Some(50), per_address: Some(200) };
        assert_eq!(rates(&[("BIND", "0.0.0.0"), secret, tenant]), Ok(set));
        let own = RateConfig { per_principal: None, per_address: Some(5) };
        let chosen = [("RATE_PER_PRINCIPAL", "off"), ("RATE_PER_ADDRESS", "5"), ("BIND", "0.0.0.0"), secret, tenant];
        assert_eq!(rates(&chosen), Ok(own));
        for wrong in ["0", "-1", "1000001", "much"] {
            let problem = rates(&[("RATE_PER_ADDRESS", wrong)]).unwrap_err();
            assert!(problem.starts_with("RATE_PER_ADDRESS: must be off or an integer from 1"), "{problem}");
        }
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let empty = ["BIND", "PORT", "ADAPTER", "SQLITE_PATH", "MONGO_URI", "POOL_SIZE", "LOG_LEVEL"];
        assert_eq!(read(&empty.map(|variable| (variable, " "))), read(&[]));
        let empty = ["ALLOWED_ORIGINS", "ALLOWED_HOSTS"];
        assert_eq!(read(&empty.map(|variable| (variable, " "))), read(&[]));
    }

    #[test]
    fn a_wrong_setting_is_one_line_that_names_its_variable() {
        for (variable, value) in [
            ("PORT", "http"),
            ("PORT", "65536"),
            ("PORT", "-1"),
            ("BIND", "no such host"),
            ("ADAPTER", "mysql"),
            ("POOL_SIZE", "0"),
            ("POOL_SIZE", "1001"),
            ("REQUEST_TIMEOUT_SECONDS", "0"),
            ("REQUEST_TIMEOUT_SECONDS", "31"),
            ("REQUEST_TIMEOUT_SECONDS", "1.5"),
            ("COMPACT_OLDER_THAN_DAYS", "-1"),
            ("COMPACT_OLDER_THAN_DAYS", "inf"),
            ("COMPACT_OLDER_THAN_DAYS", "a month"),
            ("ALLOWED_ORIGINS", "example.com"),
            ("ALLOWED_ORIGINS", "https://a.example/,"),
            ("ALLOWED_ORIGINS", "https://a.example/path"),
            ("ALLOWED_ORIGINS", "https://user@a.example"),
            ("ALLOWED_ORIGINS", "*,https://a.example"),
            ("ALLOWED_ORIGINS", "null"),
            ("ALLOWED_HOSTS", "https://sync.example.com"),
            ("ALLOWED_HOSTS", "sync.example.com,"),
            ("ALLOWED_HOSTS", "*"),
            ("LOG_FORMAT", "xml"),
            ("LOG_LEVEL", "infos"),
            ("LOG_LEVEL", "warn,syncflow_server=loud\n"),
        ] {
            let line = read(&[(variable, value)]).unwrap_err();
            assert!(line.starts_with(&format!("{variable}: must be ")), "{line}");
            assert!(!line.contains('\n'), "{line}");
        }
        let postgres = ("POSTGRES_CONNECTION_STRING", "postgresql://h/d");
        let line = read(&[postgres, ("POSTGRES_POOLER", "yes")]).unwrap_err();
        assert!(line.starts_with("POSTGRES_POOLER: must be "), "{line}");
        let missing = read(&[("ADAPTER", "postgres")]).unwrap_err();
        assert!(missing.starts_with("POSTGRES_CONNECTION_STRING: must be set"), "{missing}");
        let missing = read(&[("ADAPTER", "mongodb")]).unwrap_err();
        assert!(missing.starts_with("MONGO_URI: must be set"), "{missing}");
    }

    #[test]
    fn a_secret_in_the_wrong_variable_is_not_repeated() {
        for variable in
            ["ADAPTER", "PORT", "BIND", "SQLITE_PATH", "ALLOWED_ORIGINS", "LOG_LEVEL", "POSTGRES_SECRET_ARN"]
        {
            let line = read(&[(variable, "postgresql://u:hunter2@h/d")]).unwrap_err();
            assert!(line.starts_with(&format!("{variable}: ")) && !line.contains("hunter2"), "{line}");
        }
    }
}
