//! The commands that remove something.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::json;
use syncflow_server::SyncService;
use syncflow_server::core::names::{ClientId, DocumentKey, TenantId};
use syncflow_server::limits::api::COMPACT_TIME_MAX_MS;
use syncflow_server::service::operator::{Forgotten, Operator};
use syncflow_server::store::{Erased, Expired};

use super::Done;
use super::look::for_each;
use super::output::{Output, Progress, confirm};

pub(super) async fn compact(
    (service, operator): (&Arc<SyncService>, &Operator),
    tenant: Option<TenantId>,
    older_than_ms: u64,
    is_dry_run: bool,
    output: Output,
) -> Done {
    for_each(operator, tenant, async |tenant| {
        let (mut removed, mut expired) = (0, Expired::default());
        if is_dry_run {
            removed = operator.would_compact(&tenant, older_than_ms).await?;
            expired = operator.would_expire(&tenant, older_than_ms).await?;
        } else {
            let mut progress = Progress::new();
            loop {
                let done = service.remove_old(&tenant, older_than_ms, COMPACT_TIME_MAX_MS).await?;
                removed += done.entries;
                expired = expired.plus(done.expired);
                if done.is_finished {
                    break;
                }
                progress.show(|| format!("{removed} log entries"));
            }
            progress.end();
        }
        let Expired { tombstones, remains } = expired;
        let row = json!({
            "tenant": tenant.as_str(),
            "removedEntries": removed,
            "removedTombstones": tombstones,
            "removedRemains": remains,
            "isDryRun": is_dry_run,
        });
        let of = if is_dry_run { "to remove" } else { "removed" };
        let mut text = format!("{tenant}: log entries {of} {removed}");
        if expired.rows() > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, ", tombstones {tombstones}, remains of earlier entries {remains}");
        }
        output.row(&row, &text)?;
        Ok(true)
    })
    .await
}

pub(super) async fn forget_client(
    operator: &Operator,
    tenant: &TenantId,
    client: &ClientId,
    is_confirmed: bool,
    output: Output,
) -> Done {
    let question = format!("Forget the client {client} of the tenant {tenant}? It pulls everything again.");
    if !confirm(&question, is_confirmed)? {
        return Ok(false);
    }
    let is_known = operator.forget_client(tenant, client).await? == Forgotten::Done;
    let row = json!({ "tenant": tenant.as_str(), "clientId": client.as_str(), "isForgotten": is_known });
    output.row(&row, if is_known { "forgotten" } else { "the server remembers no such client" })?;
    Ok(is_known)
}

/// How long the steps of an erasure take before the next count is shown, in milliseconds.
const ERASE_TURN_MS: u64 = 1_000;

pub(super) async fn tenant(operator: &Operator, tenant: &TenantId, is_confirmed: bool, output: Output) -> Done {
    let counters = operator.report(tenant).await?.counters;
    let question = format!(
        "Erase the tenant {tenant} with {} documents and {} log entries? Nothing of it is left.",
        counters.documents, counters.operations
    );
    if !confirm(&question, is_confirmed)? {
        return Ok(false);
    }
    let (mut all, mut progress) = (Erased::default(), Progress::new());
    while !all.is_finished {
        let done = operator.erase_tenant(tenant, ERASE_TURN_MS).await?;
        all = Erased {
            documents: all.documents + done.documents,
            entries: all.entries + done.entries,
            ids: all.ids + done.ids,
            clients: all.clients + done.clients,
            is_finished: done.is_finished,
        };
        progress.show(|| format!("{} documents, {} log entries, {} ids", all.documents, all.entries, all.ids));
    }
    progress.end();
    let Erased { documents, entries, ids, clients, .. } = all;
    let row = json!({
        "tenant": tenant.as_str(), "documents": documents, "logEntries": entries, "ids": ids, "clients": clients,
    });
    let text =
        format!("{tenant}: removed (documents {documents}, log entries {entries}, ids {ids}, clients {clients})");
    output.row(&row, &text)?;
    Ok(true)
}

pub(super) async fn document(
    operator: &Operator,
    tenant: &TenantId,
    key: &DocumentKey,
    is_confirmed: bool,
    output: Output,
) -> Done {
    let question =
        format!("Erase the document {}/{} of the tenant {tenant}, with its data in the log?", key.collection, key.id);
    if !confirm(&question, is_confirmed)? {
        return Ok(false);
    }
    let erased = operator.erase_document(tenant, key).await?;
    let row = json!({
        "tenant": tenant.as_str(),
        "collection": key.collection.as_str(),
        "docId": key.id.as_str(),
        "isDeleted": erased.is_deleted,
        "scrubbedEntries": erased.scrubbed_entries,
    });
    let text = format!(
        "{} (log entries overwritten {})",
        if erased.is_deleted { "deleted" } else { "there is no such document" },
        erased.scrubbed_entries
    );
    output.row(&row, &text)?;
    Ok(true)
}
