//! The settings that bound how much tenants keep: quotas, and the scheduled compaction.

use super::variables::{ConfigError, Variables, wrong};
use crate::core::decide::quota::Quota;
use crate::limits::api::COMPACT_DEFAULT_DAYS;
use crate::limits::protocol::INTEGER_MAX;

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

/// Reads the quota of every tenant. A variable that is not set sets no limit.
pub(super) fn quota(variables: &Variables<'_>) -> Result<Quota, ConfigError> {
    let max = |variable: &'static str| {
        let Some(value) = variables.get(variable) else { return Ok(None) };
        let number = value.parse().ok().filter(|number| (1..=INTEGER_MAX).contains(number));
        let rule = || wrong(variable, &format!("must be an integer from 1 to {INTEGER_MAX}"), &value);
        number.map(Some).ok_or_else(rule)
    };
    Ok(Quota {
        max_documents: max("TENANT_MAX_DOCUMENTS")?,
        max_bytes: max("TENANT_MAX_BYTES")?,
        max_operation_ids: max("TENANT_MAX_OPERATION_IDS")?,
        max_clients: max("TENANT_MAX_CLIENTS")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    #[test]
    fn a_quota_is_an_integer_from_1_and_no_limit_if_it_is_not_set() {
        assert_eq!(read_from(&[], quota), Ok(Quota::default()));
        let set = read_from(&[("TENANT_MAX_DOCUMENTS", "10"), ("TENANT_MAX_BYTES", "9007199254740991")], quota);
        let expected = Quota { max_documents: Some(10), max_bytes: Some(INTEGER_MAX), ..Quota::default() };
        assert_eq!(set, Ok(expected));
        for value in ["0", "-1", "1.5", "many", "9007199254740992"] {
            let problem = read_from(&[("TENANT_MAX_CLIENTS", value)], quota).unwrap_err();
            assert!(problem.starts_with("TENANT_MAX_CLIENTS: must be an integer from 1"), "{problem}");
        }
    }
}
