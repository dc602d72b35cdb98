//! A client of the server's own protocol: cursors, a clock for each document, an outbox beside the server's state.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::play::{Late, Play};
use super::server::Documents;
use super::wire::{COLLECTION, Clock, Data, Kind, Op, join};

/// A document as the server had it.
#[derive(Debug, Clone, Default)]
struct ServerState {
    data: Option<Data>,
    clock: Clock,
}

/// An operation that the client made.
#[derive(Debug, Clone)]
struct Outgoing {
    op: Op,
    is_accepted: bool,
}

#[derive(Debug, Default)]
struct State {
    counter: u64,
    cursor: Option<String>,
    documents: BTreeMap<String, ServerState>,
    outbox: Vec<Outgoing>,
}

/// A client with a cursor, as `docs/writing-a-client.md` describes it.
#[derive(Debug)]
pub(crate) struct CursorClient {
    client: String,
    state: RefCell<State>,
}

impl CursorClient {
    pub(crate) fn new(client: &str) -> Self {
        Self { client: client.to_owned(), state: RefCell::default() }
    }

    /// The documents that the user sees: the outbox over the server's state.
    pub(crate) fn documents(&self) -> Documents {
        let state = self.state.borrow();
        let live = |(id, document): (&String, &ServerState)| Some((id.clone(), document.data.clone()?));
        let mut documents: Documents = state.documents.iter().filter_map(live).collect();
        for Outgoing { op, .. } in &state.outbox {
            let mut data = documents.remove(&op.doc_id);
            apply(&mut data, op);
            documents.extend(data.map(|data| (op.doc_id.clone(), data)));
        }
        documents
    }

    /// The number of operations that the server has not taken.
    pub(crate) fn stuck(&self) -> usize {
        self.state.borrow().outbox.len()
    }

    /// The user changes a document.
    pub(crate) fn edit(&self, play: &Play, kind: Kind, document: &str, data: Data) {
        let state = &mut *self.state.borrow_mut();
        if state.cursor.is_none() {
            return;
        }
        let mut clock = state.documents.get(document).map(|known| known.clock.clone()).unwrap_or_default();
        for outgoing in state.outbox.iter().filter(|outgoing| outgoing.op.doc_id == document) {
            join(&mut clock, &outgoing.op.vector_clock);
        }
        state.counter += 1;
        clock.insert(self.client.clone(), state.counter);
        let op = Op {
            id: play.next_id(&self.client),
            kind,
            collection: COLLECTION.to_owned(),
            doc_id: document.to_owned(),
            data: (kind != Kind::Delete).then_some(data),
            timestamp: play.server.now_ms(),
            client_id: self.client.clone(),
            synced: false,
            vector_clock: clock,
        };
        play.tell(|| format!("{} edits {op:?}", self.client));
        state.outbox.push(Outgoing { op, is_accepted: false });
    }

    fn pending(&self) -> Vec<Op> {
        let state = self.state.borrow();
        state.outbox.iter().filter(|outgoing| !outgoing.is_accepted).map(|outgoing| outgoing.op.clone()).collect()
    }

    fn accepted(&self) -> Vec<String> {
        let state = self.state.borrow();
        state.outbox.iter().filter(|outgoing| outgoing.is_accepted).map(|outgoing| outgoing.op.id.clone()).collect()
    }

    /// Pushes the outbox, and pulls until there is no more. Returns whether anything changed, or `None` if something
    /// was lost on the way.
    pub(crate) async fn sync(&self, play: &Play) -> Option<bool> {
        let pending = self.pending();
        let mut has_news = !pending.is_empty();
        if !pending.is_empty() {
            let late = || Late::Push { client: self.client.clone(), ops: pending.clone() };
            let answer = play.ask(|server| server.push(&self.client, &pending), late).await??;
            let mut state = self.state.borrow_mut();
            for outgoing in &mut state.outbox {
                outgoing.is_accepted |= answer.accepted.iter().any(|op| op.id == outgoing.op.id);
            }
        }
        // Operations that are accepted before this moment are in the log that is pulled now.
        let accepted = self.accepted();
        loop {
            let cursor = self.state.borrow().cursor.clone();
            let ask = play
                .ask(|server| server.pull_cursor(&self.client, cursor.as_deref(), play.page_limit), || Late::Nothing);
            let page = ask.await?;
            play.tell(|| format!("{} pulls {:#?}", self.client, page.operations));
            has_news |= !page.operations.is_empty();
            let state = &mut *self.state.borrow_mut();
            for op in &page.operations {
                let document = state.documents.entry(op.doc_id.clone()).or_default();
                join(&mut document.clock, &op.vector_clock);
                apply(&mut document.data, op);
            }
            state.cursor = page.cursor;
            if !page.has_more {
                state.outbox.retain(|outgoing| !accepted.contains(&outgoing.op.id));
                return Some(has_news);
            }
        }
    }
}

/// Applies an operation to the data of a document.
fn apply(data: &mut Option<Data>, op: &Op) {
    let sent = || op.data.clone().unwrap_or_default();
    match op.kind {
        Kind::Insert => *data = Some(sent()),
        Kind::Update => data.get_or_insert_default().extend(sent()),
        Kind::Delete => *data = None,
    }
}
