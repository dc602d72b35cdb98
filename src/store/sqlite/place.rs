//! Where the file of the database is, and whether it still is the one that was opened.
//!
//! A file that is deleted or replaced while it is open can still be written: what is accepted would go into a file that
//! nobody finds any more. SQLite itself does not look after that in WAL mode.
//!
//! Nothing is opened again in such a case. The write-ahead log of the old file may lie beside the new one, and SQLite
//! would take the one for a part of the other; only an operator can say what is to become of both.

use std::fmt;
use std::path::{Path, PathBuf};

/// The file that was opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    path: PathBuf,
    /// What the system knows the file by; `None` on a system that does not let an open file be replaced, and of a file
    /// that is not there, which is never found to be there again.
    identity: Option<Identity>,
}

/// The device and the number of a file.
type Identity = (u64, u64);

/// The file is no longer where it was.
#[derive(Debug)]
pub(super) struct Gone(PathBuf);

impl Place {
    /// The place of a file that is about to be opened. Ask [`Self::check`] once it is: from then on the answer is about
    /// the file that was opened.
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
