//! The content of a document in the course of a decision, and how to take a change of it back.

use super::outcome::Refused;
use crate::core::document::content::{OpenObject, Reverse};
use crate::core::document::fields::DataOfDocument;
use crate::core::document::merge;
use crate::core::json::{BadJson, Object};
use crate::core::operation::Change;
use crate::limits::protocol::{PUSH_OPEN_MAX_KEYS, PUSH_WRITTEN_MAX_BYTES};

/// The content of a document.
pub(super) enum Content<'a> {
    /// Nothing: a tombstone, or a document that does not exist.
    Nothing,
    /// A text that nothing was put over.
    Text(&'a Object),
    /// An object that something was put over.
    Object(Box<OpenObject<'a>>),
    /// A text that the decision itself has made.
    Made(Object),
}

/// How to take one change of a content back.
pub(super) enum UndoContent<'a> {
    Whole(Content<'a>),
    Members(Reverse<'a>),
}

impl<'a> Content<'a> {
    /// The data; nothing if there is no document.
    pub(super) fn data(&self) -> Option<DataOfDocument<'_, 'a>> {
        match self {
            Self::Nothing => None,
            Self::Text(text) => Some(DataOfDocument::Text(text)),
            Self::Made(text) => Some(DataOfDocument::Text(text)),
            Self::Object(object) => Some(DataOfDocument::Open(object)),
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Text(text) => text.as_str().len(),
            Self::Made(text) => text.as_str().len(),
            Self::Object(object) => object.bytes(),
        }
    }

    pub(super) fn open_keys(&self) -> usize {
        match self {
            Self::Nothing | Self::Text(_) | Self::Made(_) => 0,
            Self::Object(object) => object.members(),
        }
    }

    pub(super) fn is_written(&self) -> bool {
        match self {
            Self::Nothing | Self::Text(_) | Self::Made(_) => true,
            Self::Object(object) => object.is_written(),
        }
    }

    pub(super) fn text(&mut self) -> Option<Object> {
        match self {
            Self::Nothing => None,
            Self::Text(text) => Some((*text).clone()),
            Self::Made(text) => Some(text.clone()),
            Self::Object(object) => Some(object.text().clone()),
        }
    }

    /// Does what an operation does; answers how to take it back.
    pub(super) fn change(&mut self, change: &'a Change) -> Result<UndoContent<'a>, NoDocument> {
        let next = match (change, &mut *self) {
            (Change::Delete, _) => Self::Nothing,
            (Change::Update(patch), Self::Object(object)) => return Ok(UndoContent::Members(object.put_all(patch)?)),
            (Change::Update(patch), Self::Text(base)) => {
                let mut object = OpenObject::open(base)?;
                object.put_all(patch)?;
                Self::Object(Box::new(object))
            }
            (Change::Update(patch), Self::Made(base)) => Self::Made(merge(base, patch)?),
            (Change::Insert(data) | Change::Update(data), _) => Self::Text(data),
        };
        Ok(UndoContent::Whole(std::mem::replace(self, next)))
    }

    /// Replaces the content as a whole; answers how to take that back.
    pub(super) fn replace(&mut self, next: Option<Object>) -> UndoContent<'a> {
        UndoContent::Whole(std::mem::replace(self, next.map_or(Self::Nothing, Self::Made)))
    }

    pub(super) fn take_back(&mut self, undo: UndoContent<'a>) {
        match (undo, self) {
            (UndoContent::Whole(content), now) => *now = content,
            (UndoContent::Members(reverse), Self::Object(object)) => object.take_back(reverse),
            // Members are put over nothing but an open object, which later changes have given back by now.
            (UndoContent::Members(_), _) => debug_assert!(false, "there is no open object"),
        }
    }
}

/// Why an operation makes no document.
pub(super) enum NoDocument {
    /// It would be too large to be stored.
    TooLarge,
    /// Its clock would be too large to be stored.
    ClockTooLarge,
    /// The resolutions of its push are too many bytes together.
    ResolutionsTooLarge,
    /// The documents that are open have too many keys.
    TooManyKeys,
    /// The one before it is damaged.
    Damaged,
    /// The one before it does not exist, and the operation names a revision of it.
    UnknownBase,
}

impl NoDocument {
    pub(super) fn at(&self, index: usize) -> Refused {
        match self {
            Self::TooLarge => Refused::DocumentTooLarge { index },
            Self::ClockTooLarge => Refused::ClockTooLarge { index },
            Self::ResolutionsTooLarge => Refused::DocumentsTooLarge { max_bytes: PUSH_WRITTEN_MAX_BYTES },
            Self::TooManyKeys => Refused::TooManyKeys { max_keys: PUSH_OPEN_MAX_KEYS },
            Self::Damaged => Refused::DocumentDamaged { index },
            Self::UnknownBase => Refused::UnknownBase { index },
        }
    }
}

impl From<BadJson> for NoDocument {
    fn from(_: BadJson) -> Self {
        Self::Damaged
    }
}
