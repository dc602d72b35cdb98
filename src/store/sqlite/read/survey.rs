//! The survey of a tenant.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::core::names::TenantId;
use crate::core::numbers::Seq;
use crate::store::integers::signed;
use crate::store::sqlite::row::integer;
use crate::store::{Survey, SurveyRequest};

/// See [`crate::store::Store::survey`].
pub(in crate::store::sqlite) fn survey(
    connection: &mut Connection,
    tenant: &TenantId,
    request: &SurveyRequest,
) -> rusqlite::Result<Survey> {
    let transaction = connection.transaction()?;
    let head: Option<(Seq, Seq)> = transaction
        .prepare_cached("SELECT seq, horizon FROM heads WHERE tenant = ?1")?
        .query_row([tenant.as_str()], |row| Ok((integer(row, 0)?, integer(row, 1)?)))
        .optional()?;
    let Some((head, horizon)) = head else { return Ok(Survey::default()) };
    let oldest_received_ms = transaction
        .prepare_cached("SELECT received_at_ms FROM operations WHERE tenant = ?1 AND seq = ?2")?
        .query_row(params![tenant.as_str(), signed(horizon.next())], |row| integer(row, 0))
        .optional()?;
    let (since, until) = (signed(*request.active_ms.start()), signed(*request.active_ms.end()));
    let pulled = transaction
        .prepare_cached(
            "SELECT pulled_seq FROM clients WHERE tenant = ?1 AND seen_at_ms BETWEEN ?2 AND ?3
             ORDER BY pulled_seq LIMIT ?4",
        )?
        .query_map(params![tenant.as_str(), since, until, signed(request.max_clients as u64)], |row| integer(row, 0))?
        .collect::<rusqlite::Result<Vec<Seq>>>()?;
    Ok(Survey { head, horizon, oldest_received_ms, pulled })
}
