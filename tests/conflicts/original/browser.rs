//! Tabs with an original client in them, step by step: between any two steps something else may happen.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use super::database::Database;
use crate::conflicts::play::{Late, Play};
use crate::conflicts::wire::{COLLECTION, Clock, Data, Kind, Op, join};

/// The most operations in one request.
const CHUNK_MAX_OPERATIONS: usize = 50;

/// A tab of a browser.
#[derive(Debug)]
pub(crate) struct Tab {
    /// The client id, which all tabs and databases of the browser share.
    pub(crate) client: String,
    pub(crate) database: Rc<RefCell<Database>>,
    /// The clock of the client, which a reload loses.
    clock: RefCell<Clock>,
    /// The number of reloads.
    life: Cell<u64>,
    /// The documents of operations that are recorded, and not applied yet.
    in_flight: RefCell<Vec<String>>,
    /// How many milliseconds the clock of the device is ahead. It is behind if this is negative.
    ahead_ms: Rc<Cell<i64>>,
}

/// A sync that is under way. It ends when this is dropped, also by a reload.
struct Syncing<'d>(&'d RefCell<Database>);

impl<'d> Syncing<'d> {
    fn begin(database: &'d RefCell<Database>) -> Self {
        database.borrow_mut().begin_sync();
        Self(database)
    }
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        self.0.borrow_mut().end_sync();
    }
}

/// The result of a sync that was not interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Synced {
    /// Whether the page had operations that the client did not know.
    pub(crate) has_news: bool,
    /// Whether there is another page.
    pub(crate) has_more: bool,
}

impl Tab {
    pub(crate) fn new(client: &str, database: &Rc<RefCell<Database>>, ahead_ms: &Rc<Cell<i64>>) -> Self {
        Self {
            client: client.to_owned(),
            database: Rc::clone(database),
            clock: RefCell::default(),
            life: Cell::new(0),
            in_flight: RefCell::default(),
            ahead_ms: Rc::clone(ahead_ms),
        }
    }

    /// The device's clock is set, perhaps back.
    pub(crate) fn set_ahead_ms(&self, ahead_ms: i64) {
        self.ahead_ms.set(ahead_ms);
    }

    /// The page is loaded again. Everything that was under way in it ends, and its clock is forgotten.
    pub(crate) fn reload(&self) {
        self.life.set(self.life.get() + 1);
        self.clock.borrow_mut().clear();
        let mut database = self.database.borrow_mut();
        self.in_flight.take().iter().for_each(|document| database.tear(document));
    }

    /// The same work, which ends when the page is loaded again.
    pub(crate) async fn until_reload(&self, mut work: LocalBoxFuture<'_, ()>) {
        let life = self.life.get();
        poll_fn(|context| if self.life.get() == life { work.poll_unpin(context) } else { Poll::Ready(()) }).await;
    }

    /// The user changes a document.
    pub(crate) async fn edit(&self, play: &Play, kind: Kind, document: &str, data: Data) {
        let op = self.make(play, kind, document, data);
        play.step().await;
        self.database.borrow_mut().record(&op);
        self.write_row(play, &op, true).await;
    }

    fn make(&self, play: &Play, kind: Kind, document: &str, data: Data) -> Op {
        let mut clock = self.clock.borrow_mut();
        *clock.entry(self.client.clone()).or_default() += 1;
        let op = Op {
            id: play.next_id(&self.client),
            kind,
            collection: COLLECTION.to_owned(),
            doc_id: document.to_owned(),
            data: (kind != Kind::Delete).then_some(data),
            timestamp: play.server.now_ms().saturating_add_signed(self.ahead_ms.get()).max(1),
            client_id: self.client.clone(),
            synced: false,
            vector_clock: clock.clone(),
        };
        play.tell(|| format!("{} edits {op:?}", self.client));
        op
    }

    /// Writes the row of an operation that is recorded.
    async fn write_row(&self, play: &Play, op: &Op, is_own: bool) {
        self.in_flight.borrow_mut().push(op.doc_id.clone());
        play.step().await;
        let reading = self.database.borrow().read(&op.doc_id);
        play.step().await;
        let mut database = self.database.borrow_mut();
        if let Some(place) = play.server.place(&op.id).filter(|_| !is_own) {
            database.note_place(&op.doc_id, place);
        }
        database.write(&reading, op, is_own);
        let mut in_flight = self.in_flight.borrow_mut();
        if let Some(index) = in_flight.iter().position(|document| *document == op.doc_id) {
            in_flight.swap_remove(index);
        }
    }

    /// Applies an operation of the server. Returns whether it was news.
    async fn apply(&self, play: &Play, op: &Op) -> bool {
        if self.database.borrow().knows(&op.id) {
            return false;
        }
        play.step().await;
        join(&mut self.clock.borrow_mut(), &op.vector_clock);
        self.database.borrow_mut().record(op);
        self.write_row(play, op, false).await;
        true
    }

    /// Pulls one page, and pushes what is not synced. `None` if something was lost or refused on the way.
    pub(crate) async fn sync(&self, play: &Play) -> Option<Synced> {
        let _syncing = Syncing::begin(&self.database);
        let since = self.database.borrow().since;
        let late = || Late::Pull { client: self.client.clone(), since };
        let page = play.ask(|server| server.pull_since(&self.client, since, play.page_limit), late).await?;
        play.tell(|| format!("{} pulls from {since}: {:#?}", self.client, page.operations));
        let mut synced = Synced { has_news: false, has_more: page.has_more };
        for op in &page.operations {
            synced.has_news |= self.apply(play, op).await;
            play.step().await;
        }
        if let Some(greatest) = page.operations.iter().map(|op| op.timestamp).max() {
            self.database.borrow_mut().since = greatest;
        }
        play.step().await;
        let unsynced = self.database.borrow().unsynced();
        for chunk in unsynced.chunks(CHUNK_MAX_OPERATIONS) {
            self.push(play, chunk).await?;
        }
        Some(synced)
    }

    async fn push(&self, play: &Play, ops: &[Op]) -> Option<()> {
        self.database.borrow_mut().mark_sent(ops);
        let late = || Late::Push { client: self.client.clone(), ops: ops.to_vec(), bases: None };
        play.tell(|| format!("{} pushes {:?}", self.client, ops.iter().map(|op| &op.id).collect::<Vec<_>>()));
        let answer = play.ask(|server| server.push(&self.client, ops), late).await??;
        for op in &answer.accepted {
            self.database.borrow_mut().mark_synced(&op.id);
            play.step().await;
        }
        for op in &answer.conflicts {
            self.apply(play, op).await;
        }
        Some(())
    }
}
