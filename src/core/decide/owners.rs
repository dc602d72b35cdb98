//! The owners of client ids: each belongs to the subject that used it first in a tenant.
//!
//! A push under a client id can spoil the clock of that client, and a pull the places that the server remembers of it.
//! So a subject uses its own client ids and those that belong to nobody yet.

use crate::core::names::{ClientId, Subject};

/// The row about a client id that a tenant keeps for ever.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientOwner {
    /// The subject to which the client id belongs. `None` if it belongs to nobody yet.
    pub subject: Option<Subject>,
    /// The greatest counter that the server has given the client, 0 if it has given none.
    pub counter: u64,
}

/// A write of an owner. It takes place only if the store still has the row that the decision saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerWrite {
    /// The client id.
    pub client_id: ClientId,
    /// The row that the decision saw, or `None` if it saw none.
    pub seen: Option<ClientOwner>,
    /// The new row.
    pub owner: ClientOwner,
}

/// The subject of a push or pull for whom client ids are checked and claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimant<'a> {
    /// The subject.
    pub subject: &'a Subject,
    /// The client that makes the request, if the request names it.
    pub client_id: Option<&'a ClientId>,
}

/// Whether a client id belongs to another subject, if it has this owner.
#[must_use]
pub fn is_foreign(owner: Option<&Subject>, subject: &Subject) -> bool {
    owner.is_some_and(|owner| owner != subject)
}
