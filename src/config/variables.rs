//! Variables that are set, and the error for a wrong one.

use std::fmt;

use super::secret;

/// A wrong setting: the variable and its fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    variable: &'static str,
    problem: String,
}

impl ConfigError {
    /// Describes the fault of a variable in one line.
    pub fn new(variable: &'static str, problem: impl fmt::Display) -> Self {
        Self { variable, problem: problem.to_string().replace(['\n', '\r'], " ") }
    }
}

/// The error for a value that breaks a rule. The value is shown, unless it may contain a secret.
pub(super) fn wrong(variable: &'static str, rule: &str, value: &str) -> ConfigError {
    if secret::may_be_in(value) || secret::looks_like_a_password(value) {
        return ConfigError::new(variable, format_args!("{rule}, not what it is set to"));
    }
    ConfigError::new(variable, format_args!("{rule}, not {value:?}"))
}

/// The variables that are set and not empty.
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    pub(super) fn get(&self, variable: &str) -> Option<String> {
        (self.0)(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    pub(super) fn get_or(&self, variable: &str, default: &str) -> String {
        self.get(variable).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn parse<T: std::str::FromStr>(
        &self,
        variable: &'static str,
        default: &str,
        rule: &str,
    ) -> Result<T, ConfigError> {
        let value = self.get_or(variable, default);
        value.parse().map_err(|_| wrong(variable, rule, &value))
    }

    /// An integer from 1 to `max`.
    pub(super) fn integer(&self, variable: &'static str, default: u32, max: u32) -> Result<u32, ConfigError> {
        let rule = format!("must be an integer from 1 to {max}");
        let value = self.parse(variable, &default.to_string(), &rule)?;
        if (1..=max).contains(&value) { Ok(value) } else { Err(wrong(variable, &rule, &value.to_string())) }
    }
}

/// Reads settings from a list of variables, for tests.
#[cfg(test)]
pub(super) fn read_from<T>(
    set: &[(&str, &str)],
    read: impl FnOnce(&Variables<'_>) -> Result<T, ConfigError>,
) -> Result<T, String> {
    let look_up = |name: &str| set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
    read(&Variables(&look_up)).map_err(|error| error.to_string())
}
