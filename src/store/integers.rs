//! Conversion of the core's integers for databases that have only signed ones. All our integers are below 2^54.

/// An integer for the database. One that does not fit is greater than every stored one, so it becomes the greatest.
pub(super) fn signed(integer: u64) -> i64 {
    i64::try_from(integer).unwrap_or(i64::MAX)
}

/// An integer from the database.
pub(super) fn unsigned(integer: i64) -> u64 {
    u64::try_from(integer).unwrap_or(0)
}
