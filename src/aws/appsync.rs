//! Wake-ups through an Event API of AppSync: one signed request for each tenant, without any data.
//!
//! See <https://docs.aws.amazon.com/appsync/latest/eventapi/publish-http.html>.

use std::fmt::Write as _;

use http::Uri;
use serde_json::{Value, json};

use super::client::{AnyError, Aws};
use crate::core::names::TenantId;
use crate::limits::aws::APPSYNC_SEGMENT_MAX_BYTES;

/// The namespace of the channels, which the template makes.
const NAMESPACE: &str = "syncflow";

/// An Event API to which a function publishes.
#[derive(Debug)]
pub(crate) struct EventApi {
    aws: Aws,
    url: String,
    region: String,
}

impl EventApi {
    /// Finds the credentials of the process, and the region of the API.
    pub(crate) async fn open(url: &str) -> Result<Self, AnyError> {
        let aws = Aws::load().await;
        let region = match region_in(url) {
            Some(region) => region,
            None => aws.region()?.to_owned(),
        };
        Ok(Self { aws, url: url.to_owned(), region })
    }

    /// Tells the listeners of a tenant that it has changed. Returns false if the tenant has no channel.
    pub(crate) async fn publish(&self, tenant: &TenantId) -> Result<bool, AnyError> {
        let Some(channel) = channel_of(tenant) else { return Ok(false) };
        // Each event is JSON in a text.
        let body = json!({"channel": channel, "events": [json!({"event": "changed"}).to_string()]}).to_string();
        let (status, answer) = self.aws.post("appsync", &self.region, &self.url, &body).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let failed = answer["failed"].as_array().map_or(0, Vec::len);
        if status.is_success() && failed == 0 {
            Ok(true)
        } else {
            Err(format!("the answer has the status {status}, and {failed} events failed").into())
        }
    }
}

/// The channel of a tenant. `None` if the name is too long for one.
///
/// A part of a channel has letters, digits and `-`. So each other byte of the name is written as `-` and two digits.
/// The handler in the template computes the same from the token of a subscriber.
fn channel_of(tenant: &TenantId) -> Option<String> {
    let mut segment = String::new();
    for byte in tenant.as_str().bytes() {
        if byte.is_ascii_alphanumeric() {
            segment.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(segment, "-{byte:02X}");
        }
    }
    (segment.len() <= APPSYNC_SEGMENT_MAX_BYTES).then(|| format!("/{NAMESPACE}/{segment}"))
}

/// The region in a host such as `abc.appsync-api.eu-central-1.amazonaws.com`.
fn region_in(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let (_, rest) = uri.host()?.split_once(".appsync-api.")?;
    Some(rest.split('.').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_the_name_of_its_tenant_without_odd_characters() {
        let channel = |name: &str| channel_of(&TenantId::literal(name));
        for (name, segment) in [
            ("team1", "team1"),
            ("a-b", "a-2Db"),
            ("ann@example.com", "ann-40example-2Ecom"),
            ("auth0|5f", "auth0-7C5f"),
            ("é/ _", "-C3-A9-2F-20-5F"),
        ] {
            assert_eq!(channel(name), Some(format!("/syncflow/{segment}")), "{name}");
        }
        assert!(channel(&"x".repeat(APPSYNC_SEGMENT_MAX_BYTES)).is_some());
        assert_eq!(channel(&"x".repeat(APPSYNC_SEGMENT_MAX_BYTES + 1)), None);
        assert_eq!(channel(&"é".repeat(9)), None);
    }

    #[test]
    fn the_host_of_an_event_api_says_its_region() {
        let region = region_in("https://abc.appsync-api.eu-central-1.amazonaws.com/event");
        assert_eq!(region.as_deref(), Some("eu-central-1"));
        assert_eq!(region_in("http://127.0.0.1:4000/event"), None);
    }
}
