//! The clients that pull.

use tokio_postgres::types::Type;

use crate::core::names::{ClientId, FromStore as _, TenantId};
use crate::core::progress::Progress;
use crate::store::ClientProgress;
use crate::store::postgres::connections::Parameter;
use crate::store::postgres::database::Database;
use crate::store::postgres::failure::Failure;
use crate::store::postgres::row::Columns;

/// See [`crate::store::Store::clients`]. The column is ordered by bytes.
pub(in crate::store::postgres) async fn clients(
    database: &Database,
    tenant: &TenantId,
    after: Option<&ClientId>,
    limit: usize,
) -> Result<Vec<ClientProgress>, Failure> {
    let sql = "SELECT c.client_id, c.pulled_seq, c.seen_at_ms FROM {schema}.syncflow_clients_after($1, $2, $3) AS c";
    // No name is empty, so all names come after the empty text.
    let after = after.map_or("", ClientId::as_str);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let parameters: [Parameter<'_>; 3] = [(&tenant.as_str(), Type::TEXT), (&after, Type::TEXT), (&limit, Type::INT8)];
    let rows = database.rows(sql, &parameters).await?;
    let client = |row| {
        let mut columns = Columns::of(row);
        let id = ClientId::from_store(columns.text()?);
        Ok((id, Progress { pulled_seq: columns.integer()?, seen_at_ms: columns.integer()? }))
    };
    rows.iter().map(client).collect()
}
