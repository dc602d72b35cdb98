//! Histories: the requests and answers of concurrent clients, and whether the laws explain them.
//!
//! The checker knows nothing of servers, stores or schedules. It is given every request with its answer, the moments
//! between which the server must have worked on it, and the final state. It puts the log together from the pages of the
//! pullers, and then checks everything else against that log.

mod account;
mod laws;
mod replay;
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::names::DocumentKey;
use syncflow_server::core::numbers::Rev;
use syncflow_server::core::operation::Operation;
use syncflow_server::service::{PullFrom, PulledPage};

use crate::conflicts::rule::Setting;

pub(crate) use laws::check;

/// A moment on the clock of the recorder of the history.
pub(crate) type Moment = u64;

/// The data of documents, by key.
pub(crate) type Documents = BTreeMap<DocumentKey, Map<String, Value>>;

/// All requests of the clients, and the final state.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) end: End,
    /// The policy of all collections; `None` if conflicts are rejected.
    pub(crate) setting: Option<Setting>,
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) client: String,
    /// Before the first byte was sent.
    pub(crate) sent: Moment,
    /// After the last byte had come, or when the client gave up.
    pub(crate) answered: Moment,
    pub(crate) call: Call,
}

/// A request and its answer. If only changes matter, requests without an answer are left out.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// A push. It has no outcomes if the answer was lost.
    Push { operations: Vec<Operation>, outcomes: Option<Vec<Outcome>> },
    /// A pull that was answered with a page.
    Pull { from: PullFrom, page: PulledPage },
    /// A document that was read by its id or in a query.
    Read { key: DocumentKey, found: Option<Found> },
    /// A compaction. It has no number if the answer was lost.
    Compact { deleted_entries: Option<u64> },
}

/// A document as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) rev: Rev,
    pub(crate) data: Map<String, Value>,
}

/// The state after all clients had pushed and pulled everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct End {
    /// The server's documents.
    pub(crate) documents: BTreeMap<DocumentKey, Found>,
    /// The clients' documents, by the clients' names.
    pub(crate) replicas: Vec<(String, Documents)>,
}

/// A law that a history must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// Every operation of a push has an outcome.
    Answered,
    /// Every entry of the log was pushed, exactly as it is there.
    Genuine,
    /// An operation is in the log once.
    Once,
    /// The log has no holes, and all pullers see it in one order.
    Dense,
    /// An accepted operation is in the log.
    Durable,
    /// A push took effect as a whole, at one place of the log.
    Whole,
    /// If one operation was answered before another was sent, it comes first in the log.
    RealTime,
    /// A client that sends a request after something was answered finds it.
    Fresh,
    /// No write overwrites a state of its document that its author had not seen.
    Linear,
    /// A resolution, and what its author is told, is what the rule makes of the operation and the document.
    Settled,
    /// A conflict, like a read, shows a state that the document had between request and answer.
    Justified,
    /// The documents are the result of the log.
    Effect,
    /// In the end, all clients hold the server's documents.
    Converged,
}

/// How a history breaks a law.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) law: Law,
    pub(crate) says: String,
    /// The exchanges that are needed to see the violation, by their places in the history.
    pub(crate) exchanges: Vec<usize>,
}

/// Facts that the checker learnt from a history that the laws explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Explained {
    /// The length of the log.
    pub(crate) operations: u64,
    /// How many operations were compacted before any puller saw them.
    pub(crate) unseen_operations: u64,
}

impl Violation {
    /// The law, the violation, and the shortest part of the history that shows it.
    pub(crate) fn shown_in(&self, history: &History) -> String {
        let mut exchanges = self.exchanges.clone();
        exchanges.sort_unstable();
        exchanges.dedup();
        exchanges.sort_by_key(|index| history.exchanges[*index].sent);
        let lines = exchanges.iter().map(|index| format!("\n  {}", history.exchanges[*index]));
        format!("{:?} is broken: {}{}", self.law, self.says, lines.collect::<String>())
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}..{} {}: ", self.sent, self.answered, self.client)?;
        match &self.call {
            Call::Push { operations, outcomes } => {
                write!(formatter, "push")?;
                for (index, operation) in operations.iter().enumerate() {
                    let outcome = match outcomes.as_ref().map(|outcomes| outcomes.get(index)) {
                        None => "no answer".to_owned(),
                        Some(None) => "no outcome".to_owned(),
                        Some(Some(Outcome::Applied)) => "applied".to_owned(),
                        Some(Some(Outcome::Duplicate)) => "duplicate".to_owned(),
                        Some(Some(Outcome::Resolved(resolved))) => format!(
                            "{} as {}, lost {:?}",
                            resolved.survival.as_str(),
                            resolved.operation_id,
                            resolved.lost
                        ),
                        Some(Some(Outcome::Conflict(conflict))) => format!(
                            "{} {} of revision {}",
                            conflict.relation.as_str(),
                            conflict.document.operation_id,
                            conflict.document.rev
                        ),
                        Some(Some(other)) => format!("{other:?}"),
                    };
                    let kind = operation.kind().as_str();
                    let clock = operation.clock.json();
                    write!(
                        formatter,
                        "\n    {} {kind} {} {}: {outcome}",
                        operation.id,
                        operation.key.id,
                        clock.as_str()
                    )?;
                }
                Ok(())
            }
            Call::Pull { from, page } => {
                let ids: Vec<&str> = page.entries.iter().map(|entry| entry.id.as_str()).collect();
                let (cursor, more) = (page.cursor, if page.has_more { ", more" } else { "" });
                write!(formatter, "pull {from:?}: {} operations, then {cursor:?}{more}", ids.len())?;
                if let [first, .., last] = ids[..] { write!(formatter, ", {first} to {last}") } else { Ok(()) }
            }
            Call::Read { key, found } => write!(formatter, "read {}: {found:?}", key.id),
            Call::Compact { deleted_entries } => write!(formatter, "compact: {deleted_entries:?}"),
        }
    }
}
