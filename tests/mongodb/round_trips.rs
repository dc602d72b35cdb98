//! How often the store speaks to the server, and what for.

use syncflow_server::core::cursor::Origin;
use syncflow_server::core::names::ClientId;
use syncflow_server::store::conformance::draft::{Draft, insert, update};
use syncflow_server::store::{Changes, ChangesRequest, Seen};

use super::watched;
use crate::support::mongo::Database;

fn inserts(from: u64, to: u64) -> Vec<Draft> {
    (from..to).map(|number| insert(&format!("op-{number}"), &format!("doc-{number}")).at(number + 1)).collect()
}

#[tokio::test]
async fn a_push_costs_two_commands_to_load_and_a_transaction_of_four_whatever_its_size() {
    let database = Database::new();
    let (world, proxy) = watched(&database).await;
    for (from, to) in [(0, 1), (1, 101), (101, 601)] {
        world.apply(inserts(from, to)).await;
        let expected = ["find", "find", "findAndModify", "insert", "insert", "commitTransaction"];
        assert_eq!(proxy.take_names(), expected, "{} operations", to - from);
    }
    world.apply([update("later", "doc-0").clock(&[("a", 2)])]).await;
    assert_eq!(proxy.take_names(), ["find", "find", "findAndModify", "insert", "update", "commitTransaction"]);
    world.push(inserts(0, 3)).await;
    assert_eq!(proxy.take_names(), ["find", "find"], "what is known");
}

#[tokio::test]
async fn everything_else_costs_one_command_and_a_pull_with_news_a_second_to_note_them() {
    let database = Database::new();
    let (world, proxy) = watched(&database).await;
    world.apply(inserts(0, 10)).await;
    proxy.take_names();

    world.changes(Origin::Nothing, 5).await;
    assert_eq!(proxy.take_names(), ["aggregate"], "a page of documents");
    world.changes(Origin::Beginning, 5).await;
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

    let seen = Seen { client_id: ClientId::trusted("me"), now_ms: 5 };
    let request = |origin| ChangesRequest { origin, max_operations: 20, seen: Some(seen.clone()) };
    let pull = async |origin| match world.store.changes(&world.tenant, request(origin)).await {
        Ok(Changes::Page(page)) => page.next,
        other => panic!("no page but {other:?}"),
    };
    let next = pull(Origin::Beginning).await;
    assert_eq!(proxy.take_names(), ["aggregate", "update"], "a page that is to be noted");
    pull(Origin::Cursor(next)).await;
    assert_eq!(proxy.take_names(), ["aggregate"], "a page without news");
}
