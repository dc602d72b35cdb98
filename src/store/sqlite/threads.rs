//! Threads that own connections, because SQLite blocks and the futures of the service must not block for long.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use futures_channel::oneshot;
use rusqlite::{Connection, ErrorCode};

use super::place::{Gone, Place};
use crate::limits::store::sqlite::QUEUE_MAX_JOBS;
use crate::store::{ErrorKind, Result, StoreError};

/// The adapter's name.
pub(super) const NAME: &str = "sqlite";

struct Job {
    work: Box<dyn FnOnce(&mut Connection) + Send>,
    is_abandoned: Arc<AtomicBool>,
}

/// One or more threads that take jobs from one queue. Each has its own connection.
#[derive(Debug)]
pub(super) struct Threads {
    /// It is closed to tell the threads to end.
    queue: async_channel::Sender<Job>,
    handles: Vec<JoinHandle<()>>,
    place: Place,
    abandoned: Abandoned,
}

/// The fate of a job that has begun if its caller goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abandoned {
    /// Its statements are interrupted, because it only reads.
    IsInterrupted,
    /// It is done to its end.
    IsFinished,
}

/// After how many steps of SQLite's machine a statement looks whether somebody still waits for it.
const STEPS_BETWEEN_LOOKS: i32 = 20_000;

/// Whether the caller of the job that a thread is at has gone away.
type Attention = Arc<Mutex<Option<Arc<AtomicBool>>>>;

/// Tells a job that its caller has gone away.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
    pub(super) fn start(
        name: &str,
        connections: Vec<Connection>,
        place: Place,
        abandoned: Abandoned,
    ) -> io::Result<Self> {
        let (queue, jobs) = async_channel::bounded::<Job>(QUEUE_MAX_JOBS);
        let start = |mut connection: Connection| {
            let jobs = jobs.clone();
            let attention = Attention::default();
            if abandoned == Abandoned::IsInterrupted {
                interrupt_abandoned(&mut connection, Arc::clone(&attention)).map_err(io::Error::other)?;
            }
            thread::Builder::new().name(name.to_owned()).spawn(move || work(connection, &jobs, &attention))
        };
        let handles = connections.into_iter().map(start).collect::<io::Result<_>>()?;
        Ok(Self { queue, handles, place, abandoned })
    }

    /// Runs a job on one of the threads. If the caller goes away before the job has begun, the job is dropped. A job
    /// that has begun is interrupted or runs to its end, as the threads were started. It can also check
    /// [`Caller::is_gone`].
    ///
    /// A job fails if the file is not in its place. This is also checked after a job that may write, because its writes
    /// may be lost then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&mut Connection, &Caller<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let (place, may_write) = (self.place.clone(), self.abandoned == Abandoned::IsFinished);
        let is_abandoned = Arc::new(AtomicBool::new(false));
        let _waiting = Waiting(Arc::clone(&is_abandoned));
        let work = Box::new(move |connection: &mut Connection| {
            if sender.is_canceled() {
                return;
            }
            let result = in_place(&place, may_write, || job(connection, &Caller(&|| sender.is_canceled())));
            // The caller may have gone away meanwhile.
            let _ = sender.send(result);
        });
        let ended = || StoreError::new(NAME, operation, ErrorKind::Failed, "the thread of the database has ended");
        self.queue.send(Job { work, is_abandoned }).await.map_err(|_| ended())?;
        let panicked = |_| StoreError::new(NAME, operation, ErrorKind::Failed, "the work on the database panicked");
        receiver.await.map_err(panicked)?.map_err(|failure| match failure {
            Failure::Sqlite(error) => store_error(operation, error),
            Failure::Gone(gone) => StoreError::new(NAME, operation, ErrorKind::Unavailable, gone),
        })
    }
}

/// Does some work on a file, which must be in its place before it, and after it if it may write.
fn in_place<T>(
    place: &Place,
    may_write: bool,
    work: impl FnOnce() -> rusqlite::Result<T>,
) -> std::result::Result<T, Failure> {
    place.check().map_err(Failure::Gone)?;
    let done = work().map_err(Failure::Sqlite)?;
    if may_write {
        place.check().map_err(Failure::Gone)?;
    }
    Ok(done)
}

/// Interrupts statements of a connection whose job is abandoned.
fn interrupt_abandoned(connection: &mut Connection, attention: Attention) -> rusqlite::Result<()> {
    let is_abandoned = move || {
        let job = attention.lock().unwrap_or_else(PoisonError::into_inner);
        job.as_ref().is_some_and(|is_abandoned| is_abandoned.load(Ordering::Relaxed))
    };
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(is_abandoned))
}

fn work(mut connection: Connection, jobs: &async_channel::Receiver<Job>, attention: &Attention) {
    while let Ok(Job { work, is_abandoned }) = jobs.recv_blocking() {
        *attention.lock().unwrap_or_else(PoisonError::into_inner) = Some(is_abandoned);
        // A panic drops the job's transaction, which rolls it back, and the sender, which tells the caller.
        let _ = catch_unwind(AssertUnwindSafe(|| work(&mut connection)));
        *attention.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
