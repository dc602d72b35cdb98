//! Every setting: its variable, its default and its rule.
//!
//! `docs/configuration.md` lists all of them. The page and [`VARIABLES`] have the same names, and the defaults on the
//! page are those of the code; `tests/tidy/settings.rs` compares them.
//!
//! An empty variable is treated as not set.

mod auth;
mod defaults;
mod growth;
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

pub use self::auth::conflicts::parse as parse_policies;
pub use self::auth::rules::{BadRulesText, parse as parse_rules};
pub use self::auth::{AuthConfig, JwtConfig, KeyConfig, TenantConfig, TokenConfig};
pub use self::growth::CompactionConfig;
pub use self::http::HttpConfig;
pub use self::http::hosts::{AllowedHosts, Authority};
pub use self::http::origins::AllowedOrigins;
pub(crate) use self::http::origins::Origin;
pub use self::http::rates::RateConfig;
pub use self::http::wake::WakeConfig;
pub use self::listen::Listen;
pub use self::listen::connections::{ConnectionConfig, TrustedProxies};
pub use self::log::{LogConfig, LogFormat};
pub use self::metrics::MetricsConfig;
pub use self::metrics::traces::TracesConfig;
pub use self::names::{NearMiss, VARIABLES, near_misses};
pub use self::secret::Secret;
pub use self::store::express::ExpressConfig;
pub use self::store::{Adapter, Connection, SecretKeeper, SecretPlace, StoreConfig};
pub use self::variables::ConfigError;

use crate::core::access::rules::Rules;
use crate::core::decide::quota::Quota;
use crate::core::policy::Policies;
use crate::core::retention::Retention;

/// The settings of a process.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The address at which the local server listens.
    pub listen: Listen,
    /// The settings about sign-in.
    pub auth: AuthConfig,
    /// The documents that each principal may see and change.
    pub rules: Rules,
    /// The policies for operations whose authors had not seen the content of the documents.
    pub policies: Policies,
    /// Whether operations of original clients that cannot be decided are kept in quarantine, instead of refused.
    pub has_quarantine: bool,
    /// The store of operations and documents.
    pub store: StoreConfig,
    /// The database of an Express server from which an operator imports.
    pub express: ExpressConfig,
    /// The treatment of requests before they reach the routes.
    pub http: HttpConfig,
    /// Which connections the local server takes.
    pub connections: ConnectionConfig,
    /// The settings of the scheduled compaction.
    pub compaction: CompactionConfig,
    /// How much each tenant may keep.
    pub quota: Quota,
    /// How long each tenant keeps what only clients need that were away.
    pub retention: Retention,
    /// The destinations of metrics.
    pub metrics: MetricsConfig,
    /// The destination of the traces of the local server.
    pub traces: TracesConfig,
    /// How the clients of a Lambda learn of changes.
    pub wake: WakeConfig,
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
            rules: auth::rules::read(&variables)?,
            policies: auth::conflicts::read(&variables)?,
            has_quarantine: auth::conflicts::has_quarantine(&variables)?,
            store: StoreConfig::read(&variables, defaults.pool_size)?,
            express: ExpressConfig::read(&variables)?,
            http: HttpConfig::read(&variables, defaults, strangers_reach_it)?,
            connections: ConnectionConfig::read(&variables)?,
            compaction: CompactionConfig::read(&variables)?,
            quota: growth::quota(&variables)?,
            retention: growth::retention(&variables)?,
            metrics: MetricsConfig::read(&variables)?,
            traces: TracesConfig::read(&variables)?,
            wake: WakeConfig::read(&variables)?,
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
        let listen = Listen { bind: "127.0.0.1".parse().unwrap(), port: 3_000, console: true, drain_seconds: 0 };
        assert_eq!(config.listen, listen);
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
        let reserved = rates(&[secret, ("AUTH_TENANT", "syncflow-server:x")]).unwrap_err();
        assert_eq!(reserved, "AUTH_TENANT: is reserved for the server");
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
    fn a_setting_of_tokens_is_refused_if_nothing_signs_tokens() {
        for variable in ["AUTH_AUDIENCE", "AUTH_ISSUER", "AUTH_ROLE_CLAIM", "AUTH_TENANT", "AUTH_TENANT_CLAIM"] {
            for more in [&[][..], &[("AUTH_TOKENS_FILE", "tokens")]] {
                let problem = read(&[more, &[(variable, "x")]].concat()).unwrap_err();
                assert!(
                    problem.starts_with(&format!("{variable}: is of no use without AUTH_HS256_SECRET")),
                    "{problem}"
                );
            }
        }
        assert!(read(&[("AUTH", "off"), ("AUTH_ROLE_CLAIM", "role")]).is_ok(), "the template sets the default");
    }

    #[test]
    fn an_empty_variable_is_treated_as_not_set() {
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
