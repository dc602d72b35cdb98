//! The merge of an operation into a document, key by key.

use std::borrow::Cow;
use std::collections::HashMap;

use super::stamp::{Stamp, Writer};
use super::stamps::Stamps;
use crate::core::json::{BadJson, Object};
use crate::core::operation::Change;

/// The content after an operation.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) data: Object,
    pub(super) stamps: Stamps,
    /// Whether the operation has written anything.
    pub(super) has_written: bool,
}

/// Merges an insert or update into a content. `patch` is its data.
///
/// **Law.** *Each key at the top is decided by itself. An operation writes it if its author had seen the last writer of
/// the key, or if it is later. An insert writes every key of the document: those that it does not have are removed.
/// Whichever order concurrent operations arrive in, the result is the same.*
///
/// A removed key keeps the stamp of the operation that removed it. A key that no operation ever wrote has the stamp of
/// the last one that wrote the whole document.
pub(super) fn merge(
    base: &Object,
    stamps: &Stamps,
    (change, patch): (&Change, &Object),
    writer: &Writer<'_>,
) -> Result<Merged, BadJson> {
    let is_whole = matches!(change, Change::Insert(_));
    let next = stamps.whole.followed_by(writer);
    let is_replaced = |stamp: &Stamp| stamp.yields_to(writer) && stamp.followed_by(writer) == next;
    if is_whole && stamps.whole.yields_to(writer) && stamps.keys.values().all(is_replaced) {
        return Ok(Merged { data: patch.clone(), stamps: Stamps::of_whole(next), has_written: true });
    }
    let (mut content, patched) = (Members::of(base)?, Members::of(patch)?);
    let mut after = stamps.of_content();
    let mut has_written = false;
    let wins_whole = is_whole && stamps.whole.yields_to(writer);
    if wins_whole {
        after.whole = next;
        has_written = true;
        let shared: Vec<Cow<'_, str>> = content
            .keys()
            .filter(|key| !stamps.keys.contains_key(&***key) && patched.get(key).is_none())
            .cloned()
            .collect();
        for key in &shared {
            content.remove(key);
        }
    }
    for (key, value) in patched.iter() {
        match stamps.keys.get(&**key) {
            Some(stamp) if stamp.yields_to(writer) => {
                after.keys.insert(key.clone().into_owned(), stamp.followed_by(writer));
            }
            Some(_) => continue,
            None if wins_whole => {}
            None if !stamps.whole.yields_to(writer) => continue,
            None => {
                after.keys.insert(key.clone().into_owned(), stamps.whole.followed_by(writer));
            }
        }
        content.put(key.clone(), value);
        has_written = true;
    }
    if is_whole {
        for (key, stamp) in &stamps.keys {
            if patched.get(key).is_none() && stamp.yields_to(writer) {
                content.remove(key);
                after.keys.insert(key.clone(), stamp.followed_by(writer));
                has_written = true;
            }
        }
    }
    let whole = after.whole.clone();
    after.keys.retain(|_, stamp| *stamp != whole);
    Ok(Merged { data: content.into_object(), stamps: after, has_written })
}

/// The values of an insert or update that are not in the content after it, and whether all or none of them are.
pub(super) fn lost(patch: &Object, after: Option<&Object>) -> Result<Lost, BadJson> {
    let patched = Members::of(patch)?;
    let after = after.map(Members::of).transpose()?;
    let survives = |key: &str, value: &str| after.as_ref().is_some_and(|after| after.get(key) == Some(value));
    let lost: Vec<_> = patched.iter().filter(|(key, value)| !survives(key, value)).collect();
    Ok(Lost {
        is_nothing: lost.is_empty(),
        is_everything: after.is_none() || !lost.is_empty() && lost.len() == patched.count(),
        has_others: after.as_ref().is_some_and(|after| after.count() > patched.count()),
        values: (!lost.is_empty()).then(|| Object::from_members(lost.into_iter())),
    })
}

/// The values of an operation that did not survive.
pub(super) struct Lost {
    pub(super) values: Option<Object>,
    pub(super) is_nothing: bool,
    pub(super) is_everything: bool,
    /// Whether the content has other keys than the operation.
    pub(super) has_others: bool,
}

/// How many members two objects have at most, including keys that occur several times.
pub(super) fn count_keys(objects: [Option<&Object>; 2]) -> Result<usize, BadJson> {
    objects.into_iter().flatten().try_fold(0, |most, object| Ok(object.members()?.len().max(most)))
}

/// The members of an object in their order, each key once. Removed ones leave their places.
struct Members<'a> {
    members: Vec<(Cow<'a, str>, Option<&'a str>)>,
    places: HashMap<Cow<'a, str>, usize>,
}

impl<'a> Members<'a> {
    fn of(object: &'a Object) -> Result<Self, BadJson> {
        let mut members = Self { members: Vec::new(), places: HashMap::new() };
        object.members()?.into_members().for_each(|(key, value)| members.put(key, value));
        Ok(members)
    }

    fn put(&mut self, key: Cow<'a, str>, value: &'a str) {
        match self.places.get(&key) {
            Some(place) => self.members[*place].1 = Some(value),
            None => {
                self.places.insert(key.clone(), self.members.len());
                self.members.push((key, Some(value)));
            }
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(place) = self.places.get(key) {
            self.members[*place].1 = None;
        }
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.places.get(key).and_then(|place| self.members[*place].1)
    }

    fn iter(&self) -> impl Iterator<Item = (&Cow<'a, str>, &'a str)> {
        self.members.iter().filter_map(|(key, value)| Some((key, (*value)?)))
    }

    fn keys(&self) -> impl Iterator<Item = &Cow<'a, str>> {
        self.iter().map(|(key, _)| key)
    }

    fn count(&self) -> usize {
        self.iter().count()
    }

    fn into_object(self) -> Object {
        Object::from_members(self.iter())
    }
}
