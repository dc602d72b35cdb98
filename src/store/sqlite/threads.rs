//! Threads that own connections, because SQLite blocks and the futures of the service must not block for long.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use futures_channel::oneshot;
use rusqlite::{Connection, ErrorCode};

use super::place::{Gone, Place};
use super::write::together::{batch_bytes, commit_all};
use crate::core::decide::Batch;
use crate::core::names::TenantId;
use crate::limits::store::sqlite::{COMMIT_SHARED_MAX_BYTES, COMMIT_SHARED_MAX_TENANTS, QUEUE_MAX_JOBS};
use crate::store::{Commit, ErrorKind, PoolState, Result, StoreError};

/// The adapter's name.
pub(super) const NAME: &str = "sqlite";

struct Job {
    work: Work,
    is_abandoned: Arc<AtomicBool>,
}

/// The work of a job.
enum Work {
    /// It has the connection for itself.
    Alone(Box<dyn FnOnce(&mut Connection) + Send>),
    /// It may share a transaction with the batches that wait behind it.
    Batch(Box<WaitingBatch>),
}

/// A batch that waits for its commit.
struct WaitingBatch {
    tenant: TenantId,
    batch: Batch,
    bytes: usize,
    sender: oneshot::Sender<std::result::Result<Commit, Failure>>,
}

/// One or more threads that take jobs from one queue. Each has its own connection.
#[derive(Debug)]
pub(super) struct Threads {
    /// It is closed to tell the threads to end.
    queue: async_channel::Sender<Job>,
    handles: Vec<JoinHandle<()>>,
    /// How many threads are at a job.
    busy: Arc<AtomicUsize>,
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
        let busy = Arc::<AtomicUsize>::default();
        let start = |mut connection: Connection| {
            let (jobs, busy) = (jobs.clone(), Arc::clone(&busy));
            let attention = Attention::default();
            let place = place.clone();
            if abandoned == Abandoned::IsInterrupted {
                interrupt_abandoned(&mut connection, Arc::clone(&attention)).map_err(io::Error::other)?;
            }
            let spawned = move || work(connection, &jobs, &attention, (&place, &busy));
            thread::Builder::new().name(name.to_owned()).spawn(spawned)
        };
        let handles = connections.into_iter().map(start).collect::<io::Result<_>>()?;
        Ok(Self { queue, handles, busy, place, abandoned })
    }

    /// How many threads there are, and what they do.
    pub(super) fn pool(&self) -> PoolState {
        let busy = self.busy.load(Ordering::Relaxed);
        PoolState { busy, max: self.handles.len(), waiting: self.queue.len() }
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
        let work = Box::new(move |connection: &mut Connection| {
            if sender.is_canceled() {
                return;
            }
            let result = in_place(&place, may_write, || job(connection, &Caller(&|| sender.is_canceled())));
            // The caller may have gone away meanwhile.
            let _ = sender.send(result);
        });
        self.result_of(operation, Work::Alone(work), receiver).await
    }

    /// Writes a batch. Batches that wait at the same time share a transaction, and so a flush of the disk.
    ///
    /// They are of different tenants, because the pushes of one tenant share a batch already. Each has its own outcome:
    /// one that is contended or fails is undone alone.
    pub(super) async fn commit(&self, tenant: TenantId, batch: Batch) -> Result<Commit> {
        let (sender, receiver) = oneshot::channel();
        let bytes = batch_bytes(&batch);
        let work = Work::Batch(Box::new(WaitingBatch { tenant, batch, bytes, sender }));
        self.result_of("commit", work, receiver).await
    }

    /// Waits for a place in the queue, and then for the result of some work.
    async fn result_of<T>(
        &self,
        operation: &'static str,
        work: Work,
        receiver: oneshot::Receiver<std::result::Result<T, Failure>>,
    ) -> Result<T> {
        let is_abandoned = Arc::new(AtomicBool::new(false));
        let _waiting = Waiting(Arc::clone(&is_abandoned));
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

fn work(
    mut connection: Connection,
    jobs: &async_channel::Receiver<Job>,
    attention: &Attention,
    of_all: (&Place, &AtomicUsize),
) {
    let (place, busy) = of_all;
    let mut next = None;
    while let Some(Job { work, is_abandoned }) = next.take().or_else(|| jobs.recv_blocking().ok()) {
        let work: Box<dyn FnOnce(&mut Connection)> = match work {
            Work::Alone(work) => work,
            Work::Batch(first) => {
                let batches;
                (batches, next) = waiting_batches(*first, jobs);
                Box::new(|connection| commit(connection, place, batches))
            }
        };
        busy.fetch_add(1, Ordering::Relaxed);
        *attention.lock().unwrap_or_else(PoisonError::into_inner) = Some(is_abandoned);
        // A panic drops the job's transaction, which rolls it back, and the senders, which tell the callers.
        let _ = catch_unwind(AssertUnwindSafe(|| work(&mut connection)));
        *attention.lock().unwrap_or_else(PoisonError::into_inner) = None;
        busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The batches that share a transaction: the first one, and those that wait right behind it. Also the job behind them,
/// if it was taken from the queue.
fn waiting_batches(first: WaitingBatch, jobs: &async_channel::Receiver<Job>) -> (Vec<WaitingBatch>, Option<Job>) {
    let mut bytes = first.bytes;
    let mut batches = vec![first];
    while batches.len() < COMMIT_SHARED_MAX_TENANTS && bytes < COMMIT_SHARED_MAX_BYTES {
        match jobs.try_recv() {
            Ok(Job { work: Work::Batch(batch), .. }) if bytes + batch.bytes <= COMMIT_SHARED_MAX_BYTES => {
                bytes += batch.bytes;
                batches.push(*batch);
            }
            other => return (batches, other.ok()),
        }
    }
    (batches, None)
}

/// Writes batches in one transaction, and tells their callers.
fn commit(connection: &mut Connection, place: &Place, batches: Vec<WaitingBatch>) {
    let mut senders = Vec::with_capacity(batches.len());
    let mut written = Vec::with_capacity(batches.len());
    for WaitingBatch { tenant, batch, sender, .. } in batches {
        if !sender.is_canceled() {
            senders.push(sender);
            written.push((tenant, batch));
        }
    }
    let outcomes = place.check().and_then(|()| {
        let outcomes = commit_all(connection, &written);
        place.check().map(|()| outcomes)
    });
    let results: Vec<_> = match outcomes {
        Ok(outcomes) => outcomes.into_iter().map(|outcome| outcome.map_err(Failure::Sqlite)).collect(),
        Err(gone) => written.iter().map(|_| Err(Failure::Gone(gone.clone()))).collect(),
    };
    for (sender, result) in senders.into_iter().zip(results) {
        // The caller may have gone away meanwhile.
        let _ = sender.send(result);
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
