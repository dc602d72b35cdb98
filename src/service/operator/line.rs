//! The lines of an export, each a JSON object. `docs/operator.md` describes their members.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::core::access::labels::FormerLabels;
use crate::core::clock::VectorClock;
use crate::core::decide::{are_stamps, fits};
use crate::core::document::Document;
use crate::core::json::{Object, ObjectWriter};
use crate::core::names::{BadName, ClientId, Collection, DocumentId, DocumentKey, OperationId, Subject, TenantId};
use crate::core::numbers::{Rev, UnixMs};
use crate::limits::protocol::{
    CLOCK_MAX_BYTES, CLOCK_MAX_ENTRIES, DOCUMENT_MAX_BYTES, FORMER_LABELS_MAX_ENTRIES, INTEGER_MAX, SINCE_MAX,
};
use crate::limits::service::{EXPORT_LINE_MAX_BYTES, LIST_MAX_ENTRIES};

/// The version of the format.
const FORMAT: u64 = 1;

/// A line of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// The first line: the tenant and the name of its store.
    Tenant(TenantId, String),
    /// A document or tombstone.
    Document(DocumentKey, Box<DocumentLine>),
    /// Ids that the store knows.
    Ids(Vec<OperationId>),
    /// A client.
    Client(ClientLine),
    /// The last line.
    End(Counts),
}

/// The part of an export about a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DocumentLine {
    pub(super) document: Document,
    /// The text of [`DocumentWrite::stamps`](crate::core::decide::DocumentWrite::stamps), if it is about this state.
    pub(super) stamps: Option<String>,
}

/// The part of an export about a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientLine {
    pub(super) client_id: ClientId,
    pub(super) subject: Option<Subject>,
    /// The greatest counter that the server has given the client, 0 if it has given none.
    pub(super) counter: u64,
    /// The greatest `since` that the server may have given the client, if it has given one.
    pub(super) given_since: Option<UnixMs>,
}

/// How many lines of each kind an export has, and how many ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Counts {
    pub(super) documents: u64,
    pub(super) ids: u64,
    pub(super) clients: u64,
}

/// Why a line is not one of an export.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadLine(String);

impl BadLine {
    fn of(field: &str, problem: impl std::fmt::Display) -> Self {
        Self(format!("{field} {problem}"))
    }
}

impl Line {
    /// The line without a line break.
    pub(super) fn write(&self) -> String {
        let mut text = String::new();
        ObjectWriter::write(&mut text, |object| match self {
            Self::Tenant(tenant, adapter) => {
                object.string("kind", "tenant");
                object.number("format", FORMAT);
                object.string("tenant", tenant.as_str());
                object.string("adapter", adapter);
            }
            Self::Document(key, line) => {
                let DocumentLine { document, stamps } = &**line;
                object.string("kind", "document");
                object.string("collection", key.collection.as_str());
                object.string("docId", key.id.as_str());
                object.number("rev", document.rev.get());
                object.string("operationId", document.operation_id.as_str());
                object.string("clientId", document.client_id.as_str());
                object.number("timestamp", document.timestamp.get());
                object.raw("vectorClock", document.clock.json().as_str());
                object.raw("data", document.data.as_ref().map_or("null", Object::as_str));
                if let Some(labels) = document.former_labels.clone().in_another_log().to_stored() {
                    object.raw("formerLabels", &labels);
                }
                if let Some(stamps) = stamps {
                    object.string("stamps", stamps);
                }
            }
            Self::Ids(ids) => {
                object.string("kind", "ids");
                let ids: Vec<&str> = ids.iter().map(OperationId::as_str).collect();
                object.raw("ids", &serde_json::Value::from(ids).to_string());
            }
            Self::Client(ClientLine { client_id, subject, counter, given_since }) => {
                object.string("kind", "client");
                object.string("clientId", client_id.as_str());
                if let Some(subject) = subject {
                    object.string("subject", subject.as_str());
                }
                object.number("counter", *counter);
                if let Some(since) = given_since {
                    object.number("givenSince", since.get());
                }
            }
            Self::End(Counts { documents, ids, clients }) => {
                object.string("kind", "end");
                object.number("documents", *documents);
                object.number("ids", *ids);
                object.number("clients", *clients);
            }
        });
        text
    }

    /// Reads a line.
    pub(super) fn read(text: &str) -> Result<Self, BadLine> {
        if text.len() > EXPORT_LINE_MAX_BYTES {
            return Err(BadLine(format!("the line must have at most {EXPORT_LINE_MAX_BYTES} bytes")));
        }
        let kind: Kind<'_> = from_json(text)?;
        match &*kind.kind {
            "tenant" => from_json::<TenantMembers>(text)?.line(),
            "document" => from_json::<DocumentMembers<'_>>(text)?.line(),
            "ids" => from_json::<IdsMembers>(text)?.line(),
            "client" => from_json::<ClientMembers>(text)?.line(),
            "end" => Ok(Self::End(from_json(text)?)),
            _ => Err(BadLine("kind must be tenant, document, ids, client or end".to_owned())),
        }
    }
}

/// The message of the parser names the member, but it may repeat a value, which is cut off.
fn from_json<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, BadLine> {
    serde_json::from_str(text).map_err(|problem| match problem.classify() {
        serde_json::error::Category::Data => {
            let text = problem.to_string();
            let is_about_member = ["missing field", "duplicate field"].iter().any(|begin| text.starts_with(begin));
            BadLine(if is_about_member { text } else { "a member is of another type than it must be".to_owned() })
        }
        _ => BadLine("the line is not a JSON object".to_owned()),
    })
}

fn name<N>(field: &str, parsed: Result<N, BadName>) -> Result<N, BadLine> {
    parsed.map_err(|problem| BadLine::of(field, problem))
}

fn integer(field: &str, integer: u64, least: u64, greatest: u64) -> Result<u64, BadLine> {
    let fits = (least..=greatest).contains(&integer);
    if fits { Ok(integer) } else { Err(BadLine::of(field, format_args!("must be from {least} to {greatest}"))) }
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
}

#[derive(Deserialize)]
struct TenantMembers {
    format: u64,
    tenant: String,
    adapter: String,
}

impl TenantMembers {
    fn line(self) -> Result<Line, BadLine> {
        if self.format != FORMAT {
            return Err(BadLine::of("format", format_args!("must be {FORMAT}; a later version wrote this export")));
        }
        Ok(Line::Tenant(name("tenant", TenantId::parse(&self.tenant))?, self.adapter))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentMembers<'a> {
    collection: String,
    doc_id: String,
    rev: u64,
    operation_id: String,
    client_id: String,
    timestamp: u64,
    #[serde(borrow)]
    vector_clock: &'a RawValue,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    former_labels: FormerLabels,
    stamps: Option<String>,
}

impl DocumentMembers<'_> {
    fn line(self) -> Result<Line, BadLine> {
        let key = DocumentKey {
            collection: name("collection", Collection::parse(&self.collection))?,
            id: name("docId", DocumentId::parse(&self.doc_id))?,
        };
        let clock = VectorClock::parse(self.vector_clock.get());
        let clock = clock.map_err(|problem| BadLine::of("vectorClock", problem))?;
        if !fits(&clock) {
            let most = format_args!("must have at most {CLOCK_MAX_ENTRIES} clients and {CLOCK_MAX_BYTES} bytes");
            return Err(BadLine::of("vectorClock", most));
        }
        let data = self.data.map(|data| Object::parse(data.get())).transpose();
        let data = data.map_err(|problem| BadLine::of("data", problem))?;
        if data.as_ref().is_some_and(|data| data.as_str().len() > DOCUMENT_MAX_BYTES) {
            return Err(BadLine::of("data", format_args!("must have at most {DOCUMENT_MAX_BYTES} bytes")));
        }
        let former_labels = self.former_labels.in_another_log();
        if former_labels.last_len() > FORMER_LABELS_MAX_ENTRIES {
            return Err(BadLine::of("formerLabels", "has too many labels"));
        }
        let document = Document {
            rev: Rev::new(integer("rev", self.rev, 1, INTEGER_MAX)?),
            data,
            clock,
            operation_id: name("operationId", OperationId::parse(&self.operation_id))?,
            client_id: name("clientId", ClientId::parse(&self.client_id))?,
            timestamp: UnixMs::new(integer("timestamp", self.timestamp, 1, INTEGER_MAX)?),
            former_labels,
        };
        let stamps = self.stamps;
        if stamps.as_ref().is_some_and(|stamps| !are_stamps(stamps, document.rev)) {
            return Err(BadLine::of("stamps", "must be those of this revision"));
        }
        Ok(Line::Document(key, Box::new(DocumentLine { document, stamps })))
    }
}

#[derive(Deserialize)]
struct IdsMembers {
    ids: Vec<String>,
}

impl IdsMembers {
    fn line(self) -> Result<Line, BadLine> {
        if self.ids.len() > LIST_MAX_ENTRIES {
            return Err(BadLine::of("ids", format_args!("must have at most {LIST_MAX_ENTRIES} elements")));
        }
        let mut ids: Vec<OperationId> =
            self.ids.iter().map(|id| name("ids", OperationId::parse(id))).collect::<Result<_, _>>()?;
        ids.sort_unstable();
        ids.dedup();
        Ok(Line::Ids(ids))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientMembers {
    client_id: String,
    subject: Option<String>,
    counter: u64,
    given_since: Option<u64>,
}

impl ClientMembers {
    fn line(self) -> Result<Line, BadLine> {
        let given_since = self.given_since.map(|since| integer("givenSince", since, 0, SINCE_MAX)).transpose()?;
        Ok(Line::Client(ClientLine {
            client_id: name("clientId", ClientId::parse(&self.client_id))?,
            subject: self.subject.map(|subject| name("subject", Subject::parse(&subject))).transpose()?,
            counter: integer("counter", self.counter, 0, INTEGER_MAX)?,
            given_since: given_since.map(UnixMs::new),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::numbers::Seq;

    fn document(data: Option<&str>, labels: &str) -> Line {
        let document = Document {
            rev: Rev::new(3),
            data: data.map(Object::literal),
            clock: VectorClock::parse(r#"{"a\"":1,"é":9007199254740991}"#).unwrap(),
            operation_id: OperationId::literal("op \\ 1"),
            client_id: ClientId::literal("a\""),
            timestamp: UnixMs::new(7),
            former_labels: FormerLabels::from_stored(Some(labels), Seq::START).unwrap().in_another_log(),
        };
        let stamps = Some(r#"{"rev":3,"stamps":[[["a\"",1,2,"op"]]]}"#.to_owned()).filter(|_| data.is_some());
        let line = DocumentLine { document, stamps };
        Line::Document(DocumentKey::parse("todos", "\"1\"").unwrap(), Box::new(line))
    }

    #[test]
    fn a_full_clock_with_the_entry_of_the_server_is_read() {
        let clients = (0..CLOCK_MAX_ENTRIES).map(|client| ClientId::literal(&format!("client-{client}")));
        let full: VectorClock = clients.chain([ClientId::clock().clone()]).map(|client| (client, 1)).collect();
        let Line::Document(key, mut line) = document(Some("{}"), r#"{"last":[],"earlier":[]}"#) else { unreachable!() };
        line.document.clock = full;
        let text = Line::Document(key.clone(), line.clone()).write();
        assert!(Line::read(&text).is_ok());
        line.document.clock.set(ClientId::literal("one more"), 1);
        assert!(Line::read(&Line::Document(key, line).write()).is_err());
    }

    #[test]
    fn a_line_comes_back_as_it_was_written() {
        let client = ClientLine {
            client_id: ClientId::literal("a"),
            subject: Some(Subject::literal("ann")),
            counter: 4,
            given_since: Some(UnixMs::new(SINCE_MAX)),
        };
        for line in [
            Line::Tenant(TenantId::literal("t\"é"), "sqlite".to_owned()),
            document(Some(r#"{"b": 1.00,"a":[null,"\u0001"]}"#), r#"{"last":[],"earlier":["l:1"],"placed":{"l:2":5}}"#),
            document(None, r#"{"last":["l:\"1\""],"earlier":[]}"#),
            Line::Ids(vec![OperationId::literal("a"), OperationId::literal("b\\")]),
            Line::Client(client.clone()),
            Line::Client(ClientLine { subject: None, counter: 0, given_since: None, ..client }),
            Line::End(Counts { documents: 1, ids: 2, clients: 3 }),
        ] {
            let text = line.write();
            assert!(!text.contains('\n'), "{text}");
            assert_eq!(Line::read(&text), Ok(line), "{text}");
        }
    }

    #[test]
    fn a_bad_line_names_its_member_and_no_value() {
        let good = document(Some("{}"), r#"{"last":[],"earlier":[]}"#).write();
        for (text, field) in [
            ("{".to_owned(), "not a JSON object"),
            ("[]".to_owned(), "type"),
            (r#"{"kind":"other"}"#.to_owned(), "kind must be"),
            (good.replace(r#""rev":3,"#, ""), "rev"),
            (good.replace(r#""rev":3"#, r#""rev":0"#), "rev must be from 1"),
            (good.replace(r#""rev":3"#, r#""rev":"hunter2""#), "another type"),
            (good.replace(r#""timestamp":7"#, r#""timestamp":0"#), "timestamp must be"),
            (good.replace("todos", ""), "collection must not be empty"),
            (good.replace(r#""data":{}"#, r#""data":[]"#), "data "),
            (good.replace(r#""é":9007199254740991"#, r#""é":-1"#), "vectorClock "),
            (good.replace(r#"\"rev\":3"#, r#"\"rev\":2"#), "stamps must be"),
            (good.replace("[[[", "[["), "stamps must be"),
            (r#"{"kind":"tenant","format":2,"tenant":"t","adapter":"x"}"#.to_owned(), "format must be 1"),
            (r#"{"kind":"ids","ids":[""]}"#.to_owned(), "ids must not be empty"),
            (r#"{"kind":"client","clientId":"a","counter":-1}"#.to_owned(), "another type"),
        ] {
            let problem = Line::read(&text).expect_err(&text).to_string();
            assert!(problem.contains(field) && !problem.contains("hunter2"), "{text}: {problem}");
        }
    }
}
