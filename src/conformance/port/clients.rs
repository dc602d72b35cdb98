//! The port: `client`, `remember`, and the progress that `changes` reads.

use super::super::draft::{insert, inserts, update};
use super::super::world::{BEGINNING_MS, World};
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::owners::{ClientOwner, OwnerWrite};
use crate::core::feed::Feed;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, Subject};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::limits::protocol::CLIENT_SEEN_PRECISION_MS;
use crate::service::{PullFrom, Pulled};
use crate::store::{Changes, ChangesRequest, ClientMemory, Commit, LoadRequest, NewMemory, Remember};

/// Places that differ for each number.
fn places(number: u64) -> Places {
    let place = Cursor::Log(Position { seq: Seq::new(number), fingerprint: Fingerprint::from_number(number) });
    Places::parse(&format!("{number}={place}")).expect("the text is that of places")
}

fn memory(seen_revision: u64, number: u64) -> NewMemory {
    NewMemory {
        seen_revision: Rev::new(seen_revision),
        places: places(number),
        pulled_seq: Seq::new(number),
        seen_at_ms: BEGINNING_MS.plus_ms(number),
    }
}

async fn remember(world: &World, client: &str, memory: NewMemory) -> Remember {
    let client = ClientId::literal(client);
    world.store.remember(&world.tenant, &client, memory).await.expect("the store remembers")
}

/// A pull with a cursor and a client id.
async fn note(world: &World, client: &str, cursor: Option<Cursor>, max_operations: usize, now_ms: UnixMs) {
    let client = ClientId::literal(client);
    let request =
        ChangesRequest { client_id: Some(client.clone()), ..ChangesRequest::operations(cursor, max_operations) };
    let changes = world.store.changes(&world.tenant, request).await.expect("the store reads changes");
    let Changes::Page { page, noted, .. } = changes else { panic!("no page") };
    let progress = Progress { pulled_seq: page.next.position().seq, seen_at_ms: now_ms };
    if progress.is_news(noted) {
        world.store.note_pulled(&world.tenant, &client, progress).await.expect("the store notes");
    }
}

/// A memory is returned as it was last stored, with a revision that grows.
pub async fn a_memory_comes_back_as_it_was_remembered(world: &World) {
    assert_eq!(world.memory("a").await, None);
    for (seen_revision, number) in [(0, 5), (1, 3), (2, 7)] {
        assert_eq!(remember(world, "a", memory(seen_revision, number)).await, Remember::Done);
        let revision = Rev::new(seen_revision).next();
        let NewMemory { places, pulled_seq, seen_at_ms, .. } = memory(0, number);
        assert_eq!(world.memory("a").await, Some(ClientMemory { revision, places, pulled_seq, seen_at_ms }));
    }
    let nothing = NewMemory { places: Places::default(), ..memory(3, 0) };
    assert_eq!(remember(world, "a", nothing).await, Remember::Done);
    assert_eq!(world.memory("a").await.map(|memory| memory.places), Some(Places::default()));
}

/// Law 6: if two requests read the same memory, only the first one replaces it.
pub async fn a_memory_that_changed_since_it_was_read_is_not_replaced(world: &World) {
    assert_eq!(remember(world, "a", memory(1, 9)).await, Remember::Contended, "there is none to be replaced");
    assert_eq!(world.memory("a").await, None);
    assert_eq!(remember(world, "a", memory(0, 1)).await, Remember::Done);
    assert_eq!(remember(world, "a", memory(0, 2)).await, Remember::Contended);
    assert_eq!(remember(world, "a", memory(2, 2)).await, Remember::Contended);
    assert_eq!(world.memory("a").await.map(|memory| memory.pulled_seq), Some(Seq::new(1)));
    assert_eq!(remember(world, "a", memory(1, 3)).await, Remember::Done);
    assert_eq!(
        world.memory("a").await.map(|memory| (memory.revision, memory.pulled_seq)),
        Some((Rev::new(2), Seq::new(3)))
    );
}

/// Each client has its own memory.
pub async fn clients_do_not_share_a_memory(world: &World) {
    assert_eq!(remember(world, "a", memory(0, 1)).await, Remember::Done);
    assert_eq!(remember(world, "b", memory(0, 2)).await, Remember::Done);
    assert_eq!(world.memory("a").await.map(|memory| memory.pulled_seq), Some(Seq::new(1)));
    assert_eq!(world.memory("b").await.map(|memory| memory.pulled_seq), Some(Seq::new(2)));
    assert_eq!(world.memory("A").await, None);
}

/// The progress of a client with a cursor is stored, and the client can still change to the original protocol.
pub async fn a_pull_with_a_cursor_notes_how_far_the_client_is(world: &World) {
    world.apply(inserts(3)).await;
    note(world, "a", None, 2, BEGINNING_MS).await;
    let noted = world.memory("a").await.expect("the client is noted");
    let expected = ClientMemory {
        revision: Rev::NONE,
        places: Places::default(),
        pulled_seq: Seq::new(2),
        seen_at_ms: BEGINNING_MS,
    };
    assert_eq!(noted, expected);
    assert_eq!(remember(world, "a", memory(0, 1)).await, Remember::Done);
    assert_eq!(world.memory("a").await.map(|memory| memory.revision), Some(Rev::new(1)));
}

/// A pull with a cursor does not change the places of the same client's `since`.
pub async fn a_pull_with_a_cursor_keeps_the_places_of_an_original_client(world: &World) {
    world.apply(inserts(3)).await;
    assert_eq!(remember(world, "a", memory(0, 1)).await, Remember::Done);
    note(world, "a", None, 9, BEGINNING_MS.plus_ms(50)).await;
    let expected = ClientMemory {
        revision: Rev::new(1),
        places: places(1),
        pulled_seq: Seq::new(3),
        seen_at_ms: BEGINNING_MS.plus_ms(50),
    };
    assert_eq!(world.memory("a").await, Some(expected));
    assert_eq!(remember(world, "a", memory(1, 2)).await, Remember::Done, "what it noted contends with nobody");
}

/// A pull without a client id stores no progress.
pub async fn a_pull_without_a_client_notes_nobody(world: &World) {
    world.apply(inserts(2)).await;
    world.changes(None, 9).await;
    world.page(None, 9).await;
    world.since_of_nobody(0, 9).await;
    assert_eq!(world.stats().await.unsynced_operations, 0);
    assert_eq!(world.memory("a").await, None);
}

/// A client that polls does not cause a write each time: the stored time of its last pull may be an hour old.
pub async fn the_time_of_a_silent_poll_is_written_once_an_hour(world: &World) {
    world.apply(inserts(2)).await;
    let head = Some(world.head().await);
    let seen_at = async || world.memory("a").await.map(|memory| memory.seen_at_ms.ms_since(BEGINNING_MS));
    note(world, "a", head, 9, BEGINNING_MS).await;
    note(world, "a", head, 9, BEGINNING_MS.plus_ms(CLIENT_SEEN_PRECISION_MS - 1)).await;
    assert_eq!(seen_at().await, Some(0));
    note(world, "a", head, 9, BEGINNING_MS.plus_ms(CLIENT_SEEN_PRECISION_MS)).await;
    assert_eq!(seen_at().await, Some(CLIENT_SEEN_PRECISION_MS));
    note(world, "a", None, 1, BEGINNING_MS.plus_ms(CLIENT_SEEN_PRECISION_MS + 1)).await;
    assert_eq!(seen_at().await, Some(CLIENT_SEEN_PRECISION_MS + 1), "how far it has pulled is news");
}

/// A refused cursor says nothing about the progress of the client.
pub async fn a_refused_cursor_notes_nobody(world: &World) {
    world.apply(inserts(2)).await;
    let bogus = Cursor::Log(Position { seq: Seq::new(2), fingerprint: Fingerprint::from_number(1) });
    let pulled = world.pull(PullFrom::Cursor(Some(bogus)), Some("a"), 9).await;
    assert_eq!(pulled, Pulled::Reset);
    assert_eq!(world.memory("a").await, None);
}

async fn claim(world: &World, client: &str, subject: &str) {
    let (client, subject) = (ClientId::literal(client), Subject::literal(subject));
    world.store.claim(&world.tenant, &client, &subject).await.expect("the store claims");
}

fn owner(subject: Option<&str>, counter: u64) -> ClientOwner {
    ClientOwner { subject: subject.map(Subject::literal), counter }
}

/// The owner of a client as a decision reads it.
async fn loaded_owner(world: &World, client: &str) -> Option<ClientOwner> {
    let client = ClientId::literal(client);
    let request = LoadRequest {
        client_ids: vec![ClientId::literal("nobody"), client.clone()],
        with_usage: true,
        ..LoadRequest::default()
    };
    let mut snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
    let owner = snapshot.owners.remove(&client);
    assert!(snapshot.owners.is_empty() && snapshot.usage.is_some());
    owner
}

/// The subject that owns a client as a pull reads it.
async fn pulled_owner(world: &World, client: &str, cursor: Option<Cursor>) -> Option<Subject> {
    let client_id = Some(ClientId::literal(client));
    let request = ChangesRequest { client_id, ..ChangesRequest::operations(cursor, 1_000) };
    match world.store.changes(&world.tenant, request).await.expect("the store reads changes") {
        Changes::Page { owner, .. } => owner,
        Changes::Reset => panic!("the cursor was reset"),
    }
}

/// A client id belongs for ever to the subject that claims it first, and in its tenant alone.
pub async fn a_client_belongs_to_the_subject_that_claims_it_first(world: &World) {
    assert_eq!(loaded_owner(world, "a").await, None);
    for subject in ["ann", "bob"] {
        claim(world, "a", subject).await;
        assert_eq!(loaded_owner(world, "a").await, Some(owner(Some("ann"), 0)));
        assert_eq!(pulled_owner(world, "a", None).await, Some(Subject::literal("ann")), "the log is empty");
    }
    claim(&world.as_tenant("another"), "a", "bob").await;
    world.apply(inserts(3)).await;
    world.host.advance_ms(1_000 * CLIENT_SEEN_PRECISION_MS * 24);
    world.compact(0).await;
    world.apply([insert("op-4", "doc-4")]).await;
    for cursor in [None, Some(Cursor::BEGINNING), Some(world.head().await)] {
        assert_eq!(pulled_owner(world, "a", cursor).await, Some(Subject::literal("ann")), "{cursor:?}");
        assert_eq!(pulled_owner(world, "b", cursor).await, None);
    }
    let other = pulled_owner(&world.as_tenant("another"), "a", None).await;
    assert_eq!(other, Some(Subject::literal("bob")));
}

/// Owners are written only as the decision saw them; otherwise nothing of the batch is.
pub async fn an_owner_that_changed_since_the_decision_is_contended(world: &World) {
    let (nobody, ann) = (|counter| owner(None, counter), |counter| owner(Some("ann"), counter));
    let steps = [
        (None, nobody(7), Commit::Done),
        (None, nobody(8), Commit::Contended),
        (Some(nobody(6)), nobody(8), Commit::Contended),
        (Some(ann(7)), ann(8), Commit::Contended),
        (Some(nobody(7)), ann(8), Commit::Done),
        (Some(nobody(8)), owner(Some("bob"), 9), Commit::Contended),
        (Some(owner(Some("bob"), 8)), owner(Some("bob"), 9), Commit::Contended),
        (Some(ann(8)), ann(1 << 52), Commit::Done),
        (None, ann(9), Commit::Contended),
    ];
    let mut expected = None;
    for (number, (seen, next, outcome)) in steps.into_iter().enumerate() {
        let mut batch = world.decide([insert(&format!("op-{number}"), &format!("doc-{number}"))]).await;
        // A second one, which is never in the way, is written only with the first.
        for (client, seen) in [("a".to_owned(), seen), (format!("b-{number}"), None)] {
            batch.owners.push(OwnerWrite { client_id: ClientId::literal(&client), seen, owner: next.clone() });
        }
        assert_eq!(world.commit(batch).await, outcome, "step {number}");
        if outcome == Commit::Done {
            expected = Some(next);
        }
        assert_eq!(loaded_owner(world, "a").await, expected, "step {number}");
        let is_written = outcome == Commit::Done;
        assert_eq!(loaded_owner(world, &format!("b-{number}")).await.is_some(), is_written, "step {number}");
        assert_eq!(world.document(&format!("doc-{number}")).await.is_some(), is_written, "step {number}");
    }
    let batch = world.decide([insert("op-last", "doc-last")]).await;
    claim(world, "late", "bob").await;
    let late = OwnerWrite { client_id: ClientId::literal("late"), seen: None, owner: ann(0) };
    let batch = crate::core::decide::Batch { owners: vec![late], ..batch };
    assert_eq!(world.commit(batch).await, Commit::Contended, "a pull was faster");
    claim(world, "late", "ann").await;
    assert_eq!(loaded_owner(world, "late").await, Some(owner(Some("bob"), 0)));
    let mut batch = world.decide([insert("op-last", "doc-last")]).await;
    batch.owners.push(OwnerWrite { client_id: ClientId::literal("c"), seen: None, owner: nobody(5) });
    assert_eq!(world.commit(batch).await, Commit::Done);
    claim(world, "c", "ann").await;
    assert_eq!(loaded_owner(world, "c").await, Some(ann(5)), "a counter outlives the claim");
}

/// The log keeps who pushed each operation, and a page has it only if it was asked for.
pub async fn operations_have_their_subjects_only_if_these_are_asked_for(world: &World) {
    let mut batch = world.decide(inserts(3)).await;
    batch.subjects = vec![Some(Subject::literal("ann \"ä\"")), None, Some(Subject::literal("bob"))];
    assert_eq!(world.commit(batch).await, Commit::Done);
    world.apply([update("op-4", "doc-1").clock(&[("a", 2)])]).await;
    let subjects = async |cursor, max_operations, with_subjects| -> Vec<Option<String>> {
        let request = ChangesRequest { with_subjects, ..ChangesRequest::operations(cursor, max_operations) };
        let changes = world.store.changes(&world.tenant, request).await.expect("the store reads changes");
        let Changes::Page { page, .. } = changes else { panic!("no page") };
        page.entries.into_iter().map(|entry| entry.subject.map(|subject| subject.as_str().to_owned())).collect()
    };
    let (ann, bob) = (Some("ann \"ä\"".to_owned()), Some("bob".to_owned()));
    for max_operations in [4, 1_000] {
        let expected = [ann.clone(), None, bob.clone(), None];
        assert_eq!(subjects(Some(Cursor::BEGINNING), max_operations, true).await, expected);
        assert_eq!(subjects(Some(Cursor::BEGINNING), max_operations, false).await, [None, None, None, None]);
        assert_eq!(subjects(None, max_operations, true).await, [None, None, None], "documents have none");
    }
    let documents = world.changes_of(&Feed::DOCUMENTS, Some(Cursor::BEGINNING), 9).await;
    assert!(documents.entries.iter().all(|entry| entry.subject.is_none()));
    let by_time = world.since_of_nobody(0, 9).await;
    assert!(by_time.entries.iter().all(|entry| entry.subject.is_none()));
    world.host.advance_ms(1);
    world.apply([insert("op-5", "doc-5")]).await;
    assert_eq!(world.compact(1).await, 4);
    assert_eq!(subjects(Some(Cursor::BEGINNING), 9, true).await, [None, None, None, None]);
}

/// Clients are listed page by page in the order of their bytes, each with its progress; other tenants have their own.
pub async fn clients_are_listed_in_the_order_of_their_ids_with_their_progress(world: &World) {
    let list = async |world: &World, after: Option<&str>, limit| {
        let after = after.map(ClientId::literal);
        world.store.clients(&world.tenant, after.as_ref(), limit).await.expect("the store lists")
    };
    assert_eq!(list(world, None, 9).await, []);
    world.apply(inserts(3)).await;
    note(world, "b", None, 2, BEGINNING_MS).await;
    assert_eq!(remember(world, "a", memory(0, 3)).await, Remember::Done);
    for name in ["é", "B", "a!", "a b"] {
        note(world, name, None, 9, BEGINNING_MS.plus_ms(7)).await;
    }
    let other = world.as_tenant("other");
    note(&other, "c", None, 9, BEGINNING_MS).await;
    let client = |name: &str, pulled_seq, later_ms| {
        let progress = Progress { pulled_seq: Seq::new(pulled_seq), seen_at_ms: BEGINNING_MS.plus_ms(later_ms) };
        (ClientId::literal(name), progress)
    };
    let all = [
        client("B", 3, 7),
        client("a", 3, 3),
        client("a b", 3, 7),
        client("a!", 3, 7),
        client("b", 2, 0),
        client("é", 3, 7),
    ];
    assert_eq!(list(world, None, 9).await, all);
    assert_eq!(list(world, None, 2).await, all[..2]);
    assert_eq!(list(world, Some("a"), 2).await, all[2..4]);
    assert_eq!(list(world, Some("a c"), 9).await, all[3..], "a client that is not there has a place too");
    assert_eq!(list(world, Some("é"), 9).await, []);
    assert_eq!(list(world, None, 0).await, []);
    assert_eq!(list(&other, None, 9).await, [client("c", 0, 0)]);
}
