//! The use of the driver's connections, counted by its events.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;

use crate::store::PoolState;

/// Counts the connections that are in use, and the calls that wait for one.
#[derive(Default)]
pub(in crate::store::mongodb) struct PoolCounters {
    busy: AtomicI64,
    waiting: AtomicI64,
}

impl PoolCounters {
    /// A handler of events that counts here.
    pub(in crate::store::mongodb) fn handler(self: &Arc<Self>) -> EventHandler<CmapEvent> {
        let counters = Arc::clone(self);
        EventHandler::callback(move |event| counters.count(&event))
    }

    fn count(&self, event: &CmapEvent) {
        let (busy, waiting) = match event {
            CmapEvent::ConnectionCheckoutStarted(_) => (0, 1),
            CmapEvent::ConnectionCheckoutFailed(_) => (0, -1),
            CmapEvent::ConnectionCheckedOut(_) => (1, -1),
            CmapEvent::ConnectionCheckedIn(_) => (-1, 0),
            _ => return,
        };
        self.busy.fetch_add(busy, Ordering::Relaxed);
        self.waiting.fetch_add(waiting, Ordering::Relaxed);
    }

    /// The state of a pool with so many connections at most.
    pub(in crate::store::mongodb) fn state(&self, max: usize) -> PoolState {
        let read = |number: &AtomicI64| number.load(Ordering::Relaxed).try_into().unwrap_or(0);
        PoolState { busy: read(&self.busy), max, waiting: read(&self.waiting) }
    }
}

impl fmt::Debug for PoolCounters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PoolCounters").finish_non_exhaustive()
    }
}
