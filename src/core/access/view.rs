//! Views: the documents that one principal may see and change under the rules.

use std::sync::Arc;

use twox_hash::XxHash64;

use super::labels::{FormerLabels, Labels};
use super::principal::{Principal, Role};
use super::table::{Holder, Right, Table, is_general};
use crate::core::cursor::Cursor;
use crate::core::document::fields::DataOfDocument;
use crate::core::json::Object;
use crate::core::names::Collection;
use crate::core::numbers::Seq;
use crate::core::text::sha256_hex;

/// The documents that a principal may see and change. Cheap to clone.
///
/// The default is a view of everything without rules.
#[derive(Debug, Clone, Default)]
pub struct View {
    rules: Option<Arc<Table>>,
    /// `None` if the principal may see and change everything.
    holder: Option<Arc<Restricted>>,
}

/// The side of a principal.
#[derive(Debug, PartialEq, Eq)]
struct Restricted {
    role: Role,
    labels: Labels,
    /// Whether it may see every document without a look at its labels.
    reads_all: bool,
    fingerprint: u64,
}

/// A view of everything, without rules.
pub(crate) static EVERYTHING: View = View { rules: None, holder: None };

impl View {
    pub(super) fn of_all(rules: Option<Arc<Table>>) -> Self {
        Self { rules, holder: None }
    }

    pub(super) fn restricted(rules: Arc<Table>, principal: &Principal) -> Self {
        let (role, labels) = (principal.role, rules.labels_of_principal(principal));
        let reads_all = rules.all().all(|of| of.holders(Right::Read).iter().any(|holder| is_general(holder, role)));
        let mut text = format!("{:x} {}", rules.fingerprint, role.as_str());
        for label in labels.iter() {
            // Labels have no control characters.
            text.push('\0');
            text.push_str(label);
        }
        let fingerprint = XxHash64::oneshot(0, text.as_bytes());
        Self { rules: Some(rules), holder: Some(Arc::new(Restricted { role, labels, reads_all, fingerprint })) }
    }

    /// Whether the principal may do everything, so that its operations need not be checked.
    #[must_use]
    pub fn may_do_everything(&self) -> bool {
        self.holder.is_none()
    }

    /// Whether the principal may see every document. Then it may also read the log.
    #[must_use]
    pub fn reads_all(&self) -> bool {
        self.holder.as_ref().is_none_or(|holder| holder.reads_all)
    }

    /// A hash of the rules and of everything by which they choose what the principal sees. `None` if it sees
    /// everything.
    ///
    /// If it changes, other documents may be visible than before. The client then has to begin from nothing.
    #[must_use]
    pub fn fingerprint(&self) -> Option<u64> {
        self.holder.as_ref().filter(|holder| !holder.reads_all).map(|holder| holder.fingerprint)
    }

    /// The mark of a cursor that this reader is given. `None` if it sees everything.
    ///
    /// **Law.** *A reader continues only from places that it was given.* Documents that have left its view after its
    /// place are named as removed. From a place that it has made up, these could be documents that it never had. The
    /// fingerprint is in no answer, so nobody else can compute the mark.
    #[must_use]
    pub fn mark_of(&self, cursor: &Cursor) -> Option<u64> {
        let digest = sha256_hex(&format!("{:x} {cursor}", self.fingerprint()?));
        u64::from_str_radix(digest.get(..16)?, 16).ok()
    }

    /// Whether the principal has a right to a document with this data.
    #[must_use]
    pub fn permits(&self, right: Right, collection: &Collection, data: &Object) -> bool {
        self.permits_content(right, collection, &DataOfDocument::Text(data))
    }

    /// The same while the document is being changed.
    pub(crate) fn permits_content(&self, right: Right, collection: &Collection, data: &DataOfDocument<'_, '_>) -> bool {
        let (Some(rules), Some(holder)) = (&self.rules, &self.holder) else { return true };
        self.permits_in_general(right, collection) || rules.have_in_common((right, collection), data, &holder.labels)
    }

    /// Whether the principal has a right to every document of a collection, whatever its labels.
    #[must_use]
    pub fn permits_in_general(&self, right: Right, collection: &Collection) -> bool {
        let (Some(rules), Some(holder)) = (&self.rules, &self.holder) else { return true };
        rules.holders(right, collection).iter().any(|of| is_general(of, holder.role))
    }

    /// Whether the principal has a right to some documents of a collection: to all, or to those with one of its labels.
    #[must_use]
    pub(crate) fn permits_some(&self, right: Right, collection: &Collection) -> bool {
        let (Some(rules), Some(holder)) = (&self.rules, &self.holder) else { return true };
        rules.holders(right, collection).iter().any(|of| match of {
            Holder::Label(name) => holder.labels.have(name),
            of => is_general(of, holder.role),
        })
    }

    /// Whether the principal may see the tombstone of a document, because it could see the document until the end.
    #[must_use]
    pub fn permits_tombstone(&self, collection: &Collection, former: &FormerLabels) -> bool {
        let Some(holder) = &self.holder else { return true };
        self.permits_in_general(Right::Read, collection) || former.show_tombstone_to(&holder.labels)
    }

    /// Whether the principal may have seen a state of a document, which it cannot see now, at this place of the log or
    /// later.
    #[must_use]
    pub fn has_lost_after(&self, place: Seq, former: &FormerLabels) -> bool {
        self.holder.as_ref().is_some_and(|holder| former.lost_after(place, &holder.labels))
    }

    /// The labels by which a document with this data can be seen.
    pub(crate) fn labels_of(&self, collection: &Collection, data: &DataOfDocument<'_, '_>) -> Labels {
        self.rules
            .as_ref()
            .map_or_else(Labels::default, |rules| rules.labels_of_document(Right::Read, collection, data))
    }

    /// The same of a document's data as they are stored.
    #[must_use]
    pub(crate) fn labels_of_data(&self, collection: &Collection, data: &Object) -> Labels {
        self.labels_of(collection, &DataOfDocument::Text(data))
    }

    /// Whether documents have labels at all.
    #[must_use]
    pub(crate) fn has_rules(&self) -> bool {
        self.rules.is_some()
    }
}
