//! Rules for every route: headers, methods, paths, compression and request ids.

use async_compression::tokio::write::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::endpoints::client::{Answer, Api, insert};
use crate::endpoints::contract;
use crate::endpoints::raw::Connection;

const GETS: [&str; 4] = ["/health", "/stats", "/documents/todos/doc-1", "/documents/todos/query"];

async fn with_documents(api: &Api) {
    api.accept(&[insert("op-1", "doc-1", "a", 1, 5), insert("op-2", "query", "a", 2, 6)]).await;
}

pub(crate) async fn every_get_has_a_weak_tag_and_answers_304_to_it(api: &Api) {
    with_documents(api).await;
    for path in GETS {
        let answer = api.get(path).await;
        assert_eq!(answer.header("content-type"), "application/json; charset=utf-8", "{path}");
        let tag = answer.header("etag");
        assert!(tag.starts_with("W/\"") && tag.ends_with('"'), "{path}: {tag}");
        for known in [tag, "*", tag.trim_start_matches("W/"), &format!("\"x\", {tag}")] {
            let again = api.send(Method::GET, path, &[("if-none-match", known)], "").await;
            assert_eq!((again.status, again.header("etag")), (304, tag), "{path} {known}");
        }
        let other = api.send(Method::GET, path, &[("if-none-match", "W/\"other\"")], "").await;
        assert_eq!((other.status, &other.bytes), (200, &answer.bytes), "{path}");
    }
}

pub(crate) async fn a_tag_changes_with_what_it_stands_for(api: &Api) {
    with_documents(api).await;
    let before = [api.get("/stats").await, api.get("/documents/todos/doc-1").await];
    api.accept(&[insert("op-3", "doc-1", "a", 3, 5)]).await;
    let after = [api.get("/stats").await, api.get("/documents/todos/doc-1").await];
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(before.header("etag"), after.header("etag"));
    }
    assert_eq!(after[1].header("etag").split('-').next(), Some("W/\"2"), "a document's begins with its revision");
}

pub(crate) async fn head_answers_as_get_without_the_body(api: &Api) {
    with_documents(api).await;
    for path in GETS {
        let (get, head) = (api.get(path).await, api.send(Method::HEAD, path, &[], "").await);
        assert_eq!((head.status, head.header("etag")), (200, get.header("etag")), "{path}");
    }
}

pub(crate) async fn unknown_routes_are_404_and_wrong_methods_405_with_allow(api: &Api) {
    for path in ["/", "/nope", "/documents", "/documents/todos", "/documents/todos/doc-1/x", "/operations/1", "/Health"]
    {
        let answer = api.get(path).await;
        assert_eq!((answer.status, &answer.json()["error"]), (404, &json!("Not found")), "{path}");
    }
    for (method, path, allowed) in [
        (Method::POST, "/health", "GET"),
        (Method::DELETE, "/documents/todos/doc-1", "GET"),
        (Method::PUT, "/documents/todos/doc-1", "GET"),
        (Method::PATCH, "/operations", "POST"),
        (Method::GET, "/operations", "POST"),
        (Method::GET, "/changes", "POST"),
        (Method::GET, "/compact", "POST"),
        (Method::POST, "/stats", "GET"),
        (Method::from_bytes(b"BREW").unwrap(), "/stats", "GET"),
    ] {
        let answer = api.send(method.clone(), path, &[], "").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.header("allow").contains(allowed), "{method} {path}");
    }
}

pub(crate) async fn a_trailing_slash_is_ignored(api: &Api) {
    with_documents(api).await;
    for path in ["/health/", "/stats/", "/documents/todos/doc-1/", "/stats/?x=1", "/stats?x=1"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    for path in ["/operations/", "/changes/", "/compact/", "/documents/todos/query/"] {
        let body = r#"{"clientId":"a","operations":[]}"#;
        assert_eq!(api.post(path, body).await.status, 200, "{path}");
    }
}

pub(crate) async fn a_path_is_taken_as_it_is_written(api: &Api) {
    api.accept(&[
        insert("op-1", "doc-1", "a", 1, 5),
        insert("op-2", "a/", "a", 2, 6),
        insert("op-3", "/", "a", 3, 7),
        insert("op-4", "//b", "a", 4, 8),
    ])
    .await;
    for path in [
        "//health",
        "/health//",
        "//",
        "/./health//",
        "//stats",
        "/stats//",
        "//documents/todos/doc-1",
        "/documents//todos/doc-1",
        "/documents/todos//doc-1",
        "/documents/todos/doc-1//",
        "/documents/todos/",
        "/documents/todos//",
        "//operations",
    ] {
        let answer = raw_get(api, path).await;
        assert_eq!((answer.status, &answer.json()["error"]), (404, &json!("Not found")), "{path}");
    }
    for path in ["//operations", "/operations//", "//changes", "//compact", "/documents/todos/query//"] {
        let answer = api.post(path, r#"{"clientId":"a","operations":[]}"#).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    for (path, id) in [
        ("/documents/todos/doc-1/", "doc-1"),
        ("/documents/todos/a%2F", "a/"),
        ("/documents/todos/a%2f/", "a/"),
        ("/documents/todos/%2F", "/"),
        ("/documents/todos/%2F%2Fb", "//b"),
    ] {
        assert_eq!(api.get(path).await.json()["_id"], id, "{path}");
    }
    assert_eq!(api.get("/documents/todos/a").await.status, 404);
    let empty = api.send_unchecked(Method::GET, "/documents//doc-1", &[], vec![]).await;
    assert_eq!(empty.faulty_fields(), ["collection"], "an empty segment is an empty name");
}

/// Sends a `GET` of exactly this path. Other clients normalise it.
async fn raw_get(api: &Api, path: &str) -> Answer {
    let mut connection = Connection::to(api.authority()).await;
    connection.head(&format!("GET {path}"), &[]).await;
    let answer = connection.answer().await;
    contract::check(&Method::GET, path, &answer);
    answer
}

pub(crate) async fn a_bad_percent_escape_is_400(api: &Api) {
    for path in [
        "/documents/todos/%",
        "/documents/todos/%zz",
        "/documents/todos/a%2",
        "/documents/%C3/doc-1",
        "/documents/todos/%ff",
    ] {
        let answer = raw_get(api, path).await;
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("Bad request")), "{path}");
    }
    assert_eq!(api.post("/documents/%/query", "{}").await.status, 400);
}

pub(crate) async fn an_answer_is_compressed_when_asked(api: &Api) {
    with_documents(api).await;
    let plain = api.get("/openapi.json").await;
    for encoding in ["gzip", "br", "zstd"] {
        let headers = [("accept-encoding", encoding)];
        let mut answer = api.send_unchecked(Method::GET, "/openapi.json", &headers, vec![]).await;
        assert_eq!(answer.header("content-encoding"), encoding);
        assert!(answer.header("vary").contains("accept-encoding"));
        assert!(answer.bytes.len() < plain.bytes.len() / 2, "{encoding} made {} bytes", answer.bytes.len());
        answer.bytes = decoded(encoding, &answer).await;
        contract::check(&Method::GET, "/openapi.json", &answer);
        assert_eq!(answer.bytes, plain.bytes);
    }
    assert_eq!(plain.header("content-encoding"), "");
}

async fn decoded(encoding: &str, answer: &Answer) -> Vec<u8> {
    macro_rules! through {
        ($decoder:ty) => {{
            let mut decoder = <$decoder>::new(Vec::new());
            decoder.write_all(&answer.bytes).await.unwrap();
            decoder.shutdown().await.unwrap();
            decoder.into_inner()
        }};
    }
    match encoding {
        "gzip" => through!(GzipDecoder<Vec<u8>>),
        "br" => through!(BrotliDecoder<Vec<u8>>),
        _ => through!(ZstdDecoder<Vec<u8>>),
    }
}

pub(crate) async fn a_client_that_refuses_every_encoding_is_answered_plainly(api: &Api) {
    let push = json!({"clientId": "a", "operations": [insert("op-1", "doc-1", "a", 1, 5)]}).to_string();
    let refusal = [("accept-encoding", "identity;q=0, *;q=0")];
    let answer = api.send(Method::POST, "/operations", &refusal, push).await;
    assert_eq!((answer.status, answer.header("content-encoding")), (200, ""), "the push has taken effect");
}

pub(crate) async fn a_request_id_is_taken_or_made_and_returned(api: &Api) {
    let taken = api.send(Method::GET, "/stats", &[("x-request-id", "mine-7")], "").await;
    assert_eq!(taken.header("x-request-id"), "mine-7");
    let (first, second) = (api.get("/stats").await, api.get("/nope").await);
    assert!(first.header("x-request-id").len() >= 16 && second.header("x-request-id").len() >= 16);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
    let long = "x".repeat(129);
    let replaced = api.send(Method::GET, "/stats", &[("x-request-id", &long)], "").await;
    assert!(replaced.header("x-request-id").len() < 129, "an id that is not fit for logs is replaced");
}

pub(crate) async fn a_connection_serves_requests_one_after_the_other(api: &Api) {
    let mut connection = Connection::to(api.authority()).await;
    for path in ["/health", "/nope", "/stats"] {
        connection.head(&format!("GET {path}"), &[]).await;
        let answer = connection.answer().await;
        contract::check(&Method::GET, path, &answer);
    }
}
