#[cfg(panic = "unwind")]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use futures_util::future::{pending, ready};

use super::*;

/// An item of a size; a group has at most 10 of it, and is large from 5.
#[derive(Debug)]
struct Parcel(u32);

impl Item for Parcel {
    type Total = u32;

    fn add_to(&self, total: u32) -> u32 {
        total + self.0
    }

    fn is_too_much(total: u32) -> bool {
        total > 10
    }

    fn is_large(total: u32) -> bool {
        total >= 5
    }
}

/// A host whose clock moves by the same step each time it is read.
#[derive(Debug, Default)]
struct SteppingHost {
    now_ms: AtomicU64,
    step_ms: AtomicU64,
    never_wakes: bool,
    sleeps: AtomicU32,
}

impl Host for SteppingHost {
    fn now_ms(&self) -> UnixMs {
        let step_ms = self.step_ms.load(Ordering::Relaxed);
        UnixMs::new(self.now_ms.fetch_add(step_ms, Ordering::Relaxed) + step_ms)
    }

    fn random_bits(&self) -> u64 {
        0
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        if self.never_wakes { pending().boxed() } else { ready(()).boxed() }
    }
}

impl SteppingHost {
    fn that_wakes() -> Arc<Self> {
        Arc::default()
    }

    fn that_never_wakes() -> Arc<Self> {
        Arc::new(Self { never_wakes: true, ..Self::default() })
    }

    fn sleeps(&self) -> u32 {
        self.sleeps.load(Ordering::Relaxed)
    }
}

type Groups = Arc<GroupCommit<Parcel, (usize, usize)>>;

fn groups(host: &Arc<SteppingHost>) -> Groups {
    Arc::new(GroupCommit::new(Arc::clone(host) as Arc<dyn Host>))
}

/// Submits an item of the size 1; the result is its index and how many there were.
fn begin(groups: &Groups) -> BoxFuture<'static, (usize, usize)> {
    let number = |items: Vec<Parcel>| {
        let count = items.len();
        ready((0..count).map(|index| (index, count)).collect())
    };
    Arc::clone(groups).submit(Parcel(1), number).boxed()
}

fn is_answered(item: &mut BoxFuture<'_, (usize, usize)>) -> bool {
    item.now_or_never().is_some()
}

/// Items that share their work, which takes long; then the time stands still.
fn submit_together(host: &SteppingHost, groups: &Groups, count: usize) {
    host.step_ms.store(10, Ordering::Relaxed);
    let turn = groups.turn.try_lock();
    let mut items: Vec<_> = (0..count).map(|_| begin(groups)).collect();
    assert!(items.iter_mut().all(|item| !is_answered(item)), "they wait for their turn");
    drop(turn);
    let results: Vec<_> = items.into_iter().filter_map(futures_util::FutureExt::now_or_never).collect();
    assert_eq!(results, (0..count).map(|index| (index, count)).collect::<Vec<_>>(), "each has its own result");
    host.step_ms.store(0, Ordering::Relaxed);
}

#[test]
fn a_group_waits_until_as_many_have_come_as_were_there_before() {
    let host = SteppingHost::that_never_wakes();
    let groups = groups(&host);
    submit_together(&host, &groups, 2);
    let mut third = begin(&groups);
    assert!(!is_answered(&mut third));
    let mut fourth = begin(&groups);
    assert!(is_answered(&mut fourth) && is_answered(&mut third));
    assert_eq!(host.sleeps(), 1);
}

#[test]
fn a_lone_caller_waits_for_no_other() {
    let host = SteppingHost::that_never_wakes();
    let groups = groups(&host);
    for _ in 0..3 {
        submit_together(&host, &groups, 1);
    }
    assert_eq!(host.sleeps(), 0);
}

#[test]
fn a_group_that_waited_in_vain_is_smaller_the_next_time() {
    let host = SteppingHost::that_wakes();
    let groups = groups(&host);
    submit_together(&host, &groups, 2);
    for _ in 0..3 {
        assert!(is_answered(&mut begin(&groups)));
    }
    assert_eq!(host.sleeps(), 1, "only the first of them expects another one");
}

#[test]
fn no_item_is_expected_long_after_a_commit() {
    let host = SteppingHost::that_never_wakes();
    let groups = groups(&host);
    submit_together(&host, &groups, 2);
    host.step_ms.store(10, Ordering::Relaxed);
    assert!(is_answered(&mut begin(&groups)));
}

#[test]
fn a_caller_that_leaves_a_group_that_gathers_takes_no_other_with_it() {
    let host = SteppingHost::that_never_wakes();
    let groups = groups(&host);
    submit_together(&host, &groups, 3);
    let mut leaving = begin(&groups);
    let mut staying = begin(&groups);
    assert!(!is_answered(&mut leaving) && !is_answered(&mut staying));
    drop(leaving);
    assert!(!is_answered(&mut staying), "two are not three");
    assert!(is_answered(&mut begin(&groups)) && is_answered(&mut staying));
}

#[test]
fn a_group_that_every_caller_has_left_is_gone_and_has_no_turn() {
    let host = SteppingHost::that_never_wakes();
    let groups = groups(&host);
    submit_together(&host, &groups, 2);
    let mut gathering = begin(&groups);
    assert!(!is_answered(&mut gathering));
    assert_eq!((groups.waiting_items(), groups.turn.try_lock().is_some()), (1, false));
    drop(gathering);
    assert_eq!((groups.waiting_items(), groups.turn.try_lock().is_some()), (0, true));
}

// Elsewhere a panic ends the process.
#[cfg(panic = "unwind")]
#[test]
fn work_that_panics_fails_every_caller_of_its_group_and_no_other() {
    let groups = groups(&SteppingHost::that_wakes());
    let turn = groups.turn.try_lock();
    let broken = |_: Vec<Parcel>| async { panic!("broken work") };
    let mut first = Arc::clone(&groups).submit(Parcel(1), broken).boxed();
    let mut second = begin(&groups);
    assert!(!is_answered(&mut first) && !is_answered(&mut second));
    drop(turn);
    for mut item in [first, second] {
        catch_unwind(AssertUnwindSafe(|| is_answered(&mut item))).expect_err("the work panicked");
    }
    assert!(is_answered(&mut begin(&groups)));
}

fn group() -> Group<Parcel> {
    Group::of(Parcel(1))
}

#[test]
fn a_group_waits_for_no_more_items_than_make_it_large() {
    let mut group = group();
    let mut complete = group.await_items(3).expect("two are missing");
    assert_eq!(complete.try_recv(), Ok(None));
    group.join(Parcel(4)).expect("there is room");
    assert_eq!(complete.try_recv(), Ok(Some(())));
    assert!(group.await_items(3).is_none());
}

#[test]
fn a_group_does_not_wait_for_an_item_that_has_no_room() {
    let mut group = group();
    let mut complete = group.await_items(2).expect("one is missing");
    group.join(Parcel(10)).expect_err("there is none");
    assert_eq!(complete.try_recv(), Ok(Some(())));
}

#[test]
fn an_item_that_is_too_large_for_a_group_has_one_of_its_own() {
    assert_eq!(Group::of(Parcel(11)).close().len(), 1);
}
