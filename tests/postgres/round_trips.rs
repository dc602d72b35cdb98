//! The number of round trips of each method.

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{self, Draft, insert, update};
use syncflow_server::conformance::world::page_of;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::names::ClientId;
use syncflow_server::core::numbers::{Rev, Seq, UnixMs};
use syncflow_server::service::PullFrom;
use syncflow_server::store::{NewMemory, Remember};

use crate::support::postgres::{Schema, server_url};
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
