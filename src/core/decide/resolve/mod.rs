//! Resolutions: the state of a document after an operation, under a policy with which the server resolves conflicts.

pub(super) mod deletes;
mod id;
pub(super) mod kept;
mod merge;
pub(super) mod stamp;
pub(super) mod stamps;

pub(super) use self::id::hashed_resolution_id;
pub use self::id::{RESERVED_IDS, is_reserved, pushed_id, resolution_id, tells_pushed_id};
pub(crate) use self::kept::{is_kept, resolution_of};
pub(crate) use self::stamps::{are_stamps, may_be_stamps};

use self::kept::Gone;
use self::merge::Merged;
use self::stamp::{Stamp, Writer};
use self::stamps::Stamps;
use super::policy::{ConflictPolicy, Deletes};
use crate::core::document;
use crate::core::json::{BadJson, Object};
use crate::core::operation::Change;
use crate::limits::protocol::{DOCUMENT_MAX_BYTES, STAMPS_MAX_KEYS};

/// A document as an operation finds it.
#[derive(Debug, Clone)]
pub(super) struct Present {
    /// Nothing for a tombstone.
    pub(super) data: Option<Object>,
    pub(super) stamps: Stamps,
    /// The data of a tombstone, if they are kept.
    pub(super) gone: Option<Gone>,
}

/// A document after an operation.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) data: Option<Object>,
    pub(super) stamps: Stamps,
    pub(super) gone: Option<Gone>,
    /// Whether the operation has written anything of it, so that its author is the winner.
    pub(super) has_written: bool,
    /// Whether data that were deleted are back.
    pub(super) has_recovered: bool,
    /// How much survived of an operation whose author had not seen the content.
    pub(super) survival: Option<(Survival, Option<Object>)>,
}

/// How much of an operation survived, whose author had not seen the content of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Survival {
    /// All of it.
    Won,
    /// Nothing.
    Lost,
    /// A part of it, or all of it beside values that an insert would have removed.
    Merged,
}

impl Survival {
    /// The name in the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Merged => "merged",
        }
    }
}

/// The answer of an application to a conflict: the data of the document after it, or nothing if it is deleted.
pub(super) type Answer<'a> = Option<&'a Option<Object>>;

/// Decides what a document is after an operation.
///
/// **Law.** *An operation whose author has seen the content takes effect under every policy. Otherwise the policy
/// decides, and the values that do not survive are told to the author.*
///
/// `None` if an application had to decide and has not. `answer` is its answer.
pub(super) fn settle(
    (policy, deletes): (ConflictPolicy, Deletes),
    present: &Present,
    change: &Change,
    writer: &Writer<'_>,
    answer: Answer<'_>,
) -> Result<Option<Settled>, BadJson> {
    let is_by_time = matches!(policy, ConflictPolicy::LastWriterWins | ConflictPolicy::Merge);
    let deletes_win = is_by_time && deletes == Deletes::Win;
    let merges = policy == ConflictPolicy::Merge && !has_many_keys(present, change)?;
    let has_seen = present.stamps.are_seen_by(writer)
        && match &present.gone {
            _ if deletes_win => present.stamps.deletes.are_seen_by(writer),
            Some(below) if merges => below.stamps.are_seen_by(writer),
            _ => true,
        };
    let settled = match (policy, has_seen) {
        (ConflictPolicy::Custom, false) => match answer {
            None => return Ok(None),
            Some(data) if *data == present.data => Settled::unchanged(present),
            Some(data) => Settled::of(data.clone(), present.stamps.followed_by(writer)),
        },
        (ConflictPolicy::ServerWins | ConflictPolicy::Reject, false) => Settled::unchanged(present),
        (ConflictPolicy::LastWriterWins | ConflictPolicy::Merge, _) if deletes_win => {
            if_deletes_win(merges, present, change, writer)?
        }
        (ConflictPolicy::Merge, _) if merges => merge_beside_deletes(present, change, writer)?,
        (ConflictPolicy::LastWriterWins | ConflictPolicy::Merge, _) => by_time(present, change, writer)?,
        (_, true) | (ConflictPolicy::ClientWins, false) => effect(present, change, writer)?,
    };
    // A delete that is in effect may have to give its place to an edit that has not arrived yet.
    let keeps = is_by_time && !deletes_win;
    let gone = match (&settled.data, &present.data) {
        (None, Some(data)) if keeps => Some(Gone { data: data.clone(), stamps: present.stamps.of_content() }),
        (None, None) if keeps => settled.gone.or_else(|| present.gone.clone()),
        _ => None,
    };
    let survival = if has_seen { None } else { Some(survival(change, settled.data.as_ref())?) };
    let is_delete = settled.data.is_none() && (settled.has_written || matches!(change, Change::Delete));
    let before = &present.stamps.deletes;
    let deletes = if is_delete { before.followed_by(writer) } else { before.clone() };
    let stamps = Stamps { deletes, ..settled.stamps };
    Ok(Some(Settled { stamps, gone, survival, ..settled }))
}

impl Settled {
    fn of(data: Option<Object>, stamps: Stamps) -> Self {
        Self { data, stamps, gone: None, has_written: true, has_recovered: false, survival: None }
    }

    fn unchanged(present: &Present) -> Self {
        let Present { data, stamps, gone } = present.clone();
        Self { data, stamps, gone, has_written: false, has_recovered: false, survival: None }
    }
}

impl From<Merged> for Settled {
    fn from(Merged { data, stamps, has_written }: Merged) -> Self {
        Self { has_written, ..Self::of(Some(data), stamps) }
    }
}

fn has_many_keys(present: &Present, change: &Change) -> Result<bool, BadJson> {
    let gone = present.gone.as_ref().map(|gone| &gone.data);
    Ok(merge::count_keys([present.data.as_ref().or(gone), change.data()])? > STAMPS_MAX_KEYS)
}

/// The document with the effect of an operation, whatever its time.
fn effect(present: &Present, change: &Change, writer: &Writer<'_>) -> Result<Settled, BadJson> {
    let data = match (change, &present.data) {
        (Change::Delete, _) => None,
        // A client that revives a document sends all of it.
        (Change::Insert(data), _) | (Change::Update(data), None) => Some(data.clone()),
        (Change::Update(data), Some(base)) => Some(document::merge(base, data)?),
    };
    Ok(Settled::of(data, present.stamps.followed_by(writer)))
}

/// The document after an operation, if a delete wins over every edit that has not seen it.
///
/// **Law.** *An edit is in effect only if its author had seen every delete. Time decides only between such edits.*
fn if_deletes_win(merges: bool, present: &Present, change: &Change, writer: &Writer<'_>) -> Result<Settled, BadJson> {
    let is_later = || present.stamps.yield_to(writer);
    let Some(patch) = change.data() else {
        let is_shown = present.data.is_some() || is_later();
        return if is_shown { effect(present, change, writer) } else { Ok(Settled::unchanged(present)) };
    };
    if !present.stamps.deletes.are_seen_by(writer) {
        return Ok(Settled::unchanged(present));
    }
    match (change, &present.data) {
        (_, Some(base)) if merges => Ok(merge::merge(base, &present.stamps, (change, patch), writer)?.into()),
        // Another update may write other keys, so this one has not written their absence.
        (Change::Update(_), None) if merges => {
            let absence = present.stamps.latest().clone();
            Ok(Settled::of(Some(patch.clone()), Stamps::of_keys(patch, absence, writer)?))
        }
        (_, None) => effect(present, change, writer),
        (_, Some(_)) if is_later() => effect(present, change, writer),
        (_, Some(_)) => Ok(Settled::unchanged(present)),
    }
}

/// The document after an operation, if the later one wins as a whole.
fn by_time(present: &Present, change: &Change, writer: &Writer<'_>) -> Result<Settled, BadJson> {
    if !present.stamps.yield_to(writer) {
        return Ok(Settled::unchanged(present));
    }
    match (change, &present.data, &present.gone) {
        (Change::Update(data), None, Some(gone)) => {
            let data = document::merge(&gone.data, data)?;
            Ok(Settled { has_recovered: true, ..Settled::of(Some(data), present.stamps.followed_by(writer)) })
        }
        _ => effect(present, change, writer),
    }
}

/// The document after an operation, if the later one of a delete and an edit wins, and edits are merged.
///
/// **Law.** *The last of all operations says whether the document is there. The edits say which keys it has, as if
/// there were no deletes. So neither depends on the order of arrival.*
///
/// Below a tombstone, the edits are merged into the data that were deleted, unless these would become too large for a
/// document. An update without a key changes nothing.
fn merge_beside_deletes(present: &Present, change: &Change, writer: &Writer<'_>) -> Result<Settled, BadJson> {
    let is_last = present.stamps.last().yields_to(writer);
    let Some(patch) = change.data() else {
        return if is_last { effect(present, change, writer) } else { Ok(Settled::unchanged(present)) };
    };
    let below = present.gone.as_ref().map(|gone| (&gone.data, &gone.stamps));
    let content = present.data.as_ref().map(|data| (data, &present.stamps)).or(below);
    let nothing = (Object::from_members(std::iter::empty::<(&str, &str)>()), Stamps::of_whole(Stamp::of_nobody()));
    let (base, stamps) = content.unwrap_or((&nothing.0, &nothing.1));
    let Merged { data, stamps, has_written } = merge::merge(base, stamps, (change, patch), writer)?;
    let is_last = is_last && (matches!(change, Change::Insert(_)) || !patch.members()?.is_empty());
    let is_deleted = present.data.is_none();
    if is_deleted && !is_last {
        let is_small = data.as_str().len() <= DOCUMENT_MAX_BYTES;
        return Ok(Settled { gone: is_small.then_some(Gone { data, stamps }), ..Settled::unchanged(present) });
    }
    let last = present.stamps.last();
    let last = if is_last { last.followed_by(writer) } else { last.clone() };
    Ok(Settled {
        has_written: has_written || is_deleted,
        has_recovered: is_deleted && content.is_some(),
        ..Settled::of(Some(data), stamps.with_last(last))
    })
}

/// How much of an operation is in the document after it, and the values that are not.
fn survival(change: &Change, after: Option<&Object>) -> Result<(Survival, Option<Object>), BadJson> {
    let Some(data) = change.data() else {
        return Ok((if after.is_none() { Survival::Won } else { Survival::Lost }, None));
    };
    let lost = merge::lost(data, after)?;
    let removes_too_little = matches!(change, Change::Insert(_)) && lost.has_others;
    let survival = match () {
        () if lost.is_everything => Survival::Lost,
        () if lost.is_nothing && !removes_too_little => Survival::Won,
        () => Survival::Merged,
    };
    Ok((survival, lost.values))
}
