//! A cache of verified tokens, so that a signature is not checked with every request.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::tokens::TokenHash;
use crate::auth::{Keys, VerifiedToken};
use crate::limits::runtime::VERIFIED_TOKENS_MAX_BYTES;

/// The size of an entry without the claims of its token, in bytes: the maps, the names and the pointers.
const ENTRY_BYTES: usize = 1_024;

/// The size of a token's parsed claims, in bytes for each byte of the token.
const CLAIM_BYTES_PER_TOKEN_BYTE: usize = 8;

/// Verified tokens by their hashes, in bounded memory. The most recently used tokens are kept.
#[derive(Default)]
pub(super) struct VerifiedTokens(Mutex<Generations>);

/// The tokens that were used recently, and those that were used before.
#[derive(Default)]
struct Generations {
    young: HashMap<TokenHash, Entry>,
    young_bytes: usize,
    old: HashMap<TokenHash, Entry>,
}

#[derive(Clone)]
struct Entry {
    token: Arc<VerifiedToken>,
    /// The keys with which the token was verified.
    keys: Arc<Keys>,
    bytes: usize,
}

impl VerifiedTokens {
    /// A token that was verified before with exactly these keys. The caller must check whether it has expired.
    pub(super) fn get(&self, hash: &TokenHash, keys: &Arc<Keys>) -> Option<Arc<VerifiedToken>> {
        let mut generations = self.lock();
        if let Some(entry) = generations.young.get(hash) {
            return Arc::ptr_eq(&entry.keys, keys).then(|| Arc::clone(&entry.token));
        }
        let entry = generations.old.remove(hash).filter(|entry| Arc::ptr_eq(&entry.keys, keys))?;
        let token = Arc::clone(&entry.token);
        generations.add(*hash, entry);
        Some(token)
    }

    /// Adds a token of so many bytes.
    pub(super) fn insert(&self, hash: TokenHash, token: Arc<VerifiedToken>, keys: Arc<Keys>, token_bytes: usize) {
        let bytes = ENTRY_BYTES + token_bytes * CLAIM_BYTES_PER_TOKEN_BYTE;
        self.lock().add(hash, Entry { token, keys, bytes });
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn add(&mut self, hash: TokenHash, entry: Entry) {
        if self.young_bytes + entry.bytes > VERIFIED_TOKENS_MAX_BYTES / 2 {
            self.old = mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += entry.bytes;
        if let Some(replaced) = self.young.insert(hash, entry) {
            self.young_bytes -= replaced.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Grants;
    use crate::core::access::{Claims, Role};
    use crate::core::names::{Subject, TenantId};

    #[test]
    fn what_is_used_stays_and_the_memory_is_bounded() {
        const TOKEN_BYTES: usize = 1_000;
        let cache = VerifiedTokens::default();
        let token = Arc::new(VerifiedToken {
            subject: Subject::literal("s"),
            grants: Grants::one(TenantId::literal("t"), Role::Reader),
            claims: Claims::default(),
            valid_until_ms: None,
        });
        let keys = Arc::new(Keys::default());
        let hash = |number: u32| {
            let mut hash = TokenHash::default();
            hash[..4].copy_from_slice(&number.to_le_bytes());
            hash
        };
        for number in 0..100_000 {
            cache.insert(hash(number), Arc::clone(&token), Arc::clone(&keys), TOKEN_BYTES);
            assert!(cache.get(&hash(0), &keys).is_some(), "after {number}");
        }
        assert!(cache.get(&hash(99_999), &keys).is_some() && cache.get(&hash(1), &keys).is_none());
        let others = Arc::new(Keys::default());
        assert!(cache.get(&hash(99_999), &others).is_none(), "a key may have been removed");
        let generations = cache.lock();
        let kept = generations.young.len() + generations.old.len();
        assert!(
            kept > 100 && kept * (ENTRY_BYTES + TOKEN_BYTES * CLAIM_BYTES_PER_TOKEN_BYTE) <= VERIFIED_TOKENS_MAX_BYTES
        );
    }
}
