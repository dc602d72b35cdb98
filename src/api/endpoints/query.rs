//! `POST /documents/:collection/query`: the documents of a collection that meet a filter, newest first.
//!
//! All keys of the request are optional, and so is the whole body:
//!
//! | key | meaning |
//! |---|---|
//! | `filter` | object of conditions that must all hold, at most 100; all documents without it |
//! | `limit` | integer from 1: the most documents on the page; default and maximum 1,000, larger values mean 1,000 |
//! | `cursor` | the `cursor` of the previous answer; `null` or empty to start with the newest document |
//!
//! A condition is a path and the value that is expected there. A path consists of the keys of nested objects with dots
//! between them, at most 1,024 bytes and 64 keys. The values of all conditions have at most 64 KiB together. Values are
//! compared by type, numbers by value (`1` equals `1.0` and not `"1"`), and objects regardless of the order of their
//! keys. An array matches if it equals the value or contains it. `null` matches `null` and missing values. `_id` and
//! `_rev` are those of the server.
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"documents":[{"_id":"doc-1","_rev":1,…}],"count":1,"hasMore":false,"cursor":null}` |
//! | 400 | the body is not a JSON object, or one of its fields is wrong |
//!
//! The newest document is the one that was changed last. `count` is that of this page, which is also limited to 4 MiB.
//! `hasMore` says whether more documents may match, and `cursor` where they begin. A query reads at most 64 MiB of
//! documents for one page. If few documents match, a page may be short or empty although there is more. A document that
//! changes between two pages becomes the newest one, so the following pages may miss it. A collection that was never
//! written to has no documents.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::api::access::Reader;
use crate::api::answer;
use crate::api::body::BodyText;
use crate::api::error::{ApiError, Faults};
use crate::api::fields::{Fields, Path, limit, string};
use crate::api::path::InCollection;
use crate::api::schema::{BadRequest, LayerErrors, Name, QueryAnswer, QueryRequest, Unauthorized, Unavailable};
use crate::core::cursor::QueryCursor;
use crate::core::document::LiveDocument;
use crate::core::filter::{Condition, Filter};
use crate::core::json::{self, Bounded, ObjectWriter};
use crate::core::names::Collection;
use crate::core::numbers::Seq;
use crate::limits::protocol::{
    FILTER_MAX_BYTES, FILTER_MAX_CONDITIONS, FILTER_PATH_MAX_BYTES, FILTER_PATH_MAX_KEYS, FILTER_VALUES_MAX_BYTES,
    QUERY_MAX_DOCUMENTS,
};
use crate::service::SyncService;
use crate::store::{Query, QueryPage};

/// The documents of a collection that meet a filter, newest first.
#[utoipa::path(
    post,
    path = "/documents/{collection}/query",
    tag = "documents",
    security(("token" = [])),
    params(("collection" = inline(Name), Path, description = "the collection", example = "todos")),
    request_body(content = QueryRequest, description = "an empty body is treated as `{}`"),
    responses(
        (status = 200, description = "a page of documents", body = QueryAnswer),
        BadRequest, LayerErrors, Unauthorized, Unavailable,
    ),
)]
pub(in crate::api) async fn query_documents(
    State(service): State<Arc<SyncService>>,
    Reader(principal): Reader,
    InCollection(collection): InCollection,
    body: BodyText,
) -> Result<Response, ApiError> {
    let query = read(collection, body.or_empty_object())?;
    let page = service.query(&principal.tenant, query).await?;
    Ok(answer::json(StatusCode::OK, write(&page)))
}

/// The keys of the request.
pub(in crate::api) const KEYS: [&str; 3] = ["limit", "cursor", "filter"];

pub(in crate::api) fn read(collection: Collection, text: &str) -> Result<Query, ApiError> {
    let mut faults = Faults::default();
    let mut fields = Fields::of_body(text, &KEYS, &mut faults)?;
    let max_documents = fields.optional("limit", QUERY_MAX_DOCUMENTS, limit(QUERY_MAX_DOCUMENTS));
    let before_seq = fields.optional("cursor", None, cursor);
    let filter = match fields.raw("filter") {
        None => Some(Filter::default()),
        Some(_) => fields.required_inside("filter", read_filter),
    };
    let query = max_documents.zip(before_seq).zip(filter).map(|((max_documents, before_seq), filter)| Query {
        collection,
        filter,
        max_documents,
        before_seq,
    });
    faults.into_result(query).map_err(ApiError::BadFields)
}

fn cursor(text: &str) -> Result<Option<Seq>, String> {
    if text == "null" {
        return Ok(None);
    }
    match &*string(text)? {
        "" => Ok(None),
        text => QueryCursor::parse(text).map(|cursor| Some(cursor.before)).map_err(|problem| problem.to_string()),
    }
}

fn read_filter(text: &str, path: Path<'_>, faults: &mut Faults) -> Option<Filter> {
    let expected = match conditions(text) {
        Ok(expected) => expected,
        Err(problem) => {
            faults.add(path, problem);
            return None;
        }
    };
    let mut conditions = Vec::with_capacity(expected.len());
    for (field, value) in expected {
        match check_condition(&field, value) {
            Ok(()) => conditions.push(Condition::new(&field, value)),
            Err(problem) => faults.add(path.key(&field), problem),
        }
    }
    Some(Filter::new(conditions))
}

/// The paths of a filter and the texts of the values that are expected there.
fn conditions(text: &str) -> Result<BTreeMap<Cow<'_, str>, &str>, String> {
    if text.len() > FILTER_MAX_BYTES {
        return Err(format!("must have at most {FILTER_MAX_BYTES} bytes"));
    }
    let expected = match json::entries(text, FILTER_MAX_CONDITIONS) {
        Ok(Bounded::Whole(expected)) => expected,
        Ok(Bounded::TooMany) => return Err(format!("must have at most {FILTER_MAX_CONDITIONS} conditions")),
        Err(_) => return Err("must be an object".to_owned()),
    };
    if expected.values().map(|value| value.len()).sum::<usize>() > FILTER_VALUES_MAX_BYTES {
        return Err(format!("must have values of at most {FILTER_VALUES_MAX_BYTES} bytes together"));
    }
    Ok(expected)
}

fn check_condition(path: &str, value: &str) -> Result<(), String> {
    if path.len() > FILTER_PATH_MAX_BYTES {
        return Err(format!("must have a path of at most {FILTER_PATH_MAX_BYTES} bytes of UTF-8"));
    }
    if path.split('.').count() > FILTER_PATH_MAX_KEYS {
        return Err(format!("must have a path of at most {FILTER_PATH_MAX_KEYS} keys"));
    }
    if path.contains('\0') {
        return Err("must not have U+0000 in its path".to_owned());
    }
    json::check(value).map_err(|problem| problem.to_string())
}

pub(in crate::api) fn write(page: &QueryPage) -> String {
    let bytes: usize = page.documents.iter().map(LiveDocument::wire_bytes).sum();
    let mut text = String::with_capacity(bytes + ANSWER_FRAME_BYTES);
    ObjectWriter::write(&mut text, |object| {
        object.array("documents", &page.documents, |out, document| document.write(out));
        object.number("count", page.documents.len() as u64);
        object.boolean("hasMore", page.more_before.is_some());
        match page.more_before {
            Some(before) => object.string("cursor", &QueryCursor { before }.to_string()),
            None => object.raw("cursor", "null"),
        }
    });
    text
}

/// The bytes of a page without its documents, more or less.
const ANSWER_FRAME_BYTES: usize = 100;
