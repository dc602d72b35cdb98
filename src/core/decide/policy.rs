//! Conflict policies: the rules for an operation whose author had not seen the content of the document.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::names::Collection;

/// The policy for an operation whose author had not seen the content of the document.
///
/// With every policy except [`ConflictPolicy::Reject`], the log has the state of the document after each operation,
/// and not the operation itself. Only the insert or delete that begins a document is logged as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ConflictPolicy {
    /// It is in conflict and changes nothing. Its author has to resolve the conflict.
    #[default]
    Reject,
    /// It changes nothing, and its author is told what it lost.
    ServerWins,
    /// It takes effect on the document as it is.
    ClientWins,
    /// It takes effect if it is later than the content. An update is put over the document as it is.
    LastWriterWins,
    /// Each key at the top of the document is decided by itself: the later writer wins.
    Merge,
    /// A function of the application decides.
    Custom,
}

impl ConflictPolicy {
    /// Every policy.
    pub const ALL: [Self; 6] =
        [Self::Reject, Self::ServerWins, Self::ClientWins, Self::LastWriterWins, Self::Merge, Self::Custom];

    /// The policy's name in settings and rules.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::ServerWins => "server-wins",
            Self::ClientWins => "client-wins",
            Self::LastWriterWins => "last-writer-wins",
            Self::Merge => "merge",
            Self::Custom => "custom",
        }
    }

    /// Reads the name of a policy that settings and rules may have. [`ConflictPolicy::Custom`] needs code, so it is
    /// not among these.
    ///
    /// # Errors
    /// If there is no such policy.
    pub fn parse(name: &str) -> Result<Self, UnknownPolicy> {
        let named = Self::ALL.into_iter().filter(|policy| *policy != Self::Custom);
        named.into_iter().find(|policy| policy.as_str() == name).ok_or(UnknownPolicy)
    }

    /// Whether conflicts are resolved by the server.
    #[must_use]
    pub fn resolves(self) -> bool {
        self != Self::Reject
    }
}

/// A text is not the name of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be reject, server-wins, client-wins, last-writer-wins or merge")]
pub struct UnknownPolicy;

/// The outcome of a delete and an edit that have not seen each other, under [`ConflictPolicy::LastWriterWins`] and
/// [`ConflictPolicy::Merge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Deletes {
    /// The delete wins.
    #[default]
    Win,
    /// The later one wins. An update of a deleted document is put over its data, while the log has them.
    Lose,
}

impl Deletes {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Win, Self::Lose];

    /// The name in settings and rules.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Win => "win",
            Self::Lose => "lose",
        }
    }

    /// Reads the name.
    ///
    /// # Errors
    /// If the text is something else.
    pub fn parse(name: &str) -> Result<Self, UnknownDeletes> {
        Self::ALL.into_iter().find(|deletes| deletes.as_str() == name).ok_or(UnknownDeletes)
    }
}

/// A text does not say what becomes of deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be win or lose")]
pub struct UnknownDeletes;

/// The policies of a service: one for each collection that has its own, and one for all others. Cheap to clone.
///
/// The default is [`ConflictPolicy::Reject`] for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    others: (ConflictPolicy, Deletes),
    collections: Option<Arc<BTreeMap<Collection, (ConflictPolicy, Deletes)>>>,
}

/// No collection has a policy.
pub(crate) static REJECTING: Policies = Policies { others: (ConflictPolicy::Reject, Deletes::Win), collections: None };

impl Policies {
    /// One policy for all collections.
    #[must_use]
    pub fn for_all(policy: ConflictPolicy, deletes: Deletes) -> Self {
        Self { others: (policy, deletes), collections: None }
    }

    /// The same policies with another one for a collection.
    #[must_use]
    pub fn with_collection(self, collection: Collection, policy: ConflictPolicy, deletes: Deletes) -> Self {
        let mut collections = self.collections.unwrap_or_default();
        Arc::make_mut(&mut collections).insert(collection, (policy, deletes));
        Self { collections: Some(collections), ..self }
    }

    /// The policy of a collection.
    #[must_use]
    pub fn of(&self, collection: &Collection) -> (ConflictPolicy, Deletes) {
        let own = self.collections.as_ref().and_then(|collections| collections.get(collection));
        own.copied().unwrap_or(self.others)
    }

    /// The policy of the collections that have none of their own.
    #[must_use]
    pub fn of_others(&self) -> (ConflictPolicy, Deletes) {
        self.others
    }

    /// Whether any collection has this policy.
    #[must_use]
    pub fn include(&self, policy: ConflictPolicy) -> bool {
        self.all().any(|(of, _)| of == policy)
    }

    /// Whether the server resolves conflicts in any collection.
    #[must_use]
    pub fn resolve(&self) -> bool {
        self.all().any(|(policy, _)| policy.resolves())
    }

    fn all(&self) -> impl Iterator<Item = (ConflictPolicy, Deletes)> {
        let own = self.collections.iter().flat_map(|collections| collections.values());
        own.copied().chain([self.others])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_names_and_code_is_not_named() {
        for policy in ConflictPolicy::ALL.into_iter().filter(|policy| *policy != ConflictPolicy::Custom) {
            assert_eq!(ConflictPolicy::parse(policy.as_str()), Ok(policy));
        }
        for unknown in ["", "custom", "Merge", "lww"] {
            assert_eq!(ConflictPolicy::parse(unknown), Err(UnknownPolicy), "{unknown}");
        }
        for deletes in Deletes::ALL {
            assert_eq!(Deletes::parse(deletes.as_str()), Ok(deletes));
        }
        assert_eq!(Deletes::parse("wins"), Err(UnknownDeletes));
    }

    #[test]
    fn a_collection_has_its_own_policy_or_that_of_all_others() {
        let (todos, notes) = (Collection::literal("todos"), Collection::literal("notes"));
        let none = Policies::default();
        assert_eq!(
            (none.of(&todos), none.resolve(), &none),
            ((ConflictPolicy::Reject, Deletes::Win), false, &REJECTING)
        );
        let some = none.with_collection(todos.clone(), ConflictPolicy::Merge, Deletes::Lose);
        assert_eq!(some.of(&todos), (ConflictPolicy::Merge, Deletes::Lose));
        assert_eq!(some.of(&notes), (ConflictPolicy::Reject, Deletes::Win));
        assert!(some.resolve() && some.include(ConflictPolicy::Merge) && !some.include(ConflictPolicy::Custom));
        let all = Policies::for_all(ConflictPolicy::ServerWins, Deletes::Win);
        assert_eq!((all.of(&notes).0, all.of_others().0), (ConflictPolicy::ServerWins, ConflictPolicy::ServerWins));
    }
}
