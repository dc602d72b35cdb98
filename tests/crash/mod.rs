//! The local server as a process that is killed, that shares its file with another one, or that stores a large log.

mod pusher;

use std::collections::HashSet;

use futures_util::future::join_all;
use syncflow_server::limits::protocol::PUSH_MAX_OPERATIONS;

use crate::endpoints::local::Local;
use crate::support::mongo::Database;
use crate::support::random::seeded;
use tempfile::TempDir;

use pusher::{Account, operation, push, push_until_it_breaks, read_log};

/// The place where the servers of a test store their data.
struct Home {
    directory: TempDir,
    database: Option<Database>,
}

impl Home {
    fn on_sqlite() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), database: None }
    }

    fn on_mongodb() -> Self {
        Self { database: Some(Database::new()), ..Self::on_sqlite() }
    }

    async fn start(&self) -> Local {
        let mut settings = vec![("PORT", "0"), ("POOL_SIZE", "2"), ("LOG_LEVEL", "warn")];
        if let Some(database) = &self.database {
            settings.extend([("MONGO_URI", database.uri()), ("MONGO_DB_NAME", database.name())]);
        }
        Local::start(self.directory.path(), &settings).await
    }
}

/// Checks that every accepted operation is in the log exactly once, and that every push is there as a whole or not at
/// all.
async fn check_log(server: &Local, account: &Account) {
    let mut log = Vec::new();
    read_log(server.authority(), |ids| log.extend(ids)).await;
    let found: HashSet<&String> = log.iter().collect();
    assert_eq!(found.len(), log.len(), "an operation is in the log twice");
    for id in &account.accepted {
        assert!(found.contains(id), "{id} was answered as accepted and is gone");
    }
    for push in &account.pushes {
        let kept = push.iter().filter(|id| found.contains(id)).count();
        assert!(kept == 0 || kept == push.len(), "{kept} of {} operations of a push were kept", push.len());
    }
    let sent: usize = account.pushes.iter().map(Vec::len).sum();
    assert!(log.len() <= sent, "nobody pushed what is there");
}

/// Lets some clients push, and kills the server meanwhile, after a random number of answers.
async fn push_and_kill(server: &Local, round: usize, random: &mut fastrand::Rng) -> Account {
    const PUSHERS: usize = 4;
    let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let answers_before_the_kill = random.usize(1..40);
    let pushers = (0..PUSHERS).map(|number| {
        let (mut random, answered) = (random.fork(), answered.clone());
        let name = format!("{round}-{number}");
        async move {
            let tell = || answered.send(()).expect("somebody counts the answers");
            push_until_it_breaks(server.authority(), &name, || random.usize(1..30), tell).await
        }
    });
    let pushers = join_all(pushers);
    // The pushers have senders of their own, so the channel ends when they end.
    drop(answered);
    let kill = async {
        for _ in 0..answers_before_the_kill {
            answers.recv().await;
        }
        server.signal("KILL").await;
    };
    let (accounts, ()) = tokio::join!(pushers, kill);
    let mut all = Account::default();
    for account in accounts {
        all.merge(account);
    }
    all
}

async fn what_was_accepted_survives_kill_9(home: Home) {
    let mut random = seeded();
    let mut account = Account::default();
    for round in 0..8 {
        let server = home.start().await;
        check_log(&server, &account).await;
        account.merge(push_and_kill(&server, round, &mut random).await);
        assert_eq!(server.end().await.0, None, "it was killed");
    }
    check_log(&home.start().await, &account).await;
}

#[tokio::test]
async fn every_operation_that_was_answered_as_accepted_survives_kill_9() {
    what_was_accepted_survives_kill_9(Home::on_sqlite()).await;
}

#[tokio::test]
async fn every_operation_that_was_answered_as_accepted_survives_kill_9_over_mongodb() {
    what_was_accepted_survives_kill_9(Home::on_mongodb()).await;
}

async fn of_two_servers_one_may_be_killed(home: Home) {
    let mut random = seeded();
    let survivor = home.start().await;
    let mut account = Account::default();
    for round in 0..4 {
        let victim = home.start().await;
        let name = format!("survivor-{round}");
        let mut pushes_left = 15;
        let others = async {
            let client = reqwest::Client::new();
            let mut account = Account::default();
            while pushes_left > 0 {
                pushes_left -= 1;
                let ids: Vec<String> = (0..5).map(|index| format!("{name}-{pushes_left}-{index}")).collect();
                let operations: Vec<_> = ids.iter().map(|id| operation(id, 10)).collect();
                let accepted = push(&client, survivor.authority(), &operations).await;
                account.accepted.extend(accepted.expect("this server lives on"));
                account.pushes.push(ids);
            }
            account
        };
        let (killed, others) = tokio::join!(push_and_kill(&victim, round, &mut random), others);
        account.merge(killed);
        account.merge(others);
        check_log(&survivor, &account).await;
    }
    drop(survivor);
    check_log(&home.start().await, &account).await;
}

#[tokio::test]
async fn of_two_servers_on_one_file_one_may_be_killed() {
    of_two_servers_one_may_be_killed(Home::on_sqlite()).await;
}

#[tokio::test]
async fn of_two_servers_on_one_mongodb_one_may_be_killed() {
    of_two_servers_one_may_be_killed(Home::on_mongodb()).await;
}

/// The memory that a process has in use, in KiB.
#[cfg(target_os = "linux")]
fn resident_kib(server: &Local) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the line is there");
    line.trim().trim_end_matches(" kB").parse().expect("it is a number")
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_hundred_thousand_operations_take_no_more_memory_than_twenty_thousand() {
    const BATCH: usize = 100;
    const DATA_BYTES: usize = 800;
    // A log that is kept in memory would take at least all bytes of the data. Caches may still grow a little.
    const GROWTH_MAX_KIB: u64 = 80_000 * DATA_BYTES as u64 / 1024 / 2;
    let home = Home::on_sqlite();
    let server = home.start().await;
    let client = reqwest::Client::new();
    let (mut pushed, mut resident) = (0, Vec::new());
    for total in [20_000, 100_000] {
        while pushed < total {
            let batch: Vec<_> = (pushed..pushed + BATCH).map(|n| operation(&format!("op-{n}"), DATA_BYTES)).collect();
            let accepted = push(&client, server.authority(), &batch).await.expect("the server lives");
            assert_eq!(accepted.len(), BATCH);
            pushed += BATCH;
        }
        let mut next = 0;
        read_log(server.authority(), |ids| {
            assert!(ids.len() <= PUSH_MAX_OPERATIONS);
            for id in ids {
                assert_eq!(id, format!("op-{next}"));
                next += 1;
            }
        })
        .await;
        assert_eq!(next, total);
        resident.push(resident_kib(&server));
    }
    let growth = resident[1].saturating_sub(resident[0]);
    println!("resident at 20,000 and at 100,000 operations: {resident:?} KiB");
    assert!(growth < GROWTH_MAX_KIB, "{resident:?} KiB");
}
