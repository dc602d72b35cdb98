//! The integers that are easy to mix up: sequence numbers, revisions and times.
//!
//! Each is an integer from 0 to [`INTEGER_MAX`](crate::limits::protocol::INTEGER_MAX), which is 2^53 − 1, so that
//! JavaScript reads it without loss. The types do not check the range, because it is enforced where a number comes in.
//! The routes refuse a greater integer in a request, and a greater number is not part of a cursor. The stores refuse a
//! row with a negative integer as damaged. The server itself adds only one at a time to sequence numbers and revisions.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// Names the meaning of an integer.
            #[must_use]
            pub const fn new(integer: u64) -> Self {
                Self(integer)
            }

            /// The integer.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl From<u64> for $name {
            fn from(integer: u64) -> Self {
                Self(integer)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }
    };
}

number! {
    /// A sequence number: the place of an operation in the log of its tenant, without a unit.
    ///
    /// The first operation has 1. The default is [`Seq::START`].
    Seq
}

number! {
    /// A revision: how often a document, or the memory of a client, was written. It has no unit.
    ///
    /// The first write makes 1. The default is [`Rev::NONE`].
    Rev
}

number! {
    /// A time, in milliseconds since 1970, without leap seconds. The default is [`UnixMs::EPOCH`].
    ///
    /// The `timestamp` of an operation is one too, although its client may use another unit. A `since` stands for such
    /// a timestamp, so it is a time that may reach [`SINCE_MAX`](crate::limits::protocol::SINCE_MAX).
    UnixMs
}

impl Seq {
    /// The place before the first operation.
    pub const START: Self = Self(0);

    /// Greater than every sequence number. It fits the signed integers of every store.
    pub const AFTER_ALL: Self = Self(i64::MAX as u64);

    /// The next sequence number.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The sequence number before this one, or [`Seq::START`] if there is none.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// The sequence number so many entries later.
    #[must_use]
    pub const fn plus(self, entries: u64) -> Self {
        Self(self.0.saturating_add(entries))
    }

    /// The sequence numbers after this one, in their order.
    pub fn following(self) -> impl Iterator<Item = Self> {
        (self.0..u64::MAX).map(|seq| Self(seq).next())
    }

    /// How many entries a dense log has after `earlier` and up to this place. 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn entries_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::LowerHex for Seq {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, formatter)
    }
}

impl Rev {
    /// The revision of a document that does not exist, and of a memory that was never written.
    pub const NONE: Self = Self(0);

    /// The revision after one more write.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl UnixMs {
    /// The beginning of 1970. For a client it means that it was never seen, and as a `since` it means everything.
    pub const EPOCH: Self = Self(0);

    /// So many milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// So many milliseconds earlier, but not before 1970.
    #[must_use]
    pub const fn minus_ms(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_sub(milliseconds))
    }

    /// How many milliseconds have passed since `earlier`. 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// How many milliseconds lie between two times, whichever is earlier.
    #[must_use]
    pub const fn ms_between(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_counted_from_one_place_to_another() {
        let seqs: Vec<Seq> = Seq::START.following().take(3).collect();
        assert_eq!(seqs, [1, 2, 3].map(Seq::new));
        assert_eq!(Seq::new(2).next(), Seq::new(3));
        assert_eq!((Seq::new(2).previous(), Seq::START.previous()), (Seq::new(1), Seq::START));
        assert_eq!((Seq::new(7).entries_since(Seq::new(4)), Seq::new(4).entries_since(Seq::new(7))), (3, 0));
        assert!(
            Seq::AFTER_ALL > Seq::new(crate::limits::protocol::INTEGER_MAX) && Seq::AFTER_ALL.next() > Seq::AFTER_ALL
        );
    }

    #[test]
    fn times_end_at_their_limits() {
        assert_eq!(UnixMs::new(5).minus_ms(9), UnixMs::EPOCH);
        assert_eq!(UnixMs::new(u64::MAX).plus_ms(1), UnixMs::new(u64::MAX));
        assert_eq!((UnixMs::new(5).ms_since(UnixMs::new(9)), UnixMs::new(5).ms_between(UnixMs::new(9))), (0, 4));
    }

    #[test]
    fn a_number_is_written_as_its_integer() {
        assert_eq!(format!("{} {} {}", Seq::new(1), Rev::new(2), UnixMs::new(3)), "1 2 3");
        assert_eq!(format!("{:x} {:016x}", Seq::new(255), Seq::new(255)), "ff 00000000000000ff");
    }
}
