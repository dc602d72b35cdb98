//! `POST /documents/:collection/query`: the documents of a collection that meet a filter, newest first or sorted.
//!
//! All keys of the request are optional, and so is the whole body:
//!
//! | key | meaning |
//! |---|---|
//! | `filter` | object of conditions that must all hold, at most 100; all documents without it |
//! | `limit` | integer from 1: the most documents on the page; default and maximum 1,000, larger values mean 1,000 |
//! | `sort` | object of one path, with 1 for the smallest value first or -1 for the greatest |
//! | `cursor` | the `cursor` of the previous answer; `null` or empty to start with the first document |
//! | `clock` | true: each document has its vector clock as `_clock` |
//!
//! A condition is a path and the value that is expected there. A path consists of the keys of nested objects with dots
//! between them, at most 1,024 bytes and 64 keys. The values of all conditions have at most 64 KiB together. Values are
//! compared by type, numbers by value (`1` equals `1.0` and not `"1"`), and objects regardless of the order of their
//! keys. An array matches if it equals the value or contains it. `null` matches `null` and missing values. `_id` and
//! `_rev` are those of the server.
//!
//! In place of a value there may be an object of operators: `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, `$in`, `$nin`,
//! `$exists` and `$not`. `$and` and `$or` have a list of filters, and a `$not` in place of a path has a filter. They
//! are nested at most 8 levels deep, and a list of values has at most 1,000. Objects and arrays in it count as
//! conditions.
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"documents":[{"_id":"doc-1","_rev":1,…}],"count":1,"hasMore":false,"cursor":null}` |
//! | 400 | the body is not a JSON object, one of its fields is wrong, or there is too much to `sort` |
//!
//! The newest document is the one that was changed last. `count` is that of this page, which is also limited to 4 MiB.
//! `hasMore` says whether more documents may match, and `cursor` where they begin. A query reads at most 64 MiB of
//! documents for one page; values that are compared several times count as often. If few documents match, a page may be
//! short or empty although there is more. A document that changes between two pages becomes the newest one, so the
//! following pages may miss it. A collection that was never written to has no documents.
//!
//! A sorted page needs all documents of the collection. If they are too many to read, the answer is a 400 that names
//! `sort`. Missing values and `null` come first, then numbers, strings, objects, arrays and booleans.

mod filter;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use self::filter::{read_filter, read_sort};
use crate::api::access::Reader;
use crate::api::answer;
use crate::api::body::BodyText;
use crate::api::error::{ApiError, Faults};
use crate::api::fields::{Fields, boolean, limit, string};
use crate::api::path::InCollection;
use crate::api::schema::{BadRequest, LayerErrors, Name, QueryAnswer, QueryRequest, Unauthorized, Unavailable};
use crate::core::access::View;
use crate::core::cursor::{NotACursor, QueryCursor};
use crate::core::document::LiveDocument;
use crate::core::filter::{Filter, Sort, SortPlace};
use crate::core::json::ObjectWriter;
use crate::core::names::Collection;
use crate::limits::protocol::{QUERY_MAX_DOCUMENTS, QUERY_MAX_EXAMINED_BYTES};
use crate::service::SyncService;
use crate::store::{Query, QueryPage, SortedEnd};

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
    let page = service.query_as(&principal, query).await?;
    if page.sorted == SortedEnd::TooMuch {
        return Err(ApiError::bad_field("sort", TOO_MUCH_TO_SORT));
    }
    Ok(answer::json(StatusCode::OK, write(&page)))
}

const TOO_MUCH_TO_SORT: &str =
    "is not possible: the collection has more documents than a query looks at, which is 64 MiB; leave it out";
const _: () = assert!(QUERY_MAX_EXAMINED_BYTES == 64 << 20, "the text says the limit");

/// The keys of the request.
pub(in crate::api) const KEYS: [&str; 5] = ["limit", "cursor", "filter", "sort", "clock"];

pub(in crate::api) fn read(collection: Collection, text: &str) -> Result<Query, ApiError> {
    let mut faults = Faults::default();
    let mut fields = Fields::of_body(text, &KEYS, &mut faults)?;
    let max_documents = fields.optional("limit", QUERY_MAX_DOCUMENTS, limit(QUERY_MAX_DOCUMENTS));
    let with_clocks = fields.optional("clock", false, boolean);
    let order = fields.optional("sort", None, |text| read_sort(text).map(Some));
    let place = match &order {
        Some(None) => {
            fields.optional("cursor", Place::Start, cursor(|text| QueryCursor::parse(text).map(Place::Before)))
        }
        _ => fields.optional("cursor", Place::Start, cursor(|text| SortPlace::parse(text).map(Place::Behind))),
    };
    let filter = match fields.raw("filter") {
        None => Some(Filter::default()),
        Some(_) => fields.required_inside("filter", read_filter),
    };
    let pages = max_documents.zip(with_clocks).zip(order.zip(place));
    let query = pages.zip(filter).map(|(((max_documents, with_clocks), (order, place)), filter)| {
        let (before_seq, after) = match place {
            Place::Start => (None, None),
            Place::Before(cursor) => (Some(cursor.before), None),
            Place::Behind(place) => (None, Some(place)),
        };
        let sort = order.map(|(path, is_descending)| Sort { path, is_descending, after });
        let view = View::default();
        Query { collection, filter, max_documents, before_seq, sort, with_clocks, view }
    });
    faults.into_result(query).map_err(ApiError::BadFields)
}

/// The place at which a page begins.
enum Place {
    Start,
    Before(QueryCursor),
    Behind(SortPlace),
}

/// Reads a cursor, which `null` and an empty text are not.
fn cursor(parse: fn(&str) -> Result<Place, NotACursor>) -> impl Fn(&str) -> Result<Place, String> {
    move |text| {
        if text == "null" {
            return Ok(Place::Start);
        }
        match &*string(text)? {
            "" => Ok(Place::Start),
            text => parse(text).map_err(|problem| problem.to_string()),
        }
    }
}

pub(in crate::api) fn write(page: &QueryPage) -> String {
    let cursor = match (&page.sorted, page.more_before) {
        (SortedEnd::After(place), _) => Some(place.to_string()),
        (_, Some(before)) => Some(QueryCursor { before }.to_string()),
        _ => None,
    };
    let bytes: usize = page.documents.iter().map(LiveDocument::wire_bytes).sum();
    let mut text = String::with_capacity(bytes + ANSWER_FRAME_BYTES);
    ObjectWriter::write(&mut text, |object| {
        object.array("documents", &page.documents, |out, document| document.write(out));
        object.number("count", page.documents.len() as u64);
        object.boolean("hasMore", cursor.is_some());
        match &cursor {
            Some(cursor) => object.string("cursor", cursor),
            None => object.raw("cursor", "null"),
        }
    });
    text
}

/// The bytes of a page without its documents, more or less.
const ANSWER_FRAME_BYTES: usize = 100;
