//! Several servers on one store, realistic clients, and faults of processes and networks.
//!
//! Servers are killed and frozen, and the database is killed and started again. Proxies before the servers and before
//! the database delay messages, cut them in the middle, fall silent, and drop answers to requests that took effect.
//! Clients repeat requests that were not answered, on any server. Some only listen to streams of events. When the time
//! is over, all faults end and all clients sync to the end. The checker of histories judges the record of their
//! requests and answers.
//!
//! `local-dev/faults` runs this for any length of time. With the other tests it runs for a few seconds.

mod clients;
mod database;
mod fleet;
mod listeners;
mod nemesis;
mod proxy;
mod record;
mod report;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::history::check;
use crate::support::random::{seed, variable};
use clients::Crew;
use database::{Database, StoreKind};
use fleet::Fleet;
use listeners::Listeners;
use nemesis::Nemesis;
use record::Record;

/// The default length of a run, in seconds.
const SECONDS: u64 = 8;

/// The default number of devices that write.
const WRITERS: usize = 6;

/// How many runs may have too few faults before the test gives up, which can happen in a short run on a slow machine.
/// Each run is twice as long as the one before.
const GOOD_DAYS_MAX: u64 = 4;

/// How long a server may still work on a request whose client is gone, with some margin.
const ECHO: Duration = Duration::from_secs(fleet::REQUEST_TIMEOUT_SECONDS + 1);

#[test]
fn the_laws_explain_a_bad_day_over_sqlite() {
    run(StoreKind::Sqlite);
}

#[test]
fn the_laws_explain_a_bad_day_over_postgres() {
    run(StoreKind::Postgres);
}

#[test]
fn the_laws_explain_a_bad_day_over_mongodb() {
    run(StoreKind::Mongo);
}

/// A run with the settings of `local-dev/faults`.
fn run(store: StoreKind) {
    let first_seed = seed();
    // The emulation of MongoDB is slow, and a shorter run would hardly push anything.
    let factor = if matches!(store, StoreKind::Mongo) { 3 } else { 1 };
    let mut seconds = variable("SYNCFLOW_FAULTS_SECONDS").unwrap_or(factor * SECONDS);
    let writers = variable("SYNCFLOW_FAULTS_WRITERS").unwrap_or(WRITERS);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    for seed in first_seed..=first_seed.saturating_add(GOOD_DAYS_MAX) {
        println!("{store:?}; the same again with --seconds {seconds} --writers {writers} --seed {seed}");
        match runtime.block_on(bad_day(store, seed, Duration::from_secs(seconds), writers)) {
            None => return,
            Some(too_good) => println!("this shows nothing, since {too_good}; another one"),
        }
        seconds = seconds.saturating_mul(2);
    }
    panic!("every day was too good");
}

/// Runs and judges. Returns why the run proves nothing, if it does not.
async fn bad_day(store: StoreKind, seed: u64, duration: Duration, writers: usize) -> Option<&'static str> {
    let mut random = fastrand::Rng::with_seed(seed);
    let record = Arc::new(Record::new());
    let database = Database::start(store, random.fork()).await;
    let fleet = Fleet::start(&database, &mut random).await;
    let crew = Crew::new(writers, &fleet, &record, &mut random);
    let listeners = Listeners::start(&fleet, &record, &mut random).await;
    let until = Instant::now() + duration;

    let mut nemesis = Nemesis { database, fleet, record: Arc::clone(&record) };
    let (crew, (), ()) =
        tokio::join!(crew.work(until), nemesis.rage(until, &mut random), report::progress(&record, until));
    tokio::time::sleep(ECHO).await;
    let (mut end, head) = crew.settle().await;
    end.replicas.extend(listeners.finish(head).await);

    let history = record.history(end);
    let outcome = check(&history);
    println!("{}", report::survived(&history, &record, &nemesis));
    let unexpected = record.unexpected();
    assert!(unexpected.is_empty(), "answers that no fault excuses: {unexpected:#?}\n{}", nemesis.fleet.logs());
    match outcome {
        Ok(explained) => println!("the laws explain it: {explained:?}"),
        Err(violation) => panic!("{}\nseed {seed}", violation.shown_in(&history)),
    }
    report::too_good(&history, &record, &nemesis)
}
