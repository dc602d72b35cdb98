//! Sign-in with tokens: the subject to which a token belongs, and the rights that it grants.
//!
//! The functions here only compute: the caller passes the time, the keys and the settings.
//!
//! `jsonwebtoken` reads the format of a token, and `ring`, which TLS uses already, checks its signature. `jsonwebtoken`
//! could check signatures too, but needs a provider that is set for the whole process. A library must not choose that
//! provider for the application around it. RFC 8725 is the checklist for the tokens that are refused.

mod grants;
mod json;
mod keys;
pub mod tokens;
mod verify;

pub use grants::{Grants, TenantSource};
pub use keys::{BadKeys, Keys};
pub use verify::{Reason, TokenRules, VerifiedToken, key_id, sign_hs256, verify};
