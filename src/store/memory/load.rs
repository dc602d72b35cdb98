//! The basis of a decision, from the model store.

use std::collections::HashMap;

use super::{Logged, Tenant};
use crate::core::cursor::Position;
use crate::core::decide::quota::Usage;
use crate::core::decide::{Snapshot, StoredStamps};
use crate::core::document::Document;
use crate::core::names::{ClientId, DocumentKey};
use crate::core::numbers::Seq;
use crate::store::LoadRequest;

impl Tenant {
    /// See [`crate::store::Store::load`].
    pub(super) fn load(&self, request: LoadRequest) -> Snapshot {
        let known = request.ids.into_iter().filter(|id| self.known.contains(id)).collect();
        let document = |key: DocumentKey| {
            let (seq, document) = self.documents.get(&key)?;
            let former_labels = document.former_labels.clone().stored_at(*seq);
            Some((key, Document { former_labels, ..document.clone() }))
        };
        let documents: HashMap<_, _> = request.keys.into_iter().filter_map(document).collect();
        let stamps = if request.with_stamps { self.stamps_of(&documents) } else { HashMap::new() };
        let bytes = documents.values().map(Document::bytes).chain(stamps.values().map(StoredStamps::bytes));
        let is_cut = bytes.sum::<usize>() > request.max_bytes;
        let (documents, stamps) = if is_cut { Default::default() } else { (documents, stamps) };
        let bytes_of = |key: &DocumentKey| Some((key.clone(), self.stamps.get(key)?.len()));
        let stamps_bytes = documents.keys().filter_map(bytes_of).collect();
        let owner = |client: ClientId| self.owners.get(&client).map(|owner| (client, owner.clone()));
        let owners = request.client_ids.into_iter().filter_map(owner).collect();
        let is_kept = |place: &Position| place.seq >= self.floor.seq;
        let there = |seq: Seq| self.position(seq).filter(is_kept).map(|there| (seq, there.fingerprint));
        let fingerprints = request.places.into_iter().filter_map(there).collect();
        let usage = request.with_usage.then(|| self.usage());
        Snapshot { known, documents, is_cut, owners, fingerprints, usage, stamps, stamps_bytes, ..Snapshot::default() }
    }

    /// The texts that are kept for resolutions with these documents.
    fn stamps_of(&self, documents: &HashMap<DocumentKey, Document>) -> HashMap<DocumentKey, StoredStamps> {
        let stored = |(key, document): (&DocumentKey, &Document)| {
            let (seq, _) = self.documents.get(key)?;
            let kept = self.log.get(seq).and_then(|logged| logged.kept.as_ref()).filter(|_| document.is_deleted());
            let (stamps, kept) = (self.stamps.get(key).cloned(), kept.map(|kept| kept.as_str().to_owned()));
            (stamps.is_some() || kept.is_some()).then(|| (key.clone(), StoredStamps { stamps, kept }))
        };
        documents.iter().filter_map(stored).collect()
    }

    pub(super) fn usage(&self) -> Usage {
        let documents = self.documents.values().map(|(_, document)| document);
        let bytes_of_documents: usize = documents.clone().map(Document::bytes).sum();
        let bytes_of_stamps: usize = self.stamps.values().map(String::len).sum();
        let bytes_of_log: usize = self.log.values().map(Logged::bytes).sum();
        Usage {
            documents: documents.filter(|document| !document.is_deleted()).count() as u64,
            bytes: (bytes_of_documents + bytes_of_stamps + bytes_of_log) as u64,
            operation_ids: self.newest.seq.get(),
        }
    }
}
