//! Fingerprints: 48 bits that tell one log from another at the same place.

use twox_hash::XxHash64;

use crate::core::names::OperationId;

/// A hash of the whole log up to a place: the sum of the hashes of all operation ids up to there, modulo 2^48.
///
/// A cursor carries the fingerprint of its place. After a restore from a backup, the same place may hold another
/// operation, or the same operation after different ones. The sums differ in both cases (but for a chance of 2^-48),
/// and the cursor is refused. It is a sum because a store can extend it with one number, without reading the earlier
/// operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    const MASK: u64 = (1 << 48) - 1;

    /// The fingerprint of an empty log.
    pub const START: Self = Self(0);

    /// The fingerprint of this log after one more operation.
    #[must_use]
    pub fn extended(self, id: &OperationId) -> Self {
        Self((self.0 + (XxHash64::oneshot(0, id.as_str().as_bytes()) & Self::MASK)) & Self::MASK)
    }

    /// The number to store, below 2^48.
    #[must_use]
    pub fn to_number(self) -> u64 {
        self.0
    }

    /// Reads the number from a store. Bits above the lowest 48 are dropped.
    #[must_use]
    pub fn from_number(number: u64) -> Self {
        Self(number & Self::MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_logs_apart_and_never_changes_between_versions() {
        let [one, two] = ["op-1", "op-2"].map(OperationId::literal);
        let log = Fingerprint::START.extended(&one);
        assert_ne!(log, Fingerprint::START);
        assert_ne!(log, Fingerprint::START.extended(&two));
        assert_ne!(log.extended(&two), log);
        assert_eq!(log.to_number(), 77_205_143_171_158, "cursors of clients out there carry it");
        assert_eq!(Fingerprint::from_number(log.to_number()), log);
    }
}
