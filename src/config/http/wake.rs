//! How the clients of a Lambda learn of changes.

use http::Uri;
use http::uri::Scheme;

use crate::config::variables::{ConfigError, Variables, wrong};

/// How the clients of a Lambda learn of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WakeConfig {
    /// They ask. Answers say when it is worth asking again.
    Polls,
    /// Pushes tell an Event API of AppSync.
    AppSync {
        /// The URL to which events are posted.
        url: String,
    },
}

impl WakeConfig {
    pub(in crate::config) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        const URL: &str = "APPSYNC_EVENTS_URL";
        let url = variables.get(URL);
        match variables.get("WAKE").as_deref() {
            None => Ok(Self::Polls),
            Some("appsync") => match url {
                None => Err(ConfigError::new(URL, "is needed with WAKE=appsync")),
                Some(url) if is_safe(&url) => Ok(Self::AppSync { url }),
                Some(url) => Err(wrong(URL, "must be a URL that begins with https", &url)),
            },
            Some(other) => Err(wrong("WAKE", "must be appsync, or not set", other)),
        }
    }
}

/// Whether a URL is encrypted, or leads to this machine.
fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let is_loopback = uri.host().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    uri.scheme() == Some(&Scheme::HTTPS) || uri.scheme() == Some(&Scheme::HTTP) && is_loopback
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    #[test]
    fn wake_ups_need_the_address_of_an_event_api() {
        let read = |set: &[(&str, &str)]| read_from(set, WakeConfig::read);
        let url = "https://abc.appsync-api.eu-central-1.amazonaws.com/event";
        assert_eq!(read(&[]), Ok(WakeConfig::Polls));
        assert_eq!(read(&[("APPSYNC_EVENTS_URL", url)]), Ok(WakeConfig::Polls));
        for url in [url, "http://127.0.0.1:4000/event"] {
            let appsync = WakeConfig::AppSync { url: url.to_owned() };
            assert_eq!(read(&[("WAKE", "appsync"), ("APPSYNC_EVENTS_URL", url)]), Ok(appsync));
        }
        for (set, problem) in [
            (&[("WAKE", "sse")][..], "WAKE: must be appsync, or not set"),
            (&[("WAKE", "appsync")], "APPSYNC_EVENTS_URL: is needed with WAKE=appsync"),
            (
                &[("WAKE", "appsync"), ("APPSYNC_EVENTS_URL", "http://example.com/event")],
                "APPSYNC_EVENTS_URL: must be a URL",
            ),
            (&[("WAKE", "appsync"), ("APPSYNC_EVENTS_URL", "example.com")], "APPSYNC_EVENTS_URL: must be a URL"),
        ] {
            assert!(read(set).unwrap_err().starts_with(problem), "{set:?}");
        }
    }
}
