//! An executor that polls tasks in the order that a seed gives.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_util::future::LocalBoxFuture;

/// The most steps of a schedule. A task that is not done by then waits for something that never happens.
const STEPS_MAX: usize = 200_000;

/// A point at which any other task may run first.
#[derive(Debug, Default)]
pub(crate) struct Step {
    is_taken: bool,
}

impl Future for Step {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.is_taken, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Polls tasks in the order that `choose` gives until all are done. `meanwhile` is called before each step and may add
/// tasks.
pub(crate) fn run<'t>(
    mut tasks: Vec<LocalBoxFuture<'t, ()>>,
    mut choose: impl FnMut(usize) -> usize,
    mut meanwhile: impl FnMut() -> Vec<LocalBoxFuture<'t, ()>>,
) {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..STEPS_MAX {
        tasks.extend(meanwhile());
        if tasks.is_empty() {
            return;
        }
        let chosen = choose(tasks.len());
        if tasks[chosen].as_mut().poll(&mut context).is_ready() {
            drop(tasks.swap_remove(chosen));
        }
    }
    panic!("{} tasks wait for ever", tasks.len());
}
