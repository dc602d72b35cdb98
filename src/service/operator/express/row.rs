//! The rows of an Express server, checked as a push would be.

use std::fmt;

use crate::core::clock::VectorClock;
use crate::core::decide::fits;
use crate::core::json::Object;
use crate::core::names::{BadName, ClientId, Collection, DocumentId, DocumentKey, OperationId};
use crate::core::numbers::UnixMs;
use crate::limits::protocol::{CLOCK_MAX_BYTES, CLOCK_MAX_ENTRIES, DOCUMENT_MAX_BYTES, INTEGER_MAX};
use crate::store::express::{ExpressDocument, ExpressOperation, Field};

/// A row of an Express server that cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The place of the row in its database.
    pub place: String,
    /// The fault, without a value of the row.
    pub problem: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.problem)
    }
}

/// A row about a document.
#[derive(Debug)]
pub(super) struct ListedDocument {
    pub(super) place: String,
    pub(super) key: DocumentKey,
    /// Its content, or why it cannot be taken over.
    pub(super) stored: Field<StoredDocument>,
}

/// The content of a document. A deleted one has no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredDocument {
    pub(super) data: Option<Object>,
    pub(super) rev: u64,
    pub(super) clock: VectorClock,
    pub(super) timestamp: UnixMs,
}

/// An operation without its data.
#[derive(Debug)]
pub(super) struct ListedOperation {
    pub(super) place: String,
    pub(super) id: OperationId,
    pub(super) kind: Kind,
    pub(super) key: DocumentKey,
    pub(super) timestamp: UnixMs,
    pub(super) client_id: ClientId,
    pub(super) clock: VectorClock,
}

/// The effect of an operation at the Express server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It replaces the data, as with every type that the server does not know.
    Insert,
    Update,
    Delete,
}

/// A row whose key is not one is bad, because its operations cannot be found.
pub(super) fn document(row: ExpressDocument) -> Result<ListedDocument, BadRow> {
    let ExpressDocument { place, collection, id, data, rev, is_deleted, vector_clock, updated_at } = row;
    let key = match key(collection, "id", id) {
        Ok(key) => key,
        Err(problem) => return Err(BadRow { place, problem }),
    };
    let stored = || -> Field<StoredDocument> {
        let (is_deleted, rev) = (is_deleted?, integer("rev", rev)?);
        Ok(StoredDocument {
            data: if is_deleted { None } else { Some(object(&data?)?) },
            // A deletion is a write too, but the Express server does not number it.
            rev: rev + u64::from(is_deleted),
            clock: clock(vector_clock)?,
            timestamp: UnixMs::new(integer("updated_at", updated_at)?),
        })
    };
    Ok(ListedDocument { place, key, stored: stored() })
}

pub(super) fn operation(row: ExpressOperation) -> Result<ListedOperation, BadRow> {
    let ExpressOperation { place, id, kind, collection, doc_id, timestamp, client_id, vector_clock } = row;
    let read = |place: &str| -> Field<ListedOperation> {
        Ok(ListedOperation {
            place: place.to_owned(),
            kind: match kind?.as_str() {
                "update" => Kind::Update,
                "delete" => Kind::Delete,
                _ => Kind::Insert,
            },
            id: name("id", id, OperationId::parse)?,
            key: key(collection, "doc_id", doc_id)?,
            timestamp: UnixMs::new(integer("timestamp", timestamp)?),
            client_id: name("client_id", client_id, ClientId::parse)?,
            clock: clock(vector_clock)?,
        })
    };
    read(&place).map_err(|problem| BadRow { place, problem })
}

/// The data of an operation or a document.
pub(super) fn object(json: &str) -> Field<Object> {
    let object = Object::parse(without_spaces(json)).map_err(|problem| format!("data {problem}"))?;
    check_size(&object)?;
    Ok(object)
}

pub(super) fn check_size(data: &Object) -> Field<()> {
    if data.as_str().len() > DOCUMENT_MAX_BYTES {
        return Err(format!("data has more than {DOCUMENT_MAX_BYTES} bytes"));
    }
    Ok(())
}

fn key(collection: Field<String>, id_name: &str, id: Field<String>) -> Field<DocumentKey> {
    let collection = name("collection", collection, Collection::parse)?;
    Ok(DocumentKey { collection, id: name(id_name, id, DocumentId::parse)? })
}

fn name<N>(field: &str, text: Field<String>, parse: impl Fn(&str) -> Result<N, BadName>) -> Field<N> {
    parse(&text?).map_err(|problem| format!("{field} {problem}"))
}

fn integer(field: &str, integer: Field<i64>) -> Field<u64> {
    let integer = u64::try_from(integer?).ok().filter(|integer| (1..=INTEGER_MAX).contains(integer));
    integer.ok_or_else(|| format!("{field} must be from 1 to {INTEGER_MAX}"))
}

fn clock(json: Field<String>) -> Field<VectorClock> {
    let clock = VectorClock::parse(&json?).map_err(|problem| format!("the vector clock {problem}"))?;
    if !fits(&clock) {
        return Err(format!(
            "the vector clock must have at most {CLOCK_MAX_ENTRIES} clients and {CLOCK_MAX_BYTES} bytes"
        ));
    }
    Ok(clock)
}

/// The same JSON without the spaces between its parts, which PostgreSQL adds.
fn without_spaces(json: &str) -> String {
    let mut kept = String::with_capacity(json.len());
    let (mut is_in_text, mut is_escaped) = (false, false);
    for character in json.chars() {
        if is_in_text {
            is_in_text = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
        } else if matches!(character, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            is_in_text = character == '"';
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> ExpressDocument {
        ExpressDocument {
            place: "documents a b".to_owned(),
            collection: Ok("todos".to_owned()),
            id: Ok("milk".to_owned()),
            data: Ok(r#"{"a": "b c"}"#.to_owned()),
            rev: Ok(3),
            is_deleted: Ok(false),
            vector_clock: Ok(r#"{"phone": 2}"#.to_owned()),
            updated_at: Ok(7),
        }
    }

    fn logged() -> ExpressOperation {
        ExpressOperation {
            place: "operations a".to_owned(),
            id: Ok("op-1".to_owned()),
            kind: Ok("insert".to_owned()),
            collection: Ok("todos".to_owned()),
            doc_id: Ok("milk".to_owned()),
            timestamp: Ok(7),
            client_id: Ok("phone".to_owned()),
            vector_clock: Ok(r#"{"phone": 2}"#.to_owned()),
        }
    }

    #[test]
    fn spaces_between_the_parts_are_left_out() {
        for (json, expected) in [
            ("{ \"a b\" : [ 1 , true ],\n\t\"c\": {} }", r#"{"a b":[1,true],"c":{}}"#),
            (r#"{"a": "x \" : y"}"#, r#"{"a":"x \" : y"}"#),
            (r#"{"a": "x\\", "b": "é "}"#, r#"{"a":"x\\","b":"é "}"#),
        ] {
            assert_eq!(without_spaces(json), expected);
        }
    }

    #[test]
    fn a_damaged_document_is_refused_with_its_field_and_without_its_value() {
        type Change = fn(&mut ExpressDocument);
        let changes: [(Change, &str); 9] = [
            (|row| row.data = Ok("[\"hunter2\"]".to_owned()), "data must be"),
            (|row| row.data = Ok("{\"a\":\"hunter2\"".to_owned()), "data "),
            (|row| row.data = Ok("{\"a\":\"hunter2\\u0000\"}".to_owned()), "data "),
            (|row| row.data = Ok(format!("{{\"a\":\"{}\"}}", "x".repeat(DOCUMENT_MAX_BYTES))), "data has more"),
            (|row| row.data = Err("data is missing".to_owned()), "data is missing"),
            (|row| row.rev = Ok(-1), "rev must be"),
            (|row| row.updated_at = Ok(1 << 60), "updated_at must be"),
            (|row| row.vector_clock = Ok("{\"a\":-1}".to_owned()), "the vector clock "),
            (|row| row.vector_clock = Ok("7".to_owned()), "the vector clock "),
        ];
        for (change, expected) in changes {
            let mut row = stored();
            change(&mut row);
            let problem = document(row).expect("its key is right").stored.expect_err(expected);
            assert!(problem.starts_with(expected) && !problem.contains("hunter2"), "{problem}");
        }
        assert!(document(stored()).expect("its key is right").stored.is_ok());
        let long = ExpressDocument { id: Ok("x".repeat(257)), ..stored() };
        assert!(document(long).expect_err("a long id").to_string().starts_with("documents a b: id must have"));
    }

    #[test]
    fn a_damaged_operation_is_refused_with_its_field() {
        type Change = fn(&mut ExpressOperation);
        let changes: [(Change, &str); 6] = [
            (|row| row.id = Ok("a\u{0}b".to_owned()), "id must not contain"),
            (|row| row.doc_id = Ok(String::new()), "doc_id must not be empty"),
            (|row| row.collection = Err("collection must be a text".to_owned()), "collection must be a text"),
            (|row| row.timestamp = Ok(0), "timestamp must be"),
            (|row| row.client_id = Ok("x".repeat(257)), "client_id must have"),
            (|row| row.vector_clock = Ok("{\"a\":9007199254740992}".to_owned()), "the vector clock "),
        ];
        for (change, expected) in changes {
            let mut row = logged();
            change(&mut row);
            let bad = operation(row).expect_err(expected);
            assert!(bad.place == "operations a" && bad.problem.starts_with(expected), "{bad}");
        }
        let unknown = ExpressOperation { kind: Ok("batch".to_owned()), ..logged() };
        assert_eq!(operation(unknown).expect("it is treated as an insert").kind, Kind::Insert);
    }
}
