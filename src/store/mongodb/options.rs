//! The settings of the store, and the connection string.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mongodb::options::{AuthMechanism, ClientOptions, ConnectionString, HostInfo, ServerAddress, Tls};

use super::failure::Failure;
use super::uri_source::UriSource;
use crate::limits::store::mongodb::{COLLECTION_NAME_MAX_BYTES, DATABASE_NAME_MAX_BYTES};
use crate::limits::store::{STORE_CONNECT_TIME_MAX_MS, STORE_IDLE_TRUSTED_MS, STORE_STATEMENT_TIME_MAX_MS};
use crate::store::address::{ESCAPES, seems_unescaped, wrong_scheme};

/// The message of a build that cannot log in because it lacks the feature.
const NOT_BUILT_WITH_IAM: &str =
    "this build cannot log in with authMechanism=MONGODB-AWS; build it with the feature mongodb-iam";

/// Options in a URI whose values the driver checks.
const OPTIONS: [&str; 16] = [
    "authMechanism",
    "authSource",
    "compressors",
    "connectTimeoutMS",
    "directConnection",
    "heartbeatFrequencyMS",
    "loadBalanced",
    "maxIdleTimeMS",
    "maxPoolSize",
    "minPoolSize",
    "readPreference",
    "retryReads",
    "retryWrites",
    "serverSelectionTimeoutMS",
    "ssl",
    "tls",
];

/// The prefix of our collections with fixed names.
pub(super) const OUR_PREFIX: &str = "syncflow_";

/// The settings with which the store reaches its database.
#[derive(Clone)]
pub struct MongoOptions {
    /// `mongodb://user:password@host:27017/?replicaSet=rs0`, or `mongodb+srv://user:password@cluster.example.com`, with
    /// any options of the driver, such as `authSource`, `tls` and `tlsCAFile`.
    ///
    /// Concerns and read preferences in it have no effect, because the store needs its own for what it promises.
    pub uri: String,
    /// The source of another URI after the login was refused, if there is one.
    pub uris: Option<Arc<dyn UriSource>>,
    /// The database, 1 to 63 bytes.
    pub database: String,
    /// The collection of the log.
    pub operations_collection: String,
    /// The collection of the documents.
    pub documents_collection: String,
    /// The limit for the connections to each server, at least one. One more is allowed, so that a writer on a pool of
    /// one can show that it is alive while its transaction takes long. A `maxPoolSize` in the URI replaces this limit.
    pub pool_size: u32,
    /// The server's time limit for one command.
    pub command_timeout: Duration,
}

/// Why options cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MongoOptionsError {
    /// The driver does not know the URI, or it names a deployment that can never hold a store.
    #[error("{0}")]
    Uri(String),
    /// The database's name is empty, too long, or contains a character that is not allowed.
    #[error("must be a name of 1 to {DATABASE_NAME_MAX_BYTES} bytes without any of /\\. \"$*<>:|?")]
    Database,
    /// The name of the log's collection cannot be used.
    #[error("{0}")]
    OperationsCollection(&'static str),
    /// The name of the documents' collection cannot be used.
    #[error("{0}")]
    DocumentsCollection(&'static str),
    /// The pool is too small for even one connection.
    #[error("must be at least 1")]
    PoolSize,
}

impl MongoOptions {
    /// The defaults for a URI: database `syncflow`, collections `operations` and `documents`, a pool of 10, and 10 s
    /// for a command.
    #[must_use]
    pub fn new(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            uris: None,
            database: "syncflow".to_owned(),
            operations_collection: "operations".to_owned(),
            documents_collection: "documents".to_owned(),
            pool_size: 10,
            command_timeout: Duration::from_millis(STORE_STATEMENT_TIME_MAX_MS),
        }
    }

    /// Checks everything that can be checked without a request.
    pub(super) fn check(&self) -> Result<ConnectionString, MongoOptionsError> {
        let is_bad = |character: char| "/\\. \"$*<>:|?\0".contains(character);
        let length = self.database.len();
        if length == 0 || length > DATABASE_NAME_MAX_BYTES || self.database.contains(is_bad) {
            return Err(MongoOptionsError::Database);
        }
        check_collection(&self.operations_collection).map_err(MongoOptionsError::OperationsCollection)?;
        check_collection(&self.documents_collection).map_err(MongoOptionsError::DocumentsCollection)?;
        if self.operations_collection == self.documents_collection {
            return Err(MongoOptionsError::DocumentsCollection("must not be the collection of the operations"));
        }
        if self.pool_size == 0 {
            return Err(MongoOptionsError::PoolSize);
        }
        let connection = self.connection()?;
        if connection.retry_writes == Some(false) {
            return Err(MongoOptionsError::Uri("retryWrites must not be false".to_owned()));
        }
        Ok(connection)
    }

    /// Checks the URI, which may be one of a database that is only read.
    pub(super) fn connection(&self) -> Result<ConnectionString, MongoOptionsError> {
        if ends_within_a_character(&self.uri) {
            return Err(unescaped());
        }
        let connection = ConnectionString::parse(&self.uri).map_err(|error| self.refused(&error))?;
        if sends_password_in_clear(&connection) {
            return Err(MongoOptionsError::Uri(
                "authMechanism=PLAIN sends the password as it is; set tls=true".to_owned(),
            ));
        }
        Ok(connection)
    }

    /// Describes the fault of a URI without repeating a word of it, which the driver's own errors do.
    fn refused(&self, error: &mongodb::error::Error) -> MongoOptionsError {
        let reason = error.kind.to_string();
        // The driver would name its own feature.
        if !cfg!(feature = "mongodb-iam") && reason.contains("MONGODB-AWS") {
            return MongoOptionsError::Uri(NOT_BUILT_WITH_IAM.to_owned());
        }
        if let Some(problem) = wrong_scheme(&self.uri, ["mongodb", "mongodb+srv"]) {
            return MongoOptionsError::Uri(problem);
        }
        if seems_unescaped(&self.uri) {
            return unescaped();
        }
        let (uri, reason) = (self.uri.to_lowercase(), reason.to_lowercase());
        let is_named = |option: &&&str| {
            let option = option.to_lowercase();
            uri.contains(&format!("{option}=")) && reason.contains(&option)
        };
        MongoOptionsError::Uri(match OPTIONS.iter().find(is_named) {
            Some(option) => format!("the value of {option} is not valid"),
            None if reason.contains("is an invalid option") => {
                "has an option that the driver does not know; they stand behind the ?, with & between them".to_owned()
            }
            None => "must be a URI such as mongodb://user:password@host:27017/?replicaSet=rs0".to_owned(),
        })
    }

    /// The driver's settings. A `mongodb+srv` URI needs a DNS request.
    pub(super) async fn resolve(&self, connection: &ConnectionString) -> Result<ClientOptions, Failure> {
        let limit = Duration::from_millis(STORE_CONNECT_TIME_MAX_MS);
        let parsing = ClientOptions::parse(connection.clone()).into_future();
        let mut options = tokio::time::timeout(limit, parsing).await.map_err(|_| Failure::Late)??;
        options.app_name.get_or_insert_with(|| env!("CARGO_PKG_NAME").to_owned());
        // If a slow command occupied the only connection, its own writer could not show that it is alive.
        options.max_pool_size.get_or_insert(self.pool_size.saturating_add(1));
        // Zero would mean no limit.
        let at_most = |ours: Duration, theirs: Option<Duration>| {
            Some(theirs.filter(|theirs| !theirs.is_zero()).map_or(ours, |theirs| theirs.min(ours)))
        };
        options.server_selection_timeout = at_most(limit, options.server_selection_timeout);
        options.connect_timeout = at_most(limit, options.connect_timeout);
        // The server may have dropped a connection that was idle for long.
        options.max_idle_time = at_most(Duration::from_millis(STORE_IDLE_TRUSTED_MS), options.max_idle_time);
        options.retry_writes = Some(true);
        options.selection_criteria = None;
        options.read_concern = None;
        options.write_concern = None;
        Ok(options)
    }
}

/// Whether an attacker on the way to another machine could read the password. All other mechanisms only prove that it
/// is known.
fn sends_password_in_clear(connection: &ConnectionString) -> bool {
    let is_plain = connection.credential.as_ref().is_some_and(|credential| {
        credential.mechanism.as_ref().is_some_and(|mechanism| matches!(mechanism, AuthMechanism::Plain))
    });
    let is_encrypted =
        matches!((&connection.tls, &connection.host_info), (Some(Tls::Enabled(_)), _) | (None, HostInfo::DnsRecord(_)));
    let is_loopback = |address: &ServerAddress| match address {
        ServerAddress::Tcp { host, .. } => {
            host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        _ => true,
    };
    let stays_here = matches!(&connection.host_info, HostInfo::HostIdentifiers(hosts) if hosts.iter().all(is_loopback));
    is_plain && !is_encrypted && !stays_here
}

fn unescaped() -> MongoOptionsError {
    MongoOptionsError::Uri(format!(
        "the user or the password seems to have a character in it that is not escaped; {ESCAPES}"
    ))
}

fn check_collection(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > COLLECTION_NAME_MAX_BYTES {
        return Err("must be a name of 1 to 120 bytes");
    }
    if name.contains(['$', '\0']) || name.starts_with("system.") {
        return Err("must not contain $ or begin with system.");
    }
    if name.starts_with(OUR_PREFIX) {
        return Err("must not begin with syncflow_");
    }
    Ok(())
}

impl fmt::Debug for MongoOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URI has a password in it.
        formatter
            .debug_struct("MongoOptions")
            .field("database", &self.database)
            .field("operations_collection", &self.operations_collection)
            .field("documents_collection", &self.documents_collection)
            .field("pool_size", &self.pool_size)
            .field("command_timeout", &self.command_timeout)
            .finish_non_exhaustive()
    }
}

/// Whether a percent escape would end inside a character. The driver panics in this case and shows the text around it.
fn ends_within_a_character(uri: &str) -> bool {
    uri.split('%').skip(1).any(|rest| rest.len() >= 2 && !rest.is_char_boundary(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut MongoOptions)) -> String {
        let mut options = MongoOptions::new("mongodb://h");
        change(&mut options);
        options.check().unwrap_err().to_string()
    }

    #[test]
    fn every_form_of_uri_is_read_with_its_credentials_and_tls() {
        let options = MongoOptions::new("mongodb://u:p%40ss@h1:27018,h2/?replicaSet=rs0&authSource=admin&tls=true");
        let connection = options.check().unwrap();
        let credential = connection.credential.unwrap();
        assert_eq!((credential.username.as_deref(), credential.source.as_deref()), (Some("u"), Some("admin")));
        assert!(matches!(connection.tls, Some(Tls::Enabled(_))));
        assert_eq!(connection.replica_set.as_deref(), Some("rs0"));
        let srv = MongoOptions::new("mongodb+srv://u:p@cluster.example.com/?maxPoolSize=3").check().unwrap();
        assert!(matches!(srv.host_info, HostInfo::DnsRecord(name) if name == "cluster.example.com"));
        assert_eq!(srv.max_pool_size, Some(3));
    }

    #[test]
    fn an_escape_that_ends_within_a_character_is_refused() {
        for uri in ["mongodb://u:%4éhunter2@h", "mongodb://%\u{20ac}:p@h", "mongodb://h/?appName=%4é"] {
            let refused = refusal(|options| options.uri = uri.to_owned());
            assert!(refused.contains("%25 for %") && !refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn no_refusal_repeats_a_password() {
        for uri in ["mongodb://u:hunter2@h:port", "mongodb://u:hunter2@/", "mongodb://u:hunter2/@h", "u:hunter2@h"] {
            let refusal = refusal(|options| options.uri = uri.to_owned());
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
        let options = format!("{:?}", MongoOptions::new("mongodb://u:hunter2@h"));
        assert!(!options.contains("hunter2"), "{options}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (uri, what) in [
            ("mysql://u:hunter2@h/d", "mysql:// is the scheme of MySQL; it must begin with mongodb://"),
            ("postgresql://u:hunter2@h/d", "postgresql:// is the scheme of PostgreSQL"),
            ("mongodb://u:pass?hunter2@h", "%3F for ?"),
            ("mongodb://u:hunter2@pass@h", "%40 for @"),
            ("mongodb://u:pass/hunter2@h", "%2F for /"),
            ("mongodb://u:100%hunter2@h", "%25 for %"),
            ("mongodb://u:4%4é0hunter2@h", "%25 for %"),
            ("mongodb://u:hunter2@h/?authMechanism=PLAIN", "set tls=true"),
            ("mongodb://u:hunter2@127.0.0.1,h/?authMechanism=PLAIN", "set tls=true"),
            ("mongodb+srv://u:hunter2@h/?authMechanism=PLAIN&tls=false", "set tls=true"),
            ("mongodb://u:p@h/?hunter2=x", "an option that the driver does not know"),
            ("mongodb://u:p@h/?tls=hunter2", "the value of tls"),
            ("mongodb://u:p@h/?maxPoolSize=hunter2", "the value of maxPoolSize"),
            ("hunter2", "must be a URI"),
        ] {
            let refusal = refusal(|options| options.uri = uri.to_owned());
            assert!(refusal.contains(what) && !refusal.contains("hunter2"), "{uri}: {refusal}");
        }
    }

    #[test]
    fn names_that_cannot_be_used_are_refused() {
        for bad in ["", "a.b", "a b", "$a", &"x".repeat(64)] {
            assert!(refusal(|options| options.database = bad.to_owned()).starts_with("must be a name"), "{bad}");
        }
        for bad in ["", "a$b", "system.views", "syncflow_heads", "documents", &"x".repeat(121)] {
            assert!(refusal(|options| options.operations_collection = bad.to_owned()).starts_with("must"), "{bad}");
        }
        assert!(refusal(|options| options.pool_size = 0).contains("at least 1"));
        assert!(refusal(|options| options.uri = "mongodb://h/?retryWrites=false".to_owned()).contains("retryWrites"));
    }

    #[test]
    fn a_login_with_a_role_of_aws_needs_a_build_for_it() {
        let options = MongoOptions::new("mongodb://h/?authMechanism=MONGODB-AWS&authSource=$external");
        let refusal = options.check().err().map(|refusal| refusal.to_string());
        #[cfg(feature = "mongodb-iam")]
        assert_eq!(refusal, None);
        #[cfg(not(feature = "mongodb-iam"))]
        assert_eq!(refusal.as_deref(), Some(NOT_BUILT_WITH_IAM));
    }

    #[tokio::test]
    async fn waits_are_bounded_and_concerns_are_ours_whatever_the_uri_says() {
        let limit = Some(Duration::from_millis(STORE_CONNECT_TIME_MAX_MS));
        let options = MongoOptions::new("mongodb://h/?readPreference=secondary&w=1&serverSelectionTimeoutMS=60000");
        let found = options.resolve(&options.check().unwrap()).await.unwrap();
        assert_eq!((found.server_selection_timeout, found.connect_timeout), (limit, limit));
        assert_eq!((found.max_pool_size, found.retry_writes), (Some(11), Some(true)));
        assert_eq!(found.max_idle_time, Some(Duration::from_millis(STORE_IDLE_TRUSTED_MS)));
        assert!(found.selection_criteria.is_none() && found.write_concern.is_none());
        let options = MongoOptions::new("mongodb://h/?maxIdleTimeMS=0&connectTimeoutMS=0");
        let found = options.resolve(&options.check().unwrap()).await.unwrap();
        assert_eq!(
            (found.max_idle_time, found.connect_timeout),
            (Some(Duration::from_millis(STORE_IDLE_TRUSTED_MS)), limit)
        );
        let options = MongoOptions::new("mongodb://h/?serverSelectionTimeoutMS=100&maxPoolSize=2&appName=mine");
        let found = options.resolve(&options.check().unwrap()).await.unwrap();
        assert_eq!(found.server_selection_timeout, Some(Duration::from_millis(100)));
        assert_eq!((found.max_pool_size, found.app_name.as_deref()), (Some(2), Some("mine")));
    }
}
