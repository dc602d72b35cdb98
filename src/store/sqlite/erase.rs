//! Erasing: what was deleted is to be in no byte of the files.
//!
//! `secure_delete` overwrites deleted rows and free pages at once. That is not all: when SQLite moves rows between
//! neighbouring pages, their old bytes stay in the unused middle of a page, and in older pages of the write-ahead log.
//! So a compaction ends with a vacuum, which copies the live rows to new pages, and with a cut of that log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::schema::BUSY_TIMEOUT;
use crate::store::Compaction;

/// Largest file that is vacuumed, in bytes: it is copied in memory, while nobody writes.
const VACUUM_MAX_BYTES: i64 = 64 * 1024 * 1024;

/// The least pause between two vacuums, in durations of the first, so that many compactions in a row cost little more
/// than one.
const PAUSE_DURATIONS: u32 = 20;

/// How long erasing waits for other processes; what it leaves is for the next time.
const ERASE_TIMEOUT: Duration = Duration::from_millis(100);

/// What is left to erase, and when the file was vacuumed last.
#[derive(Debug, Default)]
pub(super) struct Eraser(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether rows were deleted since the last time that erasing came to its end.
    is_pending: bool,
    last: Option<Vacuum>,
}

#[derive(Debug)]
struct Vacuum {
    ended_at: Instant,
    took: Duration,
}

impl Eraser {
    /// Takes note of a step of a compaction. After the last one what is left of deleted rows is erased, unless another
    /// process is in the way: then the next compaction tries again, whether or not it removes anything.
    pub(super) fn compacted(&self, connection: &Connection, done: Compaction) -> rusqlite::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_pending |= done.deleted_entries > 0;
        if !(done.is_finished && state.is_pending) {
            return Ok(());
        }
        connection.busy_timeout(ERASE_TIMEOUT)?;
        let erased =
            vacuum(&mut state.last, connection).and_then(|is_clean| Ok(cut_write_ahead_log(connection)? && is_clean));
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // The compaction itself is done and stays so.
        match erased {
            Ok(is_clean) => state.is_pending = !is_clean,
            Err(error) => tracing::debug!(error.cause = %error, "deleted rows are erased after the next compaction"),
        }
        Ok(())
    }
}

/// Vacuums the file, unless it is too large for that; false if it was done a moment ago and is put off.
fn vacuum(last: &mut Option<Vacuum>, connection: &Connection) -> rusqlite::Result<bool> {
    if last.as_ref().is_some_and(|last| last.ended_at.elapsed() < last.took * PAUSE_DURATIONS) {
        return Ok(false);
    }
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if pragma("page_count")?.saturating_mul(pragma("page_size")?) > VACUUM_MAX_BYTES {
        return Ok(true);
    }
    let begun_at = Instant::now();
    connection.execute_batch("VACUUM")?;
    *last = Some(Vacuum { ended_at: Instant::now(), took: begun_at.elapsed() });
    Ok(true)
}

/// Copies the write-ahead log to the file and cuts it to nothing; false if a reader or another process prevents it.
fn cut_write_ahead_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0))
}
