//! Advice for the operator about a store that does not answer. It has the names of settings, never their values.

use std::sync::Arc;
use std::time::Duration;

use super::store::connection_variable;
use crate::config::{Adapter, Connection, ExpressConfig, NearMiss, Secret, StoreConfig, near_misses};
use crate::limits::runtime::{STORE_RETRY_PAUSE_MAX_MS, STORE_RETRY_PAUSE_MIN_MS};
use crate::limits::store::STORE_CONNECT_TIME_MAX_MS;
#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresOptions;
use crate::store::{Obstacle, Store, StoreError};

/// Warns about variables that are set but not read, although their names look like a setting.
pub fn warn_of_near_misses(names: &[String]) {
    for NearMiss { name, meant } in near_misses(names) {
        tracing::warn!("the variable {name} is set, but not read; {meant} may be meant");
    }
}

/// Says that the first answer of a database is waited for, if opening it may take seconds.
pub fn announce_wait(config: &StoreConfig) {
    if let Adapter::Mongo { .. } = config.adapter {
        let seconds = STORE_CONNECT_TIME_MAX_MS / 1_000;
        tracing::info!("waiting for an answer of MongoDB, for {seconds} s at most");
    }
}

/// Checks a store repeatedly until it answers. A problem is logged at once, and again only when it changes.
///
/// A server may start before its database does, so a problem does not end the server.
pub async fn wait_for_store(store: Arc<dyn Store>, config: &StoreConfig) {
    let mut pause_ms = STORE_RETRY_PAUSE_MIN_MS;
    let mut said = None;
    while let Err(error) = store.check().await {
        let advice = advice(&error, config);
        if said.as_ref() != Some(&advice) {
            let status = if error.can_retry() { 503 } else { 500 };
            tracing::error!(error.cause = %error, "{advice}; requests are answered with {status} until then");
            said = Some(advice);
        }
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        pause_ms = (pause_ms * 2).min(STORE_RETRY_PAUSE_MAX_MS);
    }
    if said.is_some() {
        tracing::info!("the store answers now");
    }
}

/// One line with the setting to check, the problem, and what to do about it.
#[must_use]
pub fn advice(error: &StoreError, config: &StoreConfig) -> String {
    let variable = variable(&config.adapter, error.obstacle());
    match (&config.adapter, error.obstacle()) {
        (Adapter::Postgres { schema, connection, .. }, Some(Obstacle::Rights)) => {
            let schema = schema.as_deref().unwrap_or("syncflow");
            format!("{variable}: {}", missing_rights(schema, user_of(connection).as_deref()))
        }
        (Adapter::Postgres { .. }, Some(obstacle)) => format!("{variable}: {}", postgres(obstacle)),
        (Adapter::Mongo { .. }, Some(obstacle)) => format!("{variable}: {}", mongodb(obstacle)),
        _ => format!("{variable}: {error}"),
    }
}

/// The same about the database of an Express server, which is only read.
#[must_use]
pub fn advice_about_express(error: &StoreError, config: &ExpressConfig) -> String {
    let variable = config.url.as_ref().and_then(Secret::variable).unwrap_or("EXPRESS_URL");
    let advice = match error.obstacle() {
        None => return format!("{variable}: {error}"),
        Some(Obstacle::Tls) => "no TLS connection can be trusted; check its options and EXPRESS_CA_FILE".to_owned(),
        Some(Obstacle::Rights) => "the user lacks the right to read the documents and operations".to_owned(),
        Some(obstacle) if error.store() == "postgres" => postgres(obstacle),
        Some(obstacle) => mongodb(obstacle),
    };
    format!("{variable}: {advice} ({error})")
}

fn variable(adapter: &Adapter, obstacle: Option<Obstacle>) -> &'static str {
    match (adapter, obstacle) {
        (Adapter::Memory, _) => "ADAPTER",
        (Adapter::Sqlite { .. }, _) => "SQLITE_PATH",
        (Adapter::Postgres { .. }, Some(Obstacle::Rights)) => "POSTGRES_SCHEMA",
        (Adapter::Postgres { connection, .. }, _) => connection_variable(connection, "POSTGRES_CONNECTION_STRING"),
        (Adapter::Mongo { connection, .. }, _) => connection_variable(connection, "MONGO_URI"),
    }
}

/// Advice about missing rights: SQL that can be pasted, if the user is known.
fn missing_rights(schema: &str, user: Option<&str>) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let (schema, for_user) = (quoted(schema), if user.is_some() { "" } else { " with the user's name for USER" });
    let user = quoted(user.unwrap_or("USER"));
    format!(
        "the user lacks rights; as the owner of the database, run{for_user}: CREATE SCHEMA IF NOT EXISTS {schema}; GRANT \
         USAGE, CREATE ON SCHEMA {schema} TO {user}; (docs/deploy/server.md lists all rights)"
    )
}

/// The user in a connection string, if there is one. The database accepted the login, so this cannot be part of a
/// password.
#[cfg(feature = "postgres")]
fn user_of(connection: &Connection) -> Option<String> {
    let Connection::Given(text) = connection else { return None };
    PostgresOptions::new(text.reveal()).parts().ok()?.login.user
}

#[cfg(not(feature = "postgres"))]
fn user_of(_: &Connection) -> Option<String> {
    None
}

fn postgres(obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::Refused => {
            "no server listens at the host and port; start PostgreSQL there, or correct them".to_owned()
        }
        Obstacle::UnknownHost => "the host is unknown; correct its name".to_owned(),
        Obstacle::Silent => {
            "PostgreSQL does not answer in time; see whether host and port are right and a firewall lets them through"
                .to_owned()
        }
        Obstacle::Login => format!("PostgreSQL refuses the login; {LOGIN}"),
        Obstacle::Database => {
            "PostgreSQL has no such database; make it with CREATE DATABASE, or correct its name".to_owned()
        }
        Obstacle::Tls => "no TLS connection can be trusted; check sslmode in the connection string and \
             POSTGRES_CA_FILE"
            .to_owned(),
        _ => "PostgreSQL cannot be reached".to_owned(),
    }
}

fn mongodb(obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::Refused => {
            "no server listens at the hosts and ports; start MongoDB there, or correct them".to_owned()
        }
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
        Obstacle::Tls => "no TLS connection can be trusted; check tls and tlsCAFile in the URI".to_owned(),
        _ => "no server of MongoDB can be used; see whether replicaSet in the URI is right and there is a primary"
            .to_owned(),
    }
}

/// Advice about a refused login.
const LOGIN: &str = "correct user and password (in a URL write %40 for @, %3A for :, %2F for /, %3F for ?, %23 for # \
                     and %25 for %)";
