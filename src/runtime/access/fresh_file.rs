//! A file of tokens or keys, which is read again when it changes.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::ConfigError;
use crate::core::numbers::UnixMs;
use crate::limits::runtime::ACCESS_FILE_TRUSTED_MS;

/// The content of a file, as it was read last.
pub(super) struct FreshFile<T> {
    kind: Kind<T>,
    path: PathBuf,
    seen: Mutex<Seen<T>>,
}

/// The kind of a file.
pub(super) struct Kind<T> {
    /// The variable that names the file.
    pub(super) variable: &'static str,
    pub(super) max_bytes: usize,
    pub(super) parse: fn(&str) -> Result<T, String>,
}

struct Seen<T> {
    read_at_ms: UnixMs,
    is_being_read: bool,
    text: String,
    content: Arc<T>,
}

impl<T: Debug + Send + Sync + 'static> FreshFile<T> {
    pub(super) fn open(kind: Kind<T>, path: &Path, now_ms: UnixMs) -> Result<Arc<Self>, ConfigError> {
        let text = kind.read(path).map_err(|problem| ConfigError::new(kind.variable, problem))?;
        let content = kind.parse(path, &text).map_err(|problem| ConfigError::new(kind.variable, problem))?;
        let seen = Seen { read_at_ms: now_ms, is_being_read: false, text, content: Arc::new(content) };
        Ok(Arc::new(Self { kind, path: path.to_owned(), seen: Mutex::new(seen) }))
    }

    /// The content. If the file cannot be read now, it is the one that was read before.
    ///
    /// After a while a request reads the file again, on a thread for work that blocks. It waits for that, and the
    /// others do not. If the request goes away, the file is read all the same.
    pub(super) async fn content(self: &Arc<Self>, now_ms: UnixMs) -> Arc<T> {
        {
            let mut seen = self.seen();
            if seen.is_being_read || now_ms.ms_between(seen.read_at_ms) < ACCESS_FILE_TRUSTED_MS {
                return Arc::clone(&seen.content);
            }
            (seen.is_being_read, seen.read_at_ms) = (true, now_ms);
        }
        let this = Arc::clone(self);
        // An error means that the process ends, or that the content stays as it was.
        let _ = tokio::task::spawn_blocking(move || this.read_again()).await;
        Arc::clone(&self.seen().content)
    }

    /// Reads the file now, however old the content is. This call blocks.
    pub(super) fn reload(&self, now_ms: UnixMs) {
        self.seen().read_at_ms = now_ms;
        self.read_again();
    }

    fn read_again(&self) {
        /// Ends the reading, also if it panics.
        struct Ended<'a, T>(&'a Mutex<Seen<T>>);

        impl<T> Drop for Ended<'_, T> {
            fn drop(&mut self) {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).is_being_read = false;
            }
        }

        let _ended = Ended(&self.seen);
        let variable = self.kind.variable;
        let read = self.kind.read(&self.path).and_then(|text| {
            let is_same = self.seen().text == text;
            if is_same { Ok(None) } else { Ok(Some((self.kind.parse(&self.path, &text)?, text))) }
        });
        match read {
            Ok(None) => {}
            Ok(Some((content, text))) => {
                tracing::info!(access.content = ?content, "{variable}: the file was read again");
                let mut seen = self.seen();
                (seen.content, seen.text) = (Arc::new(content), text);
            }
            // The problem is logged each time, because a withdrawn token or key stays valid as long as it lasts.
            Err(problem) => tracing::error!(error.cause = problem, "{variable}: the content stays as it was"),
        }
    }

    /// No code panics while it holds the lock.
    fn seen(&self) -> MutexGuard<'_, Seen<T>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Kind<T> {
    fn parse(&self, path: &Path, text: &str) -> Result<T, String> {
        (self.parse)(text).map_err(|problem| format!("the file {}: {problem}", path.display()))
    }

    fn read(&self, path: &Path) -> Result<String, String> {
        let Self { max_bytes, .. } = self;
        let wrong = |problem: &str| format!("the file {} {problem}", path.display());
        let mut bytes = Vec::new();
        let cannot_be_read = |error: std::io::Error| wrong(&format!("cannot be read: {}", error.kind()));
        // This is checked before the file is opened, because opening a pipe would wait for a writer.
        if !fs::metadata(path).map_err(cannot_be_read)?.is_file() {
            return Err(wrong("is not a regular file"));
        }
        let file = File::open(path).map_err(cannot_be_read)?;
        file.take(*max_bytes as u64 + 1).read_to_end(&mut bytes).map_err(cannot_be_read)?;
        if bytes.len() > *max_bytes {
            return Err(wrong(&format!("has more than {max_bytes} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| wrong("is not in UTF-8"))
    }
}
