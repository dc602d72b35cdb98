//! The database with its schema: statements on it run once the schema is up to date.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::connections::{Connections, Lease, Parameter, Text, in_time};
use super::failure::Failure;

/// The steps from nothing to the current schema, in order; `syncflow_migrations` has a row for each that was taken.
///
/// A step must leave the functions that the version before calls: processes of both run side by side during an update.
const MIGRATIONS: [&str; 3] = [
    include_str!("migrations/0001_schema.sql"),
    include_str!("migrations/0002_functions.sql"),
    include_str!("migrations/0003_compaction.sql"),
];

/// A database and the schema in it that is ours.
#[derive(Debug)]
pub(super) struct Database {
    connections: Connections,
    /// The schema's name as SQL has it, in quotes.
    schema: String,
    is_current: AtomicBool,
}

impl Database {
    pub(super) fn new(connections: Connections, schema: &str) -> Self {
        let schema = format!("\"{}\"", schema.replace('"', "\"\""));
        Self { connections, schema, is_current: AtomicBool::new(false) }
    }

    /// The rows that one statement answers, in one round trip; `{schema}` in it stands for the schema's name.
    pub(super) async fn rows(&self, sql: &'static str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        self.ensure_current().await?;
        self.connections.rows(Text::Fixed, &self.sql(sql), parameters).await
    }

    /// Whether the plan of a statement with a fixed text is kept from one request to the next.
    pub(super) fn keeps_plans(&self) -> bool {
        self.connections.are_to_the_server()
    }

    /// As [`Self::rows`], for a statement whose text is made for one request.
    pub(super) async fn rows_of_text(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        self.ensure_current().await?;
        self.connections.rows(Text::OfOneRequest, &self.sql(sql), parameters).await
    }

    /// The row that one statement answers.
    pub(super) async fn row(&self, sql: &'static str, parameters: &[Parameter<'_>]) -> Result<Row, Failure> {
        self.rows(sql, parameters).await?.pop().ok_or(Failure::Answer("no row"))
    }

    /// Whether the server answers and has the schema.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.rows("SELECT 1 FROM {schema}.syncflow_heads LIMIT 1", &[]).await.map(drop)
    }

    /// Begins a transaction that sees one moment and writes nothing.
    pub(super) async fn snapshot(&self) -> Result<Snapshot<'_>, Failure> {
        self.ensure_current().await?;
        let lease = self.connections.lease().await?;
        in_time(lease.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")).await?;
        Ok(Snapshot { database: self, lease })
    }

    /// Brings the schema up to date, if no request of this process has found it so yet.
    ///
    /// Requests that come meanwhile do the same for themselves: to look is one round trip, and the database lets only
    /// one of them change something. So none depends on how another one fares.
    async fn ensure_current(&self) -> Result<(), Failure> {
        if !self.is_current.load(Ordering::Acquire) {
            self.bring_up_to_date().await?;
            self.is_current.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn sql(&self, template: &str) -> String {
        template.replace("{schema}", &self.schema)
    }

    /// Takes the steps that are missing. With none missing this only reads, so that a role without any right to create
    /// will do once the schema is there.
    async fn bring_up_to_date(&self) -> Result<(), Failure> {
        let taken = match self.connections.rows(Text::OfOneRequest, &self.sql(STEPS_TAKEN), &[]).await {
            Err(failure) if is_nothing_there(&failure) => 0,
            rows => steps_taken(&rows?)?,
        };
        if taken >= MIGRATIONS.len() {
            return Ok(());
        }
        let lease = self.connections.lease().await?;
        self.take_steps(&lease).await?;
        lease.give_back();
        Ok(())
    }

    /// Takes the missing steps in one transaction, behind a lock that makes others who would do the same wait.
    async fn take_steps(&self, lease: &Lease<'_>) -> Result<(), Failure> {
        in_time(lease.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")).await?;
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended('syncflow ' || $1, 0))";
        in_time(lease.query_typed(lock, &[(&self.schema, Type::TEXT)])).await?;
        let is_missing = "SELECT to_regnamespace($1) IS NULL";
        if in_time(lease.query_typed_one(is_missing, &[(&self.schema, Type::TEXT)])).await?.try_get(0)? {
            in_time(lease.batch_execute(&self.sql("CREATE SCHEMA {schema}"))).await?;
        }
        in_time(lease.batch_execute(&self.sql(BEGIN_STEPS))).await?;
        let taken = steps_taken(&in_time(lease.query_typed(&self.sql(STEPS_TAKEN), &[])).await?)?;
        for (step, sql) in MIGRATIONS.iter().enumerate().skip(taken) {
            in_time(lease.batch_execute(sql)).await?;
            in_time(lease.batch_execute("INSERT INTO syncflow_migrations DEFAULT VALUES")).await?;
            tracing::info!(postgres.schema = self.schema, postgres.step = step + 1, "schema brought up to date");
        }
        in_time(lease.batch_execute("COMMIT")).await
    }
}

/// How many steps were taken.
const STEPS_TAKEN: &str = "SELECT count(*) FROM {schema}.syncflow_migrations";

/// What the steps find: their names mean what is in the schema, and so do those in the functions that they create.
const BEGIN_STEPS: &str = "
    SET LOCAL search_path = {schema}, pg_temp;
    CREATE TABLE IF NOT EXISTS syncflow_migrations (
        step integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        taken_at timestamptz NOT NULL DEFAULT now()
    )";

fn steps_taken(rows: &[Row]) -> Result<usize, Failure> {
    let row = rows.first().ok_or(Failure::Answer("no row"))?;
    usize::try_from(row.try_get::<_, i64>(0)?).map_err(|_| Failure::Answer("a negative count"))
}

fn is_nothing_there(failure: &Failure) -> bool {
    failure.code().is_some_and(|code| [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code))
}

/// A transaction that sees one moment.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    database: &'a Database,
    lease: Lease<'a>,
}

impl Snapshot<'_> {
    /// The rows that a statement answers.
    pub(super) async fn rows(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        in_time(self.lease.query_typed(&self.database.sql(sql), parameters)).await
    }

    /// Ends the transaction; one that is dropped closes its connection.
    pub(super) async fn end(self) -> Result<(), Failure> {
        in_time(self.lease.batch_execute("COMMIT")).await?;
        self.lease.give_back();
        Ok(())
    }
}
