//! The actions of a stream and their times: a plain function of what it has seen, of the time and of random bits.

use crate::core::cursor::Position;
use crate::core::numbers::UnixMs;
use crate::limits::api::{
    STREAM_AGE_JITTER_MS, STREAM_AGE_MS, STREAM_COMMENT_JITTER_MS, STREAM_COMMENT_MS, STREAM_EVENT_PAUSE_MS,
};

/// The state of one stream.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// The place that was sent last, or that the client has seen before.
    sent: Option<Position>,
    /// The latest place, if it is not sent yet.
    waiting: Option<Position>,
    event_from_ms: UnixMs,
    comment_at_ms: UnixMs,
    ends_at_ms: UnixMs,
    expires_at_ms: Option<UnixMs>,
}

/// The next action of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Tell the client that there are changes, up to this place.
    Changed(Position),
    /// Show that the connection is alive.
    Comment,
    /// End.
    End(Reason),
    /// Wait for so long, in milliseconds, or until there is a new place.
    Wait(u64),
    /// Wait for so long, in milliseconds. Until then a new place is not looked for, because it would not be sent.
    Pause(u64),
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is as old as a stream may become.
    Age,
    /// The principal has expired.
    Expired,
    /// The server stops.
    Stopping,
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Expired => "expired",
            Self::Stopping => "stopping",
        }
    }
}

impl Schedule {
    /// A stream that begins now. `seen` is the place that its client knows.
    pub(super) fn new(now_ms: UnixMs, seen: Option<Position>, expires_at_ms: Option<UnixMs>, random_bits: u64) -> Self {
        Self {
            sent: seen,
            waiting: None,
            event_from_ms: now_ms,
            comment_at_ms: now_ms.plus_ms(about(STREAM_COMMENT_MS, STREAM_COMMENT_JITTER_MS, random_bits)),
            ends_at_ms: now_ms.plus_ms(about(STREAM_AGE_MS, STREAM_AGE_JITTER_MS, random_bits)),
            expires_at_ms,
        }
    }

    /// Records the newest place of the log.
    pub(super) fn saw(&mut self, place: Position) {
        self.waiting = Some(place).filter(|place| self.sent != Some(*place));
    }

    /// The next action. It is taken for granted that it is done.
    pub(super) fn next(&mut self, now_ms: UnixMs, random_bits: u64) -> Due {
        self.follow_clock(now_ms);
        if self.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return Due::End(Reason::Expired);
        }
        if self.ends_at_ms <= now_ms {
            return Due::End(Reason::Age);
        }
        let comment_at_ms = now_ms.plus_ms(about(STREAM_COMMENT_MS, STREAM_COMMENT_JITTER_MS, random_bits));
        if self.event_from_ms <= now_ms
            && let Some(place) = self.waiting.take()
        {
            self.sent = Some(place);
            (self.event_from_ms, self.comment_at_ms) = (now_ms.plus_ms(STREAM_EVENT_PAUSE_MS), comment_at_ms);
            return Due::Changed(place);
        }
        if self.comment_at_ms <= now_ms {
            self.comment_at_ms = comment_at_ms;
            return Due::Comment;
        }
        let pauses_until_ms = Some(self.event_from_ms).filter(|until_ms| *until_ms > now_ms);
        let times = [Some(self.comment_at_ms), Some(self.ends_at_ms), self.expires_at_ms, pauses_until_ms];
        let next_ms = times.into_iter().flatten().min().unwrap_or(now_ms);
        let ms = next_ms.ms_since(now_ms).max(1);
        if pauses_until_ms.is_some() { Due::Pause(ms) } else { Due::Wait(ms) }
    }

    /// A clock that was put back must make nothing later.
    fn follow_clock(&mut self, now_ms: UnixMs) {
        self.event_from_ms = self.event_from_ms.min(now_ms.plus_ms(STREAM_EVENT_PAUSE_MS));
        self.comment_at_ms = self.comment_at_ms.min(now_ms.plus_ms(STREAM_COMMENT_MS + STREAM_COMMENT_JITTER_MS));
        self.ends_at_ms = self.ends_at_ms.min(now_ms.plus_ms(STREAM_AGE_MS + STREAM_AGE_JITTER_MS));
    }
}

/// A time around another one, so that many streams do not do the same at the same moment.
fn about(ms: u64, jitter_ms: u64, random_bits: u64) -> u64 {
    ms - jitter_ms + random_bits % (2 * jitter_ms + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fingerprint::Fingerprint;
    use crate::core::numbers::Seq;

    const BEGINNING: UnixMs = UnixMs::new(1_000_000_000);

    fn place(seq: u64) -> Position {
        Position { seq: Seq::new(seq), fingerprint: Fingerprint::from_number(seq) }
    }

    fn at(ms: u64) -> UnixMs {
        BEGINNING.plus_ms(ms)
    }

    fn schedule(seen: Option<Position>) -> Schedule {
        Schedule::new(BEGINNING, seen, None, STREAM_COMMENT_JITTER_MS)
    }

    #[test]
    fn an_event_comes_at_once_if_the_place_is_another_than_the_client_knows() {
        for (seen, is_due) in [(None, true), (Some(place(4)), true), (Some(place(6)), true), (Some(place(5)), false)] {
            let mut schedule = schedule(seen);
            schedule.saw(place(5));
            assert_eq!(schedule.next(BEGINNING, 0) == Due::Changed(place(5)), is_due, "{seen:?}");
        }
    }

    #[test]
    fn events_have_a_pause_between_them_and_the_latest_place() {
        let mut schedule = schedule(Some(place(0)));
        schedule.saw(place(1));
        assert_eq!(schedule.next(at(0), 0), Due::Changed(place(1)));
        assert_eq!(schedule.next(at(0), 0), Due::Pause(STREAM_EVENT_PAUSE_MS));
        schedule.saw(place(2));
        assert_eq!(schedule.next(at(1), 0), Due::Pause(STREAM_EVENT_PAUSE_MS - 1));
        schedule.saw(place(3));
        assert_eq!(schedule.next(at(STREAM_EVENT_PAUSE_MS), 0), Due::Changed(place(3)));
        schedule.saw(place(4));
        schedule.saw(place(3));
        let Due::Wait(wait_ms) = schedule.next(at(2 * STREAM_EVENT_PAUSE_MS), 0) else { panic!("nothing is new") };
        assert!(wait_ms > STREAM_EVENT_PAUSE_MS);
    }

    #[test]
    fn a_silent_stream_comments_now_and_then_until_it_is_old() {
        for random_bits in [0, 1, 12_345, u64::MAX] {
            let mut schedule = Schedule::new(BEGINNING, None, None, random_bits);
            let (mut now_ms, mut last_ms, mut comments) = (BEGINNING, BEGINNING, 0);
            let age_ms = loop {
                match schedule.next(now_ms, random_bits) {
                    Due::Wait(ms) => now_ms = now_ms.plus_ms(ms),
                    Due::Comment => {
                        let pause_ms = now_ms.ms_since(last_ms);
                        assert!((18_000..=22_000).contains(&pause_ms), "{pause_ms}");
                        (last_ms, comments) = (now_ms, comments + 1);
                    }
                    Due::End(Reason::Age) => break now_ms.ms_since(BEGINNING),
                    other => panic!("{other:?}"),
                }
            };
            assert!((540_000..=660_000).contains(&age_ms) && comments >= 24, "{age_ms} {comments}");
        }
    }

    #[test]
    fn a_stream_ends_with_its_principal() {
        let mut schedule = Schedule::new(BEGINNING, Some(place(0)), Some(at(5_000)), 0);
        assert_eq!(schedule.next(at(0), 0), Due::Wait(5_000));
        schedule.saw(place(1));
        assert_eq!(schedule.next(at(5_000), 0), Due::End(Reason::Expired));
        let mut schedule = Schedule::new(BEGINNING, Some(place(0)), Some(at(30)), 0);
        schedule.saw(place(1));
        assert_eq!(schedule.next(at(0), 0), Due::Changed(place(1)));
        assert_eq!(schedule.next(at(0), 0), Due::Pause(30), "it ends in the middle of a pause");
    }

    #[test]
    fn a_clock_that_was_put_back_makes_nothing_late() {
        let mut schedule = schedule(Some(place(0)));
        schedule.saw(place(1));
        assert_eq!(schedule.next(at(0), 0), Due::Changed(place(1)));
        schedule.saw(place(2));
        let earlier = BEGINNING.minus_ms(900_000_000);
        assert_eq!(schedule.next(earlier, 0), Due::Pause(STREAM_EVENT_PAUSE_MS));
        assert_eq!(schedule.next(earlier.plus_ms(STREAM_EVENT_PAUSE_MS), 0), Due::Changed(place(2)));
        assert_eq!(schedule.next(earlier.plus_ms(22_000), 0), Due::Comment);
    }
}
