//! Integers of the core in databases whose integers are signed; all of ours are below 2^54.

/// An integer for the database; one that does not fit is greater than every one that is kept, and becomes the greatest.
pub(super) fn signed(integer: u64) -> i64 {
    i64::try_from(integer).unwrap_or(i64::MAX)
}

/// An integer of ours back from the database.
pub(super) fn unsigned(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or(0)
}
