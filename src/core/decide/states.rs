//! A document in the course of a decision, as the operations so far have left it.

use super::content::Content;
use crate::core::access::View;
use crate::core::access::labels::{FormerLabels, Labels};
use crate::core::clock::VectorClock;
use crate::core::document::Document;
use crate::core::names::DocumentKey;
use crate::core::numbers::Rev;
use crate::core::operation::Operation;

/// How the pushes so far change what the tenant keeps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) live_documents: i64,
    pub(super) bytes: i64,
}

/// A document that was changed.
pub(super) struct Working<'a> {
    pub(super) before: Option<&'a Document>,
    pub(super) now: State<'a>,
    pub(super) content: Content<'a>,
    /// The last push that changed it for good, and how many bytes it had then.
    pub(super) counted: Option<(usize, usize)>,
}

/// The part of a document that an operation replaces as a whole.
pub(super) struct State<'a> {
    pub(super) rev: Rev,
    /// The operation that wrote it last, and its index among the operations; nothing before the first one.
    pub(super) last: Option<(&'a Operation, usize)>,
    /// Its clock; without entries if there is no document.
    pub(super) clock: VectorClock,
    pub(super) former_labels: FormerLabels,
}

impl<'a> Working<'a> {
    pub(super) fn of(before: Option<&'a Document>) -> Self {
        let data = before.and_then(|document| document.data.as_ref());
        Self {
            before,
            now: State {
                rev: before.map_or(Rev::NONE, |document| document.rev),
                last: None,
                clock: before.map_or_else(VectorClock::default, |document| document.clock.clone()),
                former_labels: before.map_or_else(FormerLabels::default, |document| document.former_labels.clone()),
            },
            content: data.map_or(Content::Nothing, Content::Text),
            counted: None,
        }
    }

    pub(super) fn last(&self) -> Option<(&'a Operation, usize)> {
        self.now.last
    }

    pub(super) fn bytes(&self) -> usize {
        self.content.bytes() + self.clock_bytes()
    }

    /// The labels by which it can be seen. `None` if there is no document or a tombstone.
    pub(super) fn labels(&self, view: &View, key: &DocumentKey) -> Option<Labels> {
        self.content.data().map(|data| view.labels_of(&key.collection, &data))
    }

    /// The part of the tenant's usage that belongs to it.
    pub(super) fn kept(&self) -> Totals {
        Totals {
            live_documents: i64::from(!self.content.is_nothing()),
            bytes: signed(self.content.bytes() + self.clock_bytes()),
        }
    }

    fn clock_bytes(&self) -> usize {
        if self.now.rev == Rev::NONE { 0 } else { self.now.clock.json().as_str().len() }
    }

    /// The document as its last operation left it.
    pub(super) fn document(&mut self) -> Option<Document> {
        let (last, _) = self.last()?;
        Some(Document {
            rev: self.now.rev,
            data: self.content.text(),
            clock: self.now.clock.clone(),
            operation_id: last.id.clone(),
            client_id: last.client_id.clone(),
            timestamp: last.timestamp,
            former_labels: self.now.former_labels.clone(),
        })
    }
}

/// A number of bytes in memory, which always fits.
pub(super) fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
