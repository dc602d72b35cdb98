//! The task `--check`: whether the server can work with its settings.

pub(crate) mod health;
pub(crate) mod rules;

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use syncflow_server::config::{Adapter, StoreConfig};
use syncflow_server::runtime::{self, Access, TokioHost, Traces, logging};

use super::settings;

/// The exit code if the store does not work.
const DOES_NOT_WORK: u8 = 1;

/// Reads the settings, opens the store as at a start, sends it a request, and reports the result.
///
/// If a database exists, its tables are created as at a start, because only that shows whether the user has the rights.
/// An SQLite file that does not exist is not created.
pub(crate) fn check() -> Result<ExitCode, Box<dyn Error>> {
    let settings = settings::read()?;
    logging::start(&settings.config.log)?;
    runtime::warn_of_near_misses(&settings.names);
    Access::open(&settings.config.auth, Arc::new(TokioHost))?;
    Traces::open(&settings.config.traces)?;
    let config = &settings.config.store;
    let name = config.adapter.name();
    let (text, code) = match &config.adapter {
        Adapter::Sqlite { path } if fs::symlink_metadata(path).is_err() => match make_room(path) {
            Ok(()) => {
                (format!("{name}: well; the file does not exist yet, and the server can create it"), ExitCode::SUCCESS)
            }
            Err(problem) => {
                (format!("SQLITE_PATH: no file can be made there: {problem}"), ExitCode::from(DOES_NOT_WORK))
            }
        },
        _ => match ask(config) {
            Ok(()) => (format!("{name}: well"), ExitCode::SUCCESS),
            Err(problem) => (problem, ExitCode::from(DOES_NOT_WORK)),
        },
    };
    // The output may be closed already, which is not an error.
    let _ = if code == ExitCode::SUCCESS { writeln!(io::stdout(), "{text}") } else { writeln!(io::stderr(), "{text}") };
    Ok(code)
}

fn ask(config: &StoreConfig) -> Result<(), String> {
    let tokio = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime::announce_wait(config);
    let asked = tokio.block_on(async {
        let store = runtime::open_store(config).await.map_err(|error| error.to_string())?;
        let answer = store.check().await;
        answer.map_err(|error| format!("{} ({error})", runtime::advice(&error, config)))
    });
    drop(tokio);
    asked
}

/// Creates a file beside the planned one and removes it, to find out whether the directory can be written.
fn make_room(path: &Path) -> io::Result<()> {
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(io::Error::other("the path is one of a directory"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!("-check-{}", std::process::id()));
    let trial = path.with_file_name(name);
    OpenOptions::new().write(true).create_new(true).open(&trial)?;
    fs::remove_file(trial)
}
