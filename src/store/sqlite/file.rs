//! The file of a database, before SQLite opens it.

use std::borrow::Cow;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum PathError {
    /// The path is one of SQLite's names for databases that are not kept.
    #[error("the path must be one of a file; set ADAPTER=memory for a store that is gone when the server ends")]
    Memory,
    /// The path leads to a directory.
    #[error("the path is one of a directory")]
    Directory,
    /// The path leads to something that is neither a file nor a directory.
    #[error("the path is not one of a regular file")]
    NoFile,
    /// The path is a symbolic link to a file that does not exist.
    #[error("the path is a symbolic link to a file that does not exist")]
    DanglingLink,
    /// The directory of a new file does not exist.
    #[error("the directory of the file does not exist")]
    NoDirectory,
    /// The system's own reason.
    #[error("the file cannot be made or read: {0}")]
    System(io::Error),
}

/// Locked while a file is created, so that no descriptor of it is closed while SQLite has it open. Closing one would
/// release all locks of this process on the file.
static MAKING: Mutex<()> = Mutex::new(());

/// Creates the file if it does not exist. Only its owner has access to it, from the first moment. SQLite gives the
/// files beside it the same mode.
pub(super) fn prepare(path: &Path) -> Result<(), PathError> {
    if path.as_os_str().is_empty() || path == Path::new(":memory:") {
        return Err(PathError::Memory);
    }
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    match make(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => refuse_other_than_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(PathError::NoDirectory),
        Err(error) => Err(PathError::System(error)),
    }
}

#[cfg(unix)]
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

#[cfg(not(unix))]
fn make(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path).map(drop)
}

fn refuse_other_than_file(path: &Path) -> Result<(), PathError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(PathError::Directory),
        Ok(found) if !found.is_file() => Err(PathError::NoFile),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(PathError::DanglingLink),
        Err(error) => Err(PathError::System(error)),
    }
}

/// The same file by a path that SQLite cannot take for a URI. This build of SQLite reads `file:…` as a URI, which could
/// name a database in memory.
pub(super) fn without_scheme(path: &Path) -> Cow<'_, Path> {
    if path.is_relative() { Path::new(".").join(path).into() } else { path.into() }
}
