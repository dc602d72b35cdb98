//! The progress of a client, which only the statistics use.

use crate::core::numbers::{Seq, UnixMs};
use crate::limits::protocol::CLIENT_SEEN_PRECISION_MS;

/// How far a client has pulled, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The sequence number up to which it has pulled.
    pub pulled_seq: Seq,
    /// When it pulled last, in milliseconds since 1970.
    pub seen_at_ms: UnixMs,
}

impl Progress {
    /// The number of operations that were accepted after those that the client has pulled. `None` for a client of which
    /// only its places are kept: a compaction forgets how far it was, after a long silence.
    #[must_use]
    pub const fn behind(&self, head: Seq) -> Option<u64> {
        match self.seen_at_ms.get() {
            0 => None,
            _ => Some(head.entries_since(self.pulled_seq)),
        }
    }

    /// Whether this progress is worth a write, given the progress that is stored.
    ///
    /// A client that polls does not cause a write each time. A stored time in the future comes from a clock that ran
    /// ahead.
    #[must_use]
    pub fn is_news(&self, noted: Option<Self>) -> bool {
        noted.is_none_or(|noted| {
            noted.pulled_seq != self.pulled_seq
                || noted.seen_at_ms.ms_between(self.seen_at_ms) >= CLIENT_SEEN_PRECISION_MS
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_lacks_what_came_after_its_place_unless_it_is_forgotten() {
        let progress = Progress { pulled_seq: Seq::new(3), seen_at_ms: UnixMs::new(1) };
        assert_eq!((progress.behind(Seq::new(5)), progress.behind(Seq::new(3))), (Some(2), Some(0)));
        assert_eq!(progress.behind(Seq::new(2)), Some(0), "the database was restored");
        assert_eq!(Progress { seen_at_ms: UnixMs::EPOCH, ..progress }.behind(Seq::new(5)), None);
    }

    #[test]
    fn another_place_is_news_and_so_is_another_hour() {
        let noted = Progress { pulled_seq: Seq::new(3), seen_at_ms: UnixMs::new(10 * CLIENT_SEEN_PRECISION_MS) };
        assert!(noted.is_news(None));
        assert!(!noted.is_news(Some(noted)));
        assert!(Progress { pulled_seq: Seq::new(2), ..noted }.is_news(Some(noted)), "a client may begin again");
        for (seen_at_ms, is_news) in [
            (noted.seen_at_ms.plus_ms(CLIENT_SEEN_PRECISION_MS - 1), false),
            (noted.seen_at_ms.plus_ms(CLIENT_SEEN_PRECISION_MS), true),
            (noted.seen_at_ms.minus_ms(CLIENT_SEEN_PRECISION_MS - 1), false),
            (noted.seen_at_ms.minus_ms(CLIENT_SEEN_PRECISION_MS), true),
        ] {
            assert_eq!(Progress { seen_at_ms, ..noted }.is_news(Some(noted)), is_news, "{seen_at_ms}");
        }
    }
}
