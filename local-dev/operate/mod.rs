//! The commands of an operator: they open the store of the server, also while the server runs.

pub(crate) mod arguments;
mod express;
mod files;
mod look;
mod output;
mod remove;
mod transfer;

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use syncflow_server::config::{Adapter, Config, StoreConfig};
use syncflow_server::runtime::{self, TokioHost, logging};
use syncflow_server::service::operator::{ImportError, Operator};
use syncflow_server::{ServiceError, StoreError, SyncService};

use self::arguments::{Asked, Command};
use self::output::Output;
use super::settings;

/// The exit code if something does not work, is damaged, or is not there.
const NOT_WELL: u8 = 1;

/// The name of this program among those that write.
const WRITER: &str = "operator";

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments or settings are wrong.
    Asked(Box<dyn Error>),
    /// The store does not work.
    Store(Arc<StoreError>),
    /// The database of an Express server does not work.
    Source(StoreError),
    /// Something else is not well.
    Other(String),
}

impl From<Box<dyn Error>> for Failure {
    fn from(error: Box<dyn Error>) -> Self {
        Self::Asked(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Store(error) => Self::Store(error),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Service(error) => error.into(),
            ImportError::Source(error) => Self::Source(error),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// The end of a command: whether all is well.
pub(crate) type Done = Result<bool, Failure>;

/// Does a command.
pub(crate) fn run(asked: Asked) -> Result<ExitCode, Box<dyn Error>> {
    let settings = settings::read()?;
    logging::start(&settings.config.log)?;
    runtime::warn_of_near_misses(&settings.names);
    let config = &settings.config;
    let problem = match do_command(asked, config) {
        Ok(true) => return Ok(ExitCode::SUCCESS),
        Ok(false) => return Ok(ExitCode::from(NOT_WELL)),
        Err(Failure::Asked(problem)) => return Err(problem),
        Err(Failure::Store(error)) => format!("{} ({error})", runtime::advice(&error, &config.store)),
        Err(Failure::Source(error)) => runtime::advice_about_express(&error, &config.express),
        Err(Failure::Other(problem)) => problem,
    };
    // The output may be closed already, which is not an error.
    let _ = writeln!(io::stderr(), "{problem}");
    Ok(ExitCode::from(NOT_WELL))
}

fn do_command(asked: Asked, config: &Config) -> Done {
    let Asked { command, as_json, is_confirmed } = asked;
    let output = Output { as_json, to_stderr: false };
    match &command {
        Command::Backup(file) => return files::backup(&config.store, file, output),
        Command::Restore(file) => return files::restore(&config.store, file, is_confirmed, output),
        _ => {}
    }
    let may_make_file = matches!(command, Command::Import { .. } | Command::ImportExpress { .. });
    refuse_what_is_not_there(&config.store, may_make_file)?;
    let source = match &command {
        Command::ImportExpress { schema, .. } => {
            let source = runtime::open_express(&config.express, schema.as_deref());
            Some(source.map_err(|problem| Failure::Asked(problem.into()))?)
        }
        _ => None,
    };
    let tokio = tokio::runtime::Runtime::new()?;
    let done = tokio.block_on(async {
        let store = runtime::open_store(&config.store).await.map_err(|problem| Failure::Asked(problem.into()))?;
        store.check().await?;
        let service = SyncService::new(store, Arc::new(TokioHost)).with_rules(config.rules.clone());
        let service = service.with_retention(config.retention);
        let service = service.with_writer_name(WRITER).map_err(|problem| Failure::Asked(problem.into()))?;
        // A compaction by hand removes from a quarantine what a scheduled one would.
        let service = Arc::new(service.with_quarantine());
        let operator = Operator::new(Arc::clone(&service));
        match command {
            Command::Stats(tenant) => look::stats(&operator, tenant, output).await,
            Command::Tenants => look::tenants(&operator, output).await,
            Command::Clients(tenant) => look::clients(&operator, &tenant, output).await,
            Command::ShowDocument(tenant, key) => look::document(&service, &tenant, &key, output).await,
            Command::ShowHistory(tenant, key) => look::history(&operator, &tenant, &key, output).await,
            Command::Verify(tenant) => look::verify(&operator, tenant, output).await,
            Command::Export { tenant, file } => transfer::export(&operator, &tenant, file.as_deref(), output).await,
            Command::Import { tenant, file, is_dry_run } => {
                transfer::import(&operator, &tenant, file.as_deref(), is_dry_run, output).await
            }
            Command::ImportExpress { tenant, is_dry_run, bad_rows, .. } => {
                let wanted = express::Wanted { tenant, is_dry_run, bad_rows };
                express::import(&operator, &wanted, source, output).await
            }
            Command::Compact { tenant, older_than_ms, is_dry_run } => {
                remove::compact((&service, &operator), tenant, older_than_ms, is_dry_run, output).await
            }
            Command::ForgetClient(tenant, client) => {
                remove::forget_client(&operator, &tenant, &client, is_confirmed, output).await
            }
            Command::EraseTenant(tenant) => remove::tenant(&operator, &tenant, is_confirmed, output).await,
            Command::EraseDocument(tenant, key) => {
                remove::document(&operator, &tenant, &key, is_confirmed, output).await
            }
            Command::Backup(_) | Command::Restore(_) => Ok(true),
        }
    });
    drop(tokio);
    done
}

/// A command makes no empty store to look at.
fn refuse_what_is_not_there(config: &StoreConfig, may_make_file: bool) -> Result<(), Failure> {
    match &config.adapter {
        Adapter::Memory => {
            let why = "ADAPTER: the store in memory belongs to the server that runs, and no command reaches it";
            Err(Failure::Asked(why.into()))
        }
        Adapter::Sqlite { path } if !may_make_file && !path.exists() => {
            Err(Failure::Asked(format!("SQLITE_PATH: there is no file {}", path.display()).into()))
        }
        _ => Ok(()),
    }
}
