//! The first documents of a sorted query.

use std::collections::BTreeMap;

use crate::core::document::LiveDocument;
use crate::core::filter::{DamagedData, OrderedPlace, Sort, SortPlace, Sorter};
use crate::limits::protocol::PAGE_MAX_BYTES;

/// Keeps the first documents of an order: as many as fit on a page, and never more than one beyond.
#[derive(Debug)]
pub(super) struct Top {
    sorter: Sorter,
    max_documents: usize,
    kept: BTreeMap<OrderedPlace, LiveDocument>,
    kept_bytes: usize,
    /// The first document that did not fit. Neither does any behind it.
    end: Option<OrderedPlace>,
}

impl Top {
    pub(super) fn new(sort: &Sort, max_documents: usize) -> Self {
        Self { sorter: Sorter::new(sort), max_documents, kept: BTreeMap::new(), kept_bytes: 0, end: None }
    }

    /// Keeps a document if it belongs to the page, and drops those that it pushes out.
    pub(super) fn offer(&mut self, document: LiveDocument) -> Result<(), DamagedData> {
        let place = self.sorter.place_of(&document).ok_or(DamagedData)?;
        if !self.sorter.begins_before(&place) || self.end.as_ref().is_some_and(|end| place > *end) {
            return Ok(());
        }
        self.kept_bytes += document.wire_bytes();
        self.kept.insert(place, document);
        let is_full = |top: &Self| top.kept.len() > top.max_documents || top.kept_bytes > PAGE_MAX_BYTES;
        while self.kept.len() > 1 && is_full(self) {
            let Some((place, document)) = self.kept.pop_last() else { break };
            self.kept_bytes -= document.wire_bytes();
            self.end = Some(place);
        }
        Ok(())
    }

    /// The documents in their order, and the place behind which the next page begins.
    pub(super) fn finish(self) -> (Vec<LiveDocument>, Option<SortPlace>) {
        let last = self.kept.last_key_value().filter(|_| self.end.is_some());
        let after = last.map(|(place, _)| place.clone().into_place());
        (self.kept.into_values().collect(), after)
    }
}
