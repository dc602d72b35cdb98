//! Operations that name revisions, in the course of a decision.

use super::WorkingSet;
use crate::core::access::View;
use crate::core::clock::VectorClock;
use crate::core::decide::content::NoDocument;
use crate::core::decide::outcome::{Outcome, Reached};
use crate::core::decide::resolve::{is_reserved, resolution_id};
use crate::core::names::{ClientId, DocumentKey};
use crate::core::numbers::Rev;
use crate::core::operation::Operation;

/// The place of a known operation in the history of its document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Another operation wrote the document last.
    Earlier,
    /// It wrote the document last.
    Last,
    /// Its resolution wrote the document last.
    LastAsResolution,
}

impl<'a> WorkingSet<'a> {
    /// The outcome of an operation that took effect before. Its author has seen what it has written. So later
    /// operations of the push may name the same revision as this one.
    ///
    /// A resolution has not only the operation's own content, if its author had not seen that of the document. It had,
    /// if the operations of this push are the only ones since the revision that they name.
    pub(super) fn known(&mut self, operation: &'a Operation, base: Option<Rev>, view: &'a View) -> Outcome {
        let (key, current) = (&operation.key, self.rev(&operation.key));
        let place = self.place(operation);
        self.written.note_id(&operation.id);
        let is_only = base.is_some_and(|base| self.written.note_known(key, base, current));
        if place == Place::Earlier || place == Place::LastAsResolution && !is_only {
            return Outcome::Duplicate;
        }
        self.written.note(key, base.unwrap_or(current));
        let is_shown = base.is_some() && self.rights(view, key).sees;
        if is_shown { self.reached_before(operation) } else { Outcome::Duplicate }
    }

    /// Whether the author of an operation that names a revision has seen its document as it is.
    ///
    /// # Errors
    /// If there is no document, and it names one.
    pub(super) fn has_seen(&self, key: &DocumentKey, base: Rev) -> Result<bool, NoDocument> {
        let current = self.rev(key);
        if self.clock(key).is_none() && base != current {
            return Err(NoDocument::UnknownBase);
        }
        Ok(self.written.has_seen(key, base, current))
    }

    /// The outcome of an operation that took effect before, and that wrote its document last.
    fn reached_before(&self, operation: &Operation) -> Outcome {
        let Some(clock) = self.clock(&operation.key) else { return Outcome::Duplicate };
        let own = [&operation.client_id, ClientId::clock()].into_iter().filter(|client| clock.contains(client));
        let raised = own.map(|client| (client.clone(), clock.get(client))).collect();
        Outcome::Reached(Box::new(Reached { is_new: false, rev: self.rev(&operation.key), raised }))
    }

    /// The clock that a document has now, if there is one.
    pub(super) fn clock(&self, key: &DocumentKey) -> Option<&VectorClock> {
        match (self.documents.get(key), self.snapshot.documents.get(key)) {
            (Some(working), _) => Some(&working.now.clock),
            (None, before) => before.map(|document| &document.clock),
        }
    }

    /// The revision that a document has now.
    pub(super) fn rev(&self, key: &DocumentKey) -> Rev {
        match (self.documents.get(key), self.snapshot.documents.get(key)) {
            (Some(working), _) => working.now.rev,
            (None, before) => before.map_or(Rev::NONE, |document| document.rev),
        }
    }

    /// The place of a known operation in the history of its document.
    fn place(&self, operation: &Operation) -> Place {
        let last = match (self.documents.get(&operation.key), self.snapshot.documents.get(&operation.key)) {
            (Some(working), _) => working.last().map(|(last, _)| &last.id),
            (None, before) => before.map(|document| &document.operation_id),
        };
        match last {
            Some(last) if *last == operation.id => Place::Last,
            Some(last) if is_reserved(last) && *last == resolution_id(&operation.id) => Place::LastAsResolution,
            _ => Place::Earlier,
        }
    }
}
