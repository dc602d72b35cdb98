//! The survey of a tenant.

use tokio_postgres::types::Type;

use crate::core::names::TenantId;
use crate::store::integers::{signed, unsigned};
use crate::store::postgres::connections::Parameter;
use crate::store::postgres::database::Database;
use crate::store::postgres::failure::Failure;
use crate::store::postgres::row::Columns;
use crate::store::{Survey, SurveyRequest};

/// See [`crate::store::Store::survey`]. The end of the range of times stands in a form that no index serves, as in the
/// statistics.
pub(in crate::store::postgres) async fn survey(
    database: &Database,
    tenant: &TenantId,
    request: &SurveyRequest,
) -> Result<Survey, Failure> {
    let sql = "SELECT h.seq, h.horizon, (
                   SELECT o.received_at_ms FROM {schema}.syncflow_operations AS o
                   WHERE o.tenant OPERATOR(pg_catalog.=) $1
                       AND o.seq OPERATOR(pg_catalog.=) (h.horizon OPERATOR(pg_catalog.+) 1)
               ) AS oldest_received_ms, (
                   SELECT pg_catalog.array_agg(behind.pulled_seq ORDER BY behind.pulled_seq) FROM (
                       SELECT c.pulled_seq FROM {schema}.syncflow_clients AS c
                       WHERE c.tenant OPERATOR(pg_catalog.=) ($1 COLLATE pg_catalog.\"POSIX\")
                           AND c.seen_at_ms OPERATOR(pg_catalog.>=) $2
                           AND c.seen_at_ms OPERATOR(pg_catalog.-) $3 OPERATOR(pg_catalog.<=) 0
                       ORDER BY c.pulled_seq LIMIT $4
                   ) AS behind
               ) AS pulled_seqs
               FROM {schema}.syncflow_heads AS h WHERE h.tenant OPERATOR(pg_catalog.=) $1";
    let (since_ms, until_ms) = (signed(*request.active_ms.start()), signed(*request.active_ms.end()));
    let max_clients = signed(request.max_clients as u64);
    let parameters: [Parameter<'_>; 4] =
        [(&tenant.as_str(), Type::TEXT), (&since_ms, Type::INT8), (&until_ms, Type::INT8), (&max_clients, Type::INT8)];
    let rows = database.rows(sql, &parameters).await?;
    let Some(row) = rows.first() else { return Ok(Survey::default()) };
    let mut columns = Columns::of(row);
    let (head, horizon) = (columns.integer()?, columns.integer()?);
    let oldest_received_ms = columns.optional_integer()?;
    // There is no array of nothing.
    let pulled: Option<Vec<i64>> = columns.take()?;
    let pulled = pulled.unwrap_or_default().into_iter().map(unsigned).collect::<Result<_, _>>();
    let pulled = pulled.map_err(|negative| columns.damaged(negative))?;
    Ok(Survey { head, horizon, oldest_received_ms, pulled })
}
