//! Documents: the current state that results from the operations.

pub(super) mod content;
pub(super) mod fields;

use self::content::OpenObject;
use super::access::labels::FormerLabels;
use super::clock::VectorClock;
use super::json::{BadJson, Object};
use super::names::{ClientId, DocumentKey, OperationId};
use super::numbers::{Rev, Seq, UnixMs};

/// The state of a document, as `decide` uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The number of operations applied to the document, deletes included. The first has 1.
    pub rev: Rev,
    /// An object; nothing for a tombstone.
    pub data: Option<Object>,
    /// The clock of the operation that wrote it last, which is at least that of every one before.
    pub clock: VectorClock,
    /// The operation that wrote the document last.
    pub operation_id: OperationId,
    /// The author of that operation.
    pub client_id: ClientId,
    /// The author's time of that operation.
    pub timestamp: UnixMs,
    /// The labels that the document had and no longer has.
    pub former_labels: FormerLabels,
}

impl Document {
    /// Whether the document is a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.data.is_none()
    }

    /// How many bytes its data and its clock have as text: what limits of bytes of documents count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.as_ref().map_or(0, |data| data.as_str().len()) + self.clock.json().as_str().len()
    }
}

/// A document that is not deleted, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveDocument {
    /// The collection and id of the document.
    pub key: DocumentKey,
    /// The number of operations applied to the document.
    pub rev: Rev,
    /// The sequence number of its last operation.
    pub seq: Seq,
    /// The operation that wrote the document last.
    pub operation_id: OperationId,
    /// An object.
    pub data: Object,
    /// The vector clock as JSON, if it was asked for.
    pub clock: Option<Object>,
}

/// Adds the members of `patch` to those of `base`, one level deep. `null` stays a value.
///
/// A key that both have keeps its place and takes the patch's value, as JavaScript's spread does. Of equal keys in one
/// object, the last one is used. Values keep their bytes.
///
/// # Errors
/// When one of them is from a store and damaged.
pub fn merge(base: &Object, patch: &Object) -> Result<Object, BadJson> {
    let mut merged = OpenObject::open(base)?;
    merged.put_all(patch)?;
    Ok(merged.text().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_is_shallow_and_keeps_places_nulls_and_bytes() {
        let merged = |base: &str, patch: &str| {
            merge(&Object::literal(base), &Object::literal(patch)).unwrap().as_str().to_owned()
        };
        assert_eq!(merged("{}", "{}"), "{}");
        assert_eq!(
            merged(r#"{"a":{"x":1},"b":12345678901234567890}"#, r#"{"c":1.0,"a":{"y":2},"b":null}"#),
            r#"{"a":{"y":2},"b":null,"c":1.0}"#
        );
        assert_eq!(merged(r#"{"a":1,"a":2}"#, r#"{"b":1,"b":2}"#), r#"{"a":2,"b":2}"#);
        assert_eq!(merged(r#"{"\u0061":1}"#, r#"{"a":2}"#), r#"{"a":2}"#);
    }
}
