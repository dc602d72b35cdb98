//! The work of an operator over every store: exports, imports, verifications and erasing.

use std::sync::Arc;

use crate::conformance::draft::{Draft, delete, insert, inserts, key, update};
use crate::conformance::world::{World, ids};
use crate::core::cursor::Cursor;
use crate::core::decide::Outcome;
use crate::core::decide::owners::ClientOwner;
use crate::core::document::Document;
use crate::core::feed::Feed;
use crate::core::names::{ClientId, DocumentId, Subject};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::{LogEntry, OperationKind};
use crate::core::policy::{ConflictPolicy, Deletes, Policies};
use crate::limits::protocol::INTEGER_MAX;
use crate::service::operator::{Forgotten, ImportError, Imported, Operator};
use crate::service::{Host, SyncService, Undecidable};
use crate::store::{Erased, LoadRequest};

fn operator(world: &World) -> Operator {
    Operator::new(Arc::clone(&world.service))
}

async fn export(world: &World) -> Vec<String> {
    let mut export = operator(world).export(&world.tenant);
    let mut lines = Vec::new();
    while let Some(more) = export.next().await.expect("the store works") {
        lines.extend(more);
    }
    lines
}

async fn try_import(world: &World, lines: &[String], is_dry_run: bool) -> Result<Imported, ImportError> {
    let mut import = operator(world).import(&world.tenant, is_dry_run);
    for line in lines {
        import.line(line).await?;
    }
    import.finish().await
}

async fn import(world: &World, lines: &[String]) -> Imported {
    try_import(world, lines, false).await.expect("it is imported")
}

/// Every document and tombstone with its state, ordered by id.
async fn states(world: &World) -> Vec<(DocumentId, Document)> {
    let mut states = Vec::new();
    let mut cursor = Some(Cursor::BEGINNING);
    loop {
        let page = world.changes_of(&Feed::DOCUMENTS, cursor, 100).await;
        for entry in &page.entries {
            let state = world.service.document_state(&world.tenant, &entry.key).await.expect("the state is read");
            states.push((entry.key.id.clone(), state.expect("it is there")));
        }
        cursor = Some(page.next);
        if !page.has_more {
            states.sort_by(|(left, _), (right, _)| left.cmp(right));
            return states;
        }
    }
}

async fn assert_sound(world: &World) {
    let verified = operator(world).verify(&world.tenant).await.expect("the store works");
    assert_eq!((verified.findings.as_slice(), verified.finding_count), (&[][..], 0));
    assert!(verified.is_complete && verified.are_counters_checked, "{verified:?}");
    assert_eq!(verified.documents, states(world).await.len() as u64);
    assert_eq!(verified.entries, world.stats().await.operations);
}

/// Operations that touch documents in every way, with an old part of the log that is compacted.
async fn history(world: &World) -> Vec<Draft> {
    let mut drafts = inserts(4);
    drafts.push(update("op-5", "doc-1").data(r#"{"n": 1.0}"#).clock(&[("b", 1), ("a", 1)]).at(9));
    drafts.push(delete("op-6", "doc-2").at(3));
    world.apply(drafts.clone()).await;
    world.compact(0).await;
    let later = [
        update("op-7", "doc-1").data(r#"{"m":"é"}"#).clock(&[("b", 2), ("a", 1)]),
        update("op-8", "doc-2").data(r#"{"again":true}"#),
        delete("op-9", "doc-3"),
        update("op-10", "doc-9").data(r#"{ "new":1}"#).at(2),
        update("op-11", "doc-9").data(r#"{"new":2,"more":[]}"#),
    ];
    world.apply(later.clone()).await;
    drafts.extend(later);
    drafts
}

/// No history that pushes and compactions make is taken for damaged.
pub async fn a_verification_finds_nothing_in_any_sound_tenant(world: &World) {
    assert_sound(world).await;
    history(world).await;
    assert_sound(world).await;
    world.host.advance_ms(1_000);
    world.apply([insert("op-20", "doc-8"), update("op-21", "doc-4").data(r#"{"x":1}"#)]).await;
    world.compact(500).await;
    assert_sound(world).await;
    world.service.delete(&world.tenant, &key("doc-4")).await.map(drop).expect("the store works");
    operator(world).erase_document(&world.tenant, &key("doc-1")).await.expect("the store works");
    assert_sound(world).await;
    world.compact(0).await;
    assert_sound(world).await;
}

/// Documents, tombstones, clocks, revisions, ids and owners arrive as they were.
pub async fn an_export_is_imported_into_another_tenant(world: &World) {
    let drafts = history(world).await;
    let (a, ann) = (ClientId::literal("a"), Subject::literal("ann"));
    world.store.claim(&world.tenant, &a, &ann).await.expect("it is claimed");
    let copy = world.as_tenant("copy");
    let lines = export(world).await;
    let imported = import(&copy, &lines).await;
    assert_eq!((imported.documents, imported.present_documents), (5, 0));
    assert_eq!((imported.ids, imported.clients), (11, 1));
    assert_eq!(imported.from_tenant.as_ref(), Some(&world.tenant));
    assert_eq!(states(&copy).await, states(world).await);
    assert_sound(&copy).await;
    assert_eq!(copy.stats().await.documents, world.stats().await.documents);
    assert!(copy.push(drafts).await.iter().all(|outcome| *outcome == Outcome::Duplicate));
    let request = LoadRequest { client_ids: vec![a.clone()], ..LoadRequest::default() };
    let owners = copy.store.load(&copy.tenant, request).await.expect("the store loads").owners;
    assert_eq!(owners.get(&a), Some(&ClientOwner { subject: Some(ann), counter: 0 }));
    let [late, on_it] =
        [("late", 1), ("on-it", 3)].map(|(id, counter)| update(id, "doc-1").clock(&[("b", counter), ("a", 1)]));
    for tenant in [world, &copy] {
        let outcomes = tenant.push([late.clone(), on_it.clone()]).await;
        assert!(matches!(outcomes[..], [Outcome::Conflict(_), Outcome::Applied]), "{outcomes:?}");
    }
    assert_eq!(states(&copy).await, states(world).await);
    let empty = export(&world.as_tenant("void")).await;
    assert_eq!(import(&world.as_tenant("void-2"), &empty).await.documents, 0);
    assert_sound(&world.as_tenant("void-2")).await;
}

/// Whichever line was the last one, the same export can be imported again.
pub async fn an_import_that_was_stopped_is_continued(world: &World) {
    let drafts = history(world).await;
    let lines = export(world).await;
    for last in 1..lines.len() {
        let copy = world.as_tenant(&format!("copy-{last}"));
        let stopped = try_import(&copy, &lines[..last], false).await.expect_err("it has no end");
        assert!(stopped.to_string().contains("cut off"), "{stopped}");
        let imported = import(&copy, &lines).await;
        assert_eq!(imported.documents + imported.present_documents, 5);
        assert_eq!(import(&copy, &lines).await.present_documents, 5);
        assert_eq!(states(&copy).await, states(world).await);
        assert_sound(&copy).await;
        assert!(copy.push(drafts.clone()).await.iter().all(|outcome| *outcome == Outcome::Duplicate));
    }
}

/// Causality says which of two states is later.
pub async fn an_import_takes_later_states_and_refuses_other_ones(world: &World) {
    world.apply([insert("op-1", "doc-1"), insert("op-2", "doc-2").data(r#"{"n":1}"#)]).await;
    let early = export(world).await;
    let copy = world.as_tenant("copy");
    import(&copy, &early).await;
    world.apply([update("op-3", "doc-1").clock(&[("b", 1), ("a", 1)]), insert("op-4", "doc-3")]).await;
    let late = export(world).await;
    let imported = import(&copy, &late).await;
    assert_eq!((imported.documents, imported.present_documents), (2, 1));
    assert_eq!(states(&copy).await, states(world).await);
    assert_eq!(import(&copy, &early).await.documents, 0, "the tenant has later states");
    assert_sound(&copy).await;

    let other = world.as_tenant("other");
    import(&other, &early).await;
    other.apply([update("x", "doc-1").clock(&[("c", 1), ("a", 1)])]).await;
    let before = states(&other).await;
    let refused = try_import(&other, &late, false).await.expect_err("it was changed in both");
    assert!(refused.to_string().contains("document todos/doc-1: it was changed in another way"), "{refused}");
    assert_eq!(states(&other).await, before, "nothing of the part is written");
    for (line, problem) in [("{}", "line 2"), (&*late[0], "the first line of an export")] {
        let lines = [late[0].clone(), line.to_owned()];
        let refused = try_import(&world.as_tenant("bad"), &lines, false).await.expect_err(line).to_string();
        assert!(refused.contains(problem), "{refused}");
    }
    let without_first = try_import(&world.as_tenant("bad"), &late[1..], false).await.expect_err("the first line");
    assert!(without_first.to_string().contains("the first line"), "{without_first}");
    let mut fewer = late.clone();
    fewer.remove(1);
    let fewer = try_import(&world.as_tenant("fewer"), &fewer, false).await.expect_err("a line is missing");
    assert!(fewer.to_string().contains("fewer lines"), "{fewer}");
}

/// A dry run reports what an import would do.
pub async fn an_import_that_is_only_tried_writes_nothing(world: &World) {
    history(world).await;
    let (lines, copy) = (export(world).await, world.as_tenant("copy"));
    let tried = try_import(&copy, &lines, true).await.expect("it would work");
    assert_eq!(
        (states(&copy).await, copy.store.tenants(None, 9).await.map(|tenants| tenants.len()).ok()),
        (vec![], Some(1))
    );
    assert_eq!(import(&copy, &lines).await, tried);
}

/// No id is known without its effect, and a document that changed again and again has its last state.
pub async fn what_is_pushed_during_an_export_is_in_it(world: &World) {
    history(world).await;
    let mut export = operator(world).export(&world.tenant);
    let (mut lines, mut number) = (Vec::new(), 0_u64);
    while let Some(more) = export.next().await.expect("the store works") {
        lines.extend(more);
        number += 1;
        if number < 6 {
            let clock = [("b", 10 + number), ("a", 1)];
            let (again, new) = (format!("again-{number}"), format!("new-{number}"));
            world.apply([update(&again, "doc-1").clock(&clock), insert(&new, &new)]).await;
        }
    }
    let copy = world.as_tenant("copy");
    import(&copy, &lines).await;
    assert_sound(&copy).await;
    let (known, theirs) = (states(&copy).await, states(world).await);
    for id in copy.store.operation_ids(&copy.tenant, None, 1_000).await.expect("the ids are read") {
        if let Some(number) = id.as_str().strip_prefix("new-") {
            let document = known.iter().find(|(document, _)| document.as_str() == format!("new-{number}"));
            assert!(document.is_some(), "{id} is known, but its document is not there");
        }
    }
    for state in &known {
        let is_last = theirs.contains(state);
        assert!(is_last || state.0.as_str() == "doc-1", "{state:?}");
    }
}

/// Two tabs with one client id, at different places, get everything from the new place, and no number stands for two.
pub async fn original_clients_lose_nothing_by_a_move(world: &World) {
    world.apply(inserts(4)).await;
    let greatest = |page: &crate::service::PulledPage| page.entries.iter().map(|entry| entry.timestamp).max();
    let old_tab = greatest(&world.since("me", 0, 2).await).expect("a page");
    let new_tab = greatest(&world.since("me", old_tab, 9).await).expect("a page");
    let (lines, copy) = (export(world).await, world.as_tenant("copy"));
    import(&copy, &lines).await;
    let all = ["op-1", "op-2", "op-3", "op-4"];
    let page = copy.since("me", old_tab, 9).await;
    assert_eq!(ids(&page.entries).iter().collect::<std::collections::BTreeSet<_>>().len(), all.len());
    let given = greatest(&page).expect("a page");
    assert!(given > new_tab, "{given} could be the number of the other tab");
    copy.apply([insert("op-5", "doc-5").at(1)]).await;
    let of_new_tab = copy.since("me", new_tab, 9).await;
    assert!(all.iter().all(|id| ids(&of_new_tab.entries).contains(id)), "{of_new_tab:?}");
    assert_eq!(ids(&copy.since("me", given, 9).await.entries).first(), Some(&"op-5"));
    assert_eq!(import(&copy, &lines).await.present_documents, 4);
    assert_eq!(ids(&copy.since("me", given, 9).await.entries).first(), Some(&"op-5"), "its places are as they were");
}

/// The log keeps numbers, ids and kinds, and the device of everybody removes the document.
pub async fn an_erased_document_leaves_no_data(world: &World) {
    let secret = r#"{"secret":1}"#;
    world.apply([insert("op-1", "doc-1").data(secret), insert("op-2", "doc-2").data(r#"{"open":1}"#)]).await;
    world.apply([update("op-3", "doc-1").data(secret)]).await;
    let before = world.head().await;
    let erased = operator(world).erase_document(&world.tenant, &key("doc-1")).await.expect("the store works");
    assert_eq!((erased.is_deleted, erased.scrubbed_entries), (true, 2));
    let log = world.log().await;
    assert!(log.iter().all(|entry| entry.data().is_none_or(|data| !data.as_str().contains("secret"))), "{log:?}");
    assert!(log[1].data().is_some_and(|data| data.as_str().contains("open")));
    assert_eq!(world.document("doc-1").await, None);
    let page = world.changes(Some(before), 9).await;
    assert_eq!(page.entries.iter().map(LogEntry::kind).collect::<Vec<_>>(), [OperationKind::Delete]);
    let again = operator(world).erase_document(&world.tenant, &key("doc-1")).await.expect("the store works");
    assert_eq!((again.is_deleted, again.scrubbed_entries), (false, 0));
    world
        .apply([insert("op-9", "doc-1").data(secret).clock(&[("b", 1), ("a", 1), ("syncflow-server", INTEGER_MAX)])])
        .await;
    let missing = operator(world).erase_document(&world.tenant, &key("never")).await.expect("the store works");
    assert_eq!((missing.is_deleted, missing.scrubbed_entries), (false, 0));
    assert_eq!(world.data("doc-1").await.as_deref(), Some(secret), "another document was erased");
    let spent = operator(world).erase_document(&world.tenant, &key("doc-1")).await.expect("the store works");
    assert_eq!((spent.is_deleted, spent.scrubbed_entries), (true, 1), "the server has no counter left in its clock");
    assert_eq!(world.document("doc-1").await, None);
    assert_sound(world).await;
}

/// The same store with a service that merges.
fn merging(world: &World) -> World {
    let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
    let policies = Policies::for_all(ConflictPolicy::Merge, Deletes::Lose);
    World { service: Arc::new(service.with_conflict_policies(policies).with_quarantine()), ..world.clone() }
}

/// A document with a conflict of which something was lost, and a tombstone whose data are kept.
async fn conflicts(world: &World) {
    let edit = |id: &str, document, client: &str, at: u64| update(id, document).clock(&[(client, 1), ("a", 1)]).at(at);
    world.apply([insert("op-1", "doc-1").data(r#"{"x":1,"y":1}"#).at(1), insert("op-2", "doc-2").at(1)]).await;
    world.push([edit("op-3", "doc-1", "b", 20).data(r#"{"x":2}"#)]).await;
    world.push([edit("op-4", "doc-1", "c", 10).data(r#"{"x":"secret","y":4}"#)]).await;
    world.push([delete("op-5", "doc-2").clock(&[("b", 2), ("a", 2)]).at(30)]).await;
    world.push([edit("op-6", "doc-2", "c", 25).data(r#"{"also":"secret"}"#)]).await;
}

/// The log says what was lost until it is erased, and nothing that is kept is missing in the counters.
pub async fn what_is_kept_beside_resolutions_is_counted_shown_and_erased(world: &World) {
    let world = &merging(world);
    conflicts(world).await;
    assert_sound(world).await;
    let kept = async || {
        let audit = world.store.audit(&world.tenant, Seq::START, 100).await.expect("the log is read");
        audit.entries.iter().map(|entry| entry.kept_bytes).sum::<u64>()
    };
    let before = kept().await;
    assert!(before > 0);
    let history = operator(world).history(&world.tenant, &key("doc-1"), Seq::START).await.expect("the store works");
    let lost = history.entries.last().and_then(|entry| entry.entry.resolution.as_ref()).expect("a record");
    assert!(lost.as_str().contains("secret"), "{lost:?}");
    for document in ["doc-1", "doc-2"] {
        let erased = operator(world).erase_document(&world.tenant, &key(document)).await.expect("the store works");
        assert!(erased.scrubbed_entries > 0, "{erased:?}");
        let again = operator(world).erase_document(&world.tenant, &key(document)).await.expect("the store works");
        assert_eq!(again.scrubbed_entries, 0);
    }
    assert_eq!(kept().await, 0);
    let request =
        LoadRequest { keys: vec![key("doc-1")], with_stamps: true, max_bytes: 1_000, ..LoadRequest::default() };
    let loaded = world.store.load(&world.tenant, request).await.expect("the store loads");
    assert!(loaded.stamps.values().all(|stored| stored.stamps.is_none()), "names of keys are left: {loaded:?}");
    let log = world.log().await;
    assert!(log.iter().all(|entry| entry.data().is_none_or(|data| data.as_str() == "{}")), "{log:?}");
    assert_sound(world).await;
}

/// The writers of keys come along, so a copy resolves later operations as the original does.
pub async fn a_moved_tenant_resolves_conflicts_as_before(world: &World) {
    let (world, copy) = (&merging(world), &merging(&world.as_tenant("copy")));
    conflicts(world).await;
    let lines = export(world).await;
    import(copy, &lines).await;
    assert_eq!(states(copy).await, states(world).await);
    assert_sound(copy).await;
    let late =
        |id: &str, at| update(id, "doc-1").data(r#"{"x":7,"y":7}"#).client("d").clock(&[("d", 1), ("a", 1)]).at(at);
    for (id, at) in [("op-7", 15), ("op-8", 9)] {
        assert_eq!(copy.push([late(id, at)]).await, world.push([late(id, at)]).await);
        assert_eq!(states(copy).await, states(world).await, "{id}");
    }
    let known = world.push([update("op-4", "doc-1")]).await;
    assert_eq!((copy.push([update("op-4", "doc-1")]).await, &known[..]), (known.clone(), &[Outcome::Duplicate][..]));
}

/// It is the server's own, and goes with its tenant.
pub async fn a_quarantine_is_not_a_tenant_of_its_own_for_an_operator(world: &World) {
    let world = &merging(world);
    conflicts(world).await;
    let undecidable = [Undecidable::new(r#"{"id":""}"#, "id: is empty".to_owned())];
    world.service.quarantine(&world.tenant, &ClientId::literal("old"), &undecidable).await.expect("the store works");
    let tenants = operator(world).tenants(None).await.expect("the store works");
    assert_eq!(tenants.iter().map(|(tenant, _)| tenant).collect::<Vec<_>>(), [&world.tenant]);
    let last = operator(world).tenants(Some(&world.tenant)).await.expect("the store works");
    assert_eq!(last, []);
    let erased = operator(world).erase_tenant(&world.tenant, u64::MAX).await.expect("the store works");
    assert!(erased.is_finished);
    let kept = world.service.quarantined(&world.tenant, None).await.expect("the store works").documents;
    assert_eq!(kept, []);
    assert_sound(world).await;
    world.apply([insert("op-1", "doc-1").clock(&[("c", 1)]).at(5)]).await;
    let outcomes = world.push([update("op-9", "doc-1").clock(&[("a", 9)]).at(4)]).await;
    assert!(matches!(outcomes[..], [Outcome::Resolved(_)]), "no stamps were left behind: {outcomes:?}");
}

/// Other documents are left out, and the horizon says where it begins.
pub async fn the_history_of_a_document_is_read_in_parts(world: &World) {
    history(world).await;
    let mut found = Vec::new();
    let mut after = Seq::START;
    loop {
        let page = operator(world).history(&world.tenant, &key("doc-1"), after).await.expect("the store works");
        assert_eq!(page.horizon, Seq::new(6));
        found.extend(page.entries.iter().map(|entry| entry.entry.id.to_string()));
        let Some(next) = page.next else { break };
        after = next;
    }
    assert_eq!(found, ["op-7"]);
}

/// Its numbers are not given again.
pub async fn a_client_that_is_forgotten_is_answered_from_the_beginning(world: &World) {
    world.apply(inserts(3)).await;
    world.since("me", 0, 9).await;
    assert_eq!(world.since("me", 3, 9).await.entries, []);
    let me = ClientId::literal("me");
    let forgotten = operator(world).forget_client(&world.tenant, &me).await.expect("the store works");
    assert_eq!(forgotten, Forgotten::Done);
    let row = operator(world).clients(&world.tenant, None).await.expect("the store works").remove(0);
    assert_eq!(
        row.pulls.map(|(progress, places)| (progress.seen_at_ms, places.greatest_given())),
        Some((UnixMs::EPOCH, UnixMs::new(3)))
    );
    let page = world.since("me", 3, 9).await;
    assert_eq!(ids(&page.entries)[..3], ["op-1", "op-2", "op-3"]);
    assert!(page.entries.iter().map(|entry| entry.timestamp).max() > Some(UnixMs::new(3)));
    let nobody = operator(world).forget_client(&world.tenant, &ClientId::literal("nobody")).await;
    assert_eq!(nobody.expect("the store works"), Forgotten::Unknown);
}

/// The number is that of the compaction that follows.
pub async fn it_is_known_how_much_a_compaction_would_remove(world: &World) {
    for number in 1..=9_u64 {
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}"))]).await;
        world.host.advance_ms(10);
    }
    for (older_than_ms, expected) in [(100, 0), (90, 1), (61, 2), (60, 1), (1, 5), (0, 0)] {
        let foretold = operator(world).would_compact(&world.tenant, older_than_ms).await.expect("the store works");
        assert_eq!((foretold, world.compact(older_than_ms).await), (expected, expected), "{older_than_ms}");
    }
    assert_eq!(operator(&world.as_tenant("void")).would_compact(&world.tenant, 0).await.ok(), Some(0));
}

/// The report has the sums of all steps.
pub async fn a_tenant_is_erased_with_all_that_belongs_to_it(world: &World) {
    history(world).await;
    world.since("me", 0, 9).await;
    let erased = operator(world).erase_tenant(&world.tenant, INTEGER_MAX).await.expect("the store works");
    assert_eq!(erased, Erased { documents: 5, entries: 5, ids: 11, clients: 1, is_finished: true });
    assert_eq!(operator(world).tenants(None).await.expect("the store works"), []);
    assert_eq!(states(world).await, []);
    assert_sound(world).await;
}
