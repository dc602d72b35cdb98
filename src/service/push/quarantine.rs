//! The quarantine: operations of original clients that cannot be decided are kept, so that they do not stop the client.

use serde_json::json;

use crate::core::access::{Action, Principal, View};
use crate::core::clock::VectorClock;
use crate::core::decide::quota::{Quota, Usage};
use crate::core::filter::Filter;
use crate::core::json::{BadJson, Object};
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId, TenantId};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::operation::{Change, Operation};
use crate::core::text::sha256_hex;
use crate::limits::protocol::{INTEGER_MAX, QUERY_MAX_DOCUMENTS};
use crate::limits::service::{
    QUARANTINE_COMMIT_MAX_DOCUMENTS, QUARANTINE_MAX_BYTES, QUARANTINE_MAX_DOCUMENTS, QUARANTINE_PART_MAX_BYTES,
    QUARANTINE_REASON_MAX_BYTES,
};
use crate::service::hooks::Caller;
use crate::service::{PushRequest, Pushed, ServiceError, SyncService, Write};
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
    /// of a tenant has at most [`QUARANTINE_MAX_DOCUMENTS`] documents and [`QUARANTINE_MAX_BYTES`]. A push for which it
    /// has no room is refused.
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
        let request = LoadRequest { with_usage: true, ..LoadRequest::default() };
        let usage = self.store.load(&tenant.quarantine(), request).await?.usage;
        let Usage { documents, bytes: used_bytes, .. } = usage.unwrap_or_default();
        let parts = operations + bytes / QUARANTINE_PART_MAX_BYTES;
        // A text may become longer when it is a string in a document, and the log has it too.
        Ok(documents.saturating_add(parts as u64) <= QUARANTINE_MAX_DOCUMENTS as u64
            && used_bytes.saturating_add(4 * bytes as u64) <= QUARANTINE_MAX_BYTES as u64)
    }

    /// Keeps operations of a client, each once. They are durable when this answers.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn quarantine(
        &self,
        tenant: &TenantId,
        client: &ClientId,
        undecidable: &[Undecidable<'_>],
    ) -> Result<(), ServiceError> {
        let mut operations = Vec::with_capacity(undecidable.len());
        for undecidable in undecidable {
            let parts = documents_of(undecidable, client, self.host.now_ms());
            operations.extend(parts.map_err(|bad| StoreError::new(self.adapter(), "commit", ErrorKind::Failed, bad))?);
        }
        let home = tenant.quarantine();
        for operations in operations.chunks(QUARANTINE_COMMIT_MAX_DOCUMENTS) {
            let request = PushRequest::new(operations.to_vec());
            let view = self.rules.view_of_all();
            let (_, pushed) = self.commit_push(Caller::server(&home), request, Quota::default(), view).await?;
            if !matches!(pushed, Pushed::Decided(_)) {
                let refused = "the quarantine refused an operation";
                return Err(StoreError::new(self.adapter(), "commit", ErrorKind::Failed, refused).into());
            }
        }
        tracing::warn!(
            quarantine.operations = undecidable.len(),
            quarantine.client = client.as_str(),
            quarantine.tenant = tenant.as_str(),
            quarantine.reason = undecidable.first().map_or("", |first| &first.reason),
            "operations that cannot be decided are in quarantine",
        );
        Ok(())
    }

    /// A page of the operations in quarantine, the newest first. Each document has a part of the `text` with its place,
    /// beside the `reason`, the `clientId`, and the time of reception. The page continues before a sequence number.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn quarantined(&self, tenant: &TenantId, before_seq: Option<Seq>) -> Result<QueryPage, ServiceError> {
        Ok(self.store.query(&tenant.quarantine(), newest(before_seq)).await?)
    }

    /// Removes an operation from the quarantine, by the id of its document.
    ///
    /// # Errors
    /// The errors of [`SyncService::write`].
    pub async fn release_from_quarantine(&self, tenant: &TenantId, id: &DocumentId) -> Result<(), ServiceError> {
        let key = DocumentKey { collection: Collection::literal(QUARANTINE), id: id.clone() };
        self.write(&tenant.quarantine(), &Write::delete(key)).await.map(drop)
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

    /// Removes the operations that were received until a time from the quarantine.
    pub(in crate::service) async fn expire_quarantine(
        &self,
        tenant: &TenantId,
        received_until_ms: UnixMs,
    ) -> Result<(), ServiceError> {
        let mut before_seq = None;
        loop {
            let page = self.quarantined(tenant, before_seq).await?;
            let received_at_ms = |data: &Object| {
                let members = data.members().ok()?;
                members.get("receivedAtMs")?.parse::<u64>().ok().map(UnixMs::new)
            };
            let is_old = |data: &Object| received_at_ms(data).is_none_or(|time| time <= received_until_ms);
            for document in page.documents.iter().filter(|document| is_old(&document.data)) {
                self.release_from_quarantine(tenant, &document.key.id).await?;
            }
            before_seq = page.more_before;
            if before_seq.is_none() {
                return Ok(());
            }
        }
    }
}

fn newest(before_seq: Option<Seq>) -> Query {
    Query {
        collection: Collection::literal(QUARANTINE),
        filter: Filter::default(),
        max_documents: QUERY_MAX_DOCUMENTS,
        before_seq,
        sort: None,
        with_clocks: false,
        view: View::default(),
    }
}

/// The inserts of the documents that keep an operation. Their ids follow from its text, so it is kept once.
///
/// # Errors
/// If a document has a text that no store could give back.
fn documents_of(undecidable: &Undecidable<'_>, client: &ClientId, now_ms: UnixMs) -> Result<Vec<Operation>, BadJson> {
    let Undecidable { text, reason } = undecidable;
    let reason = printable(reason);
    let digest = sha256_hex(text);
    let parts = parts_of(text);
    let count = parts.len();
    let insert = |(index, part): (usize, &str)| {
        let data = json!({
            "text": part, "part": index + 1, "parts": count, "reason": reason, "clientId": client.as_str(),
            "receivedAtMs": now_ms.get(),
        });
        let author = ClientId::server();
        let clock: VectorClock = [(author.clone(), 1)].into_iter().collect();
        Ok(Operation {
            id: OperationId::literal(&format!("quarantine-{digest}-{}", index + 1)),
            change: Change::Insert(Object::parse(data.to_string())?),
            key: DocumentKey {
                collection: Collection::literal(QUARANTINE),
                id: DocumentId::literal(&format!("{digest}-{}", index + 1)),
            },
            timestamp: now_ms.clamp(UnixMs::new(1), UnixMs::new(INTEGER_MAX)),
            client_id: author,
            clock,
        })
    };
    parts.into_iter().enumerate().map(insert).collect()
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
