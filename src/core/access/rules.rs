//! Rules: who may read, change and create the documents of each collection.

use std::collections::BTreeMap;
use std::sync::Arc;

use twox_hash::XxHash64;

use super::principal::{Principal, Role};
pub use super::table::{BadRules, CollectionRules, Holder, LabelSource, Right};
use super::table::{Table, check_label_name, is_general};
use super::view::View;
use crate::core::document::fields::DataOfDocument;
use crate::core::json::Object;
use crate::core::names::Collection;
use crate::limits::protocol::RULES_MAX_ENTRIES;

/// The rules of a service. Cheap to clone.
///
/// Without rules, which is the default, a principal may do everything in its tenant that its role permits. With rules,
/// it may do only what they allow. They never allow more than the role. [`Role::Service`] may do everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules(Option<Arc<Table>>);

impl Rules {
    /// Rules for some collections, and for all others.
    ///
    /// # Errors
    /// If a list names a label that is not in `labels`, or if a label has a name that is not allowed.
    pub fn new(
        labels: BTreeMap<String, LabelSource>,
        collections: BTreeMap<Collection, CollectionRules>,
        others: CollectionRules,
    ) -> Result<Self, BadRules> {
        if labels.len() > RULES_MAX_ENTRIES {
            return Err(BadRules::TooManyLabels);
        }
        labels.keys().try_for_each(|name| check_label_name(name))?;
        for rules in collections.values().chain([&others]) {
            for holder in rules.read.iter().chain(&rules.write).chain(&rules.create) {
                if let Holder::Label(name) = holder
                    && !labels.contains_key(name)
                {
                    return Err(BadRules::UnknownLabel(name.clone()));
                }
            }
        }
        let fingerprint = XxHash64::oneshot(0, written(&labels, &collections, &others).as_bytes());
        Ok(Self(Some(Arc::new(Table { labels, collections, others, fingerprint }))))
    }

    /// The same rules with another number, by which they differ from the same rules at an earlier time.
    ///
    /// While other rules were in force, or none, documents were not remembered as these rules would have it. So their
    /// number has to be a new one when they are used again. Then every restricted client starts again from nothing.
    #[must_use]
    pub fn with_epoch(self, epoch: u64) -> Self {
        Self(self.0.map(|table| {
            let Table { labels, collections, others, .. } = &*table;
            let (labels, collections, others) = (labels.clone(), collections.clone(), others.clone());
            let text = format!("{epoch}\n{}", written(&labels, &collections, &others));
            let fingerprint = XxHash64::oneshot(0, text.as_bytes());
            Arc::new(Table { labels, collections, others, fingerprint })
        }))
    }

    /// Whether there are any rules.
    #[must_use]
    pub fn are_set(&self) -> bool {
        self.0.is_some()
    }

    /// The documents that a principal may see and change.
    #[must_use]
    pub fn view(&self, principal: &Principal) -> View {
        match &self.0 {
            Some(table) if principal.role != Role::Service => View::restricted(Arc::clone(table), principal),
            _ => self.view_of_all(),
        }
    }

    /// The holders of a right to a document with this data, and whether the principal is among these.
    ///
    /// It is empty if there are no rules, or if the principal may do everything by its role.
    #[must_use]
    pub fn explain(
        &self,
        principal: &Principal,
        right: Right,
        collection: &Collection,
        data: &Object,
    ) -> Vec<(Holder, bool)> {
        let Some(table) = self.0.as_deref().filter(|_| principal.role != Role::Service) else { return Vec::new() };
        let labels = table.labels_of_principal(principal);
        let explained = |holder: &Holder| {
            let applies = match holder {
                Holder::Label(name) => table.labels_of(name, &DataOfDocument::Text(data)).intersects(&labels),
                general => is_general(general, principal.role),
            };
            (holder.clone(), applies)
        };
        table.holders(right, collection).iter().map(explained).collect()
    }

    /// A view of all documents, with the right to change them all.
    #[must_use]
    pub fn view_of_all(&self) -> View {
        View::of_all(self.0.clone())
    }
}

/// The rules as a text that changes with every part of them. No part has a line break.
fn written(
    labels: &BTreeMap<String, LabelSource>,
    collections: &BTreeMap<Collection, CollectionRules>,
    others: &CollectionRules,
) -> String {
    let mut lines: Vec<String> =
        labels.iter().map(|(name, of)| format!("{name}\t{:?}\t{:?}", of.field, of.claim)).collect();
    let collections = collections.iter().map(|(name, rules)| (name.as_str(), rules));
    for (name, rules) in collections.chain([("", others)]) {
        for right in Right::ALL {
            let holders: Vec<String> = rules.holders(right).iter().map(ToString::to_string).collect();
            lines.push(format!("{name}\t{}\t{}", right.as_str(), holders.join(" ")));
        }
    }
    lines.join("\n")
}
