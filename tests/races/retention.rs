//! Retention at the same moment as pushes and pulls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use syncflow_server::conformance::draft::{delete, insert, key, update};
use syncflow_server::conformance::replica::Replica;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::Outcome;
use syncflow_server::service::operator::Operator;

use super::site::{Client, Site};

const PULLERS: usize = 2;
const PUSHERS: usize = 3;
const PUSHES: u64 = 20;

/// Makes, changes and deletes two documents, together with the other pushers. Returns how many pushes were applied.
fn push(client: &Client<'_>) -> u64 {
    let name = format!("pusher-{}", client.number);
    let mut applied = 0;
    for push in 1..=PUSHES {
        let (id, document) = (format!("{name}-{push}"), format!("doc-{}", push % 2));
        let seen = client.document(&key(&document));
        let draft = match &seen {
            Some(seen) if !seen.is_deleted() && push % 3 == 0 => update(&id, &document),
            Some(seen) if !seen.is_deleted() => delete(&id, &document),
            _ => insert(&id, &document),
        };
        let mut operation = draft.client(&name).done();
        let mut clock = seen.map(|seen| seen.clock).unwrap_or_default();
        clock.set(operation.client_id.clone(), push);
        operation.clock = clock;
        match &client.push(&[operation])[..] {
            [Outcome::Applied] => applied += 1,
            [Outcome::Conflict(_)] => {}
            other => panic!("neither applied nor in conflict but {other:?}"),
        }
    }
    applied
}

/// Pulls a page. Returns whether there is more.
fn pull(client: &Client<'_>, replica: &mut Replica, cursor: &mut Option<Cursor>) -> bool {
    let page = client.pull_behind(*cursor, 3);
    replica.apply(&page.entries);
    *cursor = page.cursor;
    page.has_more
}

pub(super) fn pushers_and_pullers_lose_nothing_while_tombstones_and_ids_go(site: &Site) {
    // The server has seen the pullers before anything is removed, so it never tells them to start again.
    let begun = site.at_once_with_retention(PULLERS, |client| {
        let (mut replica, mut cursor) = (Replica::default(), None);
        assert!(!pull(&client, &mut replica, &mut cursor));
        (replica, cursor)
    });
    let pushing = AtomicUsize::new(PUSHERS);
    let ends = site.at_once_with_retention(PULLERS + PUSHERS + 1, |client| {
        let number = client.number;
        if (PULLERS..PULLERS + PUSHERS).contains(&number) {
            let applied = push(&client);
            pushing.fetch_sub(1, Ordering::SeqCst);
            return (applied, Replica::default());
        }
        let (mut replica, mut cursor) = begun.get(number).cloned().unwrap_or_default();
        let mut rows = 0;
        loop {
            let is_over = pushing.load(Ordering::SeqCst) == 0;
            let has_more = number < PULLERS && pull(&client, &mut replica, &mut cursor);
            if number == PULLERS + PUSHERS {
                rows += client.remove_old().expired.rows();
            }
            if is_over && !has_more {
                return (rows, replica);
            }
        }
    });
    let world = site.world();
    let applied: u64 = ends[PULLERS..PULLERS + PUSHERS].iter().map(|(applied, _)| applied).sum();
    assert_eq!(site.run(world.head()).position().seq.get(), applied, "an operation was lost, or took effect twice");
    let documents = site.run(Replica::of_server(&world));
    assert!(ends[..PULLERS].iter().all(|(_, replica)| *replica == documents), "{documents:?} {ends:?}");
    let verified = site.run(Operator::new(Arc::clone(&world.service)).verify(&world.tenant)).expect("the store works");
    assert_eq!(verified.findings, []);
    let last = site.at_once_with_retention(1, |client| {
        let (mut replica, mut cursor) = (Replica::default(), None);
        while pull(&client, &mut replica, &mut cursor) {}
        assert_eq!(replica, documents, "a client that starts from nothing has the same");
        client.remove_old().expired.rows()
    });
    assert!(ends[PULLERS + PUSHERS].0 + last[0] > 0, "nothing was removed");
}
