//! The output of an operator's commands: text for people, or a line of JSON for each row.

use std::error::Error;
use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Prints rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) as_json: bool,
    /// Whether the rows go to the standard error, because the standard output has other things.
    pub(crate) to_stderr: bool,
}

impl Output {
    /// Prints a row as JSON, or as text.
    pub(crate) fn row(self, json: &Value, text: &str) -> io::Result<()> {
        let line = if self.as_json { json.to_string() } else { text.to_owned() };
        if self.to_stderr { writeln!(io::stderr(), "{line}") } else { writeln!(io::stdout(), "{line}") }
    }
}

/// Asks for a yes on the terminal. Nothing may be destroyed without one.
///
/// # Errors
/// If there is no terminal on which somebody could answer.
pub(crate) fn confirm(question: &str, is_confirmed: bool) -> Result<bool, Box<dyn Error>> {
    if is_confirmed {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        return Err(format!("{question} Nobody can be asked without a terminal; add --yes if it is meant.").into());
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The least time between two counts on the terminal.
const PAUSE: Duration = Duration::from_millis(200);

/// A count on the terminal while a command works. There is none if the standard error is not a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal(), last: None }
    }

    /// Shows how far the work is, but not too often.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.is_shown && self.last.is_none_or(|last| last.elapsed() >= PAUSE) {
            let _ = write!(io::stderr(), "\r{}\u{1b}[K", text());
            self.last = Some(Instant::now());
        }
    }

    /// Removes the count.
    pub(crate) fn end(self) {
        if self.last.is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
