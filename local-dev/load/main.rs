//! The load generator: what a server does in a second, beside what its database can do without one.
//!
//! It starts the local server as a process of its own on the chosen store, sends it requests over connections that stay
//! open, and in the same run measures the *floor*: the same rows written to and read from the same tables with the same
//! driver and no server. Floor and server take turns, so that whatever else the machine does meets both.
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

/// What goes wrong ends the run: a figure beside an error would be worth nothing.
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
    // One thread: two cores are shared by the server, the database and this.
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::default();
    for store in options.stores() {
        report.extend(tokio.block_on(suites::run(*store, options))?);
    }
    let text = if options.json { report.to_json()? } else { report.to_table() };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}
