//! The local server: reads the settings, opens the store, and serves the routes until a signal ends it.

mod arguments;
mod check;
mod console;
mod operate;
mod serve;
mod settings;
mod token;

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use syncflow_server::config::{Adapter, AuthConfig, Config};

use self::arguments::Task;

/// The exit code after an unknown argument or a setting that cannot be used.
const CANNOT_START: u8 = 2;

pub(crate) fn main() -> ExitCode {
    let done = match arguments::read(std::env::args_os()) {
        Task::Serve => serve::run().map(|()| ExitCode::SUCCESS),
        Task::Check => check::check(),
        Task::AskHealth => check::health::ask(),
        Task::MakeToken(kind, wanted) => token::make(&kind, &wanted).map(|text| say(&text)),
        Task::CheckRules(path) => check::rules::check(&path).map(|text| say(&text)),
        Task::ExplainRules(asked) => check::rules::explain(&asked).map(|text| say(&text)),
        Task::Operate(asked) => operate::run(asked),
        Task::Say(text) => Ok(say(&text)),
        Task::Refuse(problem) => Err(problem.into()),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "{error}");
        ExitCode::from(CANNOT_START)
    })
}

/// Prints a text. The output may be closed already, which is not an error.
fn say(text: &str) -> ExitCode {
    let _ = write!(io::stdout(), "{text}");
    ExitCode::SUCCESS
}

/// Prints the server's address, its store, and a command to try.
fn greet(address: SocketAddr, metrics: Option<SocketAddr>, config: &Config) {
    let store = match &config.store.adapter {
        Adapter::Memory => "memory (gone when the server stops)".to_owned(),
        Adapter::Sqlite { path } => format!("sqlite, {}", path.display()),
        Adapter::Postgres { .. } => "postgres".to_owned(),
        Adapter::Mongo { database, .. } => format!("mongodb, database {database}"),
    };
    let access = match config.auth {
        AuthConfig::Off { .. } => "everybody who reaches this address, as admin",
        AuthConfig::On(_) => "with a token",
    };
    let metrics = metrics.map(|metrics| format!("metrics    http://{metrics}/metrics\n")).unwrap_or_default();
    let here = SocketAddr::new(reachable(address.ip()), address.port());
    let console =
        if config.listen.console { format!("console    http://{here}{}\n", console::PATH) } else { String::new() };
    let _ = writeln!(
        io::stdout(),
        "syncflow-server {version}\n\
         \n\
         listening  http://{address}\n\
         store      {store}\n\
         access     {access}\n\
         {console}\
         {metrics}\
         try        curl http://{here}/health\n\
         stop       Ctrl-C",
        version = env!("CARGO_PKG_VERSION"),
    );
}

/// The address under which a server that listens on `ip` can be reached.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
