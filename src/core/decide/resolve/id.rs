//! The id of a resolution, which follows from that of the operation.

use crate::core::names::{FromStore as _, OperationId};
use crate::core::text::sha256_hex;
use crate::limits::protocol::NAME_MAX_BYTES;

/// The beginning of the ids of resolutions. No client may push such an id.
const RESOLVED: &str = "syncflow-server::resolved::";

/// The length of a SHA-256 in hexadecimal digits.
const SHA256_HEX_BYTES: usize = 64;

/// The id of the resolution of an operation: a fixed beginning with the operation's id, or with its SHA-256 if that
/// would be too long.
#[must_use]
pub fn resolution_id(pushed: &OperationId) -> OperationId {
    let id = pushed.as_str();
    if RESOLVED.len() + id.len() <= NAME_MAX_BYTES {
        return OperationId::from_store(format!("{RESOLVED}{id}"));
    }
    OperationId::from_store(format!("{RESOLVED}{}", sha256_hex(id)))
}

/// Whether an id is reserved for resolutions.
#[must_use]
pub fn is_reserved(id: &OperationId) -> bool {
    id.as_str().starts_with(RESOLVED)
}

/// The id of the operation of which this is the resolution, or the id itself if it is that of no resolution. A hash
/// stays a hash.
#[must_use]
pub fn pushed_id(id: &OperationId) -> &str {
    id.as_str().strip_prefix(RESOLVED).unwrap_or(id.as_str())
}

/// The range of the ids that are reserved for resolutions, in the order of their bytes. It ends before the first text
/// that comes after them.
pub const RESERVED_IDS: std::ops::Range<&str> = RESOLVED.."syncflow-server::resolved:;";

/// Whether the id of an operation follows from that of its resolution, which otherwise may have a hash.
#[must_use]
pub fn tells_pushed_id(resolution: &OperationId) -> bool {
    resolution.as_str().strip_prefix(RESOLVED).is_some_and(|rest| rest.len() != SHA256_HEX_BYTES)
}

/// The id of the resolution of an operation, if the one does not follow from the other.
pub(crate) fn hashed_resolution_id(pushed: &OperationId) -> Option<OperationId> {
    (RESOLVED.len() + pushed.as_str().len() > NAME_MAX_BYTES).then(|| resolution_id(pushed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_resolution_follows_from_that_of_the_operation() {
        let short = OperationId::literal("op-1");
        assert_eq!(resolution_id(&short).as_str(), "syncflow-server::resolved::op-1");
        assert_eq!(pushed_id(&resolution_id(&short)), "op-1");
        let long = OperationId::literal(&"x".repeat(NAME_MAX_BYTES - RESOLVED.len()));
        assert_eq!(resolution_id(&long).as_str().len(), NAME_MAX_BYTES);
        let longer = OperationId::literal(&"x".repeat(NAME_MAX_BYTES));
        let hashed = resolution_id(&longer);
        // The hash is that of 256 times the letter x.
        assert_eq!(hashed.as_str().len(), RESOLVED.len() + 64);
        assert_ne!(hashed, resolution_id(&OperationId::literal(&"y".repeat(NAME_MAX_BYTES))));
        assert!(is_reserved(&hashed) && !is_reserved(&short));
        for id in [&hashed, &resolution_id(&short)] {
            assert!(RESERVED_IDS.contains(&id.as_str()));
        }
        assert!(!RESERVED_IDS.contains(&short.as_str()) && !RESERVED_IDS.contains(&"syncflow-server::resolved:a"));
    }

    #[test]
    fn an_operation_is_told_by_its_resolution_unless_there_may_be_a_hash() {
        let longest = OperationId::literal(&"x".repeat(NAME_MAX_BYTES - RESOLVED.len()));
        let longer = OperationId::literal(&"x".repeat(NAME_MAX_BYTES - RESOLVED.len() + 1));
        let like_a_hash = OperationId::literal(&"a".repeat(SHA256_HEX_BYTES));
        for (id, tells, is_hashed) in [(&longest, true, false), (&longer, false, true), (&like_a_hash, false, false)] {
            assert_eq!(tells_pushed_id(&resolution_id(id)), tells);
            assert_eq!(hashed_resolution_id(id), is_hashed.then(|| resolution_id(id)));
            assert!(!tells_pushed_id(id));
        }
    }
}
