//! Reads a push: either the operations with their texts as sent, or all faults with their fields. A partial push is
//! read without its faulty operations.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::endpoints::changes::cursor;
use super::error::{ApiError, Faults};
use super::fields::{Fields, Path, boolean, name, name_in, not_of_server, string};
use crate::core::clock::VectorClock;
use crate::core::cursor::Position;
use crate::core::decide::base::Bases;
use crate::core::decide::is_reserved;
use crate::core::filter::Expected;
use crate::core::json::{self, Bounded, Object, Picked};
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::operation::{Change, Operation, OperationKind, UnknownKind};
use crate::core::text::{Text, part_of};
use crate::limits::api::REFUSED_MAX_FAULTS;
use crate::limits::protocol::{
    CLOCK_MAX_BYTES, CLOCK_MAX_ENTRIES, CLOCK_OWN_MAX_BYTES, DATA_MAX_BYTES, INTEGER_MAX, PUSH_CLOCKS_MAX_ENTRIES,
    PUSH_MAX_OPERATIONS,
};

/// A push without its faulty operations, which only a partial one may have.
pub(super) struct ReadPush<'a> {
    /// The text of each operation as it was sent, byte by byte.
    pub(super) texts: Vec<&'a str>,
    /// The same operations, read. Their names and data are parts of the body.
    pub(super) operations: Vec<Operation>,
    /// The revisions that they name in place of clocks.
    pub(super) bases: Bases,
    /// Whether the answer says up to which place of the log it holds.
    pub(super) asks_for_place: bool,
    /// The client that pushes them.
    pub(super) client_id: ClientId,
    /// The rest of a partial push.
    pub(super) partial: Option<Partial<'a>>,
    /// Whether a counter that its author has used before is a conflict.
    pub(super) is_strict: bool,
    /// Whether the client asks for a partial push.
    pub(super) is_partial: bool,
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
    read_as(body, false)
}

/// Reads a push as a partial one, in which an operation with faults stops no other one. An update without data is an
/// update with `{}`.
pub(super) fn read_leniently(body: &Text) -> Result<ReadPush<'_>, ApiError> {
    read_as(body, true)
}

fn read_as(body: &Text, is_lenient: bool) -> Result<ReadPush<'_>, ApiError> {
    let mut faults = Faults::default();
    let (mut fields, list) = Fields::of_body_with_list(body, &KEYS, "operations", PUSH_MAX_OPERATIONS, &mut faults)?;
    // This client need not be the author of the operations: it may push those of another of its profiles.
    let client_id = fields.required("clientId", author(body));
    let is_partial = fields.optional("partial", false, boolean);
    let is_strict = fields.optional("strict", false, boolean);
    let asks_for_place = fields.raw("cursor").is_some();
    let places = ["cursor", "place"].map(|key| fields.optional(key, None, place));
    let texts = fields.elements("operations", list, (PUSH_MAX_OPERATIONS, "operations"));
    let [cursor, place] = places;
    let places = cursor.zip(place).map(|(cursor, place)| [cursor, place].into_iter().flatten().collect());
    let push = texts.zip(is_partial).zip(is_strict).zip(places).map(|(((texts, is_partial), is_strict), places)| {
        let places: Vec<Position> = places;
        let has_apart = is_partial || is_lenient;
        let mut found = FaultsFound { all: &mut faults, apart: has_apart.then(BTreeMap::new) };
        let each = texts.iter().enumerate();
        let entries_left = Cell::new(PUSH_CLOCKS_MAX_ENTRIES);
        let read = each.map(|(index, text)| {
            found.of(index, |path, faults| operation(text, (body, &entries_left, is_lenient), path, faults))
        });
        let operations: Vec<Option<Made>> = read.collect();
        check_ids(&operations, &mut found);
        check_revisions(&operations, &places, &mut found);
        let (texts, operations, partial) = match found.apart {
            None => (texts, operations.into_iter().flatten().collect(), None),
            Some(faults) => {
                let (texts, operations, partial) = without_faulty((texts, operations), faults, is_lenient);
                (texts, operations, Some(partial))
            }
        };
        let (operations, revisions): (_, Vec<Option<Rev>>) =
            operations.into_iter().map(|Made { operation, base }| (operation, base)).unzip();
        // Clocks hold in every log.
        let places = if revisions.iter().any(Option::is_some) { places } else { Vec::new() };
        let bases = Bases { revisions, places };
        // A push without its client has a fault.
        let client_id = client_id?;
        Some(ReadPush { texts, operations, bases, asks_for_place, client_id, partial, is_strict, is_partial })
    });
    let push = push.flatten();
    faults.into_result(push).map_err(ApiError::BadFields)
}

/// The keys of a push beside the list of its operations.
pub(super) const KEYS: [&str; 5] = ["clientId", "partial", "strict", "cursor", "place"];

/// An operation as it was sent.
struct Made {
    /// Its clock is empty if it names a revision.
    operation: Operation,
    /// The revision that it names in place of a clock.
    base: Option<Rev>,
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
    (texts, operations): (Vec<&str>, Vec<Option<Made>>),
    mut faults: BTreeMap<usize, Faults>,
    is_lenient: bool,
) -> (Vec<&str>, Vec<Made>, Partial<'_>) {
    let mut partial = Partial { indexes: Vec::with_capacity(texts.len()), faulty: Vec::with_capacity(faults.len()) };
    let (mut good_texts, mut good) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
    let mut refused_keys = HashSet::new();
    for (index, (text, operation)) in texts.into_iter().zip(operations).enumerate() {
        let faults = faults.remove(&index);
        let (faults, key) = match (faults, operation) {
            (None, Some(made)) if is_lenient || !refused_keys.contains(&made.operation.key) => {
                partial.indexes.push(index);
                good_texts.push(text);
                good.push(made);
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
    (good_texts, good, partial)
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
fn check_ids(operations: &[Option<Made>], found: &mut FaultsFound<'_>) {
    let mut indexes_of: HashMap<&OperationId, Vec<usize>> = HashMap::with_capacity(operations.len());
    for (index, made) in operations.iter().enumerate() {
        if let Some(made) = made {
            indexes_of.entry(&made.operation.id).or_default().push(index);
        }
    }
    let mut differing = Vec::new();
    for indexes in indexes_of.into_values().filter(|indexes| indexes.len() > 1) {
        // One id after the other: the data of one operation alone is opened at any time.
        let mut first = None;
        for index in indexes {
            let Some(made) = &operations[index] else { continue };
            let (first_index, first) = first.get_or_insert((index, First { made, data: None }));
            if !first.is_same(made) {
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
    made: &'a Made,
    /// Its data, parsed when they are first compared, because other operations may have the same id a thousand times.
    data: Option<Expected>,
}

impl First<'_> {
    /// Whether another operation with this id is the same one, with equal values in all fields.
    fn is_same(&mut self, Made { operation: other, base: other_base }: &Made) -> bool {
        let Made { operation: Operation { id: _, change, key, timestamp, client_id, clock }, base } = self.made;
        (change.kind(), key, timestamp, client_id, clock, base)
            == (other.kind(), &other.key, &other.timestamp, &other.client_id, &other.clock, other_base)
            && match (change.data(), other.data()) {
                (Some(data), Some(other)) => {
                    data == other
                        || self.data.get_or_insert_with(|| Expected::parse(data.as_str())).equals(other.as_str())
                }
                (data, other) => data == other,
            }
    }
}

/// Records a fault for every operation that names a revision of which the push says nowhere, or nowhere credible, how
/// its author knows it.
///
/// A revision is a number of operations on one document. So up to a place of the log there is none that is greater than
/// the sequence number of the place. Earlier operations of the push may have led to a few more.
fn check_revisions(operations: &[Option<Made>], places: &[Position], found: &mut FaultsFound<'_>) {
    let last = places.iter().map(|place| place.seq.get()).max();
    let mut is_place_missing = false;
    for (index, made) in operations.iter().enumerate() {
        let Some(base) = made.as_ref().and_then(|made| made.base).filter(|base| *base > Rev::NONE) else { continue };
        match last {
            None => is_place_missing = true,
            Some(last) if base.get() > last.saturating_add(index as u64) => {
                found.of(index, |path, faults| {
                    faults.add(path.key("baseRev"), "is greater than any revision at the place of the cursor");
                    Some(())
                });
            }
            Some(_) => {}
        }
    }
    if is_place_missing {
        let problem = "is missing, and operations with a baseRev above 0 need it";
        found.all.add(Path::BODY.key("cursor"), problem);
    }
}

pub(super) const OPERATION_KEYS: [&str; 9] =
    ["id", "type", "collection", "docId", "data", "timestamp", "clientId", "vectorClock", "baseRev"];

/// Reads an operation. The number says how many entries its clock may have. So the clocks of a push are bounded
/// together.
fn operation(
    text: &str,
    (body, entries_left, is_lenient): (&Text, &Cell<usize>, bool),
    path: Path<'_>,
    faults: &mut Faults,
) -> Option<Made> {
    let mut fields = Fields::of_object(text, &OPERATION_KEYS, path, faults)?;
    let id = fields.required("id", operation_id(body));
    let kind = fields.required("type", kind);
    let collection = fields.required("collection", name_in(body));
    let document_id = fields.required("docId", name_in(body));
    let data = |text| data(text, body);
    let change = match kind {
        Some(OperationKind::Insert) => fields.required("data", data).map(Change::Insert),
        Some(OperationKind::Update) if is_lenient && fields.raw("data").is_none_or(|data| data == "null") => {
            Some(Change::Update(Object::literal("{}")))
        }
        Some(OperationKind::Update) => fields.required("data", data).map(Change::Update),
        Some(OperationKind::Delete) => Some(Change::Delete),
        None => None,
    };
    let timestamp = fields.required("timestamp", timestamp);
    let client_id = fields.required("clientId", author(body));
    let (clock, base) = match (fields.raw("vectorClock").is_some(), fields.raw("baseRev").is_some()) {
        (false, false) => {
            fields.fault("vectorClock", "is missing, and so is baseRev");
            (None, None)
        }
        (true, true) => {
            fields.fault("baseRev", "stands in place of vectorClock, which is there too");
            (None, None)
        }
        (true, false) => {
            let clock = |text: &str, path: Path<'_>, faults: &mut Faults| {
                let clock = clock(text, body, entries_left.get(), path, faults)?;
                entries_left.set(entries_left.get() - clock.len());
                Some(clock)
            };
            (fields.required_inside("vectorClock", clock), Some(None))
        }
        (false, true) => (Some(VectorClock::default()), fields.required("baseRev", revision).map(Some)),
    };
    let operation = Operation {
        id: id?,
        change: change?,
        key: DocumentKey { collection: collection?, id: document_id? },
        timestamp: timestamp?,
        client_id: client_id?,
        clock: clock?,
    };
    Some(Made { operation, base: base? })
}

/// Reads the revision that the author of an operation saw.
fn revision(text: &str) -> Result<Rev, String> {
    json::integer(text, INTEGER_MAX).map(Rev::new).map_err(|problem| problem.to_string())
}

/// Reads the place of a cursor, or of an earlier answer. The marks of a cursor say nothing about the log.
fn place(text: &str) -> Result<Option<Position>, String> {
    Ok(cursor(text)?.map(|marked| marked.cursor.position()))
}

/// Reads the id of an operation, which is not one of the server's own.
fn operation_id(body: &Text) -> impl Fn(&str) -> Result<OperationId, String> {
    move |text| {
        let id: OperationId = name_in(body)(text)?;
        if is_reserved(&id) { Err("is reserved for the server".to_owned()) } else { Ok(id) }
    }
}

/// Reads the author of an operation, or the client that pushes, which is not a server.
fn author(body: &Text) -> impl Fn(&str) -> Result<ClientId, String> {
    move |text| name_in(body)(text).and_then(not_of_server)
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

/// Reads a clock with so many entries at most. The entry of the server has a place of its own.
fn clock(text: &str, body: &Text, entries_left: usize, path: Path<'_>, faults: &mut Faults) -> Option<VectorClock> {
    let (most_bytes, most_entries) = (CLOCK_MAX_BYTES + CLOCK_OWN_MAX_BYTES, CLOCK_MAX_ENTRIES + 1);
    let counters = match json::entries(text, most_entries.min(entries_left)) {
        _ if text.len() > most_bytes => Err(format!("must have at most {CLOCK_MAX_BYTES} bytes")),
        Ok(Bounded::Whole(counters)) => {
            let has_own = counters.iter().any(|(client, _)| client == ClientId::clock().as_str());
            if text.len() > CLOCK_MAX_BYTES && !has_own {
                Err(format!("must have at most {CLOCK_MAX_BYTES} bytes"))
            } else if counters.len() > CLOCK_MAX_ENTRIES && !has_own {
                Err(format!("must have at most {CLOCK_MAX_ENTRIES} clients"))
            } else {
                Ok(counters)
            }
        }
        Ok(Bounded::TooMany) if entries_left < most_entries => {
            Err(format!("has more clients than are left of {PUSH_CLOCKS_MAX_ENTRIES} for the push"))
        }
        Ok(Bounded::TooMany) => Err(format!("must have at most {CLOCK_MAX_ENTRIES} clients")),
        Err(_) => Err("must be an object".to_owned()),
    };
    let counters = counters.map_err(|problem| faults.add(path, problem)).ok()?;
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
mod tests;
