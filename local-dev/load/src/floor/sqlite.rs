//! The floor of SQLite.
//!
//! SQLite has one writer at a time. So for any number of clients, the fastest way to write their batches is one
//! connection that never waits for another.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};

use super::{Floor, HeadRow};
use crate::Result;
use crate::load::{Load, Watch};
use crate::site::TENANT;
use crate::work::{AUTHOR, COLLECTION, Made};

/// A filled database, and the number of its last operation.
#[derive(Debug)]
pub(crate) struct SqliteFloor {
    path: PathBuf,
    last_seq: Cell<u64>,
}

impl SqliteFloor {
    pub(crate) fn new(path: PathBuf, rows: u64) -> Self {
        Self { path, last_seq: Cell::new(rows) }
    }

    /// Lets each client read on its own thread and connection.
    fn read(
        &self,
        clients: u64,
        watch: Watch,
        read: fn(&Connection, &mut u64, u64) -> rusqlite::Result<u64>,
        rows: u64,
    ) -> Result<Load> {
        let running = watch.start();
        let path = &self.path;
        let client = || {
            let connection = open(path).map_err(|error| error.to_string())?;
            let (mut load, mut place) = (Load::default(), 0);
            while running.goes_on() {
                let step_began = Instant::now();
                let found = read(&connection, &mut place, rows).map_err(|error| error.to_string())?;
                load.add(found, step_began.elapsed());
            }
            Ok::<_, String>(load)
        };
        let loads: std::result::Result<Vec<Load>, String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a reader panicked".to_owned())?).collect()
        });
        let mut total = loads?.into_iter().fold(Load::default(), Load::merge);
        running.stop(&mut total);
        Ok(total)
    }
}

#[async_trait(?Send)]
impl Floor for SqliteFloor {
    async fn push(&self, batches_of_clients: Vec<Vec<Vec<Made>>>, head: HeadRow, watch: Watch) -> Result<Load> {
        let mut connection = open(&self.path)?;
        let mut load = Load::default();
        let running = watch.start();
        let longest = batches_of_clients.iter().map(Vec::len).max().unwrap_or_default();
        for turn in 0..longest {
            for batch in batches_of_clients.iter().filter_map(|batches| batches.get(turn)) {
                if !running.goes_on() {
                    break;
                }
                let step_began = Instant::now();
                write(&mut connection, batch, head, self.last_seq.get())?;
                self.last_seq.set(self.last_seq.get() + batch.len() as u64);
                load.add(batch.len() as u64, step_began.elapsed());
            }
        }
        running.stop(&mut load);
        Ok(load)
    }

    async fn pull(&self, clients: u64, page_rows: u64, watch: Watch) -> Result<Load> {
        self.read(clients, watch, read_page, page_rows)
    }

    async fn newest(&self, clients: u64, rows: u64, watch: Watch) -> Result<Load> {
        self.read(clients, watch, read_newest, rows)
    }
}

/// A connection like the server's, with the larger page cache of its writer.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -16 * 1024)?;
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

fn write(connection: &mut Connection, batch: &[Made], head: HeadRow, last_seq: u64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let text = |text: &str| Value::Text(text.to_owned());
    let number = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let insert = |head: &str, width: usize, tail: &str, values: Vec<Value>| {
        let row = format!("({})", vec!["?"; width].join(","));
        let sql = format!("{head} VALUES {} {tail}", vec![row; batch.len()].join(","));
        transaction.prepare_cached(&sql)?.execute(params_from_iter(values)).map(drop)
    };
    let ids = batch.iter().flat_map(|made| [text(TENANT), text(&made.id)]).collect();
    insert("INSERT INTO operation_ids (tenant, id)", 2, "", ids)?;
    let numbered = || batch.iter().zip(last_seq + 1..);
    let documents = numbered().flat_map(|(made, seq)| {
        [
            text(TENANT),
            text(COLLECTION),
            text(&made.document),
            number(1),
            number(seq),
            number(0),
            text(&made.id),
            number(made.timestamp()),
            text(AUTHOR),
            text(&made.clock()),
            text(&made.data),
        ]
    });
    insert(
        "INSERT INTO documents
             (tenant, collection, id, rev, seq, is_deleted, operation_id, timestamp, client_id, clock, data)",
        11,
        "ON CONFLICT DO UPDATE SET rev = rev + 1, seq = excluded.seq, is_deleted = excluded.is_deleted,
             operation_id = excluded.operation_id, timestamp = excluded.timestamp, client_id = excluded.client_id,
             clock = excluded.clock, data = excluded.data",
        documents.collect(),
    )?;
    let operations = numbered().flat_map(|(made, seq)| {
        [
            text(TENANT),
            number(seq),
            number(seq << 24),
            text(&made.id),
            text("update"),
            text(COLLECTION),
            text(&made.document),
            text(&made.data),
            number(made.timestamp()),
            text(AUTHOR),
            text(&made.clock()),
            number(made.timestamp()),
        ]
    });
    insert(
        "INSERT INTO operations
             (tenant, seq, fingerprint, id, kind, collection, document_id, data, timestamp, client_id, clock,
              received_at_ms)",
        12,
        "",
        operations.collect(),
    )?;
    if head == HeadRow::Written {
        transaction
            .prepare_cached("UPDATE heads SET seq = seq + ?2, operations = operations + ?2 WHERE tenant = ?1")?
            .execute(params![TENANT, i64::try_from(batch.len()).unwrap_or(i64::MAX)])?;
    }
    transaction.commit()
}

fn read_page(connection: &Connection, place: &mut u64, rows: u64) -> rusqlite::Result<u64> {
    let sql = "SELECT seq, id, kind, collection, document_id, data, timestamp, client_id, clock FROM operations
               WHERE tenant = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    let mut find = connection.prepare_cached(sql)?;
    let mut found = find.query(params![
        TENANT,
        i64::try_from(*place).unwrap_or(i64::MAX),
        i64::try_from(rows).unwrap_or(i64::MAX)
    ])?;
    let (mut count, mut bytes) = (0, 0);
    while let Some(row) = found.next()? {
        *place = u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
        for column in [1, 2, 3, 4, 5, 7, 8] {
            bytes += row.get_ref(column)?.as_str_or_null()?.map_or(0, str::len);
        }
        bytes += usize::try_from(row.get::<_, i64>(6)?).unwrap_or_default() % 2;
        count += 1;
    }
    std::hint::black_box(bytes);
    if count < rows {
        *place = 0;
    }
    Ok(count)
}

fn read_newest(connection: &Connection, _: &mut u64, rows: u64) -> rusqlite::Result<u64> {
    let sql = "SELECT id, rev, data FROM documents WHERE tenant = ?1 AND collection = ?2 AND is_deleted = 0
               ORDER BY seq DESC LIMIT ?3";
    let mut find = connection.prepare_cached(sql)?;
    let mut found = find.query(params![TENANT, COLLECTION, i64::try_from(rows).unwrap_or(i64::MAX)])?;
    let (mut count, mut bytes) = (0, 0);
    while let Some(row) = found.next()? {
        bytes += row.get_ref(0)?.as_str()?.len() + row.get_ref(2)?.as_str()?.len();
        bytes += usize::try_from(row.get::<_, i64>(1)?).unwrap_or_default() % 2;
        count += 1;
    }
    std::hint::black_box(bytes);
    Ok(count)
}
