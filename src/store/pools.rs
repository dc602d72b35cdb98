//! The means by which a store works on its database, and how many of them are in use.

/// A pool of connections or threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolState {
    /// The number of those that are at work.
    pub busy: usize,
    /// The most that there may be.
    pub max: usize,
    /// The number of calls that wait for one.
    pub waiting: usize,
}

/// A store that has such pools.
pub trait Pooled: Send + Sync {
    /// The state of each pool, with its name.
    fn pools(&self) -> Vec<(&'static str, PoolState)>;
}
