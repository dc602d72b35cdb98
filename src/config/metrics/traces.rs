//! The destination of the traces of a server, and how many of its requests have one.

use crate::config::secret::{Secret, file};
use crate::config::variables::{ConfigError, Variables, wrong};
use crate::limits::runtime::SERVICE_NAME_MAX_BYTES;

/// The destination of the traces of a server, and how many of its requests have one.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TracesConfig {
    /// The URL of the collector, to which the path for traces is added. `None` for no traces.
    pub endpoint: Option<String>,
    /// The headers that the collector wants, such as a key: `name=value`, with commas between them.
    pub headers: Option<Secret>,
    /// The name of this service among others.
    pub service_name: String,
    /// The part of the requests that is traced, from 0 to 1, unless their callers have decided.
    pub ratio: f64,
}

impl TracesConfig {
    pub(in crate::config) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            endpoint: variables.get("OTEL_EXPORTER_OTLP_ENDPOINT"),
            headers: headers(variables)?,
            service_name: service_name(variables)?,
            ratio: ratio(variables)?,
        })
    }
}

fn headers(variables: &Variables<'_>) -> Result<Option<Secret>, ConfigError> {
    const GIVEN: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    const FILE: &str = "OTEL_EXPORTER_OTLP_HEADERS_FILE";
    Ok(match (variables.get(GIVEN), variables.get(FILE)) {
        (Some(_), Some(_)) => return Err(ConfigError::new(FILE, format_args!("cannot be set beside {GIVEN}"))),
        (Some(text), None) => Some(Secret::new(GIVEN, text)),
        (None, Some(path)) => Some(Secret::new(FILE, file::read(FILE, &path)?)),
        (None, None) => None,
    })
}

fn service_name(variables: &Variables<'_>) -> Result<String, ConfigError> {
    const VARIABLE: &str = "OTEL_SERVICE_NAME";
    let name = variables.get_or(VARIABLE, "syncflow-server");
    if name.len() <= SERVICE_NAME_MAX_BYTES && !name.contains(char::is_control) {
        return Ok(name);
    }
    let rule = format!("must be at most {SERVICE_NAME_MAX_BYTES} bytes without control characters");
    Err(wrong(VARIABLE, &rule, &name))
}

fn ratio(variables: &Variables<'_>) -> Result<f64, ConfigError> {
    const VARIABLE: &str = "OTEL_TRACES_SAMPLER_ARG";
    const RULE: &str = "must be a number from 0 to 1";
    let ratio = variables.parse(VARIABLE, "1", RULE)?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(wrong(VARIABLE, RULE, &ratio.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    fn read(set: &[(&str, &str)]) -> Result<TracesConfig, String> {
        read_from(set, TracesConfig::read)
    }

    #[test]
    fn nothing_is_sent_unless_a_collector_is_named() {
        let config = read(&[]).unwrap();
        assert_eq!((config.endpoint, config.headers), (None, None));
        assert_eq!(config.service_name, "syncflow-server");
        assert!((config.ratio - 1.0).abs() < f64::EPSILON);
        let endpoint = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c.example")]).unwrap().endpoint;
        assert_eq!(endpoint.as_deref(), Some("https://c.example"));
    }

    #[test]
    fn a_ratio_is_a_part_of_the_requests() {
        for (text, expected) in [("0", 0.0), ("0.25", 0.25), ("1.0", 1.0), ("1e-3", 0.001)] {
            let ratio = read(&[("OTEL_TRACES_SAMPLER_ARG", text)]).unwrap().ratio;
            assert!((ratio - expected).abs() < f64::EPSILON, "{text}");
        }
        for wrong in ["-0.1", "1.01", "NaN", "inf", "all", "10%"] {
            let line = read(&[("OTEL_TRACES_SAMPLER_ARG", wrong)]).unwrap_err();
            assert!(line.starts_with("OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"), "{line}");
        }
    }

    #[test]
    fn the_name_of_the_service_is_bounded() {
        let longest = "x".repeat(SERVICE_NAME_MAX_BYTES);
        assert_eq!(read(&[("OTEL_SERVICE_NAME", &longest)]).unwrap().service_name, longest);
        for wrong in [format!("{longest}x"), "a\nb".to_owned()] {
            let line = read(&[("OTEL_SERVICE_NAME", &wrong)]).unwrap_err();
            assert!(line.starts_with("OTEL_SERVICE_NAME: must be at most 256 bytes"), "{line}");
        }
    }

    #[test]
    fn the_headers_are_a_secret_and_may_stand_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("headers");
        std::fs::write(&path, "api-key=hunter2\n").unwrap();
        let (given, file) = (("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hunter2"), path.to_str().unwrap());
        for set in [given, ("OTEL_EXPORTER_OTLP_HEADERS_FILE", file)] {
            let config = read(&[set]).unwrap();
            let headers = config.headers.as_ref().unwrap();
            assert_eq!((headers.reveal(), headers.variable()), ("api-key=hunter2", Some(set.0)));
            assert!(!format!("{config:?}").contains("hunter2"));
        }
        let line = read(&[given, ("OTEL_EXPORTER_OTLP_HEADERS_FILE", file)]).unwrap_err();
        assert_eq!(line, "OTEL_EXPORTER_OTLP_HEADERS_FILE: cannot be set beside OTEL_EXPORTER_OTLP_HEADERS");
    }
}
