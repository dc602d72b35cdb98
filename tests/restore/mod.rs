//! A database is restored from a backup. Clients that saw the lost operations are told so, and then converge.

mod running;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{Draft, delete, insert, update};
use syncflow_server::conformance::replica::Replica;
use syncflow_server::core::clock::{Relation, VectorClock};
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::names::{DocumentId, OperationId};
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::core::operation::LogEntry;
use syncflow_server::service::{PullFrom, Pulled};
use syncflow_server::store::Store;
use syncflow_server::store::mongodb::{MongoOptions, MongoStore};
use syncflow_server::store::postgres::{PostgresOptions, PostgresStore};

use crate::support::mongo_server::MongoServer;
use crate::support::postgres_server::PostgresServer;
use crate::support::processes::run;
use crate::support::stores::open_sqlite;

fn world(store: Arc<dyn Store>) -> World {
    World::new(store)
}

/// The operations before the backup.
async fn before(world: &World) {
    world
        .apply([
            insert("op-1", "doc-1").data(r#"{"a":1}"#),
            insert("op-2", "doc-2"),
            insert("op-0", "shared").data(r#"{"by":"ann"}"#).clock(&[("ann", 1)]),
            insert("op-20", "deleted").clock(&[("ann", 1)]),
            insert("op-21", "contested").clock(&[("ann", 1)]),
        ])
        .await;
}

/// A client of the original protocol: it knows the greatest timestamp that it was sent, and the ids.
#[derive(Default)]
struct OriginalClient {
    since: UnixMs,
    ids: HashSet<OperationId>,
}

impl OriginalClient {
    /// Pulls pages of two operations until one is empty.
    async fn pull(&mut self, world: &World) {
        for _ in 0..1_000 {
            let page = world.since("original", self.since, 2).await;
            if page.entries.is_empty() {
                return;
            }
            self.since = page.entries.iter().map(|entry| entry.timestamp).fold(self.since, UnixMs::max);
            self.ids.extend(page.entries.into_iter().map(|entry| entry.id));
        }
        panic!("the pages do not end");
    }
}

/// A client that follows docs/writing-a-client.md: it keeps documents with their clocks.
#[derive(Default)]
struct Careful {
    replica: Replica,
    clocks: BTreeMap<DocumentId, VectorClock>,
}

impl Careful {
    fn apply(&mut self, entries: &[LogEntry]) {
        self.replica.apply(entries);
        for entry in entries {
            let clock = VectorClock::parse(entry.clock.as_str()).expect("a clock");
            self.clocks.insert(entry.key.id.clone(), clock);
        }
    }

    /// Starts from nothing after a 410, and pushes what the server has lost. Returns the documents in conflict, and
    /// takes the server's side of them.
    async fn start_again(&mut self, world: &World) -> Vec<String> {
        let mut new = Self::default();
        new.apply(&world.page(None, 100).await.entries);
        let (mut lost, mut contested) = (Vec::new(), Vec::new());
        for (id, clock) in &self.clocks {
            match new.clocks.get(id).map(|theirs| clock.compare(theirs)) {
                None | Some(Relation::HappensAfter) => lost.push(self.again(id)),
                Some(Relation::Concurrent) => contested.push(id.as_str().to_owned()),
                Some(Relation::HappensBefore | Relation::Equal) => {}
            }
        }
        let ids: Vec<String> = lost.iter().map(|(id, _)| id.clone()).collect();
        let outcomes = world.push(lost.into_iter().map(|(_, draft)| draft)).await;
        let conflicts = ids.into_iter().zip(outcomes).filter(|(_, outcome)| matches!(outcome, Outcome::Conflict(_)));
        contested.extend(conflicts.map(|(id, _)| id));
        *self = Self::default();
        self.apply(&world.page(None, 100).await.entries);
        contested
    }

    /// The document as this client has it, as an operation with its clock.
    fn again(&self, id: &DocumentId) -> (String, Draft) {
        let counters: Vec<(&str, u64)> =
            self.clocks[id].iter().map(|(client, count)| (client.as_str(), count)).collect();
        let (operation, document) = (format!("again-{id}"), id.as_str());
        let draft = match self.replica.documents().find(|(other, _)| *other == id) {
            Some((_, data)) => insert(&operation, document).data(data),
            None => delete(&operation, document),
        };
        (document.to_owned(), draft.clock(&counters))
    }
}

/// The clients that have seen the lost operations.
struct Clients {
    careful: Careful,
    place: PullFrom,
    original: OriginalClient,
}

/// The operations after the backup, which are lost. Returns clients that have seen them.
async fn lost_future(world: &World) -> Clients {
    let mut careful = Careful::default();
    let page = world.page(None, 100).await;
    careful.apply(&page.entries);
    world
        .apply([
            update("op-3", "doc-1").data(r#"{"lost":1}"#),
            delete("op-4", "doc-2"),
            insert("op-5", "doc-5"),
            update("op-10", "shared").data(r#"{"and":"bob"}"#).clock(&[("ann", 1), ("bob", 1)]),
            insert("op-11", "held").data(r#"{"only":"here"}"#).clock(&[("ann", 2)]),
            insert("op-12", "dropped").clock(&[("ann", 3)]),
            delete("op-22", "deleted").clock(&[("ann", 2)]),
            update("op-23", "contested").data(r#"{"lost":1}"#).clock(&[("bob", 1), ("ann", 1)]),
        ])
        .await;
    let page = world.page(page.cursor, 100).await;
    careful.apply(&page.entries);
    assert_eq!(careful.replica, Replica::of_server(world).await);
    let mut original = OriginalClient::default();
    original.pull(world).await;
    assert_eq!(original.ids.len(), 13);
    Clients { careful, place: PullFrom::Cursor(page.cursor), original }
}

/// The operations after the restore. The log becomes as long as the lost one or longer, so its length does not reveal
/// the loss.
async fn other_future(world: &World, Clients { mut careful, place, mut original }: Clients) {
    assert_eq!(
        world.pull(place.clone(), None, 100).await,
        Pulled::Reset,
        "the log is shorter than what the client has"
    );
    let others = [
        update("op-6", "doc-1").data(r#"{"new":1}"#),
        insert("op-7", "doc-7"),
        insert("op-8", "doc-8"),
        insert("op-13", "dropped").clock(&[("eve", 1)]),
        delete("op-14", "dropped").clock(&[("eve", 2)]),
        insert("op-15", "doc-15"),
        update("op-24", "contested").data(r#"{"new":1}"#).clock(&[("eve", 1), ("ann", 1)]),
        insert("op-25", "doc-25"),
    ];
    world.apply(others).await;
    assert_eq!(world.pull(place.clone(), None, 100).await, Pulled::Reset, "the log is as long as the lost one");
    world.apply([insert("op-9", "doc-9")]).await;
    assert_eq!(world.pull(place.clone(), None, 100).await, Pulled::Reset, "the log is longer");
    original.pull(world).await;
    let missing: Vec<_> = world.log().await.into_iter().filter(|entry| !original.ids.contains(&entry.id)).collect();
    assert!(missing.is_empty(), "a client of the original protocol misses {missing:?}");
    world.compact(0).await;
    assert_eq!(world.pull(place, None, 100).await, Pulled::Reset, "history was compacted");

    let documents = Replica::of_server(world).await;
    assert_ne!(careful.replica, documents);
    let mut again = Replica::default();
    again.pull_everything(world, None, 2).await;
    assert_eq!(again, documents);
    // A lost operation may come again from a client that still has it. It takes effect then.
    world.apply([insert("op-5", "doc-5")]).await;

    let conflicts = careful.start_again(world).await;
    assert_eq!(conflicts, ["contested", "dropped"], "both were changed after the restore");
    assert_eq!(careful.replica, Replica::of_server(world).await);
    let data = |id: &str| {
        let document = careful.replica.documents().find(|(document, _)| document.as_str() == id);
        document.map(|(_, data)| data.to_owned())
    };
    assert_eq!(data("held").as_deref(), Some(r#"{"only":"here"}"#), "a document that only a client still had");
    assert_eq!(data("shared").as_deref(), Some(r#"{"by":"ann","and":"bob"}"#), "an edit that only a client still had");
    assert_eq!(data("doc-1").as_deref(), Some(r#"{"a":1,"new":1}"#), "the server's document is as new");
    assert_eq!(data("deleted"), None, "a delete that only a client still had");
    assert_eq!((data("dropped"), data("contested").as_deref()), (None, Some(r#"{"new":1}"#)));
}

fn copy(from: &Path, to: &Path) {
    run(std::process::Command::new("cp").arg("-a").arg(from).arg(to));
}

#[tokio::test]
async fn clients_from_a_lost_future_of_sqlite_start_again_and_converge() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, backup) = (directory.path().join("syncflow.db"), directory.path().join("backup.db"));
    {
        let world = world(open_sqlite(&file));
        before(&world).await;
    }
    copy(&file, &backup);
    let client = {
        let world = world(open_sqlite(&file));
        lost_future(&world).await
    };
    copy(&backup, &file);
    other_future(&world(open_sqlite(&file)), client).await;
}

#[tokio::test]
async fn clients_from_a_lost_future_of_postgres_start_again_and_converge() {
    let mut server = PostgresServer::start(&[]).await;
    let open = |server: &PostgresServer| -> World {
        world(Arc::new(PostgresStore::new(&PostgresOptions::new(&server.url())).expect("the options are right")))
    };
    before(&open(&server)).await;
    server.stop("INT");
    let (data, backup) = (server.directory().join("data"), server.directory().join("backup"));
    copy(&data, &backup);
    server.start_again().await;
    let client = lost_future(&open(&server)).await;
    server.stop("INT");
    std::fs::remove_dir_all(&data).expect("the lost future can be removed");
    copy(&backup, &data);
    server.start_again().await;
    other_future(&open(&server), client).await;
}

#[tokio::test]
async fn clients_from_a_lost_future_of_mongodb_start_again_and_converge() {
    let mut server = MongoServer::start().await;
    let open = |server: &MongoServer| -> World {
        world(Arc::new(MongoStore::new(&MongoOptions::new(&server.uri())).expect("the options are right")))
    };
    before(&open(&server)).await;
    server.kill();
    let kept = tempfile::tempdir().expect("a directory");
    let (data, backup) = (server.directory().to_owned(), kept.path().join("backup"));
    copy(&data, &backup);
    server.start_again().await;
    let client = lost_future(&open(&server)).await;
    server.kill();
    std::fs::remove_dir_all(&data).expect("the lost future can be removed");
    copy(&backup, &data);
    server.start_again().await;
    other_future(&open(&server), client).await;
}
