//! The conflicts that the server has resolved, in the answer to a push.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

/// A conflict that the server has resolved.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolvedOperation {
    /// The id of the operation.
    id: String,
    /// The id of the operation that resolves the conflict, and that a pull returns instead.
    operation: String,
    outcome: ResolvedOutcome,
    /// The values of the operation that did not survive. Left out if there are none, or if the answer would become too
    /// large.
    #[schema(required = false)]
    lost: BTreeMap<String, Value>,
}

/// Whether all, nothing or a part of an operation survived.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
pub(super) enum ResolvedOutcome {
    Won,
    Lost,
    Merged,
}
