//! Queries: a scan of the collection from its newest document. The core's filter decides.

use mongodb::bson::{Document as Bson, doc};
use mongodb::options::ReadConcern;

use super::rows::batch_of;
use crate::core::names::TenantId;
use crate::core::page::QueryPageBuilder;
use crate::limits::store::QUERY_FETCH_MAX_DOCUMENTS;
use crate::store::integers::signed;
use crate::store::mongodb::database::Database;
use crate::store::mongodb::failure::Failure;
use crate::store::mongodb::row::Row;
use crate::store::pace::Pace;
use crate::store::{Query, QueryPage};

/// See [`crate::store::Store::query`].
///
/// The server receives the collection and the beginning, and nothing of the filter, so values of a client never become
/// part of a query. All batches of the scan see one moment, so a document that is changed meanwhile does not move
/// between two batches and is not missed.
pub(crate) async fn query(database: &Database, tenant: &TenantId, query: &Query) -> Result<QueryPage, Failure> {
    let collections = database.ready().await?;
    let mut find = collections
        .documents
        .find(documents_of(tenant, query))
        .sort(doc! { "seq": -1 })
        .max_time(collections.time_limit);
    let mut batch_rows = QUERY_FETCH_MAX_DOCUMENTS;
    let selects = query.selects();
    let _turn = if selects { Some(database.filters.acquire(tenant).await) } else { None };
    if !selects {
        batch_rows = query.max_documents.saturating_add(1);
        find = find.limit(signed(batch_rows as u64));
    }
    let find = find.batch_size(batch_of(batch_rows));
    let mut found = collections.in_time(find.read_concern(ReadConcern::snapshot())).await?;
    let mut page = QueryPageBuilder::new(&query.filter, query.sort.as_ref(), query.max_documents).seen_by(&query.view);
    let mut turns = Pace::default();
    while collections.in_time(found.advance()).await? {
        let document = Row(found.current()).live_document(query.with_clocks)?;
        let before_bytes = page.examined_bytes();
        let wants_more = page.push(document)?;
        turns.examined(page.examined_bytes() - before_bytes).await;
        if !wants_more {
            break;
        }
    }
    Ok(page.finish())
}

/// The filter for the documents that a query scans.
fn documents_of(tenant: &TenantId, query: &Query) -> Bson {
    let mut those = doc! {
        "tenant": tenant.as_str(),
        "collection": query.collection.as_str(),
        "deleted": false,
    };
    if let Some(before) = query.before_seq {
        those.insert("seq", doc! { "$lt": signed(before) });
    }
    those
}
