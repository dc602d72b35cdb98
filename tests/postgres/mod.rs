//! Promises of the PostgreSQL store alone: its schema, round trips and plans, poolers, TLS, and faults.

mod bounds;
mod contention;
mod faults;
mod hijack;
mod plans;
mod pooler;
mod rights;
mod round_trips;
mod schema;
mod tls;
mod values;

use std::sync::Arc;

use syncflow_server::conformance::World;
use syncflow_server::store::postgres::{PostgresOptions, PostgresStore};
use tokio_postgres::Client;

use crate::support::postgres::Schema;

/// A world over a store with these options.
fn world(options: &PostgresOptions) -> World {
    World::new(Arc::new(PostgresStore::new(options).expect("the options are right")))
}

/// Ends every connection whose last statement used a schema, like a restart or an administrator. Returns their number.
pub(crate) async fn terminate_connections(admin: &Client, schema: &Schema) -> i64 {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE position($1 IN query) > 0 AND pid <> pg_backend_pid()";
    admin.query_one(sql, &[&schema.quoted()]).await.expect("connections can be ended").get(0)
}
