//! Queries: SQL preselects documents, and the core's filter decides.

use std::fmt::Write as _;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connections::Parameter;
use super::database::Database;
use super::failure::Failure;
use super::jsonb::indexable;
use super::read::{byte_limit, row_limit};
use super::row::Columns;
use crate::core::document::LiveDocument;
use crate::core::filter::{Condition, Operator};
use crate::core::json::{Sink, integer, string};
use crate::core::names::TenantId;
use crate::core::numbers::Seq;
use crate::core::page::{QueryPageBuilder, SortedEnd};
use crate::limits::protocol::{INTEGER_MAX, PAGE_MAX_BYTES};
use crate::limits::store::QUERY_FETCH_MAX_DOCUMENTS;
use crate::store::integers::signed;
use crate::store::pace::Pace;
use crate::store::{Query, QueryPage};

/// See [`crate::store::Store::query`].
///
/// Usually one statement finds the page. If the filter removes so many documents that the page is not full, the search
/// is repeated in a transaction. That has as many statements as it needs. Otherwise a document that is changed
/// meanwhile could move between two statements and be missed.
///
/// Each statement reads a bounded number of documents, and so does the page as a whole.
pub(super) async fn query(database: &Database, tenant: &TenantId, query: &Query) -> Result<QueryPage, Failure> {
    let Some(search) = Search::new(tenant, query) else {
        return Ok(QueryPage { documents: Vec::new(), more_before: None, sorted: SortedEnd::Nothing });
    };
    let selects = query.selects();
    let _turn = if selects { Some(database.filters.acquire(tenant).await) } else { None };
    let before = query.before_seq.map_or(i64::MAX, signed);
    let first_rows = if selects { QUERY_FETCH_MAX_DOCUMENTS } else { query.max_documents };
    let rows = database.rows_of_text(&search.sql, &search.parameters(&before, &row_limit(first_rows))).await?;
    let mut page = QueryPageBuilder::new(&query.filter, query.sort.as_ref(), query.max_documents).seen_by(&query.view);
    if let Progress::Done = take(&mut page, &rows, first_rows).await? {
        return Ok(page.finish());
    }
    let transaction = database.begin_reading().await?;
    let mut page = QueryPageBuilder::new(&query.filter, query.sort.as_ref(), query.max_documents).seen_by(&query.view);
    let (mut before, max_rows) = (before, row_limit(QUERY_FETCH_MAX_DOCUMENTS));
    loop {
        let rows = transaction.rows(&search.sql, &search.parameters(&before, &max_rows)).await?;
        match take(&mut page, &rows, QUERY_FETCH_MAX_DOCUMENTS).await? {
            Progress::Done => {
                transaction.end().await?;
                return Ok(page.finish());
            }
            Progress::MoreBefore(seq) => before = signed(seq),
        }
    }
}

enum Progress {
    /// The page is full, or there are no more documents.
    Done,
    /// There may be more documents before this sequence number.
    MoreBefore(Seq),
}

/// Adds the rows of a statement to the page. The statement was limited to `max_rows` rows and one more.
///
/// A row without a body is a document that the server found not to match.
async fn take(page: &mut QueryPageBuilder<'_>, rows: &[Row], max_rows: usize) -> Result<Progress, Failure> {
    let mut bytes = 0;
    let mut last_seq = Seq::START;
    let mut turns = Pace::default();
    for row in rows {
        let row_bytes = usize::try_from(row.try_get::<_, i32>(BYTES_COLUMN)?).unwrap_or(usize::MAX);
        bytes += row_bytes;
        last_seq = Columns::behind(row, SEQ_COLUMN).integer()?;
        let wants_more = if row.try_get::<_, Option<&str>>(BODY_COLUMN)?.is_some() {
            let mut columns = Columns::of(row);
            let document = columns.live_document()?;
            let clock = match row.try_get::<_, Option<&str>>(CLOCK_COLUMN)? {
                Some(_) => Some(Columns::behind(row, CLOCK_COLUMN).clock()?),
                None => None,
            };
            let before_bytes = page.examined_bytes();
            let wants_more = page.push(LiveDocument { clock, ..document })?;
            turns.examined(page.examined_bytes() - before_bytes).await;
            wants_more
        } else {
            page.pass(last_seq, row_bytes)
        };
        if !wants_more {
            return Ok(Progress::Done);
        }
    }
    let may_be_cut_short = rows.len() > max_rows || bytes > PAGE_MAX_BYTES;
    Ok(if may_be_cut_short { Progress::MoreBefore(last_seq) } else { Progress::Done })
}

/// The places of some columns in the rows of a [`Search`].
const SEQ_COLUMN: usize = 3;
const BODY_COLUMN: usize = 5;
const BYTES_COLUMN: usize = 6;
const CLOCK_COLUMN: usize = 7;

/// A statement that looks at the documents of a collection, newest first, and answers the bodies of those that may
/// match.
///
/// It looks at no more documents than it was told to, and at hardly more bytes than a page has, whatever matches. So it
/// needs no index but that of the collection.
///
/// Keys and values are always parameters. The text of the statement depends only on their number.
struct Search<'a> {
    sql: String,
    tenant: &'a str,
    collection: &'a str,
    byte_limit: i64,
    /// The parameters from number [`FIRST_TEXT`] on.
    texts: Vec<String>,
}

/// The number of the first parameter for a condition.
const FIRST_TEXT: usize = 6;

impl<'a> Search<'a> {
    /// The search for a query, or `None` if no document can match.
    fn new(tenant: &'a TenantId, query: &'a Query) -> Option<Self> {
        let (mut narrows, mut conditions) = (String::new(), String::from("true"));
        let mut texts = Vec::new();
        // If the id is known, the search uses the primary key, and otherwise the index of collections. The migrations
        // explain the collations.
        let mut tenant_collation = " COLLATE pg_catalog.\"POSIX\"";
        for condition in query.filter.required() {
            let number = FIRST_TEXT + texts.len();
            // Writing to a string cannot fail.
            let _ = match narrow(condition) {
                Narrowed::Nothing => return None,
                Narrowed::Everything => Ok(()),
                // A sorted query passes over the other documents, so that it looks at as many on every store.
                Narrowed::Id(id) if query.sort.is_some() => {
                    texts.push(id);
                    write!(conditions, " AND doc_id OPERATOR(pg_catalog.=) ${number}")
                }
                Narrowed::Id(id) => {
                    texts.push(id);
                    tenant_collation = "";
                    write!(narrows, " AND d.doc_id OPERATOR(pg_catalog.=) ${number}")
                }
                Narrowed::Revision(revision) => {
                    texts.push(revision);
                    write!(conditions, " AND rev OPERATOR(pg_catalog.=) ${number}::bigint")
                }
                Narrowed::Containing(contained) => {
                    texts.extend(contained);
                    let contains = "data OPERATOR(pg_catalog.@>)";
                    let in_array = number + 1;
                    write!(
                        conditions,
                        " AND ({contains} ${number}::pg_catalog.jsonb OR {contains} ${in_array}::pg_catalog.jsonb)"
                    )
                }
            };
        }
        let (bytes, clock) = if query.with_clocks {
            let bytes = "pg_catalog.octet_length(d.body) OPERATOR(pg_catalog.+) pg_catalog.octet_length(d.clock)";
            (bytes, format!("CASE WHEN {conditions} THEN clock END"))
        } else {
            ("pg_catalog.octet_length(d.body)", "NULL::pg_catalog.text".to_owned())
        };
        let sql = format!(
            "SELECT
                 collection, doc_id, rev, seq, operation_id,
                 CASE WHEN {conditions} THEN body END, row_bytes, {clock}
             FROM (
                 SELECT d.*, {bytes} AS row_bytes, pg_catalog.sum({bytes}) OVER (
                     ORDER BY d.seq DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
                 ) AS bytes_before
                 FROM {{schema}}.syncflow_documents AS d
                 WHERE d.tenant OPERATOR(pg_catalog.=) ($1{tenant_collation})
                     AND d.collection OPERATOR(pg_catalog.=) $2
                     AND d.seq OPERATOR(pg_catalog.<) $3
                     AND d.body IS NOT NULL{narrows}
                 ORDER BY d.seq DESC
                 LIMIT $4 OPERATOR(pg_catalog.+) 1
             ) AS found
             WHERE coalesce(bytes_before, 0) OPERATOR(pg_catalog.<=) $5
             ORDER BY seq DESC"
        );
        let collection = query.collection.as_str();
        Some(Self { sql, tenant: tenant.as_str(), collection, byte_limit: byte_limit(), texts })
    }

    fn parameters<'p>(&'p self, before: &'p i64, max_rows: &'p i64) -> Vec<Parameter<'p>> {
        let mut parameters: Vec<Parameter<'p>> = vec![
            (&self.tenant, Type::TEXT),
            (&self.collection, Type::TEXT),
            (before, Type::INT8),
            (max_rows, Type::INT8),
            (&self.byte_limit, Type::INT8),
        ];
        parameters.extend(self.texts.iter().map(|text| -> Parameter<'p> { (text, Type::TEXT) }));
        parameters
    }
}

/// The part of a condition that SQL can check. No document that meets the condition is excluded.
#[derive(Debug, PartialEq, Eq)]
enum Narrowed {
    /// All documents are excluded.
    Nothing,
    /// No document is excluded.
    Everything,
    /// Only the document with this id remains.
    Id(String),
    /// Only documents with this revision remain.
    Revision(String),
    /// Only documents remain whose data contain one of these by PostgreSQL's operator `@>`. It is the value at its
    /// path, or an array there with the value in it. For `@>`, an object contains every object with fewer keys, and an
    /// array contains every array of some of its elements. So too many documents may remain, but never too few.
    Containing([String; 2]),
}

fn narrow(condition: &Condition) -> Narrowed {
    // The operators of order, lists and existence are left to the filter.
    if condition.operator() != Operator::Equal {
        return Narrowed::Everything;
    }
    let value = condition.value().trim();
    match condition.path() {
        "_id" => match string(value) {
            Ok(id) => Narrowed::Id(id.into_owned()),
            Err(_) => Narrowed::Nothing,
        },
        "_rev" => match integer(value, INTEGER_MAX) {
            Ok(revision) => Narrowed::Revision(revision.to_string()),
            Err(_) => Narrowed::Everything,
        },
        // A missing value cannot be contained, and no `jsonb` contains U+0000.
        path if value == "null" || path.contains('\0') => Narrowed::Everything,
        path => {
            let value = indexable(value);
            if !value.is_exact {
                return Narrowed::Everything;
            }
            let at_path = |value: &str| {
                let mut json = String::new();
                for key in path.split('.') {
                    json.push('{');
                    Sink::push_string(&mut json, key);
                    json.push(':');
                }
                json.push_str(value);
                json.extend(path.split('.').map(|_| '}'));
                json
            };
            Narrowed::Containing([at_path(&value.text), at_path(&format!("[{}]", value.text))])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn containing(value: &str, in_array: &str) -> Narrowed {
        Narrowed::Containing([value.to_owned(), in_array.to_owned()])
    }

    #[test]
    fn conditions_become_what_is_contained() {
        for (path, value, narrowed) in [
            ("a", "1", containing(r#"{"a":1}"#, r#"{"a":[1]}"#)),
            ("a.b", " [1] ", containing(r#"{"a":{"b":[1]}}"#, r#"{"a":{"b":[[1]]}}"#)),
            ("", r#"{"x":null}"#, containing(r#"{"":{"x":null}}"#, r#"{"":[{"x":null}]}"#)),
            ("a\"b'", "true", containing(r#"{"a\"b'":true}"#, r#"{"a\"b'":[true]}"#)),
            ("a", "null", Narrowed::Everything),
            ("a", "1e-20000", Narrowed::Everything),
            ("a\0", "1", Narrowed::Everything),
            ("_id", r#""d\u0031""#, Narrowed::Id("d1".to_owned())),
            ("_id", "1", Narrowed::Nothing),
            ("_rev", "3.0", Narrowed::Revision("3".to_owned())),
            ("_rev", "[3]", Narrowed::Everything),
        ] {
            assert_eq!(narrow(&Condition::new(path, value)), narrowed, "{path} {value}");
        }
    }
}
