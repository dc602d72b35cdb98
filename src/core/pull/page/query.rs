//! Pages of a collection's documents.

use super::top::Top;
use crate::core::access::View;
use crate::core::access::rules::Right;
use crate::core::document::LiveDocument;
use crate::core::filter::{DamagedData, Filter, Sort, SortPlace};
use crate::core::numbers::Seq;
use crate::limits::protocol::{QUERY_DOCUMENT_OVERHEAD_BYTES, QUERY_MAX_EXAMINED_BYTES};

use super::PageBudget;

/// A page of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryPage {
    /// The documents that match, newest first, or in the order that was asked for.
    pub documents: Vec<LiveDocument>,
    /// The next page begins with the newest document whose sequence number is less than this. `None` if no more
    /// documents match, and for a page of a sorted query.
    pub more_before: Option<Seq>,
    /// How the page of a sorted query ends.
    pub sorted: SortedEnd,
}

/// How the page of a sorted query ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SortedEnd {
    /// No more documents match, or the query is not sorted.
    #[default]
    Nothing,
    /// The next page begins behind this place.
    After(SortPlace),
    /// The collection has more documents than a query may look at, so the order of its documents is not known. The page
    /// has no documents.
    TooMuch,
}

/// Makes a page of the documents of a collection, beginning with the newest.
///
/// The page ends when it is full, or when [`QUERY_MAX_EXAMINED_BYTES`] were read. If values are compared several times,
/// their bytes count as often. So a request has a bounded cost even if few documents match.
///
/// The page of a sorted query needs every document of the collection, and keeps those that fit on it.
#[derive(Debug)]
pub struct QueryPageBuilder<'a> {
    filter: &'a Filter,
    budget: PageBudget,
    examined_bytes: usize,
    examined_before: Option<Seq>,
    page: QueryPage,
    top: Option<Top>,
    view: View,
}

impl<'a> QueryPageBuilder<'a> {
    /// An empty page for at most `max_documents` matching documents.
    #[must_use]
    pub fn new(filter: &'a Filter, sort: Option<&Sort>, max_documents: usize) -> Self {
        Self {
            filter,
            budget: PageBudget::new(max_documents),
            examined_bytes: 0,
            examined_before: None,
            page: QueryPage { documents: Vec::new(), more_before: None, sorted: SortedEnd::Nothing },
            top: sort.map(|sort| Top::new(sort, max_documents)),
            view: View::default(),
        }
    }

    /// The page for a reader who may not see everything. Other documents are passed over.
    #[must_use]
    pub fn seen_by(self, view: &View) -> Self {
        Self { view: view.clone(), ..self }
    }

    /// Reads the next document. Returns whether the page needs another.
    ///
    /// # Errors
    /// If the filter is about the document's data, and it is damaged.
    pub fn push(&mut self, document: LiveDocument) -> Result<bool, DamagedData> {
        let clock_bytes = document.clock.as_ref().map_or(0, |clock| clock.as_str().len());
        let (seq, bytes) = (document.seq, document.data.as_str().len() + clock_bytes);
        if !self.view.permits(Right::Read, &document.key.collection, &document.data) {
            return Ok(self.pass(seq, bytes));
        }
        let examined = self.filter.examine(&document)?;
        let bytes = bytes.max(examined.compared_bytes);
        if let Some(top) = &mut self.top {
            if examined.is_match {
                top.offer(document)?;
            }
        } else if examined.is_match {
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
            match self.top.take() {
                None => self.page.more_before = Some(seq),
                Some(_) => self.page.sorted = SortedEnd::TooMuch,
            }
            return false;
        }
        true
    }

    /// The bytes that were read, with those that were compared several times.
    #[cfg(any(feature = "postgres", feature = "mongodb"))]
    pub(crate) fn examined_bytes(&self) -> usize {
        self.examined_bytes
    }

    /// The page. It is complete if no document is left or `push` returned false.
    #[must_use]
    pub fn finish(self) -> QueryPage {
        match self.top {
            None => self.page,
            Some(top) => {
                let (documents, after) = top.finish();
                let sorted = after.map_or(SortedEnd::Nothing, SortedEnd::After);
                QueryPage { documents, sorted, ..self.page }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::filter::{Condition, Expression};
    use crate::core::json::Object;
    use crate::core::names::{Collection, DocumentId, DocumentKey, OperationId};
    use crate::core::numbers::Rev;

    fn document(seq: u64, is_wanted: bool) -> LiveDocument {
        let data = format!(r#"{{"wanted":{is_wanted},"text":"{}"}}"#, "x".repeat(1024 * 1024));
        LiveDocument {
            key: DocumentKey { collection: Collection::literal("c"), id: DocumentId::literal("d") },
            rev: Rev::new(1),
            seq: Seq::new(seq),
            operation_id: OperationId::literal("op"),
            data: Object::literal(&data),
            clock: None,
        }
    }

    #[test]
    fn a_sorted_query_ends_without_an_answer_when_it_has_looked_at_enough() {
        let sort = Sort { path: "wanted".to_owned(), is_descending: false, after: None };
        let filter = Filter::default();
        let mut page = QueryPageBuilder::new(&filter, Some(&sort), 10);
        assert!((1..64).rev().all(|seq| page.push(document(seq, true)).unwrap()), "63 of 64 MiB");
        assert!(!page.push(document(0, true)).unwrap());
        let expected = QueryPage { documents: vec![], more_before: None, sorted: SortedEnd::TooMuch };
        assert_eq!(page.finish(), expected);
    }

    /// Law 10: values that are compared often count as often, so the time for a page is bounded too.
    #[test]
    fn a_page_ends_sooner_if_its_documents_are_compared_often() {
        let conditions = (0..100).map(|number| Condition::new("text", &format!("\"{number}\"")));
        let any = conditions.map(|condition| Expression::Not(Box::new(Expression::Condition(condition))));
        let filter = Filter::of(Expression::All(any.collect()));
        let mut page = QueryPageBuilder::new(&filter, None, 10);
        assert!(!page.push(document(9, true)).unwrap(), "100 of 64 MiB");
        let page = page.finish();
        assert_eq!((page.documents.len(), page.more_before), (1, Some(Seq::new(9))));
    }

    #[test]
    fn a_page_of_a_query_ends_when_it_has_looked_at_enough() {
        let filter = Filter::new(vec![Condition::new("wanted", "true")]);
        let mut page = QueryPageBuilder::new(&filter, None, 10);
        assert!((38..100).rev().all(|seq| page.push(document(seq, seq == 70)).unwrap()), "62 of 64 MiB");
        assert!(page.push(document(37, false)).unwrap());
        assert!(!page.push(document(36, false)).unwrap());
        let page = page.finish();
        assert_eq!(page.documents.iter().map(|document| document.seq).collect::<Vec<_>>(), [Seq::new(70)]);
        assert_eq!(page.more_before, Some(Seq::new(36)));
        let mut page = QueryPageBuilder::new(&filter, None, 1);
        assert!(page.push(document(9, true)).unwrap());
        assert!(page.push(document(8, false)).unwrap());
        assert!(!page.push(document(7, true)).unwrap());
        assert_eq!(page.finish().more_before, Some(Seq::new(8)), "what was looked at is not looked at again");
    }
}
