//! Broken connections, and servers that are down, killed or silent: accepted operations stay, and the store recovers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::insert;
use syncflow_server::conformance::world::operations;
use syncflow_server::core::names::TenantId;
use syncflow_server::core::numbers::Seq;
use syncflow_server::limits::store::STORE_IDLE_TRUSTED_MS;
use syncflow_server::service::Pushed;
use syncflow_server::store::postgres::PostgresOptions;
use syncflow_server::store::{Elsewhere, ErrorKind, Watch};

use super::{terminate_connections, world};
use crate::support::postgres::{Schema, connect, server_url};
use crate::support::postgres_proxy::Proxy;
use crate::support::postgres_server::PostgresServer;

/// Uses every connection of the store's pool at the same time, so that all of them are open.
async fn use_every_connection(world: &World) {
    for checked in join_all((0..8).map(|_| world.store.check())).await {
        checked.expect("the store is there");
    }
}

#[tokio::test]
async fn connections_that_an_administrator_ends_cost_no_request() {
    let schema = Schema::new();
    let world = world(&schema.options());
    let admin = connect(&server_url()).await;
    for number in 0..20 {
        use_every_connection(&world).await;
        assert!(terminate_connections(&admin, &schema).await > 0, "there are connections to end");
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}"))]).await;
    }
    assert_eq!(world.log().await.len(), 20);
}

#[tokio::test]
async fn a_restart_of_the_server_costs_no_request_that_comes_after() {
    let mut server = PostgresServer::start(&[]).await;
    let world = world(&PostgresOptions::new(&server.url()));
    for signal in ["INT", "QUIT"] {
        world.apply([insert(signal, signal)]).await;
        use_every_connection(&world).await;
        server.stop(signal);
        server.start_again().await;
        world.page(None, 10).await;
    }
    assert_eq!(world.log().await.len(), 2);
}

#[tokio::test]
async fn while_the_server_is_down_the_store_is_unavailable_and_then_it_recovers() {
    let mut server = PostgresServer::start(&[]).await;
    let options = PostgresOptions::new(&server.url());
    let before = world(&options);
    before.apply([insert("op-1", "doc-1")]).await;
    server.stop("INT");
    let born_meanwhile = world(&options);
    for world in [&before, &born_meanwhile] {
        let error = world.store.check().await.expect_err("the server is down");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let pushed = world.service.push(&world.tenant, operations([insert("op-2", "doc-2")])).await;
        assert!(pushed.is_err(), "the server is down");
    }
    server.start_again().await;
    born_meanwhile.apply([insert("op-3", "doc-3")]).await;
    assert_eq!(before.log().await.len(), 2);
}

#[tokio::test]
async fn connections_that_fell_silent_while_nobody_looked_cost_no_request() {
    let schema = Schema::new();
    let proxy = Proxy::before(&server_url()).await;
    let mut options = schema.options();
    options.connection_string = proxy.url().to_owned();
    let world = world(&options);
    world.apply([insert("op-1", "doc-1")]).await;
    use_every_connection(&world).await;
    proxy.fall_silent();
    // As in a frozen Lambda, the open connections are dead, and nothing reports it.
    tokio::time::sleep(Duration::from_millis(STORE_IDLE_TRUSTED_MS + 500)).await;
    world.apply([insert("op-2", "doc-2")]).await;
    assert_eq!(world.log().await.len(), 2);
}

#[tokio::test]
async fn a_connection_that_falls_silent_in_use_is_given_up_in_time() {
    let schema = Schema::new();
    let proxy = Proxy::before(&server_url()).await;
    let mut options = schema.options();
    options.connection_string = proxy.url().to_owned();
    options.pool_size = 1;
    let world = world(&options);
    world.apply([insert("op-1", "doc-1")]).await;
    proxy.fall_silent();
    let error = world.store.check().await.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    world.apply([insert("op-2", "doc-2")]).await;
}

#[tokio::test]
async fn a_request_that_finds_no_free_connection_is_told_that_the_store_is_busy() {
    let schema = Schema::new();
    let mut options = schema.options();
    options.pool_size = 1;
    let world = world(&options);
    world.apply([insert("op-1", "doc-1")]).await;
    let admin = connect(&server_url()).await;
    let lock = format!("BEGIN; LOCK TABLE {}.syncflow_heads", schema.quoted());
    admin.batch_execute(&lock).await.expect("the lock is free");
    let (waiting, refused) = tokio::join!(world.store.check(), world.store.check());
    assert_eq!(refused.expect_err("the only connection is taken").kind(), ErrorKind::Busy);
    assert_eq!(waiting.expect_err("the lock is not given").kind(), ErrorKind::Busy);
    admin.batch_execute("ROLLBACK").await.expect("the lock is given back");
    world.store.check().await.expect("the connection is free again");
}

/// Pushes one operation after another until it is told to stop, counts the accepted ones and returns their ids.
async fn push_until(world: World, pusher: usize, is_over: Arc<AtomicBool>, count: Arc<AtomicUsize>) -> Vec<String> {
    let mut accepted = Vec::new();
    for number in 0.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let id = format!("op-{pusher}-{number}");
        if let Ok(Pushed::Decided(_)) = world.service.push(&world.tenant, operations([insert(&id, &id)])).await {
            accepted.push(id);
            count.fetch_add(1, Ordering::SeqCst);
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_the_middle_of_pushes_loses_nothing_that_was_accepted() {
    // Law 1 must hold whatever the server's default is. With this default alone, a crash would lose the latest commits.
    let mut server = PostgresServer::start(&["synchronous_commit=off", "wal_writer_delay=10s"]).await;
    let options = PostgresOptions::new(&server.url());
    let is_over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicUsize::new(0));
    let pusher = |number| push_until(world(&options), number, Arc::clone(&is_over), Arc::clone(&count));
    let pushers: Vec<_> = (0..8).map(|number| tokio::spawn(pusher(number))).collect();
    for turn in 1..=3 {
        // Enough of them before each crash that the test can tell, however slow the machine is.
        while count.load(Ordering::SeqCst) < turn * 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server.stop("QUIT");
        server.start_again().await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    is_over.store(true, Ordering::SeqCst);
    let accepted: Vec<String> =
        join_all(pushers).await.into_iter().flat_map(|ids| ids.expect("a pusher ends well")).collect();
    let log = world(&options).log().await;
    let missing: Vec<_> = accepted.iter().filter(|id| !log.iter().any(|entry| entry.id.as_str() == **id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(log.iter().map(|entry| entry.seq).eq(Seq::START.following().take(log.len())), "the log has a hole");
}

/// The next hint that is about certain tenants. Other tests may end the connection at any time.
async fn next_tenants(watch: &mut Watch<'_>, announce: impl AsyncFn()) -> Vec<TenantId> {
    let heard = async {
        loop {
            if let Elsewhere::Tenants(tenants) = watch.next().await.expect("it does not end") {
                return tenants;
            }
            // It listens again, and has missed what was said before.
            announce().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), heard).await.expect("it is heard")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_hears_other_stores_and_not_its_own_and_listens_again_when_it_breaks() {
    let schema = Schema::new();
    let (here, there) = (world(&schema.options()), world(&schema.options()));
    let admin = connect(&server_url()).await;
    let mut watch = here.store.watch();
    assert_eq!(watch.next().await, Some(Elsewhere::Anywhere), "it listens");
    let names = ["é \"quoted\"", "b"].map(TenantId::literal);
    let announce = async || there.store.announce(&names).await.expect("it is announced");
    for _ in 0..3 {
        here.store.announce(&[TenantId::literal("own")]).await.expect("it is announced");
        announce().await;
        assert_eq!(next_tenants(&mut watch, announce).await, names);
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN syncflow_%'";
        assert!(!admin.query(sql, &[]).await.expect("connections can be ended").is_empty());
        // Earlier announcements are still heard, and then the watch listens again.
        while watch.next().await != Some(Elsewhere::Anywhere) {}
    }
}
