//! Structured logs on the standard error, so that the standard output is left to what a program has to say.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, LogConfig, LogFormat};

/// Starts logging for the whole process.
///
/// # Errors
/// When the filter is none, or logging was started before.
pub fn start(config: &LogConfig) -> Result<(), ConfigError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|problem| ConfigError::new("LOG_LEVEL", problem))?;
    // Colours are for a person at a terminal, and noise in a file.
    let is_terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(is_terminal);
    let started = match config.format {
        LogFormat::Pretty => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    started.map_err(|problem| ConfigError::new("LOG_LEVEL", problem))
}
