//! The content of a document while operations change it: its text is read once and written once.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::core::json::{BadJson, ByteCount, Object, Sink as _};

/// An object whose members are replaced and added, one level deep.
#[derive(Debug, Default)]
pub(crate) struct OpenObject<'a> {
    /// In the order of the text, each key once.
    members: Vec<(Cow<'a, str>, &'a str)>,
    places: HashMap<Cow<'a, str>, usize>,
    /// The bytes of all members, each with its colon and its comma.
    members_bytes: usize,
    /// The text, if it was asked for since the last change.
    text: Option<Object>,
}

/// How to take one change of an [`OpenObject`] back.
#[derive(Debug)]
pub(crate) struct Reverse<'a> {
    members: usize,
    members_bytes: usize,
    replaced: Vec<(usize, &'a str)>,
}

impl<'a> OpenObject<'a> {
    /// Opens an object; of equal keys the last one is used, at the place of the first.
    ///
    /// # Errors
    /// If the object is from a store and damaged.
    pub(crate) fn open(object: &'a Object) -> Result<Self, BadJson> {
        #[cfg(test)]
        OPENED.with(|opened| opened.set(opened.get() + 1));
        let mut opened = Self::default();
        opened.put_all(object)?;
        Ok(opened)
    }

    /// Puts the members of `patch` over those of the object; `null` stays as a value.
    ///
    /// A key that both have keeps its place and takes the patch's value, as JavaScript's spread does. Values keep their
    /// bytes.
    ///
    /// # Errors
    /// If the patch is damaged. Nothing has changed then.
    pub(crate) fn put_all(&mut self, patch: &'a Object) -> Result<Reverse<'a>, BadJson> {
        let members = patch.members()?;
        let mut reverse =
            Reverse { members: self.members.len(), members_bytes: self.members_bytes, replaced: Vec::new() };
        for (key, value) in members.into_members() {
            match self.places.get(&key) {
                Some(place) => {
                    let before = std::mem::replace(&mut self.members[*place].1, value);
                    reverse.replaced.push((*place, before));
                    self.members_bytes = self.members_bytes - before.len() + value.len();
                }
                None => {
                    self.places.insert(key.clone(), self.members.len());
                    self.members_bytes += ByteCount::of(|count| count.push_string(&key)) + value.len() + 2;
                    self.members.push((key, value));
                }
            }
        }
        self.text = None;
        Ok(reverse)
    }

    /// Takes the last change back that was not taken back yet.
    pub(crate) fn take_back(&mut self, reverse: Reverse<'a>) {
        for (place, before) in reverse.replaced.into_iter().rev() {
            self.members[place].1 = before;
        }
        for (key, _) in self.members.drain(reverse.members..) {
            self.places.remove(&key);
        }
        self.members_bytes = reverse.members_bytes;
        self.text = None;
    }

    /// How many bytes the text has.
    pub(crate) fn bytes(&self) -> usize {
        // The last member has no comma, and an empty object has two braces.
        if self.members.is_empty() { 2 } else { self.members_bytes + 1 }
    }

    /// The text of a member's value.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.places.get(key).map(|place| self.members[*place].1)
    }

    /// How many members it has.
    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    /// Whether the text was written since the last change.
    pub(crate) fn is_written(&self) -> bool {
        self.text.is_some()
    }

    /// The object as text; it is written again only after a change.
    pub(crate) fn text(&mut self) -> &Object {
        let members = &self.members;
        self.text.get_or_insert_with(|| Object::from_members(members.iter().map(|(key, value)| (key, value))))
    }
}

#[cfg(test)]
thread_local! {
    /// How many objects this thread has opened.
    pub(crate) static OPENED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::document::merge;

    const KEYS: [&str; 5] = ["a", "b", r"\u0062", r#"\"\n\u0001"#, "é"];

    fn any_object() -> impl Strategy<Value = Object> {
        proptest::collection::vec((0..KEYS.len(), 0..1_000_u32), 0..4).prop_map(|members| {
            let members: Vec<String> =
                members.iter().map(|(key, value)| format!(r#""{}" : {value}"#, KEYS[*key])).collect();
            Object::literal(&format!("{{{}}}", members.join(" , ")))
        })
    }

    fn any_objects() -> impl Strategy<Value = Vec<Object>> {
        proptest::collection::vec(any_object(), 0..5)
    }

    proptest! {
        #[test]
        fn many_changes_are_merges_one_after_the_other(base in any_object(), patches in any_objects()) {
            let mut opened = OpenObject::open(&base).unwrap();
            let mut merged = merge(&base, &Object::literal("{}")).unwrap();
            for patch in &patches {
                opened.put_all(patch).unwrap();
                merged = merge(&merged, patch).unwrap();
                prop_assert_eq!(opened.bytes(), merged.as_str().len());
            }
            prop_assert_eq!(opened.text(), &merged);
        }

        #[test]
        fn what_is_taken_back_leaves_no_trace(base in any_object(), patches in any_objects()) {
            let mut opened = OpenObject::open(&base).unwrap();
            let (before, bytes) = (opened.text().clone(), opened.bytes());
            let reverses: Vec<Reverse<'_>> = patches.iter().map(|patch| opened.put_all(patch).unwrap()).collect();
            reverses.into_iter().rev().for_each(|reverse| opened.take_back(reverse));
            prop_assert_eq!(opened.bytes(), bytes);
            prop_assert_eq!(opened.text(), &before);
            for patch in &patches {
                opened.put_all(patch).unwrap();
            }
            let merged = patches.iter().fold(before, |merged, patch| merge(&merged, patch).unwrap());
            prop_assert_eq!(opened.text(), &merged);
        }
    }

    #[test]
    fn a_text_is_written_once_for_each_state() {
        let (base, patch) = (Object::literal(r#"{"a":1}"#), Object::literal(r#"{"b":2}"#));
        let mut opened = OpenObject::open(&base).unwrap();
        opened.put_all(&patch).unwrap();
        let first = opened.text().as_str().as_ptr();
        assert_eq!(opened.text().as_str().as_ptr(), first);
    }
}
