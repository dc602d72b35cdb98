//! The service over the model store under a seeded scheduler, which takes the steps of all requests in any order.
//!
//! Two servers share one store. Each step of a store is a point at which anything else may happen. Another request may
//! continue, a server may die with all its requests, a client may hang up, or an answer may be lost. The checker of
//! histories judges the requests and answers of the clients. Each planted bug must be found within a bounded number of
//! schedules. This shows that the schedules reach the critical points and that the checker notices.

mod clients;
mod planted;
pub(crate) mod scheduler;
mod settled;
mod store;
mod world;

use std::collections::BTreeSet;
use std::thread;

use crate::conflicts::rule::Setting;
use crate::history::{Explained, Law, Violation};
use crate::support::random::{seed, variable};
use planted::Bug;
use settled::SettledBug;
use world::simulate;

/// The default number of schedules; `SYNCFLOW_CASES` sets another one.
const SCHEDULES: u64 = 20_000;

/// The default number of schedules in which the server settles conflicts.
const SETTLED_SCHEDULES: u64 = 5_000;

/// The number of schedules within which a planted bug must be found.
const SCHEDULES_TO_FIND_A_BUG: u64 = 3_000;

/// Plays one schedule. If a law is broken, panics with the part of the history that shows it, and with the seed.
fn explained(seed: u64, setting: Option<Setting>) -> Explained {
    let (history, outcome) = simulate(seed, setting, None);
    outcome.unwrap_or_else(|violation| {
        panic!("{}\n{setting:?}: replay with SYNCFLOW_SEED={seed} SYNCFLOW_CASES=1", violation.shown_in(&history))
    })
}

#[test]
fn the_laws_explain_every_schedule() {
    all_are_explained(SCHEDULES, |_| None);
}

#[test]
fn the_laws_explain_every_schedule_under_every_policy() {
    all_are_explained(SETTLED_SCHEDULES, |seed| Some(Setting::of(seed)));
}

fn all_are_explained(schedules: u64, setting_of: impl Fn(u64) -> Option<Setting> + Copy + Send) {
    let (first, schedules) = (seed(), variable("SYNCFLOW_CASES").unwrap_or(schedules));
    println!("replay with SYNCFLOW_SEED={first} SYNCFLOW_CASES={schedules}");
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let (operations, unseen) = thread::scope(|scope| {
        let part = |thread| {
            move || {
                let all = (thread..schedules).step_by(usize::try_from(threads).expect("few threads"));
                let explained = |seed| explained(seed, setting_of(seed));
                all.map(|number| explained(first.wrapping_add(number))).fold(
                    (0, 0),
                    |(operations, unseen), explained| {
                        (operations + explained.operations, unseen + explained.unseen_operations)
                    },
                )
            }
        };
        let parts: Vec<_> = (0..threads).map(|thread| scope.spawn(part(thread))).collect();
        let sums = parts.into_iter().map(|part| part.join().expect("every schedule is explained"));
        sums.fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
    });
    println!("{schedules} schedules with {operations} operations, {unseen} of them compacted unseen");
    assert!(operations > schedules, "schedules in which nothing happens tell nothing");
}

#[test]
fn a_schedule_comes_again_from_its_seed() {
    for seed in 0..20 {
        let [once, again] = [(); 2].map(|()| format!("{:?}", simulate(seed, None, None).0));
        assert_eq!(once, again, "seed {seed}");
    }
}

/// Plays schedules until a planted bug is found. Returns their number and the violation.
fn seen(bug: Bug) -> (u64, Violation) {
    let setting_of = |seed| matches!(bug, Bug::Settled(_)).then(|| Setting::of(seed));
    let tried = (0..SCHEDULES_TO_FIND_A_BUG)
        .find_map(|seed| Some((seed, simulate(seed, setting_of(seed), Some(bug)).1.err()?)));
    tried.unwrap_or_else(|| panic!("{bug:?} stays unseen"))
}

macro_rules! planted {
    ($($test:ident: $bug:expr, breaks $($law:ident)|+;)*) => {
        $(#[test]
        fn $test() {
            let (seed, violation) = seen($bug);
            println!("seed {seed}: {:?}: {}", violation.law, violation.says);
            assert!(matches!(violation.law, $(Law::$law)|+), "{violation:?}");
        })*

        #[test]
        fn every_planted_bug_is_looked_for() {
            let looked_for: BTreeSet<Bug> = [$($bug),*].into();
            assert_eq!(looked_for.len(), Bug::ALL.len());
        }
    };
}

planted! {
    a_store_that_does_not_guard_revisions_is_seen: Bug::NoRevisionGuard, breaks Linear | Effect | Justified | Genuine;
    a_store_that_forgets_ids_is_seen: Bug::IdsForgotten, breaks Once | Effect;
    a_log_with_holes_is_seen: Bug::Hole, breaks Dense | Converged;
    an_answer_before_the_commit_is_seen: Bug::AnswerBeforeCommit, breaks Durable | Fresh | Justified;
    a_push_that_is_torn_apart_is_seen: Bug::TornPush, breaks Whole;
    a_state_mode_that_ends_early_is_seen: Bug::StateLeftEarly, breaks Converged | Dense;
    tombstones_that_are_not_shown_are_seen: Bug::TombstonesNotShown, breaks Converged;
    places_of_original_clients_that_are_forgotten_are_seen: Bug::PlacesForgotten, breaks Converged;
    a_resolution_with_the_clock_of_the_operation_is_seen: Bug::Settled(SettledBug::ClockOfOperation), breaks Settled;
    a_resolution_with_the_clock_of_the_document_is_seen: Bug::Settled(SettledBug::ClockOfDocument), breaks Settled;
    a_resolution_that_is_an_update_is_seen: Bug::Settled(SettledBug::Update), breaks Settled;
    a_loser_without_a_resolution_is_seen: Bug::Settled(SettledBug::NothingIfLost), breaks Durable | Settled | Whole;
    a_counter_for_each_document_is_seen: Bug::Settled(SettledBug::BumpPerDocument), breaks Settled;
    a_stamp_without_causality_is_seen: Bug::Settled(SettledBug::StampWithoutCausality), breaks Settled | Effect;
}
