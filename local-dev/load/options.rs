//! The command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures the server against the floor of its database.
#[derive(Debug, Parser)]
#[command(name = "local-dev/bench")]
pub(crate) struct Options {
    /// The stores to measure; all of them where none is named
    #[arg(long = "store", value_enum)]
    stores: Vec<StoreName>,
    /// The suites to run; all of them where none is named
    #[arg(long = "suite", value_enum)]
    suites: Vec<SuiteName>,
    /// How long each measurement takes, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How often each is repeated; the medians are reported
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// Print JSON in place of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Everything once and as short as possible: shows that it works, and no figures
    #[arg(long)]
    smoke: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreName {
    Sqlite,
    Postgres,
}

impl StoreName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
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
    /// The counters
    Stats,
    /// Clients that push and clients that pull at the same time
    Mixed,
    /// The same with 10,000, 100,000 and 1,000,000 operations in the log, and the first sync of a client
    Growth,
    /// Pushes while the log is compacted
    Compaction,
}

impl Options {
    pub(crate) fn stores(&self) -> Vec<StoreName> {
        if self.stores.is_empty() { StoreName::value_variants().to_vec() } else { self.stores.clone() }
    }

    pub(crate) fn suites(&self) -> Vec<SuiteName> {
        if self.suites.is_empty() { SuiteName::value_variants().to_vec() } else { self.suites.clone() }
    }

    /// How long each measurement takes.
    pub(crate) fn time(&self) -> Duration {
        if self.smoke { Duration::from_millis(50) } else { Duration::from_secs_f64(self.seconds) }
    }

    /// How many documents there are, which most operations write new versions of; so many that each of 32 connections
    /// has more of its own than a batch has.
    pub(crate) fn documents(&self) -> u64 {
        if self.smoke { 4_000 } else { 10_000 }
    }

    /// How many operations the logs have that are compared, from the shortest to the longest.
    pub(crate) fn log_lengths(&self) -> [u64; 3] {
        if self.smoke { [4_000, 8_000, 12_000] } else { [10_000, 100_000, 1_000_000] }
    }
}
