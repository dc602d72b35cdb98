//! The values of the methods of the port that remove what only clients need that were away.

use crate::core::retention::Expiry;

/// One step of retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpireStep {
    /// The part to remove.
    pub expiry: Expiry,
    /// The greatest number of tombstones and of remains to remove together.
    pub max_rows: usize,
}

/// The rows that retention removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expired {
    /// Tombstones.
    pub tombstones: u64,
    /// Entries of which nothing is left: compaction had removed all but their numbers, fingerprints and ids.
    pub remains: u64,
}

impl Expired {
    /// These rows and others.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { tombstones: self.tombstones + other.tombstones, remains: self.remains + other.remains }
    }

    /// How many rows these are.
    #[must_use]
    pub fn rows(self) -> u64 {
        self.tombstones + self.remains
    }
}
