//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

/// The greatest number of documents if nothing is to be measured.
const SMOKE_DOCUMENTS: u64 = 4_000;

/// Measures the server against the floor of its database.
#[derive(Debug, Parser)]
#[command(name = "local-dev/bench")]
pub(crate) struct Options {
    /// The stores to measure; without any, those whose server comes with this
    #[arg(long = "store", value_enum, default_values = ["sqlite", "postgres"])]
    stores: Vec<StoreName>,
    /// The suites to run; all of them if none is named
    #[arg(long = "suite", value_enum)]
    suites: Vec<SuiteName>,
    /// The length of each measurement, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How often each measurement is repeated; the medians are reported
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// The number of documents, of which most operations write new versions; each of 32 connections should have more
    /// documents than a batch has operations
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(32..))]
    documents: u64,
    /// The number of operations in the longest log; the shortest has one for each document, so there should be fewer
    /// documents
    #[arg(long, default_value_t = 1_000_000)]
    longest_log: u64,
    /// The suite `push` leaves out batches of more operations
    #[arg(long, default_value_t = 100)]
    pub(crate) largest_push: usize,
    /// Print JSON in place of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Run everything once and as briefly as possible; this shows that it works, but gives no figures
    #[arg(long)]
    smoke: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreName {
    Sqlite,
    Postgres,
    /// MongoDB; its emulation in tests is slow, and needs fewer documents, shorter logs and smaller pushes
    #[value(name = "mongodb")]
    Mongo,
}

impl StoreName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mongo => "mongodb",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SuiteName {
    /// New versions of documents, in batches of 1, 10, 50 and 100 over 1, 8 and 32 connections
    Push,
    /// Operations that took effect before
    Duplicates,
    /// Operations that conflict with their documents
    Conflicts,
    /// Pages of the log
    Pull,
    /// One document by its id
    Document,
    /// The newest documents that match a filter
    Query,
    /// The statistics
    Stats,
    /// Clients that push and clients that pull at the same time
    Mixed,
    /// The same with logs of three lengths, and the first sync of a client
    Growth,
    /// Pushes while the log is compacted
    Compaction,
    /// Pushes by 1,000 tenants in turns, and the memory and compaction of many idle tenants
    Tenants,
    /// Streams of events: their memory, how soon they tell of a push, and what they cost those who push
    Wakes,
    /// Pushes, pulls and documents with tokens, and with rules
    Access,
    /// Pushes and pulls without conflicts, by conflict policies
    Policies,
}

impl SuiteName {
    /// Whether the suite needs a server beside a floor with the same rows.
    pub(crate) fn is_on_pair(self) -> bool {
        !matches!(self, Self::Growth | Self::Compaction | Self::Tenants | Self::Wakes | Self::Access | Self::Policies)
    }
}

impl Options {
    pub(crate) fn stores(&self) -> &[StoreName] {
        &self.stores
    }

    pub(crate) fn suites(&self) -> Vec<SuiteName> {
        if self.suites.is_empty() { SuiteName::value_variants().to_vec() } else { self.suites.clone() }
    }

    /// The length of each measurement.
    pub(crate) fn time(&self) -> Duration {
        if self.smoke { Duration::from_millis(50) } else { Duration::from_secs_f64(self.seconds) }
    }

    pub(crate) fn documents(&self) -> u64 {
        if self.smoke { self.documents.min(SMOKE_DOCUMENTS) } else { self.documents }
    }

    /// The number of idle tenants.
    pub(crate) fn idle_tenants(&self) -> usize {
        if self.smoke { 100 } else { 10_000 }
    }

    /// How many streams of events are open while nothing happens.
    pub(crate) fn idle_streams(&self) -> u32 {
        if self.smoke { 64 } else { 10_000 }
    }

    /// How many streams of events are told of pushes.
    pub(crate) fn woken_streams(&self) -> u32 {
        if self.smoke { 32 } else { 1_000 }
    }

    /// How many pushes each connection sends repeatedly.
    pub(crate) fn repeated_pushes(&self) -> usize {
        if self.smoke { 1 } else { 20 }
    }

    /// The numbers of operations in the logs that are compared, from the shortest to the longest.
    pub(crate) fn log_lengths(&self) -> [u64; 3] {
        let shortest = self.documents();
        let longest = if self.smoke { 3 * shortest } else { self.longest_log.max(shortest) };
        // The lengths grow by the same factor each time.
        [shortest, (shortest * longest).isqrt(), longest]
    }
}
