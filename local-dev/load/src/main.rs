//! The load generator: how much work a server does in a second, compared with its database without a server.
//!
//! It starts the local server as a separate process on the chosen store, and sends it requests over connections that
//! stay open. In the same run it measures the *floor*: the same rows in the same tables, written and read by the same
//! driver without a server. Floor and server take turns, so that other work of the machine affects both.
//! `local-dev/bench` builds it for release and gives it a database.

mod client;
mod database;
mod floor;
mod load;
mod meter;
mod options;
mod report;
mod server;
mod site;
mod suites;
mod work;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use self::options::Options;
use self::report::Report;

/// An error ends the run, because figures beside an error would be worthless.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // There is one thread, because the server, the database and this program share two cores.
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::default();
    for store in options.stores() {
        report.extend(tokio.block_on(suites::run(*store, options))?);
    }
    let text = if options.json { report.to_json()? } else { report.to_table() };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
