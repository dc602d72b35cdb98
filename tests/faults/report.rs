//! The report of a run: its progress, its faults, and whether there were enough of them to prove something.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::database::Database;
use super::nemesis::Nemesis;
use super::record::Record;
use crate::history::{Call, History};

/// The number of answered pushes below which a run proves nothing.
const PUSHES_MIN: usize = 20;

/// The pause between two lines of progress if they do not go to a terminal.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

fn of(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Prints the progress of a run until its time is over.
pub(super) async fn progress(record: &Record, until: Instant) {
    let is_terminal = std::io::stderr().is_terminal();
    let every = if is_terminal { Duration::from_secs(1) } else { PROGRESS_EVERY };
    while Instant::now() + every < until {
        tokio::time::sleep(every).await;
        let counts = &record.counts;
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        let (begin, end) = if is_terminal { ("\r", "") } else { ("", "\n") };
        // The tests' captured output is shown only at the end, so this bypasses the capture.
        let _ = write!(
            std::io::stderr(),
            "{begin}{left} s left, {} requests, {} unanswered, {} servers killed, {} databases killed{end}",
            of(&counts.requests),
            of(&counts.unanswered),
            of(&counts.servers_killed),
            of(&counts.databases_killed),
        );
    }
}

/// A summary of the faults in a run.
pub(super) fn survived(history: &History, record: &Record, nemesis: &Nemesis) -> String {
    let (mut pushed, mut lost) = (0, 0);
    for exchange in &history.exchanges {
        match &exchange.call {
            Call::Push { operations, outcomes: Some(_) } => pushed += operations.len(),
            Call::Push { outcomes: None, .. } => lost += 1,
            _ => {}
        }
    }
    let (counts, mischief) = (&record.counts, nemesis.mischief());
    format!(
        "survived: {} servers killed, {} servers frozen, {} databases killed, {} connections cut, {} answers dropped\n\
         clients: {} requests, {} unanswered, {} told to try later, {} pushes unanswered, {} sent again, \
         {pushed} operations answered, {} wake-ups, {} pulls with news without one",
        of(&counts.servers_killed),
        of(&counts.servers_frozen),
        of(&counts.databases_killed),
        mischief.cuts,
        mischief.lost_answers,
        of(&counts.requests),
        of(&counts.unanswered),
        of(&counts.unavailable),
        lost,
        of(&counts.retries),
        of(&counts.woken),
        of(&counts.polled_news),
    )
}

/// Why a run proves nothing, if it does not: it had too few faults or too few writes.
pub(super) fn too_good(history: &History, record: &Record, nemesis: &Nemesis) -> Option<&'static str> {
    let (counts, mischief) = (&record.counts, nemesis.mischief());
    let has_process = !matches!(nemesis.database, Database::Sqlite { .. });
    let answered =
        |exchange: &&crate::history::Exchange| matches!(&exchange.call, Call::Push { outcomes: Some(_), .. });
    let missing = [
        (of(&counts.servers_killed) == 0 || of(&counts.servers_frozen) == 0, "no server was killed or frozen"),
        (mischief.cuts == 0 || mischief.lost_answers == 0 || of(&counts.unanswered) == 0, "the network was well"),
        (has_process && of(&counts.databases_killed) == 0, "the database was never killed"),
        (history.exchanges.iter().filter(answered).count() <= PUSHES_MIN, "hardly anything was pushed"),
        (of(&counts.woken) == 0, "no listener was woken"),
        (of(&counts.polled_news) == 0, "no wake-up was lost"),
    ];
    missing.into_iter().find_map(|(is_missing, what)| is_missing.then_some(what))
}
