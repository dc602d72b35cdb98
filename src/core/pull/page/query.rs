//! Pages of a collection's documents.

use crate::core::document::LiveDocument;
use crate::core::filter::{DamagedData, Filter};
use crate::core::numbers::Seq;
use crate::limits::protocol::{QUERY_DOCUMENT_OVERHEAD_BYTES, QUERY_MAX_EXAMINED_BYTES};

use super::PageBudget;

/// A page of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryPage {
    /// The documents that match, newest first.
    pub documents: Vec<LiveDocument>,
    /// The next page begins with the newest document whose sequence number is less than this. `None` if no more
    /// documents match.
    pub more_before: Option<Seq>,
}

/// Makes a page of the documents of a collection, beginning with the newest.
///
/// The page ends when it is full, or when [`QUERY_MAX_EXAMINED_BYTES`] were read. So a request has a bounded cost even
/// if few documents match.
#[derive(Debug)]
pub struct QueryPageBuilder<'a> {
    filter: &'a Filter,
    budget: PageBudget,
    examined_bytes: usize,
    examined_before: Option<Seq>,
    page: QueryPage,
}

impl<'a> QueryPageBuilder<'a> {
    /// An empty page for at most `max_documents` matching documents.
    #[must_use]
    pub fn new(filter: &'a Filter, max_documents: usize) -> Self {
        Self {
            filter,
            budget: PageBudget::new(max_documents),
            examined_bytes: 0,
            examined_before: None,
            page: QueryPage { documents: Vec::new(), more_before: None },
        }
    }

    /// Reads the next document. Returns whether the page needs another.
    ///
    /// # Errors
    /// If the filter is about the document's data, and it is damaged.
    pub fn push(&mut self, document: LiveDocument) -> Result<bool, DamagedData> {
        let (seq, bytes) = (document.seq, document.data.as_str().len());
        if self.filter.matches(&document)? {
            if !self.budget.admit(document.wire_bytes()) {
                self.page.more_before = self.examined_before;
                return Ok(false);
            }
            self.page.documents.push(document);
        }
        Ok(self.pass(seq, bytes))
    }

    /// Passes over a document that is known not to match. Returns whether the page needs another.
    pub fn pass(&mut self, seq: Seq, bytes: usize) -> bool {
        self.examined_before = Some(seq);
        self.examined_bytes = self.examined_bytes.saturating_add(bytes).saturating_add(QUERY_DOCUMENT_OVERHEAD_BYTES);
        if self.examined_bytes >= QUERY_MAX_EXAMINED_BYTES {
            self.page.more_before = Some(seq);
            return false;
        }
        true
    }

    /// The page. It is complete if no document is left or `push` returned false.
    #[must_use]
    pub fn finish(self) -> QueryPage {
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::filter::Condition;
    use crate::core::json::Object;
    use crate::core::names::{Collection, DocumentId, DocumentKey, OperationId};
    use crate::core::numbers::Rev;

    #[test]
    fn a_page_of_a_query_ends_when_it_has_looked_at_enough() {
        let filter = Filter::new(vec![Condition::new("wanted", "true")]);
        let document = |seq: u64, is_wanted: bool| {
            let data = format!(r#"{{"wanted":{is_wanted},"text":"{}"}}"#, "x".repeat(1024 * 1024));
            LiveDocument {
                key: DocumentKey { collection: Collection::literal("c"), id: DocumentId::literal("d") },
                rev: Rev::new(1),
                seq: Seq::new(seq),
                operation_id: OperationId::literal("op"),
                data: Object::literal(&data),
            }
        };
        let mut page = QueryPageBuilder::new(&filter, 10);
        assert!((38..100).rev().all(|seq| page.push(document(seq, seq == 70)).unwrap()), "62 of 64 MiB");
        assert!(page.push(document(37, false)).unwrap());
        assert!(!page.push(document(36, false)).unwrap());
        let page = page.finish();
        assert_eq!(page.documents.iter().map(|document| document.seq).collect::<Vec<_>>(), [Seq::new(70)]);
        assert_eq!(page.more_before, Some(Seq::new(36)));
        let mut page = QueryPageBuilder::new(&filter, 1);
        assert!(page.push(document(9, true)).unwrap());
        assert!(page.push(document(8, false)).unwrap());
        assert!(!page.push(document(7, true)).unwrap());
        assert_eq!(page.finish().more_before, Some(Seq::new(8)), "what was looked at is not looked at again");
    }
}
