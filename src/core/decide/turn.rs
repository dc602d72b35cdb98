//! The decision which of several servers compacts next, and when.
//!
//! A database has one mark for this: the time before which no server begins. A server that begins sets it a short time
//! ahead, and again while it works, so that no other one begins. When it is finished, it sets the mark to the time of
//! the next run. A server that was killed sets nothing any more, so another one begins soon.

use crate::core::numbers::UnixMs;

/// The decision of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It tries to begin, which only one server can.
    Begin,
    /// It decides again after so many milliseconds.
    Wait {
        /// The time in milliseconds.
        ms: u64,
    },
}

/// The times of the servers' turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// How long after a finished run the next one begins, in milliseconds.
    pub every_ms: u64,
    /// For how long a server that works keeps others from beginning, in milliseconds.
    pub held_ms: u64,
}

impl Turns {
    /// The decision, by the mark as it was read.
    ///
    /// A mark further ahead than any right clock sets it comes from a clock that ran ahead, and holds up no server.
    #[must_use]
    pub fn decide(self, not_before_ms: Option<UnixMs>, now_ms: UnixMs) -> Turn {
        let wait_ms = not_before_ms.map_or(0, |not_before_ms| not_before_ms.ms_since(now_ms));
        let longest_ms = self.every_ms.saturating_add(self.held_ms);
        if wait_ms == 0 || wait_ms > longest_ms { Turn::Begin } else { Turn::Wait { ms: wait_ms } }
    }

    /// The mark of a server that works.
    #[must_use]
    pub fn while_working(self, now_ms: UnixMs) -> UnixMs {
        now_ms.plus_ms(self.held_ms)
    }

    /// The mark after a run, which may have been cut short.
    #[must_use]
    pub fn after_run(self, now_ms: UnixMs, is_finished: bool) -> UnixMs {
        now_ms.plus_ms(if is_finished { self.every_ms } else { self.held_ms.min(self.every_ms) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: Turns = Turns { every_ms: 1_000, held_ms: 100 };

    fn at(ms: u64) -> UnixMs {
        UnixMs::new(ms)
    }

    #[test]
    fn a_server_begins_when_nobody_has_or_when_the_time_has_come() {
        assert_eq!(TURNS.decide(None, at(5_000)), Turn::Begin);
        assert_eq!(TURNS.decide(Some(at(5_000)), at(5_000)), Turn::Begin);
        assert_eq!(TURNS.decide(Some(at(5_001)), at(5_000)), Turn::Wait { ms: 1 });
        assert_eq!(TURNS.decide(Some(TURNS.while_working(at(5_000))), at(5_000)), Turn::Wait { ms: 100 });
        assert_eq!(TURNS.decide(Some(TURNS.after_run(at(5_000), true)), at(5_000)), Turn::Wait { ms: 1_000 });
        assert_eq!(TURNS.decide(Some(TURNS.after_run(at(5_000), false)), at(5_000)), Turn::Wait { ms: 100 });
    }

    #[test]
    fn a_mark_of_a_clock_that_ran_ahead_holds_up_no_server() {
        assert_eq!(TURNS.decide(Some(at(6_100)), at(5_000)), Turn::Wait { ms: 1_100 });
        assert_eq!(TURNS.decide(Some(at(6_101)), at(5_000)), Turn::Begin);
    }
}
