//! A client of the server's own protocol: cursors, an outbox beside the server's state, and for each document a clock
//! or a revision.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::play::{Late, Play};
use super::server::{Documents, Server};
use super::wire::{Bases, COLLECTION, Clock, Data, Kind, Op, join};

/// A document as the server had it.
#[derive(Debug, Clone, Default)]
struct ServerState {
    data: Option<Data>,
    clock: Clock,
    rev: u64,
}

/// An operation that the client made.
#[derive(Debug, Clone)]
struct Outgoing {
    op: Op,
    /// The revision that the user saw.
    base: u64,
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
    /// Whether it pulls documents and names their revisions, in place of clocks.
    names_revisions: bool,
    state: RefCell<State>,
}

impl CursorClient {
    pub(crate) fn new(client: &str, names_revisions: bool) -> Self {
        Self { client: client.to_owned(), names_revisions, state: RefCell::default() }
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
        let known = state.documents.get(document).cloned().unwrap_or_default();
        let (mut clock, base) = (known.clock, known.rev);
        for outgoing in state.outbox.iter().filter(|outgoing| outgoing.op.doc_id == document) {
            join(&mut clock, &outgoing.op.vector_clock);
        }
        state.counter += 1;
        clock.insert(self.client.clone(), state.counter);
        if self.names_revisions {
            clock.clear();
        }
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
        state.outbox.push(Outgoing { op, base, is_accepted: false });
    }

    fn pending(&self) -> (Vec<Op>, Option<Bases>) {
        let state = self.state.borrow();
        let pending = || state.outbox.iter().filter(|outgoing| !outgoing.is_accepted);
        let revs = || pending().map(|outgoing| outgoing.base).collect();
        let bases = self.names_revisions.then(|| Bases { cursor: state.cursor.clone(), revs: revs() });
        (pending().map(|outgoing| outgoing.op.clone()).collect(), bases)
    }

    fn accepted(&self) -> Vec<String> {
        let state = self.state.borrow();
        state.outbox.iter().filter(|outgoing| outgoing.is_accepted).map(|outgoing| outgoing.op.id.clone()).collect()
    }

    /// Pushes the outbox, and pulls until there is no more. Returns whether anything changed, or `None` if something
    /// was lost on the way.
    pub(crate) async fn sync(&self, play: &Play) -> Option<bool> {
        let (pending, bases) = self.pending();
        let mut has_news = !pending.is_empty();
        if !pending.is_empty() {
            let late = || Late::Push { client: self.client.clone(), ops: pending.clone(), bases: bases.clone() };
            let answer = play.ask(|server| server.push_with(&self.client, &pending, bases.as_ref()), late).await??;
            let mut state = self.state.borrow_mut();
            for outgoing in &mut state.outbox {
                outgoing.is_accepted |= answer.accepted.iter().any(|op| op.id == outgoing.op.id);
            }
        }
        // Operations that are accepted before this moment are in the log that is pulled now.
        let accepted = self.accepted();
        loop {
            let cursor = self.state.borrow().cursor.clone();
            let (cursor, limit, as_documents) = (cursor.as_deref(), play.page_limit, self.names_revisions);
            let pull = |server: &Server| server.pull_cursor(&self.client, cursor, limit, as_documents);
            let (page, revs) = play.ask(pull, || Late::Nothing).await?;
            play.tell(|| format!("{} pulls {:#?}", self.client, page.operations));
            has_news |= !page.operations.is_empty();
            let state = &mut *self.state.borrow_mut();
            for (index, op) in page.operations.iter().enumerate() {
                let document = state.documents.entry(op.doc_id.clone()).or_default();
                join(&mut document.clock, &op.vector_clock);
                apply(&mut document.data, op);
                document.rev = revs.get(index).copied().unwrap_or(document.rev);
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
