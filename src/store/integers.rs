//! Conversion of the core's integers for databases that have only signed ones. All our integers are below 2^54.

/// An integer for the database. One that does not fit is greater than every stored one, so it becomes the greatest.
pub(super) fn signed(integer: impl Into<u64>) -> i64 {
    i64::try_from(integer.into()).unwrap_or(i64::MAX)
}

/// An integer of ours from the database. None of ours is negative.
pub(super) fn unsigned<N: From<u64>>(integer: i64) -> Result<N, Negative> {
    u64::try_from(integer).map(N::from).map_err(|_| Negative)
}

/// A number that is damaged, since it is negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a negative number")]
pub(super) struct Negative;
