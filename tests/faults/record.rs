//! The record of the requests and answers of all clients, and the counts of faults.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::history::{Call, End, Exchange, History, Moment};

/// The record into which all clients write.
pub(super) struct Record {
    began: Instant,
    exchanges: Mutex<Vec<Exchange>>,
    unexpected: Mutex<Vec<String>>,
    pub(super) counts: Counts,
}

/// The number of events of each kind.
#[derive(Default)]
pub(super) struct Counts {
    /// Requests that were sent.
    pub(super) requests: AtomicU64,
    /// Requests that were not answered, or not to the end.
    pub(super) unanswered: AtomicU64,
    /// Requests that were answered with a 503.
    pub(super) unavailable: AtomicU64,
    /// Pushes that were sent again.
    pub(super) retries: AtomicU64,
    /// Wake-ups that listeners got.
    pub(super) woken: AtomicU64,
    /// Pulls by which listeners found something of which no wake-up had told them.
    pub(super) polled_news: AtomicU64,
    /// Servers that were killed.
    pub(super) servers_killed: AtomicU64,
    /// Servers that were frozen.
    pub(super) servers_frozen: AtomicU64,
    /// Databases that were killed.
    pub(super) databases_killed: AtomicU64,
}

/// Adds one to a counter.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            exchanges: Mutex::default(),
            unexpected: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// The present time, in microseconds since the beginning of the run.
    pub(super) fn moment(&self) -> Moment {
        Moment::try_from(self.began.elapsed().as_micros()).expect("a run does not take that long")
    }

    /// Records a request and its answer.
    pub(super) fn enter(&self, client: &str, sent: Moment, call: Call) {
        let exchange = Exchange { client: client.to_owned(), sent, answered: self.moment(), call };
        lock(&self.exchanges).push(exchange);
    }

    /// Records an answer that no fault can explain.
    pub(super) fn enter_unexpected(&self, answer: String) {
        lock(&self.unexpected).push(answer);
    }

    /// The answers that no fault can explain.
    pub(super) fn unexpected(&self) -> Vec<String> {
        lock(&self.unexpected).clone()
    }

    /// The history for the checker.
    pub(super) fn history(&self, end: End) -> History {
        History { exchanges: lock(&self.exchanges).clone(), end, setting: None }
    }
}
