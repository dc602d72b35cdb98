//! Threads that own the connections, because SQLite blocks and the futures of the service must not.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use futures_channel::oneshot;
use rusqlite::{Connection, ErrorCode};

use super::NAME;
use super::place::{Gone, Place};
use crate::limits::store::sqlite::QUEUE_MAX_JOBS;
use crate::store::{ErrorKind, Result, StoreError};

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// One or more threads that take jobs from one queue. Each has its own connection.
#[derive(Debug)]
pub(super) struct Threads {
    /// It is closed to tell the threads to end.
    queue: async_channel::Sender<Job>,
    handles: Vec<JoinHandle<()>>,
    place: Place,
}

/// Why a job has no result.
enum Failure {
    Sqlite(rusqlite::Error),
    Gone(Gone),
}

/// The caller that waits for a job.
pub(super) struct Caller<'a>(&'a dyn Fn() -> bool);

impl Caller<'_> {
    /// Whether the caller does not wait any more, so that a long job may end early.
    pub(super) fn is_gone(&self) -> bool {
        (self.0)()
    }
}

impl Threads {
    /// Starts a thread for each connection to the file at a place.
    pub(super) fn start(name: &str, connections: Vec<Connection>, place: Place) -> io::Result<Self> {
        let (queue, jobs) = async_channel::bounded::<Job>(QUEUE_MAX_JOBS);
        let start = |connection| {
            let jobs = jobs.clone();
            thread::Builder::new().name(name.to_owned()).spawn(move || work(connection, &jobs))
        };
        let handles = connections.into_iter().map(start).collect::<io::Result<_>>()?;
        Ok(Self { queue, handles, place })
    }

    /// Runs a job on one of the threads. If the caller goes away before the job has begun, the job is dropped. A job
    /// that has begun runs to its end, unless it checks [`Caller::is_gone`].
    ///
    /// A job fails if the file is not in its place before or after it, because its writes may be lost then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&mut Connection, &Caller<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let place = self.place.clone();
        let job: Job = Box::new(move |connection| {
            if sender.is_canceled() {
                return;
            }
            let result = in_place(&place, || job(connection, &Caller(&|| sender.is_canceled())));
            // The caller may have gone away meanwhile.
            let _ = sender.send(result);
        });
        let ended = || StoreError::new(NAME, operation, ErrorKind::Failed, "the thread of the database has ended");
        self.queue.send(job).await.map_err(|_| ended())?;
        let panicked = |_| StoreError::new(NAME, operation, ErrorKind::Failed, "the work on the database panicked");
        receiver.await.map_err(panicked)?.map_err(|failure| match failure {
            Failure::Sqlite(error) => store_error(operation, error),
            Failure::Gone(gone) => StoreError::new(NAME, operation, ErrorKind::Unavailable, gone),
        })
    }
}

/// Does some work on a file, which must be in its place before and after.
fn in_place<T>(place: &Place, work: impl FnOnce() -> rusqlite::Result<T>) -> std::result::Result<T, Failure> {
    place.check().map_err(Failure::Gone)?;
    let done = work().map_err(Failure::Sqlite)?;
    place.check().map_err(Failure::Gone)?;
    Ok(done)
}

fn work(mut connection: Connection, jobs: &async_channel::Receiver<Job>) {
    while let Ok(job) = jobs.recv_blocking() {
        // A panic drops the job's transaction, which rolls it back, and the sender, which informs the caller.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
    }
}

impl Drop for Threads {
    /// Finishes the jobs in the queue and closes the connections.
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.handles.drain(..) {
            // A thread catches the panics of its jobs, and its own code does not panic.
            let _ = thread.join();
        }
    }
}

/// Translates an error of SQLite for the caller.
pub(super) fn store_error(operation: &'static str, error: rusqlite::Error) -> StoreError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Busy,
        Some(ErrorCode::CannotOpen | ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory) => {
            ErrorKind::Unavailable
        }
        _ => ErrorKind::Failed,
    };
    StoreError::new(NAME, operation, kind, error)
}
