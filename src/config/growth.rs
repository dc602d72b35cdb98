//! The settings that bound how much tenants keep: quotas, the scheduled compaction, and retention.

use super::variables::{ConfigError, Variables, wrong};
use crate::core::decide::quota::Quota;
use crate::core::retention::Retention;
use crate::limits::api::COMPACT_DEFAULT_DAYS;
use crate::limits::protocol::{DAY_MS, INTEGER_MAX};
use crate::limits::runtime::{RETENTION_MAX_DAYS, SCHEDULE_MAX_HOURS};

/// The settings of the scheduled compaction.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CompactionConfig {
    /// The age of the log entries to remove, in days.
    pub older_than_days: f64,
    /// How long after a scheduled compaction of the local server the next one begins, in hours. `None` for none.
    pub every_hours: Option<u32>,
}

impl CompactionConfig {
    /// The age of the log entries to remove, in milliseconds. An age that does not fit becomes the greatest one.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the conversion saturates, and a day has few digits"
    )]
    pub fn older_than_ms(&self) -> u64 {
        (self.older_than_days * DAY_MS as f64) as u64
    }

    pub(super) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        Ok(Self { older_than_days: older_than_days(variables)?, every_hours: every_hours(variables)? })
    }
}

fn older_than_days(variables: &Variables<'_>) -> Result<f64, ConfigError> {
    const VARIABLE: &str = "COMPACT_OLDER_THAN_DAYS";
    let rule = "must be a number from 0";
    let days: f64 = variables.parse(VARIABLE, &COMPACT_DEFAULT_DAYS.to_string(), rule)?;
    if days.is_finite() && days >= 0.0 { Ok(days) } else { Err(wrong(VARIABLE, rule, &days.to_string())) }
}

fn every_hours(variables: &Variables<'_>) -> Result<Option<u32>, ConfigError> {
    const VARIABLE: &str = "COMPACT_EVERY_HOURS";
    let value = variables.get_or(VARIABLE, "off");
    if value == "off" {
        return Ok(None);
    }
    let rule = || wrong(VARIABLE, &format!("must be off or an integer from 1 to {SCHEDULE_MAX_HOURS}"), &value);
    let hours = value.parse().ok().filter(|hours| (1..=SCHEDULE_MAX_HOURS).contains(hours));
    hours.map(Some).ok_or_else(rule)
}

/// Reads the retention of every tenant. A variable that is not set keeps its kind for ever.
pub(super) fn retention(variables: &Variables<'_>) -> Result<Retention, ConfigError> {
    let ms = |variable: &'static str| {
        let Some(value) = variables.get(variable) else { return Ok(None) };
        let days = value.parse().ok().filter(|days| (1..=RETENTION_MAX_DAYS).contains(days));
        let rule = || wrong(variable, &format!("must be an integer from 1 to {RETENTION_MAX_DAYS}"), &value);
        days.map(|days| Some(days * DAY_MS)).ok_or_else(rule)
    };
    let retention = Retention {
        tombstones_ms: ms("TOMBSTONE_DAYS")?,
        ids_ms: ms("ID_DAYS")?,
        fingerprints_ms: ms("FINGERPRINT_DAYS")?,
        clients_ms: ms("CLIENT_DAYS")?.unwrap_or(Retention::default().clients_ms),
    };
    match (retention.ids_ms, retention.fingerprints_ms) {
        (Some(_), None) => Err(ConfigError::new("ID_DAYS", "has no effect without FINGERPRINT_DAYS")),
        (None, Some(_)) => Err(ConfigError::new("FINGERPRINT_DAYS", "has no effect without ID_DAYS")),
        _ => Ok(retention),
    }
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
    fn a_schedule_is_a_number_of_hours_or_off() {
        let every = |value: &str| {
            read_from(&[("COMPACT_EVERY_HOURS", value)], CompactionConfig::read).map(|config| config.every_hours)
        };
        assert_eq!((every(""), every("off"), every("24")), (Ok(None), Ok(None), Ok(Some(24))));
        for wrong in ["0", "-1", "1.5", "8785", "daily"] {
            assert!(every(wrong).unwrap_err().starts_with("COMPACT_EVERY_HOURS: must be off or an integer"), "{wrong}");
        }
    }

    #[test]
    fn retention_is_a_number_of_days_and_for_ever_if_it_is_not_set() {
        assert_eq!(read_from(&[], retention), Ok(Retention::of_clients(90 * DAY_MS)));
        let set = [("TOMBSTONE_DAYS", "30"), ("ID_DAYS", "1"), ("FINGERPRINT_DAYS", "36500"), ("CLIENT_DAYS", "60")];
        let expected = Retention {
            tombstones_ms: Some(30 * DAY_MS),
            ids_ms: Some(DAY_MS),
            fingerprints_ms: Some(36_500 * DAY_MS),
            clients_ms: 60 * DAY_MS,
        };
        assert_eq!(read_from(&set, retention), Ok(expected));
        for variable in ["TOMBSTONE_DAYS", "ID_DAYS", "FINGERPRINT_DAYS", "CLIENT_DAYS"] {
            for value in ["0", "-1", "0.5", "36501", "a month"] {
                let problem = read_from(&[(variable, value)], retention).unwrap_err();
                assert!(problem.starts_with(&format!("{variable}: must be an integer from 1 to 36500")), "{problem}");
            }
        }
        for variable in ["ID_DAYS", "FINGERPRINT_DAYS"] {
            let problem = read_from(&[(variable, "30")], retention).unwrap_err();
            assert!(problem.starts_with(&format!("{variable}: has no effect without")), "{problem}");
        }
    }

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
