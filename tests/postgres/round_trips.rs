//! The number of round trips of each method, and which statements a push executes.

use std::sync::Arc;
use std::time::Duration;

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{self, Draft, insert, update};
use syncflow_server::conformance::world::{operations, page_of};
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::names::{ClientId, TenantId};
use syncflow_server::core::numbers::{Rev, Seq, UnixMs};
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::{PullFrom, SyncService};
use syncflow_server::store::{NewMemory, Remember};

use crate::support::postgres::{Schema, connect, key_values, server_url};
use crate::support::postgres_proxy::Proxy;

/// A world whose round trips are counted. Its only connection is open already.
async fn counted(schema: &Schema) -> (World, Proxy) {
    let proxy = Proxy::before(&server_url()).await;
    let mut options = schema.options();
    options.connection_string = proxy.url().to_owned();
    options.pool_size = 1;
    let world = super::world(&options);
    world.store.check().await.expect("the store is there");
    proxy.take_round_trips();
    (world, proxy)
}

fn inserts(prefix: &str, count: u64) -> Vec<Draft> {
    (0..count).map(|number| insert(&format!("{prefix}-{number}"), &format!("doc-{number}"))).collect()
}

#[tokio::test]
async fn a_push_of_many_operations_costs_two_round_trips_as_one_of_one() {
    let schema = Schema::new();
    let (world, proxy) = counted(&schema).await;
    for (prefix, count) in [("one", 1), ("hundred", 100), ("thousand", 1_000)] {
        world.as_tenant(prefix).apply(inserts(prefix, count)).await;
        assert_eq!(proxy.take_round_trips(), 2, "{count} operations");
    }
    world.as_tenant("one").apply([update("later", "doc-0").clock(&[("a", 2)])]).await;
    assert_eq!(proxy.take_round_trips(), 2, "an update");
}

#[tokio::test]
async fn a_push_of_what_is_known_costs_one_round_trip() {
    let schema = Schema::new();
    let (world, proxy) = counted(&schema).await;
    world.apply(inserts("op", 3)).await;
    proxy.take_round_trips();
    world.push(inserts("op", 3)).await;
    assert_eq!(proxy.take_round_trips(), 1);
}

#[tokio::test]
async fn everything_else_costs_one_round_trip_and_a_pull_with_news_a_second_to_note_them() {
    let schema = Schema::new();
    let (world, proxy) = counted(&schema).await;
    world.apply(draft::inserts(10)).await;
    proxy.take_round_trips();

    world.changes(None, 5).await;
    assert_eq!(proxy.take_round_trips(), 1, "a page of documents");
    world.changes(Some(Cursor::BEGINNING), 5).await;
    assert_eq!(proxy.take_round_trips(), 1, "a page of the log");
    world.since_of_nobody(0, 5).await;
    assert_eq!(proxy.take_round_trips(), 1, "a page by timestamp");
    world.document("doc-1").await;
    assert_eq!(proxy.take_round_trips(), 1, "a document");
    world.query(&[("n", "1")]).await;
    assert_eq!(proxy.take_round_trips(), 1, "a query");
    world.stats().await;
    assert_eq!(proxy.take_round_trips(), 1, "statistics");
    world.store.check().await.expect("the store is there");
    assert_eq!(proxy.take_round_trips(), 1, "a check");
    world.store.heads(&[world.tenant.clone(), TenantId::literal("none")]).await.expect("the newest places");
    assert_eq!(proxy.take_round_trips(), 1, "the newest places of tenants");

    let pull = async |cursor| page_of(world.pull(PullFrom::Cursor(cursor), Some("me"), 5).await).cursor;
    let next = pull(None).await;
    assert_eq!(proxy.take_round_trips(), 2, "a page that is to be noted");
    let next = pull(next).await;
    assert_eq!(proxy.take_round_trips(), 2, "another one");
    pull(next).await;
    assert_eq!(proxy.take_round_trips(), 1, "a page without news");

    let memory = world.memory("me").await.expect("it is noted");
    assert_eq!(proxy.take_round_trips(), 1, "a memory");
    let new = NewMemory {
        seen_revision: Rev::NONE,
        places: memory.places,
        pulled_seq: Seq::new(1),
        seen_at_ms: UnixMs::new(7),
    };
    let remembered = world.store.remember(&world.tenant, &ClientId::literal("me"), new).await;
    assert_eq!(remembered.expect("it is remembered"), Remember::Done);
    assert_eq!(proxy.take_round_trips(), 1, "remembering");
    assert_eq!(world.compact(0).await, 10);
    assert_eq!(proxy.take_round_trips(), 1, "a compaction in one step");
}

#[tokio::test]
async fn pushes_are_announced_together_and_after_their_commits() {
    let schema = Schema::new();
    let proxy = Proxy::before(&server_url()).await;
    let mut options = schema.options();
    let log = "-c log_statement=all -c client_min_messages=log";
    options.connection_string = format!("{} options='{log}'", key_values(proxy.url()));
    options.pool_size = 1;
    let world = super::world(&options);
    world.store.check().await.expect("the store is there");
    proxy.take_texts();
    let service = SyncService::new(Arc::clone(&world.store), Arc::new(TokioHost));
    for number in 0..20_u64 {
        let tenant = TenantId::literal(&format!("tenant-{}", number % 5));
        let push = operations([insert(&format!("op-{number}"), &format!("doc-{number}"))]);
        assert!(service.push(&tenant, push).await.expect("it is pushed").outcomes().is_some());
    }
    let mut texts = proxy.take_texts();
    for _ in 0..6_000 {
        if texts.contains("pg_notify") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        texts += &proxy.take_texts();
    }
    let statements: Vec<&str> = texts.split("execute ").skip(1).collect();
    let count = |word: &str| statements.iter().filter(|statement| statement.contains(word)).count();
    assert_eq!(count("syncflow_commit("), 20, "{texts}");
    assert!((1..20).contains(&count("pg_notify(")), "one is for many: {texts}");
    let both = |statement: &&&str| statement.contains("syncflow_commit(") && statement.contains("pg_notify(");
    assert_eq!(statements.iter().find(both), None);
    let sql = "SELECT count(*), count(*) FILTER (WHERE p.prosrc ILIKE '%notify%') FROM pg_proc AS p
               JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname = $1";
    let functions = connect(&server_url()).await.query_one(sql, &[&schema.name()]).await.expect("they are listed");
    assert!(functions.get::<_, i64>(0) > 5 && functions.get::<_, i64>(1) == 0, "no function notifies: {functions:?}");
}
