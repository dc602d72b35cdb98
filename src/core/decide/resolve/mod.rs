//! Resolutions: the state of a document after an operation, under a policy with which the server resolves conflicts.

mod id;
pub(super) mod kept;
mod merge;
pub(super) mod stamp;
pub(super) mod stamps;

pub(crate) use self::id::pushed_id;
pub use self::id::{is_reserved, resolution_id};
pub(crate) use self::kept::resolution_of;
pub(crate) use self::stamps::are_stamps;

use self::kept::Gone;
use self::merge::Merged;
use self::stamp::Writer;
use self::stamps::Stamps;
use super::policy::{ConflictPolicy, Deletes};
use crate::core::document;
use crate::core::json::{BadJson, Object};
use crate::core::operation::Change;
use crate::limits::protocol::STAMPS_MAX_KEYS;

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
    let has_seen = present.stamps.are_seen_by(writer);
    let merges = policy == ConflictPolicy::Merge && !has_many_keys(present, change)?;
    let settled = match (policy, has_seen) {
        (ConflictPolicy::Custom, false) => match answer {
            None => return Ok(None),
            Some(data) if *data == present.data => Settled::unchanged(present),
            Some(data) => Settled::of(data.clone(), present.stamps.followed_by(writer)),
        },
        (ConflictPolicy::ServerWins | ConflictPolicy::Reject, false) => Settled::unchanged(present),
        (ConflictPolicy::LastWriterWins | ConflictPolicy::Merge, false) => {
            by_time(deletes, merges, present, change, writer)?
        }
        (_, true) | (ConflictPolicy::ClientWins, false) => effect(merges, present, change, writer)?,
    };
    // A delete that is in effect may have to give its place to an edit that has not arrived yet.
    let keeps = deletes == Deletes::Lose && matches!(policy, ConflictPolicy::LastWriterWins | ConflictPolicy::Merge);
    let gone = match (&settled.data, &present.data) {
        (None, Some(data)) if keeps => Some(Gone { data: data.clone(), stamps: present.stamps.clone() }),
        (None, None) if keeps => settled.gone.or_else(|| present.gone.clone()),
        _ => None,
    };
    let survival = if has_seen { None } else { Some(survival(change, settled.data.as_ref())?) };
    Ok(Some(Settled { gone, survival, ..settled }))
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
fn effect(merges: bool, present: &Present, change: &Change, writer: &Writer<'_>) -> Result<Settled, BadJson> {
    let next = || present.stamps.followed_by(writer);
    Ok(match (change, &present.data) {
        (Change::Delete, _) => Settled::of(None, next()),
        (Change::Insert(data) | Change::Update(data), Some(base)) if merges => {
            merge::merge(base, &present.stamps, (change, data), writer)?.into()
        }
        // A client that revives a document sends all of it.
        (Change::Insert(data), _) | (Change::Update(data), None) => Settled::of(Some(data.clone()), next()),
        (Change::Update(data), Some(base)) => Settled::of(Some(document::merge(base, data)?), next()),
    })
}

/// The document after an operation whose author has not seen its content, if the later one of both wins.
fn by_time(
    deletes: Deletes,
    merges: bool,
    present: &Present,
    change: &Change,
    writer: &Writer<'_>,
) -> Result<Settled, BadJson> {
    let is_later = present.stamps.yield_to(writer);
    match (change, &present.data, deletes) {
        (Change::Delete, Some(_), Deletes::Win) => effect(merges, present, change, writer),
        (Change::Insert(_) | Change::Update(_), None, Deletes::Win) => Ok(Settled::unchanged(present)),
        (Change::Insert(data) | Change::Update(data), None, Deletes::Lose) => {
            let under = recovered(merges, present, (change, data), writer, is_later)?;
            Ok(match under {
                Some(settled) if is_later && settled.has_written => settled,
                // It is merged into the data that were deleted, as if it had come before the delete. An update without
                // a key brings nothing back.
                Some(Settled { data: Some(data), stamps, .. }) => {
                    Settled { gone: Some(Gone { data, stamps }), ..Settled::unchanged(present) }
                }
                _ => Settled::unchanged(present),
            })
        }
        (Change::Insert(data) | Change::Update(data), Some(base), _) if merges => {
            Ok(merge::merge(base, &present.stamps, (change, data), writer)?.into())
        }
        _ if is_later => effect(merges, present, change, writer),
        _ => Ok(Settled::unchanged(present)),
    }
}

/// The data that were deleted, with an insert or update. Nothing if they do not matter.
fn recovered(
    merges: bool,
    present: &Present,
    (change, data): (&Change, &Object),
    writer: &Writer<'_>,
    is_later: bool,
) -> Result<Option<Settled>, BadJson> {
    let settled = match &present.gone {
        Some(Gone { data: base, stamps }) if merges => {
            let with_data = merge::merge(base, stamps, (change, data), writer)?;
            Settled { has_recovered: true, ..with_data.into() }
        }
        None if merges => {
            let stamps = Stamps::of_first(change, true, writer)?;
            let has_written = matches!(change, Change::Insert(_)) || !stamps.keys.is_empty();
            Settled { has_written, ..Settled::of(Some(data.clone()), stamps) }
        }
        _ if !is_later => return Ok(None),
        Some(Gone { data: base, .. }) if matches!(change, Change::Update(_)) => {
            let data = document::merge(base, data)?;
            Settled { has_recovered: true, ..Settled::of(Some(data), present.stamps.followed_by(writer)) }
        }
        _ => Settled::of(Some(data.clone()), present.stamps.followed_by(writer)),
    };
    Ok(Some(settled))
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
