//! Structured logs on the standard error. The standard output is left to the output of a program.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

use super::log_queue::{Queue, QueueEnd};
use super::traces::Traces;
use crate::config::{ConfigError, LogConfig, LogFormat};
use crate::service::TRACE_TARGET;

/// Starts logging for the whole process. A line is written when it is logged, so a function that is frozen after its
/// answer loses none.
///
/// # Errors
/// If the filter cannot be read, or logging was started before.
pub fn start(config: &LogConfig) -> Result<(), ConfigError> {
    start_with(config, io::stderr, None).map(drop)
}

/// The log of a process while it runs. The rest of the lines is written when this is dropped.
#[derive(Debug)]
pub struct RunningLog {
    queue: Queue,
    filter: LogFilter,
    _end: QueueEnd,
}

impl RunningLog {
    /// The filter, which can be changed.
    #[must_use]
    pub fn filter(&self) -> LogFilter {
        self.filter.clone()
    }

    /// Reads how many bytes of lines wait to be written.
    pub fn waiting_bytes(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let queue = self.queue.clone();
        move || queue.waiting_bytes()
    }
}

/// The filter of the log, which can be changed while the process runs.
#[derive(Debug, Clone)]
pub struct LogFilter(reload::Handle<Targets, Registry>);

impl LogFilter {
    /// Applies the filter of these settings from now on.
    ///
    /// # Errors
    /// If the filter cannot be read.
    pub fn apply(&self, config: &LogConfig) -> Result<(), ConfigError> {
        let filter = targets(config)?;
        self.0.reload(filter).map_err(|problem| ConfigError::new("LOG_LEVEL", problem))
    }
}

/// The filter of the log. A line shows only the innermost span, so those for traces must not hide that of the request.
fn targets(config: &LogConfig) -> Result<Targets, ConfigError> {
    let targets: Targets = config.filter.parse().map_err(|problem| ConfigError::new("LOG_LEVEL", problem))?;
    Ok(targets.with_target(TRACE_TARGET, LevelFilter::OFF))
}

/// Starts logging for the whole process through a bounded queue, so that no request waits for the reader of the log.
/// The rest is written when the result is dropped. The spans of traces begin and end here too.
///
/// # Errors
/// As for [`start`].
pub fn start_in_background(config: &LogConfig, traces: Option<&Traces>) -> Result<RunningLog, ConfigError> {
    let queue = Queue::default();
    let filter = start_with(config, queue.clone(), traces)?;
    let end = queue.start(io::stderr()).map_err(|problem| ConfigError::new("LOG_LEVEL", problem))?;
    // The default hook writes to the standard error itself, and waits for it.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        tracing::error!(panic.backtrace = backtrace.map(tracing::field::display), "{panic}");
    }));
    Ok(RunningLog { queue, filter, _end: end })
}

fn start_with<W>(config: &LogConfig, writer: W, traces: Option<&Traces>) -> Result<LogFilter, ConfigError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(config)?);
    // Colours help a person at a terminal, but are noise in a file.
    let is_terminal = io::stderr().is_terminal();
    let lines = layer().with_writer(writer).with_ansi(is_terminal);
    let lines = match config.format {
        LogFormat::Pretty => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let log = tracing_subscriber::registry().with(lines.with_filter(filter));
    let started = match traces {
        Some(traces) => log.with(traces.spans()).try_init(),
        None => log.try_init(),
    };
    started.map_err(|problem| ConfigError::new("LOG_LEVEL", problem))?;
    Ok(LogFilter(handle))
}
