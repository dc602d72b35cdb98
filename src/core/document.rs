//! Documents: the current state of what operations did.

use std::borrow::Cow;
use std::collections::HashMap;

use super::clock::VectorClock;
use super::json::{Members, RawJson};
use super::names::{ClientId, DocumentKey, OperationId};

/// The state of a document that `decide` works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// How many operations were applied to it, from 1; deletes count.
    pub rev: u64,
    /// An object; nothing for a tombstone.
    pub data: Option<RawJson>,
    /// The clock of the operation that wrote it last, which is at least that of every one before.
    pub clock: VectorClock,
    /// The operation that wrote it last.
    pub operation_id: OperationId,
    /// Who made that operation.
    pub client_id: ClientId,
    /// When its author made it.
    pub timestamp: u64,
}

impl Document {
    /// Whether it is a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.data.is_none()
    }
}

/// A document that exists, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveDocument {
    /// What identifies it.
    pub key: DocumentKey,
    /// How many operations were applied to it.
    pub rev: u64,
    /// The place of its last operation in the log.
    pub seq: u64,
    /// The operation that wrote it last.
    pub operation_id: OperationId,
    /// An object.
    pub data: RawJson,
}

impl LiveDocument {
    /// The document as the JSON object of the protocol: `_id` and `_rev` from the server's columns, then the data.
    ///
    /// Keys of those two names in the data are left out; the rest keeps its bytes.
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

    /// How many bytes the document takes in an answer, at most.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        // {"_id":,"_rev":9007199254740991,},
        const FRAME_BYTES: usize = 36;
        FRAME_BYTES + super::json::string_bytes(self.key.id.as_str()) + self.data.as_str().len()
    }
}

/// Drops the top-level keys that the server answers itself; costs a search where there are none.
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

/// Puts the keys of `patch` over those of `base`, one level deep; `null` stays as a value.
///
/// A key that both have keeps its place and takes the patch's value, as JavaScript's spread does; of equal keys in one
/// object the last one counts. Values keep their bytes.
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
