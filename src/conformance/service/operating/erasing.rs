//! Documents that an operator erases: nothing that a client has made can prevent it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join;

use crate::conformance::draft::{insert, key, update};
use crate::conformance::faults::{Fault, FaultyStore};
use crate::conformance::world::World;
use crate::core::access::Role;
use crate::core::access::rules::{CollectionRules, Holder, Rules};
use crate::core::clock::{Relation, VectorClock};
use crate::core::names::ClientId;
use crate::core::operation::Operation;
use crate::core::policy::{ConflictPolicy, Deletes, Policies};
use crate::limits::protocol::{CLOCK_MAX_ENTRIES, INTEGER_MAX};
use crate::limits::service::ERASE_MAX_ATTEMPTS;
use crate::service::operator::{ErasedDocument, Operator};
use crate::service::{Caller, Host, ServiceError, SyncService};
use crate::store::ErrorKind;

async fn try_erase(world: &World, document: &str) -> Result<ErasedDocument, ServiceError> {
    Operator::new(Arc::clone(&world.service)).erase_document(&world.tenant, &key(document)).await
}

async fn assert_erased(world: &World, document: &str) {
    let erased = try_erase(world, document).await.expect("it is erased");
    assert!(erased.is_deleted && erased.scrubbed_entries > 0, "{document}: {erased:?}");
    assert_eq!(world.document(document).await, None);
    let log = world.log().await;
    let entries = log.iter().filter(|entry| entry.key.id.as_str() == document);
    for entry in entries {
        assert!(entry.data().is_none_or(|data| data.as_str() == "{}"), "{entry:?}");
    }
    let verified = Operator::new(Arc::clone(&world.service)).verify(&world.tenant).await.expect("the store works");
    assert_eq!(verified.findings, []);
}

/// The clock of the tombstone is later than that of the document wherever it has a number left, so that every client
/// takes it.
pub async fn a_full_clock_does_not_prevent_an_erasure(world: &World) {
    let client = |number: usize| (ClientId::literal(&format!("client-{number}")), 1);
    let full: VectorClock = (0..CLOCK_MAX_ENTRIES).map(client).collect();
    let server = ClientId::literal("syncflow-server::clock");
    let with_server = |counter| {
        let mut clock = full.clone();
        clock.set(server.clone(), counter);
        clock
    };
    let spent: VectorClock = [(ClientId::server(), INTEGER_MAX), (ClientId::literal("a"), 1)].into_iter().collect();
    for (document, clock) in
        [("full", full.clone()), ("raised", with_server(5)), ("greatest", with_server(INTEGER_MAX)), ("spent", spent)]
    {
        let draft = insert(&format!("op-{document}"), document).data(r#"{"secret":1}"#);
        let operation = Operation { clock: clock.clone(), ..draft.done() };
        let pushed = world.service.push(&world.tenant, vec![operation]).await.expect("the push is answered");
        assert!(pushed.outcomes().is_some());
        assert_erased(world, document).await;
        let state = world.service.document_state(&world.tenant, &key(document)).await.expect("the state is read");
        let relation = state.expect("a tombstone").clock.compare(&clock);
        let expected = if document == "greatest" { Relation::Equal } else { Relation::HappensAfter };
        assert_eq!(relation, expected, "{document}");
    }
}

/// They are for clients and the application.
pub async fn rules_policies_and_checks_do_not_prevent_an_erasure(world: &World) {
    let nobody = || CollectionRules { read: vec![Holder::Role(Role::Admin)], write: Vec::new(), create: Vec::new() };
    let rules = Rules::new(BTreeMap::new(), BTreeMap::new(), nobody()).expect("all names exist");
    for (number, policy) in ConflictPolicy::ALL.into_iter().enumerate() {
        for deletes in Deletes::ALL {
            let document = format!("doc-{number}-{}", deletes.as_str());
            let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
            let service = service.with_conflict_policies(Policies::for_all(policy, deletes));
            let open = World { service: Arc::new(service), ..world.clone() };
            let edit = |id: &str, client: &str, at: u64, data: &str| {
                update(&format!("{id}-{document}"), &document).data(data).clock(&[(client, 1), ("a", 1)]).at(at)
            };
            let first = insert(&format!("op-{document}"), &document).data(r#"{"secret":1,"other":1}"#).at(5);
            open.push([first]).await;
            open.push([edit("late", "b", 9, r#"{"secret":2}"#)]).await;
            open.push([edit("early", "c", 7, r#"{"secret":3,"other":3}"#)]).await;
            let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
            let service = service.with_conflict_policies(Policies::for_all(policy, deletes)).with_rules(rules.clone());
            let refuse = |_: Caller<'_>, _: &Operation| Err("nothing may change".to_owned());
            let strict = World { service: Arc::new(service.with_validation(refuse)), ..world.clone() };
            assert_erased(&strict, &document).await;
        }
    }
}

/// Another process may hold a lock for long, or write the same document again and again.
pub async fn an_erasure_waits_for_a_busy_store(world: &World) {
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let busy = world.over(faulty.clone());
    world.apply([insert("op-1", "doc-1").data(r#"{"secret":1}"#), insert("op-2", "doc-2")]).await;
    let times = usize::try_from(ERASE_MAX_ATTEMPTS).expect("few");
    faulty.inject([Fault::Fails(ErrorKind::Busy), Fault::Contended]);
    faulty.inject([Fault::Fails(ErrorKind::Busy); 10]);
    assert_erased(&busy, "doc-1").await;
    faulty.inject(vec![Fault::Fails(ErrorKind::Busy); times]);
    let error = try_erase(&busy, "doc-2").await.expect_err("it is busy for ever");
    assert!(matches!(&error, ServiceError::Store(error) if error.kind() == ErrorKind::Busy), "{error}");
    faulty.inject([Fault::Fails(ErrorKind::Failed)]);
    let error = try_erase(&busy, "doc-2").await.expect_err("it fails for good");
    assert!(matches!(&error, ServiceError::Store(error) if error.kind() == ErrorKind::Failed), "{error}");
    assert!(world.document("doc-2").await.is_some());
    assert!(try_erase(&busy, "doc-2").await.expect("it is well again").is_deleted);
}

/// Whichever of both comes first to an entry, its bytes are subtracted once.
pub async fn an_erasure_beside_a_compaction_counts_each_byte_once(world: &World) {
    let data = format!(r#"{{"secret":"{}"}}"#, "x".repeat(2_000));
    for round in 0..12 {
        let world = world.as_tenant(&format!("tenant-{round}"));
        let edit = |number: u64| {
            let draft = if number == 0 { insert("op-0", "doc") } else { update(&format!("op-{number}"), "doc") };
            draft.data(&data).clock(&[("a", number + 1)])
        };
        world.apply((0..20).map(edit)).await;
        world.host.advance_ms(10);
        let (erased, _) = join(try_erase(&world, "doc"), world.compact(5)).await;
        assert!(erased.expect("it is erased").is_deleted);
        let verified = Operator::new(Arc::clone(&world.service)).verify(&world.tenant).await.expect("the store works");
        assert_eq!(verified.findings, [], "round {round}");
        assert!(verified.are_counters_checked);
    }
}
