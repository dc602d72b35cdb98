//! The decision about pushes: which operations are applied, which are known already, and which conflict. It is a plain
//! function of its arguments.

pub mod base;
mod batch;
mod claims;
mod content;
mod outcome;
pub mod owners;
pub mod policy;
pub mod quota;
mod resolve;
pub mod turn;
mod working;
pub mod write;

use std::collections::{HashMap, HashSet};

pub(crate) use self::base::fits;
pub use self::batch::{Batch, DocumentWrite, Resolution};
pub use self::outcome::{
    Conflict, ConflictRelation, CustomAnswer, Decision, OperationRefused, Outcome, Push, Reached, Refused, Resolved,
    Snapshot, StoredStamps,
};
use self::policy::ConflictPolicy;
use self::resolve::hashed_resolution_id;
pub use self::resolve::{RESERVED_IDS, Survival, is_reserved, pushed_id, resolution_id, tells_pushed_id};
pub(crate) use self::resolve::{are_stamps, is_kept, may_be_stamps, resolution_of};
use self::working::WorkingSet;
use super::document::Document;
use super::names::{ClientId, DocumentKey, OperationId};
use super::numbers::{Seq, UnixMs};
use super::operation::Operation;
use crate::limits::protocol::PUSH_WRITTEN_MAX_BYTES;

/// Decides about pushes that share one commit, in their order. Later operations see the effect of earlier ones.
///
/// A refused push leaves no trace in the batch, and its neighbours are decided as if it were not there.
///
/// There may be fewer decisions than pushes, but at least one. The function ends when the documents that it writes and
/// shows have more than [`PUSH_WRITTEN_MAX_BYTES`], or those that are updated have too many keys. The other pushes
/// belong in the next commit.
#[must_use]
pub fn decide(pushes: &[Push<'_>], snapshot: &Snapshot, now_ms: UnixMs) -> (Vec<Decision>, Batch) {
    let mut working = WorkingSet::new(snapshot, now_ms);
    let mut decisions = Vec::with_capacity(pushes.len());
    for push in pushes {
        if working.bytes() > PUSH_WRITTEN_MAX_BYTES {
            break;
        }
        let decision = working.push(*push);
        if !decisions.is_empty() && matches!(decision, Err(Refused::TooManyKeys { .. })) {
            // The keys may be those of the pushes before it.
            break;
        }
        decisions.push(decision);
    }
    (decisions, working.into_batch(now_ms))
}

/// How many bytes a decision reads: the documents that the store had, and the data of the operations. A document that
/// may be resolved is read again by each of its operations.
#[must_use]
pub(crate) fn read_bytes(pushes: &[Push<'_>], snapshot: &Snapshot) -> usize {
    let bytes_of = |operation: &Operation| operation.change.data().map_or(0, |data| data.as_str().len());
    let stored = snapshot.documents.values().filter_map(|document| document.data.as_ref());
    let stamps: usize = snapshot.stamps.values().map(StoredStamps::bytes).sum();
    let once = operations_of(pushes).map(bytes_of).chain(stored.map(|data| data.as_str().len()));
    let mut bytes = once.sum::<usize>() + stamps;
    let mut documents: HashMap<&DocumentKey, usize> = HashMap::new();
    for push in pushes.iter().filter(|push| push.policies.resolve()) {
        let resolve = |operation: &&Operation| push.policies.of(&operation.key.collection).0.resolves();
        for operation in push.operations.iter().filter(resolve) {
            let document = documents.entry(&operation.key).or_insert_with(|| {
                let data = snapshot.documents.get(&operation.key).and_then(|document| document.data.as_ref());
                let stamps = snapshot.stamps.get(&operation.key).map_or(0, StoredStamps::bytes);
                data.map_or(0, |data| data.as_str().len()) + stamps
            });
            bytes = bytes.saturating_add(*document);
            *document = document.saturating_add(bytes_of(operation));
        }
    }
    bytes
}

/// The ids that a decision about these pushes needs, each once. They include those of resolutions from which the ids of
/// their operations do not follow: the operation of a known resolution is known.
#[must_use]
pub(crate) fn ids_of(pushes: &[Push<'_>]) -> Vec<OperationId> {
    let mut ids: Vec<OperationId> = operations_of(pushes).map(|operation| operation.id.clone()).collect();
    for push in pushes.iter().filter(|push| push.policies.resolve()) {
        let resolve = |operation: &&Operation| push.policies.of(&operation.key.collection).0.resolves();
        ids.extend(push.operations.iter().filter(resolve).filter_map(|operation| hashed_resolution_id(&operation.id)));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The operations of these pushes about which the application has to decide, at most one for each document, with the
/// documents. They are those whose authors have not seen the content, under the policy
/// [`Custom`](policy::ConflictPolicy::Custom).
#[must_use]
pub(crate) fn undecided<'a>(
    pushes: &[Push<'a>],
    snapshot: &'a Snapshot,
    now_ms: UnixMs,
) -> Vec<(&'a Operation, &'a Document)> {
    let mut working = WorkingSet::new(snapshot, now_ms);
    let mut keys = HashSet::new();
    let mut undecided = Vec::new();
    for push in pushes.iter().filter(|push| push.policies.include(ConflictPolicy::Custom)) {
        let new = |operation: &Operation| !snapshot.knows(operation);
        for (index, operation) in push.operations.iter().enumerate().filter(|(_, operation)| new(operation)) {
            if push.policies.of(&operation.key.collection).0 == ConflictPolicy::Custom
                && !keys.contains(&operation.key)
                && let Some(document) = snapshot.documents.get(&operation.key)
                && working.is_undecided(operation, push.bases.of(index), push.is_strict)
            {
                keys.insert(&operation.key);
                undecided.push((operation, document));
            }
        }
    }
    undecided
}

/// The client ids whose owners a decision about these pushes needs, each once.
#[must_use]
pub fn client_ids_of(pushes: &[Push<'_>]) -> Vec<ClientId> {
    let counted = |push: &Push<'_>| push.bases.are_used();
    let concerned = pushes.iter().filter(|push| push.claimant.is_some() || counted(push));
    let authors = concerned.flat_map(|push| push.operations).map(|operation| &operation.client_id);
    let pushing = pushes.iter().filter_map(|push| push.claimant?.client_id);
    let server = pushes.iter().any(counted).then(ClientId::clock);
    let mut client_ids: Vec<ClientId> = authors.chain(pushing).chain(server).cloned().collect();
    client_ids.sort_unstable();
    client_ids.dedup();
    client_ids
}

/// The sequence numbers whose fingerprints a decision about these pushes needs, each once.
#[must_use]
pub fn places_of(pushes: &[Push<'_>]) -> Vec<Seq> {
    let places = pushes.iter().flat_map(|push| &push.bases.places).map(|place| place.seq);
    let mut places: Vec<Seq> = places.filter(|seq| *seq != Seq::START).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// The documents that a decision about these pushes needs, each once.
#[must_use]
pub fn keys_of(pushes: &[Push<'_>]) -> Vec<DocumentKey> {
    let mut keys: Vec<DocumentKey> = operations_of(pushes).map(|operation| operation.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn operations_of<'a>(pushes: &[Push<'a>]) -> impl Iterator<Item = &'a Operation> {
    pushes.iter().flat_map(|push| push.operations)
}

#[cfg(test)]
mod tests;
