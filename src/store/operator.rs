//! The values of the methods of the port that serve an operator: the whole log, transfers, and erasing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::core::cursor::Head;
use crate::core::decide::owners::ClientOwner;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, DocumentKey, OperationId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::LogEntry;
use crate::core::page::PageBudget;
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::limits::protocol::PAGE_MAX_BYTES;

/// A part of the log with all that a store keeps of it, and the head, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The head of the log.
    pub head: Head,
    /// The counters of the head.
    pub counters: Counters,
    /// The fingerprint of the log at the place after which the entries begin. `None` if the store has none there.
    pub fingerprint_before: Option<Fingerprint>,
    /// The entries, in their order.
    pub entries: Vec<AuditEntry>,
}

/// The counters that a head has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// The number of entries in the log. Some stores keep no such counter, and give the distance from the horizon.
    pub operations: u64,
    /// The number of documents that are not deleted.
    pub documents: u64,
    /// The bytes of all documents and entries, see [`Usage::bytes`](crate::core::decide::quota::Usage::bytes).
    pub bytes: u64,
    /// The latest time of reception, in milliseconds since 1970.
    pub received_at_ms: UnixMs,
}

/// An entry of the log with all that a store keeps of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// The entry, with its subject, and with the record of a conflict if it is a resolution.
    pub entry: LogEntry,
    /// The fingerprint of the log after the entry.
    pub fingerprint: Fingerprint,
    /// When the server received the entry, in milliseconds since 1970.
    pub received_at_ms: UnixMs,
    /// Whether the id of the entry is known.
    pub is_id_known: bool,
    /// How many bytes the log keeps beside the entry, if it is a resolution.
    pub kept_bytes: u64,
}

/// Collects the entries of an [`Audit`] up to its limits.
#[derive(Debug)]
pub(crate) struct AuditBuilder {
    budget: PageBudget,
    entries: Vec<AuditEntry>,
}

impl AuditBuilder {
    /// No entries yet, of at most so many.
    pub(crate) fn new(max_entries: usize) -> Self {
        Self { budget: PageBudget::of_bytes(max_entries, PAGE_MAX_BYTES), entries: Vec::new() }
    }

    /// Adds the next entry. Returns false if it does not fit. The first one always fits.
    pub(crate) fn push(&mut self, entry: AuditEntry) -> bool {
        let kept_bytes = usize::try_from(entry.kept_bytes).unwrap_or(usize::MAX);
        let fits = self.budget.admit(entry.entry.wire_bytes().saturating_add(kept_bytes));
        if fits {
            self.entries.push(entry);
        }
        fits
    }

    /// The audit.
    pub(crate) fn finish(self, head: Head, counters: Counters, fingerprint_before: Option<Fingerprint>) -> Audit {
        Audit { head, counters, fingerprint_before, entries: self.entries }
    }
}

/// The request of [`Store::survey`](super::Store::survey).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyRequest {
    /// Only clients that were last seen in this range are surveyed.
    pub active_ms: RangeInclusive<UnixMs>,
    /// The greatest number of clients to read. The clients that have pulled least come first.
    pub max_clients: usize,
}

/// The state of a tenant's log and of its clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// The newest sequence number.
    pub head: Seq,
    /// The sequence number up to which history was removed.
    pub horizon: Seq,
    /// When the server received the oldest entry of the log, in milliseconds since 1970.
    pub oldest_received_ms: Option<UnixMs>,
    /// How far each active client has pulled, the smallest number first.
    pub pulled: Vec<Seq>,
}

/// All that a store keeps about a client id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// The client id.
    pub client_id: ClientId,
    /// The owner of the client id, if there is a row about it.
    pub owner: Option<ClientOwner>,
    /// The memory of the client that pulls, if there is one.
    pub pulls: Option<(Progress, Places)>,
}

/// Merges the first rows of the two tables about clients, each ordered by client id and cut after `limit` rows.
pub(crate) fn merge_client_rows(
    owners: Vec<(ClientId, ClientOwner)>,
    pulls: Vec<(ClientId, Progress, Places)>,
    limit: usize,
) -> Vec<ClientRow> {
    let row = |client_id: &ClientId| ClientRow { client_id: client_id.clone(), owner: None, pulls: None };
    let mut rows = BTreeMap::new();
    for (client_id, owner) in owners {
        rows.entry(client_id.clone()).or_insert_with(|| row(&client_id)).owner = Some(owner);
    }
    for (client_id, progress, places) in pulls {
        rows.entry(client_id.clone()).or_insert_with(|| row(&client_id)).pulls = Some((progress, places));
    }
    // A table that was cut has `limit` rows, and none of them comes after the end of the result.
    rows.into_values().take(limit).collect()
}

/// Things that a tenant learns without an entry in its log, from the export of another store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lesson {
    /// Ids that become known, each once.
    pub ids: Vec<OperationId>,
    /// Owners of client ids, each client id once. Subjects of client ids that belong to nobody are taken over, and
    /// counters that are greater.
    pub owners: Vec<(ClientId, ClientOwner)>,
}

/// A part of the log in which the data of a document are overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubStep {
    /// The document. It must have been deleted at or after the end of the part.
    pub key: DocumentKey,
    /// The part begins after this number.
    pub after: Seq,
    /// The last number of the part.
    pub up_to: Seq,
}

/// The rows that a step of [`Store::erase_tenant`](super::Store::erase_tenant) has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased {
    /// Documents, tombstones included.
    pub documents: u64,
    /// Entries of the log.
    pub entries: u64,
    /// Known ids of operations.
    pub ids: u64,
    /// Rows about clients: the memory of those that pull, and the owners of client ids.
    pub clients: u64,
    /// Whether nothing is left.
    pub is_finished: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(client: &str) -> (ClientId, ClientOwner) {
        (ClientId::literal(client), ClientOwner::default())
    }

    fn pulls(client: &str) -> (ClientId, Progress, Places) {
        let progress = Progress { pulled_seq: Seq::new(1), seen_at_ms: UnixMs::new(2) };
        (ClientId::literal(client), progress, Places::default())
    }

    #[test]
    fn rows_about_clients_are_merged_and_cut() {
        let merged = |limit| {
            let owners = ["a", "c"].map(owner).into_iter().take(limit).collect();
            let rows = merge_client_rows(owners, ["b", "c", "d"].map(pulls).into_iter().take(limit).collect(), limit);
            let shape = |row: ClientRow| (row.client_id.to_string(), row.owner.is_some(), row.pulls.is_some());
            rows.into_iter().map(shape).collect::<Vec<_>>()
        };
        let all = [("a", true, false), ("b", false, true), ("c", true, true), ("d", false, true)];
        let all = all.map(|(client, owned, pulls)| (client.to_owned(), owned, pulls));
        assert_eq!(merged(9), all);
        for limit in 0..4 {
            assert_eq!(merged(limit), all[..limit], "{limit}");
        }
    }
}
