//! The objects of the protocol as JSON: their keys and the order of the keys, for answers and for the sizes of pages.
//!
//! One function writes each object into any [`Sink`], so the measured size is that of exactly this text.

use std::borrow::Cow;

use super::decide::{Conflict, Outcome, Resolved};
use super::document::{Document, LiveDocument};
use super::json::{ByteCount, Members, Object, ObjectWriter, Sink};
use super::names::DocumentId;
use super::numbers::Rev;
use super::operation::LogEntry;

const NULL: &str = "null";

/// The size of the comma after an element of an array.
const SEPARATOR_BYTES: usize = 1;

impl LogEntry {
    /// Writes the entry as a pull returns it.
    #[inline]
    pub(crate) fn write(&self, sink: &mut impl Sink) {
        ObjectWriter::write(sink, |object| {
            object.string("id", self.id.as_str());
            object.raw("type", self.kind().as_json());
            object.string("collection", self.key.collection.as_str());
            object.string("docId", self.key.id.as_str());
            object.raw("data", self.data().map_or(NULL, Object::as_str));
            object.number("timestamp", self.timestamp.get());
            object.string("clientId", self.client_id.as_str());
            object.boolean("synced", true);
            object.raw("vectorClock", self.clock.as_str());
            if let Some(rev) = self.rev {
                object.number("rev", rev.get());
            }
            if self.is_removal() {
                object.boolean("removed", true);
            }
            if let Some(subject) = &self.subject {
                object.string("subject", subject.as_str());
            }
            if let Some(resolution) = &self.resolution {
                object.raw("resolution", resolution.as_str());
            }
        });
    }

    /// The size of the entry on a page, in bytes.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        ByteCount::of(|count| self.write(count)) + SEPARATOR_BYTES
    }
}

impl LiveDocument {
    /// Writes the document as it is read: the server's `_id` and `_rev`, the `_clock` if it was asked for, and then the
    /// data.
    ///
    /// Keys in the data with these names are left out. The rest keeps its bytes.
    pub(crate) fn write(&self, sink: &mut impl Sink) {
        self.write_with(&without_server_keys(self.data.as_str(), self.clock.is_some()), sink);
    }

    /// The greatest size of the document on a page, in bytes. Keys that will be left out are included.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        ByteCount::of(|count| self.write_with(self.data.as_str(), count)) + SEPARATOR_BYTES
    }

    fn write_with(&self, data: &str, sink: &mut impl Sink) {
        write_document((self.key.id.as_str(), self.rev, self.clock.as_ref()), data, sink);
    }
}

impl Document {
    /// Writes the document as [`LiveDocument`] does, with its clock. Nothing is written for a tombstone.
    pub(crate) fn write(&self, id: &DocumentId, sink: &mut impl Sink) {
        if let Some(data) = &self.data {
            let clock = Some(self.clock.json());
            write_document((id.as_str(), self.rev, clock), &without_server_keys(data.as_str(), true), sink);
        }
    }
}

fn write_document((id, rev, clock): (&str, Rev, Option<&Object>), data: &str, sink: &mut impl Sink) {
    ObjectWriter::write(sink, |object| {
        object.string("_id", id);
        object.number("_rev", rev.get());
        if let Some(clock) = clock {
            object.raw("_clock", clock.as_str());
        }
        object.members_of(data);
    });
}

impl Outcome {
    /// Writes the server's side of a conflict or a forbidden operation into the answered operation. Returns false,
    /// and writes nothing, if the operation is neither. `synced` is the value from the operation.
    pub(crate) fn write_members<S: Sink>(&self, synced: bool, operation: &mut ObjectWriter<'_, S>) -> bool {
        match self {
            Self::Conflict(conflict) => conflict.write_members(synced, operation),
            Self::Forbidden(document) => write_server_side(FORBIDDEN, document.as_deref(), synced, operation),
            Self::Applied | Self::Duplicate | Self::Reached(_) | Self::Refused(_) | Self::Resolved(_) => return false,
        }
        true
    }

    /// The greatest size of the server's side in an answer, or of a resolution, in bytes. 0 if there is neither.
    pub(crate) fn conflict_bytes(&self) -> usize {
        match self {
            Self::Conflict(_) | Self::Forbidden(_) => {
                let write = |count: &mut ByteCount| {
                    ObjectWriter::write(count, |object| {
                        self.write_members(false, object);
                    });
                };
                ByteCount::of(write) + SEPARATOR_BYTES
            }
            Self::Resolved(resolved) => resolved.wire_bytes(),
            Self::Applied | Self::Duplicate | Self::Reached(_) | Self::Refused(_) => 0,
        }
    }
}

impl Resolved {
    /// Writes the resolution as the answer of a push has it.
    pub(crate) fn write(&self, sink: &mut impl Sink) {
        ObjectWriter::write(sink, |object| {
            object.string("id", self.id.as_str());
            object.string("operation", self.operation_id.as_str());
            object.string("outcome", self.survival.as_str());
            if let Some(lost) = &self.lost {
                object.raw("lost", lost.as_str());
            }
        });
    }

    /// The size in an answer, in bytes.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        ByteCount::of(|count| self.write(count)) + SEPARATOR_BYTES
    }
}

/// The relation of an operation that its author may not do.
pub(crate) const FORBIDDEN: &str = "forbidden";

/// Writes the server's document, or says that there is none to be shown.
fn write_server_side<S: Sink>(
    relation: &str,
    document: Option<&Document>,
    synced: bool,
    operation: &mut ObjectWriter<'_, S>,
) {
    let data = document.and_then(|document| document.data.as_ref());
    operation.raw("data", data.map_or(NULL, Object::as_str));
    operation.boolean("synced", synced);
    operation.raw("vectorClock", document.map_or("{}", |document| document.clock.json().as_str()));
    operation.object("conflict", |object| {
        object.string("relation", relation);
        if let Some(document) = document {
            object.number("rev", document.rev.get());
            object.boolean("deleted", document.is_deleted());
            object.number("timestamp", document.timestamp.get());
            object.string("operationId", document.operation_id.as_str());
            object.string("clientId", document.client_id.as_str());
        }
    });
}

impl Conflict {
    /// Writes the server's side of the conflict into the answered operation. `synced` is the value from the operation.
    pub(crate) fn write_members<S: Sink>(&self, synced: bool, operation: &mut ObjectWriter<'_, S>) {
        write_server_side(self.relation.as_str(), Some(&self.document), synced, operation);
    }

    /// The greatest size of the server's side in an answer, in bytes.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        let write = |count: &mut ByteCount| ObjectWriter::write(count, |object| self.write_members(false, object));
        ByteCount::of(write) + SEPARATOR_BYTES
    }
}

/// Removes the top-level keys that the server sets itself. If there are none, the text is searched but not parsed.
fn without_server_keys(data: &str, with_clock: bool) -> Cow<'_, str> {
    let is_server_key = |key: &str| matches!(key, "_id" | "_rev") || with_clock && key == "_clock";
    let may_have_them = data.contains("\"_id\"")
        || data.contains("\"_rev\"")
        || with_clock && data.contains("\"_clock\"")
        || data.contains("\\u");
    if !may_have_them {
        return Cow::Borrowed(data);
    }
    match Members::parse(data) {
        Ok(members) if members.iter().any(|(key, _)| is_server_key(key)) => {
            let mut kept = String::with_capacity(data.len());
            ObjectWriter::write(&mut kept, |object| {
                let members = members.iter().filter(|(key, _)| !is_server_key(key));
                members.for_each(|(key, value)| object.raw_member(key, value));
            });
            Cow::Owned(kept)
        }
        _ => Cow::Borrowed(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::access::labels::FormerLabels;
    use crate::core::clock::VectorClock;
    use crate::core::decide::ConflictRelation;
    use crate::core::names::{ClientId, Collection, DocumentKey, OperationId, Subject};
    use crate::core::numbers::{Seq, UnixMs};
    use crate::core::operation::Change;

    fn live(data: &str) -> LiveDocument {
        LiveDocument {
            key: DocumentKey { collection: Collection::literal("todos"), id: DocumentId::literal("doc-\"1\"") },
            rev: Rev::new(7),
            seq: Seq::new(9),
            operation_id: OperationId::literal("op"),
            data: Object::literal(data),
            clock: None,
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
            let document = live(data);
            let mut json = String::new();
            document.write(&mut json);
            assert_eq!(json, format!("{head}{rest}"), "{data}");
            assert!(document.wire_bytes() > json.len(), "{data}");
        }
        assert_eq!(live("{\"a\":1}").wire_bytes(), head.len() + ",\"a\":1}".len() + 1);
    }

    #[test]
    fn an_entry_has_the_size_of_its_text() {
        for (change, kind, data) in [
            (Change::Insert(Object::literal(r#"{"a": 1.0}"#)), "insert", r#"{"a": 1.0}"#),
            (Change::Update(Object::literal("{}")), "update", "{}"),
            (Change::Delete, "delete", "null"),
        ] {
            let entry = LogEntry {
                seq: Seq::new(1),
                id: OperationId::literal("op\"1"),
                change,
                key: DocumentKey { collection: Collection::literal("c\\"), id: DocumentId::literal("é") },
                timestamp: UnixMs::new(1_234),
                client_id: ClientId::literal("a"),
                clock: Object::literal(r#"{"a":1}"#),
                rev: None,
                subject: None,
                resolution: None,
            };
            let mut json = String::new();
            entry.write(&mut json);
            let head = format!(r#"{{"id":"op\"1","type":"{kind}","collection":"c\\","docId":"é","data":{data},"#);
            let rest = r#""timestamp":1234,"clientId":"a","synced":true,"vectorClock":{"a":1}}"#;
            assert_eq!(json, format!("{head}{rest}"));
            assert_eq!(entry.wire_bytes(), json.len() + 1);
            let state = LogEntry { rev: Some(Rev::new(12)), ..entry };
            let mut json = String::new();
            state.write(&mut json);
            assert!(json.ends_with(r#""vectorClock":{"a":1},"rev":12}"#));
            assert_eq!(state.wire_bytes(), json.len() + 1);
            let audited = LogEntry { rev: None, subject: Some(Subject::literal("ann\"")), ..state };
            let mut json = String::new();
            audited.write(&mut json);
            assert!(json.ends_with(r#""vectorClock":{"a":1},"subject":"ann\""}"#));
            assert_eq!(audited.wire_bytes(), json.len() + 1);
        }
    }

    #[test]
    fn a_conflict_has_the_size_of_what_it_adds() {
        let document = Document {
            rev: Rev::new(12),
            data: None,
            clock: VectorClock::parse(r#"{"a":1}"#).unwrap(),
            operation_id: OperationId::literal("op"),
            client_id: ClientId::literal("a"),
            timestamp: UnixMs::new(7),
            former_labels: FormerLabels::default(),
        };
        let conflict = Conflict { relation: ConflictRelation::Concurrent, document };
        let mut json = String::new();
        ObjectWriter::write(&mut json, |object| conflict.write_members(false, object));
        let head = r#"{"data":null,"synced":false,"vectorClock":{"a":1},"conflict":{"relation":"concurrent","rev":12,"#;
        let rest = r#""deleted":true,"timestamp":7,"operationId":"op","clientId":"a"}}"#;
        assert_eq!(json, format!("{head}{rest}"));
        assert_eq!(conflict.wire_bytes(), json.len() + 1);
    }
}
