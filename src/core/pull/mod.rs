//! The place at which a pull continues, and the content of a page.

pub mod cursor;
pub mod feed;
pub mod fingerprint;
pub mod page;
pub mod places;
pub mod progress;
pub mod retention;
