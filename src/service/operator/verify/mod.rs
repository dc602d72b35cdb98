//! Whether the log explains the documents, whether it is dense, and whether counters and fingerprints agree.
//!
//! The log and the documents are read side by side, both in the order of sequence numbers. A document that is changed
//! meanwhile comes again later, and is compared then. So nothing is reported that is only in motion.

mod finding;
mod fold;
mod progress;
mod scan;

use super::Operator;
use crate::core::access::View;
use crate::core::cursor::{Cursor, Head};
use crate::core::decide::{StoredStamps, is_kept, may_be_stamps};
use crate::core::document::Document;
use crate::core::feed::Feed;
use crate::core::names::TenantId;
use crate::core::numbers::Seq;
use crate::core::operation::LogEntry;
use crate::limits::service::{
    TRANSFER_MAX_DOCUMENTS, VERIFY_MAX_ATTEMPTS, VERIFY_PART_MAX_BYTES, VERIFY_PARTS_MAX_ENTRIES,
};
use crate::service::error::ServiceError;
use crate::store::{Changes, ChangesRequest, Counters};

pub use finding::{Fault, Finding};
pub use progress::VerifyProgress;

use finding::Findings;
use fold::{Data, Fold, Part};
use scan::{Advanced, Scan};

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The entries of the log that were checked.
    pub entries: u64,
    /// The documents that were checked, tombstones included.
    pub documents: u64,
    /// The first findings. There are none if all is well.
    pub findings: Vec<Finding>,
    /// The number of all findings.
    pub finding_count: u64,
    /// Whether everything was checked. Compactions may come between again and again, and then verify again later.
    pub is_complete: bool,
    /// Whether the counters of the head were checked. That needs a moment in which the tenant is not written to.
    pub are_counters_checked: bool,
}

/// The sums over the documents of a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    documents: u64,
    live_documents: u64,
    bytes: u64,
}

impl Operator {
    /// Verifies a tenant, also while it is written to. Nothing is changed.
    ///
    /// # Errors
    /// If the store fails, also if a row is so damaged that it cannot be read.
    pub async fn verify(&self, tenant: &TenantId) -> Result<Verified, ServiceError> {
        self.verify_watched(tenant, &mut |_| {}).await
    }

    /// The same, and tells how far it is after each read.
    ///
    /// # Errors
    /// As for [`Operator::verify`].
    pub async fn verify_watched(
        &self,
        tenant: &TenantId,
        watch: &mut (dyn FnMut(VerifyProgress) + Send),
    ) -> Result<Verified, ServiceError> {
        let mut best: Option<Verified> = None;
        let mut parts = 1;
        let mut attempts_left = VERIFY_MAX_ATTEMPTS;
        while attempts_left > 0 {
            match self.verify_once(tenant, parts, watch).await? {
                Pass::Done(verified) => {
                    let is_final = verified.are_counters_checked || verified.finding_count > 0;
                    best = Some(verified);
                    if is_final {
                        break;
                    }
                    attempts_left -= 1;
                }
                Pass::Moved => attempts_left -= 1,
                Pass::TooLarge { parts: too_few } => parts = too_few * 2,
            }
        }
        let nothing = Verified {
            entries: 0,
            documents: 0,
            findings: Vec::new(),
            finding_count: 0,
            is_complete: false,
            are_counters_checked: false,
        };
        Ok(best.unwrap_or(nothing))
    }

    /// Reads the log and the documents once for each part of the documents.
    async fn verify_once(
        &self,
        tenant: &TenantId,
        least_parts: u64,
        watch: &mut (dyn FnMut(VerifyProgress) + Send),
    ) -> Result<Pass, ServiceError> {
        let store = &*self.service.store;
        let before = store.audit(tenant, Seq::AFTER_ALL, 1).await?;
        let parts = (before.counters.bytes / VERIFY_PART_MAX_BYTES + 1).max(least_parts).min(VERIFY_PARTS_MAX_ENTRIES);
        let mut findings = Findings::default();
        let mut first: Option<(Scan, Sums)> = None;
        for number in 0..parts {
            let head = self.head(tenant).await?;
            let fold = Fold::new(Part { number, of: parts }, head.horizon == Seq::START);
            let mut scan = Scan::new(head, fold, number == 0);
            let mut tell = |scan: &Scan, documents_end| {
                watch(VerifyProgress::of(scan, head.position.seq, documents_end));
            };
            let sums = match self.verify_part(tenant, &mut scan, &mut findings, &mut tell).await? {
                PartPass::Done(sums) => sums,
                PartPass::TooLarge if parts < VERIFY_PARTS_MAX_ENTRIES => return Ok(Pass::TooLarge { parts }),
                PartPass::Moved | PartPass::TooLarge => return Ok(Pass::Moved),
            };
            if first.is_none() {
                first = Some((scan, sums));
            }
        }
        let Some((scan, sums)) = first else { return Ok(Pass::Moved) };
        let after = store.audit(tenant, Seq::AFTER_ALL, 1).await?;
        let has_rested = (before.head, before.counters) == (after.head, after.counters);
        if has_rested {
            compare_counters(after.head, after.counters, &scan, sums, &mut findings);
        }
        Ok(Pass::Done(Verified {
            entries: scan.entries,
            documents: sums.documents,
            findings: findings.listed,
            finding_count: findings.count,
            is_complete: true,
            are_counters_checked: has_rested,
        }))
    }

    async fn verify_part(
        &self,
        tenant: &TenantId,
        scan: &mut Scan,
        findings: &mut Findings,
        tell: &mut (dyn FnMut(&Scan, Seq) + Send),
    ) -> Result<PartPass, ServiceError> {
        let store = &*self.service.store;
        loop {
            match scan.advance(store, tenant, findings).await? {
                Advanced::Moved => return Ok(PartPass::Moved),
                Advanced::AtHead => break,
                Advanced::On => {}
            }
            tell(scan, Seq::START);
            if scan.fold.bytes() > 2 * VERIFY_PART_MAX_BYTES {
                return Ok(PartPass::TooLarge);
            }
        }
        let mut sums = Sums::default();
        let mut cursor = Cursor::BEGINNING;
        let end = loop {
            let scanned = scan.after;
            let request = ChangesRequest {
                feed: Feed::DOCUMENTS,
                view: View::default(),
                ..ChangesRequest::operations(Some(cursor), TRANSFER_MAX_DOCUMENTS)
            };
            let Changes::Page { page, .. } = store.changes(tenant, request).await? else {
                return Ok(PartPass::Moved);
            };
            if scan.lists_faults {
                sums.bytes += self.check_stamps(tenant, &page.entries, findings).await?;
            }
            for document in &page.entries {
                let data_bytes = document.data().map_or(0, |data| data.as_str().len());
                sums.documents += 1;
                sums.live_documents += u64::from(document.data().is_some());
                sums.bytes += (data_bytes + document.clock.as_str().len()) as u64;
                while scan.after < document.seq {
                    let advanced = scan.advance(store, tenant, findings).await?;
                    if advanced == Advanced::Moved {
                        return Ok(PartPass::Moved);
                    }
                    if advanced == Advanced::AtHead && scan.after < document.seq {
                        // The document is newer than the log, which is a fault of it.
                        break;
                    }
                }
                compare_document(document, scan, scanned, findings);
            }
            cursor = page.next;
            tell(scan, cursor.position().seq);
            if !page.has_more {
                break cursor.position().seq;
            }
        };
        for missing in scan.fold.unseen(end) {
            let what =
                format!("{}, whose last operation has the sequence number {}", named(&missing.last), missing.last.seq);
            findings.add(Fault::MissingDocument, what);
        }
        Ok(PartPass::Done(sums))
    }
}

impl Operator {
    /// Checks what is kept for resolutions with the documents of a page. Returns the bytes of their stamps.
    async fn check_stamps(
        &self,
        tenant: &TenantId,
        entries: &[LogEntry],
        findings: &mut Findings,
    ) -> Result<u64, ServiceError> {
        let mut bytes = 0;
        self.load_page(tenant, entries, |entry, document, stored| {
            bytes += stored.stamps.as_ref().map_or(0, String::len) as u64;
            for damage in damages(document, stored) {
                findings.add(Fault::Stamps, format!("{}: {damage}", named(entry)));
            }
        })
        .await?;
        Ok(bytes)
    }
}

/// The damages of what is kept for resolutions with a document.
fn damages(document: &Document, StoredStamps { stamps, kept }: &StoredStamps) -> impl Iterator<Item = &'static str> {
    let are_damaged = stamps.as_ref().is_some_and(|stamps| !may_be_stamps(stamps, document.rev));
    let is_damaged = document.is_deleted() && kept.as_ref().is_some_and(|kept| !is_kept(kept));
    let stamps = are_damaged.then_some("the text about the writers of its parts is damaged");
    stamps.into_iter().chain(is_damaged.then_some("the text with its deleted data is damaged"))
}

/// The result of one pass over all documents.
enum Pass {
    Done(Verified),
    /// The log was compacted or replaced meanwhile.
    Moved,
    /// There were too few parts.
    TooLarge {
        parts: u64,
    },
}

/// The result of a pass over one part of the documents.
enum PartPass {
    Done(Sums),
    Moved,
    TooLarge,
}

fn named(entry: &LogEntry) -> String {
    format!("document {}/{}", entry.key.collection, entry.key.id)
}

/// Compares a document with what results from the log. Everything up to `scanned` was read before the document.
fn compare_document(document: &LogEntry, scan: &mut Scan, scanned: Seq, findings: &mut Findings) {
    if !scan.fold.part.includes(&document.key) {
        return;
    }
    let mut wrong = |what: &str| findings.add(Fault::WrongDocument, format!("{}: {what}", named(document)));
    let horizon = scan.horizon;
    let Some(folded) = scan.fold.get_mut(&document.key) else {
        if document.seq > horizon {
            wrong("its last operation is not in the log");
        }
        return;
    };
    folded.is_seen = true;
    if folded.last.seq > document.seq {
        if folded.last.seq <= scanned {
            wrong("the log has a later operation");
        }
        return;
    }
    if folded.last.seq < document.seq {
        wrong("its last operation is not in the log");
        return;
    }
    let last = &folded.last;
    if (&last.id, &last.client_id, last.timestamp) != (&document.id, &document.client_id, document.timestamp) {
        wrong("its last operation is another one than in the log");
    }
    if last.clock != document.clock {
        wrong("its clock is another one than in the log");
    }
    if document.rev.is_some_and(|rev| rev.get() < folded.entries) {
        wrong("it has fewer revisions than the log has operations");
    }
    let results = match &folded.data {
        Data::Unknown => true,
        Data::Deleted => document.data().is_none(),
        Data::Are(data) => document.data() == Some(data),
    };
    if !results {
        wrong("its data do not result from the log");
    }
}

fn compare_counters(head: Head, counters: Counters, scan: &Scan, sums: Sums, findings: &mut Findings) {
    let mut compare = |name: &str, counter: u64, found: u64| {
        if counter != found {
            findings.add(Fault::Counter, format!("{name}: the head says {counter}, and there are {found}"));
        }
    };
    compare("entries of the log", counters.operations, head.position.seq.entries_since(head.horizon));
    compare("documents that are not deleted", counters.documents, sums.live_documents);
    compare("bytes", counters.bytes, scan.bytes + sums.bytes);
}
