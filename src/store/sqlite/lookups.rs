//! Reads of a few small rows, which the caller's own thread does.
//!
//! To hand such a read to a thread and back takes longer than the read. But SQLite blocks, and the disk may hang. So
//! there must be fewer connections than threads of the caller's runtime. A caller that finds none free hands the read
//! to a thread after all. If the disk hangs, a thread of the runtime is left for other requests.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rusqlite::Connection;

use super::place::Place;

/// Connections for the threads of callers.
#[derive(Debug)]
pub(super) struct Lookups {
    connections: Vec<Mutex<Connection>>,
    place: Place,
}

impl Lookups {
    /// The connections must not wait for locks.
    pub(super) fn new(connections: Vec<Connection>, place: Place) -> Self {
        Self { connections: connections.into_iter().map(Mutex::new).collect(), place }
    }

    /// Does a short read at once. `None` if that is not possible now, for whatever reason: then a thread must do it,
    /// and report what is wrong.
    pub(super) fn try_read<T>(&self, read: impl FnOnce(&mut Connection) -> rusqlite::Result<Option<T>>) -> Option<T> {
        let mut connection = self.try_take()?;
        self.place.check().ok()?;
        let done = catch_unwind(AssertUnwindSafe(|| read(&mut connection)));
        done.ok()?.ok().flatten()
    }

    pub(super) fn try_take(&self) -> Option<MutexGuard<'_, Connection>> {
        self.connections.iter().find_map(|connection| match connection.try_lock() {
            Ok(connection) => Some(connection),
            // A read that panicked has left nothing behind but its transaction, which was rolled back.
            Err(TryLockError::Poisoned(poisoned)) => Some(PoisonError::into_inner(poisoned)),
            Err(TryLockError::WouldBlock) => None,
        })
    }
}
