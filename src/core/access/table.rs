//! The table of rules: which labels there are, and who holds which right in which collection.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::labels::{Labels, write_label};
use super::principal::{Principal, Role};
use crate::core::document::fields::{DataOfDocument, any_value_at, is_label_value, values_at};
use crate::core::names::Collection;
use crate::limits::protocol::{LABEL_NAME_MAX_BYTES, RULES_MAX_ENTRIES};

/// The rules as they were given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) labels: BTreeMap<String, LabelSource>,
    pub(super) collections: BTreeMap<Collection, CollectionRules>,
    pub(super) others: CollectionRules,
    pub(super) fingerprint: u64,
}

/// The source of a label's values. Both paths are the keys of nested objects with dots between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSource {
    /// The field of a document. Its value is a text or an integer, or an array of these.
    pub field: String,
    /// The claim of a principal, with values of the same kinds. `sub` is the principal's subject.
    pub claim: String,
}

/// The rules of one collection. Each list names the holders of a right; an empty one gives it to no one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CollectionRules {
    /// These may see a document.
    pub read: Vec<Holder>,
    /// These may change or delete a document that exists. An update must leave a document that they may write, too.
    pub write: Vec<Holder>,
    /// These may create a document.
    pub create: Vec<Holder>,
}

/// Some principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Every principal of the tenant.
    Everyone,
    /// Principals with this role or a more powerful one.
    Role(Role),
    /// Principals that have the label of this name in common with the document.
    Label(String),
}

/// A right to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To see it.
    Read,
    /// To change or delete it.
    Write,
    /// To create it.
    Create,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Create];

    /// The right's name in the rules.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
        }
    }
}

/// The rules contradict themselves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRules {
    /// A name is not allowed for a label.
    #[error("{0:?} is not the name of a label, which has 1 to {LABEL_NAME_MAX_BYTES} of a-z, 0-9, - and _")]
    LabelName(String),
    /// There are too many labels.
    #[error("there are more than {RULES_MAX_ENTRIES} labels")]
    TooManyLabels,
    /// A path has no key.
    #[error("the path {0:?} of a label has an empty key")]
    Path(String),
    /// A list names a label that does not exist.
    #[error("{0:?} is not a label of these rules")]
    UnknownLabel(String),
    /// A list names a role that does not exist.
    #[error("{0:?} is not a role; there are role:reader, role:writer, role:admin and role:service")]
    UnknownRole(String),
}

impl Holder {
    /// Reads the text of a holder: `everyone`, `role:` with the name of a role, or the name of a label.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<Self, BadRules> {
        match (text, text.strip_prefix("role:")) {
            (EVERYONE, _) => Ok(Self::Everyone),
            (_, Some(role)) => Role::parse(role).map(Self::Role).ok_or_else(|| BadRules::UnknownRole(text.to_owned())),
            (name, None) => check_label_name(name).map(|()| Self::Label(name.to_owned())),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => formatter.write_str(EVERYONE),
            Self::Role(role) => write!(formatter, "role:{}", role.as_str()),
            Self::Label(name) => formatter.write_str(name),
        }
    }
}

const EVERYONE: &str = "everyone";

impl LabelSource {
    /// A label whose values are in this field of a document and in this claim of a principal.
    ///
    /// # Errors
    /// If a path has an empty key.
    pub fn new(field: &str, claim: &str) -> Result<Self, BadRules> {
        for path in [field, claim] {
            if path.split('.').any(str::is_empty) {
                return Err(BadRules::Path(path.to_owned()));
            }
        }
        Ok(Self { field: field.to_owned(), claim: claim.to_owned() })
    }

    /// The values of the claim that can be those of a label.
    fn values_of(&self, principal: &Principal) -> Vec<String> {
        if self.claim == "sub" {
            return vec![principal.subject.as_str().to_owned()];
        }
        match principal.claims.get(&self.claim) {
            Some(Value::Array(values)) => values.iter().filter_map(value_of_claim).collect(),
            Some(value) => value_of_claim(value).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

fn value_of_claim(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    is_label_value(&text).then_some(text)
}

impl Table {
    /// All rules, those for the other collections last.
    pub(super) fn all(&self) -> impl Iterator<Item = &CollectionRules> {
        self.collections.values().chain([&self.others])
    }

    /// The holders of a right to the documents of a collection.
    pub(super) fn holders(&self, right: Right, collection: &Collection) -> &[Holder] {
        self.collections.get(collection).unwrap_or(&self.others).holders(right)
    }

    /// The labels of a principal.
    pub(super) fn labels_of_principal(&self, principal: &Principal) -> Labels {
        let mut labels = Labels::default();
        for (name, source) in &self.labels {
            for value in source.values_of(principal) {
                labels.insert(name, &value);
            }
        }
        labels
    }

    /// The labels of a document that matter for a right.
    pub(super) fn labels_of_document(
        &self,
        right: Right,
        collection: &Collection,
        data: &DataOfDocument<'_, '_>,
    ) -> Labels {
        let mut labels = Labels::default();
        for holder in self.holders(right, collection) {
            if let Holder::Label(name) = holder {
                labels.extend(self.labels_of(name, data));
            }
        }
        labels
    }

    /// Whether a document has one of some labels that matter for a right.
    pub(super) fn have_in_common(
        &self,
        (right, collection): (Right, &Collection),
        data: &DataOfDocument<'_, '_>,
        labels: &Labels,
    ) -> bool {
        let mut label = String::new();
        self.holders(right, collection).iter().any(|holder| {
            let Holder::Label(name) = holder else { return false };
            let Some(source) = self.labels.get(name) else { return false };
            any_value_at(data, &source.field, |value| {
                write_label(&mut label, name, value);
                labels.contain(&label)
            })
        })
    }

    /// The labels of one name that a document has.
    pub(super) fn labels_of(&self, name: &str, data: &DataOfDocument<'_, '_>) -> Labels {
        let mut labels = Labels::default();
        if let Some(source) = self.labels.get(name) {
            for value in values_at(data, &source.field) {
                labels.insert(name, &value);
            }
        }
        labels
    }
}

/// Whether a principal with this role is a holder, whatever the document.
pub(super) fn is_general(holder: &Holder, role: Role) -> bool {
    match holder {
        Holder::Everyone => true,
        Holder::Role(least) => role >= *least,
        Holder::Label(_) => false,
    }
}

impl CollectionRules {
    /// The holders of a right.
    #[must_use]
    pub fn holders(&self, right: Right) -> &[Holder] {
        match right {
            Right::Read => &self.read,
            Right::Write => &self.write,
            Right::Create => &self.create,
        }
    }
}

pub(super) fn check_label_name(name: &str) -> Result<(), BadRules> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let has_length = (1..=LABEL_NAME_MAX_BYTES).contains(&name.len());
    if has_length && name.bytes().all(is_allowed) && name != EVERYONE {
        Ok(())
    } else {
        Err(BadRules::LabelName(name.to_owned()))
    }
}
