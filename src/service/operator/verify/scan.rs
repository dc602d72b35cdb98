//! A pass over the log that checks it, and folds it.

use super::finding::{Fault, Findings};
use super::fold::Fold;
use crate::core::cursor::Head;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::TenantId;
use crate::core::numbers::{Seq, UnixMs};
use crate::limits::service::AUDIT_MAX_ENTRIES;
use crate::store::{AuditEntry, Result, Store};

/// A pass over the log.
#[derive(Debug)]
pub(super) struct Scan {
    /// The horizon at the beginning.
    pub(super) horizon: Seq,
    /// The last entry that was read.
    pub(super) after: Seq,
    /// The entries that were read.
    pub(super) entries: u64,
    /// The bytes of their data and clocks, and of what is kept beside them.
    pub(super) bytes: u64,
    pub(super) fold: Fold,
    /// The fingerprint there. `None` if it is unknown because of a fault.
    fingerprint: Option<Fingerprint>,
    /// When that entry was received.
    received_at_ms: UnixMs,
    /// Whether faults of the log and of stamps are listed. One pass of several lists them.
    pub(super) lists_faults: bool,
}

/// The result of an advance of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advanced {
    /// There may be more entries.
    On,
    /// The log had no more entries.
    AtHead,
    /// The log was compacted or replaced, so that the scan does not fit it.
    Moved,
}

impl Scan {
    /// A pass that begins after the horizon.
    pub(super) fn new(head: Head, fold: Fold, lists_faults: bool) -> Self {
        Self {
            horizon: head.horizon,
            after: head.horizon,
            entries: 0,
            bytes: 0,
            fold,
            fingerprint: None,
            received_at_ms: UnixMs::EPOCH,
            lists_faults,
        }
    }

    /// Reads some entries.
    pub(super) async fn advance(
        &mut self,
        store: &dyn Store,
        tenant: &TenantId,
        findings: &mut Findings,
    ) -> Result<Advanced> {
        let audit = store.audit(tenant, self.after, AUDIT_MAX_ENTRIES).await?;
        let head = audit.head.position;
        if audit.head.horizon > self.after || head.seq < self.after {
            return Ok(Advanced::Moved);
        }
        if self.after == self.horizon {
            self.fingerprint = audit.fingerprint_before;
            if self.fingerprint.is_none() {
                self.found(findings, Fault::Fingerprint, format!("sequence number {}: it has none", self.after));
            }
        }
        let (entries, beyond): (Vec<_>, Vec<_>) = audit.entries.iter().partition(|entry| entry.entry.seq <= head.seq);
        if let Some(entry) = beyond.first() {
            let what = format!("sequence number {}: the head says that the log ends before", entry.entry.seq);
            self.found(findings, Fault::Counter, what);
        }
        if entries.first().is_some_and(|first| first.received_at_ms < self.received_at_ms) {
            self.read_time_again(store, tenant).await?;
        }
        for entry in &entries {
            self.check(entry, findings);
            self.fold_entry(entry, findings);
        }
        if entries.is_empty() && self.after < head.seq {
            self.lose(head.seq.next(), findings);
        }
        if self.after < head.seq {
            return Ok(Advanced::On);
        }
        if self.fingerprint.is_some_and(|fingerprint| fingerprint != head.fingerprint) {
            self.found(findings, Fault::Fingerprint, "the head has another than the last entry".to_owned());
        }
        if entries.is_empty() && self.received_at_ms > audit.counters.received_at_ms {
            self.read_time_again(store, tenant).await?;
        }
        if self.received_at_ms > audit.counters.received_at_ms {
            self.found(findings, Fault::Order, "the head has an earlier time of reception than an entry".to_owned());
        }
        Ok(Advanced::AtHead)
    }

    /// Reads the time of the last entry again, which was read at another moment than the entry behind it.
    ///
    /// A compaction may have mended both since, because they were received by a clock that ran ahead. It makes times
    /// smaller, the oldest first. So the time as it is now is at most that of the entry behind it, unless one of them
    /// is damaged. If a compaction has removed the entry, nothing can be said about its time.
    async fn read_time_again(&mut self, store: &dyn Store, tenant: &TenantId) -> Result<()> {
        let audit = store.audit(tenant, self.after.previous(), 1).await?;
        let last = audit.entries.first().filter(|last| last.entry.seq == self.after);
        self.received_at_ms = last.map_or(UnixMs::EPOCH, |last| last.received_at_ms);
        Ok(())
    }

    fn found(&self, findings: &mut Findings, fault: Fault, what: String) {
        if self.lists_faults {
            findings.add(fault, what);
        }
    }

    /// Passes over entries that are missing before one that is there, or before the end.
    fn lose(&mut self, next: Seq, findings: &mut Findings) {
        let (first, last) = (self.after.next(), next.previous());
        if first <= last {
            let what = if first == last { format!("{first}") } else { format!("{first} to {last}") };
            self.found(findings, Fault::MissingEntry, format!("sequence number {what}"));
            self.fingerprint = None;
            self.after = last;
        }
    }

    fn check(&mut self, entry: &AuditEntry, findings: &mut Findings) {
        self.lose(entry.entry.seq, findings);
        let of_entry = format!("sequence number {}", entry.entry.seq);
        let expected = self.fingerprint.map(|before| before.extended(&entry.entry.id));
        if expected.is_some_and(|expected| expected != entry.fingerprint) {
            self.found(findings, Fault::Fingerprint, format!("{of_entry}: it does not follow from the one before"));
        }
        if !entry.is_id_known {
            self.found(findings, Fault::UnknownId, format!("{of_entry}: operation {}", entry.entry.id));
        }
        if entry.received_at_ms < self.received_at_ms {
            self.found(findings, Fault::Order, format!("{of_entry}: it was received before the entry before"));
        }
        self.after = entry.entry.seq;
        self.fingerprint = Some(entry.fingerprint);
        self.received_at_ms = entry.received_at_ms;
        self.entries += 1;
        let data_bytes = entry.entry.data().map_or(0, |data| data.as_str().len());
        self.bytes += (data_bytes + entry.entry.clock.as_str().len()) as u64 + entry.kept_bytes;
    }

    fn fold_entry(&mut self, entry: &AuditEntry, findings: &mut Findings) {
        if self.fold.apply(&entry.entry).is_err() {
            let what = format!("sequence number {}: the data are damaged", entry.entry.seq);
            findings.add(Fault::WrongDocument, what);
        }
    }
}
