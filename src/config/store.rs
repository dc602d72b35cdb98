//! The settings of the store.

pub(super) mod express;

use std::path::PathBuf;

use super::secret::{self, Secret, file};
use super::variables::{ConfigError, Variables, wrong};

/// The store of operations and documents.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreConfig {
    /// The adapter and its own settings.
    pub adapter: Adapter,
    /// The size of the pool of connections.
    pub pool_size: u32,
}

/// The kind and place of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adapter {
    /// In the memory of the process.
    Memory,
    /// In a file.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// On a PostgreSQL server.
    Postgres {
        /// How to connect.
        connection: Connection,
        /// Whether the process logs in to RDS with its AWS role. This needs a connection string.
        has_iam_auth: bool,
        /// The schema, unless it is the default.
        schema: Option<String>,
        /// The certificates to trust in place of those of the system.
        ca_file: Option<PathBuf>,
        /// Whether there is a pooler before the server.
        has_pooler: bool,
    },
    /// On a MongoDB server.
    Mongo {
        /// How to connect.
        connection: Connection,
        /// The database.
        database: String,
        /// The collection of operations.
        operations_collection: String,
        /// The collection of documents.
        documents_collection: String,
    },
}

impl StoreConfig {
    pub(super) fn read(variables: &Variables<'_>, default_pool_size: u32) -> Result<Self, ConfigError> {
        Ok(Self { adapter: adapter(variables)?, pool_size: variables.integer("POOL_SIZE", default_pool_size, 1_000)? })
    }
}

impl Adapter {
    /// The store's name, as in the answer of `/health`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres { .. } => "postgres",
            Self::Mongo { .. } => "mongodb",
        }
    }
}

/// How a database server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// With a connection string.
    Given(Secret),
    /// With a secret in AWS. A connection string may name the place of the database instead of the secret.
    Stored {
        /// The place of the secret.
        place: SecretPlace,
        /// The connection string, if there is one.
        given: Option<Secret>,
    },
}

/// The place of a secret in AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretPlace {
    /// The variable with its name.
    pub variable: &'static str,
    /// The service that stores it.
    pub keeper: SecretKeeper,
    /// Its ARN or name in this service.
    pub id: String,
}

/// An AWS service that stores secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKeeper {
    /// Secrets Manager.
    SecretsManager,
    /// The parameter store of Systems Manager.
    ParameterStore,
}

fn sqlite_path(variables: &Variables<'_>) -> Result<PathBuf, ConfigError> {
    const VARIABLE: &str = "SQLITE_PATH";
    let path = variables.get_or(VARIABLE, "./syncflow.db");
    if path == ":memory:" {
        let problem = "is a path; set ADAPTER=memory for a store that is gone when the server ends";
        return Err(ConfigError::new(VARIABLE, problem));
    }
    if path.contains("://") {
        return Err(ConfigError::new(VARIABLE, "is a path and no URL; set the variable of the store that you mean"));
    }
    Ok(path.into())
}

/// The variables about the connection to a database server.
struct ConnectionVariables {
    given: &'static str,
    file: &'static str,
    secret: &'static str,
    parameter: &'static str,
}

const POSTGRES: ConnectionVariables = ConnectionVariables {
    given: "POSTGRES_CONNECTION_STRING",
    file: "POSTGRES_CONNECTION_STRING_FILE",
    secret: "POSTGRES_SECRET_ARN",
    parameter: "POSTGRES_PARAMETER",
};

const MONGO: ConnectionVariables = ConnectionVariables {
    given: "MONGO_URI",
    file: "MONGO_URI_FILE",
    secret: "MONGO_SECRET_ARN",
    parameter: "MONGO_PARAMETER",
};

impl ConnectionVariables {
    /// The first of these variables that is set.
    fn set(&self, variables: &Variables<'_>) -> Option<&'static str> {
        [self.given, self.file, self.secret, self.parameter]
            .into_iter()
            .find(|variable| variables.get(variable).is_some())
    }

    fn read(&self, variables: &Variables<'_>, adapter: &str) -> Result<Connection, ConfigError> {
        let given = given(variables, self.given, self.file)?;
        let place = |variable, keeper, id: String| {
            if secret::may_be_in(&id) {
                return Err(ConfigError::new(
                    variable,
                    "must be the ARN or the name of a secret, not the secret itself",
                ));
            }
            Ok(SecretPlace { variable, keeper, id })
        };
        let place = match (variables.get(self.secret), variables.get(self.parameter)) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::new(self.parameter, format_args!("cannot be set beside {}", self.secret)));
            }
            (Some(id), None) => place(self.secret, SecretKeeper::SecretsManager, id)?,
            (None, Some(id)) => place(self.parameter, SecretKeeper::ParameterStore, id)?,
            (None, None) => {
                let missing =
                    || ConfigError::new(self.given, format_args!("must be set, since the adapter is {adapter}"));
                return given.map(Connection::Given).ok_or_else(missing);
            }
        };
        Ok(Connection::Stored { place, given })
    }
}

/// A secret from its variable, or from the file that another variable names.
fn given(
    variables: &Variables<'_>,
    variable: &'static str,
    file_variable: &'static str,
) -> Result<Option<Secret>, ConfigError> {
    match (variables.get(variable), variables.get(file_variable)) {
        (Some(_), Some(_)) => Err(ConfigError::new(file_variable, format_args!("cannot be set beside {variable}"))),
        (Some(text), None) => Ok(Some(Secret::new(variable, text))),
        (None, Some(path)) => Ok(Some(Secret::new(file_variable, file::read(file_variable, &path)?))),
        (None, None) => Ok(None),
    }
}

fn adapter(variables: &Variables<'_>) -> Result<Adapter, ConfigError> {
    let name = match (variables.get("ADAPTER"), POSTGRES.set(variables), MONGO.set(variables)) {
        (Some(name), _, _) => name,
        (None, Some(postgres), Some(mongo)) => {
            let problem = format_args!("must say which store is used, since both {mongo} and {postgres} are set");
            return Err(ConfigError::new("ADAPTER", problem));
        }
        (None, Some(_), None) => "postgres".to_owned(),
        (None, None, Some(_)) => "mongodb".to_owned(),
        (None, None, None) => "sqlite".to_owned(),
    };
    match name.as_str() {
        "memory" => Ok(Adapter::Memory),
        "sqlite" => Ok(Adapter::Sqlite { path: sqlite_path(variables)? }),
        "postgres" => {
            let connection = POSTGRES.read(variables, &name)?;
            Ok(Adapter::Postgres {
                has_iam_auth: has_iam_auth(variables, &connection)?,
                connection,
                schema: variables.get("POSTGRES_SCHEMA"),
                ca_file: variables.get("POSTGRES_CA_FILE").map(PathBuf::from),
                has_pooler: variables.parse("POSTGRES_POOLER", "false", "must be true or false")?,
            })
        }
        "mongodb" => Ok(Adapter::Mongo {
            connection: MONGO.read(variables, &name)?,
            database: variables.get_or("MONGO_DB_NAME", "syncflow"),
            operations_collection: variables.get_or("MONGO_OPERATIONS_COLLECTION", "operations"),
            documents_collection: variables.get_or("MONGO_DOCUMENTS_COLLECTION", "documents"),
        }),
        other => Err(wrong("ADAPTER", "must be sqlite, postgres, mongodb or memory", other)),
    }
}

fn has_iam_auth(variables: &Variables<'_>, connection: &Connection) -> Result<bool, ConfigError> {
    const VARIABLE: &str = "POSTGRES_IAM_AUTH";
    let has_iam_auth = variables.parse(VARIABLE, "false", "must be true or false")?;
    match connection {
        Connection::Stored { place, .. } if has_iam_auth => {
            Err(ConfigError::new(VARIABLE, format_args!("cannot be true beside {}", place.variable)))
        }
        _ => Ok(has_iam_auth),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    fn read(set: &[(&str, &str)]) -> Result<StoreConfig, String> {
        read_from(set, |variables| StoreConfig::read(variables, 10))
    }

    #[test]
    fn a_uri_alone_selects_its_adapter_and_two_need_a_word() {
        let adapter = |variables: &[(&str, &str)]| read(variables).map(|config| config.adapter);
        let postgres = ("POSTGRES_CONNECTION_STRING", "postgresql://u:p@h/d");
        let mongo = ("MONGO_URI", "mongodb://h");
        let on_postgres = Adapter::Postgres {
            connection: Connection::Given(Secret::from(postgres.1.to_owned())),
            has_iam_auth: false,
            schema: None,
            ca_file: None,
            has_pooler: false,
        };
        let on_mongo = Adapter::Mongo {
            connection: Connection::Given(Secret::from(mongo.1.to_owned())),
            database: "syncflow".to_owned(),
            operations_collection: "operations".to_owned(),
            documents_collection: "documents".to_owned(),
        };
        assert_eq!(adapter(&[postgres]), Ok(on_postgres.clone()));
        assert_eq!(adapter(&[mongo]), Ok(on_mongo));
        assert_eq!(adapter(&[mongo, postgres, ("ADAPTER", "postgres")]), Ok(on_postgres));
        assert!(adapter(&[mongo, postgres]).unwrap_err().starts_with("ADAPTER: "));
        assert_eq!(adapter(&[postgres, ("ADAPTER", "memory")]), Ok(Adapter::Memory));
    }

    #[test]
    fn what_is_stored_in_aws_selects_its_adapter_too_and_only_one_place_may_be_named() {
        let adapter = |variables: &[(&str, &str)]| read(variables).map(|config| config.adapter);
        let place = |variable, keeper| SecretPlace { variable, keeper, id: "prod/db".to_owned() };
        let given = ("POSTGRES_CONNECTION_STRING", "postgresql://h/d");
        let secret = ("POSTGRES_SECRET_ARN", "prod/db");
        match adapter(&[given, secret]).unwrap() {
            Adapter::Postgres { connection: Connection::Stored { place: found, given }, .. } => {
                assert_eq!(found, place("POSTGRES_SECRET_ARN", SecretKeeper::SecretsManager));
                assert_eq!(given.unwrap().reveal(), "postgresql://h/d");
            }
            other => panic!("{other:?}"),
        }
        match adapter(&[("MONGO_PARAMETER", "prod/db")]).unwrap() {
            Adapter::Mongo { connection: Connection::Stored { place: found, given: None }, .. } => {
                assert_eq!(found, place("MONGO_PARAMETER", SecretKeeper::ParameterStore));
            }
            other => panic!("{other:?}"),
        }
        let line = adapter(&[secret, ("POSTGRES_PARAMETER", "p")]).unwrap_err();
        assert!(line.starts_with("POSTGRES_PARAMETER: "), "{line}");
        let line = adapter(&[given, secret, ("POSTGRES_IAM_AUTH", "true")]).unwrap_err();
        assert!(line.starts_with("POSTGRES_IAM_AUTH: "), "{line}");
        let line = adapter(&[secret, ("MONGO_SECRET_ARN", "m")]).unwrap_err();
        assert!(line.starts_with("ADAPTER: "), "{line}");
    }

    #[test]
    fn secrets_never_show() {
        for (variable, value) in
            [("POSTGRES_CONNECTION_STRING", "postgresql://u:hunter2@h/d"), ("MONGO_URI", "mongodb://u:hunter2@h")]
        {
            let config = read(&[(variable, value)]).unwrap();
            assert!(!format!("{config:?} {config:#?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_secret_may_stand_in_a_file_whose_variable_is_named_when_it_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("uri");
        std::fs::write(&path, "mongodb://u:hunter2@h\n").unwrap();
        let file = ("MONGO_URI_FILE", path.to_str().unwrap());
        match read(&[file]).unwrap().adapter {
            Adapter::Mongo { connection: Connection::Given(secret), .. } => {
                assert_eq!((secret.reveal(), secret.variable()), ("mongodb://u:hunter2@h", Some("MONGO_URI_FILE")));
            }
            other => panic!("{other:?}"),
        }
        let line = read(&[file, ("MONGO_URI", "mongodb://u:hunter2@h")]).unwrap_err();
        assert_eq!(line, "MONGO_URI_FILE: cannot be set beside MONGO_URI");
        let line = read(&[("POSTGRES_CONNECTION_STRING_FILE", "/no/such/file")]).unwrap_err();
        assert!(line.starts_with("POSTGRES_CONNECTION_STRING_FILE: the file /no/such/file "), "{line}");
    }

    #[test]
    fn sqlite_in_memory_is_the_adapter_memory() {
        assert!(read(&[("SQLITE_PATH", ":memory:")]).unwrap_err().contains("ADAPTER=memory"));
    }
}
