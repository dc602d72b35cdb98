//! The needs of an operator: the whole log, transfers, and erasing.

use super::super::draft::{delete, insert, inserts, key, update};
use super::super::world::{World, ids};
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::Outcome;
use crate::core::decide::owners::ClientOwner;
use crate::core::decide::quota::Usage;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, OperationId, Subject};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::operation::LogEntry;
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::limits::protocol::PAGE_MAX_BYTES;
use crate::store::{
    Audit, Changes, ChangesRequest, ClientCounts, ClientRow, Commit, Erased, Lesson, LoadRequest, NewMemory, Remember,
    ScrubStep, Stats,
};

/// More rows than any check has.
const ALL: usize = 10_000;

async fn audit(world: &World, after: u64, max_entries: usize) -> Audit {
    world.store.audit(&world.tenant, Seq::new(after), max_entries).await.expect("the log is read")
}

async fn known_ids(world: &World, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(OperationId::literal);
    let ids = world.store.operation_ids(&world.tenant, after.as_ref(), limit).await.expect("the ids are read");
    ids.iter().map(OperationId::to_string).collect()
}

async fn client_rows(world: &World, after: Option<&str>, limit: usize) -> Vec<ClientRow> {
    let after = after.map(ClientId::literal);
    world.store.client_rows(&world.tenant, after.as_ref(), limit).await.expect("the clients are read")
}

async fn learn(world: &World, ids: &[&str], owners: &[(&str, Option<&str>, u64)]) {
    let owner = |(client, subject, counter): &(&str, Option<&str>, u64)| {
        let owner = ClientOwner { subject: subject.map(Subject::literal), counter: *counter };
        (ClientId::literal(client), owner)
    };
    let lesson = Lesson {
        ids: ids.iter().map(|id| OperationId::literal(id)).collect(),
        owners: owners.iter().map(owner).collect(),
    };
    world.store.learn(&world.tenant, lesson).await.expect("it is learned");
}

async fn erase(world: &World, max_rows: usize) -> Erased {
    world.store.erase_tenant(&world.tenant, max_rows).await.expect("a step is done")
}

/// Erases in steps and returns the sum of all of them.
async fn erase_all(world: &World, max_rows: usize) -> Erased {
    let mut all = Erased::default();
    loop {
        let step = erase(world, max_rows).await;
        assert!(step.documents + step.entries + step.ids + step.clients <= 2 * max_rows as u64, "{step:?}");
        all.documents += step.documents;
        all.entries += step.entries;
        all.ids += step.ids;
        all.clients += step.clients;
        if step.is_finished {
            return Erased { is_finished: true, ..all };
        }
    }
}

/// Every entry comes with its fingerprint, its time of reception and its subject, and the head with its counters.
pub async fn an_audit_has_the_log_with_all_that_is_kept_of_it(world: &World) {
    assert_eq!(audit(world, 0, ALL).await.entries, []);
    world.apply([insert("op-1", "doc-1").data(r#"{"n":1}"#), update("op-2", "doc-1").data(r#"{"m":2}"#)]).await;
    world.host.advance_ms(5);
    let mut batch = world.decide([insert("op-3", "doc-2"), delete("op-4", "doc-2")]).await;
    batch.subjects = vec![Some(Subject::literal("ann")), None];
    assert_eq!(world.commit(batch).await, Commit::Done);
    let whole = audit(world, 0, ALL).await;
    let log = world.log().await;
    assert_eq!(whole.entries.len(), 4);
    let mut fingerprint = Fingerprint::START;
    for (found, entry) in whole.entries.iter().zip(&log) {
        fingerprint = fingerprint.extended(&entry.id);
        assert_eq!((found.fingerprint, found.is_id_known), (fingerprint, true));
        let without_subject = LogEntry { subject: None, ..found.entry.clone() };
        assert_eq!(without_subject, *entry);
    }
    let times: Vec<u64> = whole.entries.iter().map(|entry| entry.received_at_ms.get()).collect();
    let first = times[0];
    assert_eq!(times, [first, first, first + 5, first + 5]);
    let subjects: Vec<_> = whole.entries.iter().map(|entry| entry.entry.subject.clone()).collect();
    assert_eq!(subjects, [None, None, Some(Subject::literal("ann")), None]);
    assert_eq!(whole.head.position, Position { seq: Seq::new(4), fingerprint });
    assert_eq!(whole.fingerprint_before, Some(Fingerprint::START));
    let Stats { operations, documents, .. } = world.stats().await;
    let counters = whole.counters;
    assert_eq!((counters.operations, counters.documents), (operations, documents));
    assert_eq!((counters.bytes, counters.received_at_ms.get()), (world.usage().await.bytes, first + 5));
    let rest = audit(world, 2, 1).await;
    assert_eq!(rest.entries, whole.entries[2..3]);
    assert_eq!(rest.fingerprint_before, Some(whole.entries[1].fingerprint));
    let none = audit(world, 4, ALL).await;
    assert_eq!((none.entries.len(), none.fingerprint_before), (0, Some(fingerprint)));
    assert_eq!(audit(world, 9, ALL).await.fingerprint_before, None);
}

/// The remains of compacted entries are passed over, but for the fingerprints.
pub async fn an_audit_begins_after_the_horizon(world: &World) {
    world.apply(inserts(3)).await;
    let before = audit(world, 0, ALL).await;
    world.compact(0).await;
    world.apply([insert("op-4", "doc-4")]).await;
    let after = audit(world, 0, ALL).await;
    assert_eq!((after.head.horizon, after.counters.operations), (Seq::new(3), 1));
    assert_eq!(after.entries.iter().map(|entry| entry.entry.seq.get()).collect::<Vec<_>>(), [4]);
    let within = audit(world, 2, ALL).await;
    assert_eq!((within.entries.len(), within.fingerprint_before), (1, Some(before.entries[1].fingerprint)));
    let behind = audit(world, 3, ALL).await;
    assert_eq!((behind.entries.len(), behind.fingerprint_before), (1, Some(before.entries[2].fingerprint)));
}

/// A page has so many entries and bytes, and at least one entry.
pub async fn an_audit_is_bounded_in_entries_and_bytes(world: &World) {
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(900_000));
    for number in 1..=6 {
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}")).data(&text)]).await;
    }
    let numbers = async |after, max_entries| -> Vec<u64> {
        audit(world, after, max_entries).await.entries.iter().map(|entry| entry.entry.seq.get()).collect()
    };
    assert_eq!(numbers(0, 2).await, [1, 2]);
    let page = numbers(0, ALL).await;
    assert!(!page.is_empty() && page.len() * 900_000 <= PAGE_MAX_BYTES, "{page:?}");
    let mut all = page;
    while let Some(last) = all.last().copied().filter(|last| *last < 6) {
        all.extend(numbers(last, ALL).await);
    }
    assert_eq!(all, [1, 2, 3, 4, 5, 6]);
}

/// Compacted or not, ids are listed in pages.
pub async fn known_ids_are_listed_in_the_order_of_their_bytes(world: &World) {
    assert_eq!(known_ids(world, None, ALL).await, Vec::<String>::new());
    for id in ["b", "a", "é", "B", "ab"] {
        world.apply([insert(id, id)]).await;
    }
    world.compact(0).await;
    world.apply([insert("c", "c")]).await;
    learn(world, &["aa"], &[]).await;
    let all = ["B", "a", "aa", "ab", "b", "c", "é"];
    assert_eq!(known_ids(world, None, ALL).await, all);
    assert_eq!(known_ids(world, None, 2).await, all[..2]);
    assert_eq!(known_ids(world, Some("a"), 3).await, all[2..5]);
    assert_eq!(known_ids(world, Some("é"), 3).await, Vec::<String>::new());
    assert_eq!(known_ids(&world.as_tenant("other"), None, ALL).await, Vec::<String>::new());
}

/// A client may have an owner, a memory, or both.
pub async fn clients_and_owners_are_listed_together(world: &World) {
    world.apply(inserts(2)).await;
    let (ann, progress) = (Subject::literal("ann"), Progress { pulled_seq: Seq::new(1), seen_at_ms: UnixMs::new(9) });
    for client in ["a", "c"] {
        world.store.claim(&world.tenant, &ClientId::literal(client), &ann).await.expect("it is claimed");
    }
    for client in ["b", "c"] {
        world.store.note_pulled(&world.tenant, &ClientId::literal(client), progress).await.expect("it is noted");
    }
    world.since("d", 0, 9).await;
    let places = world.memory("d").await.expect("it is remembered").places;
    let owner = || Some(ClientOwner { subject: Some(ann.clone()), counter: 0 });
    let rows = client_rows(world, None, ALL).await;
    let shapes: Vec<_> = rows.iter().map(|row| (row.client_id.as_str(), row.owner.clone())).collect();
    assert_eq!(shapes, [("a", owner()), ("b", None), ("c", owner()), ("d", None)]);
    let pulls: Vec<_> = rows.iter().map(|row| row.pulls.clone()).collect();
    assert_eq!(pulls[..3], [None, Some((progress, Places::default())), Some((progress, Places::default()))]);
    assert_eq!(pulls[3].as_ref().map(|(_, places)| places), Some(&places));
    for limit in 0..=4 {
        assert_eq!(client_rows(world, None, limit).await, rows[..limit], "{limit}");
    }
    assert_eq!(client_rows(world, Some("b"), 1).await, rows[2..3]);
    assert_eq!(client_rows(&world.as_tenant("other"), None, ALL).await, []);
}

/// A known id is a duplicate, as if its operation had taken effect.
pub async fn what_is_learned_is_known_and_has_no_entry(world: &World) {
    world.apply([insert("op-1", "doc-1")]).await;
    let (log, stats, usage) = (world.log().await, world.stats().await, world.usage().await);
    let batch = world.decide([insert("old-2", "doc-3")]).await;
    for _ in 0..2 {
        learn(world, &["old-1", "op-1", "old-2"], &[]).await;
        assert_eq!((world.log().await, world.stats().await, world.usage().await), (log.clone(), stats, usage));
    }
    assert_eq!(world.push([insert("old-1", "doc-2")]).await, [Outcome::Duplicate]);
    assert_eq!(world.data("doc-2").await, None);
    assert_eq!(world.commit(batch).await, Commit::Contended, "it was learned since the decision");
    let other = world.as_tenant("other");
    assert_eq!(other.push([insert("old-1", "doc-2")]).await, [Outcome::Applied]);
    world.compact(0).await;
    assert_eq!(known_ids(world, None, ALL).await, ["old-1", "old-2", "op-1"]);
}

/// Ids alone make no log.
pub async fn a_tenant_that_has_only_learned_can_be_written_to(world: &World) {
    learn(world, &["old-1"], &[("a", Some("ann"), 4)]).await;
    assert_eq!(world.store.tenants(None, 9).await.expect("they are listed"), []);
    assert_eq!(world.page(None, 9).await.entries, []);
    world.apply([insert("op-1", "doc-1")]).await;
    assert_eq!(world.push([insert("old-1", "doc-2")]).await, [Outcome::Duplicate]);
    assert_eq!(ids(&world.log().await), ["op-1"]);
    assert_eq!(known_ids(world, None, ALL).await, ["old-1", "op-1"]);
}

/// The greater counter and the first subject stay.
pub async fn owners_that_are_learned_take_nothing_from_others(world: &World) {
    world.apply(inserts(1)).await;
    world.store.claim(&world.tenant, &ClientId::literal("a"), &Subject::literal("ann")).await.expect("it is claimed");
    learn(world, &[], &[("a", Some("bob"), 7), ("b", None, 3), ("c", Some("cleo"), 0)]).await;
    learn(world, &[], &[("a", None, 2), ("b", Some("bob"), 1), ("c", None, 0)]).await;
    let request = LoadRequest { client_ids: ["a", "b", "c"].map(ClientId::literal).into(), ..LoadRequest::default() };
    let owners = world.store.load(&world.tenant, request).await.expect("the store loads").owners;
    let owner = |client: &str| owners.get(&ClientId::literal(client)).cloned().expect("there is one");
    let expected = |subject: &str, counter| ClientOwner { subject: Some(Subject::literal(subject)), counter };
    assert_eq!((owner("a"), owner("b")), (expected("ann", 7), expected("bob", 3)));
    assert_eq!(owner("c"), expected("cleo", 0));
    let counts = world.store.count_clients(&world.tenant, 9).await.expect("they are counted");
    assert_eq!(counts, ClientCounts { remembered: 0, owned: 3 });
}

/// Other documents and parts keep their data, and numbers, ids and fingerprints stay.
pub async fn data_are_overwritten_in_a_part_of_the_log(world: &World) {
    let secret = r#"{"secret":"é"}"#;
    world.apply([insert("op-1", "doc-1").data(secret), insert("op-2", "doc-2").data(secret)]).await;
    world.apply([update("op-3", "doc-1").data(secret), update("op-4", "doc-1"), delete("op-5", "doc-1")]).await;
    world.apply([insert("op-6", "doc-1").data(secret)]).await;
    let (before, head, bytes) = (world.log().await, world.head().await, world.usage().await.bytes);
    let scrub = async |after, up_to| {
        let step = ScrubStep { key: key("doc-1"), after: Seq::new(after), up_to: Seq::new(up_to) };
        world.store.scrub(&world.tenant, step).await.expect("it is scrubbed")
    };
    assert_eq!((scrub(3, 4).await, scrub(0, 1).await, scrub(0, 5).await, scrub(0, 5).await), (0, 1, 1, 0));
    let data: Vec<_> =
        world.log().await.iter().map(|entry| entry.data().map(|data| data.as_str().to_owned())).collect();
    let (secret, nothing) = (Some(secret.to_owned()), Some("{}".to_owned()));
    assert_eq!(data, [nothing.clone(), secret.clone(), nothing.clone(), nothing, None, secret]);
    let kinds = |log: &[LogEntry]| log.iter().map(LogEntry::kind).collect::<Vec<_>>();
    assert_eq!((kinds(&world.log().await), world.head().await), (kinds(&before), head));
    assert_eq!(world.usage().await.bytes, bytes - 2 * (r#"{"secret":"é"}"#.len() as u64 - 2));
    assert_eq!(world.as_tenant("other").log().await, []);
}

/// A tenant with everything that a store keeps.
async fn full_tenant(world: &World) {
    world.apply(inserts(5)).await;
    world.compact(0).await;
    world.apply([insert("op-6", "doc-6"), delete("op-7", "doc-1"), update("op-8", "doc-2")]).await;
    learn(world, &["old-1", "old-2"], &[("a", Some("ann"), 3)]).await;
    world.since("b", 0, 2).await;
}

/// Nothing is left of an erased tenant, and clients with cursors start again.
pub async fn a_tenant_is_erased_in_steps_and_a_push_begins_a_new_log(world: &World) {
    for max_rows in [1, 3, ALL] {
        full_tenant(world).await;
        let cursor = world.head().await;
        let erased = erase_all(world, max_rows).await;
        let expected = Erased { documents: 6, entries: 3, ids: 10, clients: 2, is_finished: true };
        assert_eq!(erased, expected, "{max_rows}");
        assert_eq!(world.store.tenants(None, 9).await.expect("they are listed"), []);
        assert_eq!((world.stats().await, world.usage().await), (Stats::default(), Usage::default()));
        assert_eq!(world.page(None, 9).await.entries, []);
        assert_eq!(world.memory("b").await, None);
        assert_eq!((known_ids(world, None, ALL).await, client_rows(world, None, ALL).await), (vec![], vec![]));
        let changes = world.store.changes(&world.tenant, ChangesRequest::operations(Some(cursor), 9)).await;
        assert_eq!(changes.expect("the store reads changes"), Changes::Reset);
        world.apply([insert("op-6", "doc-1")]).await;
        assert_eq!(world.log().await.iter().map(|entry| entry.seq.get()).collect::<Vec<_>>(), [1]);
        let changes = world.store.changes(&world.tenant, ChangesRequest::operations(Some(cursor), 9)).await;
        assert_eq!(changes.expect("the store reads changes"), Changes::Reset);
        assert!(erase_all(world, max_rows).await.is_finished);
        assert_eq!(erase(world, max_rows).await, Erased { is_finished: true, ..Erased::default() });
    }
}

/// A push sees a tenant that is whole, and what it writes is removed later.
pub async fn pushes_between_the_steps_of_an_erasure_find_a_whole_tenant(world: &World) {
    full_tenant(world).await;
    let mut finished = false;
    for number in 0..40 {
        finished = erase(world, 2).await.is_finished;
        let entries = world.page(None, 9).await.entries;
        assert_eq!(entries.len() as u64, world.stats().await.documents, "{number}");
        world.page(Some(Cursor::BEGINNING), 9).await;
        world.since_of_nobody(0, 9).await;
        let whole = audit(world, 0, ALL).await;
        assert_eq!(whole.counters.operations, whole.entries.len() as u64, "{number}");
        let mut fingerprint = whole.entries.first().map(|entry| entry.fingerprint);
        for (first, second) in whole.entries.iter().zip(whole.entries.iter().skip(1)) {
            assert_eq!(second.entry.seq, first.entry.seq.next());
            fingerprint = fingerprint.map(|before| before.extended(&second.entry.id));
        }
        assert!(fingerprint.is_none() || fingerprint == Some(whole.head.position.fingerprint), "{number}");
        if finished {
            break;
        }
        if number < 3 {
            world.apply([insert(&format!("late-{number}"), "doc-2").clock(&[("late", 100 + number), ("a", 9)])]).await;
        }
    }
    assert!(finished, "each step removes something");
    assert_eq!((world.stats().await, known_ids(world, None, ALL).await), (Stats::default(), vec![]));
}

/// Law 9.
pub async fn an_erasure_leaves_other_tenants_alone(world: &World) {
    let others = ["t", "tt", "t\u{10ffff}"].map(|name| world.as_tenant(name));
    let (erased, neighbours) = (world.as_tenant("t!"), others);
    full_tenant(&erased).await;
    for neighbour in &neighbours {
        full_tenant(neighbour).await;
    }
    let everything = async |world: &World| {
        let clients = client_rows(world, None, ALL).await;
        (audit(world, 0, ALL).await, known_ids(world, None, ALL).await, clients, world.page(None, 9).await)
    };
    let before = everything(&neighbours[0]).await;
    assert!(erase_all(&erased, 3).await.is_finished);
    for neighbour in &neighbours {
        assert_eq!(everything(neighbour).await, before);
    }
    let memory = NewMemory {
        seen_revision: Rev::NONE,
        places: Places::default(),
        pulled_seq: Seq::new(1),
        seen_at_ms: UnixMs::new(1),
    };
    let remembered = erased.store.remember(&erased.tenant, &ClientId::literal("b"), memory).await;
    assert_eq!(remembered.expect("it is remembered"), Remember::Done, "it had no memory");
}
