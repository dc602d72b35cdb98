//! The stamps of a document, as they are kept with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::deletes::PastDeletes;
use super::stamp::{Mark, Stamp, Writer};
use crate::core::json::{BadJson, Object};
use crate::core::numbers::Rev;
use crate::core::operation::Change;
use crate::limits::protocol::{DELETES_MAX_ENTRIES, STAMPS_MAX_BYTES, STAMPS_MAX_KEYS};

/// The writers of a document and of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamps {
    /// The last writer of the document as a whole: of every key, and of the absence of every key, without a stamp of
    /// its own.
    pub(crate) whole: Stamp,
    /// The last writers of keys, some of which were removed.
    pub(crate) keys: BTreeMap<String, Stamp>,
    /// The last of all operations, if it is not the latest of these writers. It may have lost each of its keys.
    pub(crate) last: Option<Stamp>,
    /// The deletes that took effect.
    pub(crate) deletes: PastDeletes,
}

/// The stored text: each different stamp once, and the place of that of each key among them. The first is that of the
/// whole document.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The revision of the document that the stamps are about.
    rev: u64,
    stamps: Vec<Vec<Mark>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    keys: BTreeMap<String, usize>,
    /// The place of the last operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<usize>,
    #[serde(default, skip_serializing_if = "PastDeletes::is_empty")]
    deletes: PastDeletes,
}

/// The text of stamps is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no stamps")]
pub(crate) struct DamagedStamps;

impl Stamps {
    /// The stamps of a document that one operation has written as a whole.
    pub(crate) fn of_whole(whole: Stamp) -> Self {
        Self { whole, keys: BTreeMap::new(), last: None, deletes: PastDeletes::default() }
    }

    /// The stamps of a document of which only the mark of its last operation is known, and the revision.
    pub(crate) fn of_last(mark: Mark, is_deleted: bool, rev: Rev) -> Self {
        let deletes = if is_deleted { PastDeletes::of(&mark, rev) } else { PastDeletes::default() };
        Self { deletes, ..Self::of_whole(Stamp::of(mark)) }
    }

    /// The stamps of the keys of an update whose data are all that there is, over the absence of everything else.
    pub(crate) fn of_keys(data: &Object, absence: Stamp, writer: &Writer<'_>) -> Result<Self, BadJson> {
        let stamp = absence.followed_by(writer);
        let keys = data.members()?.iter().map(|(key, _)| (key.to_owned(), stamp.clone())).collect();
        Ok(Self { keys, ..Self::of_whole(absence) })
    }

    /// The stamps of a document that an operation has made of nothing. An insert is a whole document. An update has
    /// only its own keys, if each key is decided by itself.
    pub(crate) fn of_first(change: &Change, is_by_key: bool, writer: &Writer<'_>) -> Result<Self, BadJson> {
        match change {
            Change::Update(data) if is_by_key => Self::of_keys(data, Stamp::of_nobody(), writer),
            Change::Insert(_) | Change::Update(_) | Change::Delete => {
                Ok(Self::of_last(writer.mark.clone(), matches!(change, Change::Delete), writer.rev))
            }
        }
    }

    /// The stamps of the content alone.
    pub(crate) fn of_content(&self) -> Self {
        Self { keys: self.keys.clone(), ..Self::of_whole(self.whole.clone()) }
    }

    fn all(&self) -> impl Iterator<Item = &Stamp> {
        self.keys.values().chain([&self.whole]).chain(&self.last)
    }

    /// Whether the author of an operation has seen the whole content.
    pub(crate) fn are_seen_by(&self, writer: &Writer<'_>) -> bool {
        self.all().all(|stamp| stamp.is_seen_by(writer))
    }

    /// Whether an operation wins against every writer of the content.
    pub(crate) fn yield_to(&self, writer: &Writer<'_>) -> bool {
        self.all().all(|stamp| stamp.yields_to(writer))
    }

    /// The last of all writers of the content.
    pub(crate) fn latest(&self) -> &Stamp {
        self.keys.values().chain([&self.whole]).max_by(|left, right| left.order(right)).unwrap_or(&self.whole)
    }

    /// The last of all operations.
    pub(crate) fn last(&self) -> &Stamp {
        self.last.as_ref().unwrap_or_else(|| self.latest())
    }

    /// The stamps of a content, with the last of all operations.
    pub(crate) fn with_last(self, last: Stamp) -> Self {
        let last = Some(last).filter(|last| last != self.latest());
        Self { last, ..self }
    }

    /// The stamps after an operation that has won against the content as a whole.
    pub(crate) fn followed_by(&self, writer: &Writer<'_>) -> Self {
        Self::of_whole(self.last().followed_by(writer))
    }

    /// The text to store for a document with this revision. If it would be too large, the last writer is taken for that
    /// of the whole document.
    pub(crate) fn to_stored(&self, rev: Rev) -> String {
        let text = if self.keys.len() > STAMPS_MAX_KEYS { None } else { Some(self.text(rev)) };
        text.filter(|text| text.len() <= STAMPS_MAX_BYTES)
            .unwrap_or_else(|| Self { deletes: self.deletes.clone(), ..Self::of_whole(self.last().clone()) }.text(rev))
    }

    fn text(&self, rev: Rev) -> String {
        let mut stamps = vec![self.whole.marks().to_vec()];
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for (key, stamp) in &self.keys {
            let last = stamp.marks().last().map_or("", |mark| &mark.operation);
            let known = places.get(last).copied().filter(|place| stamps[*place] == stamp.marks());
            let place = known.unwrap_or(stamps.len());
            if known.is_none() {
                stamps.push(stamp.marks().to_vec());
                places.insert(last.to_owned(), place);
            }
            keys.insert(key.clone(), place);
        }
        let last = self.last.as_ref().map(|last| {
            stamps.push(last.marks().to_vec());
            stamps.len() - 1
        });
        let deletes = self.deletes.clone();
        serde_json::to_string(&Stored { rev: rev.get(), stamps, keys, last, deletes }).unwrap_or_default()
    }

    /// Reads what was stored with a document. `None` if the document has been written without stamps since.
    ///
    /// # Errors
    /// If the text is damaged.
    pub(crate) fn from_stored(text: &str, rev: Rev) -> Result<Option<Self>, DamagedStamps> {
        let stored = serde_json::from_str(text).map_err(|_| DamagedStamps)?;
        let Stored { rev: of_rev, stamps, keys, last, deletes } = stored;
        if of_rev != rev.get() {
            return Ok(None);
        }
        let stamps: Vec<Stamp> =
            stamps.into_iter().map(Stamp::from_marks).collect::<Option<_>>().ok_or(DamagedStamps)?;
        let stamp = |place: usize| stamps.get(place).cloned().ok_or(DamagedStamps);
        let keys = keys.into_iter().map(|(key, place)| Ok((key, stamp(place)?))).collect::<Result<_, _>>()?;
        Ok(Some(Self { whole: stamp(0)?, keys, last: last.map(stamp).transpose()?, deletes }))
    }
}

/// Whether a text has the stamps of a document with this revision, and not too many.
pub(crate) fn are_stamps(text: &str, rev: Rev) -> bool {
    let is_small = text.len() <= STAMPS_MAX_BYTES;
    let stamps = if is_small { Stamps::from_stored(text, rev) } else { Ok(None) };
    let are_few = |stamps: Stamps| stamps.keys.len() <= STAMPS_MAX_KEYS && stamps.deletes.len() <= DELETES_MAX_ENTRIES;
    stamps.is_ok_and(|stamps| stamps.is_some_and(are_few))
}

/// Whether a text is not damaged: it has the stamps of a document with this revision, or of an earlier one.
pub(crate) fn may_be_stamps(text: &str, rev: Rev) -> bool {
    let is_earlier = |stored: Stored| stored.rev < rev.get();
    are_stamps(text, rev) || serde_json::from_str(text).is_ok_and(is_earlier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(client: &str, time_ms: u64) -> Stamp {
        Stamp::of(Mark { client: client.to_owned(), counter: 1, time_ms, operation: format!("op-{time_ms}") })
    }

    #[test]
    fn stamps_are_stored_each_once_and_only_for_their_revision() {
        let keys = [("x", stamp("b", 2)), ("y", stamp("c", 3)), ("z", stamp("b", 2))];
        let keys = keys.map(|(key, stamp)| (key.to_owned(), stamp)).into();
        let stamps = Stamps { keys, ..Stamps::of_whole(stamp("a", 1)) };
        let text = stamps.to_stored(Rev::new(7));
        let expected = r#"{"rev":7,"stamps":[[["a",1,1,"op-1"]],[["b",1,2,"op-2"]],[["c",1,3,"op-3"]]],"#;
        assert_eq!(text, format!(r#"{expected}"keys":{{"x":1,"y":2,"z":1}}}}"#));
        assert_eq!(Stamps::from_stored(&text, Rev::new(7)), Ok(Some(stamps.clone())));
        assert_eq!(Stamps::from_stored(&text, Rev::new(8)), Ok(None), "it was written without stamps");
        for damaged in
            ["", "{}", r#"{"rev":7,"stamps":[]}"#, r#"{"rev":7,"stamps":[[]]}"#, &text.replace("y\":2", "y\":9")]
        {
            assert_eq!(Stamps::from_stored(damaged, Rev::new(7)), Err(DamagedStamps), "{damaged}");
        }
        assert_eq!(stamps.latest(), &stamp("c", 3));
        assert!(may_be_stamps(&text, Rev::new(7)) && may_be_stamps(&text, Rev::new(8)), "of an earlier revision");
        assert!(!may_be_stamps(&text, Rev::new(6)), "of a later revision");
        assert!(!may_be_stamps(r#"{"rev":7,"stamps":[]}"#, Rev::new(7)) && !may_be_stamps("", Rev::new(7)));
    }

    #[test]
    fn the_last_operation_and_the_deletes_are_stored_with_the_stamps() {
        let deletes = PastDeletes::of(&stamp("c", 3).marks()[0], Rev::new(2));
        let stamps = Stamps { deletes, ..Stamps::of_whole(stamp("a", 1)).with_last(stamp("b", 2)) };
        let text = stamps.to_stored(Rev::new(7));
        let expected = r#"{"rev":7,"stamps":[[["a",1,1,"op-1"]],[["b",1,2,"op-2"]]],"last":1,"deletes":{"c":[1,2]}}"#;
        assert_eq!(text, expected);
        assert_eq!(Stamps::from_stored(&text, Rev::new(7)), Ok(Some(stamps.clone())));
        assert_eq!(Stamps::from_stored(&text.replace("last\":1", "last\":2"), Rev::new(7)), Err(DamagedStamps));
        assert_eq!(stamps.clone().with_last(stamp("a", 1)).last, None, "it follows from the others");
        let keys = (0..=STAMPS_MAX_KEYS).map(|key| (key.to_string(), stamp("b", 1))).collect();
        let shortened = Stamps { keys, ..stamps.clone() }.to_stored(Rev::new(7));
        let expected = Stamps { deletes: stamps.deletes, ..Stamps::of_whole(stamp("b", 2)) };
        assert_eq!(Stamps::from_stored(&shortened, Rev::new(7)), Ok(Some(expected)), "the deletes stay");
    }

    #[test]
    fn too_many_stamps_become_that_of_the_last_writer() {
        let keys = |count: usize| (0..count).map(|key| (key.to_string(), stamp("b", 2))).collect();
        let read = |stamps: &Stamps| Stamps::from_stored(&stamps.to_stored(Rev::new(1)), Rev::new(1)).unwrap().unwrap();
        let most = Stamps { keys: keys(STAMPS_MAX_KEYS), ..Stamps::of_whole(stamp("a", 1)) };
        assert_eq!(read(&most), most);
        let more = Stamps { keys: keys(STAMPS_MAX_KEYS + 1), ..Stamps::of_whole(stamp("a", 1)) };
        assert_eq!(read(&more), Stamps::of_whole(stamp("b", 2)));
        let long = "x".repeat(250);
        let large = (0..STAMPS_MAX_KEYS as u64).map(|key| (key.to_string(), stamp(&long, key))).collect();
        let large = Stamps { keys: large, ..Stamps::of_whole(stamp("a", 1)) };
        assert_eq!(read(&large), Stamps::of_whole(stamp(&long, STAMPS_MAX_KEYS as u64 - 1)));
    }
}
