//! A load: many connections that each send one request after the other, and the result.
//!
//! The measurement begins when everything is prepared and ends with the last answer. The CPU time is measured over the
//! same period.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::Result;
use crate::meter::{self, CpuTime};

/// The duration of a load, and the processes whose CPU time is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    pub(crate) time: Duration,
    /// The process of the server, if there is one.
    pub(crate) server: Option<u32>,
    /// The process of the database and its children, if it is not the server's own.
    pub(crate) database: Option<u32>,
}

/// A load that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Running {
    watch: Watch,
    began: Instant,
    cores: Cores,
}

/// Time on the cores.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cores {
    pub(crate) server: Option<CpuTime>,
    pub(crate) database: Option<CpuTime>,
    pub(crate) generator: Option<CpuTime>,
}

impl Watch {
    pub(crate) fn start(self) -> Running {
        Running { watch: self, cores: self.cores(), began: Instant::now() }
    }

    fn cores(self) -> Cores {
        Cores {
            server: self.server.and_then(meter::cpu_time),
            database: self.database.and_then(meter::cpu_time_with_children),
            generator: meter::cpu_time(std::process::id()),
        }
    }
}

impl Running {
    /// Whether there is time for another step.
    pub(crate) fn goes_on(self) -> bool {
        self.began.elapsed() < self.watch.time
    }

    /// Records the duration of a load.
    pub(crate) fn stop(self, load: &mut Load) {
        load.time = self.began.elapsed();
        let (before, after) = (self.cores, self.watch.cores());
        let spent = |before: Option<CpuTime>, after: Option<CpuTime>| Some(after?.saturating_sub(before?));
        load.cores = Cores {
            server: spent(before.server, after.server),
            database: spent(before.database, after.database),
            generator: spent(before.generator, after.generator),
        };
    }
}

/// The result of some connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    /// Operations, rows or documents.
    pub(crate) rows: u64,
    /// The duration of each request, in any order.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) time: Duration,
    pub(crate) cores: Cores,
}

impl Load {
    pub(crate) fn add(&mut self, rows: u64, latency: Duration) {
        self.rows += rows;
        self.latencies.push(latency);
    }

    /// The sum of two parts of one load. The caller sets their common duration.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.rows += other.rows;
        self.latencies.extend(other.latencies);
        self
    }
}

/// Lets each connection take steps until the time is over, or one has nothing left to do.
///
/// A step returns how many rows it wrote or read.
pub(crate) async fn drive<C>(
    connections: &mut [C],
    watch: Watch,
    step: impl AsyncFn(&mut C) -> Result<Option<u64>>,
) -> Result<Load> {
    let step = &step;
    let running = watch.start();
    let each = connections.iter_mut().map(|connection| async move {
        let mut load = Load::default();
        while running.goes_on() {
            let step_began = Instant::now();
            let Some(rows) = step(connection).await? else { break };
            load.add(rows, step_began.elapsed());
        }
        Ok::<_, Box<dyn std::error::Error>>(load)
    });
    let mut total = try_join_all(each).await?.into_iter().fold(Load::default(), Load::merge);
    running.stop(&mut total);
    Ok(total)
}
