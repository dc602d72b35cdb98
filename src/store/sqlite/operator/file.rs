//! Backups of the file, and backups in the place of the file.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind as IoErrorKind};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, params};

use crate::limits::store::sqlite::RESTORE_KEPT_MAX_FILES;
use crate::store::sqlite::file::without_scheme;
use crate::store::sqlite::schema::{BUSY_TIMEOUT, FLAGS, refuse_others};
use crate::store::sqlite::threads::NAME;
use crate::store::{ErrorKind, Result, StoreError};

type Problem = Box<dyn Error + Send + Sync>;

/// Copies a database to a new file, as it is at one moment. Servers may use the database meanwhile. This call blocks.
///
/// # Errors
/// If the file is not a database of ours, or the new file exists already or cannot be written. Nothing is left of the
/// new file then.
pub fn backup(path: &Path, into: &Path) -> Result<()> {
    let copy = || -> std::result::Result<(), Problem> {
        let connection = open_ours(path)?;
        if into.exists() {
            return Err(format!("{} exists already", into.display()).into());
        }
        let partial = beside(into, ".partial");
        copy_to(&connection, &partial)?;
        fs::rename(&partial, into)?;
        Ok(sync_directory_of(into)?)
    };
    copy().map_err(|problem| StoreError::new(NAME, "backup", ErrorKind::Failed, problem))
}

/// Puts a backup in the place of a database. Returns the name under which the former file is kept, if there was one.
/// This call blocks.
///
/// If the process or the machine dies meanwhile, the place has the former file or the new one, each of them whole.
///
/// # Errors
/// If the backup is damaged or not one of ours, or if a server has the database open. Nothing has changed then.
pub fn restore(backup: &Path, path: &Path) -> Result<Option<PathBuf>> {
    let replace = || -> std::result::Result<Option<PathBuf>, Problem> {
        let connection = open_ours(backup)?;
        let state: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if state != "ok" {
            return Err(format!("{} is damaged: {state}", backup.display()).into());
        }
        let new = beside(path, ".restoring");
        let _ = fs::remove_file(&new);
        copy_to(&connection, &new)?;
        let lock = lock_alone(path).inspect_err(|_| drop(fs::remove_file(&new)))?;
        let kept = keep_former(path).inspect_err(|_| drop(fs::remove_file(&new)))?;
        fs::rename(&new, path)?;
        sync_directory_of(path)?;
        drop(lock);
        Ok(kept)
    };
    replace().map_err(|problem| StoreError::new(NAME, "restore", ErrorKind::Failed, problem))
}

/// Opens a file that must exist and be one of ours. It is not brought up to date.
fn open_ours(path: &Path) -> std::result::Result<Connection, Problem> {
    if !path.is_file() {
        return Err(format!("there is no file {}", path.display()).into());
    }
    let mut connection = Connection::open_with_flags(without_scheme(path), FLAGS)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    refuse_others(&mut connection).map_err(|problem| format!("{}: {problem}", path.display()))?;
    Ok(connection)
}

/// Copies the database to a new file, which only its owner can read and write.
fn copy_to(connection: &Connection, file: &Path) -> std::result::Result<(), Problem> {
    let _ = fs::remove_file(file);
    make(file).map_err(|problem| format!("{}: {problem}", file.display()))?;
    let copy = || -> std::result::Result<(), Problem> {
        let target = without_scheme(file);
        let target = target.to_str().ok_or("the name of the file is not UTF-8")?;
        connection.execute("VACUUM INTO ?1", params![target])?;
        Ok(File::open(file)?.sync_all()?)
    };
    copy().inspect_err(|_| drop(fs::remove_file(file)))
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

/// Locks a database so that no other process can use it. Fails if one has it open. `None` if there is no database that
/// could be locked.
///
/// Only the last connection can leave WAL mode, which also empties the write-ahead log into the file.
fn lock_alone(path: &Path) -> std::result::Result<Option<Connection>, Problem> {
    if !path.exists() {
        return Ok(None);
    }
    let mut connection = Connection::open_with_flags(without_scheme(path), FLAGS)?;
    let lock = |connection: &Connection| -> rusqlite::Result<()> {
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))?;
        connection.execute_batch("BEGIN EXCLUSIVE")
    };
    match lock(&connection) {
        Err(error) if is_busy(&error) => Err(format!("a server has {} open; stop it first", path.display()).into()),
        // A database that is damaged is replaced all the same.
        Err(_) => Ok(None),
        Ok(()) => {
            connection.execute_batch("ROLLBACK")?;
            refuse_others(&mut connection).map_err(|problem| format!("{}: {problem}", path.display()))?;
            connection.execute_batch("BEGIN EXCLUSIVE")?;
            Ok(Some(connection))
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Gives the former file a second name, if there is one, so that it stays in its place until the new one takes it.
///
/// A write-ahead log must not stay there, because SQLite would put it over the new file. It only exists if the former
/// file could not be locked because it is damaged.
fn keep_former(path: &Path) -> std::result::Result<Option<PathBuf>, Problem> {
    if !path.exists() {
        return Ok(None);
    }
    let names = (1..=RESTORE_KEPT_MAX_FILES).map(|number| beside(path, &format!(".before-restore-{number}")));
    let kept = names.into_iter().find(|name| !name.exists());
    let kept = kept.ok_or_else(|| format!("there are {RESTORE_KEPT_MAX_FILES} former files; remove some"))?;
    // Some file systems have no second names.
    if fs::hard_link(path, &kept).is_err() {
        fs::copy(path, &kept)?;
        File::open(&kept)?.sync_all()?;
    }
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&kept, suffix)) {
            Err(error) if error.kind() != IoErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    sync_directory_of(path)?;
    Ok(Some(kept))
}

/// A path with something behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}
