//! The arguments of an operator's commands.

use std::fmt::Write as _;
use std::path::PathBuf;

use syncflow_server::core::names::{ClientId, DocumentKey, TenantId};
use syncflow_server::limits::api::COMPACT_DEFAULT_DAYS;
use syncflow_server::limits::protocol::DAY_MS;
use syncflow_server::service::operator::BadRows;

/// A command and how it is done.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) command: Command,
    /// Whether the output is JSON.
    pub(crate) as_json: bool,
    /// Whether nothing is asked before something is destroyed.
    pub(crate) is_confirmed: bool,
}

/// A command.
#[derive(Debug)]
pub(crate) enum Command {
    Stats(Option<TenantId>),
    Tenants,
    Clients(TenantId),
    ShowDocument(TenantId, DocumentKey),
    ShowHistory(TenantId, DocumentKey),
    Export { tenant: TenantId, file: Option<PathBuf> },
    Import { tenant: TenantId, file: Option<PathBuf>, is_dry_run: bool },
    ImportExpress { tenant: TenantId, schema: Option<String>, is_dry_run: bool, bad_rows: BadRows },
    Verify(Option<TenantId>),
    Compact { tenant: Option<TenantId>, older_than_ms: u64, is_dry_run: bool },
    ForgetClient(TenantId, ClientId),
    EraseTenant(TenantId),
    EraseDocument(TenantId, DocumentKey),
    Backup(PathBuf),
    Restore(PathBuf),
}

/// The commands: their first words, their arguments, and what they do.
const COMMANDS: [(&str, &str, &str); 14] = [
    ("stats", "[TENANT]", "says how much a tenant keeps, or each of them"),
    ("tenants", "", "lists the tenants"),
    ("clients", "TENANT", "lists the clients of a tenant, and how far each has come"),
    ("document", "show|history TENANT COLLECTION ID", "shows a document, or its operations in the log"),
    ("export", "TENANT [FILE]", "writes a tenant as lines of JSON"),
    ("import", "TENANT [FILE] [--dry-run]", "reads such lines into a tenant; may be repeated"),
    (
        "import-express",
        "TENANT [--dry-run] [--skip-bad] [--schema NAME]",
        "reads the database of an Express server, EXPRESS_URL, into a tenant; may be repeated",
    ),
    ("verify", "[TENANT]", "says whether the log explains the documents"),
    ("compact", "[TENANT] [--older-than-days N] [--dry-run]", "removes the old part of the log"),
    ("forget-client", "TENANT CLIENT", "forgets how far a client has come"),
    ("erase-tenant", "TENANT", "removes a tenant"),
    ("erase-document", "TENANT COLLECTION ID", "removes a document, also from the log"),
    ("backup", "FILE", "copies the SQLite file while the server runs"),
    ("restore", "FILE", "puts a backup in the place of the SQLite file"),
];

/// Whether an argument is the first word of a command.
pub(crate) fn is_command(word: &str) -> bool {
    COMMANDS.iter().any(|(name, ..)| *name == word)
}

/// Reads the arguments of a command. `Err` has the text for wrong ones, which repeats no value.
pub(crate) fn read(program: &str, arguments: &[&str]) -> Result<Asked, String> {
    let name = arguments.first().copied().unwrap_or_default();
    let usage = || {
        let (name, of_command, _) = COMMANDS.iter().find(|(known, ..)| *known == name).unwrap_or(&COMMANDS[0]);
        format!("{program}: {program} {name} {of_command}")
    };
    let mut options = Options::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        match *argument {
            "--json" => options.as_json = true,
            "--yes" => options.is_confirmed = true,
            "--dry-run" => options.is_dry_run = true,
            "--skip-bad" => options.bad_rows = BadRows::Skip,
            "--schema" => options.schema = Some(*rest.next().ok_or_else(usage)?),
            "--older-than-days" => options.older_than_days = Some(*rest.next().ok_or_else(usage)?),
            option if option.starts_with("--") => return Err(usage()),
            word => words.push(word),
        }
    }
    let asked = Asked { as_json: options.as_json, is_confirmed: options.is_confirmed, command: Command::Tenants };
    let command = command(name, &words, &options).map_err(|problem| match problem {
        Some(problem) => format!("{program}: {problem}"),
        None => usage(),
    })?;
    Ok(Asked { command, ..asked })
}

#[derive(Default)]
struct Options<'a> {
    as_json: bool,
    is_confirmed: bool,
    is_dry_run: bool,
    bad_rows: BadRows,
    schema: Option<&'a str>,
    older_than_days: Option<&'a str>,
}

/// The command, or what is wrong. If that is nothing special, the usage is shown.
fn command(name: &str, words: &[&str], options: &Options<'_>) -> Result<Command, Option<String>> {
    let may_try = matches!(name, "import" | "import-express" | "compact") || !options.is_dry_run;
    let may_age = name == "compact" || options.older_than_days.is_none();
    let is_of_express = name == "import-express" || options.bad_rows == BadRows::Stop && options.schema.is_none();
    if !may_try || !may_age || !is_of_express {
        return Err(None);
    }
    Ok(match (name, words) {
        ("stats", []) => Command::Stats(None),
        ("stats", [tenant]) => Command::Stats(Some(tenant_of(tenant)?)),
        ("tenants", []) => Command::Tenants,
        ("clients", [tenant]) => Command::Clients(tenant_of(tenant)?),
        ("document", ["show", tenant, collection, id]) => {
            Command::ShowDocument(tenant_of(tenant)?, key_of(collection, id)?)
        }
        ("document", ["history", tenant, collection, id]) => {
            Command::ShowHistory(tenant_of(tenant)?, key_of(collection, id)?)
        }
        ("export", [tenant, file @ ..]) if file.len() < 2 => {
            Command::Export { tenant: tenant_of(tenant)?, file: file.first().map(PathBuf::from) }
        }
        ("import", [tenant, file @ ..]) if file.len() < 2 => Command::Import {
            tenant: tenant_of(tenant)?,
            file: file.first().map(PathBuf::from),
            is_dry_run: options.is_dry_run,
        },
        ("import-express", [tenant]) => Command::ImportExpress {
            tenant: tenant_of(tenant)?,
            schema: options.schema.map(str::to_owned),
            is_dry_run: options.is_dry_run,
            bad_rows: options.bad_rows,
        },
        ("verify", []) => Command::Verify(None),
        ("verify", [tenant]) => Command::Verify(Some(tenant_of(tenant)?)),
        ("compact", tenant) if tenant.len() < 2 => Command::Compact {
            tenant: tenant.first().map(|tenant| tenant_of(tenant)).transpose()?,
            older_than_ms: age_ms(options.older_than_days)?,
            is_dry_run: options.is_dry_run,
        },
        ("forget-client", [tenant, client]) => {
            let client = ClientId::parse(client).map_err(|problem| Some(format!("the client {problem}")))?;
            Command::ForgetClient(tenant_of(tenant)?, client)
        }
        ("erase-tenant", [tenant]) => Command::EraseTenant(tenant_of(tenant)?),
        ("erase-document", [tenant, collection, id]) => {
            Command::EraseDocument(tenant_of(tenant)?, key_of(collection, id)?)
        }
        ("backup", [file]) => Command::Backup(PathBuf::from(file)),
        ("restore", [file]) => Command::Restore(PathBuf::from(file)),
        _ => return Err(None),
    })
}

fn tenant_of(word: &str) -> Result<TenantId, Option<String>> {
    TenantId::parse(word).map_err(|problem| Some(format!("the tenant {problem}")))
}

fn key_of(collection: &str, id: &str) -> Result<DocumentKey, Option<String>> {
    DocumentKey::parse(collection, id).map_err(|problem| Some(format!("the collection and the id {problem}")))
}

fn age_ms(days: Option<&str>) -> Result<u64, Option<String>> {
    let days = days.map_or(Ok(COMPACT_DEFAULT_DAYS), str::parse);
    let days = days.ok().filter(|days| (0.0..1e9).contains(days));
    let days = days.ok_or_else(|| Some("--older-than-days must be a number from 0".to_owned()))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "it is positive and far below 2^53"
    )]
    let milliseconds = (days * DAY_MS as f64) as u64;
    Ok(milliseconds)
}

/// The commands and how they end.
pub(crate) fn help(program: &str) -> String {
    let mut text = format!("{program}: the commands for an operator, with the settings of the server\n\n");
    for (name, arguments, what) in COMMANDS {
        // Writing to a string cannot fail.
        let space = if arguments.is_empty() { "" } else { " " };
        let _ = writeln!(text, "{program} {name}{space}{arguments}\n    {what}");
    }
    text.push_str(
        "\nEach takes --json for output that programs read. Commands that destroy something ask first,\n\
         or take --yes.\n\
         \n\
         Ends with 0 when all is well, 1 when the store does not work, when something is damaged, not\n\
         there or refused, and 2 when an argument or a setting is wrong, or nobody can be asked.\n",
    );
    text
}
