//! The log of one test, in which other tests log at the same time.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// The lines that are logged on this thread as long as the value lives.
pub(crate) struct Logs {
    lines: Lines,
    _second: Dispatch,
    _guard: DefaultGuard,
}

impl Logs {
    /// Begins with a subscriber that writes lines of JSON.
    pub(crate) fn capture() -> Self {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
        // When a place in the code logs for the first time, `tracing` asks all subscribers whether they want its lines.
        // It keeps the answer. If there is only one, it asks that of the thread instead: another test without one would
        // silence the place for all. So there are two.
        let second = Dispatch::new(tracing_subscriber::registry());
        let guard = tracing::subscriber::set_default(subscriber);
        tracing::callsite::rebuild_interest_cache();
        Self { lines, _second: second, _guard: guard }
    }

    /// Takes the text since the last call.
    pub(crate) fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.lines.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8(bytes).expect("text")
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
