//! The requests of retention.

use tokio_postgres::types::Type;

use crate::core::cursor::Position;
use crate::core::decide::RESERVED_IDS;
use crate::core::names::TenantId;
use crate::core::numbers::{Seq, UnixMs};
use crate::core::retention::Expiry;
use crate::store::integers::signed;
use crate::store::postgres::connections::Parameter;
use crate::store::postgres::database::Database;
use crate::store::postgres::failure::Failure;
use crate::store::postgres::read::row_limit;
use crate::store::postgres::row::Columns;
use crate::store::{ExpireStep, Expired};

/// See [`crate::store::Store::aged_place`].
pub(in crate::store::postgres) async fn aged_place(
    database: &Database,
    tenant: &TenantId,
    received_until_ms: UnixMs,
    up_to: Seq,
) -> Result<Option<Position>, Failure> {
    // The place after it must be a number too.
    let up_to = signed(up_to.min(Seq::AFTER_ALL.previous()));
    let parameters: [Parameter<'_>; 3] =
        [(&tenant.as_str(), Type::TEXT), (&signed(received_until_ms), Type::INT8), (&up_to, Type::INT8)];
    let rows = database.rows("SELECT * FROM {schema}.syncflow_aged_place($1, $2, $3)", &parameters).await?;
    rows.first().map(|row| Columns::of(row).position()).transpose()
}

/// See [`crate::store::Store::expire`].
pub(in crate::store::postgres) async fn expire(
    database: &Database,
    tenant: &TenantId,
    step: ExpireStep,
) -> Result<Expired, Failure> {
    let Expiry { floor, tombstones_up_to, remains_before } = step.expiry;
    let parameters: [Parameter<'_>; 7] = [
        (&tenant.as_str(), Type::TEXT),
        (&signed(floor.seq), Type::INT8),
        (&signed(floor.fingerprint.to_number()), Type::INT8),
        (&signed(tombstones_up_to), Type::INT8),
        (&signed(remains_before), Type::INT8),
        (&row_limit(step.max_rows), Type::INT8),
        (&RESERVED_IDS.start, Type::TEXT),
    ];
    let row = database.row("SELECT * FROM {schema}.syncflow_expire($1, $2, $3, $4, $5, $6, $7)", &parameters).await?;
    read_expired(&mut Columns::of(&row))
}

/// See [`crate::store::Store::count_expired`].
pub(in crate::store::postgres) async fn count_expired(
    database: &Database,
    tenant: &TenantId,
    expiry: Expiry,
) -> Result<Expired, Failure> {
    let parameters: [Parameter<'_>; 3] = [
        (&tenant.as_str(), Type::TEXT),
        (&signed(expiry.tombstones_up_to), Type::INT8),
        (&signed(expiry.remains_before), Type::INT8),
    ];
    let row = database.row("SELECT * FROM {schema}.syncflow_count_expired($1, $2, $3)", &parameters).await?;
    read_expired(&mut Columns::of(&row))
}

fn read_expired(columns: &mut Columns<'_>) -> Result<Expired, Failure> {
    Ok(Expired { tombstones: columns.integer()?, remains: columns.integer()? })
}
