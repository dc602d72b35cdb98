//! The commands that the store sends to the server, and their number.

use syncflow_server::conformance::draft::{Draft, insert, update};
use syncflow_server::conformance::world::page_of;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::names::TenantId;
use syncflow_server::limits::store::HEADS_MAX_TENANTS;
use syncflow_server::service::PullFrom;

use super::proxy::Guise;
use super::{watched, watched_in_guise};
use crate::support::mongo::Database;

fn inserts(from: u64, to: u64) -> Vec<Draft> {
    (from..to).map(|number| insert(&format!("op-{number}"), &format!("doc-{number}")).at(number + 1)).collect()
}

/// The commands of a push whose commit reads the head.
const STEP_BY_STEP: [&str; 6] = ["find", "find", "findAndModify", "insert", "insert", "commitTransaction"];

/// The commands of a push by the process that wrote last for the tenant.
const AT_ONCE: [&str; 4] = ["find", "find", "bulkWrite", "commitTransaction"];

#[tokio::test]
async fn a_push_costs_two_commands_to_load_and_a_transaction_of_two_whatever_its_size() {
    let database = Database::new();
    let (world, proxy) = watched(&database).await;
    for (from, to) in [(0, 1), (1, 101), (101, 501)] {
        world.apply(inserts(from, to)).await;
        assert_eq!(proxy.take_names(), AT_ONCE, "{} operations", to - from);
    }
    world.apply([update("later", "doc-0").clock(&[("a", 2)]), insert("new", "new")]).await;
    assert_eq!(proxy.take_names(), AT_ONCE, "a new version and a new document");
    world.push(inserts(0, 3)).await;
    assert_eq!(proxy.take_names(), ["find", "find"], "what is known");
    let numbers: Vec<u64> = world.log().await.iter().map(|entry| entry.seq.get()).collect();
    assert!(numbers.into_iter().eq(1..=504));
}

#[tokio::test]
async fn a_push_asks_for_the_head_once_somebody_else_has_written_until_it_is_alone_again() {
    let database = Database::new();
    let (world, proxy) = watched(&database).await;
    let other = super::world(&database.options());
    world.apply(inserts(0, 1)).await;
    assert_eq!(proxy.take_names(), AT_ONCE);
    other.apply(inserts(1, 2)).await;
    world.apply(inserts(2, 3)).await;
    let after_a_miss: Vec<&str> =
        AT_ONCE[..3].iter().chain(&["abortTransaction"]).chain(&STEP_BY_STEP[2..]).copied().collect();
    assert_eq!(proxy.take_names(), after_a_miss, "the log ends somewhere else");
    other.apply(inserts(3, 4)).await;
    world.apply(inserts(4, 5)).await;
    assert_eq!(proxy.take_names(), STEP_BY_STEP, "the other one has written again");
    world.apply(inserts(5, 6)).await;
    assert_eq!(proxy.take_names(), STEP_BY_STEP, "it has not");
    world.apply(inserts(6, 7)).await;
    assert_eq!(proxy.take_names(), AT_ONCE, "nor now");
    let numbers: Vec<u64> = world.log().await.iter().map(|entry| entry.seq.get()).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_push_to_an_older_server_costs_a_transaction_of_four_or_five_commands() {
    let database = Database::new();
    let (world, proxy) = watched_in_guise(Guise::Older, &database).await;
    for (from, to) in [(0, 1), (1, 101)] {
        world.apply(inserts(from, to)).await;
        assert_eq!(proxy.take_names(), STEP_BY_STEP, "{} operations", to - from);
    }
    world.apply([update("later", "doc-0").clock(&[("a", 2)])]).await;
    assert_eq!(proxy.take_names(), ["find", "find", "findAndModify", "insert", "update", "commitTransaction"]);
    world.apply([update("last", "doc-0").clock(&[("a", 3)]), insert("new", "new")]).await;
    let both = ["find", "find", "findAndModify", "insert", "insert", "update", "commitTransaction"];
    assert_eq!(proxy.take_names(), both, "a new version and a new document");
}

#[tokio::test]
async fn a_server_that_refuses_bulk_writes_is_asked_for_one_once() {
    let database = Database::new();
    let (world, proxy) = watched_in_guise(Guise::HalfUpgraded, &database).await;
    world.apply(inserts(0, 1)).await;
    assert_eq!(proxy.take_names().iter().filter(|name| *name == "bulkWrite").count(), 1);
    world.apply(inserts(1, 2)).await;
    assert_eq!(proxy.take_names(), STEP_BY_STEP);
}

#[tokio::test]
async fn everything_else_costs_one_command_and_a_pull_with_news_a_second_to_note_them() {
    let database = Database::new();
    let (world, proxy) = watched(&database).await;
    world.apply(inserts(0, 10)).await;
    proxy.take_names();

    world.changes(None, 5).await;
    assert_eq!(proxy.take_names(), ["aggregate"], "a page of documents");
    world.changes(Some(Cursor::BEGINNING), 5).await;
    assert_eq!(proxy.take_names(), ["aggregate"], "a page of the log");
    world.since_of_nobody(0, 5).await;
    assert_eq!(proxy.take_names(), ["aggregate"], "a page by timestamp");
    world.document("doc-1").await;
    assert_eq!(proxy.take_names(), ["find"], "a document");
    world.query(&[("n", "1")]).await;
    assert_eq!(proxy.take_names(), ["find"], "a query");
    world.query(&[]).await;
    assert_eq!(proxy.take_names(), ["find"], "a query without conditions");
    world.stats().await;
    assert_eq!(proxy.take_names(), ["aggregate"], "statistics");
    world.store.check().await.expect("the store is there");
    assert_eq!(proxy.take_names(), ["find"], "a check");
    let tenants: Vec<TenantId> = (0..HEADS_MAX_TENANTS).map(|n| TenantId::literal(&format!("tenant-{n}"))).collect();
    world.store.heads(&tenants).await.expect("the newest places");
    assert_eq!(proxy.take_names(), ["find"], "the newest places of tenants");

    let pull = async |cursor| page_of(world.pull(PullFrom::Cursor(cursor), Some("me"), 20).await).cursor;
    let next = pull(None).await;
    assert_eq!(proxy.take_names(), ["aggregate", "update"], "a page that is to be noted");
    pull(next).await;
    assert_eq!(proxy.take_names(), ["aggregate"], "a page without news");
}
