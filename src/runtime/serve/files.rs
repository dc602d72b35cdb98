//! The number of files that the process may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::runtime::RESERVED_FILES;

/// How many of the wanted connections the process has files for, in addition to its store. It raises its own limit if
/// the system allows that.
#[must_use]
pub fn max_connections(wanted_connections: usize, store_files: usize) -> usize {
    let reserved = RESERVED_FILES.saturating_add(store_files);
    let wanted = wanted_connections.saturating_add(reserved) as u64;
    let limit = getrlimit(Resource::Nofile);
    let is_enough = limit.current.is_none_or(|current| current >= wanted);
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let files = if is_enough {
        wanted
    } else if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }).is_ok() {
        raised
    } else {
        limit.current.unwrap_or(wanted)
    };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    // At least a quarter, even if there are few.
    files.saturating_sub(reserved).max(files / 4).clamp(1, wanted_connections.max(1))
}
