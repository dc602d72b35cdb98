//! The hooks of an application: what it refuses, and what it hears.

use std::sync::{Arc, Mutex};

use futures_util::future::{FutureExt as _, join};
use serde_json::json;

use super::super::draft::{insert, inserts, key, update};
use super::super::faults::FaultyStore;
use super::super::world::{World, ids, operations};
use crate::core::access::{Principal, Role};
use crate::core::decide::{Conflict, OperationRefused, Outcome};
use crate::core::names::{Subject, TenantId};
use crate::core::numbers::Rev;
use crate::core::operation::{LogEntry, Operation};
use crate::limits::protocol::DOCUMENT_MAX_BYTES;
use crate::service::{
    Caller, Host, InvalidOperation, Observer, PullFrom, PushRequest, Pushed, ServiceError, SyncService, Write, Written,
};

/// Writes down what it hears, one line for each call.
#[derive(Default)]
struct Listening(Arc<Mutex<Vec<String>>>);

impl Listening {
    fn record(&self, caller: Caller<'_>, what: &str, ids: &[&str]) {
        let subject = caller.principal.map_or("server", |principal| principal.subject.as_str());
        self.0.lock().expect("no panic").push(format!("{} {subject} {what} {}", caller.tenant, ids.join(",")));
    }
}

fn ids_of<'o>(operations: impl IntoIterator<Item = &'o Operation>) -> Vec<&'o str> {
    operations.into_iter().map(|operation| operation.id.as_str()).collect()
}

impl Observer for Listening {
    fn accepted(&self, caller: Caller<'_>, operations: &[&Operation]) {
        self.record(caller, "accepted", &ids_of(operations.iter().copied()));
    }

    fn repeated(&self, caller: Caller<'_>, operations: &[&Operation]) {
        self.record(caller, "repeated", &ids_of(operations.iter().copied()));
    }

    fn conflicts(&self, caller: Caller<'_>, conflicts: &[(&Operation, &Conflict)]) {
        self.record(caller, "conflicts", &ids_of(conflicts.iter().map(|(operation, _)| *operation)));
    }

    fn pulled(&self, caller: Caller<'_>, entries: &[LogEntry]) {
        self.record(caller, "pulled", &ids(entries));
    }

    fn compacted(&self, tenant: &TenantId, removed_entries: u64) {
        self.0.lock().expect("no panic").push(format!("{tenant} compacted {removed_entries}"));
    }
}

/// Writes down the groups and what is refused.
#[derive(Default)]
struct Counting(Arc<Mutex<Vec<String>>>);

impl Observer for Counting {
    fn refused(&self, caller: Caller<'_>, operations: usize) {
        self.0.lock().expect("no panic").push(format!("{} refused {operations}", caller.tenant));
    }

    fn committed(&self, tenant: &TenantId, pushes: usize, operations: usize) {
        self.0.lock().expect("no panic").push(format!("{tenant} committed {pushes} {operations}"));
    }
}

/// Panics at everything that it hears.
struct Panicking;

impl Observer for Panicking {
    fn accepted(&self, _: Caller<'_>, _: &[&Operation]) {
        panic!("an observer that panics");
    }

    fn pulled(&self, _: Caller<'_>, _: &[LogEntry]) {
        panic!("an observer that panics");
    }
}

fn service(world: &World, store: Arc<dyn crate::store::Store>) -> SyncService {
    SyncService::new(store, Arc::clone(&world.host) as Arc<dyn Host>)
}

fn with(world: &World, service: SyncService) -> World {
    World { service: Arc::new(service), ..world.clone() }
}

fn principal(world: &World, subject: &str) -> Principal {
    Principal::new(world.tenant.clone(), Subject::literal(subject), Role::Writer)
}

async fn push_as(world: &World, subject: &str, operations: Vec<Operation>) -> Result<Pushed, ServiceError> {
    world.service.push_as(&principal(world, subject), PushRequest::new(operations)).await
}

/// Each request that shares a commit with others is heard of with its own principal and operations.
pub async fn an_observer_hears_of_each_request_with_its_own_principal(world: &World) {
    let (heard, faulty) = (Listening::default(), FaultyStore::new(Arc::clone(&world.store)));
    let lines = Arc::clone(&heard.0);
    let world = with(world, service(world, faulty.clone()).with_observer(heard));
    let gate = faulty.hold(&world.tenant).await;
    let mut first = push_as(&world, "first", operations([insert("op-1", "doc")])).boxed();
    assert!((&mut first).now_or_never().is_none(), "the push waits for its commit");
    let ann = push_as(&world, "ann", operations([insert("op-2", "doc-2").client("ann's"), insert("op-1", "doc")]));
    let bob = push_as(
        &world,
        "bob",
        operations([update("op-3", "doc-2").clock(&[("b", 1)]), insert("op-4", "doc-4").client("b")]),
    );
    let mut both = join(ann, bob).boxed();
    assert!((&mut both).now_or_never().is_none(), "the pushes wait for their commit");
    drop(gate);
    first.await.expect("the push is answered");
    let (ann, bob) = both.await;
    assert!(ann.is_ok() && bob.is_ok());
    assert_eq!(faulty.commits(), 2);
    let (mut heard, tenant) = (std::mem::take(&mut *lines.lock().expect("no panic")), &world.tenant);
    heard.sort_unstable();
    let expected =
        ["ann accepted op-2", "ann repeated op-1", "bob accepted op-4", "bob conflicts op-3", "first accepted op-1"];
    assert_eq!(heard, expected.map(|line| format!("{tenant} {line}")));

    world.pull(PullFrom::Cursor(None), None, 1).await;
    world.compact(0).await;
    let put = world.service.put(&world.tenant, &key("doc"), &json!({})).await.expect("the write is answered");
    assert_eq!(put, Written::Done(Rev::new(2)));
    let heard = lines.lock().expect("no panic");
    assert_eq!(heard[0], format!("{tenant} server pulled op-1"));
    assert_eq!(heard[1], format!("{tenant} compacted 3"));
    assert!(heard.last().expect("a line").starts_with(&format!("{tenant} server accepted syncflow-server-")));
}

/// A commit is heard of with the number of its pushes and operations, and a refusal with that of the operations.
pub async fn an_observer_hears_of_groups_and_of_what_is_refused(world: &World) {
    let (heard, faulty) = (Counting::default(), FaultyStore::new(Arc::clone(&world.store)));
    let lines = Arc::clone(&heard.0);
    let service = service(world, faulty.clone()).with_observer(heard);
    let service = service.with_validation(|_, operation| match operation.id.as_str() {
        "op-3" => Err("is not allowed".to_owned()),
        _ => Ok(()),
    });
    let world = with(world, service);
    let gate = faulty.hold(&world.tenant).await;
    let principal = principal(&world, "ann");
    let push = |operations| world.service.push_as(&principal, PushRequest::new(operations).partial());
    let mut first = push(operations([insert("op-1", "doc")])).boxed();
    assert!((&mut first).now_or_never().is_none(), "the push waits for its commit");
    let second = push(operations([insert("op-2", "doc-2"), insert("op-3", "doc-3"), update("op-4", "doc-3")]));
    let third = push(operations([insert("op-5", "doc-5"), insert("op-6", "doc-6")]));
    let mut both = join(second, third).boxed();
    assert!((&mut both).now_or_never().is_none(), "the pushes wait for their commit");
    assert_eq!(world.service.pushes_in_progress(), 3);
    drop(gate);
    first.await.expect("the push is answered");
    let (second, third) = both.await;
    assert!(second.is_ok() && third.is_ok());
    assert_eq!(world.service.pushes_in_progress(), 0);
    let tenant = &world.tenant;
    let expected = ["committed 1 1", "committed 2 3", "refused 2"].map(|line| format!("{tenant} {line}"));
    assert_eq!(*lines.lock().expect("no panic"), expected);
}

/// An observer that panics changes no answer, and the ones behind it hear the same.
pub async fn an_observer_that_panics_changes_no_answer(world: &World) {
    let heard = Listening::default();
    let lines = Arc::clone(&heard.0);
    let service = service(world, Arc::clone(&world.store)).with_observer(Panicking).with_observer(heard);
    let world = with(world, service);
    world.apply([insert("op-1", "doc")]).await;
    assert_eq!(world.page(None, 9).await.entries.len(), 1);
    assert_eq!(lines.lock().expect("no panic").len(), 2);
}

/// Law 7: one operation that the application does not allow refuses its push, which changes nothing.
pub async fn an_operation_that_is_not_allowed_refuses_its_push_alone(world: &World) {
    let validate = |caller: Caller<'_>, operation: &Operation| {
        let is_admin = caller.principal.is_none_or(|principal| principal.role >= Role::Admin);
        if operation.key.id.as_str() == "locked" && !is_admin { Err("is locked".to_owned()) } else { Ok(()) }
    };
    let world = with(world, service(world, Arc::clone(&world.store)).with_validation(validate));
    let drafts = || operations([insert("op-1", "doc"), insert("op-2", "locked"), insert("op-3", "locked")]);
    let refused = push_as(&world, "ann", drafts()).await.expect("a refusal is an answer");
    let invalid = |index| InvalidOperation { index, message: "is locked".to_owned() };
    assert_eq!(refused, Pushed::Invalid(vec![invalid(1), invalid(2)]));
    assert_eq!(world.log().await, []);
    assert_eq!(world.push(inserts(2)).await, [Outcome::Applied, Outcome::Applied]);
}

/// Law 7: in a partial push each operation that cannot be done has its own outcome, and the others take effect.
pub async fn a_partial_push_is_done_without_what_is_refused(world: &World) {
    let validate = |_: Caller<'_>, operation: &Operation| match operation.key.id.as_str() {
        "locked" => Err("is locked".to_owned()),
        _ => Ok(()),
    };
    let world = with(world, service(world, Arc::clone(&world.store)).with_validation(validate));
    let half = |name: &str| format!(r#"{{"{name}":"{}"}}"#, "x".repeat(DOCUMENT_MAX_BYTES / 2));
    let drafts = || {
        operations([
            insert("op-1", "locked"),
            insert("op-2", "doc").data(&half("left")),
            update("op-3", "doc").data(&half("right")).clock(&[("a", 2)]),
            insert("op-4", "other"),
            update("op-5", "doc").data(r#"{"small":1}"#).clock(&[("a", 3)]),
            update("op-6", "locked").clock(&[("a", 2)]),
        ])
    };
    let push = async |request| world.service.push_as(&principal(&world, "ann"), request).await.expect("an answer");
    let outcomes = |applied: Outcome| {
        let invalid = || Outcome::Refused(OperationRefused::Invalid("is locked".to_owned()));
        let too_large = Outcome::Refused(OperationRefused::DocumentTooLarge);
        let later = Outcome::Refused(OperationRefused::BuildsOnRefused);
        vec![invalid(), applied.clone(), too_large, applied, later, invalid()]
    };
    for expected in [outcomes(Outcome::Applied), outcomes(Outcome::Duplicate)] {
        assert_eq!(push(PushRequest::new(drafts()).partial()).await, Pushed::Decided(expected));
        assert_eq!(ids(&world.log().await), ["op-2", "op-4"]);
    }
    let locked = operations([insert("op-1", "locked")]);
    let refused = outcomes(Outcome::Applied).swap_remove(0);
    assert_eq!(push(PushRequest::new(locked).partial()).await, Pushed::Decided(vec![refused]));
}

/// The application's own writes are checked as well.
pub async fn a_write_of_the_server_that_is_not_allowed_changes_nothing(world: &World) {
    let validate = |_: Caller<'_>, _: &Operation| Err("is read-only".to_owned());
    let world = with(world, service(world, Arc::clone(&world.store)).with_validation(validate));
    let write = Write::put(key("doc"), &json!({})).expect("an object");
    let written = world.service.write(&world.tenant, &write).await.expect("the write is answered");
    assert_eq!(written, Written::Invalid("is read-only".to_owned()));
    assert_eq!(world.log().await, []);
}
