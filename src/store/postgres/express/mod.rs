//! The tables of an Express server in a PostgreSQL database, which are read in one transaction that sees one moment.

use std::time::Duration;

use async_trait::async_trait;
use deadpool::managed::PoolError;
use deadpool_postgres::ClientWrapper;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};

use super::connections::manager::Connector;
use super::connections::transport::MakeTransport;
use super::connections::{Parameter, in_time, within};
use super::failure::Failure;
use super::options::{self, Peer, PostgresOptions, PostgresOptionsError};
use super::schema::{in_schema, quoted};
use crate::limits::store::{
    EXPRESS_NAME_MAX_CHARACTERS, EXPRESS_PART_MAX_ENTRIES, EXPRESS_STATEMENT_TIME_MAX_MS, EXPRESS_VALUE_MAX_BYTES,
    STORE_CONNECT_TIME_MAX_MS,
};
use crate::store::express::{ExpressDocument, ExpressOperation, ExpressSource, Field};
use crate::store::{Result, StoreError};

/// The schema in which the Express server has its tables, unless it is told another one.
const SCHEMA: &str = "public";

/// The tables of an Express server. It connects with its first request.
#[derive(Debug)]
pub struct PostgresExpress {
    connector: Connector,
    /// The name of the schema.
    schema: String,
    /// The connection with the transaction.
    client: Option<ClientWrapper>,
}

impl PostgresExpress {
    /// The tables in the schema of the options, or in `public`. The pool and the kind of the server have no meaning.
    ///
    /// # Errors
    /// If the options cannot be used with any database.
    pub fn new(options: &PostgresOptions) -> std::result::Result<Self, PostgresOptionsError> {
        // The settings of our own connections are for short statements with indexes of ours.
        let options = PostgresOptions { peer: Peer::Pooler, pool_size: 1, ..options.clone() };
        let (mut config, tls_mode) = options.parse()?;
        let tls = super::connections::tls::connector(tls_mode, options.ca_file.as_deref())?;
        let beginning = options::begin(&mut config, tls_mode)?;
        let connector = Connector { config, transport: MakeTransport { tls, beginning }, logins: options.logins };
        let schema = options.schema.unwrap_or_else(|| SCHEMA.to_owned());
        Ok(Self { connector, schema, client: None })
    }

    /// The connection, on which the transaction has begun and the cursors are open.
    async fn begun(&mut self) -> std::result::Result<&ClientWrapper, Failure> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Box::pin(self.begin()).await?,
        };
        Ok(self.client.insert(client))
    }

    async fn begin(&self) -> std::result::Result<ClientWrapper, Failure> {
        let connecting = timeout(Duration::from_millis(STORE_CONNECT_TIME_MAX_MS), self.connector.connect());
        let client = connecting.await.map_err(|_| Failure::Late)?;
        let client = client.map_err(|error| Failure::Pool(PoolError::Backend(error)))?;
        in_time(client.batch_execute(&self.with_limits(BEGIN))).await?;
        for cursor in [DOCUMENTS, OPERATIONS] {
            let opened = in_time(client.batch_execute(&self.with_limits(cursor))).await;
            opened.map_err(|failure| self.explained(failure))?;
        }
        Ok(client)
    }

    async fn rows(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> std::result::Result<Vec<Row>, Failure> {
        let sql = self.with_limits(sql);
        let client = self.begun().await?;
        within(EXPRESS_STATEMENT_TIME_MAX_MS, client.query_typed(&sql, parameters)).await
    }

    fn with_limits(&self, sql: &str) -> String {
        in_schema(sql, &quoted(&self.schema))
            .replace("{time_max_ms}", &EXPRESS_STATEMENT_TIME_MAX_MS.to_string())
            .replace("{rows}", &EXPRESS_PART_MAX_ENTRIES.to_string())
            .replace("{characters}", &EXPRESS_NAME_MAX_CHARACTERS.to_string())
            .replace("{bytes}", &EXPRESS_VALUE_MAX_BYTES.to_string())
    }

    /// Names the schema if it does not have the tables.
    fn explained(&self, failure: Failure) -> Failure {
        let codes = [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::INVALID_SCHEMA_NAME];
        if !failure.code().is_some_and(|code| codes.contains(code)) {
            return failure;
        }
        let schema = &self.schema;
        Failure::Unsuitable(format!("the schema {schema} does not have the tables of an Express server"))
    }
}

/// The error of the port for a failure.
fn failed(failure: Failure) -> StoreError {
    failure.during("import_express")
}

#[async_trait]
impl ExpressSource for PostgresExpress {
    async fn documents(&mut self) -> Result<Vec<ExpressDocument>> {
        let rows = self.rows("FETCH FORWARD {rows} FROM express_documents", &[]).await.map_err(failed)?;
        Ok(rows.iter().map(document).collect())
    }

    async fn operations(&mut self) -> Result<Vec<ExpressOperation>> {
        let rows = self.rows("FETCH FORWARD {rows} FROM express_operations", &[]).await.map_err(failed)?;
        Ok(rows.iter().map(operation).collect())
    }

    async fn data_of(&mut self, operation_id: &str) -> Result<Field<Option<String>>> {
        let rows = self.rows(DATA, &[(&operation_id, Type::TEXT)]).await.map_err(failed)?;
        let Some(row) = rows.first() else { return Ok(Ok(None)) };
        if is_true(row, 1) {
            return Ok(Err(too_large("data")));
        }
        Ok(row.try_get(0).map_err(|_| "data is of another type".to_owned()))
    }

    async fn greatest_timestamp(&mut self) -> Result<u64> {
        let rows = self.rows(GREATEST_TIMESTAMP, &[]).await.map_err(failed)?;
        let greatest = rows.first().and_then(|row| row.try_get::<_, Option<i64>>(0).ok()).flatten();
        Ok(greatest.and_then(|greatest| u64::try_from(greatest).ok()).unwrap_or(0))
    }

    async fn finish(&mut self) -> Result<()> {
        // All was read at one moment.
        match self.client.take() {
            Some(client) => in_time(client.batch_execute("COMMIT")).await.map_err(failed),
            None => Ok(()),
        }
    }
}

fn document(row: &Row) -> ExpressDocument {
    let (collection, id) = (field(row, 0, "collection"), field(row, 1, "id"));
    let data = if is_true(row, 7) { Err(too_large("data")) } else { field(row, 2, "data") };
    let vector_clock = if is_true(row, 8) { Err(too_large("vector_clock")) } else { field(row, 5, "vector_clock") };
    ExpressDocument {
        place: format!("documents {} {}", shown(&collection), shown(&id)),
        collection,
        id,
        data,
        rev: field(row, 3, "rev"),
        is_deleted: field(row, 4, "deleted"),
        vector_clock,
        updated_at: field(row, 6, "updated_at"),
    }
}

fn operation(row: &Row) -> ExpressOperation {
    let id = field(row, 0, "id");
    let vector_clock = if is_true(row, 7) { Err(too_large("vector_clock")) } else { field(row, 6, "vector_clock") };
    ExpressOperation {
        place: format!("operations {}", shown(&id)),
        id,
        kind: field(row, 1, "type"),
        collection: field(row, 2, "collection"),
        doc_id: field(row, 3, "doc_id"),
        timestamp: field(row, 4, "timestamp"),
        client_id: field(row, 5, "client_id"),
        vector_clock,
    }
}

/// A value of a row. The columns may have been changed, so nothing is certain about it.
fn field<'r, T: FromSql<'r>>(row: &'r Row, column: usize, name: &str) -> Field<T> {
    match row.try_get::<_, Option<T>>(column) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(format!("{name} must not be null")),
        Err(_) => Err(format!("{name} is of another type")),
    }
}

fn is_true(row: &Row, column: usize) -> bool {
    row.try_get::<_, Option<bool>>(column).ok().flatten().unwrap_or(false)
}

fn too_large(name: &str) -> String {
    format!("{name} has more than {EXPRESS_VALUE_MAX_BYTES} bytes")
}

/// A name in quotes, without control characters.
fn shown(name: &Field<String>) -> String {
    name.as_ref().map_or_else(|_| "?".to_owned(), |name| format!("{name:?}"))
}

/// From here on, a name without a schema is one of PostgreSQL's own. The tables have no index for the order in which
/// they are read, so they are sorted.
const BEGIN: &str = "
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL search_path = pg_catalog, pg_temp;
    SET LOCAL statement_timeout = {time_max_ms};
    SET LOCAL idle_in_transaction_session_timeout = {time_max_ms}";

const DOCUMENTS: &str = r#"
    DECLARE express_documents NO SCROLL CURSOR FOR
    SELECT
        pg_catalog.substr(d.collection::pg_catalog.text, 1, {characters}),
        pg_catalog.substr(d.id::pg_catalog.text, 1, {characters}),
        CASE
            WHEN coalesce(d.deleted, false) THEN '{}'
            WHEN pg_catalog.octet_length(d.data::pg_catalog.text) OPERATOR(pg_catalog.<=) {bytes}
                THEN d.data::pg_catalog.text
        END,
        coalesce(d.rev::bigint, 1),
        coalesce(d.deleted, false),
        CASE
            WHEN pg_catalog.octet_length(d.vector_clock::pg_catalog.text) OPERATOR(pg_catalog.<=) {bytes}
                THEN d.vector_clock::pg_catalog.text
        END,
        d.updated_at::bigint,
        NOT coalesce(d.deleted, false)
            AND pg_catalog.octet_length(d.data::pg_catalog.text) OPERATOR(pg_catalog.>) {bytes},
        pg_catalog.octet_length(d.vector_clock::pg_catalog.text) OPERATOR(pg_catalog.>) {bytes}
    FROM {schema}.documents AS d
    ORDER BY d.collection COLLATE pg_catalog."C", d.id COLLATE pg_catalog."C""#;

const OPERATIONS: &str = r#"
    DECLARE express_operations NO SCROLL CURSOR FOR
    SELECT
        pg_catalog.substr(o.id::pg_catalog.text, 1, {characters}),
        pg_catalog.substr(o.type::pg_catalog.text, 1, {characters}),
        pg_catalog.substr(o.collection::pg_catalog.text, 1, {characters}),
        pg_catalog.substr(o.doc_id::pg_catalog.text, 1, {characters}),
        o."timestamp"::bigint,
        pg_catalog.substr(o.client_id::pg_catalog.text, 1, {characters}),
        CASE
            WHEN pg_catalog.octet_length(o.vector_clock::pg_catalog.text) OPERATOR(pg_catalog.<=) {bytes}
                THEN o.vector_clock::pg_catalog.text
        END,
        pg_catalog.octet_length(o.vector_clock::pg_catalog.text) OPERATOR(pg_catalog.>) {bytes}
    FROM {schema}.operations AS o
    ORDER BY
        o.collection COLLATE pg_catalog."C",
        o.doc_id COLLATE pg_catalog."C",
        o.received_at,
        o."timestamp",
        o.id COLLATE pg_catalog."C""#;

const DATA: &str = "
    SELECT
        CASE
            WHEN pg_catalog.octet_length(o.data::pg_catalog.text) OPERATOR(pg_catalog.<=) {bytes}
                THEN o.data::pg_catalog.text
        END,
        pg_catalog.octet_length(o.data::pg_catalog.text) OPERATOR(pg_catalog.>) {bytes}
    FROM {schema}.operations AS o
    WHERE o.id OPERATOR(pg_catalog.=) $1";

const GREATEST_TIMESTAMP: &str = r#"
    SELECT greatest(
        (SELECT pg_catalog.max(o."timestamp")::bigint FROM {schema}.operations AS o),
        (SELECT pg_catalog.max(d.updated_at)::bigint FROM {schema}.documents AS d)
    )"#;
