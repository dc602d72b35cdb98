//! Pauses in a long calculation, so that it does not keep other requests of its thread waiting.

use std::future::poll_fn;
use std::task::Poll;

use crate::limits::store::QUERY_PACE_BYTES;

/// How much was looked at since the last pause.
#[derive(Debug, Default)]
pub(super) struct Pace {
    bytes: usize,
}

impl Pace {
    /// Takes note of some bytes, and lets others have their turn when there are many.
    pub(super) async fn examined(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes < QUERY_PACE_BYTES {
            return;
        }
        self.bytes = 0;
        let mut has_paused = false;
        poll_fn(|context| {
            if has_paused {
                return Poll::Ready(());
            }
            has_paused = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn others_have_a_turn_after_so_many_bytes() {
        let mut pace = Pace::default();
        for _ in 0..2 {
            assert_eq!(pace.examined(QUERY_PACE_BYTES - 1).now_or_never(), Some(()));
            assert_eq!(pace.examined(1).now_or_never(), None);
        }
    }
}
