//! Races: OS threads that send the same requests at the same moment. They run over every store, and over two servers on
//! one database.

mod retention;
mod site;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use syncflow_server::conformance::draft::{insert, key, update};
use syncflow_server::conformance::replica::Replica;
use syncflow_server::conformance::world::ids;
use syncflow_server::core::clock::VectorClock;
use syncflow_server::core::cursor::{Cursor, Position};
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::json::Object;
use syncflow_server::core::names::ClientId;
use syncflow_server::core::numbers::{Rev, UnixMs};
use syncflow_server::core::operation::{Change, Operation};
use syncflow_server::service::{PullFrom, PulledPage};

use crate::support::stores::{self, for_each_store};
use retention::pushers_and_pullers_lose_nothing_while_tombstones_and_ids_go;
use site::{Client, Site};

/// One test for each race. `$servers` names their module, and the function of [`Site`] that starts the servers.
macro_rules! races {
    ($servers:ident) => {
        races! { $servers:
            of_many_creators_of_one_document_one_wins_and_the_others_are_told,
            one_operation_pushed_many_times_at_once_takes_effect_once,
            no_accepted_write_is_lost_when_all_write_one_document,
            no_write_of_a_server_is_lost_when_all_write_one_document,
            every_puller_sees_a_dense_log_while_others_push,
            pullers_reach_the_documents_while_others_push_and_compact,
            pulls_of_one_original_client_at_once_lose_nothing,
            pushers_and_pullers_lose_nothing_while_tombstones_and_ids_go,
            pushes_of_clients_that_hang_up_take_effect_once,
        }
    };
    ($servers:ident: $($race:ident,)*) => {
        mod $servers {
            $(#[test]
            fn $race() {
                crate::races::$race(&crate::races::Site::$servers(super::open));
            })*
        }
    };
}

for_each_store!({
    races!(of_one_server);
    races!(of_two_servers);
});

#[test]
#[should_panic(expected = "the client has not failed")]
fn when_one_client_fails_no_other_waits_for_ever() {
    Site::of_two_servers(stores::memory).at_once(3, |client| {
        assert_ne!(client.number, 1, "this one fails");
        loop {
            client.pull_behind(None, 1);
        }
    });
}

/// An insert whose data name its author.
fn one(id: &str, document: &str, clock: &[(&str, u64)]) -> Operation {
    insert(id, document).clock(clock).data(&format!(r#"{{"by":"{id}"}}"#)).done()
}

fn of_many_creators_of_one_document_one_wins_and_the_others_are_told(site: &Site) {
    const CREATORS: usize = 12;
    for round in 0..6 {
        let document = format!("doc-{round}");
        let answers = site.at_once(CREATORS, |client| {
            let name = format!("{}-{round}", client.number);
            client.push(&[one(&name, &document, &[(&name, 1)])]).remove(0)
        });
        let winners: Vec<usize> = (0..CREATORS).filter(|number| answers[*number] == Outcome::Applied).collect();
        let [winner] = winners[..] else { panic!("{} have won: {answers:?}", winners.len()) };
        for answer in answers.iter().filter(|answer| **answer != Outcome::Applied) {
            let Outcome::Conflict(conflict) = answer else { panic!("no conflict but {answer:?}") };
            assert_eq!(conflict.document.operation_id.as_str(), format!("{winner}-{round}"));
        }
        let found = site.run(site.world().document(&document)).expect("the document exists");
        assert_eq!((found.rev, found.operation_id.as_str()), (Rev::new(1), &*format!("{winner}-{round}")));
    }
    assert_eq!(site.run(site.world().log()).len(), 6);
}

fn one_operation_pushed_many_times_at_once_takes_effect_once(site: &Site) {
    for round in 0..6 {
        let answers = site.at_once(12, |client| {
            // Some clients send the operation alone and some with another before it, so that the batches differ.
            let mut push = vec![one(&format!("op-{round}"), &format!("doc-{round}"), &[("a", 1)])];
            if client.number % 3 == 0 {
                let other = format!("other-{}-{round}", client.number);
                push.insert(0, one(&other, &other, &[("b", 1)]));
            }
            client.push(&push).pop().expect("there is an outcome for each")
        });
        assert!(answers.iter().all(|answer| matches!(answer, Outcome::Applied | Outcome::Duplicate)), "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| **answer == Outcome::Applied).count(), 1);
        let found = site.run(site.world().document(&format!("doc-{round}")));
        assert_eq!(found.map(|document| document.rev), Some(Rev::new(1)));
    }
    let log = site.run(site.world().log());
    let distinct: HashSet<&str> = ids(&log).into_iter().collect();
    assert_eq!((log.len(), distinct.len()), (6 * 5, 6 * 5));
}

fn no_accepted_write_is_lost_when_all_write_one_document(site: &Site) {
    const WRITERS: usize = 6;
    const WRITES: usize = 10;
    site.at_once(WRITERS, |client| {
        let name = format!("writer-{}", client.number);
        for write in 1..=WRITES {
            let mut attempt = 0;
            loop {
                attempt += 1;
                let mut clock = client.document(&key("doc")).map(|document| document.clock).unwrap_or_default();
                let mut operation = update(&format!("{name}-{write}-{attempt}"), "doc").client(&name).done();
                clock.set(operation.client_id.clone(), clock.get(&operation.client_id) + 1);
                operation.clock = clock;
                operation.change = Change::Update(Object::literal(&format!(r#"{{"{name}-{write}":1}}"#)));
                if client.push(&[operation]) == [Outcome::Applied] {
                    break;
                }
            }
        }
    });
    let found = site.run(site.world().document("doc")).expect("the document exists");
    assert_eq!(found.rev, Rev::new((WRITERS * WRITES) as u64));
    for writer in 0..WRITERS {
        for write in 1..=WRITES {
            assert!(found.data.as_str().contains(&format!(r#""writer-{writer}-{write}":1"#)), "{writer} {write}");
        }
    }
}

fn no_write_of_a_server_is_lost_when_all_write_one_document(site: &Site) {
    const WRITERS: usize = 4;
    const WRITES: usize = 6;
    site.at_once(WRITERS, |client| {
        for write in 1..=WRITES {
            client.put_keys("doc", &json!({(format!("{}-{write}", client.number)): 1}));
        }
    });
    let found = site.run(site.world().document("doc")).expect("the document exists");
    for (writer, write) in (0..WRITERS).flat_map(|writer| (1..=WRITES).map(move |write| (writer, write))) {
        assert!(found.data.as_str().contains(&format!(r#""{writer}-{write}":1"#)), "{writer} {write}");
    }
    let log = site.run(site.world().log());
    let counter = |clock: &Object| Some(VectorClock::parse(clock.as_str()).ok()?.get(&ClientId::server()));
    let counters: Vec<Option<u64>> = log.iter().map(|entry| counter(&entry.clock)).collect();
    assert!(counters.is_sorted_by(|before, after| before < after), "{counters:?}");
}

/// Pushes batches of one to four operations on a few documents, so that they contend. All of them are accepted.
fn push_batches(client: &Client<'_>, batches: usize) {
    for batch in 0..batches {
        let operations = (0..=batch % 4).map(|number| {
            let id = format!("{}-{batch}-{number}", client.number);
            let document = format!("doc-{}", (client.number + batch + number) % 5);
            // All clients use the same clock, so that pushes contend but never conflict.
            let draft = if number % 2 == 0 { insert(&id, &document) } else { update(&id, &document) };
            draft.data(&format!(r#"{{"k{}":"{id}"}}"#, batch % 3)).done()
        });
        let outcomes = client.push(&operations.collect::<Vec<_>>());
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Applied | Outcome::Duplicate)));
    }
}

fn every_puller_sees_a_dense_log_while_others_push(site: &Site) {
    const PUSHERS: usize = 3;
    const BATCHES: usize = 24;
    let total: usize = PUSHERS * (0..BATCHES).map(|batch| 1 + batch % 4).sum::<usize>();
    let seen = site.at_once(2 * PUSHERS, |client| {
        if client.number < PUSHERS {
            push_batches(&client, BATCHES);
            return Vec::new();
        }
        let mut cursor = Some(Cursor::Log(Position::START));
        let mut seen: Vec<String> = Vec::new();
        while seen.len() < total {
            let page = client.pull_behind(cursor, client.number * 2);
            for entry in &page.entries {
                assert_eq!(entry.seq.get(), seen.len() as u64 + 1, "a number was skipped or came too late");
                seen.push(entry.id.as_str().to_owned());
            }
            cursor = page.cursor;
        }
        seen
    });
    let log: Vec<String> = site.run(site.world().log()).iter().map(|entry| entry.id.as_str().to_owned()).collect();
    assert_eq!(log.len(), total);
    assert!(seen[PUSHERS..].iter().all(|seen| *seen == log));
}

fn pullers_reach_the_documents_while_others_push_and_compact(site: &Site) {
    const PUSHERS: usize = 3;
    let pushing = AtomicUsize::new(PUSHERS);
    let replicas = site.at_once(2 * PUSHERS + 1, |client| {
        let mut replica = Replica::default();
        if client.number < PUSHERS {
            push_batches(&client, 24);
            pushing.fetch_sub(1, Ordering::SeqCst);
            return replica;
        }
        let mut cursor = None;
        loop {
            let is_over = pushing.load(Ordering::SeqCst) == 0;
            if client.number == 2 * PUSHERS {
                client.compact();
            } else {
                let page = client.pull_behind(cursor, client.number - PUSHERS + 1);
                replica.apply(&page.entries);
                cursor = page.cursor;
                if page.has_more {
                    continue;
                }
            }
            if is_over {
                return replica;
            }
        }
    });
    let documents = site.run(Replica::of_server(&site.world()));
    assert_ne!(documents, Replica::default());
    assert!(replicas[PUSHERS..2 * PUSHERS].iter().all(|replica| *replica == documents), "{documents:?} {replicas:?}");
    assert_eq!(site.run(site.world().stats()).documents, 5);
}

/// The operations that a client has after a page, and the next `since` that it sends.
fn having_applied(page: &PulledPage, since: UnixMs, before: &BTreeSet<String>) -> (UnixMs, BTreeSet<String>) {
    let mut known = before.clone();
    known.extend(page.entries.iter().map(|entry| entry.id.as_str().to_owned()));
    (page.entries.iter().map(|entry| entry.timestamp).max().unwrap_or(since), known)
}

fn pulls_of_one_original_client_at_once_lose_nothing(site: &Site) {
    // There are so few requests that each place is still remembered when its number is used.
    const REQUESTS: usize = 3;
    let (mut since, mut known) = (UnixMs::EPOCH, BTreeSet::new());
    for round in 0..12 {
        let pages = site.at_once(REQUESTS + 1, |client| {
            if client.number == REQUESTS {
                for number in 0..3 {
                    let id = format!("op-{round}-{number}");
                    client.push(&[insert(&id, &id).at(1 + number % 2).done()]);
                }
                return None;
            }
            Some(client.pull(&PullFrom::Since(since), "me", 1 + client.number))
        });
        // Whichever answer a client receives, the pages after it contain all that it lacks.
        let answers: Vec<_> = pages.iter().flatten().map(|page| having_applied(page, since, &known)).collect();
        (since, known) = answers[round % REQUESTS].clone();
    }
    let caught_up = site.at_once(1, |client| {
        let (mut since, mut known) = (since, known.clone());
        loop {
            let page = client.pull(&PullFrom::Since(since), "me", 2);
            (since, known) = having_applied(&page, since, &known);
            if !page.has_more {
                return known;
            }
        }
    });
    let log = site.run(site.world().log());
    let expected: BTreeSet<String> = ids(&log).into_iter().map(str::to_owned).collect();
    assert_eq!(caught_up[0], expected);
}

fn pushes_of_clients_that_hang_up_take_effect_once(site: &Site) {
    const CLIENTS: usize = 6;
    const PUSHES: usize = 12;
    site.at_once(CLIENTS, |client| {
        for push in 0..PUSHES {
            let pair = [0, 1].map(|number| {
                let id = format!("{}-{push}-{number}", client.number);
                insert(&id, &format!("doc-{number}")).done()
            });
            // A slow store is given more time in larger steps, so that the number of attempts stays about the same.
            let mut patience_us = 0;
            while !client.push_for(Duration::from_micros(patience_us), &pair) {
                patience_us += 200.max(patience_us / 8);
            }
            let again = client.push(&pair);
            assert_eq!(again, [Outcome::Duplicate, Outcome::Duplicate]);
        }
    });
    let log = site.run(site.world().log());
    let distinct: HashSet<&str> = ids(&log).into_iter().collect();
    assert_eq!((log.len(), distinct.len()), (CLIENTS * PUSHES * 2, CLIENTS * PUSHES * 2));
    for number in 0..2 {
        let found = site.run(site.world().document(&format!("doc-{number}"))).expect("the document exists");
        assert_eq!(found.rev, Rev::new((CLIENTS * PUSHES) as u64));
    }
}
