//! The server as its operator sees it: probes, metrics, logs, traces, signals, and the schedule of compactions.

mod exposition;
mod logs;
mod metrics;
mod probes;
mod schedule;
mod traces;

use std::time::Duration;

/// How long a test waits for an event that must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pause between two looks whether it has.
const PAUSE: Duration = Duration::from_millis(20);
