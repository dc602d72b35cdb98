//! The file of static tokens, which is read again when it changes.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::auth::tokens::StaticTokens;
use crate::config::ConfigError;
use crate::core::numbers::UnixMs;
use crate::limits::runtime::{TOKENS_FILE_MAX_BYTES, TOKENS_FILE_TRUSTED_MS};

const VARIABLE: &str = "AUTH_TOKENS_FILE";

/// The tokens of a file, as they were read last.
pub(super) struct TokensFile {
    path: PathBuf,
    seen: Mutex<Seen>,
}

struct Seen {
    read_at_ms: UnixMs,
    text: String,
    tokens: Arc<StaticTokens>,
}

impl TokensFile {
    pub(super) fn open(path: &Path, now_ms: UnixMs) -> Result<Self, ConfigError> {
        let text = read(path).map_err(|problem| ConfigError::new(VARIABLE, problem))?;
        let tokens = parse(path, &text).map_err(|problem| ConfigError::new(VARIABLE, problem))?;
        let seen = Seen { read_at_ms: now_ms, text, tokens: Arc::new(tokens) };
        Ok(Self { path: path.to_owned(), seen: Mutex::new(seen) })
    }

    /// The tokens. If the file cannot be read now, they are those that were read before.
    pub(super) fn tokens(&self, now_ms: UnixMs) -> Arc<StaticTokens> {
        // No code panics while it holds the lock.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now_ms.ms_between(seen.read_at_ms) >= TOKENS_FILE_TRUSTED_MS {
            seen.read_at_ms = now_ms;
            match read(&self.path) {
                Ok(text) if text == seen.text => {}
                Ok(text) => match parse(&self.path, &text) {
                    Ok(tokens) => {
                        tracing::info!(access.tokens = ?tokens, "the file of tokens was read again");
                        seen.tokens = Arc::new(tokens);
                        seen.text = text;
                    }
                    // The problem is logged each time, because a withdrawn token stays valid as long as it lasts.
                    Err(problem) => tracing::error!(error.cause = problem, "{VARIABLE}: the tokens stay as they were"),
                },
                Err(problem) => tracing::error!(error.cause = problem, "{VARIABLE}: the tokens stay as they were"),
            }
        }
        Arc::clone(&seen.tokens)
    }
}

fn parse(path: &Path, text: &str) -> Result<StaticTokens, String> {
    StaticTokens::parse(text).map_err(|problem| format!("the file {}: {problem}", path.display()))
}

fn read(path: &Path) -> Result<String, String> {
    let wrong = |problem: &str| format!("the file {} {problem}", path.display());
    let mut bytes = Vec::new();
    let cannot_be_read = |error: std::io::Error| wrong(&format!("cannot be read: {}", error.kind()));
    // This is checked before the file is opened, because opening a pipe would wait for a writer.
    if !fs::metadata(path).map_err(cannot_be_read)?.is_file() {
        return Err(wrong("is not a regular file"));
    }
    let file = File::open(path).map_err(cannot_be_read)?;
    let read = file.take(TOKENS_FILE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(cannot_be_read)?;
    if bytes.len() > TOKENS_FILE_MAX_BYTES {
        return Err(wrong(&format!("has more than {TOKENS_FILE_MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| wrong("is not in UTF-8"))
}
