//! The floor of PostgreSQL: prepared statements, one round trip and one commit for each batch.

use std::cell::Cell;

use async_trait::async_trait;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::{Floor, HeadRow};
use crate::Result;
use crate::database::connect;
use crate::load::{Load, Watch, drive};
use crate::site::TENANT;
use crate::work::{AUTHOR, COLLECTION, Made};

const WRITE: &str = r#"
    WITH batch AS MATERIALIZED (
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
            AS b (seq, id, doc_id, data, "timestamp", clock)
    ), {head}
    ids AS (
        INSERT INTO syncflow_operation_ids (tenant, id) SELECT $7, b.id FROM batch AS b
    ), documents AS (
        INSERT INTO syncflow_documents AS d (
            tenant, collection, doc_id, rev, seq, fingerprint, body, data, operation_id, client_id, "timestamp", clock
        )
        SELECT $7, $8, b.doc_id, 1, b.seq, b.seq << 24, b.data, b.data::jsonb, b.id, $9, b."timestamp", b.clock
        FROM batch AS b
        ON CONFLICT (tenant, collection, doc_id) DO UPDATE SET
            rev = d.rev + 1, seq = excluded.seq, fingerprint = excluded.fingerprint, body = excluded.body,
            data = excluded.data, operation_id = excluded.operation_id, client_id = excluded.client_id,
            "timestamp" = excluded."timestamp", clock = excluded.clock
    )
    INSERT INTO syncflow_operations (
        tenant, seq, fingerprint, id, kind, collection, doc_id, data, "timestamp", client_id, clock, received_at_ms
    )
    SELECT $7, b.seq, b.seq << 24, b.id, 'update', $8, b.doc_id, b.data, b."timestamp", $9, b.clock, b."timestamp"
    FROM batch AS b"#;

/// It comes first in the text because the first one is executed last, so the row is locked for the shortest time.
const WRITE_HEAD: &str = "
    head AS (
        UPDATE syncflow_heads AS h SET seq = h.seq + (SELECT count(*) FROM batch) WHERE h.tenant = $7
    ),";

const PAGE: &str = r#"
    SELECT seq, id, kind, collection, doc_id, data, "timestamp", client_id, clock FROM syncflow_operations
    WHERE tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3"#;

const NEWEST: &str = r#"
    SELECT doc_id, rev, body FROM syncflow_documents
    WHERE tenant = $1 COLLATE "POSIX" AND collection = $2 AND body IS NOT NULL ORDER BY seq DESC LIMIT $3"#;

/// A filled schema, and the number of its last operation.
#[derive(Debug)]
pub(crate) struct PostgresFloor {
    url: String,
    schema: String,
    last_seq: Cell<u64>,
}

struct Connection {
    client: Client,
    statement: Statement,
    batches: std::vec::IntoIter<Vec<Made>>,
    place: i64,
}

impl PostgresFloor {
    pub(crate) fn new(url: String, schema: String, rows: u64) -> Self {
        Self { url, schema, last_seq: Cell::new(rows) }
    }

    async fn connect(&self, sql: &str, batches: Vec<Vec<Made>>) -> Result<Connection> {
        let client = connect(&self.url).await?;
        client.batch_execute(&format!("SET search_path = {}", self.schema)).await?;
        let statement = client.prepare(sql).await?;
        Ok(Connection { client, statement, batches: batches.into_iter(), place: 0 })
    }

    async fn connections(&self, sql: &str, clients: u64) -> Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(self.connect(sql, Vec::new()).await?);
        }
        Ok(connections)
    }
}

#[async_trait(?Send)]
impl Floor for PostgresFloor {
    async fn push(&self, batches_of_clients: Vec<Vec<Vec<Made>>>, head: HeadRow, watch: Watch) -> Result<Load> {
        let sql = WRITE.replace("{head}", if head == HeadRow::Written { WRITE_HEAD } else { "" });
        let mut connections = Vec::new();
        for batches in batches_of_clients {
            connections.push(self.connect(&sql, batches).await?);
        }
        drive(&mut connections, watch, async |connection| {
            let Some(batch) = connection.batches.next() else { return Ok(None) };
            let first = self.last_seq.get() + 1;
            self.last_seq.set(self.last_seq.get() + batch.len() as u64);
            write(connection, &batch, first).await?;
            Ok(Some(batch.len() as u64))
        })
        .await
    }

    async fn pull(&self, clients: u64, page_rows: u64, watch: Watch) -> Result<Load> {
        let mut connections = self.connections(PAGE, clients).await?;
        let limit = i64::try_from(page_rows)?;
        drive(&mut connections, watch, async |Connection { client, statement, place, .. }| {
            let rows = client.query(&*statement, &[&TENANT, &*place, &limit]).await?;
            let mut bytes = 0;
            for row in &rows {
                for column in [1, 2, 3, 4, 5, 7, 8] {
                    bytes += row.try_get::<_, Option<&str>>(column)?.map_or(0, str::len);
                }
                bytes += usize::try_from(row.try_get::<_, i64>(6)? % 2)?;
                *place = row.try_get(0)?;
            }
            std::hint::black_box(bytes);
            if (rows.len() as u64) < page_rows {
                *place = 0;
            }
            Ok(Some(rows.len() as u64))
        })
        .await
    }

    async fn newest(&self, clients: u64, rows: u64, watch: Watch) -> Result<Load> {
        let mut connections = self.connections(NEWEST, clients).await?;
        let limit = i64::try_from(rows)?;
        drive(&mut connections, watch, async |Connection { client, statement, .. }| {
            let rows = client.query(&*statement, &[&TENANT, &COLLECTION, &limit]).await?;
            let mut bytes = 0;
            for row in &rows {
                bytes += row.try_get::<_, &str>(0)?.len() + row.try_get::<_, &str>(2)?.len();
                bytes += usize::try_from(row.try_get::<_, i64>(1)? % 2)?;
            }
            std::hint::black_box(bytes);
            Ok(Some(rows.len() as u64))
        })
        .await
    }
}

async fn write(connection: &Connection, batch: &[Made], first_seq: u64) -> Result<()> {
    let seqs: Vec<i64> =
        (0..batch.len() as u64).map(|index| i64::try_from(first_seq + index)).collect::<std::result::Result<_, _>>()?;
    let timestamps: Vec<i64> =
        batch.iter().map(|made| i64::try_from(made.timestamp())).collect::<std::result::Result<_, _>>()?;
    let ids: Vec<&str> = batch.iter().map(|made| made.id.as_str()).collect();
    let documents: Vec<&str> = batch.iter().map(|made| made.document.as_str()).collect();
    let data: Vec<&str> = batch.iter().map(|made| made.data.as_str()).collect();
    let clocks: Vec<String> = batch.iter().map(Made::clock).collect();
    let parameters: [&(dyn ToSql + Sync); 9] =
        [&seqs, &ids, &documents, &data, &timestamps, &clocks, &TENANT, &COLLECTION, &AUTHOR];
    connection.client.execute(&connection.statement, &parameters).await?;
    Ok(())
}
