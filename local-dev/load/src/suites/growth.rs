//! Logs of different lengths over the same documents, and the compaction of the longest.

use std::cell::Cell;
use std::time::{Duration, Instant};

use http::Method;

use super::Bench;
use super::push::push_load;
use super::read::{pull_load, stats_load};
use crate::Result;
use crate::database::Database;
use crate::load::{Load, Watch};
use crate::options::SuiteName;
use crate::report::{Goal, Measure, Sample};
use crate::site::{Site, fill};
use crate::work::Work;

/// The number of connections for pushes and pulls on logs of all lengths.
const CONNECTIONS: u64 = 8;
const PUSHED_OPERATIONS: usize = 50;
const PULLED_OPERATIONS: u64 = 1_000;

/// The number of operations in a push while the log is compacted.
const PUSHED_MEANWHILE: usize = 10;

/// How long pushes run before they check whether the compaction is done.
const SLICE: Duration = Duration::from_millis(500);

/// A log of a certain length.
struct Long {
    operations: u64,
    database: Database,
    site: Site,
}

/// The measurements on each log.
#[derive(Clone, Copy)]
enum Kind {
    Stats,
    Pull,
    FirstSync,
    Push,
}

impl Bench<'_> {
    /// The suites that need long logs.
    pub(super) async fn run_on_logs(&mut self, suites: &[SuiteName]) -> Result<()> {
        let mut logs = Vec::new();
        for operations in self.options.log_lengths() {
            let database = self.databases.make().await?;
            self.progress.set_message(format!("{operations} operations"));
            let work = Work::new(self.options.documents(), false);
            let site = Site::start(&database, work, operations, &self.progress).await?;
            logs.push(Long { operations, database, site });
        }
        if suites.contains(&SuiteName::Growth) {
            self.growth(&logs).await?;
        }
        if suites.contains(&SuiteName::Compaction)
            && let Some(longest) = logs.last()
        {
            self.compaction(longest).await?;
        }
        for log in &logs {
            self.note_peak(&log.site.server);
        }
        Ok(())
    }

    /// The same measurements on every log, with the lengths in turn. Pushes come last, because they make the logs
    /// longer.
    async fn growth(&mut self, logs: &[Long]) -> Result<()> {
        let kinds = [
            (Kind::Stats, "stats", Measure::Requests, Goal::AtLeast(0.8)),
            (Kind::Pull, "pull, pages of 1000", Measure::Rows, Goal::AtLeast(0.75)),
            (Kind::FirstSync, "first sync", Measure::P50, Goal::AtMost(1.2)),
            (Kind::Push, "push, batches of 50", Measure::Rows, Goal::AtLeast(0.75)),
        ];
        for (kind, what, measure, goal) in kinds {
            self.begin(&format!("{what} as the log grows"), u64::from(self.options.runs) * logs.len() as u64);
            let mut of_logs: Vec<Vec<Sample>> = logs.iter().map(|_| Vec::new()).collect();
            for _ in 0..self.options.runs {
                for (log, samples) in logs.iter().zip(&mut of_logs) {
                    let load = load_of(kind, &log.site, self.watch(Some(&log.site.server)));
                    samples.push(self.measure(load).await?);
                }
            }
            let (Some(shortest), Some(first)) = (logs.first(), of_logs.first()) else { continue };
            for (log, samples) in logs.iter().zip(&of_logs) {
                let name = format!("{what}, {} operations", log.operations);
                let against = format!("{} operations", shortest.operations);
                let yardstick = (log.operations > shortest.operations).then_some((against.as_str(), &first[..]));
                let is_longest = logs.last().is_some_and(|longest| longest.operations == log.operations);
                self.add(name, samples, yardstick, measure, is_longest.then_some(goal));
            }
        }
        Ok(())
    }

    /// Pushes while the whole log is compacted, compared with the same pushes before.
    async fn compaction(&mut self, log: &Long) -> Result<()> {
        let (site, watch) = (&log.site, self.watch(Some(&log.site.server)));
        let (mut before, mut meanwhile) = (Vec::new(), Vec::new());
        for run in 0..self.options.runs {
            if run > 0 {
                self.progress.set_message(format!("{} operations", log.operations));
                fill(&log.database, &site.work, log.operations, &self.progress).await?;
            }
            self.begin("compaction under load", 2);
            let load = push_load(site, PUSHED_MEANWHILE, CONNECTIONS, watch);
            before.push(self.measure(load).await?);
            meanwhile.push(self.measure(compact_and_push(site, watch)).await?);
        }
        let name = format!("push, batches of {PUSHED_MEANWHILE}, while {} operations are compacted", log.operations);
        self.add(name, &meanwhile, Some(("the same without", &before)), Measure::P99, Some(Goal::AtMost(3.0)));
        Ok(())
    }
}

async fn load_of(kind: Kind, site: &Site, watch: Watch) -> Result<Load> {
    match kind {
        Kind::Stats => stats_load(site, watch).await,
        Kind::Pull => pull_load(site, PULLED_OPERATIONS, CONNECTIONS, watch).await,
        Kind::FirstSync => first_syncs(site, watch).await,
        Kind::Push => push_load(site, PUSHED_OPERATIONS, CONNECTIONS, watch).await,
    }
}

/// A client that begins without a cursor and pulls everything, repeatedly.
async fn first_syncs(site: &Site, watch: Watch) -> Result<Load> {
    let mut client = site.client().await?;
    let mut load = Load::default();
    let running = watch.start();
    while running.goes_on() {
        let sync_began = Instant::now();
        let mut cursor = String::new();
        let mut rows = 0;
        loop {
            let body = format!(r#"{{"cursor":"{cursor}","limit":{PULLED_OPERATIONS}}}"#);
            let page = client.pull(body, PULLED_OPERATIONS).await?;
            rows += page.rows;
            cursor = page.cursor;
            if !page.has_more {
                break;
            }
        }
        if rows < site.work.documents {
            return Err(format!("a first sync had {rows} of {} documents", site.work.documents).into());
        }
        load.add(rows, sync_began.elapsed());
    }
    running.stop(&mut load);
    Ok(load)
}

/// Compacts the whole log, and pushes until that is done.
async fn compact_and_push(site: &Site, watch: Watch) -> Result<Load> {
    let is_done = Cell::new(false);
    let compact = async {
        let mut client = site.client().await?;
        loop {
            let answer = client.ok(Method::POST, "/compact", r#"{"olderThanDays":0}"#).await?;
            if answer.ends_with(br#""hasMore":false}"#) {
                is_done.set(true);
                return Ok(());
            }
        }
    };
    let push = async {
        let running = watch.start();
        let slice = Watch { time: watch.time.min(SLICE), ..watch };
        let mut load = Load::default();
        while !is_done.get() {
            load = load.merge(push_load(site, PUSHED_MEANWHILE, CONNECTIONS, slice).await?);
        }
        running.stop(&mut load);
        Ok::<_, Box<dyn std::error::Error>>(load)
    };
    // Each request compacts for a bounded time, and removes more from the log than is pushed meanwhile.
    let (compacted, load): (Result<()>, Result<Load>) = tokio::join!(compact, push);
    compacted?;
    load
}
