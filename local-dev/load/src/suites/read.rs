//! Reads: pages of the log, documents, queries and statistics.

use std::cell::Cell;

use axum::body::Bytes;
use http::{Method, StatusCode};

use super::{Bench, Pair};
use crate::Result;
use crate::client::Client;
use crate::load::{Load, Watch, drive};
use crate::options::StoreName;
use crate::report::{Goal, Measure};
use crate::site::Site;
use crate::work::{COLLECTION, document_name};

/// The number of connections that read.
const CONNECTIONS: u64 = 8;

/// The number of documents in a query.
const QUERY_DOCUMENTS: u64 = 100;

/// Pulls the log page by page, repeatedly from its beginning.
pub(super) async fn pull_load(site: &Site, page_rows: u64, connections: u64, watch: Watch) -> Result<Load> {
    // Only the original protocol begins with the log.
    let begin = r#"{"since":0,"limit":1,"clientId":"reader"}"#.to_owned();
    let beginning = site.client().await?.pull(begin, 1).await?.cursor;
    let mut readers: Vec<(Client, String)> =
        site.clients(connections).await?.into_iter().map(|client| (client, beginning.clone())).collect();
    drive(&mut readers, watch, async |(client, cursor)| {
        let page = client.pull(format!(r#"{{"cursor":"{cursor}","limit":{page_rows}}}"#), page_rows).await?;
        *cursor = if page.has_more { page.cursor } else { beginning.clone() };
        Ok(Some(page.rows))
    })
    .await
}

/// Requests the statistics.
pub(super) async fn stats_load(site: &Site, watch: Watch) -> Result<Load> {
    let mut clients = site.clients(CONNECTIONS).await?;
    drive(&mut clients, watch, async |client| {
        client.ok(Method::GET, "/stats", Bytes::new()).await?;
        Ok(Some(1))
    })
    .await
}

impl Bench<'_> {
    /// Pages of the log, compared with reading the same rows.
    pub(super) async fn pull(&mut self, pair: &Pair) -> Result<()> {
        let watch = self.watch(Some(&pair.site.server));
        for page_rows in [100, 1_000] {
            let name = format!("pull, pages of {page_rows}, {CONNECTIONS} connections");
            self.begin(&name, u64::from(self.options.runs) * 2);
            let floor = async || self.measure(pair.floor.pull(CONNECTIONS, page_rows, self.watch(None))).await;
            let server = async || self.measure(pull_load(&pair.site, page_rows, CONNECTIONS, watch)).await;
            let (floor, server) = self.in_turns(floor, server).await?;
            let goal = (page_rows == 1_000).then_some(Goal::AtLeast(0.5));
            self.add(name, &server, Some(("floor", &floor)), Measure::Rows, goal);
        }
        Ok(())
    }

    /// A document by its id, compared with a route that the server does not know.
    pub(super) async fn document(&mut self, pair: &Pair) -> Result<()> {
        let name = format!("document, {CONNECTIONS} connections");
        self.begin(&name, u64::from(self.options.runs) * 2);
        let (site, watch) = (&pair.site, self.watch(Some(&pair.site.server)));
        let get = async |path: &dyn Fn() -> String, expected: StatusCode| {
            let mut clients = site.clients(CONNECTIONS).await?;
            let load = drive(&mut clients, watch, async |client| {
                let path = path();
                let (status, _) = client.request(Method::GET, &path, Bytes::new()).await?;
                if status == expected { Ok(Some(1)) } else { Err(format!("{path}: {status}").into()) }
            });
            self.measure(load).await
        };
        let turn = Cell::new(0_u64);
        let document = || {
            turn.set(turn.get() + 7_919);
            format!("/documents/{COLLECTION}/{}", document_name(turn.get() % site.work.documents))
        };
        let unknown = || "/nothing/here".to_owned();
        let unknown = async || get(&unknown, StatusCode::NOT_FOUND).await;
        let document = async || get(&document, StatusCode::OK).await;
        let (unknown, document) = self.in_turns(unknown, document).await?;
        let goal = Goal::AtLeast(if self.store == StoreName::Sqlite { 0.5 } else { 0.35 });
        self.add(name, &document, Some(("unknown route", &unknown)), Measure::Requests, Some(goal));
        Ok(())
    }

    /// A query that every second one of the newest documents matches, compared with reading as many of the newest
    /// documents.
    pub(super) async fn query(&mut self, pair: &Pair) -> Result<()> {
        let name = format!("query, pages of {QUERY_DOCUMENTS}, {CONNECTIONS} connections");
        self.begin(&name, u64::from(self.options.runs) * 2);
        let (site, watch) = (&pair.site, self.watch(Some(&pair.site.server)));
        let floor = async || self.measure(pair.floor.newest(CONNECTIONS, QUERY_DOCUMENTS, self.watch(None))).await;
        let server = async || {
            let mut clients = site.clients(CONNECTIONS).await?;
            let path = format!("/documents/{COLLECTION}/query");
            let body = format!(r#"{{"filter":{{"done":true}},"limit":{QUERY_DOCUMENTS}}}"#);
            let load = drive(&mut clients, watch, async |client| {
                client.ok(Method::POST, &path, body.clone()).await?;
                Ok(Some(QUERY_DOCUMENTS))
            });
            self.measure(load).await
        };
        let (floor, server) = self.in_turns(floor, server).await?;
        self.add(name, &server, Some(("floor", &floor)), Measure::Rows, None);
        Ok(())
    }

    /// The statistics.
    pub(super) async fn stats(&mut self, pair: &Pair) -> Result<()> {
        let name = format!("stats, {CONNECTIONS} connections");
        self.begin(&name, u64::from(self.options.runs));
        let mut samples = Vec::new();
        for _ in 0..self.options.runs {
            let load = stats_load(&pair.site, self.watch(Some(&pair.site.server)));
            samples.push(self.measure(load).await?);
        }
        self.add(name, &samples, None, Measure::Requests, None);
        Ok(())
    }
}
