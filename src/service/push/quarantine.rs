//! The quarantine: operations of original clients that cannot be decided are kept, so that they do not stop the client.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::json;

use crate::core::access::{Action, Principal, View};
use crate::core::clock::VectorClock;
use crate::core::decide::quota::{Quota, Usage};
use crate::core::document::LiveDocument;
use crate::core::filter::Filter;
use crate::core::json::{self, BadJson, Object};
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId, TenantId};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::operation::{Change, Operation};
use crate::core::text::sha256_hex;
use crate::limits::protocol::{INTEGER_MAX, QUERY_MAX_DOCUMENTS};
use crate::limits::service::{
    QUARANTINE_CLIENT_MAX_BYTES, QUARANTINE_CLIENT_MAX_DOCUMENTS, QUARANTINE_COMMIT_MAX_DOCUMENTS,
    QUARANTINE_MAX_BYTES, QUARANTINE_MAX_DOCUMENTS, QUARANTINE_PART_MAX_BYTES, QUARANTINE_REASON_MAX_BYTES,
    QUARANTINE_RELEASE_MAX_DOCUMENTS,
};
use crate::service::hooks::Caller;
use crate::service::lanes::WriteTurn;
use crate::service::{PushRequest, Pushed, ServiceError, SyncService};
use crate::store::{ErrorKind, LoadRequest, Query, QueryPage, StoreError};

/// The collection of the quarantine, as an admin reads it in the tenant whose operations it has.
pub const QUARANTINE: &str = "syncflow-server:quarantine";

/// An operation that cannot be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undecidable<'a> {
    /// The operation as it was sent.
    pub text: &'a str,
    /// The reason why it cannot be decided.
    pub reason: String,
}

impl<'a> Undecidable<'a> {
    /// An operation with the reason why it cannot be decided.
    #[must_use]
    pub fn new(text: &'a str, reason: String) -> Self {
        Self { text, reason }
    }
}

impl SyncService {
    /// Keeps operations of original clients that cannot be decided, instead of refusing their pushes.
    ///
    /// An original client sends a refused operation again and again, and nothing that comes after it. The quarantine
    /// of a tenant has at most [`QUARANTINE_MAX_DOCUMENTS`] documents and [`QUARANTINE_MAX_BYTES`]. Each client has a
    /// share of it: [`QUARANTINE_CLIENT_MAX_DOCUMENTS`] and [`QUARANTINE_CLIENT_MAX_BYTES`]. A push for which there is
    /// no room is refused.
    #[must_use]
    pub fn with_quarantine(self) -> Self {
        Self { has_quarantine: true, ..self }
    }

    /// Whether the quarantine takes operations of a client, and has room for so many with so many bytes.
    ///
    /// It takes those of clients that pull with `since`, which the server remembers.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn has_room_in_quarantine(
        &self,
        tenant: &TenantId,
        client: &ClientId,
        operations: usize,
        bytes: usize,
    ) -> Result<bool, ServiceError> {
        if !self.has_quarantine {
            return Ok(false);
        }
        let memory = self.store.client(tenant, client).await?;
        if memory.is_none_or(|memory| memory.revision == Rev::NONE) {
            return Ok(false);
        }
        self.has_room_for(&tenant.quarantine(), client, operations, bytes).await
    }

    /// Whether the tenant of a quarantine has room for more operations of a client, and the client for its share.
    async fn has_room_for(
        &self,
        home: &TenantId,
        client: &ClientId,
        operations: usize,
        bytes: usize,
    ) -> Result<bool, ServiceError> {
        let request = LoadRequest { with_usage: true, ..LoadRequest::default() };
        let usage = self.store.load(home, request).await?.usage;
        let Usage { documents, bytes: used_bytes, .. } = usage.unwrap_or_default();
        let parts = operations + bytes / QUARANTINE_PART_MAX_BYTES;
        // Each part has a receipt. A text may become longer when it is a string in a document, and the log has it too.
        let has_room = documents.saturating_add(2 * parts as u64) <= 2 * QUARANTINE_MAX_DOCUMENTS as u64
            && used_bytes.saturating_add(4 * bytes as u64) <= QUARANTINE_MAX_BYTES as u64;
        if !has_room {
            return Ok(false);
        }
        // One more than the share, so that a page has all that matter.
        let all = Query { max_documents: QUARANTINE_CLIENT_MAX_DOCUMENTS + 1, ..newest(receipts_of(client), None) };
        let receipts = self.store.query(home, all).await?.documents;
        let used_bytes: usize = receipts.iter().filter_map(|receipt| number::<usize>(&receipt.data, "bytes")).sum();
        Ok(receipts.len().saturating_add(parts) <= QUARANTINE_CLIENT_MAX_DOCUMENTS
            && used_bytes.saturating_add(bytes) <= QUARANTINE_CLIENT_MAX_BYTES)
    }

    /// Keeps operations of a client, each once. They are durable when this answers `true`. If there is no room for all
    /// of them, it keeps none and answers `false`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn quarantine(
        &self,
        tenant: &TenantId,
        client: &ClientId,
        undecidable: &[Undecidable<'_>],
    ) -> Result<bool, ServiceError> {
        let mut documents = Vec::with_capacity(undecidable.len());
        for undecidable in undecidable {
            let parts = documents_of(undecidable, client, self.host.now_ms());
            documents.extend(parts.map_err(|bad| StoreError::new(self.adapter(), "commit", ErrorKind::Failed, bad))?);
        }
        let home = tenant.quarantine();
        let turn = self.writers.lane(&home, WriteTurn::default);
        // Of pushes that come at the same time, each sees what those before it have used up.
        let _turn = turn.lock().await;
        let bytes = undecidable.iter().map(|undecidable| undecidable.text.len()).sum();
        if !self.has_room_for(&home, client, undecidable.len(), bytes).await? {
            return Ok(false);
        }
        for documents in documents.chunks(QUARANTINE_COMMIT_MAX_DOCUMENTS) {
            self.commit_to_quarantine(&home, documents.iter().flatten().cloned().collect()).await?;
        }
        tracing::warn!(
            quarantine.operations = undecidable.len(),
            quarantine.client = client.as_str(),
            quarantine.tenant = tenant.as_str(),
            quarantine.reason = undecidable.first().map_or("", |first| &first.reason),
            "operations that cannot be decided are in quarantine",
        );
        Ok(true)
    }

    async fn commit_to_quarantine(&self, home: &TenantId, operations: Vec<Operation>) -> Result<(), ServiceError> {
        let (request, view) = (PushRequest::new(operations), self.rules.view_of_all());
        let (_, pushed) = self.commit_push(Caller::server(home), request, Quota::default(), view).await?;
        if matches!(pushed, Pushed::Decided(_)) {
            return Ok(());
        }
        let refused = "the quarantine refused an operation";
        Err(StoreError::new(self.adapter(), "commit", ErrorKind::Failed, refused).into())
    }

    /// A page of the operations in quarantine, the newest first. Each document has a part of the `text` with its place,
    /// beside the `reason`, the `clientId`, and the time of reception. The page continues before a sequence number.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn quarantined(&self, tenant: &TenantId, before_seq: Option<Seq>) -> Result<QueryPage, ServiceError> {
        Ok(self.store.query(&tenant.quarantine(), newest(kept(), before_seq)).await?)
    }

    /// Removes an operation from the quarantine, by the id of its document.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn release_from_quarantine(&self, tenant: &TenantId, id: &DocumentId) -> Result<(), ServiceError> {
        let home = tenant.quarantine();
        let found = self.store.document(&home, &DocumentKey { collection: kept(), id: id.clone() }).await?;
        match found {
            Some(document) => self.release(&home, &[&document]).await,
            None => Ok(()),
        }
    }

    /// Removes documents from a quarantine, with their receipts.
    async fn release(&self, home: &TenantId, documents: &[&LiveDocument]) -> Result<(), ServiceError> {
        let now_ms = self.host.now_ms();
        for documents in documents.chunks(QUARANTINE_RELEASE_MAX_DOCUMENTS) {
            let keys = documents.iter().flat_map(|document| {
                let client = string(&document.data, "clientId").and_then(|client| ClientId::parse(&client).ok());
                let receipt = client.map(|client| (receipts_of(&client), "receipt"));
                let collections = [Some((kept(), "document")), receipt].into_iter().flatten();
                collections.map(move |(collection, of)| (DocumentKey { collection, id: document.key.id.clone() }, of))
            });
            let deletes = keys.map(|(key, of)| Operation {
                id: OperationId::literal(&format!("quarantine-{of}-gone-{}", key.id)),
                change: Change::Delete,
                key,
                timestamp: time(now_ms),
                client_id: ClientId::server(),
                clock: [(ClientId::server(), 2)].into_iter().collect(),
            });
            self.commit_to_quarantine(home, deletes.collect()).await?;
        }
        Ok(())
    }

    /// Whether a principal that asks for a collection reads the quarantine of its tenant.
    pub(in crate::service) fn shows_quarantine(
        &self,
        principal: &Principal,
        view: &View,
        collection: &Collection,
    ) -> bool {
        self.has_quarantine
            && collection.as_str() == QUARANTINE
            && principal.role.permits(Action::Administer)
            && view.reads_all()
    }

    /// Removes the operations that were received until a time from a quarantine.
    pub(in crate::service) async fn expire_quarantine(
        &self,
        home: &TenantId,
        received_until_ms: UnixMs,
    ) -> Result<(), ServiceError> {
        let mut before_seq = None;
        loop {
            let page = self.store.query(home, newest(kept(), before_seq)).await?;
            let is_old = |document: &&LiveDocument| {
                let received_at_ms: Option<u64> = number(&document.data, "receivedAtMs");
                received_at_ms.is_none_or(|time| UnixMs::new(time) <= received_until_ms)
            };
            let old: Vec<&LiveDocument> = page.documents.iter().filter(is_old).collect();
            self.release(home, &old).await?;
            before_seq = page.more_before;
            if before_seq.is_none() {
                return Ok(());
            }
        }
    }
}

/// The collection that has the operations.
fn kept() -> Collection {
    Collection::literal(QUARANTINE)
}

/// The collection that has a small document for each one that a client has in quarantine, with its bytes. So the share
/// of a client is found without the operations themselves.
fn receipts_of(client: &ClientId) -> Collection {
    Collection::literal(&format!("{QUARANTINE}:{}", sha256_hex(client.as_str())))
}

fn newest(collection: Collection, before_seq: Option<Seq>) -> Query {
    Query {
        collection,
        filter: Filter::default(),
        max_documents: QUERY_MAX_DOCUMENTS,
        before_seq,
        sort: None,
        with_clocks: false,
        view: View::default(),
    }
}

/// A number in the data of a document of the quarantine.
fn number<N: FromStr>(data: &Object, key: &str) -> Option<N> {
    data.members().ok()?.get(key)?.parse().ok()
}

/// A text in the data of a document of the quarantine.
fn string(data: &Object, key: &str) -> Option<String> {
    json::string(data.members().ok()?.get(key)?).ok().map(Cow::into_owned)
}

/// The time of an operation of the server.
fn time(now_ms: UnixMs) -> UnixMs {
    now_ms.clamp(UnixMs::new(1), UnixMs::new(INTEGER_MAX))
}

/// The inserts of the documents that keep an operation, each with that of its receipt. Their ids follow from its text,
/// so it is kept once.
///
/// # Errors
/// If a document has a text that no store could give back.
fn documents_of(
    undecidable: &Undecidable<'_>,
    client: &ClientId,
    now_ms: UnixMs,
) -> Result<Vec<[Operation; 2]>, BadJson> {
    let Undecidable { text, reason } = undecidable;
    let reason = printable(reason);
    let digest = sha256_hex(text);
    let parts = parts_of(text);
    let count = parts.len();
    let insert =
        |id: &str, collection: Collection, name: &str, data: &serde_json::Value| -> Result<Operation, BadJson> {
            let author = ClientId::server();
            let clock: VectorClock = [(author.clone(), 1)].into_iter().collect();
            Ok(Operation {
                id: OperationId::literal(id),
                change: Change::Insert(Object::parse(data.to_string())?),
                key: DocumentKey { collection, id: DocumentId::literal(name) },
                timestamp: time(now_ms),
                client_id: author,
                clock,
            })
        };
    let document = |(index, part): (usize, &str)| {
        let name = format!("{digest}-{}", index + 1);
        let data = json!({
            "text": part, "part": index + 1, "parts": count, "reason": reason, "clientId": client.as_str(),
            "receivedAtMs": now_ms.get(),
        });
        let receipt = json!({ "bytes": part.len() });
        Ok([
            insert(&format!("quarantine-{name}"), kept(), &name, &data)?,
            insert(&format!("quarantine-receipt-{name}"), receipts_of(client), &name, &receipt)?,
        ])
    };
    parts.into_iter().enumerate().map(document).collect()
}

/// The beginning of a reason, without control characters. It may have names that a client sent, and the words of an
/// application.
fn printable(reason: &str) -> String {
    let mut text = String::new();
    for character in reason.chars().filter(|character| !character.is_control()) {
        if text.len() + character.len_utf8() > QUARANTINE_REASON_MAX_BYTES {
            break;
        }
        text.push(character);
    }
    text
}

/// A text in parts of at most [`QUARANTINE_PART_MAX_BYTES`], at least one.
fn parts_of(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > QUARANTINE_PART_MAX_BYTES {
        let is_boundary = |place: &usize| rest.is_char_boundary(*place);
        let place = (1..=QUARANTINE_PART_MAX_BYTES).rev().find(is_boundary).unwrap_or(rest.len());
        let (part, behind) = rest.split_at(place);
        parts.push(part);
        rest = behind;
    }
    parts.push(rest);
    parts
}
