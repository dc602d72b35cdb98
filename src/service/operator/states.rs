//! The documents of a page with all that the page does not show.

use super::Operator;
use crate::core::decide::StoredStamps;
use crate::core::document::Document;
use crate::core::names::{DocumentKey, TenantId};
use crate::core::operation::LogEntry;
use crate::limits::protocol::PUSH_LOADED_MAX_BYTES;
use crate::store::{LoadRequest, Result};

impl Operator {
    /// Reads the documents of a page as they are now, in parts that fit the memory. `each` is called with the entry of
    /// the page, the document, and what is kept with it for resolutions.
    pub(super) async fn load_page(
        &self,
        tenant: &TenantId,
        entries: &[LogEntry],
        mut each: impl FnMut(&LogEntry, &Document, &StoredStamps),
    ) -> Result<()> {
        let mut parts = vec![entries];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let keys: Vec<DocumentKey> = part.iter().map(|entry| entry.key.clone()).collect();
            let request = LoadRequest {
                keys,
                max_bytes: PUSH_LOADED_MAX_BYTES,
                with_labels: true,
                with_stamps: true,
                ..LoadRequest::default()
            };
            let mut loaded = self.service.store.load(tenant, request).await?;
            if loaded.is_cut && part.len() > 1 {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
                continue;
            }
            for entry in part {
                if let Some(document) = loaded.documents.remove(&entry.key) {
                    each(entry, &document, &loaded.stamps.remove(&entry.key).unwrap_or_default());
                }
            }
        }
        Ok(())
    }
}
