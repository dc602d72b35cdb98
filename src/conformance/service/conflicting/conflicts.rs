//! Conflicts that the server resolves: the log, the documents and the memory of every store serve every policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _, join_all, ready};
use serde_json::{Value, json};

use super::super::super::draft::{Draft, delete, insert, key, update};
use super::super::super::faults::FaultyStore;
use super::super::super::world::{World, ids, operations, query_of};
use crate::core::access::rules::{CollectionRules, Holder, LabelSource, Rules};
use crate::core::access::{Claims, Principal, Role};
use crate::core::clock::{Relation, VectorClock};
use crate::core::cursor::Cursor;
use crate::core::decide::{Outcome, Refused, StoredStamps};
use crate::core::document::Document;
use crate::core::json::Object;
use crate::core::names::{ClientId, OperationId, Subject, TenantId};
use crate::core::operation::{LogEntry, Operation};
use crate::core::policy::{ConflictPolicy, Deletes, Policies};
use crate::limits::service::{
    QUARANTINE_MAX_BYTES, QUARANTINE_MAX_DOCUMENTS, QUARANTINE_PART_MAX_BYTES, QUARANTINE_REASON_MAX_BYTES,
};
use crate::service::{
    Host, PullFrom, PullRequest, Pulled, PushRequest, Pushed, QUARANTINE, Resolution, Resolver, SyncService,
    Undecidable, Write, Written,
};
use crate::store::{LoadRequest, Store};

/// The same store and clock with a service that has a policy for all collections.
fn with_policy(world: &World, policy: ConflictPolicy, deletes: Deletes) -> World {
    with(world, |service| service.with_conflict_policies(Policies::for_all(policy, deletes)))
}

fn with(world: &World, change: impl FnOnce(SyncService) -> SyncService) -> World {
    let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
    World { service: Arc::new(change(service)), ..world.clone() }
}

fn survivals(outcomes: &[Outcome]) -> Vec<&'static str> {
    let survival = |outcome: &Outcome| match outcome {
        Outcome::Applied => "applied",
        Outcome::Duplicate => "duplicate",
        Outcome::Conflict(_) => "conflict",
        Outcome::Resolved(resolved) => resolved.survival.as_str(),
        _ => "other",
    };
    outcomes.iter().map(survival).collect()
}

/// The values of a document, whatever the order of its keys.
async fn value(world: &World, id: &str) -> Option<Value> {
    world.data(id).await.map(|data| serde_json::from_str(&data).expect("data are JSON"))
}

/// An edit by a client that has seen the insert of [`begun`] and nothing else.
fn edit(id: &str, client: &str, at: u64, data: &str) -> Draft {
    update(id, "doc").data(data).clock(&[(client, 1), ("a", 1)]).at(at)
}

/// Inserts the document that the checks are about.
async fn begun(world: &World) {
    world.apply([insert("op-1", "doc").data(r#"{"x":1,"y":1}"#).at(10_u64)]).await;
}

/// The resolutions of the log, with what was resolved.
async fn resolutions(world: &World) -> Vec<LogEntry> {
    let request = PullRequest::new(PullFrom::Cursor(Some(Cursor::BEGINNING))).with_resolutions();
    let pulled = world.service.pull(&world.tenant, request).await.expect("the pull is answered");
    let Pulled::Page(page) = pulled else { panic!("no page but {pulled:?}") };
    page.entries.into_iter().filter(|entry| entry.resolution.is_some()).collect()
}

/// The log has the resolution in the place of the operation, which is known from then on, under any policy.
pub async fn a_resolution_takes_the_place_of_its_operation_which_is_known(world: &World) {
    let world = with_policy(world, ConflictPolicy::LastWriterWins, Deletes::Win);
    begun(&world).await;
    let edits = [edit("op-2", "b", 30, r#"{"x":2}"#), edit("op-3", "c", 20, r#"{"y":3}"#)];
    assert_eq!(survivals(&world.push(edits.clone()).await), ["applied", "lost"]);
    let log = world.log().await;
    assert_eq!(ids(&log), ["op-1", "syncflow-server::resolved::op-2", "syncflow-server::resolved::op-3"]);
    let last = &log[2];
    assert_eq!(last.data().map(Object::as_str), Some(r#"{"x":2,"y":1}"#));
    assert_eq!((last.client_id.as_str(), last.timestamp.get()), ("b", 30));
    assert_eq!(last.clock.as_str(), r#"{"a":1,"b":1,"c":1}"#);
    let document = world.document("doc").await.expect("it is there");
    assert_eq!((document.rev.get(), document.operation_id.as_str()), (3, "syncflow-server::resolved::op-3"));
    for policy in [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge, ConflictPolicy::Reject] {
        let world = with_policy(&world, policy, Deletes::Win);
        assert_eq!(survivals(&world.push(edits.clone()).await), ["duplicate", "duplicate"], "{policy:?}");
    }
    let known = ["op-1", "op-2", "op-3"];
    let asked: Vec<OperationId> = known.into_iter().chain(["op-4"]).map(OperationId::literal).collect();
    let request = LoadRequest { ids: asked, ..LoadRequest::default() };
    let snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
    let expected = known.into_iter().map(OperationId::literal).collect();
    assert_eq!(snapshot.known, expected);
    assert_eq!(world.usage().await.operation_ids, 3, "each operation counts once");
    world.compact(0).await;
    assert_eq!(survivals(&world.push(edits).await), ["duplicate", "duplicate"], "compaction forgets no id");
}

/// Law 2 and 3: of a resolution and the operation itself, which two servers decide at once, one is written.
pub async fn an_operation_takes_effect_once_although_another_server_does_not_resolve_it(world: &World) {
    let resolving = with_policy(world, ConflictPolicy::LastWriterWins, Deletes::Win);
    begun(&resolving).await;
    let seen = || update("op-2", "doc").clock(&[("a", 2)]).at(20_u64);
    let batch = world.decide([seen()]).await;
    assert_eq!(survivals(&resolving.push([seen()]).await), ["applied"]);
    assert_eq!(world.commit(batch).await, crate::store::Commit::Contended);
    assert_eq!(resolving.log().await.len(), 2);
}

/// Each key is decided by itself, also across pushes, so a store keeps who wrote it.
pub async fn a_merge_knows_the_writer_of_each_key_from_push_to_push(world: &World) {
    let world = with_policy(world, ConflictPolicy::Merge, Deletes::Win);
    begun(&world).await;
    assert_eq!(survivals(&world.push([edit("op-2", "b", 30, r#"{"x":2}"#)]).await), ["applied"]);
    assert_eq!(survivals(&world.push([edit("op-3", "c", 20, r#"{"x":3,"y":3}"#)]).await), ["merged"]);
    assert_eq!(value(&world, "doc").await, Some(json!({"x": 2, "y": 3})));
    assert_eq!(survivals(&world.push([edit("op-4", "d", 25, r#"{"x":4,"y":4}"#)]).await), ["merged"]);
    assert_eq!(value(&world, "doc").await, Some(json!({"x": 2, "y": 4})), "x is of 30, y of 25");
    // A document with names that need escapes, in keys and clients.
    let odd = insert("op-\"5\"", "odd").data(r#"{"\"é\\":1}"#).clock(&[("ä\"", 1)]).at(10_u64);
    world.apply([odd]).await;
    let late = |id: &str, at: u64| update(id, "odd").data(r#"{"\"é\\":2,"z":1}"#).clock(&[("b\\", 1)]).at(at);
    assert_eq!(survivals(&world.push([late("op-6", 5)]).await), ["lost"]);
    assert_eq!(survivals(&world.push([late("op-7", 15)]).await), ["won"]);
}

/// The stamps of a content are not used for another one that was written without them.
pub async fn a_collection_may_change_its_policy_between_pushes(world: &World) {
    let merging = with_policy(world, ConflictPolicy::Merge, Deletes::Win);
    begun(&merging).await;
    merging.push([edit("op-2", "b", 30, r#"{"x":2}"#)]).await;
    let last = with_policy(world, ConflictPolicy::LastWriterWins, Deletes::Win);
    assert_eq!(survivals(&last.push([edit("op-3", "c", 20, r#"{"y":3}"#)]).await), ["lost"]);
    assert_eq!(survivals(&world.push([edit("op-4", "d", 40, r#"{"y":4}"#)]).await), ["conflict"]);
    let seen = update("op-5", "doc").data(r#"{"x":5}"#).clock(&[("e", 1), ("a", 1), ("b", 1), ("c", 1)]).at(5_u64);
    world.apply([seen]).await;
    assert_eq!(ids(&world.log().await).last(), Some(&"op-5"), "it is logged as it is");
    assert_eq!(survivals(&merging.push([edit("op-6", "f", 20, r#"{"x":6}"#)]).await), ["won"]);
    assert_eq!(value(&merging, "doc").await, Some(json!({"x": 6, "y": 1})), "the content is of 5, not of 30");
}

/// The data of a tombstone are kept beside its entry of the log, and compaction removes both.
pub async fn deleted_data_come_back_with_a_later_update_until_the_log_forgets_them(world: &World) {
    let world = with_policy(world, ConflictPolicy::Merge, Deletes::Lose);
    let late = |id: &str, document: &str| update(id, document).data(r#"{"x":9}"#).clock(&[("b", 1)]).at(30_u64);
    for document in ["doc", "other"] {
        let name = |what: &str| format!("{document}-{what}");
        world.apply([insert(&name("op-1"), document).data(r#"{"x":1,"y":"secret"}"#).at(10_u64)]).await;
        world.apply([delete(&name("op-2"), document).clock(&[("a", 2)]).at(20_u64)]).await;
        let early = update(&name("op-3"), document).data(r#"{"z":3}"#).clock(&[("c", 1)]).at(15_u64);
        assert_eq!(survivals(&world.push([early]).await), ["lost"]);
        assert_eq!(value(&world, document).await, None);
    }
    assert_eq!(survivals(&world.push([late("op-4", "doc")]).await), ["won"]);
    let expected = json!({"x": 9, "y": "secret", "z": 3});
    assert_eq!(value(&world, "doc").await, Some(expected), "as if the delete had come last");
    world.compact(0).await;
    let request = LoadRequest { keys: vec![key("other")], with_stamps: true, ..LoadRequest::default() };
    let snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
    assert!(!format!("{snapshot:?}").contains("secret"));
    assert_eq!(survivals(&world.push([late("op-5", "other")]).await), ["won"]);
    assert_eq!(value(&world, "other").await, Some(json!({"x": 9})));
}

/// By default, a delete wins over edits that have not seen it.
pub async fn a_delete_wins_over_a_later_edit_that_has_not_seen_it(world: &World) {
    for policy in [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge] {
        let world = with_policy(&world.as_tenant(policy.as_str()), policy, Deletes::Win);
        begun(&world).await;
        world.apply([delete("op-2", "doc").clock(&[("a", 2)]).at(11_u64)]).await;
        assert_eq!(survivals(&world.push([edit("op-3", "b", 90, r#"{"x":3}"#)]).await), ["lost"]);
        world.apply([insert("op-4", "doc").data("{}").clock(&[("a", 3), ("b", 1)]).at(12_u64)]).await;
        let unseen = delete("op-5", "doc").clock(&[("c", 1), ("a", 1)]).at(5_u64);
        assert_eq!(survivals(&world.push([unseen]).await), ["won"]);
        assert_eq!(value(&world, "doc").await, None, "{policy:?}");
    }
}

/// A lost operation stands beside the resolution for an admin who asks for it, as long as the log has the entry.
pub async fn what_was_lost_is_kept_with_the_resolution_until_compaction(world: &World) {
    let world = with_policy(world, ConflictPolicy::ServerWins, Deletes::Win);
    begun(&world).await;
    let before = world.usage().await;
    let unseen = |id: &str, client: &str, data: &str| update(id, "doc").data(data).clock(&[(client, 1)]).at(30_u64);
    world.push([unseen("op-2", "b", r#"{"x":2}"#), unseen("op-3", "c", r#"{"y":3}"#)]).await;
    let kept = resolutions(&world).await;
    assert_eq!(ids(&kept), ["syncflow-server::resolved::op-2", "syncflow-server::resolved::op-3"]);
    let resolution: Value =
        serde_json::from_str(kept[0].resolution.as_ref().expect("it is there").as_str()).expect("JSON");
    let operation = json!({
        "id": "op-2", "type": "update", "collection": "todos", "docId": "doc", "data": {"x": 2}, "timestamp": 30,
        "clientId": "b", "vectorClock": {"b": 1},
    });
    assert_eq!(
        resolution,
        json!({
            "id": "op-2", "outcome": "lost", "relation": "concurrent",
            "winner": {"operationId": "op-1", "clientId": "a"}, "operation": operation,
        })
    );
    assert!(world.log().await.iter().all(|entry| entry.resolution.is_none()), "nobody else gets it");
    let log_bytes = world.usage().await.bytes - before.bytes;
    assert!(log_bytes > 2 * operation.to_string().len() as u64, "it counts among the bytes of the tenant");
    world.compact(0).await;
    assert!(resolutions(&world).await.is_empty());
    let request = LoadRequest { keys: vec![key("doc")], with_stamps: true, ..LoadRequest::default() };
    let snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
    let of_documents: usize = snapshot.documents.values().map(Document::bytes).sum();
    let of_stamps: usize = snapshot.stamps.values().map(StoredStamps::bytes).sum();
    assert_eq!(world.usage().await.bytes, (of_documents + of_stamps) as u64, "the log has nothing left");
}

/// Law 11: a principal that may not see every document is never told of losers.
pub async fn what_was_lost_is_hidden_from_restricted_readers(world: &World) {
    let owner = || vec![Holder::Label("owner".to_owned())];
    let of_owner = CollectionRules { read: owner(), write: owner(), create: owner() };
    let labels = [("owner".to_owned(), LabelSource::new("owner", "sub").expect("two paths"))].into();
    let rules = Rules::new(labels, BTreeMap::default(), of_owner).expect("all names exist");
    let world = with(world, |service| {
        let policies = Policies::for_all(ConflictPolicy::LastWriterWins, Deletes::Lose);
        service.with_rules(rules).with_conflict_policies(policies)
    });
    let principal = |subject: &str| {
        Principal::new(world.tenant.clone(), Subject::literal(subject), Role::Admin).with_claims(Claims::default())
    };
    let push = async |subject: &str, drafts: Vec<Draft>| {
        let pushed = world.service.push_as(&principal(subject), PushRequest::new(operations(drafts))).await;
        pushed.expect("the push is answered").outcomes().expect("the push is not refused")
    };
    let secret = r#"{"owner":"ann","word":"secret"}"#;
    push("ann", vec![insert("op-1", "doc").data(secret).clock(&[("ann", 1)]).at(10_u64)]).await;
    let lost = push("ann", vec![update("op-2", "doc").data(secret).clock(&[("ann-2", 1)]).at(5_u64)]).await;
    // Nothing of it differs from the content.
    assert_eq!(survivals(&lost), ["won"]);
    let forbidden = push("bob", vec![update("op-3", "doc").data(r#"{"owner":"bob"}"#).clock(&[("bob", 1)]).at(90_u64)]);
    assert!(matches!(forbidden.await[..], [Outcome::Forbidden(None)]));
    push("ann", vec![delete("op-4", "doc").clock(&[("ann", 9), ("a", 9), ("ann-2", 9)]).at(20_u64)]).await;
    let recovers = push("bob", vec![update("op-5", "doc").data(r#"{"owner":"bob"}"#).clock(&[("bob", 2)]).at(95_u64)]);
    assert!(matches!(recovers.await[..], [Outcome::Forbidden(None)]), "the tombstone is not his either");
    let request = PullRequest::new(PullFrom::Cursor(None)).with_resolutions();
    for subject in ["bob", "ann"] {
        let pulled = world.service.pull_as(&principal(subject), request.clone()).await.expect("the pull is answered");
        let Pulled::Page(page) = pulled else { panic!("no page but {pulled:?}") };
        assert!(page.entries.iter().all(|entry| entry.resolution.is_none()), "{subject}");
        assert!(!format!("{page:?}").contains("secret") || subject == "ann");
    }
}

/// Pushes of one commit see each other's resolutions.
pub async fn pushes_that_share_a_commit_see_each_others_resolutions(world: &World) {
    begun(world).await;
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let world = World { store: Arc::clone(&faulty) as Arc<dyn Store>, ..world.clone() };
    let world = with_policy(&world, ConflictPolicy::Merge, Deletes::Win);
    let gate = faulty.hold(&world.tenant).await;
    let begin = |draft: Draft| {
        let mut push = world.service.push(&world.tenant, operations([draft])).boxed();
        assert!((&mut push).now_or_never().is_none(), "the push waits for its commit");
        push
    };
    let pushes = [
        begin(edit("op-2", "b", 30, r#"{"x":2}"#)),
        begin(edit("op-3", "c", 20, r#"{"x":3,"y":3}"#)),
        begin(edit("op-4", "d", 25, r#"{"y":4}"#)),
    ];
    drop(gate);
    let outcomes: Vec<Outcome> = join_all(pushes)
        .await
        .into_iter()
        .flat_map(|pushed| pushed.expect("the push is answered").outcomes().expect("the push is not refused"))
        .collect();
    assert_eq!(survivals(&outcomes), ["applied", "merged", "won"]);
    assert_eq!(value(&world, "doc").await, Some(json!({"x": 2, "y": 4})));
    let log = world.log().await;
    for pair in log.windows(2) {
        let [before, after] =
            [&pair[0], &pair[1]].map(|entry| VectorClock::parse(entry.clock.as_str()).expect("a clock"));
        assert!(matches!(after.compare(&before), Relation::HappensAfter | Relation::Equal));
        assert!(pair[0].timestamp <= pair[1].timestamp);
    }
}

/// The server has seen everything, so its writes win, and clients receive them as resolutions.
pub async fn a_write_of_the_server_takes_effect_under_every_policy(world: &World) {
    for policy in ConflictPolicy::ALL {
        let world = with_policy(&world.as_tenant(policy.as_str()), policy, Deletes::Win);
        begun(&world).await;
        world.push([edit("op-2", "b", 90, r#"{"x":2}"#)]).await;
        let write = Write::patch(key("doc"), &json!({"y": policy.as_str()})).expect("an object");
        let written = world.service.write(&world.tenant, &write).await.expect("the store works");
        assert!(matches!(written, Written::Done(_)), "{policy:?}: {written:?}");
        let now = value(&world, "doc").await.expect("it is there");
        assert_eq!(now["y"], policy.as_str());
        let unseen = world.push([edit("op-3", "c", 95, r#"{"y":3}"#)]).await;
        assert_ne!(survivals(&unseen), ["applied"], "{policy:?}");
    }
}

/// Clients of every kind receive resolutions, and documents once the log is gone.
pub async fn pulls_of_every_kind_lead_to_the_resolved_document(world: &World) {
    let world = with_policy(world, ConflictPolicy::Merge, Deletes::Win);
    begun(&world).await;
    world.push([edit("op-2", "b", 30, r#"{"x":2}"#), edit("op-3", "c", 20, r#"{"x":3,"y":3}"#)]).await;
    let whole = r#"{"x":2,"y":3}"#;
    for is_compacted in [false, true] {
        if is_compacted {
            world.compact(0).await;
        }
        let pages = [
            world.since(if is_compacted { "late" } else { "early" }, 0_u64, 10).await,
            world.since_of_nobody(0_u64, 10).await,
            world.page(None, 10).await,
            world.page(Some(Cursor::BEGINNING), 10).await,
        ];
        for page in pages {
            let last = page.entries.last().expect("there is one");
            assert_eq!(last.id.as_str(), "syncflow-server::resolved::op-3");
            assert_eq!(last.data().map(Object::as_str), Some(whole));
        }
    }
}

/// The bytes of stamps are part of what a decision loads.
pub async fn a_load_counts_the_stamps_of_documents(world: &World) {
    let world = with_policy(world, ConflictPolicy::Merge, Deletes::Win);
    begun(&world).await;
    world.push([edit("op-2", "b", 30, r#"{"x":2}"#)]).await;
    let load = async |with_stamps, max_bytes| {
        let request = LoadRequest { keys: vec![key("doc")], with_stamps, max_bytes, ..LoadRequest::default() };
        world.store.load(&world.tenant, request).await.expect("the store loads")
    };
    let snapshot = load(true, usize::MAX >> 1).await;
    let documents: usize = snapshot.documents.values().map(Document::bytes).sum();
    let stamps: usize = snapshot.stamps.values().map(StoredStamps::bytes).sum();
    assert!(stamps > 0 && load(false, documents).await.stamps.is_empty());
    assert!(load(true, documents + stamps - 1).await.is_cut);
    assert!(!load(true, documents + stamps).await.is_cut && !load(false, documents).await.is_cut);
}

/// A resolver of checks.
#[derive(Debug)]
struct Sums;

impl Resolver for Sums {
    fn resolve<'a>(
        &'a self,
        _: &'a TenantId,
        operation: &'a Operation,
        document: &'a Document,
    ) -> BoxFuture<'a, Resolution> {
        let number = |data: Option<&Object>| -> Option<i64> {
            serde_json::from_str::<Value>(data?.as_str()).ok()?.get("n")?.as_i64()
        };
        let sum = number(operation.data()).zip(number(document.data.as_ref())).map(|(ours, theirs)| ours + theirs);
        let resolution = match sum {
            Some(0) => Resolution::Deleted,
            Some(sum) => Resolution::Data(Object::literal(&format!(r#"{{"n":{sum}}}"#))),
            None => Resolution::Conflict,
        };
        ready(resolution).boxed()
    }
}

/// The application decides between reading and deciding; without an answer the operation is in conflict.
pub async fn an_application_resolves_conflicts_itself(world: &World) {
    let policies = Policies::for_all(ConflictPolicy::Custom, Deletes::Win);
    let alone = with(world, |service| service.with_conflict_policies(policies.clone()));
    let world = with(world, |service| service.with_conflict_policies(policies).with_resolver(Sums));
    world.apply([insert("op-1", "doc").data(r#"{"n":1}"#)]).await;
    let add = |id: &str, client: &str, data: &str| update(id, "doc").data(data).clock(&[(client, 1)]);
    assert_eq!(survivals(&alone.push([add("op-2", "b", r#"{"n":2}"#)]).await), ["conflict"]);
    assert_eq!(survivals(&world.push([add("op-2", "b", r#"{"n":2}"#)]).await), ["lost"]);
    assert_eq!(value(&world, "doc").await, Some(json!({"n": 3})));
    assert_eq!(survivals(&world.push([add("op-3", "c", "{}")]).await), ["conflict"]);
    let outcomes = world.push([add("op-4", "d", r#"{"n":4}"#), add("op-5", "e", r#"{"n":5}"#)]).await;
    assert_eq!(survivals(&outcomes), ["lost", "conflict"], "the second one was not asked about this revision");
    assert_eq!(survivals(&world.push([add("op-6", "f", r#"{"n":-7}"#)]).await), ["lost"]);
    assert_eq!(value(&world, "doc").await, None);
    let resolved = world.push([add("op-7", "g", r#"{"n":5}"#)]).await;
    assert_eq!(survivals(&resolved), ["conflict"], "a tombstone has no number");
}

/// An original client cannot push fewer operations at a time, so its push is carried out in several commits.
pub async fn a_push_of_an_original_client_may_have_more_resolutions_than_fit_one_commit(world: &World) {
    let world = with_policy(world, ConflictPolicy::Merge, Deletes::Win);
    let large = format!(r#"{{"large":"{}"}}"#, "x".repeat(900_000));
    world.apply([insert("op-0", "doc").data(&large).at(10_u64)]).await;
    world.since("old", 0_u64, 10).await;
    let principal = Principal::new(world.tenant.clone(), Subject::literal("s"), Role::Writer);
    let push = async |client: &str, change: fn(PushRequest) -> PushRequest| {
        let edit = |number: u64| {
            let draft = update(&format!("op-{number}"), "doc").data(&format!(r#"{{"n":{number}}}"#));
            draft.clock(&[(client, number), ("a", 1)]).at(20_u64)
        };
        let request = PushRequest::new(operations((1..=20).map(edit))).with_client(ClientId::literal(client));
        world.service.push_as(&principal, change(request)).await.expect("the push is answered")
    };
    for change in [|request| request, PushRequest::partial] {
        let refused = push("new", change).await;
        assert!(matches!(refused, Pushed::Refused(Refused::DocumentsTooLarge { .. })), "{refused:?}");
    }
    assert!(matches!(push("old", PushRequest::partial).await, Pushed::Refused(_)), "it can push fewer");
    assert_eq!(world.document("doc").await.map(|document| document.rev.get()), Some(1), "nothing has changed");
    let outcomes = push("old", |request| request).await.outcomes().expect("the push is decided");
    assert_eq!(survivals(&outcomes), ["applied"; 20]);
    assert_eq!(world.document("doc").await.map(|document| document.rev.get()), Some(21));
    let again = push("old", PushRequest::lenient).await.outcomes().expect("the push is decided");
    assert_eq!(survivals(&again), ["duplicate"; 20]);
}

/// Operations of original clients that cannot be decided are kept once, within limits, until a compaction removes them.
pub async fn operations_that_cannot_be_decided_are_kept_in_a_bounded_quarantine(world: &World) {
    let world = with(world, SyncService::with_quarantine);
    let World { service, tenant, .. } = &world;
    world.apply([insert("op-1", "doc")]).await;
    world.since("old", 0_u64, 10).await;
    world.page(None, 10).await;
    let room = async |client: &str, operations, bytes| {
        let room = service.has_room_in_quarantine(tenant, &ClientId::literal(client), operations, bytes).await;
        room.expect("the store works")
    };
    assert!(room("old", 50, 1_000).await && !room("new", 1, 1).await, "only clients with a since");
    assert!(!room("old", QUARANTINE_MAX_DOCUMENTS + 1, 1).await && !room("old", 1, QUARANTINE_MAX_BYTES).await);
    let large = format!(r#"{{"large":"{}é"}}"#, "x".repeat(QUARANTINE_PART_MAX_BYTES));
    let undecidable =
        [Undecidable::new(r#"{"id":""}"#, "id: is empty".to_owned()), Undecidable::new(&large, "no".to_owned())];
    for _ in 0..2 {
        service.quarantine(tenant, &ClientId::literal("old"), &undecidable).await.expect("the store works");
    }
    let kept = service.quarantined(tenant, None).await.expect("the store works").documents;
    assert_eq!(kept.len(), 3, "the large one has two parts");
    let data: Vec<Value> = kept.iter().map(|kept| serde_json::from_str(kept.data.as_str()).expect("JSON")).collect();
    let small = data.iter().find(|data| data["reason"] == "id: is empty").expect("it is there");
    assert_eq!((&small["text"], &small["clientId"]), (&json!(r#"{"id":""}"#), &json!("old")));
    let text = |part: u64| {
        data.iter().find(|data| data["parts"] == 2 && data["part"] == part).expect("a part")["text"].clone()
    };
    let whole = format!("{}{}", text(1).as_str().expect("a text"), text(2).as_str().expect("a text"));
    assert_eq!(whole, large);
    assert_eq!(ids(&world.log().await), ["op-1"], "no client receives them");
    let query = |role| {
        let principal = Principal::new(tenant.clone(), Subject::literal("s"), role);
        async move { service.query_as(&principal, query_of(QUARANTINE, &[])).await.expect("the store works").documents }
    };
    assert_eq!((query(Role::Admin).await.len(), query(Role::Writer).await.len()), (3, 0));
    world.compact(1_000).await;
    assert_eq!(query(Role::Admin).await.len(), 3, "they are not old enough");
    world.host.advance_ms(1_000);
    world.compact(1_000).await;
    assert_eq!(query(Role::Admin).await.len(), 0);
}

/// Law 7: an operation that is answered as accepted is there, whatever its client or the application says.
pub async fn an_operation_in_quarantine_is_whole_whatever_the_reason_for_it_has(world: &World) {
    let world = with(world, SyncService::with_quarantine);
    let World { service, tenant, .. } = &world;
    world.since("old", 0_u64, 10).await;
    let text = r#"{"id":"a\u0000","n":"\\u0000"}"#;
    let reason = format!("vectorClock.\u{0}\u{1b}é: no\n{}", "x".repeat(QUARANTINE_REASON_MAX_BYTES));
    let undecidable = [Undecidable::new(text, reason)];
    service.quarantine(tenant, &ClientId::literal("old"), &undecidable).await.expect("the store works");
    let kept = service.quarantined(tenant, None).await.expect("the store works").documents;
    let data: Value = serde_json::from_str(kept[0].data.as_str()).expect("JSON");
    assert_eq!((kept.len(), &data["text"]), (1, &json!(text)));
    let kept_reason = data["reason"].as_str().expect("a text");
    assert!(kept_reason.starts_with("vectorClock.é: nox") && kept_reason.len() == QUARANTINE_REASON_MAX_BYTES);
}
