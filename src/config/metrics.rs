//! The destinations of metrics: a namespace for a Lambda, a listener of its own for a server.

pub(super) mod traces;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::variables::{ConfigError, Variables, wrong};
use crate::limits::lambda::METRICS_NAMESPACE_MAX_BYTES;

/// The destinations of metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// The namespace in CloudWatch of a Lambda's metrics, or `None` for no metrics.
    pub namespace: Option<String>,
    /// The address at which the local server answers `/metrics`. `None` for no metrics.
    pub bind: Option<SocketAddr>,
}

impl MetricsConfig {
    pub(super) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        Ok(Self { namespace: namespace(variables)?, bind: bind(variables)? })
    }
}

/// The address of the listener. A port alone is one of this machine.
fn bind(variables: &Variables<'_>) -> Result<Option<SocketAddr>, ConfigError> {
    const VARIABLE: &str = "METRICS_BIND";
    let value = variables.get_or(VARIABLE, "off");
    if value == "off" {
        return Ok(None);
    }
    let of_this_machine = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let address = value.parse().or_else(|_| value.parse().map(of_this_machine)).ok();
    let rule = "must be off, a port, or an IP address and a port such as 0.0.0.0:9464";
    address.map(Some).ok_or_else(|| wrong(VARIABLE, rule, &value))
}

/// Source of the rule: `PutMetricData` in the documentation of the CloudWatch API.
fn namespace(variables: &Variables<'_>) -> Result<Option<String>, ConfigError> {
    const VARIABLE: &str = "METRICS_NAMESPACE";
    let namespace = variables.get_or(VARIABLE, "syncflow-server");
    if namespace == "off" {
        return Ok(None);
    }
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#:".contains(&byte);
    let is_free = !namespace.starts_with(':') && !namespace.starts_with("AWS/");
    let is_name = namespace.len() <= METRICS_NAMESPACE_MAX_BYTES && namespace.bytes().all(is_known);
    let rule = format!(
        "must be off or a namespace of at most {METRICS_NAMESPACE_MAX_BYTES} letters, digits and .-_/#: that does not \
         begin with : or AWS/"
    );
    if is_free && is_name { Ok(Some(namespace)) } else { Err(wrong(VARIABLE, &rule, &namespace)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        let bind = |value: &str| {
            let bind = read_from(&[("METRICS_BIND", value)], MetricsConfig::read).map(|metrics| metrics.bind);
            bind.map(|bind| bind.map(|address| address.to_string()))
        };
        assert_eq!((bind(""), bind("off")), (Ok(None), Ok(None)));
        for (value, expected) in
            [("9464", "127.0.0.1:9464"), ("0.0.0.0:9464", "0.0.0.0:9464"), ("[::1]:9464", "[::1]:9464")]
        {
            assert_eq!(bind(value), Ok(Some(expected.to_owned())), "{value}");
        }
        for wrong in ["on", "65536", "localhost:9464", "127.0.0.1", "-1"] {
            assert!(bind(wrong).unwrap_err().starts_with("METRICS_BIND: must be off, a port"), "{wrong}");
        }
    }

    #[test]
    fn metrics_have_a_namespace_that_cloudwatch_takes_or_are_off() {
        let namespace = |name: &str| {
            read_from(&[("METRICS_NAMESPACE", name)], MetricsConfig::read).map(|metrics| metrics.namespace)
        };
        assert_eq!(namespace(""), Ok(Some("syncflow-server".to_owned())));
        assert_eq!(namespace("Sync/prod"), Ok(Some("Sync/prod".to_owned())));
        assert_eq!(namespace("off"), Ok(None));
        let longest = "x".repeat(METRICS_NAMESPACE_MAX_BYTES);
        assert_eq!(namespace(&longest), Ok(Some(longest.clone())));
        for wrong in ["AWS/Lambda", ":x", "a b", "é", &format!("{longest}x")] {
            assert!(namespace(wrong).unwrap_err().starts_with("METRICS_NAMESPACE: must be off or"), "{wrong}");
        }
    }
}
