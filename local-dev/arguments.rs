//! The arguments of the program.

use std::ffi::OsString;
use std::path::Path;

use super::check::rules;
use super::operate::arguments::{self as operate, Asked};
use super::token;

/// The task that the arguments name.
pub(crate) enum Task {
    /// Serve until a signal ends the server.
    Serve,
    /// Check whether the server can work with its settings.
    Check,
    /// Ask the server that runs with the same settings whether it works.
    AskHealth,
    /// Make a token.
    MakeToken(token::Kind, token::Wanted),
    /// Check a file of rules.
    CheckRules(String),
    /// Say what rules allow.
    ExplainRules(rules::Asked),
    /// Do a command of an operator.
    Operate(Asked),
    /// Print a text and end.
    Say(String),
    /// Report wrong arguments.
    Refuse(String),
}

/// Reads the arguments. The first one is the name of the program itself.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Task {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or("syncflow-server".as_ref()).to_string_lossy().into_owned();
    let arguments: Vec<OsString> = arguments.collect();
    let texts: Option<Vec<&str>> = arguments.iter().map(|argument| argument.to_str()).collect();
    if let Some(["token", of_token @ ..]) = texts.as_deref() {
        let wanted = token::read(of_token);
        return wanted.map_or_else(|| Task::Refuse(token_usage(&name)), |(kind, wanted)| Task::MakeToken(kind, wanted));
    }
    if let Some(["rules", of_rules @ ..]) = texts.as_deref() {
        return match of_rules {
            ["check", path] => Task::CheckRules((*path).to_owned()),
            ["explain", options @ ..] => {
                rules::read(options).map_or_else(|| Task::Refuse(rules_usage(&name)), Task::ExplainRules)
            }
            _ => Task::Refuse(rules_usage(&name)),
        };
    }
    if let Some(words @ [first, rest @ ..]) = texts.as_deref()
        && operate::is_command(first)
    {
        if matches!(rest, ["--help" | "-h"]) {
            return Task::Say(operate::help(&name));
        }
        return operate::read(&name, words).map_or_else(Task::Refuse, Task::Operate);
    }
    let [argument] = &arguments[..] else {
        return if arguments.is_empty() { Task::Serve } else { refuse(&name) };
    };
    match argument.to_str() {
        Some("--help" | "-h") => Task::Say(help(&name)),
        Some("--version" | "-V") => Task::Say(format!("syncflow-server {}\n", env!("CARGO_PKG_VERSION"))),
        Some("--check" | "check") => Task::Check,
        Some("health") => Task::AskHealth,
        Some("serve") => Task::Serve,
        _ => refuse(&name),
    }
}

/// The message names the option but does not repeat its value, which may be a connection string.
fn refuse(name: &str) -> Task {
    Task::Refuse(format!(
        "{name}: takes one argument at most, serve, health, --check, --help or --version, or token, rules or a command for an \
         operator and their own; settings are environment variables"
    ))
}

fn token_usage(name: &str) -> String {
    format!(
        "{name}: {name} token new --tenant TENANT --subject SUBJECT [--role ROLE] [--expires YYYY-MM-DD], or {name} token \
         dev --tenant TENANT --subject SUBJECT [--role ROLE] [--claims JSON]; a role is reader, writer, admin or service"
    )
}

fn rules_usage(name: &str) -> String {
    format!(
        "{name}: {name} rules check FILE, or {name} rules explain --rules FILE --collection NAME --document JSON --subject \
         SUBJECT [--role ROLE] [--claims JSON]"
    )
}

fn help(name: &str) -> String {
    format!(
        "{name}: an offline-first sync server\n\
         \n\
         {name} serve      serves until it is told to stop, as without an argument\n\
         {name} --check    opens the store as a start does and says whether it works;\n\
         {pad}            makes no SQLite file\n\
         {name} health     asks the server that runs with the same settings whether it works\n\
         {name} token new  makes a static token and its line for AUTH_TOKENS_FILE;\n\
         {pad}            needs --tenant and --subject, takes --role and --expires\n\
         {name} token dev  makes a JSON Web Token for an hour with AUTH_HS256_SECRET;\n\
         {pad}            needs --tenant and --subject, takes --role and --claims\n\
         {name} rules check FILE  says what is wrong with a file of rules;\n\
         {name} rules explain     says what rules allow, and why; needs --rules, --collection,\n\
         {pad}            --document and --subject, takes --role and --claims\n\
         {name} stats --help      says which commands there are for an operator, such as verify,\n\
         {pad}            export, import, compact, erase-tenant, backup and restore\n\
         {name} --version  says the version\n\
         {name} --help     says this\n\
         \n\
         Settings are environment variables, or lines NAME=value of a file .env in the\n\
         working directory. The ones to begin with:\n\
         \n\
         PORT                        the port to listen on, 3000\n\
         BIND                        the address to listen on, 127.0.0.1\n\
         SQLITE_PATH                 the SQLite file, ./syncflow.db\n\
         POSTGRES_CONNECTION_STRING  for PostgreSQL, postgresql://user:password@host/database\n\
         MONGO_URI                   for MongoDB, mongodb://host/?replicaSet=rs0\n\
         ADAPTER                     sqlite, postgres, mongodb or memory\n\
         LOG_LEVEL                   error, warn, info, debug, trace or off\n\
         \n\
         docs/configuration.md has all of them.\n\
         \n\
         Ends with 0 when all is well, 1 when --check finds that the store does not work,\n\
         and 2 when an argument or a setting is wrong.\n",
        pad = " ".repeat(name.chars().count()),
    )
}
