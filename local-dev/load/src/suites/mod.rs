//! The suites: the measurements and their comparisons.

mod access;
mod growth;
mod mixed;
mod policies;
mod push;
mod read;
mod tenants;
mod wakes;

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::Result;
use crate::database::Databases;
use crate::floor::Floor;
use crate::load::{Load, Watch};
use crate::meter;
use crate::options::{Options, StoreName, SuiteName};
use crate::report::{Figure, Goal, Measure, Memory, Report, Sample};
use crate::server::Server;
use crate::site::{Site, fill};
use crate::work::Work;

/// The greatest memory of a server before its first request, in MB.
const IDLE_MAX_MB: f64 = 20.0;

/// The greatest memory of a server over all suites, in MB.
const PEAK_MAX_MB: f64 = 150.0;

/// How long a server is idle before its memory is read.
const IDLE_TIME: Duration = Duration::from_millis(500);

/// When the suites begin, the log has this many operations for each document.
const LOG_PER_DOCUMENT: u64 = 3;

/// The state that all suites of a store share.
struct Bench<'a> {
    store: StoreName,
    options: &'a Options,
    databases: Databases,
    progress: ProgressBar,
    report: Report,
    peak_mb: f64,
}

/// A server, and a floor with the same number of rows.
struct Pair {
    site: Site,
    floor: Box<dyn Floor>,
    floor_work: Work,
}

/// Runs the chosen suites on one store.
pub(crate) async fn run(store: StoreName, options: &Options) -> Result<Report> {
    let progress = ProgressBar::no_length();
    let style = ProgressStyle::with_template("{prefix:10} {bar:30} {percent:>3} % of {msg} ({elapsed})")?;
    progress.set_style(style);
    progress.set_prefix(store.as_str());
    let databases = Databases::of(store).await?;
    let mut bench = Bench { store, options, databases, progress, report: Report::default(), peak_mb: 0.0 };
    let (on_pair, others): (Vec<_>, Vec<_>) = options.suites().into_iter().partition(|suite| suite.is_on_pair());
    let (on_logs, alone): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|suite| matches!(suite, SuiteName::Growth | SuiteName::Compaction));
    if !on_pair.is_empty() {
        bench.run_on_pair(&on_pair).await?;
    }
    if !on_logs.is_empty() {
        bench.run_on_logs(&on_logs).await?;
    }
    for suite in alone {
        match suite {
            SuiteName::Tenants => bench.tenants().await?,
            SuiteName::Wakes => bench.wakes().await?,
            SuiteName::Access => bench.access().await?,
            SuiteName::Policies => bench.policies().await?,
            _ => {}
        }
    }
    bench.progress.finish_and_clear();
    let goal = Goal::AtMost(PEAK_MAX_MB);
    bench.report.memory.push(Memory { store: store.as_str(), name: "peak", megabytes: bench.peak_mb, goal });
    Ok(bench.report)
}

impl Bench<'_> {
    async fn run_on_pair(&mut self, suites: &[SuiteName]) -> Result<()> {
        let pair = self.pair().await?;
        self.note_idle(&pair.site.server).await?;
        for suite in suites {
            match suite {
                SuiteName::Push => self.push(&pair).await?,
                SuiteName::Duplicates => self.duplicates(&pair).await?,
                SuiteName::Conflicts => self.conflicts(&pair).await?,
                SuiteName::Pull => self.pull(&pair).await?,
                SuiteName::Document => self.document(&pair).await?,
                SuiteName::Query => self.query(&pair).await?,
                SuiteName::Stats => self.stats(&pair).await?,
                SuiteName::Mixed => self.mixed(&pair).await?,
                _ => {}
            }
        }
        self.note_peak(&pair.site.server);
        Ok(())
    }

    async fn pair(&self) -> Result<Pair> {
        let (documents, operations) = (self.options.documents(), self.options.documents() * LOG_PER_DOCUMENT);
        let floor_database = self.databases.make().await?;
        let floor_work = Work::new(documents, true);
        self.progress.set_message("the floor's rows");
        fill(&floor_database, &floor_work, operations, &self.progress).await?;
        self.progress.set_message("the server's rows");
        let work = Work::new(documents, true);
        let site = Site::start(&self.databases.make().await?, work, operations, &self.progress).await?;
        Ok(Pair { site, floor: floor_database.floor(operations), floor_work })
    }

    async fn note_idle(&mut self, server: &Server) -> Result<()> {
        tokio::time::sleep(IDLE_TIME).await;
        let megabytes = meter::memory_mb(server.pid(), "VmRSS").ok_or("the server has ended")?;
        let goal = Goal::AtMost(IDLE_MAX_MB);
        self.report.memory.push(Memory { store: self.store.as_str(), name: "idle", megabytes, goal });
        Ok(())
    }

    fn note_peak(&mut self, server: &Server) {
        self.peak_mb = meter::memory_mb(server.pid(), "VmHWM").unwrap_or_default().max(self.peak_mb);
    }

    /// Shows which work begins, and how many steps it has.
    fn begin(&self, what: &str, steps: u64) {
        self.progress.set_message(what.to_owned());
        self.progress.set_length(steps);
        self.progress.set_position(0);
    }

    /// The measuring of a load.
    fn watch(&self, server: Option<&Server>) -> Watch {
        Watch { time: self.options.time(), server: server.map(Server::pid), database: self.databases.process() }
    }

    /// A measurement.
    async fn measure(&self, load: impl Future<Output = Result<Load>>) -> Result<Sample> {
        let sample = Sample::of(load.await?);
        self.progress.inc(1);
        Ok(sample)
    }

    /// Measures two loads in turn, as often as the options say.
    async fn in_turns(
        &self,
        first: impl AsyncFn() -> Result<Sample>,
        second: impl AsyncFn() -> Result<Sample>,
    ) -> Result<(Vec<Sample>, Vec<Sample>)> {
        let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
        for _ in 0..self.options.runs {
            of_first.push(first().await?);
            of_second.push(second().await?);
        }
        Ok((of_first, of_second))
    }

    fn add(
        &mut self,
        name: impl Into<String>,
        samples: &[Sample],
        yardstick: Option<(&str, &[Sample])>,
        measure: Measure,
        goal: Option<Goal>,
    ) {
        // The emulation of MongoDB says little about MongoDB.
        let goal = goal.filter(|_| self.store != StoreName::Mongo);
        self.report.figures.push(Figure::of(self.store.as_str(), name, samples, yardstick, measure, goal));
    }
}
