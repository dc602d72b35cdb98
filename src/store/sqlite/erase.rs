//! Erasing: what was deleted is to be in no byte of the files.
//!
//! `secure_delete` overwrites deleted rows and free pages at once. That is not all: when SQLite moves rows between
//! neighbouring pages, their old bytes stay in the unused middle of a page, and in older pages of the write-ahead log.
//! So a compaction ends with a vacuum, which copies the live rows to new pages, and with a cut of that log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::schema::BUSY_TIMEOUT;

/// Largest file that is vacuumed, in bytes: it is copied in memory, while nobody writes.
const VACUUM_MAX_BYTES: i64 = 64 * 1024 * 1024;

/// The least pause between two vacuums, in durations of the first, so that many compactions in a row cost little more
/// than one.
const PAUSE_DURATIONS: u32 = 20;

/// How long erasing waits for other processes; what it leaves is for the next time.
const ERASE_TIMEOUT: Duration = Duration::from_millis(100);

/// When the file was vacuumed last.
#[derive(Debug, Default)]
pub(super) struct Eraser(Mutex<Option<Vacuum>>);

#[derive(Debug)]
struct Vacuum {
    ended_at: Instant,
    took: Duration,
}

impl Eraser {
    /// Erases what is left of deleted rows, as far as nobody is in the way.
    pub(super) fn erase(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.busy_timeout(ERASE_TIMEOUT)?;
        let erased = self.vacuum(connection).and_then(|()| cut_write_ahead_log(connection));
        connection.busy_timeout(BUSY_TIMEOUT)?;
        if let Err(error) = erased {
            // The compaction itself is done and stays so.
            tracing::debug!(error.cause = %error, "deleted rows are erased after the next compaction");
        }
        Ok(())
    }

    fn vacuum(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|last| last.ended_at.elapsed() < last.took * PAUSE_DURATIONS) {
            return Ok(());
        }
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        if pragma("page_count")?.saturating_mul(pragma("page_size")?) > VACUUM_MAX_BYTES {
            return Ok(());
        }
        let begun_at = Instant::now();
        connection.execute_batch("VACUUM")?;
        *last = Some(Vacuum { ended_at: Instant::now(), took: begun_at.elapsed() });
        Ok(())
    }
}

/// Copies the write-ahead log to the file and cuts it to nothing.
fn cut_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
