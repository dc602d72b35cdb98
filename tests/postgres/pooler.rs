//! A real PgBouncer before the server, which runs each transaction on any of its few connections.

use std::time::Duration;

use futures_util::future::join_all;
use syncflow_server::conformance::draft::insert;
use syncflow_server::for_each_conformance_check;
use syncflow_server::store::postgres::{Peer, PostgresOptions};

use super::{terminate_connections, world};
use crate::endpoints::waking::elsewhere::median_wake_up;
use crate::support::postgres::{Schema, connect, server_url};
use crate::support::postgres_server::Pooler;

/// There are fewer than the store has, so that the store's connections take turns.
const POOLER_CONNECTIONS: usize = 2;

fn through(pooler: &Pooler, schema: &Schema) -> PostgresOptions {
    PostgresOptions { connection_string: pooler.url(), peer: Peer::Pooler, ..schema.options() }
}

#[tokio::test]
async fn every_check_of_the_suite_passes_through_a_pooler() {
    let pooler = Pooler::start(&server_url(), POOLER_CONNECTIONS).await;
    macro_rules! run_every_check {
        ($($group:ident { $($module:ident: [$($check:ident,)*])* })*) => {
            $($($({
                println!("{}::{}: {}", stringify!($group), stringify!($module), stringify!($check));
                let schema = Schema::new();
                let fresh = world(&through(&pooler, &schema));
                Box::pin(syncflow_server::conformance::$group::$module::$check(&fresh)).await;
            })*)*)*
        };
    }
    for_each_conformance_check!(run_every_check =>);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_share_the_few_connections_of_a_pooler() {
    let pooler = Pooler::start(&server_url(), POOLER_CONNECTIONS).await;
    let schema = Schema::new();
    let pushers = (0..8).map(|pusher| {
        let world = world(&through(&pooler, &schema));
        tokio::spawn(async move {
            for number in 0..20 {
                world.apply([insert(&format!("op-{pusher}-{number}"), &format!("doc-{pusher}-{number}"))]).await;
                world.page(None, 10).await;
                world.query(&[("missing", "null")]).await;
            }
        })
    });
    for pusher in join_all(pushers).await {
        pusher.expect("every request is answered");
    }
    assert_eq!(world(&through(&pooler, &schema)).log().await.len(), 160);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_another_process_wakes_a_listener_through_a_pooler() {
    let pooler = Pooler::start(&server_url(), POOLER_CONNECTIONS).await;
    let schema = Schema::new();
    let median = median_wake_up([(); 2].map(|()| world(&through(&pooler, &schema)).store)).await;
    // Ten times what is promised.
    assert!(median <= Duration::from_secs(15), "{median:?}");
}

#[tokio::test]
async fn connections_that_die_behind_a_pooler_cost_no_request() {
    let pooler = Pooler::start(&server_url(), POOLER_CONNECTIONS).await;
    let schema = Schema::new();
    let world = world(&through(&pooler, &schema));
    let admin = connect(&server_url()).await;
    for number in 0..10 {
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}"))]).await;
        terminate_connections(&admin, &schema).await;
    }
    assert_eq!(world.log().await.len(), 10);
}

#[tokio::test]
async fn a_pooler_that_is_taken_for_a_server_says_what_to_do() {
    let pooler = Pooler::start(&server_url(), POOLER_CONNECTIONS).await;
    let schema = Schema::new();
    let options = PostgresOptions { peer: Peer::Server, ..through(&pooler, &schema) };
    let error = world(&options).store.check().await.expect_err("the pooler refuses the settings");
    assert!(error.to_string().contains("a pooler must be declared as one"), "{error}");
}
