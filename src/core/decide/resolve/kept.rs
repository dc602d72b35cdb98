//! The text that the log keeps beside a resolution until compaction removes it: the operation, and the data of a
//! tombstone.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::stamps::{DamagedStamps, Stamps};
use crate::core::json::{BadJson, Object, ObjectWriter, Picked, Sink as _};
use crate::core::numbers::Rev;
use crate::core::operation::Operation;

/// The data of a document that was deleted, with their stamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) data: Object,
    pub(crate) stamps: Stamps,
}

/// The stored text of [`Gone`].
#[derive(Serialize, Deserialize)]
struct StoredGone<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    stamps: String,
}

/// The text to keep with a resolution: an object with the resolution, if there was a conflict, and the data of the
/// tombstone. `None` if there is neither.
pub(crate) fn to_stored(resolution: Option<&Object>, gone: Option<&Gone>) -> Option<Object> {
    let gone = gone.and_then(|Gone { data, stamps }| {
        let data = serde_json::from_str(data.as_str()).ok()?;
        serde_json::to_string(&StoredGone { data, stamps: stamps.of_content().to_stored(Rev::NONE) }).ok()
    });
    let members = [(RESOLUTION, resolution.map(|object| object.as_str().to_owned())), (GONE, gone)];
    let members: Vec<_> = members.into_iter().filter_map(|(key, text)| Some((key, text?))).collect();
    (!members.is_empty()).then(|| Object::from_members(members.into_iter()))
}

const RESOLUTION: &str = "resolution";
const GONE: &str = "gone";

/// The data of a tombstone in a text that was kept.
///
/// # Errors
/// If the text is damaged.
pub(crate) fn gone_of(text: &str) -> Result<Option<Gone>, DamagedStamps> {
    let kept = Picked::parse(text, &[GONE]).map_err(|_| DamagedStamps)?;
    let Some(gone) = kept.get(GONE) else { return Ok(None) };
    let StoredGone { data, stamps } = serde_json::from_str(gone).map_err(|_| DamagedStamps)?;
    let stamps = Stamps::from_stored(&stamps, Rev::NONE)?.ok_or(DamagedStamps)?;
    let data = Object::parse(data.get()).map_err(|_| DamagedStamps)?;
    Ok(Some(Gone { data, stamps }))
}

/// Whether a text is not damaged that was kept beside the last operation of a tombstone.
pub(crate) fn is_kept(text: &str) -> bool {
    gone_of(text).is_ok() && resolution_of(text).is_ok()
}

/// The record of the resolution of an operation with this id. It has the outcome, the relation of the clocks, and the
/// id and author of the winner. If a part of the operation is lost, it has the operation too.
pub(crate) fn written_record(
    id: &str,
    (outcome, relation): (&str, &str),
    (winner, winning_client): (&str, &str),
    loser: Option<&Operation>,
) -> Object {
    let string = |text: &str| {
        let mut json = String::new();
        json.push_string(text);
        json
    };
    let mut of_winner = String::new();
    ObjectWriter::write(&mut of_winner, |object| {
        object.string("operationId", winner);
        object.string("clientId", winning_client);
    });
    let members = [
        ("id", Some(string(id))),
        ("outcome", Some(string(outcome))),
        ("relation", Some(string(relation))),
        ("winner", Some(of_winner)),
        ("operation", loser.map(written_operation)),
    ];
    Object::from_members(members.into_iter().filter_map(|(key, value)| Some((key, value?))))
}

fn written_operation(operation: &Operation) -> String {
    let mut text = String::new();
    ObjectWriter::write(&mut text, |object| {
        object.string("id", operation.id.as_str());
        object.string("type", operation.kind().as_str());
        object.string("collection", operation.key.collection.as_str());
        object.string("docId", operation.key.id.as_str());
        object.raw("data", operation.data().map_or("null", Object::as_str));
        object.number("timestamp", operation.timestamp.get());
        object.string("clientId", operation.client_id.as_str());
        object.raw("vectorClock", operation.clock.json().as_str());
    });
    text
}

/// The resolution in a text that was kept: the operation, its relation to the document, and the winner.
///
/// # Errors
/// If the text is damaged.
pub(crate) fn resolution_of(text: &str) -> Result<Option<Object>, BadJson> {
    Picked::parse(text, &[RESOLUTION])?.get(RESOLUTION).map(Object::parse).transpose()
}
