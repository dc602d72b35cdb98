//! Reads a push: either the operations with their texts as sent, or all faults with their fields. A partial push is
//! read without its faulty operations.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::error::{ApiError, Faults};
use super::fields::{Fields, Path, name, name_in, string};
use crate::core::clock::VectorClock;
use crate::core::filter::Expected;
use crate::core::json::{self, Bounded, Object, Picked};
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use crate::core::numbers::UnixMs;
use crate::core::operation::{Change, Operation, OperationKind, UnknownKind};
use crate::core::text::{Text, part_of};
use crate::limits::api::REFUSED_MAX_FAULTS;
use crate::limits::protocol::{CLOCK_MAX_ENTRIES, DATA_MAX_BYTES, INTEGER_MAX, PUSH_MAX_OPERATIONS};

/// A push without its faulty operations, which only a partial one may have.
pub(super) struct ReadPush<'a> {
    /// The text of each operation as it was sent, byte by byte.
    pub(super) texts: Vec<&'a str>,
    /// The same operations, read. Their names and data are parts of the body.
    pub(super) operations: Vec<Operation>,
    /// The rest of a partial push.
    pub(super) partial: Option<Partial<'a>>,
}

/// The refused operations of a partial push, and the places of the others.
pub(super) struct Partial<'a> {
    /// The index in the push of each operation without faults.
    pub(super) indexes: Vec<usize>,
    /// The operations with faults, in their order.
    pub(super) faulty: Vec<Faulty<'a>>,
}

/// An operation with faults.
pub(super) struct Faulty<'a> {
    /// Its index in the push.
    pub(super) index: usize,
    /// Its text as it was sent.
    pub(super) text: &'a str,
    /// Its faults, whose fields are named from the operation on.
    pub(super) faults: Faults,
}

/// Reads the body of a push.
pub(super) fn read(body: &Text) -> Result<ReadPush<'_>, ApiError> {
    let mut faults = Faults::default();
    let (mut fields, list) =
        Fields::of_body_with_list(body, &["clientId", "partial"], "operations", PUSH_MAX_OPERATIONS, &mut faults)?;
    // This client need not be the author of the operations: it may push those of another of its profiles.
    let _ = fields.required("clientId", name_in::<ClientId>(body));
    let is_partial = fields.optional("partial", false, boolean);
    let texts = fields.elements("operations", list, (PUSH_MAX_OPERATIONS, "operations"));
    let push = texts.zip(is_partial).map(|(texts, is_partial)| {
        let mut found = FaultsFound { all: &mut faults, apart: is_partial.then(BTreeMap::new) };
        let each = texts.iter().enumerate();
        let read = each.map(|(index, text)| found.of(index, |path, faults| operation(text, body, path, faults)));
        let operations: Vec<Option<Operation>> = read.collect();
        check_ids(&operations, &mut found);
        match found.apart {
            None => ReadPush { texts, operations: operations.into_iter().flatten().collect(), partial: None },
            Some(faults) => without_faulty(texts, operations, faults),
        }
    });
    faults.into_result(push).map_err(ApiError::BadFields)
}

/// The faults of a push's operations.
struct FaultsFound<'f> {
    /// All faults together.
    all: &'f mut Faults,
    /// The faults of each operation that has any, by its index, if the push is partial.
    apart: Option<BTreeMap<usize, Faults>>,
}

impl FaultsFound<'_> {
    /// Reads something of an operation, with the path and the place of its faults. `None` if a partial push is read
    /// without the operation.
    fn of<T>(&mut self, index: usize, read: impl FnOnce(Path<'_>, &mut Faults) -> Option<T>) -> Option<T> {
        let Some(apart) = &mut self.apart else {
            return read(Path::BODY.key("operations").index(index), self.all);
        };
        let mut faults = Faults::at_most(REFUSED_MAX_FAULTS);
        let value = read(Path::BODY, &mut faults);
        if faults.is_empty() {
            return value;
        }
        apart.insert(index, faults);
        None
    }
}

/// The message for an operation on a document of which an earlier operation of the push is refused.
pub(super) const BUILDS_ON_REFUSED: &str = "an earlier operation of the push on the same document is refused";

/// A partial push without its faulty operations.
fn without_faulty(
    texts: Vec<&str>,
    operations: Vec<Option<Operation>>,
    mut faults: BTreeMap<usize, Faults>,
) -> ReadPush<'_> {
    let mut partial = Partial { indexes: Vec::with_capacity(texts.len()), faulty: Vec::with_capacity(faults.len()) };
    let (mut good_texts, mut good) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
    let mut refused_keys = HashSet::new();
    for (index, (text, operation)) in texts.into_iter().zip(operations).enumerate() {
        let faults = faults.remove(&index);
        let (faults, key) = match (faults, operation) {
            (None, Some(operation)) if !refused_keys.contains(&operation.key) => {
                partial.indexes.push(index);
                good_texts.push(text);
                good.push(operation);
                continue;
            }
            (Some(faults), _) => (faults, key_of(text)),
            (None, _) => {
                let mut faults = Faults::at_most(REFUSED_MAX_FAULTS);
                faults.add("", BUILDS_ON_REFUSED);
                (faults, None)
            }
        };
        refused_keys.extend(key);
        partial.faulty.push(Faulty { index, text, faults });
    }
    ReadPush { texts: good_texts, operations: good, partial: Some(partial) }
}

/// The document of an operation with faults, if it can be read.
fn key_of(text: &str) -> Option<DocumentKey> {
    let members = Picked::parse(text, &["collection", "docId"]).ok()?;
    let collection = name(Collection::parse)(members.get("collection")?).ok()?;
    Some(DocumentKey { collection, id: name(DocumentId::parse)(members.get("docId")?).ok()? })
}

/// Records a fault for every operation whose id belongs to a different operation earlier in the push.
///
/// An id takes effect once, so one of the two would be lost.
fn check_ids(operations: &[Option<Operation>], found: &mut FaultsFound<'_>) {
    let mut indexes_of: HashMap<&OperationId, Vec<usize>> = HashMap::with_capacity(operations.len());
    for (index, operation) in operations.iter().enumerate() {
        if let Some(operation) = operation {
            indexes_of.entry(&operation.id).or_default().push(index);
        }
    }
    let mut differing = Vec::new();
    for indexes in indexes_of.into_values().filter(|indexes| indexes.len() > 1) {
        // One id after the other: the data of one operation alone is opened at any time.
        let mut first = None;
        for index in indexes {
            let Some(operation) = &operations[index] else { continue };
            let (first_index, first) = first.get_or_insert((index, First { operation, data: None }));
            if !first.is_same(operation) {
                differing.push((index, *first_index));
            }
        }
    }
    differing.sort_unstable();
    for (index, first_index) in differing {
        let problem = format_args!("is the id of operations[{first_index}] too, which is another operation");
        found.of(index, |path, faults| {
            faults.add(path.key("id"), problem);
            Some(())
        });
    }
}

/// The first operation of a push with a certain id.
struct First<'a> {
    operation: &'a Operation,
    /// Its data, parsed when they are first compared, because other operations may have the same id a thousand times.
    data: Option<Expected>,
}

impl First<'_> {
    /// Whether another operation with this id is the same one, with equal values in all fields.
    fn is_same(&mut self, other: &Operation) -> bool {
        let Operation { id: _, change, key, timestamp, client_id, clock } = self.operation;
        (change.kind(), key, timestamp, client_id, clock)
            == (other.kind(), &other.key, &other.timestamp, &other.client_id, &other.clock)
            && match (change.data(), other.data()) {
                (Some(data), Some(other)) => {
                    data == other
                        || self.data.get_or_insert_with(|| Expected::parse(data.as_str())).equals(other.as_str())
                }
                (data, other) => data == other,
            }
    }
}

pub(super) const OPERATION_KEYS: [&str; 8] =
    ["id", "type", "collection", "docId", "data", "timestamp", "clientId", "vectorClock"];

fn operation(text: &str, body: &Text, path: Path<'_>, faults: &mut Faults) -> Option<Operation> {
    let mut fields = Fields::of_object(text, &OPERATION_KEYS, path, faults)?;
    let id = fields.required("id", name_in(body));
    let kind = fields.required("type", kind);
    let collection = fields.required("collection", name_in(body));
    let document_id = fields.required("docId", name_in(body));
    let data = |text| data(text, body);
    let change = match kind {
        Some(OperationKind::Insert) => fields.required("data", data).map(Change::Insert),
        Some(OperationKind::Update) => fields.required("data", data).map(Change::Update),
        Some(OperationKind::Delete) => Some(Change::Delete),
        None => None,
    };
    let timestamp = fields.required("timestamp", timestamp);
    let client_id = fields.required("clientId", author(body));
    let clock = fields.required_inside("vectorClock", |text, path, faults| clock(text, body, path, faults));
    Some(Operation {
        id: id?,
        change: change?,
        key: DocumentKey { collection: collection?, id: document_id? },
        timestamp: timestamp?,
        client_id: client_id?,
        clock: clock?,
    })
}

/// Reads the author of an operation, which is not a server.
fn author(body: &Text) -> impl Fn(&str) -> Result<ClientId, String> {
    move |text| {
        let client_id: ClientId = name_in(body)(text)?;
        if client_id.is_server() { Err("is reserved for the server".to_owned()) } else { Ok(client_id) }
    }
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false"),
    }
}

fn kind(text: &str) -> Result<OperationKind, UnknownKind> {
    let word = string(text).unwrap_or_default();
    OperationKind::parse(&word)
}

fn data(text: &str, body: &Text) -> Result<Object, String> {
    if !text.starts_with('{') {
        return Err("must be an object".to_owned());
    }
    if text.len() > DATA_MAX_BYTES {
        return Err(format!("must have at most {DATA_MAX_BYTES} bytes"));
    }
    Object::parse(body.slice_ref(text)).map_err(|problem| problem.to_string())
}

fn timestamp(text: &str) -> Result<UnixMs, String> {
    match json::integer(text, INTEGER_MAX) {
        Ok(timestamp) if timestamp > 0 => Ok(UnixMs::new(timestamp)),
        _ => Err(format!("must be an integer from 1 to {INTEGER_MAX}")),
    }
}

fn clock(text: &str, body: &Text, path: Path<'_>, faults: &mut Faults) -> Option<VectorClock> {
    let counters = match json::entries(text, CLOCK_MAX_ENTRIES) {
        Ok(Bounded::Whole(counters)) => counters,
        Ok(Bounded::TooMany) => {
            faults.add(path, format_args!("must have at most {CLOCK_MAX_ENTRIES} clients"));
            return None;
        }
        Err(_) => {
            faults.add(path, "must be an object");
            return None;
        }
    };
    let mut clock = Vec::with_capacity(counters.len());
    for (client, counter) in counters {
        let client_id = ClientId::try_from(part_of(body, client.clone()));
        // The server always has numbers left for its own writes.
        let is_server = client_id.as_ref().is_ok_and(ClientId::is_server);
        let counter_max = if is_server { INTEGER_MAX / 2 } else { INTEGER_MAX };
        match (client_id, json::integer(counter, counter_max)) {
            (Ok(client), Ok(counter)) => clock.push((client, counter)),
            (Err(problem), _) => faults.add(path.key(&client), format_args!("the client {problem}")),
            (_, Err(problem)) => faults.add(path.key(&client), problem),
        }
    }
    Some(clock.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id":"op-1","type":"insert","collection":"todos","docId":"doc-1","data":{"a":1},
        "timestamp":5,"clientId":"a","vectorClock":{"a":1}}"#;

    fn push_of(operations: &str) -> Text {
        format!(r#"{{"clientId":"a","operations":[{operations}]}}"#).into()
    }

    fn faults_of(text: impl Into<Text>) -> String {
        let text = text.into();
        match read(&text) {
            Err(ApiError::BadFields(faults)) => faults.to_string(),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{text} was taken"),
        }
    }

    #[test]
    fn an_operation_under_the_id_of_a_server_is_refused() {
        let by = |client: &str| push_of(&GOOD.replace(r#""clientId":"a""#, &format!(r#""clientId":"{client}""#)));
        for client in ["syncflow-server", "syncflow-server:web-1"] {
            let faults = faults_of(by(client));
            assert!(faults.contains("operations[0].clientId") && faults.contains("reserved"), "{faults}");
        }
        assert!(read(&by("syncflow-servers")).is_ok());
    }

    #[test]
    fn an_operation_is_read_and_its_text_kept() {
        let text = push_of(GOOD);
        let push = read(&text).unwrap();
        assert_eq!(push.texts, [GOOD]);
        let [operation] = &push.operations[..] else { panic!("one operation") };
        assert_eq!(operation.id.as_str(), "op-1");
        assert_eq!(operation.data().map(Object::as_str), Some(r#"{"a":1}"#));
        assert_eq!(operation.timestamp, UnixMs::new(5));
        assert_eq!(operation.clock.json().as_str(), r#"{"a":1}"#);
    }

    #[test]
    fn integers_count_by_value_and_the_last_of_equal_keys() {
        let text = push_of(
            &GOOD
                .replace("\"timestamp\":5", "\"timestamp\":\"x\",\"timestamp\":5.0")
                .replace(r#"{"a":1}}"#, r#"{"a":"x","a":1e0}}"#),
        );
        let push = read(&text).unwrap();
        assert_eq!(push.operations[0].timestamp, UnixMs::new(5));
        assert_eq!(push.operations[0].clock.json().as_str(), r#"{"a":1}"#);
    }

    #[test]
    fn a_delete_needs_no_data_and_ignores_what_it_carries() {
        for data in ["", r#""data":null,"#, r#""data":"\ud800","#] {
            let text = push_of(&GOOD.replace("insert", "delete").replace(r#""data":{"a":1},"#, data));
            assert_eq!(read(&text).unwrap().operations[0].data(), None, "{data}");
        }
    }

    #[test]
    fn every_fault_of_every_operation_is_named() {
        let text = format!(
            r#"{{"operations":[{GOOD},7,{{"id":"","type":"batch","docId":5,"timestamp":0,"vectorClock":{{"":1,"b":-1}}}}]}}"#
        );
        let faults = faults_of(text);
        for fault in [
            "clientId: is missing",
            "operations[1]: must be an object",
            "operations[2].id: must not be empty",
            "operations[2].type: must be insert, update or delete",
            "operations[2].collection: is missing",
            "operations[2].docId: must be a string",
            "operations[2].timestamp: must be an integer from 1 to 9007199254740991",
            "operations[2].clientId: is missing",
            "operations[2].vectorClock.: the client must not be empty",
            "operations[2].vectorClock.b: must be an integer from 0 to 9007199254740991",
        ] {
            assert!(faults.contains(fault), "{fault} is not in {faults}");
        }
        assert!(!faults.contains("operations[0]"), "{faults}");
    }

    #[test]
    fn data_is_a_bounded_object_that_every_store_can_keep() {
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(DATA_MAX_BYTES));
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for bad in
            ["null", "[]", "5", "\"{}\"", r#"{"a":"\ud800"}"#, r#"{"a":1e400}"#, r#"{"\u0000":1}"#, &large, &deep]
        {
            let faults = faults_of(push_of(&GOOD.replace(r#""data":{"a":1}"#, &format!("\"data\":{bad}"))));
            assert!(faults.starts_with("operations[0].data: "), "{faults}");
        }
        assert_eq!(faults_of(push_of(&GOOD.replace(r#""data":{"a":1},"#, ""))), "operations[0].data: is missing");
    }

    #[test]
    fn one_id_stands_for_one_operation_of_a_push_however_it_is_written() {
        let same = GOOD
            .replace(r#""data":{"a":1}"#, r#""data":{"x":2, "a":1.0}"#)
            .replace(r#""timestamp":5"#, r#""timestamp":5.0,"synced":true,"more":1"#);
        let first = GOOD.replace(r#""data":{"a":1}"#, r#""data":{"a":10e-1,"x":2}"#);
        let push = push_of(&format!("{first},{same},{first}"));
        assert_eq!(read(&push).unwrap().operations.len(), 3);
        for (from, to) in [
            (r#""data":{"a":1}"#, r#""data":{"a":2}"#),
            (r#""data":{"a":1}"#, r#""data":{"a":"1"}"#),
            (r#""data":{"a":1}"#, r#""data":{"a":1,"b":null}"#),
            ("insert", "update"),
            ("insert", "delete"),
            ("todos", "other"),
            ("doc-1", "doc-2"),
            (r#""timestamp":5"#, r#""timestamp":6"#),
            (r#""clientId":"a""#, r#""clientId":"b""#),
            (r#"{"a":1}}"#, r#"{"a":2}}"#),
        ] {
            let other = GOOD.replace(from, to);
            assert_ne!(other, GOOD, "{from}");
            let faults = faults_of(push_of(&format!("{GOOD},{GOOD},{other},{GOOD},{other}")));
            let problem = "id: is the id of operations[0] too, which is another operation";
            assert_eq!(faults, format!("operations[2].{problem}; operations[4].{problem}"));
        }
    }

    #[test]
    fn a_partial_push_is_read_without_its_faulty_operations() {
        let other = GOOD.replace(r#""data":{"a":1}"#, r#""data":{"a":2}"#);
        let bad = r#"{"id":"op-2","type":"insert","data":{},"timestamp":1,"vectorClock":{"":1}}"#;
        let list = format!("{GOOD},7,{bad},{other}");
        let text: Text = format!(r#"{{"clientId":"a","partial":true,"operations":[{list}]}}"#).into();
        let ReadPush { texts, operations, partial } = read(&text).unwrap();
        let Partial { indexes, faulty } = partial.unwrap();
        assert_eq!((texts.as_slice(), operations.len(), indexes.as_slice()), (&[GOOD][..], 1, &[0][..]));
        let found: Vec<_> =
            faulty.iter().map(|faulty| (faulty.index, faulty.text, faulty.faults.to_string())).collect();
        let missing = "collection: is missing; docId: is missing; clientId: is missing";
        let clock = "vectorClock.: the client must not be empty";
        let id = "id: is the id of operations[0] too, which is another operation";
        let expected = [
            (1, "7", "must be an object".to_owned()),
            (2, bad, format!("{missing}; {clock}")),
            (3, other.as_str(), id.to_owned()),
        ];
        assert_eq!(found, expected);
        assert_eq!(faulty[0].faults.names().count(), 0);
    }

    #[test]
    fn what_may_build_on_a_faulty_operation_is_refused_with_it() {
        let faulty = GOOD.replace("\"timestamp\":5", "\"timestamp\":0");
        let later = GOOD.replace("op-1", "op-2");
        let elsewhere = GOOD.replace("op-1", "op-3").replace("doc-1", "doc-2");
        let partly = GOOD.replace(r#"{"a":1}}"#, r#"{"a":1,"b":-1}}"#).replace("doc-1", "doc-2");
        let list = [GOOD, &faulty, &later, &elsewhere, &partly, &elsewhere].join(",");
        let text: Text = format!(r#"{{"clientId":"a","partial":true,"operations":[{list}]}}"#).into();
        let Partial { indexes, faulty } = read(&text).unwrap().partial.unwrap();
        assert_eq!(indexes, [0, 3], "the one before the fault, and the one on another document");
        let messages: Vec<String> = faulty.iter().map(|faulty| faulty.faults.to_string()).collect();
        assert!(messages[0].starts_with("timestamp: ") && messages[2].starts_with("vectorClock.b: "), "{messages:?}");
        assert_eq!([&messages[1], &messages[3]], [BUILDS_ON_REFUSED; 2]);
    }

    #[test]
    fn the_id_of_a_faulty_operation_may_be_that_of_its_correction() {
        let faulty = GOOD.replace(r#"{"a":1}}"#, r#"{"a":1,"b":-1}}"#).replace("doc-1", "doc-2");
        for (list, index) in [(format!("{faulty},{GOOD}"), 1), (format!("{GOOD},{faulty}"), 0)] {
            let text: Text = format!(r#"{{"clientId":"a","partial":true,"operations":[{list}]}}"#).into();
            let Partial { indexes, faulty } = read(&text).unwrap().partial.unwrap();
            assert_eq!((indexes, faulty.len()), (vec![index], 1));
            assert!(faulty[0].faults.to_string().starts_with("vectorClock.b: "));
        }
    }

    #[test]
    fn a_push_is_partial_only_if_it_says_so_and_a_fault_outside_its_operations_fails_it() {
        let with = |partial: &str, operations: &str| -> Text {
            format!(r#"{{"clientId":"a","partial":{partial},"operations":{operations}}}"#).into()
        };
        assert!(read(&with("false", &format!("[{GOOD}]"))).unwrap().partial.is_none());
        assert!(read(&push_of(GOOD)).unwrap().partial.is_none());
        assert_eq!(faults_of(with("false", "[7]")), "operations[0]: must be an object");
        assert_eq!(faults_of(with("1", "[]")), "partial: must be true or false");
        assert_eq!(faults_of(with("true", "7")), "operations: must be an array");
        let nobody = format!(r#"{{"partial":true,"operations":[{GOOD}]}}"#);
        assert_eq!(faults_of(nobody), "clientId: is missing");
    }

    #[test]
    fn names_and_data_are_parts_of_the_body() {
        let text = push_of(GOOD);
        let push = read(&text).unwrap();
        let [Operation { id, change, key, timestamp: _, client_id, clock }] = &push.operations[..] else {
            panic!("one operation")
        };
        let (client, _) = clock.iter().next().unwrap();
        let data = change.data().unwrap().as_str();
        for part in [id.as_str(), key.collection.as_str(), key.id.as_str(), client_id.as_str(), client.as_str(), data] {
            assert!(text.as_bytes().as_ptr_range().contains(&part.as_ptr()), "{part} is a copy");
        }
    }

    #[test]
    fn clocks_and_pushes_are_bounded() {
        let clock = |clients: usize| {
            let counters: Vec<String> = (0..clients).map(|client| format!("\"c{client}\":1")).collect();
            push_of(&GOOD.replace(r#"{"a":1}}"#, &format!("{{{}}}}}", counters.join(","))))
        };
        assert!(read(&clock(CLOCK_MAX_ENTRIES)).is_ok());
        assert!(faults_of(clock(CLOCK_MAX_ENTRIES + 1)).starts_with("operations[0].vectorClock: "));
        let many = |operations: usize| push_of(&vec![GOOD; operations].join(","));
        assert_eq!(read(&many(PUSH_MAX_OPERATIONS)).unwrap().operations.len(), PUSH_MAX_OPERATIONS);
        assert!(faults_of(many(PUSH_MAX_OPERATIONS + 1)).starts_with("operations: must have at most 1000"));
    }
}
