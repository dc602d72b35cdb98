//! The laws, each as a function of a history.

use std::collections::{BTreeSet, HashMap};

use syncflow_server::core::clock::Relation;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::{Conflict, ConflictRelation, Outcome, resolution_id};
use syncflow_server::core::names::{DocumentKey, OperationId};
use syncflow_server::core::numbers::Seq;
use syncflow_server::core::operation::{LogEntry, Operation, OperationKind};
use syncflow_server::service::PullFrom;

use super::account::Account;
use super::replay::{Replay, State, object};
use super::{Call, Explained, Found, History, Law, Moment, Violation};
use crate::conflicts::wire::Op;

/// Checks a history against all laws. Returns the first violation, if there is one.
pub(crate) fn check(history: &History) -> Result<Explained, Violation> {
    let account = Account::of(history)?;
    let log = || account.entries().map(|(seq, pushed)| (seq, pushed.operation));
    let replay = Replay::of(history.setting, account.horizon_at_end(), log());
    let uncertain = log().map(|(_, operation)| &operation.key).filter(|key| replay.uncertain.contains(*key));
    let blurred = account.blurred().into_iter().chain(uncertain).collect();
    let known = Known { lifetimes: Lifetimes::of(&account), blurred, replay, account };
    known.durable()?;
    known.real_time()?;
    known.linear()?;
    known.genuine()?;
    known.settled()?;
    known.whole()?;
    known.fresh()?;
    known.justified()?;
    known.effect()?;
    known.converged()?;
    Ok(Explained { operations: known.account.head.get(), unseen_operations: known.account.unseen() })
}

/// A violation if `holds` is false.
fn unless(holds: bool, violation: impl FnOnce() -> Violation) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(violation()) }
}

/// The moments between which each entry of the log was committed.
///
/// The log is in the order of commits. So an entry was not committed before any earlier entry was sent, nor after any
/// later entry was answered.
#[derive(Debug)]
struct Lifetimes {
    earliest: HashMap<Seq, Moment>,
    latest: HashMap<Seq, Moment>,
}

impl Lifetimes {
    fn of(account: &Account<'_>) -> Self {
        let (mut begun, mut over) = (0, Moment::MAX);
        let earliest = account.entries().map(|(seq, pushed)| {
            begun = begun.max(pushed.sent);
            (seq, begun)
        });
        let earliest = earliest.collect();
        let latest = account.entries().rev().map(|(seq, pushed)| {
            over = over.min(pushed.accepted.unwrap_or(Moment::MAX));
            (seq, over)
        });
        Self { earliest, latest: latest.collect() }
    }
}

struct Known<'h> {
    account: Account<'h>,
    replay: Replay,
    lifetimes: Lifetimes,
    blurred: BTreeSet<&'h DocumentKey>,
}

impl Known<'_> {
    fn durable(&self) -> Result<(), Violation> {
        let accepted = self.account.pushed.iter().filter(|(_, pushed)| pushed.accepted.is_some());
        let mut missing: Vec<&OperationId> =
            accepted.map(|(id, _)| *id).filter(|id| !self.account.places.contains_key(*id)).collect();
        missing.sort_unstable();
        let unseen = self.account.unseen();
        unless(missing.len() as u64 <= unseen, || Violation {
            law: Law::Durable,
            says: format!("accepted and not in the log, of which {unseen} numbers are unknown: {missing:?}"),
            exchanges: self.account.exchanges_of(missing.iter().copied().take(1)),
        })
    }

    fn real_time(&self) -> Result<(), Violation> {
        let mut answered_behind: Option<(Moment, &OperationId)> = None;
        for (_, pushed) in self.account.entries().rev() {
            let id = &pushed.operation.id;
            if let Some((answered, other)) = answered_behind {
                unless(answered >= pushed.sent, || Violation {
                    law: Law::RealTime,
                    says: format!("{other} was answered before {id} was sent, and is behind it in the log"),
                    exchanges: self.account.exchanges_of([id, other]),
                })?;
            }
            if let Some(accepted) = pushed.accepted
                && answered_behind.is_none_or(|(answered, _)| accepted < answered)
            {
                answered_behind = Some((accepted, id));
            }
        }
        Ok(())
    }

    fn linear(&self) -> Result<(), Violation> {
        for (key, states) in self.replay.documents() {
            for pair in states.windows(2) {
                let relation = pair[1].clock.compare(&pair[0].clock);
                unless(matches!(relation, Relation::HappensAfter | Relation::Equal), || Violation {
                    law: Law::Linear,
                    says: format!(
                        "{} was accepted over {} of {}, to which it is {relation:?}",
                        pair[1].operation_id, pair[0].operation_id, key.id
                    ),
                    exchanges: self.account.exchanges_of([&pair[0].operation_id, &pair[1].operation_id]),
                })?;
            }
        }
        Ok(())
    }

    fn genuine(&self) -> Result<(), Violation> {
        for (index, exchange) in self.account.history.exchanges.iter().enumerate() {
            let Call::Pull { page, .. } = &exchange.call else { continue };
            for entry in &page.entries {
                let pushed = self.account.pushed_id(entry).and_then(|id| self.account.pushed.get(id));
                let is_genuine = pushed
                    .is_some_and(|pushed| pushed.sent <= exchange.answered && self.is_of(entry, pushed.operation));
                unless(is_genuine, || Violation {
                    law: Law::Genuine,
                    says: format!("nobody pushed {entry:?} before it was pulled"),
                    exchanges: [vec![index], self.account.exchanges_of([&entry.id])].concat(),
                })?;
            }
        }
        Ok(())
    }

    /// Whether an entry of a page is this operation as it was pushed, or the state that it resulted in.
    fn is_of(&self, entry: &LogEntry, operation: &Operation) -> bool {
        if self.account.history.setting.is_some() {
            // The law about resolutions has the rest.
            return entry.key == operation.key;
        }
        let is_same = entry.key == operation.key
            && entry.client_id == operation.client_id
            && entry.clock == *operation.clock.json();
        let data = entry.data().map(object);
        let is_operation = data == operation.data().map(object)
            && (entry.kind() == operation.kind()
                || (entry.kind(), operation.kind()) == (OperationKind::Insert, OperationKind::Update));
        let state = self.replay.state_by(&operation.key, &operation.id);
        let is_state = self.blurred.contains(&operation.key) || state.is_some_and(|state| state.data == data);
        is_same && (is_operation || is_state)
    }

    /// The entries of the log, and what the authors were told, are what the rule makes of the operations.
    fn settled(&self) -> Result<(), Violation> {
        if self.account.history.setting.is_none() {
            return Ok(());
        }
        for (index, exchange) in self.account.history.exchanges.iter().enumerate() {
            let unsettled = |says: String, key: &DocumentKey| {
                let states = self.replay.states(key).iter().map(|state| &state.operation_id);
                let exchanges = [vec![index], self.account.exchanges_of(states)].concat();
                Violation { law: Law::Settled, says, exchanges }
            };
            match &exchange.call {
                Call::Pull { page, .. } => {
                    let mut shown_before = BTreeSet::new();
                    for entry in &page.entries {
                        // A page may end with an entry that it has already, with a greater time.
                        let is_repeated = !shown_before.insert(&entry.id);
                        if is_repeated || self.blurred.contains(&entry.key) {
                            continue;
                        }
                        let id = self.account.pushed_id(entry);
                        let state = id.and_then(|id| self.replay.state_by(&entry.key, id));
                        let expected = state.and_then(|state| state.entry.as_ref());
                        let shown = Op::from(entry);
                        unless(expected == Some(&shown), || {
                            unsettled(format!("{shown:?} is in the log, and the rule makes {expected:?}"), &entry.key)
                        })?;
                    }
                }
                Call::Push { operations, outcomes: Some(outcomes) } => {
                    for (operation, outcome) in operations.iter().zip(outcomes) {
                        unless(self.is_told(operation, outcome), || {
                            unsettled(format!("{} is answered {outcome:?}", operation.id), &operation.key)
                        })?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether an outcome says what the rule makes of the operation.
    fn is_told(&self, operation: &Operation, outcome: &Outcome) -> bool {
        let state = self.replay.state_by(&operation.key, &operation.id);
        let expected = match state {
            Some(state) if !self.blurred.contains(&operation.key) => state.resolved.as_ref(),
            _ => return true,
        };
        match outcome {
            Outcome::Duplicate => true,
            Outcome::Applied => expected.is_none(),
            Outcome::Resolved(told) => expected.is_some_and(|expected| {
                told.operation_id == resolution_id(&operation.id)
                    && told.survival.as_str() == expected.outcome
                    && told.lost.as_ref().map(object).unwrap_or_default() == expected.lost
            }),
            _ => false,
        }
    }

    fn whole(&self) -> Result<(), Violation> {
        for exchange in &self.account.history.exchanges {
            let Call::Push { operations, .. } = &exchange.call else { continue };
            // If an operation was also pushed together with others, the pushes cannot be told apart.
            let is_own = |id: &OperationId| {
                self.account.pushed[id].exchanges.iter().all(|other| {
                    match &self.account.history.exchanges[*other].call {
                        Call::Push { operations: others, .. } => others == operations,
                        _ => false,
                    }
                })
            };
            if operations.iter().all(|operation| is_own(&operation.id)) {
                self.whole_push(operations)?;
            }
        }
        Ok(())
    }

    fn whole_push(&self, operations: &[Operation]) -> Result<(), Violation> {
        let ids = || operations.iter().map(|operation| &operation.id);
        let broken =
            |says: String| Violation { law: Law::Whole, says, exchanges: self.account.exchanges_of(ids().take(1)) };
        let Some(first) = ids().find_map(|id| self.account.places.get(id)) else { return Ok(()) };
        let mut before = first.previous();
        for operation in operations {
            if let Some(seq) = self.account.places.get(&operation.id) {
                let others = self.account.log.range(before.next().min(*seq)..*seq).count();
                unless(before < *seq && others == 0, || broken(format!("{} is apart from its push", operation.id)))?;
                before = *seq;
                continue;
            }
            let state = self.replay.states(&operation.key).iter().rev().find(|state| state.seq <= before);
            let relation = state.map(|state| operation.clock.compare(&state.clock));
            let may_refuse = self.account.history.setting.is_none();
            let is_refused = may_refuse && matches!(relation, Some(Relation::HappensBefore | Relation::Concurrent));
            unless(is_refused || self.blurred.contains(&operation.key), || {
                broken(format!("{} is not in the log, and nothing was against it", operation.id))
            })?;
        }
        Ok(())
    }

    /// A client that pulls to the end receives at least all that was answered before.
    fn fresh(&self) -> Result<(), Violation> {
        let ends =
            self.account.history.exchanges.iter().enumerate().filter_map(|(index, exchange)| match &exchange.call {
                Call::Pull { from: PullFrom::Cursor(_), page } if !page.has_more => match page.cursor {
                    Some(Cursor::Log(position)) => Some((index, exchange, position.seq)),
                    _ => None,
                },
                _ => None,
            });
        let ends: Vec<_> = ends.collect();
        let pushes = self.account.entries().filter_map(|(seq, pushed)| {
            let index = *pushed.exchanges.first()?;
            Some((pushed.accepted?, seq, index))
        });
        let mut answered: Vec<(Moment, Seq, usize)> =
            ends.iter().map(|(index, exchange, seq)| (exchange.answered, *seq, *index)).chain(pushes).collect();
        answered.sort_unstable();
        let mut greatest = (Seq::START, 0);
        for answer in &mut answered {
            greatest = greatest.max((answer.1, answer.2));
            (answer.1, answer.2) = greatest;
        }
        for (index, exchange, seq) in ends {
            let earlier = answered.partition_point(|(moment, ..)| *moment < exchange.sent);
            let Some((_, known, other)) = earlier.checked_sub(1).map(|last| answered[last]) else { continue };
            unless(seq >= known, || Violation {
                law: Law::Fresh,
                says: format!("number {known} was answered before, and the pull ends at {seq}"),
                exchanges: vec![index, other],
            })?;
        }
        Ok(())
    }

    fn justified(&self) -> Result<(), Violation> {
        for (index, exchange) in self.account.history.exchanges.iter().enumerate() {
            let during = (exchange.sent, exchange.answered);
            let unjustified = |says: String, key: &DocumentKey| Violation {
                law: Law::Justified,
                says,
                exchanges: [
                    vec![index],
                    self.account
                        .exchanges_of(self.replay.states(key).iter().rev().take(2).map(|state| &state.operation_id)),
                ]
                .concat(),
            };
            match &exchange.call {
                Call::Push { operations, outcomes: Some(outcomes) } => {
                    for (operation, outcome) in operations.iter().zip(outcomes) {
                        let Outcome::Conflict(conflict) = outcome else { continue };
                        unless(self.is_conflict_justified(operation, conflict, during), || {
                            unjustified(format!("{} had no such conflict: {conflict:?}", operation.id), &operation.key)
                        })?;
                    }
                }
                Call::Read { key, found } => unless(self.is_read_justified(key, found.as_ref(), during), || {
                    unjustified(format!("{} was never so at that time: {found:?}", key.id), key)
                })?,
                _ => {}
            }
        }
        Ok(())
    }

    fn is_conflict_justified(&self, operation: &Operation, conflict: &Conflict, during: (Moment, Moment)) -> bool {
        let relation = match operation.clock.compare(&conflict.document.clock) {
            Relation::HappensBefore => Some(ConflictRelation::HappensBefore),
            Relation::Concurrent => Some(ConflictRelation::Concurrent),
            Relation::HappensAfter | Relation::Equal => None,
        };
        let data = conflict.document.data.as_ref().map(object);
        let document = &conflict.document;
        relation == Some(conflict.relation)
            && self.was_once(&operation.key, during, |state| {
                state.is_some_and(|state| {
                    state.operation_id == document.operation_id
                        && state.rev == document.rev
                        && state.clock == document.clock
                        && state.data == data
                })
            })
    }

    fn is_read_justified(&self, key: &DocumentKey, found: Option<&Found>, during: (Moment, Moment)) -> bool {
        self.was_once(key, during, |state| match (found, state) {
            (Some(found), Some(state)) => state.rev == found.rev && state.data.as_ref() == Some(&found.data),
            (None, Some(state)) => state.data.is_none(),
            (None, None) => true,
            (Some(_), None) => false,
        })
    }

    /// Whether a document may have had this state between two moments. Before its first state it does not exist.
    fn was_once(
        &self,
        key: &DocumentKey,
        (sent, answered): (Moment, Moment),
        is_so: impl Fn(Option<&State>) -> bool,
    ) -> bool {
        let states = self.replay.states(key);
        let since = |index: usize| index.checked_sub(1).map_or(0, |index| self.lifetimes.earliest[&states[index].seq]);
        let until = |index: usize| states.get(index).map_or(Moment::MAX, |next| self.lifetimes.latest[&next.seq]);
        let mut ever = (0..=states.len()).filter(|index| is_so(index.checked_sub(1).map(|index| &states[index])));
        self.blurred.contains(key) || ever.any(|index| since(index) <= answered && until(index) >= sent)
    }

    fn effect(&self) -> Result<(), Violation> {
        let documents = &self.account.history.end.documents;
        for (key, states) in self.replay.documents().filter(|(key, _)| !self.blurred.contains(key)) {
            let last = states.last();
            let expected = last.and_then(|state| Some(Found { rev: state.rev, data: state.data.clone()? }));
            unless(documents.get(key) == expected.as_ref(), || Violation {
                law: Law::Effect,
                says: format!("{} is {:?}, and the log makes {expected:?} of it", key.id, documents.get(key)),
                exchanges: self.account.exchanges_of(last.map(|state| &state.operation_id)),
            })?;
        }
        for (key, found) in documents {
            let is_explained = !self.replay.states(key).is_empty() || self.blurred.contains(key);
            unless(is_explained, || Violation {
                law: Law::Effect,
                says: format!("{} is {found:?}, and the log has nothing of it", key.id),
                exchanges: Vec::new(),
            })?;
        }
        Ok(())
    }

    fn converged(&self) -> Result<(), Violation> {
        let end = &self.account.history.end;
        for (client, replica) in &end.replicas {
            let differing = end
                .documents
                .keys()
                .chain(replica.keys())
                .find(|key| replica.get(*key) != end.documents.get(*key).map(|found| &found.data));
            if let Some(key) = differing {
                let (held, is) = (replica.get(key), end.documents.get(key));
                let last = self.replay.states(key).last().map(|state| &state.operation_id);
                let says = format!("{client} holds {held:?} as {}, which is {is:?}", key.id);
                return Err(Violation { law: Law::Converged, says, exchanges: self.account.exchanges_of(last) });
            }
        }
        Ok(())
    }
}
