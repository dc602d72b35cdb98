//! The file of a database, before SQLite opens it.

use std::borrow::Cow;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Why there is no file to open.
#[derive(Debug, thiserror::Error)]
pub(super) enum PathError {
    /// The path is one of SQLite's names for a database that is gone with its connection.
    #[error("the path must be one of a file; set ADAPTER=memory for a store that is gone when the server ends")]
    Memory,
    /// The path is one of a directory.
    #[error("the path is one of a directory")]
    Directory,
    /// The path is one of something that is neither a file nor a directory.
    #[error("the path is not one of a regular file")]
    NoFile,
    /// A symbolic link leads nowhere.
    #[error("the path is a symbolic link to a file that does not exist")]
    DanglingLink,
    /// The directory of a new file does not exist.
    #[error("the directory of the file does not exist")]
    NoDirectory,
    /// The system's own reason.
    #[error("the file cannot be made or read: {0}")]
    System(io::Error),
}

/// Held while a file is made, so that none of its descriptors is closed while SQLite has it open: with a descriptor,
/// all locks of the process on its file would go.
static MAKING: Mutex<()> = Mutex::new(());

/// Sees to it that there is a file, and that a new one belongs to its owner alone from its first moment on. SQLite
/// gives the files that it puts beside it the same mode.
pub(super) fn prepare(path: &Path) -> Result<(), PathError> {
    if path.as_os_str().is_empty() || path == Path::new(":memory:") {
        return Err(PathError::Memory);
    }
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    match make(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => refuse_what_is_no_file(path),
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

fn refuse_what_is_no_file(path: &Path) -> Result<(), PathError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(PathError::Directory),
        Ok(found) if !found.is_file() => Err(PathError::NoFile),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(PathError::DanglingLink),
        Err(error) => Err(PathError::System(error)),
    }
}

/// The same file by a path that SQLite takes for nothing but a path: it is built to read `file:…` as a URI, in which a
/// database in memory could be named.
pub(super) fn without_scheme(path: &Path) -> Cow<'_, Path> {
    if path.is_relative() { Path::new(".").join(path).into() } else { path.into() }
}
