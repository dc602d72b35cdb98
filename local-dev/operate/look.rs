//! The commands that only look.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use syncflow_server::SyncService;
use syncflow_server::core::cursor::Position;
use syncflow_server::core::names::{DocumentKey, TenantId};
use syncflow_server::core::numbers::{Seq, UnixMs};
use syncflow_server::limits::protocol::{DAY_MS, PAGE_MAX_OPERATIONS};
use syncflow_server::limits::service::CLIENT_ACTIVE_MS;
use syncflow_server::service::operator::{Operator, Verified, VerifyProgress};
use syncflow_server::store::{AuditEntry, ClientRow};

use super::Done;
use super::output::{Output, Progress};

fn now_ms() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Calls a function with every tenant, or with one.
pub(super) async fn for_each(
    operator: &Operator,
    tenant: Option<TenantId>,
    mut work: impl AsyncFnMut(TenantId) -> Done,
) -> Done {
    if let Some(tenant) = tenant {
        return work(tenant).await;
    }
    let mut is_well = true;
    let mut after = None;
    loop {
        let tenants = operator.tenants(after.as_ref()).await?;
        let Some((last, _)) = tenants.last() else { return Ok(is_well) };
        after = Some(last.clone());
        for (tenant, _) in tenants {
            is_well &= work(tenant).await?;
        }
    }
}

pub(super) async fn tenants(operator: &Operator, output: Output) -> Done {
    let mut after = None;
    loop {
        let tenants = operator.tenants(after.as_ref()).await?;
        let Some((last, _)) = tenants.last() else { return Ok(true) };
        after = Some(last.clone());
        for (tenant, Position { seq, .. }) in tenants {
            let row = json!({ "tenant": tenant.as_str(), "seq": seq.get() });
            output.row(&row, tenant.as_str())?;
        }
    }
}

pub(super) async fn stats(operator: &Operator, tenant: Option<TenantId>, output: Output) -> Done {
    for_each(operator, tenant, async |tenant| {
        let report = operator.report(&tenant).await?;
        let oldest_ms = report.oldest_received_at_ms.map(|at| now_ms().ms_since(at));
        let row = json!({
            "tenant": tenant.as_str(),
            "documents": report.counters.documents,
            "bytes": report.counters.bytes,
            "logEntries": report.counters.operations,
            "unsyncedOperations": report.unsynced_operations,
            "operations": report.head.position.seq.get(),
            "horizon": report.head.horizon.get(),
            "oldestEntryMs": oldest_ms,
            "clients": report.clients.remembered,
            "clientOwners": report.clients.owned,
        });
        let text = format!(
            "{tenant}: documents {}, bytes {}, log entries {}, unsynced {}, operations ever {}, clients {}",
            report.counters.documents,
            report.counters.bytes,
            report.counters.operations,
            report.unsynced_operations,
            report.head.position.seq,
            report.clients.remembered,
        );
        output.row(&row, &text)?;
        Ok(true)
    })
    .await
}

/// A time that has passed, in the largest unit that fits.
fn ago(milliseconds: u64) -> String {
    const HOUR_MS: u64 = DAY_MS / 24;
    let (count, unit) = match milliseconds {
        DAY_MS.. => (milliseconds / DAY_MS, "d"),
        HOUR_MS.. => (milliseconds / HOUR_MS, "h"),
        _ => (milliseconds / (HOUR_MS / 60), "min"),
    };
    format!("{count} {unit} ago")
}

pub(super) async fn clients(operator: &Operator, tenant: &TenantId, output: Output) -> Done {
    let head = operator.report(tenant).await?.head.position.seq;
    let mut after = None;
    loop {
        let rows = operator.clients(tenant, after.as_ref()).await?;
        let Some(last) = rows.last() else { return Ok(true) };
        after = Some(last.client_id.clone());
        for row in &rows {
            let (json, text) = client(row, head);
            output.row(&json, &text)?;
        }
    }
}

/// How far a client has come. It is stuck if it pulled within the last day, and has more to pull than a page holds.
fn client(row: &ClientRow, head: Seq) -> (Value, String) {
    let subject = row.owner.as_ref().and_then(|owner| owner.subject.as_ref()).map(ToString::to_string);
    let seen = row.pulls.as_ref().filter(|(progress, _)| progress.seen_at_ms > UnixMs::EPOCH);
    let silent_ms = seen.map(|(progress, _)| now_ms().ms_since(progress.seen_at_ms));
    let lag = seen.map(|(progress, _)| head.entries_since(progress.pulled_seq));
    let state = match (silent_ms, lag) {
        (None, _) | (_, None) if row.pulls.is_some() => "forgotten",
        (None, _) | (_, None) => "pushes",
        (Some(silent_ms), _) if silent_ms > CLIENT_ACTIVE_MS => "silent",
        (Some(silent_ms), Some(lag)) if silent_ms < DAY_MS && lag > PAGE_MAX_OPERATIONS as u64 => "stuck",
        (_, Some(0)) => "current",
        _ => "behind",
    };
    let json = json!({
        "clientId": row.client_id.as_str(),
        "subject": subject,
        "state": state,
        "lag": lag,
        "pulledSeq": seen.map(|(progress, _)| progress.pulled_seq.get()),
        "seenAtMs": seen.map(|(progress, _)| progress.seen_at_ms.get()),
        "isOriginal": row.pulls.as_ref().is_some_and(|(_, places)| places.greatest_given() > UnixMs::EPOCH),
    });
    let text = format!(
        "{}: {state}{}{}{}",
        row.client_id,
        lag.map(|lag| format!(", lag {lag}")).unwrap_or_default(),
        silent_ms.map(|ms| format!(", seen {}", ago(ms))).unwrap_or_default(),
        subject.map(|subject| format!(", of {subject}")).unwrap_or_default(),
    );
    (json, text)
}

/// JSON that keeps its bytes.
fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DocumentRow {
    collection: String,
    doc_id: String,
    rev: u64,
    deleted: bool,
    operation_id: String,
    client_id: String,
    timestamp: u64,
    vector_clock: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
}

pub(super) async fn document(service: &SyncService, tenant: &TenantId, key: &DocumentKey, output: Output) -> Done {
    let Some(document) = service.document_state(tenant, key).await? else {
        output.row(&Value::Null, "there is no such document, and no tombstone of one")?;
        return Ok(false);
    };
    let row = DocumentRow {
        collection: key.collection.to_string(),
        doc_id: key.id.to_string(),
        rev: document.rev.get(),
        deleted: document.is_deleted(),
        operation_id: document.operation_id.to_string(),
        client_id: document.client_id.to_string(),
        timestamp: document.timestamp.get(),
        vector_clock: raw(document.clock.json().as_str()),
        data: document.data.as_ref().and_then(|data| raw(data.as_str())),
    };
    print(&row, output)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HistoryRow {
    seq: u64,
    id: String,
    r#type: &'static str,
    client_id: String,
    subject: Option<String>,
    timestamp: u64,
    received_at_ms: u64,
    vector_clock: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Box<RawValue>>,
}

pub(super) async fn history(operator: &Operator, tenant: &TenantId, key: &DocumentKey, output: Output) -> Done {
    let (mut after, mut count) = (Seq::START, 0);
    loop {
        let page = operator.history(tenant, key, after).await?;
        for AuditEntry { entry, received_at_ms, .. } in &page.entries {
            count += 1;
            let row = HistoryRow {
                seq: entry.seq.get(),
                id: entry.id.to_string(),
                r#type: entry.kind().as_str(),
                client_id: entry.client_id.to_string(),
                subject: entry.subject.as_ref().map(ToString::to_string),
                timestamp: entry.timestamp.get(),
                received_at_ms: received_at_ms.get(),
                vector_clock: raw(entry.clock.as_str()),
                data: entry.data().and_then(|data| raw(data.as_str())),
                resolution: entry.resolution.as_ref().and_then(|resolution| raw(resolution.as_str())),
            };
            print(&row, output)?;
        }
        let Some(next) = page.next else {
            if count == 0 && !output.as_json {
                let why = format!("the log has no operation of it; history up to number {} is compacted", page.horizon);
                output.row(&Value::Null, &why)?;
            }
            return Ok(count > 0);
        };
        after = next;
    }
}

/// Prints a row whose JSON keeps its bytes: in one line, or over several for people.
fn print(row: &impl Serialize, output: Output) -> Done {
    use std::io::Write as _;

    let text = if output.as_json { serde_json::to_string(row) } else { serde_json::to_string_pretty(row) };
    writeln!(std::io::stdout(), "{}", text.map_err(std::io::Error::other)?)?;
    Ok(true)
}

pub(super) async fn verify(operator: &Operator, tenant: Option<TenantId>, output: Output) -> Done {
    for_each(operator, tenant, async |tenant| {
        let mut progress = Progress::of_steps();
        let mut watch = |at: VerifyProgress| {
            progress.show_steps(at.done, at.total, || format!("{tenant}, log entries {}", at.entries));
        };
        let verified = operator.verify_watched(&tenant, &mut watch).await?;
        progress.end();
        let findings: Vec<Value> = verified
            .findings
            .iter()
            .map(|finding| json!({ "fault": finding.fault.as_str(), "what": finding.what }))
            .collect();
        let row = json!({
            "tenant": tenant.as_str(),
            "entries": verified.entries,
            "documents": verified.documents,
            "findingCount": verified.finding_count,
            "findings": findings,
            "isComplete": verified.is_complete,
            "areCountersChecked": verified.are_counters_checked,
        });
        output.row(&row, &text_of(&tenant, &verified))?;
        Ok(verified.finding_count == 0 && verified.is_complete)
    })
    .await
}

fn text_of(tenant: &TenantId, verified: &Verified) -> String {
    let Verified { entries, documents, finding_count, .. } = verified;
    if !verified.is_complete {
        return format!("{tenant}: it was compacted again and again meanwhile; verify it later");
    }
    let mut text = match finding_count {
        0 => format!("{tenant}: well (log entries {entries}, documents {documents})"),
        count => format!("{tenant}: faults {count} (log entries {entries}, documents {documents})"),
    };
    if !verified.are_counters_checked && *finding_count == 0 {
        text.push_str("; its counters were not checked, because it was written to meanwhile");
    }
    for finding in &verified.findings {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {finding}");
    }
    text
}
