//! The settings of the scheduled compaction.

use super::variables::{ConfigError, Variables, wrong};
use crate::limits::api::COMPACT_DEFAULT_DAYS;

/// The settings of the scheduled compaction.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CompactionConfig {
    /// The age of the log entries to remove, in days.
    pub older_than_days: f64,
}

impl CompactionConfig {
    pub(super) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        Ok(Self { older_than_days: older_than_days(variables)? })
    }
}

fn older_than_days(variables: &Variables<'_>) -> Result<f64, ConfigError> {
    const VARIABLE: &str = "COMPACT_OLDER_THAN_DAYS";
    let rule = "must be a number from 0";
    let days: f64 = variables.parse(VARIABLE, &COMPACT_DEFAULT_DAYS.to_string(), rule)?;
    if days.is_finite() && days >= 0.0 { Ok(days) } else { Err(wrong(VARIABLE, rule, &days.to_string())) }
}
