//! The defaults that depend on the kind of process.

use crate::limits::api::{LAMBDA_BODY_MAX_BYTES, REQUEST_BODY_MAX_BYTES};

/// The defaults of one kind of process, and the facts about it that are not settings.
pub(super) struct Defaults {
    pub(super) pool_size: u32,
    pub(super) log_format: &'static str,
    pub(super) body_max_bytes: usize,
    /// Whether clients call this process directly, so that nothing else has checked `Host` before.
    pub(super) is_called_directly: bool,
}

impl Defaults {
    pub(super) const OF_A_SERVER: Self =
        Self { pool_size: 10, log_format: "pretty", body_max_bytes: REQUEST_BODY_MAX_BYTES, is_called_directly: true };

    pub(super) const OF_A_LAMBDA: Self =
        Self { pool_size: 1, log_format: "json", body_max_bytes: LAMBDA_BODY_MAX_BYTES, is_called_directly: false };
}
