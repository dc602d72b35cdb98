//! The settings from the environment, and from `.env` for variables that the environment does not have.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};

use syncflow_server::config::{Config, ConfigError, VARIABLES};
use syncflow_server::limits::config::SECRET_FILE_MAX_BYTES;

/// The name that errors about the file have in place of a variable.
const FILE: &str = ".env";

/// The settings, and the names of all variables.
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) names: Vec<String>,
}

/// Reads all settings.
pub(crate) fn read() -> Result<Settings, ConfigError> {
    let file = variables_of_file()?;
    let config = Config::read(|name| match std::env::var_os(name) {
        Some(value) => Some(value.to_string_lossy().into_owned()),
        None => file.get(name).cloned(),
    })?;
    config.auth.refuse_everybody(!config.listen.bind.to_canonical().is_loopback())?;
    let is_set = |value: &str| !value.trim().is_empty();
    let of_environment = std::env::vars_os().filter(|(_, value)| is_set(&value.to_string_lossy()));
    let of_file = file.iter().filter(|(_, value)| is_set(value)).map(|(name, _)| name.clone());
    let names: Vec<String> = of_environment.filter_map(|(name, _)| name.into_string().ok()).chain(of_file).collect();
    Ok(Settings { config, names })
}

fn variables_of_file() -> Result<HashMap<String, String>, ConfigError> {
    let wrong = |problem: String| ConfigError::new(FILE, problem);
    let mut text = String::new();
    match File::open(FILE) {
        Ok(file) => {
            let read = file.take(SECRET_FILE_MAX_BYTES as u64 + 1).read_to_string(&mut text);
            read.map_err(|error| wrong(format!("cannot be read: {}", error.kind())))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(wrong(format!("cannot be read: {}", error.kind()))),
    }
    if text.len() > SECRET_FILE_MAX_BYTES {
        return Err(wrong(format!("has more than {SECRET_FILE_MAX_BYTES} bytes")));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let variables = dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>();
    variables.map_err(|error| match error {
        dotenvy::Error::LineParse(line, _) => wrong(malformed(text, &line)),
        _ => wrong("cannot be read".to_owned()),
    })
}

/// Describes a faulty line by its number, and by its variable if it is a setting. Any other text may be a secret.
fn malformed(text: &str, line: &str) -> String {
    let first = line.lines().next().unwrap_or_default().trim();
    // For some faulty lines the parser hands on only the value.
    let is_whole = |candidate: &str| candidate.trim() == first;
    let is_value = |candidate: &str| candidate.trim().ends_with(first) && !candidate.trim().starts_with('#');
    let number = text.lines().position(is_whole).or_else(|| text.lines().position(is_value)).map(|index| index + 1);
    let number = number.map_or_else(|| "a line".to_owned(), |number| format!("line {number}"));
    let name = first.split('=').next().unwrap_or_default().trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    let of = VARIABLES.iter().find(|known| **known == name).map(|known| format!(", {known},")).unwrap_or_default();
    format!("{number}{of} is not NAME=value or NAME='value'")
}
