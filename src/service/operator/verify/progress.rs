//! How far a verification is.

use super::scan::Scan;
use crate::core::numbers::Seq;

/// How far a verification is. It begins again if the tenant is compacted meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The steps that are done.
    pub done: u64,
    /// The steps that there are. An entry of the log is one, and so is each place at which a document may be.
    pub total: u64,
    /// The entries of the log that were read in this pass.
    pub entries: u64,
}

impl VerifyProgress {
    /// The progress of a pass whose log ended at `head` when it began, and which has read the documents up to a place.
    pub(super) fn of(scan: &Scan, head: Seq, documents_end: Seq) -> Self {
        let log = head.entries_since(scan.horizon);
        let steps = log.saturating_add(head.get());
        // Entries that came since are left out.
        let read = scan.after.min(head).entries_since(scan.horizon) + documents_end.min(head).get();
        let part = scan.fold.part;
        Self {
            done: part.number.saturating_mul(steps).saturating_add(read),
            total: part.of.saturating_mul(steps),
            entries: scan.entries,
        }
    }
}
