//! Operations whose authors have not seen the content of the documents.

pub mod conflicts;
pub mod revisions;
