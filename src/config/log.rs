//! The settings of the log.

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::variables::{ConfigError, Variables, wrong};

/// The settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber`'s `EnvFilter`.
    pub filter: String,
}

/// The form of a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object each.
    Json,
}

impl LogConfig {
    pub(super) fn read(variables: &Variables<'_>, default_format: &str) -> Result<Self, ConfigError> {
        Ok(Self { format: format(variables, default_format)?, filter: filter(variables)? })
    }
}

fn format(variables: &Variables<'_>, default: &str) -> Result<LogFormat, ConfigError> {
    match variables.get_or("LOG_FORMAT", default).as_str() {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        other => Err(wrong("LOG_FORMAT", "must be pretty or json", other)),
    }
}

fn filter(variables: &Variables<'_>) -> Result<String, ConfigError> {
    const VARIABLE: &str = "LOG_LEVEL";
    let filter = variables.get_or(VARIABLE, "info");
    // A single word that is not a level would be read as the name of a module, and would turn off everything else.
    let is_directive = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        level.parse::<LevelFilter>().is_ok()
    };
    let is_known = filter.split(',').all(is_directive) && filter.parse::<Targets>().is_ok();
    let rule = "must be error, warn, info, debug, trace, off, or directives such as warn,syncflow_server=debug";
    if is_known { Ok(filter) } else { Err(wrong(VARIABLE, rule, &filter)) }
}
