//! Access: who makes a request, and which documents it may see and change.

pub mod labels;
mod principal;
pub mod rules;
mod table;
mod view;

pub(crate) use self::principal::Action;
pub use self::principal::{Claims, Principal, Role};
pub(crate) use self::view::EVERYTHING;
pub use self::view::View;
