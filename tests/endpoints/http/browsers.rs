//! Requests from browsers: the accepted origins and host names, and the headers that keep answers out of caches.

use reqwest::Method;
use serde_json::json;

use crate::endpoints::client::{Answer, Api, insert};
use crate::endpoints::contract;
use crate::endpoints::raw::Connection;
use crate::endpoints::server;

/// A page from a development server on the user's machine.
const LOCAL_PAGE: &str = "http://localhost:5173";

/// Requests that a page may send without a preflight. Each of them would change something.
fn writes() -> [(&'static str, String); 3] {
    let push = json!({"clientId": "a", "operations": [insert("op-9", "doc-9", "a", 1, 5)]}).to_string();
    let delete = json!({"clientId": "a", "operations": [
        {"id": "op-8", "type": "delete", "collection": "todos", "docId": "doc-1", "timestamp": 6, "clientId": "a",
         "vectorClock": {"a": 2}},
    ]});
    [("/operations", push), ("/operations", delete.to_string()), ("/compact", r#"{"olderThanDays":0}"#.to_owned())]
}

/// Checks that each of these requests is refused and has changed nothing.
async fn are_refused(api: &Api, headers: &[(&str, &str)]) {
    let before = api.stats().await;
    for (path, body) in writes() {
        let plain = [&[("content-type", "text/plain")], headers].concat();
        let answer = api.send(Method::POST, path, &plain, body).await;
        assert_eq!((answer.status, &answer.json()["error"]), (403, &json!("Foreign origin")), "{path} {headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
        is_private(&answer, "no-store");
    }
    assert_eq!(api.stats().await, before, "{headers:?}");
}

fn is_private(answer: &Answer, cache_control: &str) {
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{}", answer.text());
    assert_eq!(answer.header("cache-control"), cache_control, "{}", answer.text());
    let mut varies = answer.headers.get_all("vary").iter().filter_map(|vary| vary.to_str().ok());
    assert!(varies.any(|vary| vary.contains("origin")), "{:?}", answer.headers);
}

pub(crate) async fn a_page_of_a_foreign_origin_changes_nothing_and_reads_nothing(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5)]).await;
    for origin in [
        "https://evil.example",
        "null",
        "file://",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "capacitor://localhost",
        "http://localhost:5173, http://localhost:5173",
        "http://localhost:5173 https://evil.example",
        "*",
    ] {
        are_refused(api, &[("origin", origin)]).await;
        for path in ["/stats", "/documents/todos/doc-1"] {
            let answer = api.send(Method::GET, path, &[("origin", origin)], "").await;
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (403, ""), "{path} {origin}");
            assert!(!answer.text().contains("doc-1"));
            is_private(&answer, "private, no-cache");
        }
        let asked = [("origin", origin), ("access-control-request-method", "POST")];
        let preflight = api.send_unchecked(Method::OPTIONS, "/changes", &asked, vec![]).await;
        assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (403, ""), "{origin}");
    }
    are_refused(api, &[("origin", LOCAL_PAGE), ("origin", LOCAL_PAGE)]).await;
    are_refused(api, &[("origin", LOCAL_PAGE), ("origin", "https://evil.example")]).await;
    assert!(api.document("todos", "doc-1").await.is_some());
}

pub(crate) async fn a_write_from_another_site_without_an_origin_is_refused(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5)]).await;
    are_refused(api, &[("sec-fetch-site", "cross-site")]).await;
    let link = api.send(Method::GET, "/stats", &[("sec-fetch-site", "cross-site")], "").await;
    assert_eq!(link.status, 200, "anybody may link to it");
    let allowed = [("sec-fetch-site", "cross-site"), ("origin", LOCAL_PAGE)];
    assert_eq!(api.send(Method::POST, "/changes", &allowed, "{}").await.status, 200);
}

pub(crate) async fn pages_of_this_machine_may_do_everything(api: &Api) {
    for (number, origin) in (1_u64..).zip([
        LOCAL_PAGE,
        "https://localhost",
        "http://app.localhost:8080",
        "http://127.0.0.1:3000",
        "https://127.1.2.3:1",
        "http://[::1]:5173",
    ]) {
        let operation = insert(&format!("op-{number}"), &format!("doc-{number}"), "a", number, 5);
        let push = json!({"clientId": "a", "operations": [operation]}).to_string();
        let headers = [("origin", origin), ("content-type", "application/json")];
        let answer = api.send(Method::POST, "/operations", &headers, push).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, origin));
        is_private(&answer, "no-store");
    }
    assert_eq!(api.stats().await["totalOperations"], 6);
}

pub(crate) async fn a_preflight_names_the_headers_that_pages_may_send(api: &Api) {
    for path in ["/operations", "/health", "/documents/a/b", "/no/such/route"] {
        let headers = [
            ("origin", LOCAL_PAGE),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type,x-custom"),
        ];
        let answer = api.send(Method::OPTIONS, path, &headers, "").await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), LOCAL_PAGE);
        let allowed: Vec<&str> = answer.header("access-control-allow-headers").split(',').map(str::trim).collect();
        for header in ["authorization", "content-encoding", "content-type", "if-none-match", "x-request-id"] {
            assert!(allowed.contains(&header), "{allowed:?}");
        }
        assert!(!allowed.contains(&"x-custom") && !allowed.contains(&"*"), "{allowed:?}");
        for method in ["GET", "HEAD", "POST"] {
            assert!(answer.header("access-control-allow-methods").contains(method));
        }
        assert_eq!(answer.header("access-control-max-age"), "3600");
        is_private(&answer, "no-store");
    }
    let without_origin = api.send(Method::OPTIONS, "/stats", &[], "").await;
    assert_eq!((without_origin.status, without_origin.header("access-control-allow-origin")), (204, ""));
}

pub(crate) async fn a_page_may_read_every_answer_errors_included(api: &Api) {
    for (method, path, headers, body) in [
        (Method::GET, "/health", &[][..], ""),
        (Method::GET, "/nope", &[], ""),
        (Method::GET, "/documents/todos/nope", &[], ""),
        (Method::POST, "/operations", &[], "{"),
        (Method::DELETE, "/stats", &[], ""),
        (Method::POST, "/changes", &[("content-encoding", "rot13")], "x"),
    ] {
        let headers = [&[("origin", LOCAL_PAGE)], headers].concat();
        let answer = api.send(method, path, &headers, body).await;
        assert_eq!(answer.header("access-control-allow-origin"), LOCAL_PAGE, "{}", answer.text());
        let exposed = answer.header("access-control-expose-headers").to_lowercase();
        for header in ["etag", "x-request-id", "retry-after"] {
            assert!(exposed.contains(header), "{exposed}");
        }
    }
}

pub(crate) async fn no_answer_is_taken_for_another_type_or_kept_for_somebody_else(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5)]).await;
    let tag = api.get("/stats").await.header("etag").to_owned();
    for (method, path, headers, cache_control) in [
        (Method::GET, "/health", &[][..], "private, no-cache"),
        (Method::GET, "/documents/todos/doc-1", &[], "private, no-cache"),
        (Method::HEAD, "/stats", &[], "private, no-cache"),
        (Method::GET, "/stats", &[("if-none-match", tag.as_str())], "private, no-cache"),
        (Method::GET, "/documents/todos/nope", &[], "private, no-cache"),
        (Method::GET, "/nope", &[], "private, no-cache"),
        (Method::POST, "/changes", &[], "no-store"),
        (Method::DELETE, "/stats", &[], "no-store"),
        (Method::OPTIONS, "/stats", &[], "no-store"),
    ] {
        is_private(&api.send(method, path, headers, "").await, cache_control);
    }
    is_private(&api.post("/operations", "{").await, "no-store");
}

/// Sends a request over its own connection.
async fn raw_request(api: &Api, request_line: &str, headers: &[(&str, &[u8])], body: &str) -> Answer {
    let mut connection = Connection::to(api.authority()).await;
    let mut head = format!("{request_line} HTTP/1.1\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    connection.write(&head).await;
    connection.write(body).await;
    let answer = connection.answer().await;
    let (method, path) = request_line.split_once(' ').expect("a method and a path");
    if answer.status != 404 {
        contract::check(&method.parse().expect("a method"), path.trim_start_matches("http://localhost"), &answer);
    }
    answer
}

pub(crate) async fn a_server_is_called_by_an_address_or_by_localhost(api: &Api) {
    for host in ["localhost", "localhost:80", "LOCALHOST:5173", "127.0.0.1", "192.0.2.7:1", "[::1]", "[2001:db8::1]:9"]
    {
        let answer = raw_request(api, "GET /stats", &[("host", host.as_bytes())], "").await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:3000",
        "sync.example.com",
        "test",
        "app.localhost",
    ] {
        // The headers that a page sends after its name was resolved to this server.
        let origin = format!("http://{host}");
        let headers = [("host", host.as_bytes()), ("origin", origin.as_bytes()), ("sec-fetch-site", b"same-origin")];
        let answer = raw_request(api, "GET /stats", &headers, "").await;
        assert_eq!((answer.status, &answer.json()["error"]), (421, &json!("Unknown host")), "{host}");
        assert!(answer.json()["message"].as_str().unwrap().contains("ALLOWED_HOSTS"));
        is_private(&answer, "private, no-cache");
        for (path, body) in writes() {
            assert_eq!(raw_request(api, &format!("POST {path}"), &headers, &body).await.status, 421, "{host}");
        }
    }
    let localhost = ("host", &b"localhost"[..]);
    assert_eq!(raw_request(api, "GET /stats", &[], "").await.status, 400);
    assert_eq!(raw_request(api, "GET /stats", &[("host", b"")], "").await.status, 400);
    for second in [&b"localhost"[..], b"evil.example"] {
        assert_eq!(raw_request(api, "GET /stats", &[localhost, ("host", second)], "").await.status, 400);
    }
    assert_eq!(raw_request(api, "GET http://localhost/stats", &[localhost], "").await.status, 200);
    assert_eq!(raw_request(api, "GET http://localhost/stats", &[("host", b"evil.example")], "").await.status, 400);
    assert_eq!(api.stats().await["totalOperations"], 0);
}

pub(crate) async fn an_origin_of_odd_bytes_is_refused(api: &Api) {
    for origin in [&b"https://\xe9vil.example"[..], b"\xff", b"", b"http://localhost:5173\tx"] {
        let headers = [("host", &b"localhost"[..]), ("origin", origin)];
        for (path, body) in writes() {
            assert_eq!(raw_request(api, &format!("POST {path}"), &headers, &body).await.status, 403, "{origin:?}");
        }
    }
    assert_eq!(api.stats().await["totalOperations"], 0);
}

/// This is not one of the listed checks, because it needs a setting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_pages_of_listed_origins_are_let_in_where_they_are_listed_and_the_servers_own() {
    let settings = [("ADAPTER", "memory"), ("ALLOWED_ORIGINS", "https://app.example.com,http://localhost:5173")];
    let server = server::start(&settings, ()).await;
    let own = format!("http://{}", server.api.authority());
    for (origin, allowed) in
        [("https://app.example.com", "https://app.example.com"), (LOCAL_PAGE, LOCAL_PAGE), (&own, "")]
    {
        for (method, path) in [(Method::GET, "/health"), (Method::GET, "/nope"), (Method::OPTIONS, "/changes")] {
            let answer = server.api.send(method, path, &[("origin", origin)], "").await;
            assert_eq!(answer.header("access-control-allow-origin"), allowed, "{path}");
        }
        let answer = server.api.send(Method::POST, "/changes", &[("origin", origin)], "{}").await;
        assert_eq!(answer.status, 200, "{origin}");
    }
    let foreign_call = [("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")];
    assert_eq!(server.api.send(Method::POST, "/changes", &foreign_call, "{}").await.status, 200);
    for origin in ["https://evil.example.com", "http://localhost:3000", "http://app.example.com", "null"] {
        are_refused(&server.api, &[("origin", origin)]).await;
    }
    are_refused(&server.api, &[("origin", &own), ("sec-fetch-site", "cross-site")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_star_every_page_is_let_in() {
    let server = server::start(&[("ADAPTER", "memory"), ("ALLOWED_ORIGINS", "*")], ()).await;
    for origin in ["https://evil.example", "null", LOCAL_PAGE] {
        let headers = [("origin", origin), ("sec-fetch-site", "cross-site")];
        let answer = server.api.send(Method::POST, "/changes", &headers, "{}").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
    }
    are_refused(&server.api, &[("origin", "null"), ("origin", "null")]).await;
}

/// This is the situation behind a proxy that passes on the client's `Host`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_called_by_its_listed_names_too() {
    let settings = [("ADAPTER", "memory"), ("ALLOWED_HOSTS", "sync.example.com, other.example:8443")];
    let server = server::start(&settings, ()).await;
    let page = ("origin", &b"https://sync.example.com"[..]);
    for (host, status) in [
        ("sync.example.com", 200),
        ("Sync.Example.com:3000", 200),
        ("other.example:8443", 200),
        ("other.example", 421),
        ("evil.example", 421),
        ("localhost", 200),
    ] {
        let answer = raw_request(&server.api, "GET /stats", &[("host", host.as_bytes())], "").await;
        assert_eq!(answer.status, status, "{host}");
    }
    let own = raw_request(&server.api, "POST /changes", &[("host", b"sync.example.com"), page], "{}").await;
    assert_eq!(own.status, 200, "pages that the proxy serves under the same name");
    let foreign = raw_request(&server.api, "POST /changes", &[("host", b"localhost"), page], "{}").await;
    assert_eq!(foreign.status, 403, "a proxy that passes its own name on hides whose pages they are");
}

/// In HTTP/2, the name is in `:authority`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_2_the_server_is_called_by_the_same_names() {
    let server = server::start(&[("ADAPTER", "memory"), ("HTTP2", "on")], ()).await;
    let address = server.api.authority().parse().expect("an address");
    let client = reqwest::Client::builder().http2_prior_knowledge().resolve("evil.example", address).build().unwrap();
    let port = address.port();
    for (host, status) in [("127.0.0.1", 200), ("evil.example", 421)] {
        let response = client.get(format!("http://{host}:{port}/stats")).send().await.expect("an answer");
        assert_eq!((response.version(), response.status().as_u16()), (reqwest::Version::HTTP_2, status), "{host}");
    }
    let two = client.get(format!("http://127.0.0.1:{port}/stats")).header("host", "evil.example").send().await;
    assert!(two.is_err() || two.is_ok_and(|answer| answer.status() == 400), "one name and another one");
}
