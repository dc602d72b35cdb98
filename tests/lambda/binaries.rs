//! The functions that Cargo compiled for the tests.

use syncflow_server::api::Endpoint;

use super::emulator::Binary;

macro_rules! binary {
    ($name:literal) => {
        Binary { name: $name, path: env!(concat!("CARGO_BIN_EXE_", $name)) }
    };
}

/// The function that the schedule calls.
pub(crate) const SCHEDULED_COMPACTION: Binary<'static> = binary!("scheduled_compaction");

/// The function of an endpoint.
pub(crate) fn binary_of(endpoint: Endpoint) -> Binary<'static> {
    match endpoint {
        Endpoint::Health => binary!("health"),
        Endpoint::PushOperations => binary!("push_operations"),
        Endpoint::PullChanges => binary!("pull_changes"),
        Endpoint::GetDocument => binary!("get_document"),
        Endpoint::QueryDocuments => binary!("query_documents"),
        Endpoint::GetStats => binary!("get_stats"),
        Endpoint::Compact => binary!("compact"),
        other => panic!("{other:?} has no function"),
    }
}
