//! The rule by which a conflict is settled, written a second time: as short as possible, and by no code of the library.
//!
//! It is compared with the server, and bugs are planted in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use syncflow_server::core::policy::{self, ConflictPolicy, Policies};

use super::wire::{Clock, Data, Kind, Op, Resolved, join};

/// How far in the future a time may lie that decides a conflict, in milliseconds.
const AHEAD_MAX_MS: u64 = 60_000;

/// A policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    ServerWins,
    ClientWins,
    LastWriterWins,
    Merge,
}

impl Policy {
    pub(crate) const ALL: [Self; 4] = [Self::ServerWins, Self::ClientWins, Self::LastWriterWins, Self::Merge];
}

/// Whether a delete wins over the edits that it has not seen, or the later of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletes {
    Win,
    Lose,
}

impl Deletes {
    pub(crate) const ALL: [Self; 2] = [Self::Win, Self::Lose];
}

/// A policy with its setting for deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) policy: Policy,
    pub(crate) deletes: Deletes,
}

impl Setting {
    /// Every policy with both settings for deletes.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Policy::ALL.into_iter().flat_map(|policy| Deletes::ALL.map(|deletes| Self { policy, deletes }))
    }

    fn is_by_time(self) -> bool {
        matches!(self.policy, Policy::LastWriterWins | Policy::Merge)
    }

    fn lets_deletes_win(self) -> bool {
        self.deletes == Deletes::Win && self.is_by_time()
    }

    /// Whether an edit can bring the data of a deleted document back.
    fn can_recover(self) -> bool {
        self.deletes == Deletes::Lose && self.is_by_time()
    }

    /// The setting for a seed. Neighbouring seeds have different ones.
    pub(crate) fn of(seed: u64) -> Self {
        let settings: Vec<Self> = Self::all().collect();
        settings[usize::try_from(seed % settings.len() as u64).expect("few settings")]
    }
}

/// The setting as the server takes it. Without one, conflicts are rejected.
pub(crate) fn policies(setting: Option<Setting>) -> Policies {
    let Some(Setting { policy, deletes }) = setting else { return Policies::default() };
    let policy = match policy {
        Policy::ServerWins => ConflictPolicy::ServerWins,
        Policy::ClientWins => ConflictPolicy::ClientWins,
        Policy::LastWriterWins => ConflictPolicy::LastWriterWins,
        Policy::Merge => ConflictPolicy::Merge,
    };
    let deletes = match deletes {
        Deletes::Win => policy::Deletes::Win,
        Deletes::Lose => policy::Deletes::Lose,
    };
    Policies::for_all(policy, deletes)
}

/// An operation that wrote a value. The order of marks is that of *later*.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    time: u64,
    client: String,
    operation: String,
    counter: u64,
}

/// The origin of a value: the operation that wrote it, after the later ones that its author had seen. It is empty if
/// nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp(Vec<Mark>);

/// The content of a document, and who wrote it.
#[derive(Debug, Clone)]
struct Content {
    data: Data,
    /// The last write of the whole document.
    whole: Stamp,
    /// The last writers of single keys, if they differ from that of the whole document.
    keys: BTreeMap<String, Stamp>,
}

/// A document of the server.
#[derive(Debug, Clone)]
pub(crate) struct Doc {
    /// A tombstone has no data.
    content: Content,
    is_deleted: bool,
    clock: Clock,
    timestamp: u64,
    /// The client of the operation that it shows.
    author: String,
    /// The content that a delete removed, if an edit may bring it back.
    gone: Option<Content>,
    /// When the server received the last operation.
    received: u64,
}

/// Whether a stamp keeps the later operations that its author had seen. It does, unless a bug is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Causality(pub(crate) bool);

/// An operation beside a document.
struct Case<'a> {
    setting: Setting,
    causality: Causality,
    op: &'a Op,
    patch: Data,
    mark: Mark,
}

impl Case<'_> {
    fn knows(&self, mark: &Mark) -> bool {
        self.op.vector_clock.get(&mark.client).copied().unwrap_or(0) >= mark.counter
    }

    fn has_seen(&self, stamp: &Stamp) -> bool {
        stamp.0.last().is_none_or(|mark| self.knows(mark))
    }

    /// Whether the operation is written over a value with this stamp.
    fn beats(&self, stamp: &Stamp) -> bool {
        self.has_seen(stamp) || stamp.0.iter().find(|mark| !self.knows(mark)).is_none_or(|mark| self.mark > *mark)
    }

    /// The stamp of the operation over a value with this stamp.
    fn over(&self, stamp: &Stamp) -> Stamp {
        let later = stamp.0.iter().take_while(|mark| self.causality.0 && self.knows(mark) && **mark > self.mark);
        Stamp(later.chain([&self.mark]).cloned().collect())
    }

    fn is(&self, kind: Kind) -> bool {
        self.op.kind == kind
    }

    fn is_merge(&self) -> bool {
        self.setting.policy == Policy::Merge
    }
}

/// The mark of an operation.
fn mark_of(op: &Op, received: u64) -> Mark {
    Mark {
        time: op.timestamp.min(received + AHEAD_MAX_MS),
        client: op.client_id.clone(),
        operation: op.id.clone(),
        counter: op.vector_clock.get(&op.client_id).copied().unwrap_or(0),
    }
}

impl Content {
    fn stamps(&self) -> impl Iterator<Item = &Stamp> {
        self.keys.values().chain([&self.whole])
    }

    fn latest(&self) -> &Stamp {
        self.stamps().max().unwrap_or(&self.whole)
    }

    /// The content that an operation writes over this one as a whole.
    fn replaced(&self, case: &Case<'_>) -> Self {
        let mut data = if case.is(Kind::Update) { self.data.clone() } else { Data::new() };
        data.extend(case.patch.clone());
        Self { data, whole: case.over(self.latest()), keys: BTreeMap::new() }
    }

    /// The content after an operation that takes effect key by key. An insert also removes the keys that it does not
    /// have.
    fn merged(&self, case: &Case<'_>) -> Self {
        let (is_insert, mut next) = (case.is(Kind::Insert), self.clone());
        let beats_whole = case.beats(&self.whole);
        if is_insert && beats_whole {
            next.whole = case.over(&self.whole);
        }
        let all: BTreeSet<&String> = self.data.keys().chain(self.keys.keys()).chain(case.patch.keys()).collect();
        for key in all {
            let stamp = self.keys.get(key);
            let is_written = is_insert || case.patch.contains_key(key);
            if !is_written || !stamp.map_or(beats_whole, |stamp| case.beats(stamp)) {
                continue;
            }
            match case.patch.get(key) {
                Some(value) => next.data.insert(key.clone(), value.clone()),
                None => next.data.remove(key),
            };
            if stamp.is_some() || !is_insert {
                next.keys.insert(key.clone(), case.over(stamp.unwrap_or(&self.whole)));
            }
        }
        next
    }

    /// The content that an operation begins over nothing. Another update may write other keys, so an update has not
    /// written their absence.
    fn begun(case: &Case<'_>) -> Self {
        let (data, own, nobody) = (case.patch.clone(), Stamp(vec![case.mark.clone()]), Stamp(Vec::new()));
        if case.is_merge() && case.is(Kind::Update) {
            let keys = data.keys().map(|key| (key.clone(), own.clone())).collect();
            return Self { data, keys, whole: nobody };
        }
        Self { data, keys: BTreeMap::new(), whole: own }
    }

    /// Whether an operation has changed who wrote the content.
    fn is_written_beside(&self, before: &Self) -> bool {
        self.keys != before.keys || self.whole != before.whole
    }
}

impl Doc {
    /// The document that an operation begins.
    pub(crate) fn begun_by(op: &Op, received: u64, setting: Setting) -> Self {
        let patch = op.data.clone().unwrap_or_default();
        let case = Case { setting, causality: Causality(true), op, patch, mark: mark_of(op, received) };
        let is_deleted = op.kind == Kind::Delete;
        Self {
            content: Content::begun(&case),
            is_deleted,
            clock: op.vector_clock.clone(),
            timestamp: op.timestamp,
            author: op.client_id.clone(),
            gone: None,
            received,
        }
    }

    /// The log forgets what it received up to a time, and with it the data of tombstones.
    pub(crate) fn compact(&mut self, until: u64) {
        self.gone = self.gone.take().filter(|_| self.received > until);
    }

    /// The document after an operation, and how the operation fared.
    pub(crate) fn after(&self, op: &Op, received: u64, setting: Setting, causality: Causality) -> (Self, Resolved) {
        let patch = op.data.clone().unwrap_or_default();
        let case = Case { setting, causality, op, patch, mark: mark_of(op, received) };
        let mut next = self.clone();
        let has_written = next.take_in(&case);
        next.gone = next.gone.filter(|_| next.is_deleted && setting.can_recover());
        let is_lost = |(key, value): &(&String, &Value)| next.is_deleted || next.content.data.get(*key) != Some(*value);
        let lost = case.patch.iter().filter(is_lost).map(|(key, value)| (key.clone(), value.clone()));
        let lost: Data = lost.collect();
        let others = next.content.data.keys().any(|key| !case.patch.contains_key(key));
        let is_whole = lost.is_empty() && !(op.kind == Kind::Insert && others);
        let outcome = match op.kind {
            Kind::Delete if next.is_deleted => "won",
            Kind::Delete => "lost",
            _ if next.is_deleted || !case.patch.is_empty() && lost.len() == case.patch.len() => "lost",
            _ if is_whole => "won",
            _ => "merged",
        };
        join(&mut next.clock, &op.vector_clock);
        next.timestamp = self.timestamp.max(op.timestamp);
        next.received = received;
        if has_written {
            next.author.clone_from(&op.client_id);
        }
        (next, Resolved { id: op.id.clone(), operation: String::new(), outcome: outcome.to_owned(), lost })
    }

    /// Whether the author of an operation has seen the content.
    pub(crate) fn is_seen_by(&self, op: &Op) -> bool {
        let knows = |mark: &Mark| op.vector_clock.get(&mark.client).copied().unwrap_or(0) >= mark.counter;
        self.content.stamps().all(|stamp| stamp.0.last().is_none_or(knows))
    }

    /// The effect of an operation. Returns whether it has written anything.
    fn take_in(&mut self, case: &Case<'_>) -> bool {
        let policy = case.setting.policy;
        let is_seen = self.content.stamps().all(|stamp| case.has_seen(stamp));
        let (is_by_time, deletes_win) = (case.setting.is_by_time(), case.setting.lets_deletes_win());
        if !is_by_time && !is_seen && policy == Policy::ServerWins {
            return false;
        }
        let is_later = !is_by_time || self.content.stamps().all(|stamp| case.beats(stamp));
        match (case.op.kind, self.is_deleted) {
            (Kind::Delete, _) => self.delete(case, deletes_win, is_later),
            (_, true) if is_seen || !is_by_time => {
                let whole = case.over(self.content.latest());
                self.content = Content { data: case.patch.clone(), keys: BTreeMap::new(), whole };
                (self.is_deleted, self.gone) = (false, None);
                true
            }
            (_, true) if deletes_win => false,
            (_, true) => self.recover(case, is_later),
            (_, false) if case.is_merge() => {
                let next = self.content.merged(case);
                let has_written = next.is_written_beside(&self.content);
                self.content = next;
                has_written
            }
            (_, false) if is_later => {
                self.content = self.content.replaced(case);
                true
            }
            _ => false,
        }
    }

    fn delete(&mut self, case: &Case<'_>, deletes_win: bool, is_later: bool) -> bool {
        if !is_later && (self.is_deleted || !deletes_win) {
            return false;
        }
        let next = Content { data: Data::new(), whole: case.over(self.content.latest()), keys: BTreeMap::new() };
        let gone = std::mem::replace(&mut self.content, next);
        if !std::mem::replace(&mut self.is_deleted, true) {
            self.gone = Some(gone);
        }
        true
    }

    /// An edit whose author has not seen the delete. An edit without a key brings nothing back.
    fn recover(&mut self, case: &Case<'_>, is_later: bool) -> bool {
        let gone = self.gone.take();
        if !case.is_merge() {
            if is_later {
                let data = gone.map_or_else(Data::new, |gone| gone.data);
                self.content = Content { data, ..self.content.clone() }.replaced(case);
                self.is_deleted = false;
            } else {
                self.gone = gone;
            }
            return is_later;
        }
        let merged = gone.as_ref().map_or_else(|| Content::begun(case), |gone| gone.merged(case));
        let has_written = gone
            .map_or_else(|| case.is(Kind::Insert) || !case.patch.is_empty(), |gone| merged.is_written_beside(&gone));
        if is_later && has_written {
            (self.content, self.is_deleted) = (merged, false);
            return true;
        }
        self.gone = Some(merged);
        false
    }

    /// The resolution that leads to this document.
    pub(crate) fn resolution(&self, op: &Op, id: String) -> Op {
        Op {
            id,
            kind: if self.is_deleted { Kind::Delete } else { Kind::Insert },
            data: (!self.is_deleted).then(|| self.content.data.clone()),
            timestamp: self.timestamp,
            client_id: self.author.clone(),
            synced: true,
            vector_clock: self.clock.clone(),
            ..op.clone()
        }
    }
}
