//! Clients of the original protocol, modelled step by step, and a server that settles their conflicts.
//!
//! In the end every client must have the server's documents, and nothing may be stuck in an outbox. Every value that
//! was lost must be in the answer to its author. `rule.rs` has the rule a second time, in front of a server that
//! rejects conflicts. Planted bugs must be found.

mod cursor;
mod express;
mod front;
mod observer;
mod orders;
mod original;
mod play;
pub(crate) mod rule;
mod scenarios;
mod server;
mod told;
pub(crate) mod wire;

use std::rc::Rc;
use std::thread;

use syncflow_server::conformance::World;
use tokio::runtime::Runtime;

use crate::support::random::{seed, variable};
use crate::support::runtime;
use crate::support::stores::{TestStore, for_each_store, memory};
use observer::Bug;
use play::{Cast, Play};
use rule::Setting;
use server::{Conflicts, Server};

/// The number of plays within which a planted bug must be found.
const PLAYS_TO_FIND_A_BUG: u64 = 2_000;

/// A store with a runtime, for plays that share them.
struct Theatre {
    runtime: Rc<Runtime>,
    home: TestStore,
}

impl Theatre {
    fn new(open: impl AsyncFnOnce() -> TestStore) -> Self {
        let runtime = runtime();
        let home = runtime.block_on(open());
        Self { runtime: Rc::new(runtime), home }
    }

    /// A server of its own for one play.
    fn server(&self, conflicts: Conflicts, bug: Option<Bug>) -> Server {
        let world = World::new(self.home.store()).as_tenant(&self.home.next_name());
        Server::new(world, Rc::clone(&self.runtime), conflicts, bug)
    }

    /// Plays the play of a seed.
    fn play(&self, seed: u64, kind: PlayKind) -> Result<(), String> {
        Play::new(self.server(kind.conflicts, kind.bug), seed, kind.cast, false).run()
    }

    /// Plays the play of a seed. If something is wrong, it is played again and told.
    fn must_end_well(&self, seed: u64, kind: PlayKind) {
        if let Err(fault) = self.play(seed, kind) {
            let told = Play::new(self.server(kind.conflicts, kind.bug), seed, kind.cast, true);
            let again = told.run();
            let story = told.story();
            panic!("{story}\n{kind:?}: {fault}\n({again:?})\nreplay with SYNCFLOW_SEED={seed} SYNCFLOW_CASES=1");
        }
    }
}

/// The circumstances of a play.
#[derive(Debug, Clone, Copy)]
struct PlayKind {
    conflicts: Conflicts,
    cast: Cast,
    bug: Option<Bug>,
}

/// Plays many plays, on all processors.
fn all_end_well(open: impl AsyncFn() -> TestStore + Sync, plays: u64, kind_of: impl Fn(u64) -> PlayKind + Sync) {
    let (first, plays) = (seed(), variable("SYNCFLOW_CASES").unwrap_or(plays));
    println!("replay with SYNCFLOW_SEED={first} SYNCFLOW_CASES={plays}");
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    thread::scope(|scope| {
        for thread in 0..threads.min(plays) {
            let (open, kind_of) = (&open, &kind_of);
            scope.spawn(move || {
                let theatre = Theatre::new(open);
                for number in (thread..plays).step_by(usize::try_from(threads).expect("few threads")) {
                    let seed = first.wrapping_add(number);
                    theatre.must_end_well(seed, kind_of(seed));
                }
            });
        }
    });
}

fn settled_in_front(seed: u64) -> PlayKind {
    PlayKind { conflicts: Conflicts::SettledInFront(Setting::of(seed)), cast: Cast::Everything, bug: None }
}

fn settled(seed: u64) -> PlayKind {
    PlayKind { conflicts: Conflicts::Settled(Setting::of(seed)), ..settled_in_front(seed) }
}

fn settled_with_revisions(seed: u64) -> PlayKind {
    let conflicts = Conflicts::SettledWithRevisions(Setting::of(seed));
    PlayKind { conflicts, cast: Cast::WithRevisions, bug: None }
}

#[test]
fn the_rule_in_front_of_a_server_makes_all_clients_converge() {
    all_end_well(memory, 400, settled_in_front);
}

fn shared_by_nobody(_: u64) -> PlayKind {
    PlayKind { conflicts: Conflicts::Rejected, cast: Cast::Private, bug: None }
}

for_each_store!([memory: 1_600, sqlite: 64, postgres: 64, mongodb: 16] {
    #[test]
    fn original_and_new_clients_converge_under_every_policy() {
        super::all_end_well(open, CASES.into(), super::settled);
    }

    #[test]
    fn clients_that_name_revisions_converge_beside_all_others() {
        super::all_end_well(open, u64::from(CASES) / 2, super::settled_with_revisions);
    }

    #[test]
    fn original_clients_that_share_nothing_converge_without_a_policy() {
        super::all_end_well(open, u64::from(CASES) / 4, super::shared_by_nobody);
    }
});

/// Plays until a planted bug is found.
fn seen(bug: Bug) {
    let theatre = Theatre::new(memory);
    let found = (0..PLAYS_TO_FIND_A_BUG).find_map(|seed| {
        let kind = PlayKind { bug: Some(bug), ..settled(seed) };
        Some((seed, theatre.play(seed, kind).err()?))
    });
    let (seed, fault) = found.unwrap_or_else(|| panic!("{bug:?} stays unseen"));
    println!("seed {seed}: {fault}");
}

macro_rules! planted {
    ($($test:ident: $bug:ident,)*) => {
        $(#[test]
        fn $test() {
            seen(Bug::$bug);
        })*
    };
}

planted! {
    a_resolution_with_the_clock_of_the_operation_alone_is_seen: ClockOfOperation,
    a_resolution_with_the_clock_of_the_document_alone_is_seen: ClockOfDocument,
    a_resolution_that_is_an_update_is_seen: ResolutionIsUpdate,
    a_resolution_in_the_answer_to_a_push_is_seen: ResolutionInAnswer,
    a_loser_without_a_resolution_is_seen: NothingIfLost,
    a_counter_of_the_server_for_each_document_is_seen: BumpPerDocument,
}
