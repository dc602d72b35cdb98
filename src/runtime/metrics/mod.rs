//! The events that are counted, for every entry point.
//!
//! An entry point brings a [`Recorder`] that turns them into its own metrics. The local server has a page for
//! Prometheus, and a function of AWS Lambda writes lines for CloudWatch.
//!
//! No event has the name of a tenant, a client or a document, so the number of metrics does not grow with the data.

#[cfg(feature = "local")]
mod page;
mod requests;
#[cfg(feature = "local")]
mod server;
mod store;
#[cfg(feature = "local")]
mod survey;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "local")]
pub use self::page::Metrics;
pub(super) use self::requests::CountRequests;
#[cfg(feature = "local")]
pub use self::server::serve_metrics;
pub use self::store::MeasuredStore;
#[cfg(feature = "local")]
pub use self::survey::survey_store;
use crate::core::decide::{Conflict, Resolved};
use crate::core::names::TenantId;
use crate::core::operation::{LogEntry, Operation};
use crate::service::{Caller, Observer};
use crate::store::Expired;

/// An event that is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Counted<'a> {
    /// A request was answered, or its client went away before that.
    Request {
        /// The pattern of its route, empty if there is none.
        route: &'a str,
        /// Its method.
        method: &'static str,
        /// The status of the answer. `None` if the client went away.
        status: Option<u16>,
        /// The time until the answer began.
        took: Duration,
        /// Whether the request asked to wait for changes, so that its time says nothing about the server.
        may_wait: bool,
    },
    /// So many operations of a push had this outcome.
    Operations {
        /// The outcome in one word.
        outcome: &'static str,
        /// The number of operations.
        operations: u64,
    },
    /// A conflict was resolved. The operation is counted by its outcome too.
    Resolved {
        /// The policy.
        policy: &'static str,
        /// How much of the operation survived.
        outcome: &'static str,
    },
    /// A page of a pull was read.
    Page {
        /// The number of its operations.
        operations: u64,
    },
    /// A step of a compaction removed entries of the log.
    Compacted {
        /// The number of entries.
        entries: u64,
    },
    /// A step of retention removed rows.
    Expired {
        /// The number of tombstones.
        tombstones: u64,
        /// The number of entries of which nothing is left.
        remains: u64,
    },
    /// Pushes were decided and committed together.
    Group {
        /// The number of pushes.
        pushes: u64,
        /// The number of their operations.
        operations: u64,
    },
    /// A tenant's listeners learned of a commit.
    Woken {
        /// The time since the commit, or since this process learned of it.
        after: Duration,
    },
    /// The store was called.
    StoreCall {
        /// The name of the method.
        call: &'static str,
        /// How long it took.
        took: Duration,
        /// Whether it was answered. It failed otherwise, or its time was over.
        is_answered: bool,
    },
}

/// The outcome of an operation that took effect.
pub const ACCEPTED: &str = "accepted";
/// The outcome of an operation that had taken effect before.
pub const DUPLICATE: &str = "duplicate";
/// The outcome of an operation that is in conflict with the server's document.
pub const CONFLICTING: &str = "conflicting";
/// The outcome of an operation that the rules forbid to its author.
pub const FORBIDDEN: &str = "forbidden";
/// The outcome of an operation that a partial push leaves out.
pub const REFUSED: &str = "refused";

/// Turns events into metrics. It must return at once.
pub trait Recorder: Debug + Send + Sync + 'static {
    /// Counts an event.
    fn record(&self, counted: Counted<'_>);
}

/// Counts the work of a service.
#[derive(Debug, Clone)]
pub struct CountWork(pub Arc<dyn Recorder>);

impl CountWork {
    fn operations(&self, outcome: &'static str, operations: usize) {
        self.0.record(Counted::Operations { outcome, operations: operations as u64 });
    }
}

impl Observer for CountWork {
    fn accepted(&self, _: Caller<'_>, operations: &[&Operation]) {
        self.operations(ACCEPTED, operations.len());
    }

    fn repeated(&self, _: Caller<'_>, operations: &[&Operation]) {
        self.operations(DUPLICATE, operations.len());
    }

    fn resolved(&self, _: Caller<'_>, resolved: &[(&Operation, &Resolved)]) {
        for (_, resolved) in resolved {
            let (policy, outcome) = (resolved.policy.as_str(), resolved.survival.as_str());
            self.0.record(Counted::Resolved { policy, outcome });
        }
    }

    fn conflicts(&self, _: Caller<'_>, conflicts: &[(&Operation, &Conflict)]) {
        self.operations(CONFLICTING, conflicts.len());
    }

    fn forbidden(&self, _: Caller<'_>, operations: &[&Operation]) {
        self.operations(FORBIDDEN, operations.len());
    }

    fn refused(&self, _: Caller<'_>, operations: usize) {
        self.operations(REFUSED, operations);
    }

    fn pulled(&self, _: Caller<'_>, entries: &[LogEntry]) {
        self.0.record(Counted::Page { operations: entries.len() as u64 });
    }

    fn compacted(&self, _: &TenantId, removed_entries: u64) {
        self.0.record(Counted::Compacted { entries: removed_entries });
    }

    fn expired(&self, _: &TenantId, expired: Expired) {
        let Expired { tombstones, remains } = expired;
        self.0.record(Counted::Expired { tombstones, remains });
    }

    fn committed(&self, _: &TenantId, pushes: usize, operations: usize) {
        self.0.record(Counted::Group { pushes: pushes as u64, operations: operations as u64 });
    }

    fn woken(&self, _: &TenantId, after: Duration) {
        self.0.record(Counted::Woken { after });
    }
}
