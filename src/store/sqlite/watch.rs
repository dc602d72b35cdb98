//! Finds out whether another process has written to the file.

use std::thread;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{pending, unfold};

use super::threads::Threads;
use crate::limits::store::sqlite::WATCH_PAUSE_MS;
use crate::store::{Elsewhere, Watch};

/// See [`crate::store::Store::watch`].
///
/// SQLite has a number for that, which costs next to nothing. On the connection of the writer, only commits of other
/// processes change it.
pub(super) fn watch(writer: &Threads) -> Watch<'_> {
    let Some(ticks) = ticks() else { return pending().boxed() };
    let next = async move |(ticks, known): (async_channel::Receiver<()>, Option<i64>)| {
        loop {
            ticks.recv().await.ok()?;
            let version = writer.run("watch", |connection, _| {
                connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
            });
            // If the file cannot be read, the requests say so.
            if let Ok(version) = version.await
                && known != Some(version)
            {
                return Some((Elsewhere::Anywhere, (ticks, Some(version))));
            }
        }
    };
    unfold((ticks, None), next).boxed()
}

/// A channel into which a thread puts something now and then, until nobody receives it. A future of the service has no
/// timer of its own.
fn ticks() -> Option<async_channel::Receiver<()>> {
    let (sender, receiver) = async_channel::bounded(1);
    let tick = move || {
        while !sender.is_closed() {
            // If the last one was not taken yet, one is enough.
            let _ = sender.try_send(());
            thread::sleep(Duration::from_millis(WATCH_PAUSE_MS));
        }
    };
    thread::Builder::new().name("sqlite-watcher".to_owned()).spawn(tick).ok().map(|_| receiver)
}
