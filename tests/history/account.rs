//! The operations of a history and their places: the log, put together from the pages of all pullers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::names::{DocumentKey, OperationId};
use syncflow_server::core::numbers::Seq;
use syncflow_server::core::operation::Operation;
use syncflow_server::service::{PullFrom, PulledPage};

use super::{Call, History, Law, Moment, Violation};

/// The pushes of one operation.
#[derive(Debug)]
pub(super) struct Pushed<'h> {
    pub(super) operation: &'h Operation,
    /// The exchanges that pushed it.
    pub(super) exchanges: Vec<usize>,
    /// The moment at which it was sent first.
    pub(super) sent: Moment,
    /// The moment at which it was first answered as accepted.
    pub(super) accepted: Option<Moment>,
    /// Whether it was answered with a conflict.
    pub(super) was_refused: bool,
}

/// The operations and the log of a history.
#[derive(Debug)]
pub(super) struct Account<'h> {
    pub(super) history: &'h History,
    pub(super) pushed: HashMap<&'h OperationId, Pushed<'h>>,
    /// The known part of the log, by sequence number.
    pub(super) log: BTreeMap<Seq, &'h OperationId>,
    /// The sequence number of each operation that is known to be in the log.
    pub(super) places: HashMap<&'h OperationId, Seq>,
    /// The greatest sequence number in any answer.
    pub(super) head: Seq,
}

impl<'h> Account<'h> {
    pub(super) fn of(history: &'h History) -> Result<Self, Violation> {
        let pushed = pushed(history)?;
        let mut account = Self { history, pushed, log: BTreeMap::new(), places: HashMap::new(), head: Seq::START };
        let mut shown_by = HashMap::new();
        for (index, exchange) in history.exchanges.iter().enumerate() {
            let Call::Pull { from, page } = &exchange.call else { continue };
            if let Some(cursor) = page.cursor {
                account.head = account.head.max(cursor.position().seq);
            }
            if let Some(before) = account.start_of_log_page(index, from, page)? {
                account.enter(before, index, page, &mut shown_by)?;
            }
        }
        Ok(account)
    }

    /// The sequence number before a page's first operation, if it is known that the page has the log and not documents.
    ///
    /// A cursor behind the horizon is answered with documents. They may end at the head in one page, but usually the
    /// page then has fewer entries than there are sequence numbers.
    fn start_of_log_page(&self, index: usize, from: &PullFrom, page: &PulledPage) -> Result<Option<Seq>, Violation> {
        let (PullFrom::Cursor(Some(Cursor::Log(from))), Some(Cursor::Log(to))) = (from, page.cursor) else {
            return Ok(None);
        };
        let numbers = (to.seq >= from.seq).then(|| to.seq.entries_since(from.seq));
        if numbers == Some(page.entries.len() as u64) {
            return Ok(Some(from.seq));
        }
        let documents: HashSet<&DocumentKey> = page.entries.iter().map(|entry| &entry.key).collect();
        let may_show_documents = documents.len() == page.entries.len()
            && !page.has_more
            && numbers.is_some_and(|numbers| numbers > page.entries.len() as u64)
            && self.horizon_at_most(index) > from.seq;
        if may_show_documents {
            return Ok(None);
        }
        Err(Violation {
            law: Law::Dense,
            says: format!("between {} and {} there are {} operations", from.seq, to.seq, page.entries.len()),
            exchanges: vec![index],
        })
    }

    /// The greatest possible horizon when an exchange was answered.
    fn horizon_at_most(&self, index: usize) -> Seq {
        let answered = self.history.exchanges[index].answered;
        let earlier = self.history.exchanges.iter().filter(|exchange| exchange.sent < answered);
        earlier.fold(Seq::START, |horizon, exchange| match exchange.call {
            Call::Compact { deleted_entries } => horizon.plus(deleted_entries.unwrap_or(u64::MAX)),
            _ => horizon,
        })
    }

    fn enter(
        &mut self,
        before: Seq,
        index: usize,
        page: &'h PulledPage,
        shown_by: &mut HashMap<Seq, usize>,
    ) -> Result<(), Violation> {
        for (seq, entry) in before.following().zip(&page.entries) {
            let other = shown_by.entry(seq).or_insert(index);
            let exchanges = vec![*other, index];
            let known = *self.log.entry(seq).or_insert(&entry.id);
            if *known != entry.id {
                let says = format!("number {seq} is {known} to one puller and {} to another", entry.id);
                return Err(Violation { law: Law::Dense, says, exchanges });
            }
            let place = *self.places.entry(&entry.id).or_insert(seq);
            if place != seq {
                let says = format!("{} has the numbers {place} and {seq}", entry.id);
                return Err(Violation { law: Law::Once, says, exchanges: vec![shown_by[&place], index] });
            }
        }
        Ok(())
    }

    /// The number of sequence numbers that no puller saw.
    pub(super) fn unseen(&self) -> u64 {
        self.head.entries_since(Seq::START.plus(self.log.len() as u64))
    }

    /// The documents whose states are not all known, because an operation in the unseen part of the log may have
    /// written them.
    pub(super) fn blurred(&self) -> BTreeSet<&'h DocumentKey> {
        if self.unseen() == 0 {
            return BTreeSet::new();
        }
        let candidates =
            self.pushed.iter().filter(|(id, pushed)| !self.places.contains_key(*id) && !pushed.was_refused);
        candidates.map(|(_, pushed)| &pushed.operation.key).collect()
    }

    /// The known part of the log, in its order.
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = (Seq, &Pushed<'h>)> {
        self.log.iter().filter_map(|(seq, id)| Some((*seq, self.pushed.get(id)?)))
    }

    /// The exchanges that pushed these operations.
    pub(super) fn exchanges_of<'i>(&self, ids: impl IntoIterator<Item = &'i OperationId>) -> Vec<usize> {
        let pushed = ids.into_iter().filter_map(|id| self.pushed.get(id));
        pushed.flat_map(|pushed| pushed.exchanges.iter().copied()).collect()
    }
}

/// Collects every operation that was pushed. Each push must have as many outcomes as operations, and an id must always
/// stand for the same operation.
fn pushed(history: &History) -> Result<HashMap<&OperationId, Pushed<'_>>, Violation> {
    let mut all: HashMap<&OperationId, Pushed<'_>> = HashMap::new();
    for (index, exchange) in history.exchanges.iter().enumerate() {
        let Call::Push { operations, outcomes } = &exchange.call else { continue };
        if let Some(outcomes) = outcomes
            && outcomes.len() != operations.len()
        {
            let says = format!("{} operations have {} outcomes", operations.len(), outcomes.len());
            return Err(Violation { law: Law::Answered, says, exchanges: vec![index] });
        }
        for (place, operation) in operations.iter().enumerate() {
            let pushed = all.entry(&operation.id).or_insert_with(|| Pushed {
                operation,
                exchanges: Vec::new(),
                sent: exchange.sent,
                accepted: None,
                was_refused: false,
            });
            pushed.exchanges.push(index);
            pushed.sent = pushed.sent.min(exchange.sent);
            match outcomes.as_ref().map(|outcomes| &outcomes[place]) {
                None => {}
                Some(Outcome::Conflict(_)) => pushed.was_refused = true,
                Some(Outcome::Applied | Outcome::Duplicate) => {
                    let earliest = pushed.accepted.unwrap_or(Moment::MAX).min(exchange.answered);
                    pushed.accepted = Some(earliest);
                }
                Some(other) => panic!("an unknown outcome: {other:?}"),
            }
        }
    }
    Ok(all)
}
