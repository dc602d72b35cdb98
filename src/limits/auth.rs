//! Limits of tokens and keys.

/// The largest token that is read, in bytes.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// How far the clock of a token's issuer may differ from the server's, in milliseconds.
pub const TOKEN_LEEWAY_MS: u64 = 30_000;

/// Shortest secret that signs tokens, in bytes. Source: RFC 7518, section 3.2.
pub const HS256_SECRET_MIN_BYTES: usize = 32;

/// Largest set of keys that is read, in bytes.
pub const JWKS_MAX_BYTES: usize = 64 * 1024;

/// Most keys of a set.
pub const JWKS_MAX_ENTRIES: usize = 100;

/// Shortest modulus of a key for RSA, in bytes. Source: RFC 7518, sections 3.3 and 3.5.
pub const RSA_MODULUS_MIN_BYTES: usize = 2_048 / 8;
