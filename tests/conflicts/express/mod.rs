//! Original clients whose Express server is replaced by this one while they work.
//!
//! The moment is between any two steps of any client. Some have pulled all and some half, some have edits that are not
//! pushed, and some have lost the answer to a push. They go on with the same databases and the same `since`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use syncflow_server::conformance::World;
use syncflow_server::conformance::world::query_of;
use syncflow_server::core::names::OperationId;
use syncflow_server::service::operator::{BadRows, ExpressImported, Operator};

use super::play::Cast;
use super::rule::Setting;
use super::server::Conflicts;
use super::wire::COLLECTION;
use super::{PlayKind, all_end_well};
use crate::operator::express::layout::{Express, Kind};
use crate::support::stores::for_each_store;

/// The answer of an Express server.
pub(super) async fn answer(express: &Express, path: &str, body: &Value) -> Value {
    match path {
        "/operations" => express.push(body["operations"].as_array().expect("operations")).await,
        "/changes" => {
            let limit = usize::try_from(body["limit"].as_u64().expect("a limit")).expect("a small one");
            express.pull(body["since"].as_u64().expect("a time"), limit).await
        }
        _ => json!({ "error": "not found" }),
    }
}

/// Removes operations of an Express server, as far as no test depends on them.
pub(super) async fn compact(express: &Express, before_ms: u64) {
    // On MongoDB it logs the delete of a document that it does not have. If that is compacted, nothing is left of it
    // for this server, but a client may show the delete.
    if let Express::Postgres { .. } = express {
        express.compact(before_ms).await;
    }
}

/// Imports all that an Express server has. The import is tried, ends somewhere, and begins again.
pub(super) async fn take_over(express: &Express, world: &World, mut choose: impl FnMut(usize) -> usize) {
    let operator = Operator::new(Arc::clone(&world.service));
    let tried = import(&operator, express, world, true).await;
    assert_eq!(world.log().await, [], "a dry run writes nothing");
    let mut part = operator.import_express(&world.tenant, express.source(), BadRows::Stop, false);
    for _ in 0..choose(6) {
        if part.next().await.expect("it is imported").is_none() {
            break;
        }
    }
    part.finish().await.expect("it writes what it has read");
    let imported = import(&operator, express, world, false).await;
    assert_eq!(imported.documents + imported.present_documents, tried.documents);
    assert_eq!((imported.bad_rows, imported.completed_documents), (0, tried.completed_documents));
    let again = import(&operator, express, world, false).await;
    assert_eq!((again.documents, again.present_documents), (0, tried.documents));
    let known = world.store.operation_ids(&world.tenant, None, 10_000).await.expect("the ids are read");
    let known: BTreeSet<&str> = known.iter().map(OperationId::as_str).collect();
    let ids = express.ids().await;
    assert!(ids.iter().all(|id| known.contains(id.as_str())), "{ids:?} are not all in {known:?}");
    let log = world.log().await;
    assert!(log.iter().all(|entry| !ids.contains(&entry.id.to_string())), "no operation takes effect again");
    if imported.completed_documents == 0 {
        assert_eq!(documents(world).await, express.documents().await);
    }
    let verified = operator.verify(&world.tenant).await.expect("the store works");
    assert_eq!((verified.findings, verified.is_complete), (vec![], true));
}

async fn import(operator: &Operator, express: &Express, world: &World, is_dry_run: bool) -> ExpressImported {
    let mut import = operator.import_express(&world.tenant, express.source(), BadRows::Stop, is_dry_run);
    while let Some(bad) = import.next().await.expect("it is imported") {
        assert_eq!(bad, []);
    }
    import.finish().await.expect("nobody uses the Express server")
}

/// The documents of this server as those of an Express server.
async fn documents(world: &World) -> BTreeMap<(String, String), Value> {
    let page = world.service.query(&world.tenant, query_of(COLLECTION, &[])).await.expect("a page");
    let document = |found: &syncflow_server::core::document::LiveDocument| {
        let key = (found.key.collection.to_string(), found.key.id.to_string());
        (key, serde_json::from_str(found.data.as_str()).expect("data is JSON"))
    };
    page.documents.iter().map(document).collect()
}

fn settled(kind: Kind) -> impl Fn(u64) -> PlayKind {
    move |seed| {
        let conflicts = Conflicts::TakenOver(kind, Some(Setting::of(seed)));
        PlayKind { conflicts, cast: Cast::Everything, bug: None }
    }
}

fn rejected(kind: Kind) -> impl Fn(u64) -> PlayKind {
    move |_| PlayKind { conflicts: Conflicts::TakenOver(kind, None), cast: Cast::Private, bug: None }
}

for_each_store!([memory: 60, sqlite: 12, postgres: 12, mongodb: 4] {
    use super::{Kind, all_end_well, rejected, settled};

    #[test]
    fn clients_of_an_express_server_on_postgresql_go_on_under_every_policy() {
        all_end_well(open, CASES.into(), settled(Kind::Postgres));
    }

    #[test]
    fn clients_of_an_express_server_on_postgresql_that_share_nothing_go_on_without_a_policy() {
        all_end_well(open, u64::from(CASES) / 2, rejected(Kind::Postgres));
    }

    #[test]
    fn clients_of_an_express_server_on_mongodb_go_on_under_every_policy() {
        all_end_well(open, u64::from(CASES) / 4, settled(Kind::Mongo));
    }

    #[test]
    fn clients_of_an_express_server_on_mongodb_that_share_nothing_go_on_without_a_policy() {
        all_end_well(open, u64::from(CASES) / 4, rejected(Kind::Mongo));
    }
});
