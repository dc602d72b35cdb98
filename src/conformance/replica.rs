//! The simplest client: it applies what it receives in the order in which it comes.

use std::collections::BTreeMap;

use super::world::World;
use crate::core::cursor::Cursor;
use crate::core::document::merge;
use crate::core::json::Object;
use crate::core::names::DocumentId;
use crate::core::operation::{LogEntry, OperationKind};

/// Documents by id, without deleted ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replica(BTreeMap<DocumentId, String>);

impl Replica {
    /// The server's documents in the default collection.
    pub async fn of_server(world: &World) -> Self {
        let documents = world.query(&[]).await.into_iter();
        Self(documents.map(|document| (document.key.id, document.data.as_str().to_owned())).collect())
    }

    /// The documents by id, with their data.
    pub fn documents(&self) -> impl Iterator<Item = (&DocumentId, &str)> {
        self.0.iter().map(|(id, data)| (id, data.as_str()))
    }

    /// Applies each entry.
    pub fn apply(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            let id = entry.key.id.clone();
            match (entry.kind(), entry.data()) {
                (OperationKind::Update, Some(patch)) => {
                    let base = self.0.get(&id).map_or_else(|| Object::literal("{}"), |data| Object::literal(data));
                    self.0.insert(id, merge(&base, patch).expect("both are objects").as_str().to_owned());
                }
                (_, Some(data)) => {
                    self.0.insert(id, data.as_str().to_owned());
                }
                (_, None) => {
                    self.0.remove(&id);
                }
            }
        }
    }

    /// Pulls until there is no more.
    pub async fn pull_everything(&mut self, world: &World, mut cursor: Option<Cursor>, max_operations: usize) {
        loop {
            let page = world.page(cursor, max_operations).await;
            self.apply(&page.entries);
            cursor = page.cursor;
            if !page.has_more {
                return;
            }
        }
    }
}
