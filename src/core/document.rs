//! Documents: the current state that results from the operations.

use std::borrow::Cow;
use std::collections::HashMap;

use super::clock::VectorClock;
use super::json::{Members, RawJson};
use super::names::{ClientId, DocumentKey, OperationId};

/// The state of a document, as `decide` uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The number of operations applied to the document, deletes included. The first has 1.
    pub rev: u64,
    /// A JSON object, or `None` for a tombstone.
    pub data: Option<RawJson>,
    /// The clock of the operation that wrote the document last. It contains the clocks of all operations before.
    pub clock: VectorClock,
    /// The operation that wrote the document last.
    pub operation_id: OperationId,
    /// The author of that operation.
    pub client_id: ClientId,
    /// The author's time of that operation.
    pub timestamp: u64,
}

impl Document {
    /// Whether the document is a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.data.is_none()
    }
}

/// A document that is not deleted, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveDocument {
    /// The collection and id of the document.
    pub key: DocumentKey,
    /// The number of operations applied to the document.
    pub rev: u64,
    /// The sequence number of its last operation.
    pub seq: u64,
    /// The operation that wrote the document last.
    pub operation_id: OperationId,
    /// A JSON object.
    pub data: RawJson,
}

impl LiveDocument {
    /// The document as the JSON object of the protocol: the server's `_id` and `_rev`, and then the data.
    ///
    /// Keys in the data with these two names are left out. The rest keeps its bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let data = without_server_keys(self.data.as_str());
        let inside = data.trim().strip_prefix('{').unwrap_or_default().trim_start();
        let mut json = String::with_capacity(data.len() + self.key.id.as_str().len() + 40);
        json.push_str("{\"_id\":");
        super::json::push_string(&mut json, self.key.id.as_str());
        json.push_str(",\"_rev\":");
        json.push_str(&self.rev.to_string());
        if !inside.starts_with('}') {
            json.push(',');
        }
        json.push_str(inside);
        json
    }

    /// The greatest number of bytes that the document takes in an answer.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        // {"_id":,"_rev":9007199254740991,},
        const FRAME_BYTES: usize = 36;
        FRAME_BYTES + super::json::string_bytes(self.key.id.as_str()) + self.data.as_str().len()
    }
}

/// Removes the top-level keys that the server sets itself. If there are none, the text is searched but not parsed.
fn without_server_keys(data: &str) -> Cow<'_, str> {
    let may_have_them = data.contains("\"_id\"") || data.contains("\"_rev\"") || data.contains("\\u");
    if !may_have_them {
        return Cow::Borrowed(data);
    }
    match Members::parse(data) {
        Ok(members) if members.iter().any(|(key, _)| is_server_key(key)) => {
            let kept = members.iter().filter(|(key, _)| !is_server_key(key));
            Cow::Owned(RawJson::from_object(kept).as_str().to_owned())
        }
        _ => Cow::Borrowed(data),
    }
}

fn is_server_key(key: &str) -> bool {
    matches!(key, "_id" | "_rev")
}

/// Adds the members of `patch` to those of `base`, one level deep. `null` stays a value.
///
/// If both have a key, it keeps its place and takes the patch's value, as with the spread of JavaScript. If an object
/// has a key several times, the last value is used. Values keep their bytes.
#[must_use]
pub fn merge(base: &RawJson, patch: &RawJson) -> RawJson {
    let empty = Members::default;
    let base_members = Members::parse(base.as_str()).unwrap_or_else(|_| empty());
    let patch_members = Members::parse(patch.as_str()).unwrap_or_else(|_| empty());
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(base_members.len() + patch_members.len());
    let mut merged: Vec<(&str, &str)> = Vec::with_capacity(base_members.len() + patch_members.len());
    for (key, value) in base_members.iter().chain(patch_members.iter()) {
        match places.get(key) {
            Some(place) => merged[*place].1 = value,
            None => {
                places.insert(key, merged.len());
                merged.push((key, value));
            }
        }
    }
    RawJson::from_object(merged.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::{Collection, DocumentId};

    fn live(data: &str) -> LiveDocument {
        LiveDocument {
            key: DocumentKey { collection: Collection::trusted("todos"), id: DocumentId::trusted("doc-\"1\"") },
            rev: 7,
            seq: 9,
            operation_id: OperationId::trusted("op"),
            data: RawJson::trusted(data),
        }
    }

    #[test]
    fn a_document_is_answered_with_the_servers_id_and_revision_and_the_datas_bytes() {
        let head = r#"{"_id":"doc-\"1\"","_rev":7"#;
        for (data, rest) in [
            ("{}", "}"),
            (" { } ", "}"),
            (r#"{"a": 1.0,"b":{"_id":5}}"#, r#","a": 1.0,"b":{"_id":5}}"#),
            (r#"{"_id":"x","a":1,"_rev":99}"#, r#","a":1}"#),
            (r#"{"\u005fid":"x"}"#, "}"),
            (r#"{"a":"\u00e9"}"#, r#","a":"\u00e9"}"#),
        ] {
            assert_eq!(live(data).to_json(), format!("{head}{rest}"), "{data}");
        }
    }

    #[test]
    fn a_merge_is_shallow_and_keeps_places_nulls_and_bytes() {
        let merged =
            |base: &str, patch: &str| merge(&RawJson::trusted(base), &RawJson::trusted(patch)).as_str().to_owned();
        assert_eq!(merged("{}", "{}"), "{}");
        assert_eq!(
            merged(r#"{"a":{"x":1},"b":12345678901234567890}"#, r#"{"c":1.0,"a":{"y":2},"b":null}"#),
            r#"{"a":{"y":2},"b":null,"c":1.0}"#
        );
        assert_eq!(merged(r#"{"a":1,"a":2}"#, r#"{"b":1,"b":2}"#), r#"{"a":2,"b":2}"#);
        assert_eq!(merged(r#"{"\u0061":1}"#, r#"{"a":2}"#), r#"{"a":2}"#);
    }
}
