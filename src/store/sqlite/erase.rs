//! Erases deleted data from all bytes of the files.
//!
//! `secure_delete` overwrites deleted rows and free pages at once. This is not enough. When SQLite moves rows between
//! neighbouring pages, old bytes stay in the unused middle of a page and in older pages of the write-ahead log. So a
//! compaction ends with a vacuum, which copies the live rows to new pages, and with a truncation of that log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::schema::BUSY_TIMEOUT;
use crate::limits::store::sqlite::VACUUM_MAX_BYTES;
use crate::store::Compaction;

/// The least pause after a vacuum, as a multiple of its duration, so that many compactions in a row cost little more
/// than one.
const PAUSE_DURATIONS: u32 = 20;

/// How long erasing waits for other processes. The next compaction erases what is left.
const ERASE_TIMEOUT: Duration = Duration::from_millis(100);

/// Whether deleted rows are left to erase, and the last vacuum.
#[derive(Debug, Default)]
pub(super) struct Eraser(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Whether rows were deleted since the last vacuum.
    needs_vacuum: bool,
    /// Whether the write-ahead log may have old pages of deleted rows.
    needs_cut: bool,
    last: Option<Vacuum>,
}

#[derive(Debug)]
struct Vacuum {
    ended_at: Instant,
    took: Duration,
}

impl Eraser {
    /// Called after rows were removed or overwritten in another way than by a compaction. The next compaction erases
    /// them.
    pub(super) fn removed(&self, rows: u64) {
        if rows > 0 {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.needs_vacuum = true;
            state.needs_cut = true;
        }
    }

    /// Called after a step of a compaction. After the last step, the rest of the deleted rows is erased. If another
    /// process prevents that, the next compaction tries again, even if it removes nothing.
    pub(super) fn compacted(&self, connection: &Connection, done: Compaction) -> rusqlite::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if done.deleted_entries > 0 {
            state.needs_vacuum = true;
            state.needs_cut = true;
        }
        if !(done.is_finished && (state.needs_vacuum || state.needs_cut)) {
            return Ok(());
        }
        connection.busy_timeout(ERASE_TIMEOUT)?;
        let erased = state.erase(connection);
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // The compaction itself is complete, whatever happens here.
        if let Err(error) = erased {
            tracing::debug!(error.cause = %error, "deleted rows are erased after the next compaction");
        }
        Ok(())
    }
}

impl Default for State {
    /// A process that was killed may have left something to erase, so the first compaction of the next one looks.
    fn default() -> Self {
        Self { needs_vacuum: true, needs_cut: true, last: None }
    }
}

impl State {
    fn erase(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.needs_vacuum && vacuum(&mut self.last, connection)? {
            self.needs_vacuum = false;
            self.needs_cut = true;
        }
        self.needs_cut = !cut_write_ahead_log(connection)?;
        Ok(())
    }
}

/// Vacuums the file, unless it is too large. Returns false if the last vacuum was a moment ago, so that this one is
/// postponed.
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

/// Copies the write-ahead log to the file and truncates it. Returns false if a reader or another process prevents that.
fn cut_write_ahead_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0))
}
