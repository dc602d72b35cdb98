//! What to do about a store that does not answer, for who runs the server: names of settings, never their values.

use std::sync::Arc;
use std::time::Duration;

use super::store::connection_variable;
use crate::config::{Adapter, StoreConfig};
use crate::core::limits::{STORE_RETRY_PAUSE_MAX_MS, STORE_RETRY_PAUSE_MIN_MS};
use crate::store::{Obstacle, Store, StoreError};

/// Asks a store until it answers. What keeps it from that is said at once, and again only when it changes.
///
/// A server may start before its database does; so this ends nothing.
pub async fn wait_for_store(store: Arc<dyn Store>, config: &StoreConfig) {
    let mut pause_ms = STORE_RETRY_PAUSE_MIN_MS;
    let mut said = None;
    while let Err(error) = store.check().await {
        let advice = advice(&error, config);
        if said.as_ref() != Some(&advice) {
            tracing::error!(error.cause = %error, "{advice}; requests are answered with 503 or 500 until then");
            said = Some(advice);
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(STORE_RETRY_PAUSE_MAX_MS);
    }
    if said.is_some() {
        tracing::info!("the store answers now");
    }
}

/// The setting to look at, what is wrong, and what to do about it, in one line.
#[must_use]
pub fn advice(error: &StoreError, config: &StoreConfig) -> String {
    let variable = variable(&config.adapter, error.obstacle());
    match (&config.adapter, error.obstacle()) {
        (Adapter::Postgres { schema, .. }, Some(obstacle)) => {
            let advice = postgres(obstacle, schema.as_deref());
            format!("{variable}: {advice}")
        }
        (Adapter::Mongodb { .. }, Some(obstacle)) => format!("{variable}: {}", mongodb(obstacle)),
        _ => format!("{variable}: {error}"),
    }
}

fn variable(adapter: &Adapter, obstacle: Option<Obstacle>) -> &'static str {
    match (adapter, obstacle) {
        (Adapter::Memory, _) => "ADAPTER",
        (Adapter::Sqlite { .. }, _) => "SQLITE_PATH",
        (Adapter::Postgres { .. }, Some(Obstacle::Rights)) => "POSTGRES_SCHEMA",
        (Adapter::Postgres { connection, .. }, _) => connection_variable(connection, "POSTGRES_CONNECTION_STRING"),
        (Adapter::Mongodb { connection, .. }, _) => connection_variable(connection, "MONGO_URI"),
    }
}

fn postgres(obstacle: Obstacle, schema: Option<&str>) -> String {
    match obstacle {
        Obstacle::Refused => "nobody listens at the host and port; start PostgreSQL there, or correct them".to_owned(),
        Obstacle::UnknownHost => "the host is unknown; correct its name".to_owned(),
        Obstacle::Silent => {
            "PostgreSQL does not answer in time; see whether host and port are right and a firewall lets them through"
                .to_owned()
        }
        Obstacle::Login => format!("PostgreSQL refuses the login; {LOGIN}"),
        Obstacle::Database => {
            "PostgreSQL has no such database; make it with CREATE DATABASE, or correct its name".to_owned()
        }
        Obstacle::Rights => match schema {
            Some(schema) => format!(
                "the user lacks rights; as its owner, run GRANT USAGE, CREATE ON SCHEMA \"{}\" TO the user, or name a \
                 schema of the user's own, which needs the right to create in the database",
                schema.replace('"', "\"\"")
            ),
            None => {
                "the user lacks rights; as the owner of the database, run CREATE SCHEMA syncflow AUTHORIZATION the \
                     user, or set it to a schema in which the user may create"
                    .to_owned()
            }
        },
        Obstacle::Tls => {
            "there is no TLS connection that can be trusted; see to sslmode in the connection string and to \
             POSTGRES_CA_FILE"
                .to_owned()
        }
        _ => "PostgreSQL cannot be reached".to_owned(),
    }
}

fn mongodb(obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::Refused => "nobody listens at the hosts and ports; start MongoDB there, or correct them".to_owned(),
        Obstacle::UnknownHost => "the hosts are unknown; correct their names".to_owned(),
        Obstacle::Silent => {
            "MongoDB does not answer in time; see whether hosts and ports are right and a firewall lets them through"
                .to_owned()
        }
        Obstacle::Login => format!("MongoDB refuses the login; {LOGIN}, or say with authSource where the user is kept"),
        Obstacle::Rights => {
            "the user lacks rights, or the URI has no user; give it the role readWrite of the database MONGO_DB_NAME"
                .to_owned()
        }
        Obstacle::Tls => {
            "there is no TLS connection that can be trusted; see to tls and tlsCAFile in the URI".to_owned()
        }
        _ => "no server of MongoDB can be used; see whether replicaSet in the URI is right and there is a primary"
            .to_owned(),
    }
}

/// What to do about a refused login.
const LOGIN: &str = "correct user and password (in a URL write %40 for @, %3A for :, %2F for /, %3F for ?, %23 for # \
                     and %25 for %)";
