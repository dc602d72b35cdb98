//! The resolution of an operation in the course of a decision.

use std::sync::Arc;

use super::WorkingSet;
use super::changed::{Based, Memory, Settled, Step, conflict_relation, is_counted_twice, mark_of};
use crate::core::clock::{Relation, VectorClock};
use crate::core::decide::base::fits;
use crate::core::decide::content::NoDocument;
use crate::core::decide::outcome::{ConflictRelation, Outcome, Push, Resolved, StoredStamps};
use crate::core::decide::policy::{ConflictPolicy, Deletes};
use crate::core::decide::resolve::kept::{gone_of, to_stored, written_record};
use crate::core::decide::resolve::stamp::{Mark, Sight, Writer};
use crate::core::decide::resolve::stamps::Stamps;
use crate::core::decide::resolve::{Present, Survival, resolution_id, settle};
use crate::core::document::Document;
use crate::core::json::Object;
use crate::core::names::{ClientId, DocumentKey};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::operation::{Change, Operation};
use crate::limits::protocol::STAMP_AHEAD_MAX_MS;

/// A document as an operation finds it.
struct Found {
    present: Present,
    rev: Rev,
    clock: VectorClock,
    timestamp: UnixMs,
    client_id: ClientId,
}

impl<'a> WorkingSet<'a> {
    /// The step that an operation is under a policy that resolves conflicts. `None` if the application has to decide
    /// and has not, so that the operation is in conflict.
    ///
    /// An operation that names a revision comes with the clock that was derived for it. This clock dominates that of
    /// the document, so it says nothing about what its author had seen.
    pub(super) fn resolution(
        &mut self,
        operation: &Operation,
        based: Option<Based<'_, 'a>>,
        push: Push<'a>,
        policy: (ConflictPolicy, Deletes),
    ) -> Result<Option<Step>, NoDocument> {
        let Some(found) = self.found(&operation.key) else {
            return Ok(Some(self.first(operation, based, policy.0)?));
        };
        let writer = self.writer(operation, based, (&found.clock, found.rev), push.is_strict);
        let answer = self.snapshot.answers.get(&operation.id).filter(|answer| answer.seen_rev == found.rev);
        let answer = answer.map(|answer| &answer.data);
        let Some(settled) = settle(policy, &found.present, &operation.change, &writer, answer)? else {
            return Ok(None);
        };
        let client_id = if settled.has_written { &operation.client_id } else { &found.client_id };
        let resolution = Operation {
            id: resolution_id(&operation.id),
            change: Change::to_state(settled.data),
            key: operation.key.clone(),
            timestamp: operation.timestamp.max(found.timestamp),
            client_id: client_id.clone(),
            clock: joined(&operation.clock, &found.clock)?,
        };
        let record = settled.survival.as_ref().map(|(survival, _)| {
            let by_clock = || conflict_relation(operation, &found.clock, push.is_strict);
            let relation = if based.is_some() { None } else { by_clock() };
            record(operation, *survival, relation, &found.present.stamps)
        });
        let outcome = settled.survival.map_or(Outcome::Applied, |(survival, lost)| {
            let (id, operation_id) = (operation.id.clone(), resolution.id.clone());
            Outcome::Resolved(Box::new(Resolved::new((id, operation_id), policy.0, survival, lost)))
        });
        let memory = Memory { stamps: settled.stamps, gone: settled.gone };
        let kept = to_stored(record.as_ref(), memory.gone.as_ref());
        let has_recovered = settled.has_recovered;
        let below = found.present.gone.filter(|_| has_recovered || memory.gone.is_some()).map(|gone| gone.data);
        Ok(Some(Step {
            memory: Some(Arc::new(memory)),
            resolution: Some(Settled { operation: resolution, outcome, kept, below, has_recovered }),
        }))
    }

    /// The step that begins a document. An insert or delete is logged as it is, and an update as the insert that it
    /// results in.
    fn first(
        &self,
        operation: &Operation,
        based: Option<Based<'_, 'a>>,
        policy: ConflictPolicy,
    ) -> Result<Step, NoDocument> {
        let writer = self.writer(operation, based, (&VectorClock::default(), Rev::NONE), false);
        let stamps = Stamps::of_first(&operation.change, policy == ConflictPolicy::Merge, &writer)?;
        let memory = Memory { stamps, gone: None };
        let resolution = match &operation.change {
            Change::Insert(_) | Change::Delete => None,
            Change::Update(data) => Some(Settled {
                operation: Operation {
                    id: resolution_id(&operation.id),
                    change: Change::Insert(data.clone()),
                    ..operation.clone()
                },
                outcome: Outcome::Applied,
                kept: None,
                below: None,
                has_recovered: false,
            }),
        };
        Ok(Step { memory: Some(Arc::new(memory)), resolution })
    }

    /// Whether the author of an operation has not seen the content of its document.
    pub(in crate::core::decide) fn is_undecided(
        &mut self,
        operation: &Operation,
        base: Option<Rev>,
        is_strict: bool,
    ) -> bool {
        let Some(found) = self.found(&operation.key) else { return false };
        match base {
            Some(base) => base != found.rev,
            None => {
                let writer = self.writer(operation, None, (&found.clock, found.rev), is_strict);
                !found.present.stamps.are_seen_by(&writer)
            }
        }
    }

    fn writer<'o>(
        &'o self,
        operation: &'o Operation,
        based: Option<Based<'_, 'a>>,
        (document, rev): (&VectorClock, Rev),
        is_strict: bool,
    ) -> Writer<'o> {
        let Operation { client_id, clock, timestamp, id, .. } = operation;
        let time_ms = (*timestamp).min(self.now_ms.plus_ms(STAMP_AHEAD_MAX_MS));
        let sight = match based {
            Some(based) if based.has_seen => Sight::Everything,
            Some(based) => {
                Sight::Only { ids: self.written.ids(), base: based.base, own_after: self.written.first(&operation.key) }
            }
            None if is_strict && is_counted_twice(operation, document) => Sight::Nothing,
            None => Sight::Clock(clock),
        };
        let counted = based.map_or(client_id, |based| based.derived.raised);
        Writer { mark: Mark::of(counted, clock, time_ms, id), sight, rev: rev.next() }
    }

    /// The document as it is now, or `None` if it was never written.
    ///
    /// **Law.** *Stored texts that are damaged say nothing.* Without stamps, the document is as after a write under the
    /// policy [`Reject`](ConflictPolicy::Reject). Without the text of its deleted data, a tombstone is as after a
    /// compaction. The policies are made for both states, so clients converge. A verification reports the damage.
    fn found(&mut self, key: &DocumentKey) -> Option<Found> {
        let latest_ms = self.now_ms.plus_ms(STAMP_AHEAD_MAX_MS);
        let implied = |client_id: &ClientId, clock: &VectorClock, timestamp: UnixMs, id, is_deleted, rev| {
            Stamps::of_last(mark_of((client_id, clock, timestamp.min(latest_ms), id)), is_deleted, rev)
        };
        if let Some(working) = self.documents.get_mut(key)
            && working.now.last.is_some()
        {
            let data = working.content.text();
            let (last, _) = working.last()?;
            let Operation { client_id, timestamp, id, .. } = last;
            let clock = &working.now.clock;
            let (memory, is_deleted) = (working.now.memory.as_ref(), data.is_none());
            let present = Present {
                data,
                stamps: memory.map_or_else(
                    || implied(client_id, clock, *timestamp, id, is_deleted, working.now.rev),
                    |memory| memory.stamps.clone(),
                ),
                gone: memory.and_then(|memory| memory.gone.clone()),
            };
            let (clock, client_id) = (clock.clone(), client_id.clone());
            return Some(Found { present, rev: working.now.rev, clock, timestamp: *timestamp, client_id });
        }
        let document = self.snapshot.documents.get(key)?;
        let StoredStamps { stamps, kept } = self.snapshot.stamps.get(key).cloned().unwrap_or_default();
        let stamps = stamps.and_then(|text| Stamps::from_stored(&text, document.rev).ok().flatten());
        let kept = kept.filter(|_| document.is_deleted());
        let present = Present {
            data: document.data.clone(),
            stamps: stamps.unwrap_or_else(|| {
                let Document { client_id, clock, timestamp, operation_id, rev, .. } = document;
                implied(client_id, clock, *timestamp, operation_id, document.is_deleted(), *rev)
            }),
            gone: kept.and_then(|text| gone_of(&text).ok().flatten()),
        };
        let (clock, client_id) = (document.clock.clone(), document.client_id.clone());
        Some(Found { present, rev: document.rev, clock, timestamp: document.timestamp, client_id })
    }
}

/// The clock of a client that has seen all that both have seen.
///
/// # Errors
/// If it would be too large, which neither of them is.
fn joined(operation: &VectorClock, document: &VectorClock) -> Result<VectorClock, NoDocument> {
    match operation.compare(document) {
        Relation::HappensAfter | Relation::Equal => Ok(operation.clone()),
        Relation::HappensBefore => Ok(document.clone()),
        Relation::Concurrent => {
            let mut joined = document.clone();
            joined.merge(operation);
            if fits(&joined) { Ok(joined) } else { Err(NoDocument::ClockTooLarge) }
        }
    }
}

/// The record of a conflict in the log: how it was resolved, and the operation if a part of it is lost.
fn record(operation: &Operation, survival: Survival, relation: Option<ConflictRelation>, stamps: &Stamps) -> Object {
    let winner = match survival {
        Survival::Won => (operation.id.as_str(), operation.client_id.as_str()),
        Survival::Lost | Survival::Merged => {
            stamps.latest().marks().last().map_or(("", ""), |mark| (&mark.operation, &mark.client))
        }
    };
    let relation = relation.unwrap_or(ConflictRelation::Concurrent);
    let loser = (survival != Survival::Won).then_some(operation);
    written_record(operation.id.as_str(), (survival.as_str(), relation.as_str()), winner, loser)
}
