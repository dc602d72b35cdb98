//! The findings of a verification.

use std::fmt;

use crate::limits::service::VERIFY_FINDINGS_MAX_ENTRIES;

/// A kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// The log has a hole.
    MissingEntry,
    /// A fingerprint does not result from the log.
    Fingerprint,
    /// The id of an entry is not known.
    UnknownId,
    /// Times of reception run backwards.
    Order,
    /// A document of the log is not there.
    MissingDocument,
    /// A document is not what the log says.
    WrongDocument,
    /// The texts are damaged that are kept with a document for resolutions.
    Stamps,
    /// A counter of the head is wrong.
    Counter,
}

impl Fault {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingEntry => "missing-entry",
            Self::Fingerprint => "fingerprint",
            Self::UnknownId => "unknown-id",
            Self::Order => "order",
            Self::MissingDocument => "missing-document",
            Self::WrongDocument => "wrong-document",
            Self::Stamps => "stamps",
            Self::Counter => "counter",
        }
    }
}

/// A piece of damage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Its kind.
    pub fault: Fault,
    /// The place and the difference, without the contents of documents.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.fault.as_str(), self.what)
    }
}

/// The findings so far. The first ones are listed, and all are counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    pub(super) listed: Vec<Finding>,
    pub(super) count: u64,
}

impl Findings {
    pub(super) fn add(&mut self, fault: Fault, what: String) {
        self.count += 1;
        if self.listed.len() < VERIFY_FINDINGS_MAX_ENTRIES {
            self.listed.push(Finding { fault, what });
        }
    }
}
