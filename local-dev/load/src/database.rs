//! Databases of a store: new ones for a server or a floor.

use std::cell::Cell;
use std::path::PathBuf;

use mongodb::bson::doc;
use tokio_postgres::NoTls;

use crate::Result;
use crate::floor::Floor;
use crate::floor::mongodb::MongoFloor;
use crate::floor::postgres::PostgresFloor;
use crate::floor::sqlite::SqliteFloor;
use crate::meter;
use crate::options::StoreName;

/// The place where the databases of one store are created.
#[derive(Debug)]
pub(crate) enum Databases {
    Sqlite { directory: tempfile::TempDir, made: Cell<u32> },
    Postgres { url: String, made: Cell<u32>, postmaster: Option<u32> },
    Mongo { uri: String, made: Cell<u32>, server: Option<u32> },
}

/// One database, which is empty at first.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    Sqlite { path: PathBuf },
    Postgres { url: String, schema: String },
    Mongo { uri: String, name: String },
}

impl Databases {
    pub(crate) async fn of(store: StoreName) -> Result<Self> {
        Ok(match store {
            StoreName::Sqlite => Self::Sqlite { directory: tempfile::tempdir()?, made: Cell::default() },
            StoreName::Postgres => {
                let url = std::env::var("TEST_POSTGRES_URL")
                    .map_err(|_| "TEST_POSTGRES_URL names no server; run local-dev/bench, which starts one")?;
                let postmaster = postmaster(&url).await?;
                Self::Postgres { url, made: Cell::default(), postmaster }
            }
            StoreName::Mongo => {
                let uri = std::env::var("TEST_MONGO_URI")
                    .map_err(|_| "TEST_MONGO_URI names no server; run local-dev/bench, which starts one")?;
                // There may be several, of which one is enough.
                let uri = uri.split_whitespace().next().unwrap_or_default().to_owned();
                let server = mongodb_server(&uri).await?;
                Self::Mongo { uri, made: Cell::default(), server }
            }
        })
    }

    /// A new database.
    pub(crate) async fn make(&self) -> Result<Database> {
        match self {
            Self::Sqlite { directory, made } => {
                Ok(Database::Sqlite { path: directory.path().join(format!("{}.db", next(made))) })
            }
            Self::Postgres { url, made, .. } => {
                let schema = format!("load_{}", next(made));
                let drop = format!("DROP SCHEMA IF EXISTS {schema} CASCADE");
                connect(url).await?.batch_execute(&drop).await?;
                Ok(Database::Postgres { url: url.clone(), schema })
            }
            Self::Mongo { uri, made, .. } => {
                let name = format!("load_{}", next(made));
                connect_mongodb(uri, 1).await?.database(&name).drop().await?;
                Ok(Database::Mongo { uri: uri.clone(), name })
            }
        }
    }

    /// The process of the database and its children, if it runs on this machine and is not inside the server.
    pub(crate) fn process(&self) -> Option<u32> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres { postmaster, .. } => *postmaster,
            Self::Mongo { server, .. } => *server,
        }
    }
}

impl Database {
    /// The settings for a server on this database.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Sqlite { path } => {
                vec![("ADAPTER", "sqlite".to_owned()), ("SQLITE_PATH", path.display().to_string())]
            }
            Self::Postgres { url, schema } => vec![
                ("ADAPTER", "postgres".to_owned()),
                ("POSTGRES_CONNECTION_STRING", url.clone()),
                ("POSTGRES_SCHEMA", schema.clone()),
            ],
            Self::Mongo { uri, name } => {
                vec![("ADAPTER", "mongodb".to_owned()), ("MONGO_URI", uri.clone()), ("MONGO_DB_NAME", name.clone())]
            }
        }
    }

    /// Makes the database update its statistics, which it would otherwise do some minutes later.
    pub(crate) async fn settle(&self) -> Result<()> {
        if let Self::Postgres { url, schema } = self {
            let client = connect(url).await?;
            for table in ["operations", "operation_ids", "documents"] {
                client.batch_execute(&format!("VACUUM (ANALYZE) {schema}.syncflow_{table}")).await?;
            }
        }
        Ok(())
    }

    /// The floor on this database, whose tables exist and have `rows` operations.
    pub(crate) fn floor(&self, rows: u64) -> Box<dyn Floor> {
        match self.clone() {
            Self::Sqlite { path } => Box::new(SqliteFloor::new(path, rows)),
            Self::Postgres { url, schema } => Box::new(PostgresFloor::new(url, schema, rows)),
            Self::Mongo { uri, name } => Box::new(MongoFloor::new(uri, name, rows)),
        }
    }
}

fn next(made: &Cell<u32>) -> u32 {
    made.replace(made.get() + 1)
}

/// A connection to PostgreSQL.
pub(crate) async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        // The request that waits for an answer reports that the connection broke.
        let _ = connection.await;
    });
    Ok(client)
}

async fn postmaster(url: &str) -> Result<Option<u32>> {
    let pid: i32 = connect(url).await?.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
    Ok(u32::try_from(pid).ok().and_then(|pid| meter::parent_named(pid, "postgres")))
}

/// A client of MongoDB with this many connections.
pub(crate) async fn connect_mongodb(uri: &str, connections: usize) -> Result<mongodb::Client> {
    let mut options = mongodb::options::ClientOptions::parse(uri).await?;
    options.max_pool_size = Some(u32::try_from(connections)?);
    Ok(mongodb::Client::with_options(options)?)
}

/// The process of the server, if the server names it and it runs on this machine.
async fn mongodb_server(uri: &str) -> Result<Option<u32>> {
    let status = connect_mongodb(uri, 1).await?.database("admin").run_command(doc! { "serverStatus": 1 }).await?;
    let pid = status.get_i64("pid").or_else(|_| status.get_i32("pid").map(i64::from));
    Ok(pid.ok().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| meter::is_named(*pid, "mongod")))
}
