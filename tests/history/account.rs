//! The operations of a history and their places: the log, put together from the pages of all pullers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::{Outcome, resolution_id};
use syncflow_server::core::names::{DocumentKey, OperationId};
use syncflow_server::core::numbers::Seq;
use syncflow_server::core::operation::{LogEntry, Operation};
use syncflow_server::service::{PullFrom, PulledPage};

use super::{Call, Exchange, History, Law, Moment, Violation};

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
    /// The pushed operations, by the ids that their resolutions have.
    resolutions: HashMap<OperationId, &'h OperationId>,
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
        let settles = history.setting.is_some();
        let resolutions = pushed.keys().filter(|_| settles).map(|id| (resolution_id(id), *id)).collect();
        let (log, places, head) = (BTreeMap::new(), HashMap::new(), Seq::START);
        let mut account = Self { history, pushed, resolutions, log, places, head };
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

    /// The greatest possible horizon at the end.
    pub(super) fn horizon_at_end(&self) -> Seq {
        horizon_after(self.history.exchanges.iter())
    }

    /// The greatest possible horizon when an exchange was answered.
    fn horizon_at_most(&self, index: usize) -> Seq {
        let answered = self.history.exchanges[index].answered;
        horizon_after(self.history.exchanges.iter().filter(|exchange| exchange.sent < answered))
    }

    fn enter(
        &mut self,
        before: Seq,
        index: usize,
        page: &'h PulledPage,
        shown_by: &mut HashMap<Seq, usize>,
    ) -> Result<(), Violation> {
        for (seq, entry) in before.following().zip(&page.entries) {
            let id = self.pushed_id(entry).unwrap_or(&entry.id);
            let other = shown_by.entry(seq).or_insert(index);
            let exchanges = vec![*other, index];
            let known = *self.log.entry(seq).or_insert(id);
            if known != id {
                let says = format!("number {seq} is {known} to one puller and {id} to another");
                return Err(Violation { law: Law::Dense, says, exchanges });
            }
            let place = *self.places.entry(id).or_insert(seq);
            if place != seq {
                let says = format!("{id} has the numbers {place} and {seq}");
                return Err(Violation { law: Law::Once, says, exchanges: vec![shown_by[&place], index] });
            }
        }
        Ok(())
    }

    /// The id of the pushed operation that an entry stands for: its own, or that of which it is the resolution.
    pub(super) fn pushed_id(&self, entry: &'h LogEntry) -> Option<&'h OperationId> {
        let pushed = self.pushed.get_key_value(&entry.id).map(|(id, _)| *id);
        pushed.or_else(|| self.resolutions.get(&entry.id).copied())
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

/// The greatest possible horizon after these exchanges.
fn horizon_after<'e>(exchanges: impl Iterator<Item = &'e Exchange>) -> Seq {
    exchanges.fold(Seq::START, |horizon, exchange| match exchange.call {
        Call::Compact { deleted_entries } => horizon.plus(deleted_entries.unwrap_or(u64::MAX)),
        _ => horizon,
    })
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
                Some(Outcome::Applied | Outcome::Duplicate | Outcome::Resolved(_)) => {
                    let earliest = pushed.accepted.unwrap_or(Moment::MAX).min(exchange.answered);
                    pushed.accepted = Some(earliest);
                }
                Some(other) => panic!("an unknown outcome: {other:?}"),
            }
        }
    }
    Ok(all)
}
