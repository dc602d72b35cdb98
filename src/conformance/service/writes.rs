//! Writes that the server makes itself, beside those of clients.

use std::sync::Arc;

use serde_json::json;

use super::super::draft::{COLLECTION, clock, insert, key, update};
use super::super::faults::{Fault, FaultyStore};
use super::super::world::{World, ids};
use crate::core::clock::VectorClock;
use crate::core::decide::{ConflictRelation, Outcome};
use crate::core::names::ClientId;
use crate::core::numbers::Rev;
use crate::core::operation::LogEntry;
use crate::service::{Host, ServiceError, SyncService, Write, Written};
use crate::store::ErrorKind;

/// The same store behind a service of another process.
fn another_server(world: &World, name: &str) -> World {
    let host = Arc::clone(&world.host) as Arc<dyn Host>;
    let service = SyncService::new(Arc::clone(&world.store), host).with_writer_name(name).expect("a name");
    World { service: Arc::new(service), ..world.clone() }
}

async fn put(world: &World, document: &str, data: &serde_json::Value) -> Written {
    world.service.put(&world.tenant, &key(document), data).await.expect("the write is answered")
}

async fn patch(world: &World, document: &str, data: &serde_json::Value) -> Written {
    world.service.patch(&world.tenant, &key(document), data).await.expect("the write is answered")
}

async fn write(world: &World, write: &Write) -> Written {
    world.service.write(&world.tenant, write).await.expect("the write is answered")
}

/// The clock of an entry, with one more operation of a client that has seen it.
fn seen_by(client: &str, entry: &LogEntry) -> Vec<(String, u64)> {
    let seen = VectorClock::parse(entry.clock.as_str()).expect("a clock");
    let mut seen: Vec<(String, u64)> = seen.iter().map(|(client, count)| (client.to_string(), count)).collect();
    seen.insert(0, (client.to_owned(), 1));
    seen
}

/// Every client receives what the server writes as an ordinary operation, and the documents follow it.
pub async fn a_write_of_the_server_is_an_operation_like_any_other(world: &World) {
    assert_eq!(put(world, "doc", &json!({"a": 1, "b": 1})).await, Written::Done(Rev::new(1)));
    assert_eq!(patch(world, "doc", &json!({"b": 2})).await, Written::Done(Rev::new(2)));
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"a":1,"b":2}"#));
    let deleted = world.service.delete(&world.tenant, &key("doc")).await.expect("the write is answered");
    assert_eq!(deleted, Written::Done(Rev::new(3)));
    assert_eq!(patch(world, "doc", &json!({"b": 3})).await, Written::Missing);
    assert_eq!(put(world, "doc", &json!({"c": 1})).await, Written::Done(Rev::new(4)));
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"c":1}"#));
    let log = world.log().await;
    let kinds: Vec<&str> = log.iter().map(|entry| entry.kind().as_str()).collect();
    assert_eq!(kinds, ["insert", "update", "delete", "insert"]);
    assert!(log.iter().all(|entry| entry.client_id.is_server() && entry.key.collection.as_str() == COLLECTION));
    let original = world.since("me", 0, 9).await;
    assert_eq!(ids(&original.entries)[..4], ids(&log)[..], "original clients receive them too");
    assert_eq!(put(world, "doc", &json!([])).await, Written::Invalid("must be an object".to_owned()));
}

/// A write that asks for a revision changes no other one.
pub async fn a_write_that_asks_for_a_revision_changes_no_other(world: &World) {
    let create = || Write::put(key("doc"), &json!({"n": 1})).expect("an object").if_revision(Rev::NONE);
    assert_eq!(write(world, &create()).await, Written::Done(Rev::new(1)));
    assert_eq!(write(world, &create()).await, Written::OtherRevision(Rev::new(1)));
    let at = |revision| Write::patch(key("doc"), &json!({"n": 2})).expect("an object").if_revision(Rev::new(revision));
    assert_eq!(write(world, &at(2)).await, Written::OtherRevision(Rev::new(1)));
    assert_eq!(write(world, &at(1)).await, Written::Done(Rev::new(2)));
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let other = world.clone();
    faulty
        .meanwhile(async move { assert_eq!(patch(&other, "doc", &json!({"n": 3})).await, Written::Done(Rev::new(3))) });
    assert_eq!(write(&world.over(faulty), &at(2)).await, Written::OtherRevision(Rev::new(3)));
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"n":3}"#));
}

/// Law 3: two servers that change one document at the same moment, with one name or with two, lose nothing.
pub async fn two_servers_that_write_one_document_at_once_lose_nothing(world: &World) {
    assert_eq!(put(world, "doc", &json!({})).await, Written::Done(Rev::new(1)));
    for (number, name) in [(0, "same"), (1, "other")] {
        let faulty = FaultyStore::new(Arc::clone(&world.store));
        let host = Arc::clone(&world.host) as Arc<dyn Host>;
        let ours = SyncService::new(faulty.clone(), host).with_writer_name("same").expect("a name");
        let ours = World { service: Arc::new(ours), ..world.clone() };
        let theirs = another_server(world, name);
        faulty.meanwhile(async move {
            let written = patch(&theirs, "doc", &json!({format!("theirs-{number}"): 1})).await;
            assert!(matches!(written, Written::Done(_)), "{written:?}");
        });
        let written = patch(&ours, "doc", &json!({format!("ours-{number}"): 1})).await;
        assert_eq!(written, Written::Done(Rev::new(3 + 2 * number)), "it is decided again on what the other one left");
        assert_eq!(faulty.commits(), 2);
    }
    let data = world.data("doc").await.expect("the document is there");
    for written in ["theirs-0", "ours-0", "theirs-1", "ours-1"] {
        assert!(data.contains(written), "{written} is lost: {data}");
    }
}

/// A client that has seen the server's write edits the document, and one that has not is told of it.
pub async fn clients_and_the_server_edit_what_the_other_wrote(world: &World) {
    assert_eq!(put(world, "doc", &json!({"server": 1})).await, Written::Done(Rev::new(1)));
    let unseen = world.push([update("unseen", "doc").clock(&[("b", 1)])]).await;
    let [Outcome::Conflict(conflict)] = &unseen[..] else { panic!("no conflict but {unseen:?}") };
    assert_eq!(conflict.relation, ConflictRelation::Concurrent);

    let seen = seen_by("a", &world.log().await[0]);
    let seen: Vec<(&str, u64)> = seen.iter().map(|(client, count)| (client.as_str(), *count)).collect();
    world.apply([update("seen", "doc").clock(&seen).data(r#"{"client":1}"#)]).await;
    assert_eq!(patch(world, "doc", &json!({"again": 1})).await, Written::Done(Rev::new(3)));
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"server":1,"client":1,"again":1}"#));
    let stale = world.push([update("stale", "doc").clock(&seen)]).await;
    let [Outcome::Conflict(conflict)] = &stale[..] else { panic!("no conflict but {stale:?}") };
    assert_eq!(conflict.relation, ConflictRelation::HappensBefore);
}

/// A client keeps one clock for all documents: a counter of the server that it has met stands for all writes before.
pub async fn a_client_does_not_take_a_later_write_of_the_server_for_one_that_it_has_seen(world: &World) {
    world.apply([insert("op", "doc-2").clock(&[("a", 1)])]).await;
    for number in 1..=5 {
        assert_eq!(put(world, "doc-1", &json!({"n": number})).await, Written::Done(Rev::new(number)));
    }
    let met = seen_by("a", world.log().await.last().expect("the last write"));
    let met: Vec<(&str, u64)> = met.iter().map(|(client, count)| (client.as_str(), *count)).collect();
    assert_eq!(patch(world, "doc-2", &json!({"server": 1})).await, Written::Done(Rev::new(2)));
    let edit = world.push([update("edit", "doc-2").clock(&met)]).await;
    assert!(matches!(edit[..], [Outcome::Conflict(_)]), "the client has not seen the write: {edit:?}");
}

/// Law 2: a write whose answer was lost says so, and took effect once or not at all.
pub async fn a_write_that_fails_says_so_and_one_that_is_always_contended_gives_up(world: &World) {
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let failing = world.over(faulty.clone());
    faulty.inject([Fault::Fails(ErrorKind::Unavailable), Fault::AnswerLost(ErrorKind::Unavailable)]);
    for expected in [0, 1] {
        let failed = failing.service.put(&world.tenant, &key("doc"), &json!({})).await;
        assert!(matches!(failed, Err(ServiceError::Store(_))), "{failed:?}");
        assert_eq!(world.log().await.len(), expected);
    }
    faulty.inject([Fault::Contended; 99]);
    let gave_up = failing.service.put(&world.tenant, &key("doc"), &json!({})).await;
    assert!(matches!(gave_up, Err(ServiceError::Contended { .. })), "{gave_up:?}");
    assert_eq!(world.log().await.len(), 1);
}

/// The clock of a document with the largest counter has no room for the server, and the document stays as it is.
pub async fn a_document_whose_clock_is_full_is_left_as_it_is(world: &World) {
    let full = insert("op", "doc").done();
    let server = ClientId::server();
    let mut operation = full;
    operation.clock = clock(&[("a", 1), (server.as_str(), crate::limits::protocol::INTEGER_MAX - 1)]);
    let pushed = world.service.push(&world.tenant, vec![operation]).await.expect("the push is answered");
    assert!(pushed.outcomes().is_some());
    assert_eq!(patch(world, "doc", &json!({"a": 1})).await, Written::Done(Rev::new(2)));
    assert_eq!(patch(world, "doc", &json!({"a": 1})).await, Written::ClockFull);
    assert_eq!(put(world, "other", &json!({})).await, Written::Done(Rev::new(1)), "other documents have room");
    assert_eq!(world.log().await.len(), 3);
}
