//! The results: a table for people, or JSON for programs.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::Result;
use crate::load::Load;

/// The results of one measurement.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sample {
    requests_per_second: f64,
    /// Operations, rows or documents.
    rows_per_second: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    /// Cores in use by the server, by the database's own processes, and by this program.
    server_cores: Option<f64>,
    database_cores: Option<f64>,
    generator_cores: Option<f64>,
}

/// The figure by which two measurements are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    Rows,
    Requests,
    P50,
    P99,
    /// The CPU time of server and database for each row.
    Cpu,
}

/// A ratio that should be reached.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// One line: a measurement and perhaps another one for comparison, as medians of all runs.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) store: &'static str,
    pub(crate) name: String,
    pub(crate) sample: Sample,
    /// The name and the measurement for comparison.
    pub(crate) yardstick: Option<(String, Sample)>,
    pub(crate) measure: Measure,
    /// The median of the ratios of each run.
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: Option<Goal>,
}

/// The memory of the servers of a store.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) store: &'static str,
    pub(crate) name: &'static str,
    pub(crate) megabytes: f64,
    pub(crate) goal: Goal,
}

/// All measurements.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) figures: Vec<Figure>,
    pub(crate) memory: Vec<Memory>,
}

impl Sample {
    #[expect(clippy::cast_precision_loss, reason = "counts of seconds of work are far below 2^52")]
    pub(crate) fn of(mut load: Load) -> Self {
        load.latencies.sort_unstable();
        let seconds = load.time.as_secs_f64().max(1e-9);
        let percentile = |percent: usize| {
            let place = (load.latencies.len() * percent / 100).min(load.latencies.len().saturating_sub(1));
            load.latencies.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let share = |time: Option<Duration>| time.map(|time| time.as_secs_f64() / seconds);
        Self {
            requests_per_second: load.latencies.len() as f64 / seconds,
            rows_per_second: load.rows as f64 / seconds,
            p50_ms: percentile(50),
            p95_ms: percentile(95),
            p99_ms: percentile(99),
            server_cores: share(load.cores.server),
            database_cores: share(load.cores.database),
            generator_cores: share(load.cores.generator),
        }
    }

    /// The time that the server and the database spend on a core for each request, in microseconds. It varies less from
    /// run to run than the rates do.
    fn request_cpu_us(&self) -> Option<f64> {
        let cores = match (self.server_cores, self.database_cores) {
            (None, None) => return None,
            (server, database) => server.unwrap_or_default() + database.unwrap_or_default(),
        };
        Some(cores / self.requests_per_second.max(1e-9) * 1e6)
    }

    fn get(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Rows => self.rows_per_second,
            Measure::Requests => self.requests_per_second,
            Measure::P50 => self.p50_ms,
            Measure::P99 => self.p99_ms,
            Measure::Cpu => {
                let cores = self.server_cores.unwrap_or_default() + self.database_cores.unwrap_or_default();
                cores * 1e6 / self.rows_per_second.max(1e-9)
            }
        }
    }

    /// The median of each number.
    fn median(samples: &[Self]) -> Self {
        let of = |number: fn(&Self) -> f64| median(samples.iter().map(number).collect());
        let of_some = |number: fn(&Self) -> Option<f64>| {
            let numbers: Vec<f64> = samples.iter().filter_map(number).collect();
            (!numbers.is_empty()).then(|| median(numbers))
        };
        Self {
            requests_per_second: of(|sample| sample.requests_per_second),
            rows_per_second: of(|sample| sample.rows_per_second),
            p50_ms: of(|sample| sample.p50_ms),
            p95_ms: of(|sample| sample.p95_ms),
            p99_ms: of(|sample| sample.p99_ms),
            server_cores: of_some(|sample| sample.server_cores),
            database_cores: of_some(|sample| sample.database_cores),
            generator_cores: of_some(|sample| sample.generator_cores),
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match (numbers.len() % 2, numbers.get(middle)) {
        (_, None) => 0.0,
        (0, Some(above)) => f64::midpoint(numbers[middle - 1], *above),
        (_, Some(number)) => *number,
    }
}

impl Figure {
    /// The medians of some runs. Each run has a measurement and perhaps another one for comparison.
    pub(crate) fn of(
        store: &'static str,
        name: impl Into<String>,
        samples: &[Sample],
        yardstick: Option<(&str, &[Sample])>,
        measure: Measure,
        goal: Option<Goal>,
    ) -> Self {
        let ratio = yardstick.map(|(_, others)| {
            let pairs = samples.iter().zip(others);
            median(pairs.map(|(sample, other)| sample.get(measure) / other.get(measure).max(1e-9)).collect())
        });
        let yardstick = yardstick.map(|(name, samples)| (name.to_owned(), Sample::median(samples)));
        Self { store, name: name.into(), sample: Sample::median(samples), yardstick, measure, ratio, goal }
    }
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn describe(self, value: f64) -> String {
        let (sign, bound) = match self {
            Self::AtLeast(bound) => ("≥", bound),
            Self::AtMost(bound) => ("≤", bound),
        };
        format!("{sign} {bound}{}", if self.is_met(value) { "" } else { ", missed" })
    }
}

impl Report {
    pub(crate) fn extend(&mut self, other: Self) {
        self.figures.extend(other.figures);
        self.memory.extend(other.memory);
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub(crate) fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header([
            "store", "what", "req/s", "rows/s", "p50 ms", "p95 ms", "p99 ms", "server", "database", "load", "µs/req",
            "against", "rows/s", "p99 ms", "µs/req", "ratio", "goal",
        ]);
        for column in [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for figure in &self.figures {
            table.add_row(figure.cells());
        }
        let mut text = format!(
            "{table}\n\nserver, database and load: cores in use; µs/req: time of the server and the database on a core for each \
             request\n"
        );
        for Memory { store, name, megabytes, goal } in &self.memory {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{store}: {name} {megabytes:.1} MB ({})", goal.describe(*megabytes));
        }
        text
    }
}

impl Figure {
    fn cells(&self) -> Vec<String> {
        let whole = |number: f64| format!("{number:.0}");
        let fine = |number: f64| format!("{number:.2}");
        let cores = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), fine);
        let sample = &self.sample;
        let mut cells = vec![
            self.store.to_owned(),
            self.name.clone(),
            whole(sample.requests_per_second),
            whole(sample.rows_per_second),
            fine(sample.p50_ms),
            fine(sample.p95_ms),
            fine(sample.p99_ms),
            cores(sample.server_cores),
            cores(sample.database_cores),
            cores(sample.generator_cores),
            cores(sample.request_cpu_us()),
        ];
        match &self.yardstick {
            Some((name, other)) => {
                let cpu = cores(other.request_cpu_us());
                cells.extend([name.clone(), whole(other.rows_per_second), fine(other.p99_ms), cpu]);
            }
            None => cells.extend(["", "", "", ""].map(str::to_owned)),
        }
        cells.push(self.ratio.map(fine).unwrap_or_default());
        cells.push(self.ratio.zip(self.goal).map(|(ratio, goal)| goal.describe(ratio)).unwrap_or_default());
        cells
    }
}
