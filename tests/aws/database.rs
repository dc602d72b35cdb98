//! A PostgreSQL server on which one role needs a password.

use serde_json::json;
use tokio_postgres::Client;

use crate::support::postgres::{connect, unique_name};
use crate::support::postgres_server::PostgresServer;
use crate::support::processes::write_for_server;

/// The server, and a role whose password changes.
pub(super) struct Guarded {
    server: PostgresServer,
    role: String,
    admin: Client,
}

impl Guarded {
    /// Starts a server on which the role has a password. The superuser needs none.
    pub(super) async fn start(password: &str) -> Self {
        let server = PostgresServer::start_with(&[], |data| {
            let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
            write_for_server(&data.join("pg_hba.conf"), rules);
        })
        .await;
        let admin = connect(&server.url()).await;
        let role = unique_name();
        let create = format!("CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE postgres TO {role}");
        admin.batch_execute(&create).await.expect("a role can be made");
        let guarded = Self { server, role, admin };
        guarded.set_password(password).await;
        guarded
    }

    /// Changes the password and ends the connections that used the old one.
    pub(super) async fn set_password(&self, password: &str) {
        let role = &self.role;
        let change = format!("ALTER ROLE {role} PASSWORD '{password}'");
        self.admin.batch_execute(&change).await.expect("a password can be set");
        self.end_connections().await;
    }

    pub(super) async fn end_connections(&self) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
        self.admin.query(end, &[&self.role]).await.expect("connections can be ended");
    }

    /// The connection string without a user.
    pub(super) fn address(&self) -> String {
        format!("postgresql://127.0.0.1:{}/postgres", self.server.port())
    }

    /// The whole connection string.
    pub(super) fn connection_string(&self, password: &str) -> String {
        format!("postgresql://{}:{password}@127.0.0.1:{}/postgres", self.role, self.server.port())
    }

    /// The secret in the layout of RDS, with the place of the database.
    pub(super) fn secret(&self, password: &str) -> String {
        let secret = json!({
            "engine": "postgres", "host": "127.0.0.1", "port": self.server.port(), "username": self.role,
            "password": password, "dbname": "postgres", "dbInstanceIdentifier": "db",
        });
        secret.to_string()
    }

    /// The secret in the layout of RDS for a password that RDS manages itself.
    pub(super) fn managed_secret(&self, password: &str) -> String {
        json!({"username": self.role, "password": password}).to_string()
    }

    /// The connection string with the role and without a password.
    pub(super) fn address_of_role(&self) -> String {
        format!("postgresql://{}@127.0.0.1:{}/postgres", self.role, self.server.port())
    }
}
