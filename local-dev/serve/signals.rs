//! The signals that the server obeys.

use std::io::{self, IsTerminal as _};

use syncflow_server::runtime::Access;
use syncflow_server::runtime::logging::LogFilter;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::settings;

/// The signals that end the server, and the one for which it reads its settings again.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Installs handlers for the signals. Without them, the system would end the process at once. A server at a
    /// terminal ends with it, because `SIGHUP` means there that the terminal was closed.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: (!io::stderr().is_terminal()).then(|| signal(SignalKind::hangup())).transpose()?,
        })
    }

    /// Waits for one of the signals that end the server.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// From now on, reads the level of the log and the file of tokens again for each `SIGHUP`. Only a file can have
    /// changed, because the environment of a process stays the same.
    pub(super) fn reload_on_hangup(&mut self, filter: LogFilter, access: Access) {
        let Some(mut hangup) = self.hangup.take() else { return };
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                access.reload();
                let read = settings::read().and_then(|settings| {
                    filter.apply(&settings.config.log)?;
                    Ok(settings.config.log.filter)
                });
                match read {
                    Ok(filter) => tracing::info!(log.filter = filter, "the settings were read again"),
                    Err(problem) => tracing::error!(error.cause = %problem, "the settings stay as they were"),
                }
            }
        });
    }
}
