//! Random histories move from every store to every other, and no client loses anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::test_runner::TestCaseResult;
use proptest::{prop_assert, prop_assert_eq};
use syncflow_server::conformance::World;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::resolution_id;
use syncflow_server::core::document::Document;
use syncflow_server::core::feed::Feed;
use syncflow_server::core::names::{DocumentKey, OperationId};
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::service::operator::Operator;
use syncflow_server::service::{PullFrom, Pulled};

use crate::properties::history::{CLIENTS, Step, histories};
use crate::properties::subject::Subject;
use crate::support::random::for_random;
use crate::support::runtime;
use crate::support::stores::{self, TestStore, for_each_store};

const MAX_STEPS: usize = 30;

/// The documents of a tenant with everything that belongs to them, ordered by key.
async fn documents(world: &World) -> Vec<(DocumentKey, Document)> {
    let mut cursor = Cursor::BEGINNING;
    let mut documents = Vec::new();
    loop {
        let page = world.changes_of(&Feed::DOCUMENTS, Some(cursor), 100).await;
        for entry in page.entries {
            let state = world.service.document_state(&world.tenant, &entry.key).await.expect("the state is read");
            documents.push((entry.key, state.expect("it is there")));
        }
        cursor = page.next;
        if !page.has_more {
            documents.sort_by(|(left, _), (right, _)| left.cmp(right));
            return documents;
        }
    }
}

async fn known_ids(world: &World) -> Vec<OperationId> {
    world.store.operation_ids(&world.tenant, None, 10_000).await.expect("the ids are read")
}

async fn sound(world: &World) -> TestCaseResult {
    let verified = Operator::new(Arc::clone(&world.service)).verify(&world.tenant).await.expect("the store works");
    prop_assert_eq!((&verified.findings, verified.is_complete, verified.are_counters_checked), (&vec![], true, true));
    Ok(())
}

/// Copies a tenant from one store to another. The import is killed after so many lines and begins again.
async fn copy(from: &World, to: &World, killed_after: usize) {
    let mut export = Operator::new(Arc::clone(&from.service)).export(&from.tenant);
    let mut lines = Vec::new();
    while let Some(more) = export.next().await.expect("the store works") {
        lines.extend(more);
    }
    let operator = Operator::new(Arc::clone(&to.service));
    let mut killed = operator.import(&to.tenant, false);
    for line in lines.iter().take(killed_after) {
        killed.line(line).await.expect("it is imported");
    }
    drop(killed);
    let mut import = operator.import(&to.tenant, false);
    for line in &lines {
        import.line(line).await.expect("it is imported");
    }
    import.finish().await.expect("it is whole");
}

/// The documents of a client that continues at a cursor of the old store, and of one that starts from nothing.
async fn pulled(world: &World, cursor: Option<Cursor>) -> Option<BTreeSet<DocumentKey>> {
    let mut keys = BTreeSet::new();
    let mut from = cursor;
    loop {
        let Pulled::Page(page) = world.pull(PullFrom::Cursor(from), None, 3).await else { return None };
        for entry in &page.entries {
            if entry.data().is_some() {
                keys.insert(entry.key.clone())
            } else {
                keys.remove(&entry.key)
            };
        }
        from = page.cursor;
        if !page.has_more {
            return Some(keys);
        }
    }
}

/// The operations that an original client gets, from the `since` that it had at the old store, until a page is empty.
async fn since(world: &World, client: &str, since: UnixMs) -> BTreeSet<OperationId> {
    let (mut since, mut seen) = (since, BTreeSet::new());
    for _ in 0..1_000 {
        let page = world.since(client, since, 3).await;
        let Some(greatest) = page.entries.iter().map(|entry| entry.timestamp).max() else { return seen };
        seen.extend(page.entries.into_iter().map(|entry| entry.id));
        since = greatest;
    }
    panic!("the pages do not end");
}

async fn moves(from: &World, to: &World, history: &[Step]) -> TestCaseResult {
    let mut subject = Subject::new(from.clone());
    let mut heads = Vec::new();
    for step in history {
        subject.step(step).await;
        heads.push(from.head().await);
    }
    // The `since` that each client was given at the old store.
    let mut sinces = Vec::new();
    for client in CLIENTS {
        let page = from.since(client, 0, 3).await;
        sinces.extend(page.entries.iter().map(|entry| entry.timestamp).max().map(|since| (client, since)));
    }
    sound(from).await?;
    copy(from, to, history.len()).await;
    prop_assert_eq!(documents(to).await, documents(from).await);
    prop_assert_eq!(known_ids(to).await, known_ids(from).await);
    sound(to).await?;

    let live: BTreeSet<DocumentKey> =
        documents(to).await.into_iter().filter(|(_, document)| !document.is_deleted()).map(|(key, _)| key).collect();
    let from_nothing = pulled(to, None).await;
    prop_assert_eq!(from_nothing, Some(live), "a client that starts from nothing");
    let log: BTreeSet<OperationId> = to.log().await.into_iter().map(|entry| entry.id).collect();
    for head in heads {
        // A place of the old log has the same fingerprint only if the same operations lead to it.
        let is_reset = to.pull(PullFrom::Cursor(Some(head)), None, 3).await == Pulled::Reset;
        let before = head.position().seq;
        let same = to.log().await.into_iter().filter(|entry| entry.seq <= before).map(|entry| entry.id);
        let same: BTreeSet<OperationId> = same.collect();
        // The list has the ids of operations as they were pushed.
        let known = known_ids(to).await.into_iter();
        let at_head: BTreeSet<OperationId> = known.flat_map(|id| [resolution_id(&id), id]).collect();
        prop_assert!(is_reset || same.len() as u64 == before.get() && same.is_subset(&at_head), "{}", head);
    }
    for (client, number) in sinces {
        let got = since(to, client, number).await;
        prop_assert!(log.is_subset(&got), "{} from {} misses {:?}", client, number, log.difference(&got));
    }
    Ok(())
}

fn random_histories_move_to_every_store(cases: u32, open: impl AsyncFn() -> TestStore) {
    let runtime = runtime();
    let (home, targets) = runtime.block_on(async {
        let targets =
            [stores::memory().await, stores::sqlite().await, stores::postgres().await, stores::mongodb().await];
        (open().await, targets)
    });
    for_random(cases, &histories(MAX_STEPS), |history| {
        for target in &targets {
            runtime.block_on(async {
                let from = World::new(home.store()).as_tenant(&home.next_name());
                let to = World::new(target.store()).as_tenant(&target.next_name());
                moves(&from, &to, &history).await
            })?;
        }
        Ok(())
    });
}

for_each_store!([memory: 20, sqlite: 8, postgres: 8, mongodb: 3] {
    #[test]
    fn random_histories_move_to_every_store() {
        super::random_histories_move_to_every_store(CASES, open);
    }
});
