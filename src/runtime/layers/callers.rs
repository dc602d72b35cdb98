//! Protection from foreign web pages: requests from a foreign origin or to a foreign host name are refused.
//!
//! A browser sends a page's requests to any server that the user's machine can reach. Some requests are sent without a
//! preflight, such as a POST of `text/plain`. So the headers of CORS alone do not keep a page from writing. A page can
//! also have its own host name resolved to the server's address (DNS rebinding). Then the browser takes page and server
//! for the same origin. A page cannot forge the headers `Origin` and `Host`, so these two decide.
//!
//! Programs other than browsers send no `Origin` and are not affected.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{HOST, HeaderName, ORIGIN, TRANSFER_ENCODING, VARY};
use http::{HeaderValue, Version};

use crate::api::Refusal;
use crate::config::{AllowedHosts, AllowedOrigins, Authority, HttpConfig, Origin};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The origins and host names that the server accepts.
#[derive(Debug)]
pub(super) struct Callers {
    origins: AllowedOrigins,
    hosts: AllowedHosts,
}

impl Callers {
    pub(super) fn new(config: &HttpConfig) -> Self {
        Self { origins: config.allowed_origins.clone(), hosts: config.allowed_hosts.clone() }
    }

    /// Checks a request before it has any effect.
    pub(super) fn admit(&self, request: &Request) -> Result<(), Refused> {
        self.check(request).map_err(Refused)
    }

    /// Checks a request. The error is the reason for a refusal.
    fn check(&self, request: &Request) -> Result<(), Refusal> {
        if !has_known_transfer_coding(request) {
            return Err(Refusal::TransferCoding);
        }
        let called = called(request);
        if self.hosts != AllowedHosts::Any {
            let called = called.as_ref().ok_or(Refusal::NoHost)?;
            if !self.hosts.contains(called) {
                return Err(Refusal::ForeignHost { host: called.to_string() });
            }
        }
        self.check_origin(request, called.as_ref())
    }

    fn check_origin(&self, request: &Request, called: Option<&Authority>) -> Result<(), Refusal> {
        let sites = request.headers().get_all(SEC_FETCH_SITE);
        let is_foreign = sites.iter().any(|site| site.as_bytes().eq_ignore_ascii_case(b"cross-site"));
        let writes_from_outside = is_foreign && !request.method().is_safe();
        let mut origins = request.headers().get_all(ORIGIN).iter();
        let is_let_in = match (origins.next(), origins.next()) {
            (None, _) => self.origins == AllowedOrigins::Any || !writes_from_outside,
            (Some(origin), None) => {
                let is_own = || is_own(origin, called) && !writes_from_outside;
                is_one(origin) && (self.origins.contains(origin) || is_own())
            }
            (Some(_), Some(_)) => false,
        };
        if is_let_in { Ok(()) } else { Err(Refusal::ForeignOrigin) }
    }
}

/// The reason for a refusal, which depends on the origin.
#[derive(Debug)]
pub(super) struct Refused(Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.0.answer();
        response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
        response
    }
}

/// Whether the connection has decoded the body: hyper decodes `chunked` and passes on all other transfer codings.
fn has_known_transfer_coding(request: &Request) -> bool {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// The host name by which the request calls the server, if it has exactly one (sections 3.2 of RFC 9112 and 8.3.1 of
/// RFC 9113).
fn called(request: &Request) -> Option<Authority> {
    let in_target = request.uri().authority().map(http::uri::Authority::as_str);
    let mut headers = request.headers().get_all(HOST).iter();
    let in_header = match (headers.next(), headers.next()) {
        (None, _) if request.version() < Version::HTTP_2 => return None,
        (None, _) => None,
        (Some(host), None) => Some(Authority::parse(host.to_str().ok()?)?),
        (Some(_), Some(_)) => return None,
    };
    match (in_target, in_header) {
        (None, called) => called,
        (Some(target), None) => Authority::parse(target),
        (Some(target), Some(host)) => Authority::parse(target).filter(|target| *target == host),
    }
}

/// Whether a value is one origin, and not several with commas or spaces between them.
fn is_one(origin: &HeaderValue) -> bool {
    !origin.is_empty() && origin.as_bytes().iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

fn is_own(origin: &HeaderValue, called: Option<&Authority>) -> bool {
    let origin = origin.to_str().ok().and_then(Origin::parse);
    origin.zip(called).is_some_and(|(origin, called)| origin.is_of(called))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// The check of a request with these settings.
    fn verdict(origins: AllowedOrigins, method: &str, headers: &[(&str, &[u8])]) -> &'static str {
        let callers = Callers { origins, hosts: AllowedHosts::Listed(Vec::new()) };
        let mut request = http::Request::builder().method(method).uri("/operations");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match callers.check(&request.body(Body::empty()).unwrap()) {
            Ok(()) => "in",
            Err(Refusal::NoHost) => "no host",
            Err(Refusal::ForeignHost { .. }) => "host",
            Err(Refusal::ForeignOrigin) => "origin",
            Err(Refusal::TransferCoding) => "coding",
        }
    }

    fn listed() -> AllowedOrigins {
        AllowedOrigins::List(vec![HeaderValue::from_static("https://app.example.com")])
    }

    const HERE: (&str, &[u8]) = ("host", b"127.0.0.1:3000");

    #[test]
    fn a_page_is_let_in_that_is_allowed_or_the_servers_own() {
        for (origin, verdict_of_list) in [
            (&b"https://app.example.com"[..], "in"),
            (b"http://127.0.0.1:3000", "in"),
            (b"http://127.0.0.1:3001", "origin"),
            (b"https://evil.example", "origin"),
            (b"https://app.example.com.evil.example", "origin"),
            (b"null", "origin"),
            (b"", "origin"),
            (b"https://app.example.com,https://app.example.com", "origin"),
            (b"https://app.example.com https://evil.example", "origin"),
            (b"https://\xe9.example", "origin"),
        ] {
            for method in ["GET", "POST", "OPTIONS", "DELETE"] {
                assert_eq!(verdict(listed(), method, &[HERE, ("origin", origin)]), verdict_of_list, "{origin:?}");
            }
        }
        let twice = [HERE, ("origin", b"https://app.example.com"), ("origin", b"https://app.example.com")];
        assert_eq!(verdict(listed(), "POST", &twice), "origin");
    }

    #[test]
    fn with_a_star_every_origin_is_let_in_that_is_one() {
        for (origin, expected) in [
            (&b"https://evil.example"[..], "in"),
            (b"null", "in"),
            (b"a,b", "origin"),
            (b"", "origin"),
            (b"\xff", "origin"),
        ] {
            assert_eq!(verdict(AllowedOrigins::Any, "POST", &[HERE, ("origin", origin)]), expected, "{origin:?}");
        }
        assert_eq!(verdict(AllowedOrigins::Any, "POST", &[HERE, ("sec-fetch-site", b"cross-site")]), "in");
        assert_eq!(verdict(AllowedOrigins::Any, "POST", &[HERE, ("origin", b"a"), ("origin", b"a")]), "origin");
    }

    #[test]
    fn a_write_from_another_site_is_let_in_only_with_an_allowed_origin() {
        let from = |method, site: &'static [u8], origin: Option<&'static [u8]>| {
            let headers = [Some(HERE), Some(("sec-fetch-site", site)), origin.map(|origin| ("origin", origin))];
            verdict(listed(), method, &headers.into_iter().flatten().collect::<Vec<_>>())
        };
        assert_eq!(from("POST", b"cross-site", None), "origin");
        assert_eq!(from("POST", b"Cross-Site", None), "origin");
        assert_eq!(from("POST", b"cross-site", Some(b"http://127.0.0.1:3000")), "origin");
        assert_eq!(from("POST", b"cross-site", Some(b"https://app.example.com")), "in");
        for site in [&b"same-origin"[..], b"same-site", b"none"] {
            assert_eq!(from("POST", site, None), "in");
        }
        assert_eq!(from("GET", b"cross-site", None), "in", "a link leads here");
    }

    #[test]
    fn a_request_names_exactly_one_host_and_one_that_is_the_servers() {
        let with = |headers: &[(&str, &[u8])]| verdict(listed(), "GET", headers);
        assert_eq!(with(&[HERE]), "in");
        assert_eq!(with(&[]), "no host");
        assert_eq!(with(&[HERE, HERE]), "no host");
        for odd in [&b""[..], b"a b", b"localhost:"] {
            assert_eq!(with(&[("host", odd)]), "no host", "{odd:?}");
        }
        assert_eq!(with(&[("host", b"evil.example"), ("origin", b"http://evil.example")]), "host");
    }

    #[test]
    fn the_host_may_stand_in_the_target_too_and_is_the_same_then() {
        let with = |version, target: &str, host: Option<&str>| {
            let mut request = http::Request::builder().version(version).uri(target);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            called(&request.body(Body::empty()).unwrap()).map(|called| called.to_string())
        };
        let here = Some("localhost:3000".to_owned());
        assert_eq!(with(Version::HTTP_2, "http://localhost:3000/", None), here);
        assert_eq!(with(Version::HTTP_2, "http://localhost:3000/", Some("LOCALHOST:3000")), here);
        assert_eq!(with(Version::HTTP_2, "http://localhost:3000/", Some("evil.example")), None);
        assert_eq!(with(Version::HTTP_2, "/", Some("localhost:3000")), here);
        assert_eq!(with(Version::HTTP_2, "/", None), None);
        assert_eq!(with(Version::HTTP_11, "http://evil.example/", Some("localhost:3000")), None);
        assert_eq!(with(Version::HTTP_11, "http://localhost:3000/", None), None);
        assert_eq!(with(Version::HTTP_11, "/", Some("localhost:3000")), here);
    }

    #[test]
    fn a_body_comes_in_chunks_or_as_it_is() {
        let with = |codings: &[&[u8]]| {
            let codings = codings.iter().map(|coding| ("transfer-encoding", *coding));
            verdict(listed(), "POST", &[HERE].into_iter().chain(codings).collect::<Vec<_>>())
        };
        assert_eq!(with(&[]), "in");
        assert_eq!(with(&[b"Chunked"]), "in");
        for codings in [&[&b"gzip, chunked"[..]][..], &[b"gzip", b"chunked"], &[b"chunked", b"chunked"], &[b"identity"]]
        {
            assert_eq!(with(codings), "coding", "{codings:?}");
        }
    }
}
