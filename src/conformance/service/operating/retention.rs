//! Retention: what is removed after its time, and who may still need it.

use std::sync::Arc;

use crate::conformance::draft::{Draft, clock, delete, insert, inserts, update};
use crate::conformance::replica::Replica;
use crate::conformance::world::{World, ids, operations, page_of};
use crate::core::access::{Principal, Role};
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::base::Bases;
use crate::core::decide::{ConflictRelation, Outcome, Refused};
use crate::core::names::{ClientId, Subject};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::operation::OperationKind;
use crate::core::policy::{ConflictPolicy, Deletes, Policies};
use crate::core::progress::Progress;
use crate::core::retention::{Expiry, Retention};
use crate::limits::protocol::{DAY_MS, INTEGER_MAX};
use crate::service::operator::Operator;
use crate::service::{Host, PullFrom, Pulled, PushRequest, Pushed, Removed, SyncService};
use crate::store::{Commit, ExpireStep, Expired};

/// Everything goes after ten days, if no client needs it that was seen in the last five.
const TEN_DAYS: Retention = Retention {
    tombstones_ms: Some(10 * DAY_MS),
    ids_ms: Some(10 * DAY_MS),
    fingerprints_ms: Some(10 * DAY_MS),
    clients_ms: 5 * DAY_MS,
};

/// Longer than everything is kept.
const LONG_MS: u64 = 11 * DAY_MS;

fn retaining(world: &World, retention: Retention) -> World {
    let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
    World { service: Arc::new(service.with_retention(retention)), ..world.clone() }
}

/// Removes what is a day old from the log, and what retention allows.
async fn remove_old(world: &World) -> Removed {
    let removed = world.service.remove_old(&world.tenant, DAY_MS, INTEGER_MAX).await.expect("the store works");
    assert!(removed.is_finished);
    removed
}

async fn expire(world: &World) -> (u64, u64) {
    let Expired { tombstones, remains } = remove_old(world).await.expired;
    (tombstones, remains)
}

async fn assert_sound(world: &World) {
    let verified = Operator::new(Arc::clone(&world.service)).verify(&world.tenant).await.expect("the store works");
    assert_eq!(verified.findings, []);
}

/// The places of the log after each of its entries.
async fn places_after(world: &World, drafts: impl IntoIterator<Item = Draft>) -> Vec<Cursor> {
    let mut places = vec![Cursor::BEGINNING];
    for draft in drafts {
        world.apply([draft]).await;
        places.push(world.head().await);
    }
    places
}

/// Five entries, of which two are deletes.
fn with_two_deletes() -> [Draft; 5] {
    [
        insert("op-1", "doc-1"),
        insert("op-2", "doc-2").at(2_u64),
        delete("op-3", "doc-1").at(3_u64),
        insert("op-4", "doc-4").at(4_u64),
        delete("op-5", "doc-2").at(5_u64),
    ]
}

/// Tombstones, ids and fingerprints go after their time and not before. The counters follow.
pub async fn what_is_old_goes_and_is_counted(world: &World) {
    let world = &retaining(world, TEN_DAYS);
    let places = places_after(world, with_two_deletes()).await;
    world.host.advance_ms(10 * DAY_MS - 1);
    assert_eq!((remove_old(world).await.entries, expire(world).await), (5, (0, 0)));
    let usage = world.usage().await;
    world.host.advance_ms(1);
    assert_eq!(expire(world).await, (2, 4));
    assert_eq!(expire(world).await, (0, 0));
    let clock_bytes = clock(&[("a", 1)]).json().as_str().len() as u64;
    assert_eq!(world.usage().await.bytes, usage.bytes - 2 * clock_bytes);
    assert_eq!(world.usage().await.documents, 1);
    assert_sound(world).await;
    let known = world.store.operation_ids(&world.tenant, None, 9).await.expect("the store works");
    assert_eq!(known.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["op-5"]);
    for place in &places[1..5] {
        assert_eq!(world.pull(PullFrom::Cursor(Some(*place)), None, 9).await, Pulled::Reset, "{place}");
    }
    assert_eq!(world.page(Some(places[5]), 9).await.entries, []);
    assert_eq!(ids(&world.page(None, 9).await.entries), ["op-4"]);
}

/// Without a setting everything is kept, however old it is.
pub async fn by_default_nothing_goes(world: &World) {
    let places = places_after(world, with_two_deletes()).await;
    world.host.advance_ms(3_650 * DAY_MS);
    assert_eq!(expire(world).await, (0, 0));
    assert_eq!(ids(&world.page(Some(places[1]), 9).await.entries), ["op-3", "op-4", "op-5"]);
    assert_eq!(world.store.operation_ids(&world.tenant, None, 9).await.expect("the store works").len(), 5);
}

/// A step that was planned for a log changes nothing in another one that has begun meanwhile.
pub async fn a_step_for_another_log_changes_nothing(world: &World) {
    let world = &retaining(world, TEN_DAYS);
    world.apply(inserts(9)).await;
    world.host.advance_ms(LONG_MS);
    let expiry = world.service.expiry(&world.tenant, Seq::new(9)).await.expect("the store works").expect("all is old");
    let erased = Operator::new(Arc::clone(&world.service)).erase_tenant(&world.tenant, INTEGER_MAX).await;
    assert!(erased.expect("the store works").is_finished);
    world.apply([insert("op-1", "doc-1"), delete("op-2", "doc-1").clock(&[("a", 2)])]).await;
    let (head, place) = (world.head().await, world.page(None, 9).await.cursor);
    let step = ExpireStep { expiry, max_rows: 9 };
    let expired = world.store.expire(&world.tenant, step).await.expect("the store works");
    assert_eq!((expired, world.head().await), (Expired::default(), head));
    assert_eq!(world.page(place, 9).await.entries, []);
    assert_sound(world).await;
}

/// A client is seen, and has come to this place.
async fn see(world: &World, client: &str, pulled_seq: u64) {
    let progress = Progress { pulled_seq: Seq::new(pulled_seq), seen_at_ms: world.host.now_ms() };
    let noted = world.store.note_pulled(&world.tenant, &ClientId::literal(client), progress).await;
    noted.expect("it is noted");
}

/// A client that was seen lately finds everything that it needs. After a longer silence it is told to start again, and
/// then has the documents of the server.
pub async fn a_client_that_was_seen_lately_misses_nothing_and_another_starts_again(world: &World) {
    let world = &retaining(world, TEN_DAYS);
    world.apply(inserts(2)).await;
    let mut replica = Replica::default();
    let first = page_of(world.pull(PullFrom::Cursor(None), Some("me"), 9).await);
    replica.apply(&first.entries);
    world.apply([delete("op-3", "doc-1").at(3_u64), insert("op-4", "doc-4").at(4_u64)]).await;
    world.host.advance_ms(LONG_MS);
    see(world, "me", 2).await;
    world.host.advance_ms(5 * DAY_MS);
    assert_eq!(expire(world).await, (0, 1), "the delete is after the place of the client");
    let rest = page_of(world.pull(PullFrom::Cursor(first.cursor), Some("me"), 9).await);
    assert_eq!(ids(&rest.entries), ["op-3", "op-4"]);
    replica.apply(&rest.entries);
    assert_eq!(replica, Replica::of_server(world).await);

    world.apply([delete("op-5", "doc-2").at(5_u64)]).await;
    world.host.advance_ms(LONG_MS);
    see(world, "me", 4).await;
    world.host.advance_ms(5 * DAY_MS);
    assert_eq!(expire(world).await, (1, 2), "the client has received the first delete");
    world.host.advance_ms(1);
    assert_eq!(expire(world).await, (1, 1), "the client was silent for too long");
    assert_eq!(world.pull(PullFrom::Cursor(rest.cursor), Some("me"), 9).await, Pulled::Reset);
    let mut fresh = Replica::default();
    fresh.pull_everything(world, None, 1).await;
    assert_eq!(fresh, Replica::of_server(world).await);
}

/// A client without a cursor walks over documents whose fingerprints are gone, while they change and more goes.
pub async fn a_walk_over_old_documents_is_not_interrupted(world: &World) {
    let world = &retaining(world, TEN_DAYS);
    world.apply(inserts(9)).await;
    world.apply([delete("op-10", "doc-9").at(10_u64)]).await;
    world.host.advance_ms(LONG_MS);
    assert_eq!(expire(world).await, (1, 9));
    world.apply([insert("op-11", "doc-11"), delete("op-12", "doc-1")]).await;
    let (mut replica, mut cursor) = (Replica::default(), None);
    for number in 13_u64.. {
        let page = page_of(world.pull(PullFrom::Cursor(cursor), Some("new"), 2).await);
        replica.apply(&page.entries);
        cursor = page.cursor;
        if !page.has_more {
            break;
        }
        // The last document of the page moves on, so that the log has nothing at its place any more.
        let last = page.entries.last().expect("a page has an entry").key.id.as_str().to_owned();
        world.apply([update(&format!("op-{number}"), &last).data(r#"{"moved":true}"#)]).await;
        world.host.advance_ms(DAY_MS);
        remove_old(world).await;
    }
    replica.pull_everything(world, cursor, 9).await;
    assert_eq!(replica, Replica::of_server(world).await);
}

/// Law 6: a client of the original protocol continues at its place, is told to start again, or begins with nothing.
pub async fn original_clients_lose_nothing_in_silence(world: &World) {
    let world = &retaining(world, TEN_DAYS);
    world.apply(inserts(3)).await;
    for client in ["seen", "silent"] {
        assert_eq!(ids(&world.since(client, 0, 2).await.entries), ["op-1", "op-2"]);
    }
    world.host.advance_ms(LONG_MS);
    assert_eq!(ids(&world.since("seen", 2, 9).await.entries), ["op-3"]);
    assert_eq!(world.since("seen", 3, 9).await.entries, []);
    world.apply([delete("op-4", "doc-1").at(4_u64), insert("op-5", "doc-5").at(5_u64)]).await;
    world.host.advance_ms(LONG_MS);
    see(world, "seen", 3).await;
    assert_eq!(expire(world).await.0, 0, "the first place of the client is before the delete");
    assert_eq!(ids(&world.since("seen", 3, 9).await.entries), ["op-4", "op-5"]);

    world.host.advance_ms(5 * DAY_MS + 1);
    assert_eq!(expire(world).await.0, 1);
    assert_eq!(world.since("seen", 5, 9).await.entries, [], "its place is still known");
    let refused = async |client, since: u64| {
        let pulled = world.pull(PullFrom::Since(UnixMs::new(since)), Some(client), 9).await;
        assert_eq!(pulled, Pulled::Reset, "{client} since {since}");
    };
    refused("silent", 2).await;
    refused("unknown", 2).await;
    for client in ["silent", "new"] {
        let first = world.since(client, 0, 2).await;
        assert_eq!(ids(&first.entries), ["op-2", "op-3"], "{client}");
        assert_eq!(ids(&world.since(client, 3, 2).await.entries), ["op-5"], "{client}");
    }
}

/// If only ids and fingerprints go, a client of the original protocol is answered from the beginning, with all deletes.
pub async fn without_an_end_for_tombstones_original_clients_begin_again(world: &World) {
    let world = &retaining(world, Retention { tombstones_ms: None, ..TEN_DAYS });
    world.apply(inserts(2)).await;
    world.since("silent", 0, 1).await;
    world.apply([delete("op-3", "doc-1").at(3_u64)]).await;
    world.host.advance_ms(LONG_MS);
    assert_eq!(expire(world).await, (0, 2));
    let first = world.since("silent", 1, 1).await;
    assert_eq!(ids(&first.entries), ["op-2"]);
    assert_eq!(ids(&world.since("silent", 2, 9).await.entries), ["op-3"]);
}

/// Law 2: an operation whose id is gone takes no effect when it is pushed again. This holds as long as its document or
/// the tombstone is there.
pub async fn an_operation_whose_id_is_gone_is_covered_by_the_clock(world: &World) {
    let world = &retaining(world, Retention { tombstones_ms: None, ..TEN_DAYS });
    let pushed = || {
        [
            insert("op-1", "doc-1").data(r#"{"a":1}"#),
            update("op-2", "doc-1").data(r#"{"a":2}"#).clock(&[("a", 2)]),
            insert("op-3", "doc-2").clock(&[("a", 3)]),
            delete("op-4", "doc-2").clock(&[("a", 4)]),
        ]
    };
    world.apply(pushed()).await;
    world.apply([insert("last", "last")]).await;
    world.host.advance_ms(LONG_MS);
    assert_eq!(expire(world).await, (0, 4));
    let outcomes = world.push(pushed()).await;
    let relation = |outcome: &Outcome| match outcome {
        Outcome::Conflict(conflict) => Some(conflict.relation),
        _ => None,
    };
    let before = Some(ConflictRelation::HappensBefore);
    assert_eq!(outcomes.iter().map(relation).collect::<Vec<_>>(), [before, None, before, None]);
    assert_eq!((&outcomes[1], &outcomes[3]), (&Outcome::Duplicate, &Outcome::Duplicate));
    assert_eq!(world.data("doc-1").await.as_deref(), Some(r#"{"a":2}"#));
    assert_eq!(world.data("doc-2").await, None);
    assert_eq!(world.usage().await.operation_ids, 5, "nothing was written");
}

/// A document whose tombstone is gone comes back if a client pushes to it that has not seen the delete. It then has the
/// same data everywhere.
pub async fn an_edit_of_a_document_whose_tombstone_is_gone_begins_it_again(world: &World) {
    let world = &retaining(world, TEN_DAYS);
    world.apply([insert("op-1", "doc").data(r#"{"a":1}"#), delete("op-2", "doc").clock(&[("a", 2)])]).await;
    let head = world.head().await;
    world.host.advance_ms(LONG_MS);
    assert_eq!(expire(world).await, (1, 1));
    world.apply([update("late", "doc").data(r#"{"b":2}"#).clock(&[("b", 1), ("a", 1)])]).await;
    let page = world.page(Some(head), 9).await;
    assert_eq!((ids(&page.entries), page.entries[0].kind()), (vec!["late"], OperationKind::Insert));
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"b":2}"#));
}

/// A revision of a document that was deleted and begun again is another one. So a push is refused that knows revisions
/// from before the floor.
pub async fn a_push_that_knows_revisions_from_before_the_floor_is_refused(world: &World) {
    let world = &retaining(world, Retention { ids_ms: None, fingerprints_ms: None, ..TEN_DAYS });
    let drafts = [insert("op-1", "doc"), delete("op-2", "doc"), insert("op-3", "other")];
    let places: Vec<Position> = places_after(world, drafts).await.iter().map(Cursor::position).collect();
    world.host.advance_ms(LONG_MS);
    assert_eq!(expire(world).await, (1, 0));
    world.apply([insert("op-4", "doc")]).await;
    let push = async |id: &str, place: Position| {
        let principal = Principal::new(world.tenant.clone(), Subject::literal("me"), Role::Writer).for_everybody();
        let bases = Bases { revisions: vec![Some(Rev::new(1))], places: vec![place] };
        let request = PushRequest::new(operations([update(id, "doc")])).with_bases(bases);
        world.service.push_as(&principal, request).await.expect("the push is answered")
    };
    assert_eq!(push("late", places[1]).await, Pushed::Refused(Refused::OtherLog), "its revision 1 is another one");
    assert!(matches!(push("new", places[3]).await, Pushed::Decided(outcomes) if outcomes[0].is_applied()));
}

/// Laws 2 and 3: a push that has seen a tombstone is decided again if the tombstone goes before its commit. A document
/// that begins again between the look and the removal stays.
pub async fn a_push_beside_a_step_of_retention_is_decided_again_or_comes_first(world: &World) {
    let (plain, world) = (world, &retaining(world, TEN_DAYS));
    world.apply([insert("op-1", "doc"), delete("op-2", "doc").clock(&[("a", 2)]), insert("op-3", "other")]).await;
    world.host.advance_ms(LONG_MS);
    let again = || [insert("op-4", "doc").data(r#"{"b":1}"#).clock(&[("a", 3)])];
    let batch = world.decide(again()).await;
    assert_eq!(expire(world).await, (1, 2));
    assert_eq!(world.commit(batch).await, Commit::Contended);
    assert_eq!((world.data("doc").await, world.usage().await.operation_ids), (None, 3), "nothing was written");
    world.apply(again()).await;

    world.apply([delete("op-5", "doc").clock(&[("a", 4)]), insert("op-6", "last")]).await;
    world.host.advance_ms(LONG_MS);
    plain.compact(DAY_MS).await;
    let cut_ms = world.host.now_ms().minus_ms(10 * DAY_MS);
    let floor = world.store.aged_place(&world.tenant, cut_ms, Seq::new(INTEGER_MAX)).await.expect("the store works");
    let floor = floor.expect("a place");
    world.apply([insert("op-7", "doc").data(r#"{"c":1}"#).clock(&[("a", 5)])]).await;
    let expiry = Expiry { floor, tombstones_up_to: floor.seq, remains_before: floor.seq };
    let expired = world.store.expire(&world.tenant, ExpireStep { expiry, max_rows: 9 }).await.expect("the store works");
    assert_eq!(expired, Expired { tombstones: 0, remains: 3 });
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"c":1}"#));
    assert_sound(world).await;
}

/// The bytes of a tenant are those of its documents and of its log, also after tombstones with stamps went.
pub async fn the_bytes_of_tombstones_and_their_stamps_are_given_back(world: &World) {
    let world = &retaining(world, TEN_DAYS);
    let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
    let service = service.with_retention(TEN_DAYS);
    let merging = service.with_conflict_policies(Policies::for_all(ConflictPolicy::Merge, Deletes::Win));
    let merging = World { service: Arc::new(merging), ..world.clone() };
    for id in ["doc-1", "doc-2"] {
        merging.push([insert(&format!("{id}-made"), id).data(r#"{"a":1}"#)]).await;
        merging.push([update(&format!("{id}-b"), id).data(r#"{"b":1}"#).clock(&[("b", 1)])]).await;
        merging.push([update(&format!("{id}-c"), id).data(r#"{"c":1}"#).clock(&[("c", 1)])]).await;
        merging.push([delete(&format!("{id}-gone"), id).clock(&[("a", 9), ("b", 9), ("c", 9)])]).await;
    }
    assert_sound(world).await;
    world.host.advance_ms(LONG_MS);
    let (tombstones, _) = expire(world).await;
    assert_eq!((tombstones, world.usage().await.bytes), (2, 0));
    assert_sound(world).await;
}

/// Law 10: a step removes so many rows, and one that removes fewer is the last. The number of rows was foretold.
pub async fn steps_are_bounded_and_foretold(world: &World) {
    let (plain, world) = (world, &retaining(world, TEN_DAYS));
    world.apply(inserts(5)).await;
    world.apply((1..=3_u64).map(|n| delete(&format!("del-{n}"), &format!("doc-{n}")))).await;
    world.host.advance_ms(LONG_MS);
    let foretell = async || {
        let foretold = Operator::new(Arc::clone(&world.service)).would_expire(&world.tenant, DAY_MS).await;
        foretold.expect("the store works")
    };
    assert_eq!(foretell().await, Expired { tombstones: 3, remains: 7 }, "after the compaction that comes before");
    plain.compact(DAY_MS).await;
    assert_eq!(foretell().await, Expired { tombstones: 3, remains: 7 });
    let cut_ms = world.host.now_ms().minus_ms(10 * DAY_MS);
    let place = async |cut_ms, up_to| {
        world.store.aged_place(&world.tenant, cut_ms, Seq::new(up_to)).await.expect("the store works")
    };
    assert_eq!(place(world.host.now_ms().minus_ms(LONG_MS + 1), 9).await, None);
    for up_to in 1..=9_u64 {
        assert_eq!(place(cut_ms, up_to).await.map(|place| place.seq.get()), Some(up_to.min(8)));
    }
    assert_eq!(place(cut_ms, 0).await, None);
    let floor = place(cut_ms, INTEGER_MAX).await.expect("a place");
    let expiry = Expiry { floor, tombstones_up_to: floor.seq, remains_before: floor.seq };
    let step = ExpireStep { expiry, max_rows: 4 };
    for (tombstones, remains) in [(3, 1), (0, 4), (0, 2), (0, 0)] {
        let expired = world.store.expire(&world.tenant, step).await.expect("the store works");
        assert_eq!(expired, Expired { tombstones, remains });
    }
    assert_eq!(place(cut_ms, 7).await, None, "its remains are gone");
    let void = world.as_tenant("void");
    let nothing = void.store.expire(&void.tenant, step).await.expect("the store works");
    assert_eq!(nothing, Expired::default());
    assert_eq!(void.store.tenants(None, 9).await.expect("the store works"), std::slice::from_ref(&world.tenant));
}

/// Law 9: the tombstones and ids of other tenants stay.
pub async fn other_tenants_keep_theirs(world: &World) {
    let (world, other) = (&retaining(world, TEN_DAYS), world.as_tenant("another"));
    for world in [world, &other] {
        world.apply(with_two_deletes()).await;
    }
    world.host.advance_ms(LONG_MS);
    other.compact(DAY_MS).await;
    assert_eq!(expire(world).await, (2, 4));
    assert_eq!(other.store.operation_ids(&other.tenant, None, 9).await.expect("the store works").len(), 5);
    assert_eq!(other.page(Some(Cursor::BEGINNING), 9).await.entries.len(), 3);
}
