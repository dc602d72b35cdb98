//! The place of the database file, and whether the opened file is still there.
//!
//! A file that is deleted or replaced while it is open can still be written. Accepted operations would then go into a
//! file that no other process can find. SQLite itself does not check this in WAL mode.
//!
//! The store does not open the new file in this case. The write-ahead log of the old file may lie beside it, and SQLite
//! would treat that log as a part of the new file. Only an operator can decide about both.

use std::fmt;
use std::path::{Path, PathBuf};

/// The file that was opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    /// The identity of the file. `None` on a system that does not allow an open file to be replaced, and for a missing
    /// file, which [`Self::check`] then never finds.
    identity: Option<Identity>,
}

/// The device and inode number of a file.
type Identity = (u64, u64);

/// The file is no longer in its place.
#[derive(Debug, Clone)]
pub(super) struct Gone(PathBuf);

impl Place {
    /// The place of a file that is about to be opened. Call [`Self::check`] after the file was opened: from then on,
    /// the result is about the opened file.
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }

    /// Fails if the file was deleted or replaced since it was opened.
    pub(super) fn check(&self) -> Result<(), Gone> {
        let is_there = cfg!(not(unix)) || self.identity.is_some() && self.identity == identity(&self.path);
        if is_there { Ok(()) } else { Err(Gone(self.path.clone())) }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Path) -> Option<Identity> {
    None
}

impl fmt::Display for Gone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the file {} was deleted or replaced while it was open, so nothing is read from it or written to it: put it \
             back, or stop the server, remove what ends in -wal and -shm beside a file that was put in its place, and \
             start the server again",
            self.0.display()
        )
    }
}

impl std::error::Error for Gone {}
