//! The output of an operator's commands: text for people, or a line of JSON for each row.

use std::error::Error;
use std::io::{self, BufRead as _, IsTerminal as _, Write};

use indicatif::{ProgressBar, ProgressStyle};
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

/// A bar or a count on the terminal while a command works. There is none if the standard error is not a terminal.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A count, if it is not known how much work there is.
    pub(crate) fn new() -> Self {
        Self(ProgressBar::no_length().with_style(style("{spinner} {msg} ({elapsed})")))
    }

    /// A bar over so many bytes.
    pub(crate) fn of_bytes(total: u64) -> Self {
        let template = "[{bar:40}] {decimal_bytes} of {decimal_total_bytes}, {msg} ({elapsed}, {eta} left)";
        Self(ProgressBar::new(total).with_style(style(template)))
    }

    /// A bar over so many steps as are said later.
    pub(crate) fn of_steps() -> Self {
        Self(ProgressBar::new(0).with_style(style("[{bar:40}] {percent} %, {msg} ({elapsed}, {eta} left)")))
    }

    /// Shows how far the work is, but not too often.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if !self.0.is_hidden() {
            self.0.set_message(text());
        }
    }

    /// The same with the bytes that are done.
    pub(crate) fn show_bytes(&mut self, done: u64, text: impl FnOnce() -> String) {
        self.0.set_position(done);
        self.show(text);
    }

    /// The same with the steps that are done, and with all that there are.
    pub(crate) fn show_steps(&mut self, done: u64, total: u64, text: impl FnOnce() -> String) {
        self.0.set_length(total);
        self.show_bytes(done, text);
    }

    /// Removes it.
    pub(crate) fn end(self) {
        self.0.finish_and_clear();
    }
}

/// The style of a template of ours, which is right.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
