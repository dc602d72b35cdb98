//! Metrics for CloudWatch: one line in the embedded metric format for each invocation, on the standard output.
//!
//! An invocation is a task, and its metrics are counted in a variable of that task. So invocations share nothing,
//! whether they follow each other or run at the same time. The events come from [`crate::runtime::metrics`], which
//! counts the same ones for the local server.
//!
//! Source of the format: "Specification: Embedded metric format" in the Amazon CloudWatch User Guide.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::invocation::Invocation;
use crate::core::decide::Survival;
use crate::limits::lambda::METRICS_LINE_MAX_VALUES;
use crate::runtime::metrics::{ACCEPTED, CONFLICTING, Counted as Event, DUPLICATE, FORBIDDEN, Recorder};

tokio::task_local! {
    static COUNTED: RefCell<Counted>;
}

/// The metrics with their units.
const STORE_LATENCY: (&str, &str) = ("StoreLatency", "Milliseconds");
const STORE_ERRORS: (&str, &str) = ("StoreErrors", "Count");
const COLD_START: (&str, &str) = ("ColdStart", "Count");
const OPERATIONS_ACCEPTED: (&str, &str) = ("OperationsAccepted", "Count");
const OPERATIONS_DUPLICATE: (&str, &str) = ("OperationsDuplicate", "Count");
const OPERATIONS_IN_CONFLICT: (&str, &str) = ("OperationsInConflict", "Count");
const OPERATIONS_WON: (&str, &str) = ("OperationsWon", "Count");
const OPERATIONS_LOST: (&str, &str) = ("OperationsLost", "Count");
const OPERATIONS_MERGED: (&str, &str) = ("OperationsMerged", "Count");
const OPERATIONS_FORBIDDEN: (&str, &str) = ("OperationsForbidden", "Count");
const OPERATIONS_PULLED: (&str, &str) = ("OperationsPulled", "Count");
const ENTRIES_COMPACTED: (&str, &str) = ("EntriesCompacted", "Count");
const TOMBSTONES_EXPIRED: (&str, &str) = ("TombstonesExpired", "Count");
const REMAINS_EXPIRED: (&str, &str) = ("RemainsExpired", "Count");
#[cfg(feature = "aws")]
const WAKE_UPS: (&str, &str) = ("WakeUps", "Count");
#[cfg(feature = "aws")]
const WAKE_UP_ERRORS: (&str, &str) = ("WakeUpErrors", "Count");

/// The namespace of the metrics and the name of the function.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) namespace: String,
    pub(super) function_name: String,
    pub(super) adapter: &'static str,
}

/// The counts of one invocation. Nothing is written for events that did not happen.
#[derive(Debug, Default)]
struct Counted {
    pushed: Option<CountedPush>,
    /// The resolved conflicts of each policy, by what survived of the operations.
    resolved: BTreeMap<(&'static str, &'static str), usize>,
    pulled_operations: Option<u64>,
    compacted_entries: Option<u64>,
    /// The tombstones and remains that retention has removed.
    expired: Option<(u64, u64)>,
    #[cfg(feature = "aws")]
    wake_ups: Option<CountedWakeUps>,
    store_latencies_ms: Vec<f64>,
    store_errors: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct CountedPush {
    accepted: u64,
    duplicates: u64,
    conflicts: u64,
    forbidden: Option<u64>,
}

#[cfg(feature = "aws")]
#[derive(Debug, Default, Clone, Copy)]
struct CountedWakeUps {
    published: usize,
    errors: usize,
}

impl Metrics {
    /// Does the work of an invocation and then writes its metrics.
    ///
    /// The line is written before the answer is returned, because Lambda may freeze the function after that.
    pub(super) async fn count<T>(&self, invocation: &Invocation, work: impl Future<Output = T>) -> T {
        let counting = async {
            let done = work.await;
            (done, COUNTED.with(RefCell::take))
        };
        let (done, counted) = COUNTED.scope(RefCell::default(), counting).await;
        let mut text = String::new();
        for line in self.lines(invocation, &counted, SystemTime::now()) {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        // A request does not fail if its metrics cannot be written.
        let _ = io::stdout().lock().write_all(text.as_bytes());
        done
    }

    /// The lines of an invocation: one, and another for each further [`METRICS_LINE_MAX_VALUES`] calls of the store.
    fn lines(&self, invocation: &Invocation, counted: &Counted, now: SystemTime) -> Vec<Value> {
        let mut latencies = counted.store_latencies_ms.chunks(METRICS_LINE_MAX_VALUES);
        let mut first = vec![(COLD_START, json!(u8::from(invocation.is_cold_start)))];
        first.extend(counted.values());
        if let Some(latencies) = latencies.next() {
            first.push((STORE_LATENCY, json!(latencies)));
            first.push((STORE_ERRORS, json!(counted.store_errors)));
        }
        let mut line = self.line(invocation, first, now);
        if !counted.resolved.is_empty() {
            let policies = counted
                .resolved
                .iter()
                .map(|((policy, survival), count)| json!({"policy": policy, "outcome": survival, "count": count}));
            line["Policies"] = policies.collect();
        }
        let mut lines = vec![line];
        lines.extend(latencies.map(|more| self.line(invocation, vec![(STORE_LATENCY, json!(more))], now)));
        lines
    }

    fn line(&self, invocation: &Invocation, values: Vec<((&str, &str), Value)>, now: SystemTime) -> Value {
        let now_ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let units: Vec<Value> = values.iter().map(|((name, unit), _)| json!({"Name": name, "Unit": unit})).collect();
        let mut line = Map::new();
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": u64::try_from(now_ms).unwrap_or(u64::MAX),
                "CloudWatchMetrics": [{
                    "Namespace": self.namespace,
                    "Dimensions": [["FunctionName", "Adapter"]],
                    "Metrics": units,
                }],
            }),
        );
        line.insert("FunctionName".to_owned(), json!(self.function_name));
        line.insert("Adapter".to_owned(), json!(self.adapter));
        // These fields are not metrics. They can be searched for, and lead from a metric to the log and the trace.
        line.insert("RequestId".to_owned(), json!(invocation.request_id));
        if let Some(trace) = &invocation.trace {
            line.insert("Trace".to_owned(), json!(trace));
        }
        line.extend(values.into_iter().map(|((name, _), value)| (name.to_owned(), value)));
        Value::Object(line)
    }
}

impl Counted {
    /// The metrics of the service's work.
    fn values(&self) -> Vec<((&'static str, &'static str), Value)> {
        let mut values = Vec::new();
        if let Some(CountedPush { accepted, duplicates, conflicts, forbidden }) = self.pushed {
            values.push((OPERATIONS_ACCEPTED, json!(accepted)));
            values.push((OPERATIONS_DUPLICATE, json!(duplicates)));
            values.push((OPERATIONS_IN_CONFLICT, json!(conflicts)));
            values.extend(forbidden.map(|forbidden| (OPERATIONS_FORBIDDEN, json!(forbidden))));
        }
        if !self.resolved.is_empty() {
            for (metric, survival) in [
                (OPERATIONS_WON, Survival::Won),
                (OPERATIONS_LOST, Survival::Lost),
                (OPERATIONS_MERGED, Survival::Merged),
            ] {
                let of_all = self.resolved.iter().filter(|((_, of), _)| *of == survival.as_str());
                values.push((metric, json!(of_all.map(|(_, count)| count).sum::<usize>())));
            }
        }
        values.extend(self.pulled_operations.map(|pulled| (OPERATIONS_PULLED, json!(pulled))));
        values.extend(self.compacted_entries.map(|compacted| (ENTRIES_COMPACTED, json!(compacted))));
        if let Some((tombstones, remains)) = self.expired {
            values.push((TOMBSTONES_EXPIRED, json!(tombstones)));
            values.push((REMAINS_EXPIRED, json!(remains)));
        }
        #[cfg(feature = "aws")]
        if let Some(CountedWakeUps { published, errors }) = self.wake_ups {
            values.push((WAKE_UPS, json!(published)));
            values.push((WAKE_UP_ERRORS, json!(errors)));
        }
        values
    }
}

/// Counts in the current invocation. There may be none, because a store may finish something between two invocations.
fn counted(count: impl FnOnce(&mut Counted)) {
    let _ = COUNTED.try_with(|counted| count(&mut counted.borrow_mut()));
}

/// Counts a wake-up, and whether it was published or failed.
#[cfg(feature = "aws")]
pub(super) fn note_wake_up(is_published: bool) {
    counted(|counted| {
        let wake_ups = counted.wake_ups.get_or_insert_default();
        wake_ups.published += usize::from(is_published);
        wake_ups.errors += usize::from(!is_published);
    });
}

/// Counts events in the current invocation, as far as CloudWatch has a metric for them.
#[derive(Debug)]
pub(super) struct EmbeddedMetrics;

impl Recorder for EmbeddedMetrics {
    fn record(&self, event: Event<'_>) {
        counted(|counted| match event {
            Event::Operations { outcome, operations } => {
                let pushed = counted.pushed.get_or_insert_default();
                match outcome {
                    ACCEPTED => pushed.accepted += operations,
                    DUPLICATE => pushed.duplicates += operations,
                    CONFLICTING => pushed.conflicts += operations,
                    FORBIDDEN => *pushed.forbidden.get_or_insert_default() += operations,
                    _ => {}
                }
            }
            Event::Resolved { policy, outcome } => *counted.resolved.entry((policy, outcome)).or_default() += 1,
            Event::Page { operations } => *counted.pulled_operations.get_or_insert_default() += operations,
            Event::Compacted { entries } => *counted.compacted_entries.get_or_insert_default() += entries,
            Event::Expired { tombstones, remains } => {
                let expired = counted.expired.get_or_insert_default();
                *expired = (expired.0 + tombstones, expired.1 + remains);
            }
            Event::StoreCall { took, is_answered, .. } => {
                // Microseconds are precise enough.
                let latency_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
                counted.store_latencies_ms.push(latency_ms);
                counted.store_errors += usize::from(!is_answered);
            }
            _ => {}
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lines(counted: &Counted) -> Vec<Value> {
        let metrics = Metrics { namespace: "space".to_owned(), function_name: "push".to_owned(), adapter: "memory" };
        let invocation = Invocation { request_id: "id".to_owned(), trace: None, is_cold_start: true };
        metrics.lines(&invocation, counted, UNIX_EPOCH + Duration::from_millis(1_500))
    }

    #[test]
    fn a_line_names_each_metric_that_it_has_with_its_unit() {
        let counted = Counted {
            pushed: Some(CountedPush { accepted: 2, duplicates: 1, conflicts: 0, forbidden: None }),
            store_latencies_ms: vec![1.5, 0.25],
            ..Counted::default()
        };
        let expected = json!({
            "_aws": {
                "Timestamp": 1_500,
                "CloudWatchMetrics": [{
                    "Namespace": "space",
                    "Dimensions": [["FunctionName", "Adapter"]],
                    "Metrics": [
                        {"Name": "ColdStart", "Unit": "Count"},
                        {"Name": "OperationsAccepted", "Unit": "Count"},
                        {"Name": "OperationsDuplicate", "Unit": "Count"},
                        {"Name": "OperationsInConflict", "Unit": "Count"},
                        {"Name": "StoreLatency", "Unit": "Milliseconds"},
                        {"Name": "StoreErrors", "Unit": "Count"},
                    ],
                }],
            },
            "FunctionName": "push", "Adapter": "memory", "RequestId": "id",
            "ColdStart": 1, "OperationsAccepted": 2, "OperationsDuplicate": 1, "OperationsInConflict": 0,
            "StoreLatency": [1.5, 0.25], "StoreErrors": 0,
        });
        assert_eq!(lines(&counted), [expected]);
    }

    #[test]
    fn resolved_conflicts_are_counted_by_outcome_and_listed_by_policy() {
        let counted = Counted {
            resolved: [(("merge", "lost"), 2), (("merge", "won"), 1), (("server-wins", "lost"), 3)].into(),
            ..Counted::default()
        };
        let lines = lines(&counted);
        let counts = ["OperationsWon", "OperationsLost", "OperationsMerged"].map(|metric| lines[0][metric].clone());
        assert_eq!(counts, [json!(1), json!(5), json!(0)]);
        assert_eq!(lines[0]["Policies"][2], json!({"policy": "server-wins", "outcome": "lost", "count": 3}));
    }

    #[test]
    fn more_calls_of_the_store_than_a_line_may_have_take_further_lines_and_count_once() {
        for (calls, expected_lines) in [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3)] {
            let counted = Counted { store_latencies_ms: vec![1.0; calls], ..Counted::default() };
            let lines = lines(&counted);
            assert_eq!(lines.len(), expected_lines, "{calls}");
            let values = |line: &Value| line["StoreLatency"].as_array().map_or(0, Vec::len);
            assert_eq!(lines.iter().map(values).sum::<usize>(), calls);
            assert!(lines.iter().all(|line| values(line) <= METRICS_LINE_MAX_VALUES));
            assert_eq!(lines.iter().filter(|line| line.get("ColdStart").is_some()).count(), 1);
        }
    }

    #[tokio::test]
    async fn what_runs_at_the_same_time_is_not_mixed() {
        let work = |times: u64| {
            COUNTED.scope(RefCell::default(), async move {
                for _ in 0..times {
                    EmbeddedMetrics.record(Event::Compacted { entries: 1 });
                    tokio::task::yield_now().await;
                }
                COUNTED.with(RefCell::take).compacted_entries.unwrap_or_default()
            })
        };
        assert_eq!(tokio::join!(work(3), work(7)), (3, 7));
        // Outside an invocation nothing is counted.
        EmbeddedMetrics.record(Event::Compacted { entries: 1 });
    }
}
