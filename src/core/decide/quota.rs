//! Quotas: how much a tenant may keep.

use std::fmt;

/// How much a tenant keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// The number of documents that are not deleted.
    pub documents: u64,
    /// The bytes of all documents and of all entries that the log still has: data and clocks, as texts. Tombstones
    /// count with their clocks, documents with their stamps, and resolutions with what is kept beside them.
    pub bytes: u64,
    /// The number of operations that ever took effect. Their ids are known for ever, so this only grows. Ids that came
    /// with an import are not counted.
    pub operation_ids: u64,
}

/// How much a tenant may keep at most. `None` sets no limit.
///
/// Pushes that several servers decide at the same moment are each within the quota alone. Together they may exceed it
/// by one commit of each server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Quota {
    /// The limit for [`Usage::documents`].
    pub max_documents: Option<u64>,
    /// The limit for [`Usage::bytes`].
    pub max_bytes: Option<u64>,
    /// The limit for [`Usage::operation_ids`].
    pub max_operation_ids: Option<u64>,
    /// The limit for the clients that the server remembers.
    pub max_clients: Option<u64>,
}

impl Quota {
    /// Whether a push has to know the usage of its tenant.
    #[must_use]
    pub fn concerns_pushes(&self) -> bool {
        self.max_documents.is_some() || self.max_bytes.is_some() || self.max_operation_ids.is_some()
    }

    /// The first limit that a push exceeds, if it exceeds one.
    ///
    /// Deletes, and pushes that leave fewer bytes or documents than there were, are not refused for these, so that a
    /// client can make room. A delete that keeps the data of a tombstone again makes none, and neither does an edit
    /// that loses against one.
    pub(crate) fn exceeded(&self, before: Usage, after: Usage, only_deletes: bool) -> Option<QuotaExceeded> {
        let of = |kind, max: Option<u64>, before: u64, after: u64| {
            max.filter(|max| after > *max && after > before).map(|max| QuotaExceeded { kind, max })
        };
        let documents = of(QuotaKind::Documents, self.max_documents, before.documents, after.documents);
        let bytes = of(QuotaKind::Bytes, self.max_bytes, before.bytes, after.bytes).filter(|_| !only_deletes);
        let ids = of(QuotaKind::OperationIds, self.max_operation_ids, before.operation_ids, after.operation_ids);
        documents.or(bytes).or(ids)
    }
}

/// The thing that a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuotaKind {
    /// Documents that are not deleted.
    Documents,
    /// Bytes of documents and of the log.
    Bytes,
    /// Operation ids.
    OperationIds,
    /// Remembered clients.
    Clients,
}

/// A tenant may not keep more of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaExceeded {
    /// The thing of which there would be too much.
    pub kind: QuotaKind,
    /// The limit.
    pub max: u64,
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, max } = self;
        let (what, help) = match kind {
            QuotaKind::Documents => ("documents", "; deleting some makes room"),
            QuotaKind::Bytes => ("bytes", "; deleting documents or a compaction makes room"),
            QuotaKind::OperationIds => ("operations ever", ""),
            QuotaKind::Clients => ("clients", ""),
        };
        write!(formatter, "this tenant may have at most {max} {what}{help}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_room_is_never_refused_for_documents_or_bytes() {
        let quota =
            Quota { max_documents: Some(2), max_bytes: Some(100), max_operation_ids: Some(9), ..Quota::default() };
        let usage = |documents, bytes, operation_ids| Usage { documents, bytes, operation_ids };
        let kind =
            |before, after, only_deletes| quota.exceeded(before, after, only_deletes).map(|exceeded| exceeded.kind);
        assert_eq!(kind(usage(1, 50, 1), usage(2, 100, 9), false), None, "exactly the limits");
        assert_eq!(kind(usage(2, 50, 1), usage(3, 60, 2), false), Some(QuotaKind::Documents));
        assert_eq!(kind(usage(5, 50, 1), usage(4, 60, 2), false), None, "there are fewer than before");
        assert_eq!(kind(usage(1, 500, 1), usage(1, 501, 2), false), Some(QuotaKind::Bytes));
        assert_eq!(kind(usage(1, 500, 1), usage(1, 501, 2), true), None, "an entry of the log for a delete");
        assert_eq!(kind(usage(1, 500, 1), usage(1, 499, 2), false), None);
        assert_eq!(kind(usage(1, 50, 9), usage(0, 40, 10), true), Some(QuotaKind::OperationIds));
    }
}
