//! Sign-in with tokens: who a token belongs to, and what it permits.
//!
//! Everything here computes: the time, the keys and the settings are arguments. The server hands them in.
//!
//! The format of a token is read with `jsonwebtoken`, and signatures are checked with `ring`, which TLS uses already.
//! `jsonwebtoken` could check them too, but for that it needs a provider that is set for the whole process, and a library
//! must not choose it for the application around it. RFC 8725 is the checklist of what is refused.

mod grants;
mod json;
mod keys;
pub mod tokens;
mod verify;

pub use grants::{Grants, TenantSource};
pub use keys::{BadKeys, Keys};
pub use verify::{Reason, TokenRules, VerifiedToken, key_id, sign_hs256, verify};
