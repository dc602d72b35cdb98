//! The rights of the author of a push, in the course of a decision.

use super::changed::Step;
use crate::core::access::View;
use crate::core::access::labels::FormerLabels;
use crate::core::access::rules::Right;
use crate::core::document::fields::DataOfDocument;
use crate::core::names::Collection;

/// The rights of a push's author to a document as it is.
#[derive(Clone, Copy)]
pub(super) struct Rights {
    /// Whether the author may see it. If there is neither a document nor a tombstone, there is nothing to hide.
    pub(super) sees: bool,
    /// Whether the author may change it, which needs the right to see it.
    pub(super) changes: bool,
}

impl Rights {
    /// The rights to what does not exist, and of those who may do everything.
    pub(super) const OF_NOTHING: Self = Self { sees: true, changes: true };

    pub(super) fn of_tombstone(view: &View, collection: &Collection, former: &FormerLabels) -> Self {
        let sees = view.permits_tombstone(collection, former);
        Self { sees, changes: sees }
    }

    pub(super) fn of_data(view: &View, collection: &Collection, data: &DataOfDocument<'_, '_>) -> Self {
        let sees = view.permits_content(Right::Read, collection, data);
        Self { sees, changes: sees && view.permits_content(Right::Write, collection, data) }
    }
}

/// Whether the author of a step may leave a document like this. The author may see what was there before: a document,
/// a tombstone, or nothing.
///
/// **Law.** *Data below a tombstone are changed and brought back by those alone who may see and change them.*
pub(super) fn permits_step(
    view: &View,
    collection: &Collection,
    step: &Step,
    (was_live, was_tombstone): (bool, bool),
    data: Option<DataOfDocument<'_, '_>>,
) -> bool {
    let permits = |right, data: &DataOfDocument<'_, '_>| view.permits_content(right, collection, data);
    // As with a document, the author must be able to change both what was there and what is there now.
    if step.moved_below().is_some_and(|data| !permits(Right::Write, &DataOfDocument::Text(data))) {
        return false;
    }
    let below = step.below().map(DataOfDocument::Text);
    if below.as_ref().is_some_and(|below| !(permits(Right::Read, below) && permits(Right::Write, below))) {
        return false;
    }
    match data {
        Some(data) => {
            let right = if was_live { Right::Write } else { Right::Create };
            permits(right, &data) && (!step.has_recovered() || permits(Right::Write, &data))
        }
        None if was_live || below.is_some() => true,
        // A resolution may lose. The tombstone does not say which document it was, so any right to change or create
        // documents is enough.
        None if was_tombstone && step.resolution.is_some() => {
            [Right::Write, Right::Create].iter().any(|right| view.permits_some(*right, collection))
        }
        // Nothing says who may see it.
        None => view.permits_in_general(Right::Create, collection),
    }
}
