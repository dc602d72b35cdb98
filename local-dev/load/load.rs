//! Load: many connections that each do one thing after the other, and what came of it.
//!
//! What is measured begins when everything is prepared and ends with the last answer, and so does the time on the cores.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::Result;
use crate::meter::{self, CpuTime};

/// How long a load takes, and whose time on the cores it is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    pub(crate) time: Duration,
    /// The server's process, where one is asked.
    pub(crate) server: Option<u32>,
    /// The process that is the database, with its children, where it is none of the server's.
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
    /// Whether there is time for one more step.
    pub(crate) fn goes_on(self) -> bool {
        self.began.elapsed() < self.watch.time
    }

    /// Notes for a load how long it took.
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

/// What some connections got done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    /// Operations, rows or documents.
    pub(crate) rows: u64,
    /// How long each request took, in any order.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) time: Duration,
    pub(crate) cores: Cores,
}

impl Load {
    pub(crate) fn add(&mut self, rows: u64, latency: Duration) {
        self.rows += rows;
        self.latencies.push(latency);
    }

    /// What two parts of one load got done; how long both took is for others to say.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.rows += other.rows;
        self.latencies.extend(other.latencies);
        self
    }
}

/// Lets each connection do steps until the time is over, or one has nothing left to do.
///
/// A step answers how many rows it was about.
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
