//! Points in time by two clocks. One of them stands still while a machine is frozen.

use std::time::{Duration, Instant, SystemTime};

/// A point in time, by the time of day and by the monotonic clock, which stands still while the machine is frozen.
#[derive(Debug, Clone, Copy)]
pub(super) struct TwoClocks {
    time: SystemTime,
    instant: Instant,
}

impl TwoClocks {
    pub(super) fn now() -> Self {
        Self { time: SystemTime::now(), instant: Instant::now() }
    }

    /// The part of the time since an earlier moment for which the monotonic clock stood still. If the time of day is
    /// set back, this is hidden; if it is set forward, it looks the same.
    pub(super) fn unnoticed_since(&self, earlier: &Self) -> Duration {
        let passed = self.time.duration_since(earlier.time).unwrap_or_default();
        passed.saturating_sub(self.instant.duration_since(earlier.instant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl TwoClocks {
        /// The moment that would look like this one after the machine was frozen for `pause`.
        pub(in crate::store::mongodb) fn before_freezing_for(&self, pause: Duration) -> Self {
            Self { time: self.time - pause, ..*self }
        }
    }

    #[test]
    fn only_what_one_of_the_clocks_missed_is_unnoticed() {
        let before = TwoClocks::now();
        let pause = Duration::from_secs(3_600);
        let after = |time: Duration, instant: Duration| TwoClocks {
            time: before.time + time,
            instant: before.instant + instant,
        };
        assert_eq!(after(pause, Duration::ZERO).unnoticed_since(&before), pause);
        assert_eq!(after(pause, pause / 2).unnoticed_since(&before), pause / 2);
        assert_eq!(after(pause, pause).unnoticed_since(&before), Duration::ZERO, "it was only idle");
        assert_eq!(after(Duration::ZERO, pause).unnoticed_since(&before), Duration::ZERO, "the day was put back");
        let yesterday = TwoClocks { time: before.time - pause, ..before };
        assert_eq!(yesterday.unnoticed_since(&before), Duration::ZERO);
    }
}
