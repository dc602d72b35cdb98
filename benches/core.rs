//! Micro benchmarks of the parts of the core that every request uses.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use syncflow_server::core::access::labels::FormerLabels;
use syncflow_server::core::clock::VectorClock;
use syncflow_server::core::cursor::Head;
use syncflow_server::core::decide::{Snapshot, decide};
use syncflow_server::core::document::Document;
use syncflow_server::core::feed::Feed;
use syncflow_server::core::fingerprint::Fingerprint;
use syncflow_server::core::json::Object;
use syncflow_server::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use syncflow_server::core::numbers::{Rev, Seq, UnixMs};
use syncflow_server::core::operation::{Change, LogEntry, Operation};
use syncflow_server::core::page::LogPageBuilder;
use syncflow_server::limits::protocol::PAGE_MAX_OPERATIONS;

/// The data of an operation in a todo list.
const DATA: &str = r#"{"title":"Buy milk","done":false,"list":"list-7","rank":1234,"note":"as the last time"}"#;

fn clock(clients: u64, counter: u64) -> VectorClock {
    (0..clients).map(|client| (ClientId::literal(&format!("device-{client:04}")), counter)).collect()
}

fn key(index: usize) -> DocumentKey {
    DocumentKey { collection: Collection::literal("todos"), id: DocumentId::literal(&format!("todo-{index}")) }
}

fn operation(index: usize, clock: VectorClock) -> Operation {
    Operation {
        id: OperationId::literal(&format!("operation-{index}")),
        change: Change::Update(Object::literal(DATA)),
        key: key(index),
        timestamp: UnixMs::new(1_700_000_000_000),
        client_id: ClientId::literal("device-0000"),
        clock,
    }
}

fn document(clock: VectorClock) -> Document {
    Document {
        rev: Rev::new(1),
        data: Some(Object::literal(DATA)),
        clock,
        operation_id: OperationId::literal("operation-before"),
        client_id: ClientId::literal("device-0001"),
        timestamp: UnixMs::new(1_700_000_000_000),
        former_labels: FormerLabels::default(),
    }
}

/// Comparisons of two clocks that differ only at their ends.
fn clocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clock comparison");
    for clients in [2, 10, 100, 1_000] {
        let (ours, theirs) = (clock(clients, 2), clock(clients, 1));
        group.throughput(Throughput::Elements(clients));
        group.bench_function(BenchmarkId::from_parameter(clients), |bencher| {
            bencher.iter(|| black_box(&ours).compare(black_box(&theirs)));
        });
    }
    group.finish();
}

/// Decisions about a push of 100 operations that are all applied, all known, or all in conflict.
fn decisions(criterion: &mut Criterion) {
    const OPERATIONS: usize = 100;
    let operations: Vec<Operation> = (0..OPERATIONS).map(|index| operation(index, clock(2, 2))).collect();
    let documents = |counter| (0..OPERATIONS).map(|index| (key(index), document(clock(2, counter)))).collect();
    let known = operations.iter().map(|operation| operation.id.clone()).collect();
    let snapshots = [
        ("applied", Snapshot { documents: documents(1), ..Snapshot::default() }),
        ("duplicates", Snapshot { known, documents: documents(2), ..Snapshot::default() }),
        ("conflicts", Snapshot { documents: documents(3), ..Snapshot::default() }),
    ];
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(OPERATIONS as u64));
    for (name, snapshot) in snapshots {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || snapshot.clone(),
                |snapshot| decide(black_box(&[operations.as_slice().into()]), &snapshot, UnixMs::EPOCH),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Cutting a full page.
fn pages(criterion: &mut Criterion) {
    let entries: Vec<LogEntry> = (0..PAGE_MAX_OPERATIONS)
        .map(|index| {
            let Operation { id, change, key, timestamp, client_id, clock } = operation(index, clock(2, 2));
            LogEntry {
                seq: Seq::new(index as u64),
                id,
                change,
                key,
                timestamp,
                client_id,
                clock: clock.json().clone(),
                rev: None,
                subject: None,
                resolution: None,
            }
        })
        .collect();
    let mut group = criterion.benchmark_group("page building");
    group.throughput(Throughput::Elements(PAGE_MAX_OPERATIONS as u64));
    group.bench_function("1000 operations", |bencher| {
        bencher.iter_batched(
            || entries.clone(),
            |entries| {
                let page = LogPageBuilder::begin(None, &Feed::Operations, PAGE_MAX_OPERATIONS, Head::default(), None);
                let mut page = page.expect("a client from nothing needs no cursor");
                let is_whole = black_box(entries).into_iter().all(|entry| page.push(entry));
                (is_whole, page.finish(|_| Ok::<_, ()>(Fingerprint::START)))
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(core, clocks, decisions, pages);
criterion_main!(core);
