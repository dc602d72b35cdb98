//! A database and its schema. Statements run when the schema is up to date.

use std::sync::{Arc, PoisonError, RwLock};

use tokio_postgres::Row;

use super::connections::{Connections, Lease, Parameter, StatementKind, in_time};
use super::failure::Failure;
use super::schema::{self, in_schema, quoted};
use crate::limits::store::QUERY_FILTERED_MAX_REQUESTS;
use crate::store::PoolState;
use crate::store::turns::FairTurns;

/// A database and our schema in it.
#[derive(Debug)]
pub(super) struct Database {
    connections: Arc<Connections>,
    /// Separate connections for checks, if there is more than one for requests.
    for_checks: Option<Connections>,
    /// The turns of queries that look at many documents.
    pub(super) filters: FairTurns,
    /// The schema in the settings.
    given: Option<String>,
    /// The schema's name in quotes, when it is known to be up to date. If the schema or the whole database is dropped
    /// while the server runs, it is no longer known.
    current: RwLock<Option<Arc<str>>>,
}

impl Database {
    pub(super) fn new(connections: Connections, for_checks: Option<Connections>, schema: Option<&str>) -> Self {
        Self {
            connections: Arc::new(connections),
            for_checks,
            filters: FairTurns::new(QUERY_FILTERED_MAX_REQUESTS),
            given: schema.map(str::to_owned),
            current: RwLock::default(),
        }
    }

    /// The rows of one statement, in one round trip. `{schema}` in it is replaced by the schema's name.
    pub(super) async fn rows(&self, sql: &'static str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        self.rows_in_schema(StatementKind::Fixed, sql, parameters).await
    }

    /// The use of the connections for requests.
    pub(super) fn pool(&self) -> PoolState {
        self.connections.pool()
    }

    /// Whether the plan of a statement with a fixed text is kept between requests.
    pub(super) fn keeps_plans(&self) -> bool {
        self.connections.are_to_the_server()
    }

    /// Like [`Self::rows`], for a statement whose text is made for one request.
    pub(super) async fn rows_of_text(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        self.rows_in_schema(StatementKind::OfOneRequest, sql, parameters).await
    }

    /// The only row of a statement.
    pub(super) async fn row(&self, sql: &'static str, parameters: &[Parameter<'_>]) -> Result<Row, Failure> {
        self.rows(sql, parameters).await?.pop().ok_or(Failure::Answer("no row"))
    }

    /// Checks that the server answers and has the schema.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        let sql = "SELECT 1 FROM {schema}.syncflow_heads LIMIT 1";
        let Some(for_checks) = &self.for_checks else { return self.rows(sql, &[]).await.map(drop) };
        let schema = self.schema().await?;
        match for_checks.rows(StatementKind::Fixed, &in_schema(sql, &schema), &[]).await {
            Err(failure) if failure.is_about_schema() => self.rows(sql, &[]).await.map(drop),
            answered => answered.map(drop),
        }
    }

    /// Begins a read-only transaction that sees one moment.
    pub(super) async fn begin_reading(&self) -> Result<ReadTransaction<'_>, Failure> {
        let schema = self.schema().await?;
        let lease = self.connections.lease().await?;
        in_time(lease.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")).await?;
        Ok(ReadTransaction { database: self, schema, lease })
    }

    /// Like [`Self::rows`]. If the schema has changed, it is brought up to date and the statement is executed again.
    /// This is safe because a statement that names missing objects has no effect.
    async fn rows_in_schema(
        &self,
        kind: StatementKind,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let schema = self.schema().await?;
        match self.connections.rows(kind, &in_schema(sql, &schema), parameters).await {
            Err(failure) if failure.is_about_schema() => {
                tracing::warn!(
                    postgres.schema = &*schema,
                    error.cause = %failure,
                    "the schema is no longer as it was; it is looked at again",
                );
                self.forget(&schema);
                let schema = self.schema().await?;
                self.connections.rows(kind, &in_schema(sql, &schema), parameters).await
            }
            answered => answered,
        }
    }

    /// The schema. The first request of a process brings it up to date.
    ///
    /// Requests that come meanwhile do the same themselves: a check takes two round trips, and the database lets only
    /// one of them change the schema. So no request depends on another one.
    pub(super) async fn schema(&self) -> Result<Arc<str>, Failure> {
        let known = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(schema) = known {
            return Ok(schema);
        }
        // This future is large and rarely used, so it is boxed to keep the futures of all statements small.
        let name = Box::pin(schema::bring_up_to_date(&self.connections, self.given.as_deref())).await?;
        let schema: Arc<str> = quoted(&name).into();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&schema));
        Ok(schema)
    }

    /// Forgets the schema, and closes idle connections, because their prepared statements may belong to a schema that
    /// is gone.
    fn forget(&self, schema: &Arc<str>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, schema)) {
            *current = None;
        }
        drop(current);
        self.connections.close_idle();
        if let Some(for_checks) = &self.for_checks {
            for_checks.close_idle();
        }
    }
}

/// A transaction that sees one moment.
#[derive(Debug)]
pub(super) struct ReadTransaction<'a> {
    database: &'a Database,
    schema: Arc<str>,
    lease: Lease<'a>,
}

impl ReadTransaction<'_> {
    /// The rows of a statement.
    pub(super) async fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let rows = in_time(self.lease.query_typed(&in_schema(sql, &self.schema), parameters)).await;
        if rows.as_ref().is_err_and(Failure::is_about_schema) {
            self.database.forget(&self.schema);
        }
        rows
    }

    /// Ends the transaction. If it is dropped instead, its connection is closed.
    pub(super) async fn end(self) -> Result<(), Failure> {
        in_time(self.lease.batch_execute("COMMIT")).await?;
        self.lease.give_back();
        Ok(())
    }
}
