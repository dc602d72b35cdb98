//! Threads that own connections: SQLite blocks, and the futures of the service must not.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use futures_channel::oneshot;
use rusqlite::{Connection, ErrorCode};

use super::NAME;
use super::place::{Gone, Place};
use crate::store::{ErrorKind, Result, StoreError};

/// Most jobs that wait for a thread; a further one waits for its place in the queue.
const QUEUE_MAX_JOBS: usize = 1_024;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// One or more threads that take jobs from one queue, each with a connection of its own.
#[derive(Debug)]
pub(super) struct Threads {
    /// Closed to tell the threads to end.
    queue: async_channel::Sender<Job>,
    handles: Vec<JoinHandle<()>>,
    place: Place,
}

/// Why a job has no result.
enum Failure {
    Sqlite(rusqlite::Error),
    Gone(Gone),
}

/// Who waits for a job.
pub(super) struct Caller<'a>(&'a dyn Fn() -> bool);

impl Caller<'_> {
    /// Whether nobody waits for the job any more, so that a long one may as well end.
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

    /// Runs a job on one of the threads. A caller that goes away before the job has begun takes it along; one that has
    /// begun is done to its end unless it asks [`Caller::is_gone`].
    ///
    /// A job fails if the file is gone before it, or behind it: what it wrote may be lost then.
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
            // A caller that went away meanwhile does not need the answer.
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

/// Does something with a file that has to be in its place before and after.
fn in_place<T>(place: &Place, work: impl FnOnce() -> rusqlite::Result<T>) -> std::result::Result<T, Failure> {
    place.check().map_err(Failure::Gone)?;
    let done = work().map_err(Failure::Sqlite)?;
    place.check().map_err(Failure::Gone)?;
    Ok(done)
}

fn work(mut connection: Connection, jobs: &async_channel::Receiver<Job>) {
    while let Ok(job) = jobs.recv_blocking() {
        // A panic drops the job's transaction, which rolls it back, and the sender, which tells the caller.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
    }
}

impl Drop for Threads {
    /// Finishes what is in the queue, then closes the connections.
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.handles.drain(..) {
            // A thread catches the panics of its jobs and has none of its own.
            let _ = thread.join();
        }
    }
}

/// Says what an error of SQLite means for the caller.
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
