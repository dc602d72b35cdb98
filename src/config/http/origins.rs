//! The origins whose pages may call the server.
//!
//! A browser sends the origin of the page in `Origin`, which a page cannot forge.

use std::fmt;
use std::net::Ipv6Addr;

use http::HeaderValue;

use super::hosts::{Authority, HTTP_PORT, HTTPS_PORT, HostName, LOCALHOST};

/// The origins whose pages may call the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// All origins.
    Any,
    /// Origins on this machine at any port: `localhost`, names below it, and loopback addresses.
    Loopback,
    /// These origins, written as browsers send them.
    List(Vec<HeaderValue>),
}

impl AllowedOrigins {
    /// Reads a comma-separated list, or `*`. The error is the part that is not an origin.
    pub(super) fn parse(list: &str) -> Result<Self, &str> {
        if list == "*" {
            return Ok(Self::Any);
        }
        let origins = list.split(',').map(str::trim).map(|text| {
            let origin = Origin::parse(&text.to_ascii_lowercase());
            origin.and_then(|origin| HeaderValue::from_str(&origin.to_string()).ok()).ok_or(text)
        });
        origins.collect::<Result<_, _>>().map(Self::List)
    }

    /// Whether pages of this origin may call the server. Pages of the server itself are not considered here.
    #[must_use]
    pub(crate) fn contains(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => origin.to_str().ok().and_then(Origin::parse).is_some_and(|origin| origin.is_loopback()),
            Self::List(origins) => origins.contains(origin),
        }
    }
}

/// A scheme, a host and perhaps a port, as in a browser's `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    authority: Authority,
}

impl Origin {
    /// Reads an origin. Returns `None` if the text contains anything else, such as a path.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase()) && scheme.bytes().all(is_part);
        let mut authority = Authority::parse(authority).filter(|_| is_scheme)?;
        if authority.port == default_port(scheme) {
            authority.port = None;
        }
        Some(Self { scheme: scheme.to_owned(), authority })
    }

    fn is_web(&self) -> bool {
        default_port(&self.scheme).is_some()
    }

    fn is_loopback(&self) -> bool {
        let is_of_this_machine = match &self.authority.host {
            HostName::Name(name) => match name.strip_suffix(LOCALHOST) {
                Some(below) => below.is_empty() || (below.ends_with('.') && below != "."),
                None => false,
            },
            HostName::V4(address) => address.is_loopback(),
            HostName::V6(address) => *address == Ipv6Addr::LOCALHOST,
        };
        self.is_web() && is_of_this_machine
    }

    /// Whether pages of this origin come from the server itself, if the server was called by `called`.
    ///
    /// A server behind a proxy does not know whether it was called over TLS, so the scheme is not compared.
    #[must_use]
    pub(crate) fn is_of(&self, called: &Authority) -> bool {
        let default = default_port(&self.scheme);
        let is_port = self.authority.port.or(default) == called.port.or(default);
        self.is_web() && self.authority.host == called.host && is_port
    }
}

/// The port that a browser leaves out.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(HTTP_PORT),
        "https" => Some(HTTPS_PORT),
        _ => None,
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", self.scheme, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_origins_are_those_of_this_machine_at_any_port_and_no_lookalikes() {
        for origin in [
            "http://localhost",
            "http://localhost:5173",
            "https://localhost:8443",
            "http://app.localhost:3000",
            "http://127.0.0.1:3000",
            "https://127.9.8.7",
            "http://[::1]",
            "http://[::1]:8080",
        ] {
            assert!(AllowedOrigins::Loopback.contains(&HeaderValue::from_static(origin)), "{origin}");
        }
        for origin in [
            "null",
            "",
            "localhost",
            "http://localhost.evil.example",
            "http://evillocalhost",
            "http://.localhost",
            "http://127.0.0.1.evil.example",
            "http://128.0.0.1",
            "http://127.1",
            "http://localhost@evil.example",
            "http://localhost:80@evil.example",
            "http://localhost/",
            "http://localhost:",
            "http://localhost:+80",
            "http://localhost:99999",
            "http://localhost,http://evil.example",
            "http://localhost http://evil.example",
            "http://[::1]evil",
            "http://[::2]",
            "http://[::1",
            "capacitor://localhost",
            "file://localhost",
            "HTTP://localhost",
        ] {
            assert!(!AllowedOrigins::Loopback.contains(&HeaderValue::from_static(origin)), "{origin}");
        }
    }

    #[test]
    fn listed_origins_are_kept_as_browsers_send_them() {
        let parse = |list: &'static str| match AllowedOrigins::parse(list)? {
            AllowedOrigins::List(origins) => Ok(origins),
            other => panic!("{other:?}"),
        };
        let origins = parse("https://App.Example.com:443, capacitor://localhost,http://a.example:8080").unwrap();
        assert_eq!(origins, ["https://app.example.com", "capacitor://localhost", "http://a.example:8080"]);
        for wrong in ["null", "https://a.example/", "a.example", "https://a.example?x", "https://a b", "://a", "*.a"] {
            assert_eq!(parse(wrong), Err(wrong));
        }
        assert_eq!(parse("https://a.example,"), Err(""));
        assert_eq!(AllowedOrigins::parse("*"), Ok(AllowedOrigins::Any));
    }

    #[test]
    fn an_origin_is_the_servers_own_where_host_and_port_are_the_same() {
        let is_own = |origin: &str, called: &str| {
            Origin::parse(origin).is_some_and(|origin| origin.is_of(&Authority::parse(called).unwrap()))
        };
        for (origin, called) in [
            ("http://localhost:3000", "localhost:3000"),
            ("https://sync.example.com", "sync.example.com"),
            ("https://sync.example.com", "Sync.example.com:443"),
            ("http://192.0.2.7", "192.0.2.7:80"),
            ("http://[::1]:3000", "[::1]:3000"),
        ] {
            assert!(is_own(origin, called), "{origin} {called}");
        }
        for (origin, called) in [
            ("http://localhost:5173", "localhost:3000"),
            ("http://localhost", "localhost:3000"),
            ("https://sync.example.com", "sync.example.com:80"),
            ("https://evil.example", "sync.example.com"),
            ("app://localhost:3000", "localhost:3000"),
            ("null", "null"),
        ] {
            assert!(!is_own(origin, called), "{origin} {called}");
        }
    }
}
