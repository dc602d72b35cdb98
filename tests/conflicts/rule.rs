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

    /// Whether an edit loses to every delete that it has not seen.
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
    /// The last operation, if deletes may lose and edits are merged. Otherwise it is the latest writer of the content.
    last: Option<Stamp>,
    /// The counters of the deletes that an edit must have seen if deletes win.
    deletes: BTreeMap<String, u64>,
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
    fn counted(&self, client: &str) -> u64 {
        self.op.vector_clock.get(client).copied().unwrap_or(0)
    }

    fn knows(&self, mark: &Mark) -> bool {
        self.counted(&mark.client) >= mark.counter
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

    /// No content, which nobody has written.
    fn nothing() -> Self {
        Self { data: Data::new(), keys: BTreeMap::new(), whole: Stamp(Vec::new()) }
    }

    /// The data of an update, over an absence of all other keys that others have written.
    fn of_update(case: &Case<'_>, absence: &Stamp) -> Self {
        let keys = case.patch.keys().map(|key| (key.clone(), case.over(absence))).collect();
        Self { data: case.patch.clone(), keys, whole: absence.clone() }
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
        if case.is_merge() && case.is(Kind::Update) {
            return Self::of_update(case, &Stamp(Vec::new()));
        }
        Self { data: case.patch.clone(), keys: BTreeMap::new(), whole: Stamp(vec![case.mark.clone()]) }
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
            last: None,
            deletes: is_deleted.then(|| (op.client_id.clone(), case.mark.counter)).into_iter().collect(),
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

    /// Whether the author of an operation has seen all that decides about it.
    pub(crate) fn is_seen_by(&self, op: &Op, setting: Setting) -> bool {
        let patch = Data::new();
        let case = Case { setting, causality: Causality(true), op, patch, mark: mark_of(op, op.timestamp) };
        self.is_seen(&case)
    }

    fn is_seen(&self, case: &Case<'_>) -> bool {
        let is_content_seen = self.stamps().all(|stamp| case.has_seen(stamp));
        let is_merged_below = case.is_merge() && case.setting.can_recover();
        let mut below = self.gone.iter().filter(|_| is_merged_below).flat_map(Content::stamps);
        let are_deletes_seen = !case.setting.lets_deletes_win() || self.are_deletes_seen(case);
        is_content_seen && are_deletes_seen && below.all(|stamp| case.has_seen(stamp))
    }

    fn are_deletes_seen(&self, case: &Case<'_>) -> bool {
        self.deletes.iter().all(|(client, counter)| case.counted(client) >= *counter)
    }

    fn stamps(&self) -> impl Iterator<Item = &Stamp> {
        self.content.stamps().chain(&self.last)
    }

    /// The last operation.
    fn last(&self) -> &Stamp {
        self.last.as_ref().unwrap_or_else(|| self.content.latest())
    }

    /// The effect of an operation. Returns whether it has written anything.
    fn take_in(&mut self, case: &Case<'_>) -> bool {
        let Setting { policy, deletes } = case.setting;
        let is_later = self.stamps().all(|stamp| case.beats(stamp));
        let has_written = match (policy, deletes) {
            (Policy::ServerWins, _) if !self.is_seen(case) => false,
            (Policy::ServerWins | Policy::ClientWins, _) => self.overwrite(case),
            (Policy::LastWriterWins | Policy::Merge, Deletes::Win) => self.take_in_alive(case, is_later),
            (Policy::Merge, Deletes::Lose) => self.take_in_beside_deletes(case),
            (Policy::LastWriterWins, Deletes::Lose) if !is_later => false,
            (Policy::LastWriterWins, Deletes::Lose) => {
                if self.is_deleted && case.is(Kind::Update) {
                    // An update needs the data that were deleted.
                    self.content.data = self.gone.take().map(|gone| gone.data).unwrap_or_default();
                }
                self.overwrite(case)
            }
        };
        if self.is_deleted && case.is(Kind::Delete) {
            self.deletes.retain(|client, counter| case.counted(client) < *counter);
            self.deletes.insert(case.mark.client.clone(), case.mark.counter);
        }
        has_written
    }

    /// The operation takes effect on the whole document, whatever was before.
    fn overwrite(&mut self, case: &Case<'_>) -> bool {
        let next = Content { whole: case.over(self.last()), ..Content::nothing() };
        let before = std::mem::replace(&mut self.content, next);
        let was_deleted = std::mem::replace(&mut self.is_deleted, case.is(Kind::Delete));
        match case.op.kind {
            Kind::Delete if was_deleted => {}
            Kind::Delete => self.gone = Some(before),
            Kind::Insert => self.content.data.clone_from(&case.patch),
            Kind::Update => {
                self.content.data = before.data;
                self.content.data.extend(case.patch.clone());
            }
        }
        self.last = None;
        true
    }

    /// Only edits that have seen every delete are alive.
    fn take_in_alive(&mut self, case: &Case<'_>, is_later: bool) -> bool {
        if case.is(Kind::Delete) {
            return (is_later || !self.is_deleted) && self.overwrite(case);
        }
        if !self.are_deletes_seen(case) {
            return false;
        }
        if !case.is_merge() || self.is_deleted && case.is(Kind::Insert) {
            return (is_later || self.is_deleted) && self.overwrite(case);
        }
        let next =
            if self.is_deleted { Content::of_update(case, self.content.latest()) } else { self.content.merged(case) };
        let has_written = self.is_deleted || next.is_written_beside(&self.content);
        (self.content, self.last, self.is_deleted) = (next, None, false);
        has_written
    }

    /// The last operation says whether the document is there, and the edits what is in it.
    fn take_in_beside_deletes(&mut self, case: &Case<'_>) -> bool {
        let is_last = case.beats(self.last());
        if case.is(Kind::Delete) {
            return is_last && self.overwrite(case);
        }
        let was_deleted = self.is_deleted;
        let before = if was_deleted { self.gone.take().unwrap_or_else(Content::nothing) } else { self.content.clone() };
        let next = before.merged(case);
        // An edit without a key brings nothing back.
        let is_last = is_last && (case.is(Kind::Insert) || !case.patch.is_empty());
        if was_deleted && !is_last {
            self.gone = Some(next);
            return false;
        }
        let last = if is_last { case.over(self.last()) } else { self.last().clone() };
        let has_written = was_deleted || next.is_written_beside(&before);
        (self.content, self.last, self.is_deleted) = (next, Some(last), false);
        has_written
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
