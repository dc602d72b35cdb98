//! Operations whose authors have not seen the content of the documents, and those that cannot be decided at all.

pub mod conflicts;
pub mod quarantine;
pub mod revisions;
