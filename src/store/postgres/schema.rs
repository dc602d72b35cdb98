//! Finds our schema, and brings it up to date step by step.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connections::{Connections, Lease, StatementKind, in_time, in_time_of_step};
use super::failure::Failure;
use crate::limits::store::STORE_STATEMENT_TIME_MAX_MS;
use crate::limits::store::postgres::STORE_STEP_TIME_MAX_MS;

/// The schema of a new database, if none is set.
const DEFAULT: &str = "syncflow";

/// The schema that an earlier version used if none was set.
const DEFAULT_BEFORE: &str = "public";

/// A step towards the current schema.
enum Step {
    /// Creates objects that must not exist yet.
    Create(&'static str),
    /// Replaces functions of an earlier version.
    Replace(&'static str),
}

/// The steps from an empty database to the current schema, in order. `syncflow_migrations` has a row for each completed
/// step.
///
/// A step must keep the functions that the previous version calls, because both versions run side by side during an
/// update. The functions of the second step once had the schema itself in their search path, which is why there is the
/// third step.
const STEPS: [Step; 17] = [
    Step::Create(include_str!("migrations/0001_schema.sql")),
    Step::Create(include_str!("migrations/0002_functions.sql")),
    Step::Replace(include_str!("migrations/0002_functions.sql")),
    Step::Create(include_str!("migrations/0003_compaction.sql")),
    Step::Create(include_str!("migrations/0004_bounds.sql")),
    Step::Replace(include_str!("migrations/0005_modes.sql")),
    Step::Create(include_str!("migrations/0006_usage.sql")),
    Step::Create(include_str!("migrations/0007_feeds.sql")),
    Step::Create(include_str!("migrations/0008_owners.sql")),
    Step::Create(include_str!("migrations/0009_rules.sql")),
    Step::Create(include_str!("migrations/0010_places.sql")),
    Step::Create(include_str!("migrations/0011_operator.sql")),
    Step::Create(include_str!("migrations/conflicts/0012_resolutions.sql")),
    Step::Create(include_str!("migrations/conflicts/0013_known_ids.sql")),
    Step::Create(include_str!("migrations/counting/0014_stamps.sql")),
    Step::Create(include_str!("migrations/counting/0015_erasing.sql")),
    Step::Create(include_str!("migrations/counting/0016_retention.sql")),
];

/// A schema that may be ours.
#[derive(Debug)]
struct Candidate {
    name: String,
    exists: bool,
    /// The owner of the table of steps, if it exists.
    owner: Option<Owner>,
    /// Whether the owner of the schema is trusted. True for a schema that does not exist.
    is_schema_owner_trusted: bool,
    may_everybody_create: bool,
}

/// The owner of the table of steps.
#[derive(Debug)]
struct Owner {
    role: String,
    /// Whether this owner is the server's own role, a role of which it is a member, the owner of the database, or a
    /// superuser.
    is_trusted: bool,
    owns_schema: bool,
}

impl Candidate {
    /// Why a schema is not used that the settings do not name. Its owner, or every role, may have created the tables,
    /// and may create functions beside ours.
    fn doubt(&self) -> Option<String> {
        let Self { name, .. } = self;
        let set = format!("to use it all the same, set the schema to {name}, and to use another one, set that");
        if !self.is_schema_owner_trusted {
            return Some(format!("the schema {name} belongs to another role; {set}"));
        }
        let owner = self.owner.as_ref().filter(|owner| !owner.is_trusted && self.may_everybody_create)?;
        let role = &owner.role;
        Some(format!(
            "the table syncflow_migrations in the schema {name} belongs to the role {role}, and everybody may create in \
             that schema; {set}"
        ))
    }
}

/// The text of a statement, with the schema's name in it.
pub(super) fn in_schema(template: &str, schema: &str) -> String {
    template.replace("{schema}", schema)
}

/// A name in quotes for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Finds the schema, takes the missing steps, and returns the name. If no step is missing, this only reads, so a role
/// without any right to create is enough.
///
/// A step may take longer on a large table than the request that begins it may. So it goes on if the request ends.
pub(super) async fn bring_up_to_date(connections: &Arc<Connections>, given: Option<&str>) -> Result<String, Failure> {
    let names = given.map_or_else(|| vec![DEFAULT, DEFAULT_BEFORE], |given| vec![given]);
    let rows = connections.rows(StatementKind::OfOneRequest, CANDIDATES, &[(&names, Type::TEXT_ARRAY)]).await?;
    let schema = choose(rows.iter().map(candidate).collect::<Result<_, _>>()?, given.is_some())?;
    let taken = match schema.owner {
        None => 0,
        Some(_) => {
            let sql = in_schema(STEPS_TAKEN, &quoted(&schema.name));
            steps_taken(&connections.rows(StatementKind::OfOneRequest, &sql, &[]).await?)?
        }
    };
    if taken < STEPS.len() {
        let (connections, name) = (Arc::clone(connections), schema.name.clone());
        let steps = tokio::spawn(async move {
            let lease = connections.lease().await?;
            take_steps(&lease, &name).await?;
            lease.give_back();
            Ok::<(), Failure>(())
        });
        steps.await.map_err(|_| Failure::Answer("the steps of the schema panicked"))??;
    }
    if schema.may_everybody_create {
        tracing::warn!(
            postgres.schema = schema.name,
            "everybody may create in the schema of the tables; end that with REVOKE CREATE ON SCHEMA {} FROM PUBLIC",
            quoted(&schema.name),
        );
    }
    Ok(schema.name)
}

/// The schema from the settings, or else the first one with our tables, or else the default one.
fn choose(candidates: Vec<Candidate>, is_given: bool) -> Result<Candidate, Failure> {
    let mut candidates = candidates;
    let found = candidates.iter().position(|candidate| candidate.owner.is_some());
    if candidates.is_empty() {
        return Err(Failure::Answer("no row"));
    }
    let chosen = candidates.swap_remove(found.unwrap_or(0));
    let doubt = if is_given { None } else { chosen.doubt() };
    doubt.map_or(Ok(chosen), |doubt| Err(Failure::Unsuitable(doubt)))
}

/// The beginning of the steps. A process that is frozen between two of them must not hold their locks.
fn begin_steps() -> String {
    BEGIN_STEPS
        .replace("{time_max_ms}", &STORE_STEP_TIME_MAX_MS.to_string())
        .replace("{idle_max_ms}", &STORE_STATEMENT_TIME_MAX_MS.to_string())
}

/// Takes the missing steps in one transaction. A lock makes other processes wait that would do the same.
async fn take_steps(lease: &Lease<'_>, name: &str) -> Result<(), Failure> {
    let schema = quoted(name);
    in_time(lease.batch_execute(&begin_steps())).await?;
    in_time_of_step(lease.query_typed(LOCK, &[(&schema, Type::TEXT)])).await?;
    let found = candidate(&in_time(lease.query_typed_one(CANDIDATES, &[(&vec![name], Type::TEXT_ARRAY)])).await?)?;
    if !found.exists {
        in_time(lease.batch_execute(&in_schema("CREATE SCHEMA {schema}", &schema))).await?;
    }
    let taken = match &found.owner {
        // The owner of the table may have put a trigger on it, which would run as the server's role.
        Some(owner) if !(owner.is_trusted || owner.owns_schema) => {
            let role = &owner.role;
            let why = format!("the table syncflow_migrations in the schema {name} belongs to the role {role}");
            return Err(Failure::Unsuitable(why));
        }
        Some(_) => steps_taken(&in_time(lease.query_typed(&in_schema(STEPS_TAKEN, &schema), &[])).await?)?,
        None => {
            tell_of_express(lease, name).await?;
            in_time(lease.batch_execute(&in_schema(CREATE_STEPS, &schema))).await?;
            0
        }
    };
    for (index, step) in STEPS.iter().enumerate().skip(taken) {
        in_time_of_step(lease.batch_execute(&step.sql(&schema))).await?;
        in_time(lease.batch_execute(&in_schema(NOTE_STEP, &schema))).await?;
        tracing::info!(postgres.schema = name, postgres.step = index + 1, "schema brought up to date");
    }
    in_time(lease.batch_execute("COMMIT")).await
}

impl Step {
    fn sql(&self, schema: &str) -> String {
        let template = match self {
            Self::Create(template) => (*template).to_owned(),
            Self::Replace(template) => template.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"),
        };
        // The functions contain the name of the schema, which must not end their text.
        let mut tags = (0_u64..).map(|number| format!("$body{number}$"));
        let tag = tags.find(|tag| !schema.contains(tag)).unwrap_or_default();
        in_schema(&template.replace("$$", &tag), schema)
    }
}

/// Logs whether there are tables of the Express server, because their owner may expect its documents here.
async fn tell_of_express(lease: &Lease<'_>, name: &str) -> Result<(), Failure> {
    let tables: Vec<String> = in_time(lease.query_typed(TABLES_OF_EXPRESS, &[]))
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    if !tables.is_empty() {
        tracing::error!(
            postgres.schema = name,
            postgres.tables = tables.join(", "),
            "the database has tables of the Express server, and nothing is taken over from them by itself: the command \
             import-express reads them into a tenant (docs/from-express.md)",
        );
    }
    Ok(())
}

fn candidate(row: &Row) -> Result<Candidate, Failure> {
    let owner = match row.try_get(2)? {
        Some(role) => Some(Owner { role, is_trusted: row.try_get(3)?, owns_schema: row.try_get(4)? }),
        None => None,
    };
    Ok(Candidate {
        name: row.try_get(0)?,
        exists: row.try_get(1)?,
        owner,
        is_schema_owner_trusted: row.try_get(5)?,
        may_everybody_create: row.try_get(6)?,
    })
}

fn steps_taken(rows: &[Row]) -> Result<usize, Failure> {
    let row = rows.first().ok_or(Failure::Answer("no row"))?;
    usize::try_from(row.try_get::<_, i64>(0)?).map_err(|_| Failure::Answer("a negative count"))
}

/// The existing objects of some schemas, ordered by name. A superuser is treated as a member of every role, so only the
/// membership of other roles is meaningful.
const CANDIDATES: &str = "
    WITH trusted AS (
        SELECT r.oid
        FROM pg_catalog.pg_roles AS r
        JOIN pg_catalog.pg_roles AS me ON me.rolname OPERATOR(pg_catalog.=) current_user
        JOIN pg_catalog.pg_database AS d ON d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
        WHERE
            r.rolsuper
            OR r.rolname OPERATOR(pg_catalog.=) ANY ('{pg_database_owner}')
            OR r.oid OPERATOR(pg_catalog.=) me.oid
            OR r.oid OPERATOR(pg_catalog.=) d.datdba
            OR (NOT me.rolsuper AND pg_catalog.pg_has_role(r.oid, 'MEMBER'))
    )
    SELECT
        asked.name,
        n.oid IS NOT NULL,
        pg_catalog.pg_get_userbyid(m.relowner)::pg_catalog.text,
        EXISTS (SELECT FROM trusted AS t WHERE t.oid OPERATOR(pg_catalog.=) m.relowner),
        coalesce(m.relowner OPERATOR(pg_catalog.=) n.nspowner, false),
        n.oid IS NULL OR EXISTS (SELECT FROM trusted AS t WHERE t.oid OPERATOR(pg_catalog.=) n.nspowner),
        coalesce(pg_catalog.has_schema_privilege('public', n.oid, 'CREATE'), false)
    FROM pg_catalog.unnest($1) WITH ORDINALITY AS asked (name, place)
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.nspname OPERATOR(pg_catalog.=) asked.name
    LEFT JOIN pg_catalog.pg_class AS m
        ON m.relnamespace OPERATOR(pg_catalog.=) n.oid
        AND m.relname OPERATOR(pg_catalog.=) 'syncflow_migrations'
        AND m.relkind OPERATOR(pg_catalog.=) 'r'
    ORDER BY asked.place";

/// The number of completed steps.
const STEPS_TAKEN: &str = "SELECT pg_catalog.count(*) FROM {schema}.syncflow_migrations";

/// From here on, a name without a schema is one of PostgreSQL's own.
const BEGIN_STEPS: &str = "
    BEGIN ISOLATION LEVEL READ COMMITTED;
    SET LOCAL search_path = pg_catalog, pg_temp;
    SET LOCAL statement_timeout = {time_max_ms};
    SET LOCAL lock_timeout = {time_max_ms};
    SET LOCAL idle_in_transaction_session_timeout = {idle_max_ms}";

const LOCK: &str = "
    SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('syncflow ' OPERATOR(pg_catalog.||) $1, 0))";

const CREATE_STEPS: &str = "
    CREATE TABLE {schema}.syncflow_migrations (
        step integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        taken_at timestamptz NOT NULL DEFAULT pg_catalog.now()
    )";

const NOTE_STEP: &str = "INSERT INTO {schema}.syncflow_migrations DEFAULT VALUES";

/// Tables with the columns in which the Express server stores operations, except tables of our own store.
const TABLES_OF_EXPRESS: &str = "
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE
        c.relkind OPERATOR(pg_catalog.=) 'r'
        AND (
            SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute AS a
            WHERE
                a.attrelid OPERATOR(pg_catalog.=) c.oid
                AND a.attname OPERATOR(pg_catalog.=) ANY ('{timestamp,client_id,collection}')
        ) OPERATOR(pg_catalog.=) 3
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_class AS m
            WHERE
                m.relnamespace OPERATOR(pg_catalog.=) c.relnamespace
                AND m.relname OPERATOR(pg_catalog.=) 'syncflow_migrations'
        )
    ORDER BY 1";
