//! The names of all variables, and names that look like one of them.

use crate::limits::config::{SLIP_MAX_LETTERS, VARIABLE_NAME_MAX_BYTES};

/// Every variable that is read.
pub const VARIABLES: [&str; 74] = [
    "ADAPTER",
    "ALLOWED_HOSTS",
    "ALLOWED_ORIGINS",
    "APPSYNC_EVENTS_URL",
    "AUTH",
    "AUTH_AUDIENCE",
    "AUTH_HS256_SECRET",
    "AUTH_HS256_SECRET_FILE",
    "AUTH_ISSUER",
    "AUTH_JWKS",
    "AUTH_JWKS_FILE",
    "AUTH_JWKS_URL",
    "AUTH_ROLE_CLAIM",
    "AUTH_TENANT",
    "AUTH_TENANT_CLAIM",
    "AUTH_TOKENS_FILE",
    "BIND",
    "CLIENT_DAYS",
    "COMPACT_EVERY_HOURS",
    "COMPACT_OLDER_THAN_DAYS",
    "CONFLICT_DELETES",
    "CONFLICT_POLICY",
    "CONNECTIONS_MAX",
    "CONNECTIONS_PER_ADDRESS",
    "CONSOLE",
    "DRAIN_SECONDS",
    "EXPRESS_CA_FILE",
    "EXPRESS_URL",
    "EXPRESS_URL_FILE",
    "FINGERPRINT_DAYS",
    "HTTP2",
    "ID_DAYS",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MEMORY_MAX_BYTES",
    "METRICS_BIND",
    "METRICS_NAMESPACE",
    "MONGO_DB_NAME",
    "MONGO_DOCUMENTS_COLLECTION",
    "MONGO_OPERATIONS_COLLECTION",
    "MONGO_PARAMETER",
    "MONGO_SECRET_ARN",
    "MONGO_URI",
    "MONGO_URI_FILE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS_FILE",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER_ARG",
    "POISON",
    "POOL_SIZE",
    "PORT",
    "POSTGRES_CA_FILE",
    "POSTGRES_CONNECTION_STRING",
    "POSTGRES_CONNECTION_STRING_FILE",
    "POSTGRES_IAM_AUTH",
    "POSTGRES_PARAMETER",
    "POSTGRES_POOLER",
    "POSTGRES_SCHEMA",
    "POSTGRES_SECRET_ARN",
    "RATE_PER_ADDRESS",
    "RATE_PER_PRINCIPAL",
    "REQUEST_TIMEOUT_SECONDS",
    "RULES",
    "RULES_FILE",
    "SQLITE_PATH",
    "STREAMS_MAX",
    "TENANT_MAX_BYTES",
    "TENANT_MAX_CLIENTS",
    "TENANT_MAX_DOCUMENTS",
    "TENANT_MAX_OPERATION_IDS",
    "TOMBSTONE_DAYS",
    "TRUSTED_PROXIES",
    "WAKE",
];

/// Names that other programs use for the same settings.
const ALIASES: [(&str, &str); 27] = [
    ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
    ("CORS_ORIGIN", "ALLOWED_ORIGINS"),
    ("CORS_ORIGINS", "ALLOWED_ORIGINS"),
    ("DATABASE_URI", "POSTGRES_CONNECTION_STRING"),
    ("DATABASE_URL", "POSTGRES_CONNECTION_STRING"),
    ("MONGODB_CONNECTION_STRING", "MONGO_URI"),
    ("MONGODB_URI", "MONGO_URI"),
    ("MONGODB_URI_FILE", "MONGO_URI_FILE"),
    ("MONGODB_URL", "MONGO_URI"),
    ("MONGO_CONNECTION_STRING", "MONGO_URI"),
    ("MONGO_URL", "MONGO_URI"),
    ("MONGODB_DATABASE", "MONGO_DB_NAME"),
    ("MONGODB_DB_NAME", "MONGO_DB_NAME"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
    ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
    ("PGHOST", "POSTGRES_CONNECTION_STRING"),
    ("PG_URL", "POSTGRES_CONNECTION_STRING"),
    ("POSTGRESQL_URL", "POSTGRES_CONNECTION_STRING"),
    ("POSTGRES_HOST", "POSTGRES_CONNECTION_STRING"),
    ("POSTGRES_URI", "POSTGRES_CONNECTION_STRING"),
    ("POSTGRES_URL", "POSTGRES_CONNECTION_STRING"),
    ("SQLITE_DATABASE", "SQLITE_PATH"),
    ("SQLITE_DB", "SQLITE_PATH"),
    ("SQLITE_DB_PATH", "SQLITE_PATH"),
    ("SQLITE_FILE", "SQLITE_PATH"),
    ("SQLITE_URL", "SQLITE_PATH"),
];

/// A variable that is set but not read, and the one that may be meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NearMiss {
    /// The variable that is set.
    pub name: String,
    /// The variable that is read.
    pub meant: &'static str,
}

/// The variables that choose a store. If one of them is set, the names of other programs mean nothing.
const CHOICES: [&str; 9] = [
    "ADAPTER",
    "MONGO_PARAMETER",
    "MONGO_SECRET_ARN",
    "MONGO_URI",
    "MONGO_URI_FILE",
    "POSTGRES_CONNECTION_STRING",
    "POSTGRES_CONNECTION_STRING_FILE",
    "POSTGRES_PARAMETER",
    "POSTGRES_SECRET_ARN",
];

/// The names that look like a variable of ours but are not one. An alias of a variable that is set is not reported.
#[must_use]
pub fn near_misses(names: &[String]) -> Vec<NearMiss> {
    let has = |variable: &str| names.iter().any(|name| name == variable);
    let is_set =
        |variable: &str| has(variable) || CHOICES.contains(&variable) && CHOICES.iter().any(|choice| has(choice));
    let mut found: Vec<NearMiss> = names
        .iter()
        .filter(|name| !VARIABLES.contains(&name.as_str()))
        .filter_map(|name| {
            let meant = alias(name).filter(|meant| !is_set(meant)).or_else(|| misspelt(name))?;
            Some(NearMiss { name: name.clone(), meant })
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn alias(name: &str) -> Option<&'static str> {
    ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, meant)| *meant)
}

/// The variable of which a name is a misspelling: other capitals, or at most one wrong letter in five.
fn misspelt(name: &str) -> Option<&'static str> {
    if alias(name).is_some() || name.len() > VARIABLE_NAME_MAX_BYTES {
        return None;
    }
    let capitals = name.to_ascii_uppercase().replace('-', "_");
    let distances = VARIABLES.iter().map(|variable| (edits(capitals.as_bytes(), variable.as_bytes()), *variable));
    let (distance, nearest) = distances.min()?;
    (distance <= (nearest.len() / 5).min(SLIP_MAX_LETTERS)).then_some(nearest)
}

/// How many letters must be added, removed, replaced or exchanged with a neighbour to change one text into the other.
fn edits(from: &[u8], to: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut here = vec![row + 1];
        for (column, wanted) in to.iter().enumerate() {
            let replaced = above[column] + usize::from(letter != wanted);
            let mut least = replaced.min(above[column + 1] + 1).min(here[column] + 1);
            if row > 0 && column > 0 && from[row - 1] == *wanted && *letter == to[column - 1] {
                least = least.min(before[column - 1] + 1);
            }
            here.push(least);
        }
        before = std::mem::replace(&mut above, here);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(names: &[&str]) -> Vec<&'static str> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        near_misses(&names).into_iter().map(|miss| miss.meant).collect()
    }

    #[test]
    fn slips_and_the_names_of_others_are_near_misses() {
        for (name, expected) in [
            ("SQLITE_PTH", "SQLITE_PATH"),
            ("SQLITE_PAHT", "SQLITE_PATH"),
            ("SQLITEPATH", "SQLITE_PATH"),
            ("sqlite_path", "SQLITE_PATH"),
            ("SQLITE-PATH", "SQLITE_PATH"),
            ("POSTGRES_URL", "POSTGRES_CONNECTION_STRING"),
            ("POSTGRES_CONECTION_STRING", "POSTGRES_CONNECTION_STRING"),
            ("POSTGRES_CONNECTION_STRNG_FILE", "POSTGRES_CONNECTION_STRING_FILE"),
            ("DATABASE_URL", "POSTGRES_CONNECTION_STRING"),
            ("MONGODB_URI", "MONGO_URI"),
            ("MONGO_URL", "MONGO_URI"),
            ("ADAPTOR", "ADAPTER"),
            ("Port", "PORT"),
        ] {
            assert_eq!(meant(&[name]), [expected], "{name}");
        }
    }

    #[test]
    fn a_name_of_ours_or_of_another_program_is_not_a_near_miss() {
        assert_eq!(meant(&VARIABLES), Vec::<&str>::new());
        for name in ["PATH", "HOME", "SORT", "LANG", "AWS_REGION", "POSTGRES_PASSWORD", "TERM", "", "LOGNAME", "ÄÖ"] {
            assert_eq!(meant(&[name]), Vec::<&str>::new(), "{name}");
        }
        assert_eq!(meant(&["DATABASE_URL", "POSTGRES_CONNECTION_STRING"]), Vec::<&str>::new());
        assert_eq!(meant(&["DATABASE_URL", "ADAPTER"]), Vec::<&str>::new());
    }
}
