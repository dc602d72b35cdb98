//! What only the store on PostgreSQL promises: its schema, its round trips and plans, poolers, TLS, and faults.

mod proxy;

mod plans;
mod round_trips;
mod schema;

use std::sync::Arc;

use syncflow_server::store::conformance::World;
use syncflow_server::store::postgres::{PostgresOptions, PostgresStore};

/// A world over a store with these options.
fn world(options: &PostgresOptions) -> World {
    World::new(Arc::new(PostgresStore::new(options).expect("the options are right")))
}
