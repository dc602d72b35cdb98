//! Structured logs on the standard error. The standard output is left to the output of a program.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{ConfigError, LogConfig, LogFormat};

/// Starts logging for the whole process.
///
/// # Errors
/// If the filter cannot be read, or logging was started before.
pub fn start(config: &LogConfig) -> Result<(), ConfigError> {
    let filter: Targets = config.filter.parse().map_err(|problem| ConfigError::new("LOG_LEVEL", problem))?;
    // Colours help a person at a terminal, but are noise in a file.
    let is_terminal = io::stderr().is_terminal();
    let lines = layer().with_writer(io::stderr).with_ansi(is_terminal);
    let lines = match config.format {
        LogFormat::Pretty => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let started = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    started.map_err(|problem| ConfigError::new("LOG_LEVEL", problem))
}
