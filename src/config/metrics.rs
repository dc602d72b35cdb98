//! The destination of a Lambda's metrics.

use super::variables::{ConfigError, Variables, wrong};
use crate::limits::lambda::METRICS_NAMESPACE_MAX_BYTES;

/// The destination of a Lambda's metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// The namespace in CloudWatch, or `None` for no metrics.
    pub namespace: Option<String>,
}

impl MetricsConfig {
    pub(super) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        Ok(Self { namespace: namespace(variables)? })
    }
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
