//! Opens connections and brings the schema up to date.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::file::{self, PathError};
use crate::limits::store::sqlite::{WAL_KEPT_MAX_BYTES, WAL_MAX_ATTEMPTS};

/// The steps from an empty file to the current schema. The file's `user_version` is the number of completed steps.
const MIGRATIONS: [&str; 9] = [
    include_str!("migrations/0001_schema.sql"),
    include_str!("migrations/0002_live_documents.sql"),
    include_str!("migrations/0003_usage.sql"),
    include_str!("migrations/0004_feeds.sql"),
    include_str!("migrations/0005_owners.sql"),
    include_str!("migrations/0006_rules.sql"),
    include_str!("migrations/0007_resolutions.sql"),
    include_str!("migrations/0008_stamps.sql"),
    include_str!("migrations/0009_retention.sql"),
];

/// The mark of our files among all SQLite databases ("sync" in ASCII).
const APPLICATION_ID: i32 = 0x7379_6e63;

/// How long a connection waits for another process that holds a lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two such attempts.
const WAL_PAUSE: Duration = Duration::from_millis(50);

/// The page cache of the writing connection, in KiB. It keeps its pages from one commit to the next.
const WRITER_CACHE_KIB: i32 = 16 * 1024;

/// The page cache of a reading connection, in KiB. A commit empties it, so a larger one would have little use.
const READER_CACHE_KIB: i32 = 4 * 1024;

/// After this many pages, the write-ahead log is copied to the file. A page that was written several times meanwhile is
/// copied once, with one flush of the file for all pages. SQLite's default of 1,000 is filled by a dozen large commits.
const CHECKPOINT_PAGES: i32 = 4_000;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// SQLite's own error.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// There is no file with this path, and none can be created.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The file system does not support a write-ahead log.
    #[error(
        "the file has no write-ahead log (its journal mode stays {0:?}), as on a network or read-only file system; \
         choose a path on a local disk"
    )]
    NoWriteAheadLog(String),
    /// The file cannot be written.
    #[error("the file is read-only")]
    ReadOnly,
    /// The file belongs to another program.
    #[error("the file is a database of another program")]
    Foreign,
    /// The file was written by a later version.
    #[error("the file has schema version {found}, this program knows versions up to {known}")]
    TooNew {
        /// The file's version.
        found: i64,
        /// The newest known version.
        known: usize,
    },
}

/// The flags of every connection. Each connection is used by one thread.
pub(super) const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Opens the writing connection. Creates the file if it does not exist, and brings its schema up to date.
///
/// Several processes may do this at the same time, because each migration is one transaction.
pub(super) fn open_for_writing(path: &Path) -> Result<Connection, OpenError> {
    let mut connection =
        Connection::open_with_flags(file::without_scheme(path), FLAGS | OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if connection.is_readonly("main")? {
        return Err(OpenError::ReadOnly);
    }
    refuse_foreign(&mut connection)?;
    enter_wal_mode(&connection)?;
    // Deleted data are overwritten, in pages that stay in use and in those that become free; see `erase.rs`.
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT_MAX_BYTES)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    configure(&connection, WRITER_CACHE_KIB)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens a connection like [`open_for_reading`], whose statements fail instead of waiting for a lock.
pub(super) fn open_for_lookups(path: &Path) -> Result<Connection, OpenError> {
    let connection = open_for_reading(path)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

/// Opens a connection that only reads a file which [`open_for_writing`] has prepared.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, OpenError> {
    // SQLite opens it for writing, because even a reader of a WAL file may have to recover it. `query_only` forbids all
    // other writes.
    let connection = Connection::open_with_flags(file::without_scheme(path), FLAGS)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    configure(&connection, READER_CACHE_KIB)?;
    Ok(connection)
}

fn configure(connection: &Connection, cache_kib: i32) -> rusqlite::Result<()> {
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // A plan may not depend on the values of parameters. Otherwise SQLite would prepare a statement again for each new
    // value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn refuse_foreign(connection: &mut Connection) -> Result<(), OpenError> {
    // Both are read at one moment. Between two reads, another process could create the tables and the mark.
    let transaction = connection.transaction()?;
    let application_id: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application_id != APPLICATION_ID && (application_id != 0 || tables > 0) {
        return Err(OpenError::Foreign);
    }
    Ok(())
}

/// Changes to WAL mode. SQLite cannot do that on all file systems, and does not report an error then.
pub(super) fn enter_wal_mode(connection: &Connection) -> Result<(), OpenError> {
    let mut attempts_left = WAL_MAX_ATTEMPTS;
    loop {
        let change = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match change {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && attempts_left > 0 => {
                attempts_left -= 1;
                thread::sleep(WAL_PAUSE);
            }
            Ok(mode) if mode != "wal" => return Err(OpenError::NoWriteAheadLog(mode)),
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Refuses a database that is not one of ours, or that a later version has written.
pub(super) fn refuse_others(connection: &mut Connection) -> Result<(), OpenError> {
    refuse_foreign(connection)?;
    steps_taken(connection).map(drop)
}

/// How many steps a file has seen, which are not more than there are.
fn steps_taken(connection: &Connection) -> Result<usize, OpenError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len();
    let taken = usize::try_from(found).ok().filter(|taken| *taken <= known);
    taken.ok_or(OpenError::TooNew { found, known })
}

fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let known = MIGRATIONS.len();
    // A command beside a busy server does not wait for its locks if there is nothing to do.
    if steps_taken(connection)? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let taken = steps_taken(&transaction)?;
    for migration in &MIGRATIONS[taken..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", i64::try_from(known).unwrap_or(i64::MAX))?;
    Ok(transaction.commit()?)
}
