//! Copies that share no memory with the body of a push.

use crate::core::document::Document;
use crate::core::json::Object;
use crate::core::names::{DocumentKey, FromStore};
use crate::core::operation::{Change, Operation};

/// A copy of an operation that shares no memory with the body of its push, so that it does not keep all of it.
pub(super) fn detached_operation(operation: &Operation) -> Operation {
    Operation {
        id: detached(&operation.id),
        change: match &operation.change {
            Change::Insert(data) => Change::Insert(data.detached()),
            Change::Update(data) => Change::Update(data.detached()),
            Change::Delete => Change::Delete,
        },
        key: detached_key(&operation.key),
        timestamp: operation.timestamp,
        client_id: detached(&operation.client_id),
        clock: operation.clock.detached(),
    }
}

/// The same of the document that an operation wrote. It shares what it can with the copy of the operation.
pub(super) fn detached_document(document: &Document, operation: &Operation, copy: &Operation) -> Document {
    let is_that_of_the_operation =
        |data: &Object| operation.data().is_some_and(|pushed| std::ptr::eq(pushed.as_str(), data.as_str()));
    let data = match &document.data {
        Some(data) if is_that_of_the_operation(data) => copy.data().cloned(),
        data => data.as_ref().map(Object::detached),
    };
    let clock = if document.clock == copy.clock { copy.clock.clone() } else { document.clock.detached() };
    Document {
        rev: document.rev,
        data,
        clock,
        operation_id: copy.id.clone(),
        client_id: copy.client_id.clone(),
        timestamp: document.timestamp,
        former_labels: document.former_labels.clone(),
    }
}

fn detached_key(key: &DocumentKey) -> DocumentKey {
    DocumentKey { collection: detached(&key.collection), id: detached(&key.id) }
}

pub(super) fn detached<N: FromStore + AsRef<str>>(name: &N) -> N {
    N::from_store(name.as_ref())
}
