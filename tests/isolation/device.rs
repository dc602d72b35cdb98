//! A device: what it was sent and has kept.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::history::COLLECTIONS;
use super::markers::of_document;
use super::model::Key;

/// The rules and the lists by which a cursor was given. `None` if its owner might see everything.
pub(super) type ViewKey = Option<(u64, BTreeSet<&'static str>)>;

/// A device that only pulls.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) person: usize,
    /// Whether it asks for documents rather than operations.
    as_documents: bool,
    /// The collections to which its pulls are limited.
    collections: Option<&'static [&'static str]>,
    /// Whether it says its client id.
    has_client: bool,
    pub(super) cursor: Option<String>,
    /// The view under which the cursor was given.
    pub(super) view: ViewKey,
    /// The place of the log at which it was in sync, or began.
    pub(super) in_sync_at: u64,
    pub(super) documents: BTreeMap<Key, Map<String, Value>>,
    /// The documents that it has received since it began from nothing.
    received: Option<BTreeSet<Key>>,
}

/// The collections of a device that leaves one out.
const SOME: &[&str] = &["todos", "news"];

impl Device {
    /// All devices. Some people have two.
    pub(super) fn all() -> Vec<Self> {
        let device = |person, as_documents, collections, has_client| Self {
            person,
            as_documents,
            collections,
            has_client,
            cursor: None,
            view: None,
            in_sync_at: 0,
            documents: BTreeMap::new(),
            received: Some(BTreeSet::new()),
        };
        vec![
            device(0, true, None, true),
            device(0, false, None, false),
            device(1, true, Some(SOME), false),
            device(1, true, None, true),
            device(2, true, None, false),
            device(3, false, None, true),
            device(4, false, None, false),
        ]
    }

    pub(super) fn wants(&self, (collection, _): Key) -> bool {
        self.collections.is_none_or(|names| names.contains(&COLLECTIONS[collection]))
    }

    /// The body of its next pull.
    pub(super) fn request(&self, subject: &str, limit: usize) -> Value {
        let form = if self.as_documents { "documents" } else { "operations" };
        let mut body = json!({"cursor": self.cursor, "as": form, "limit": limit});
        if let Some(names) = self.collections {
            body["collections"] = json!(names);
        }
        if self.has_client {
            body["clientId"] = json!(format!("c-{subject}"));
        }
        body
    }

    /// Begins again from nothing. It keeps its documents until it knows which of them it still receives.
    pub(super) fn begin_again(&mut self) {
        self.cursor = None;
        self.received = Some(BTreeSet::new());
    }

    /// Applies a page. `head` is the number of operations in the log when it was read. Returns whether there is more.
    pub(super) fn take(&mut self, page: &Value, head: u64, view: ViewKey) -> bool {
        for entry in page["operations"].as_array().expect("a list") {
            let key = key_of(entry);
            assert!(self.wants(key), "{entry} was not asked for");
            let data = entry["data"].as_object().cloned();
            match (entry["type"].as_str(), data) {
                (Some("insert"), Some(data)) => drop(self.documents.insert(key, data)),
                (Some("update"), Some(data)) => self.documents.entry(key).or_default().extend(data),
                (Some("delete"), None) => drop(self.documents.remove(&key)),
                _ => panic!("{entry} is no change"),
            }
            if let Some(received) = &mut self.received {
                received.insert(key);
            }
        }
        let has_more = page["hasMore"] == json!(true);
        if self.cursor.is_none() || !has_more {
            self.in_sync_at = head;
        }
        self.cursor = Some(page["cursor"].as_str().expect("a cursor").to_owned());
        self.view = view;
        if !has_more && let Some(received) = self.received.take() {
            self.documents.retain(|key, _| received.contains(key));
        }
        has_more
    }
}

/// The document of an entry of a page.
pub(super) fn key_of(entry: &Value) -> Key {
    let collection = COLLECTIONS.iter().position(|name| entry["collection"] == json!(name)).expect("a collection");
    let documents = 0..super::history::DOCUMENTS;
    let found = documents.map(|document| (collection, document)).find(|key| entry["docId"] == json!(of_document(*key)));
    found.expect("a document")
}
