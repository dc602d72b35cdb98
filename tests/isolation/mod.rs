//! No answer has a byte of a document that its receiver may not read (law 11). Every device ends with exactly the
//! documents that its owner may read.
//!
//! People push, pull, read and query through the routes. Meanwhile their lists and the rules change, documents move
//! between lists, answers are lost, and the log is compacted. Each document and each operation has a marker, and all
//! bytes of all answers are searched for markers.

mod device;
mod history;
mod markers;
mod model;
mod play;
mod rules;

use syncflow_server::conformance::World;

use self::history::histories;
use self::play::Play;
use crate::support::random::for_random;
use crate::support::runtime;
use crate::support::stores::{TestStore, for_each_store};

const MAX_STEPS: usize = 20;

fn everybody_receives_what_they_may_read_and_no_byte_more(cases: u32, open: impl AsyncFn() -> TestStore) {
    let runtime = runtime();
    let home = runtime.block_on(open());
    for_random(cases, &histories(MAX_STEPS), |(rules, history)| {
        runtime.block_on(async {
            let mut play = Play::new(World::new(home.store()).as_tenant(&home.next_name()), rules);
            for step in &history {
                play.step(step).await;
            }
            play.end().await;
        });
        Ok(())
    });
}

for_each_store!([memory: 1_000, sqlite: 100, postgres: 60, mongodb: 6] {
    #[test]
    fn everybody_receives_what_they_may_read_and_no_byte_more() {
        super::everybody_receives_what_they_may_read_and_no_byte_more(CASES, open);
    }
});
