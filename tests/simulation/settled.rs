//! Bugs in the resolutions of conflicts, planted between the decision and the store.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use syncflow_server::core::clock::VectorClock;
use syncflow_server::core::decide::Batch;
use syncflow_server::core::names::{ClientId, OperationId, TenantId};
use syncflow_server::core::operation::{Change, Operation};
use syncflow_server::store::{LoadRequest, Result, Store};

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SettledBug {
    /// A resolution has only the clock of the operation.
    ClockOfOperation,
    /// A resolution has only the clock of the document before.
    ClockOfDocument,
    /// A resolution is an update.
    Update,
    /// There is no resolution if the operation lost.
    NothingIfLost,
    /// The server adds a counter of its own to the clock, which counts the writes of the document.
    BumpPerDocument,
    /// A stamp does not remember the later operations that its author had seen.
    StampWithoutCausality,
}

/// The clocks of all operations that were pushed.
#[derive(Debug, Default)]
pub(super) struct Pushed(Mutex<HashMap<OperationId, VectorClock>>);

impl Pushed {
    pub(super) fn note(&self, operations: &[Operation]) {
        let clocks = operations.iter().map(|operation| (operation.id.clone(), operation.clock.clone()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(clocks);
    }

    fn clock_of(&self, id: &OperationId) -> VectorClock {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unwrap_or_default()
    }
}

impl SettledBug {
    /// The batch with the bug. `None` if nothing is left of it.
    pub(super) async fn spoil(
        self,
        store: &dyn Store,
        pushed: &Pushed,
        tenant: &TenantId,
        mut batch: Batch,
    ) -> Result<Option<Batch>> {
        let keys = batch.documents.iter().map(|write| write.key.clone()).collect();
        let before = store.load(tenant, LoadRequest { keys, ..LoadRequest::default() }).await?.documents;
        let is_alone = batch.operations.len() == 1;
        for resolution in &batch.resolutions {
            let operation = &mut batch.operations[resolution.operation_index];
            let write = batch.documents.iter_mut().find(|write| write.operation_index == resolution.operation_index);
            let document = before.get(&operation.key);
            let clock = match self {
                Self::ClockOfOperation => pushed.clock_of(&resolution.pushed_id),
                Self::ClockOfDocument => document.map_or_else(VectorClock::default, |document| document.clock.clone()),
                Self::BumpPerDocument => {
                    let mut clock = operation.clock.clone();
                    clock.set(ClientId::server(), document.map_or(1, |document| document.rev.get() + 1));
                    clock
                }
                Self::Update => {
                    if let Change::Insert(data) = &operation.change {
                        operation.change = Change::Update(data.clone());
                    }
                    continue;
                }
                Self::NothingIfLost => {
                    let data = document.and_then(|document| document.data.as_ref());
                    if is_alone && write.is_some_and(|write| write.document.data.as_ref() == data) {
                        return Ok(None);
                    }
                    continue;
                }
                Self::StampWithoutCausality => {
                    if let Some(write) = write {
                        // An empty text removes the stamps.
                        let stamps = write.stamps.take();
                        write.stamps = stamps.map(|text| if text.is_empty() { text } else { without_causality(&text) });
                    }
                    continue;
                }
            };
            operation.clock = clock.clone();
            if let Some(write) = write {
                write.document.clock = clock;
            }
        }
        Ok(Some(batch))
    }
}

/// The text of stamps with the last operation of each.
fn without_causality(text: &str) -> String {
    let mut stored: Value = serde_json::from_str(text).expect("stamps are JSON");
    for stamp in stored["stamps"].as_array_mut().expect("a list of stamps") {
        let marks = stamp.as_array_mut().expect("a list of operations");
        marks.drain(..marks.len() - 1);
    }
    stored.to_string()
}
