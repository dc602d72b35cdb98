//! A small Express server: its tables or collections, and what it does with operations, as far as tests need it.
//!
//! Its faults are part of it: pulls by timestamp, deletes that vanish, and compactions after which ids are unknown.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document as BsonDocument, doc};
use serde_json::{Map, Value, json};
use syncflow_server::store::express::ExpressSource;
use syncflow_server::store::mongodb::MongoExpress;
use syncflow_server::store::postgres::{PostgresExpress, PostgresOptions};
use tokio_postgres::Client;

use crate::support::mongo::Database;
use crate::support::postgres::{Schema, connect};

/// The database of an Express server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Mongo,
}

/// An Express server with a database of its own.
pub(crate) enum Express {
    Postgres { client: Box<Client>, schema: Schema },
    Mongo { database: Database, collections: mongodb::Database },
}

/// A row of its documents.
#[derive(Debug, Clone, PartialEq)]
struct Stored {
    data: Value,
    rev: i64,
    is_deleted: bool,
    clock: Value,
    updated_at: i64,
}

impl Express {
    pub(crate) async fn new(kind: Kind) -> Self {
        match kind {
            Kind::Postgres => {
                let schema = Schema::new();
                let client = Box::new(connect(&schema.options().connection_string).await);
                let name = schema.quoted();
                let layout = format!(
                    "CREATE SCHEMA {name};
                     CREATE TABLE {name}.operations (
                         id text PRIMARY KEY, type text NOT NULL, collection text NOT NULL, doc_id text NOT NULL,
                         data jsonb, timestamp bigint NOT NULL, client_id text NOT NULL,
                         synced boolean DEFAULT false, vector_clock jsonb NOT NULL,
                         received_at timestamp DEFAULT now()
                     );
                     CREATE TABLE {name}.documents (
                         id text NOT NULL, collection text NOT NULL, data jsonb NOT NULL, rev integer DEFAULT 1,
                         deleted boolean DEFAULT false, vector_clock jsonb NOT NULL, updated_at bigint NOT NULL,
                         PRIMARY KEY (collection, id)
                     )"
                );
                client.batch_execute(&layout).await.expect("the tables");
                Self::Postgres { client, schema }
            }
            Kind::Mongo => {
                let database = Database::new();
                let collections = database.connect().await;
                for name in ["operations", "documents"] {
                    collections.create_collection(name).await.expect("a collection");
                }
                Self::Mongo { database, collections }
            }
        }
    }

    /// The URL of the database.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres { schema, .. } => schema.options().connection_string,
            Self::Mongo { database, .. } => url_of(database),
        }
    }

    /// The schema, if it is not `public`.
    pub(crate) fn schema(&self) -> Option<&str> {
        match self {
            Self::Postgres { schema, .. } => Some(schema.name()),
            Self::Mongo { .. } => None,
        }
    }

    /// The database, as an import reads it.
    pub(crate) fn source(&self) -> Box<dyn ExpressSource> {
        match self {
            Self::Postgres { schema, .. } => {
                let options = PostgresOptions { schema: Some(schema.name().to_owned()), ..schema.options() };
                Box::new(PostgresExpress::new(&options).expect("the options are right"))
            }
            Self::Mongo { .. } => Box::new(MongoExpress::new(&self.url()).expect("the URI is right")),
        }
    }

    /// The answer to a push.
    pub(crate) async fn push(&self, operations: &[Value]) -> Value {
        let (mut accepted, mut conflicts) = (Vec::new(), Vec::new());
        for operation in operations {
            if self.knows(text(operation, "id")).await {
                accepted.push(operation.clone());
                continue;
            }
            let before = self.document(operation).await;
            if let Some(before) = before.as_ref().filter(|before| !covers(&operation["vectorClock"], &before.clock)) {
                let mut conflict = operation.clone();
                (conflict["data"], conflict["vectorClock"]) = (before.data.clone(), before.clock.clone());
                conflicts.push(conflict);
                continue;
            }
            let is_delete = operation["type"] == "delete";
            if is_delete && before.is_none() {
                // It is logged without an effect, or it is in neither list of the answer.
                if let Self::Mongo { .. } = self {
                    self.log(operation).await;
                    accepted.push(operation.clone());
                }
                continue;
            }
            self.log(operation).await;
            self.store(operation, before).await;
            accepted.push(operation.clone());
        }
        json!({ "accepted": accepted, "conflicts": conflicts })
    }

    /// Writes an operation to the log, and not its effect, as if the server were killed then.
    pub(crate) async fn log(&self, operation: &Value) {
        match self {
            Self::Postgres { client, schema } => {
                let sql = format!(
                    "INSERT INTO {}.operations
                         (id, type, collection, doc_id, data, timestamp, client_id, synced, vector_clock)
                     VALUES ($1, $2, $3, $4, $5::text::jsonb, $6, $7, false, $8::text::jsonb)",
                    schema.quoted()
                );
                let data = operation.get("data").filter(|data| !data.is_null()).map(Value::to_string);
                client
                    .execute(
                        &sql,
                        &[
                            &text(operation, "id"),
                            &text(operation, "type"),
                            &text(operation, "collection"),
                            &text(operation, "docId"),
                            &data,
                            &number(operation, "timestamp"),
                            &text(operation, "clientId"),
                            &operation["vectorClock"].to_string(),
                        ],
                    )
                    .await
                    .expect("a row");
            }
            Self::Mongo { collections, .. } => {
                let log = collections.collection::<BsonDocument>("operations");
                let Bson::Document(mut row) = bson(operation) else { panic!("an object") };
                let received_at = log.count_documents(doc! {}).await.expect("a number");
                row.insert("_id", text(operation, "id"));
                row.insert("receivedAt", bson(&json!(1_700_000_000_000_u64 + received_at)));
                log.insert_one(row).await.expect("a row");
            }
        }
    }

    async fn knows(&self, id: &str) -> bool {
        self.ids().await.iter().any(|known| known == id)
    }

    /// The ids of all operations in the log.
    pub(crate) async fn ids(&self) -> Vec<String> {
        self.rows().await.iter().map(|row| text(row, "id").to_owned()).collect()
    }

    /// The operations in the log, as pulls return them.
    async fn rows(&self) -> Vec<Value> {
        match self {
            Self::Postgres { client, schema } => {
                let sql = format!(
                    "SELECT jsonb_build_object(
                         'id', id, 'type', type, 'collection', collection, 'docId', doc_id, 'data', data,
                         'timestamp', timestamp, 'clientId', client_id, 'synced', synced, 'vectorClock', vector_clock
                     )::text FROM {}.operations ORDER BY timestamp",
                    schema.quoted()
                );
                let rows = client.query(&sql, &[]).await.expect("rows");
                rows.iter().map(|row| serde_json::from_str(row.get(0)).expect("JSON")).collect()
            }
            Self::Mongo { collections, .. } => {
                let log = collections.collection::<BsonDocument>("operations");
                let mut found = log.find(doc! {}).sort(doc! { "timestamp": 1 }).await.expect("rows");
                let mut rows = Vec::new();
                while found.advance().await.expect("rows") {
                    let row = found.deserialize_current().expect("a row");
                    rows.push(value(&Bson::Document(row)));
                }
                rows
            }
        }
    }

    /// The answer to a pull.
    pub(crate) async fn pull(&self, since: u64, limit: usize) -> Value {
        let rows = self.rows().await.into_iter().filter(|row| row["timestamp"].as_u64().is_some_and(|at| at > since));
        let rows: Vec<Value> = rows.take(limit).collect();
        json!({ "operations": rows, "conflicts": [] })
    }

    /// Removes the operations whose authors' time is earlier.
    pub(crate) async fn compact(&self, before_ms: u64) {
        let before = i64::try_from(before_ms).expect("a time");
        match self {
            Self::Postgres { client, schema } => {
                let sql = format!("DELETE FROM {}.operations WHERE timestamp < $1", schema.quoted());
                client.execute(&sql, &[&before]).await.expect("it is compacted");
            }
            Self::Mongo { collections, .. } => {
                let log = collections.collection::<BsonDocument>("operations");
                log.delete_many(doc! { "timestamp": { "$lt": before } }).await.expect("it is compacted");
            }
        }
    }

    /// The documents that are not deleted, each with its collection and id.
    pub(crate) async fn documents(&self) -> BTreeMap<(String, String), Value> {
        let rows: Vec<Value> = match self {
            Self::Postgres { client, schema } => {
                let sql = format!(
                    "SELECT jsonb_build_object(
                         'collection', collection, 'id', id, 'data', data, 'deleted', deleted
                     )::text FROM {}.documents",
                    schema.quoted()
                );
                let rows = client.query(&sql, &[]).await.expect("rows");
                rows.iter().map(|row| serde_json::from_str(row.get(0)).expect("JSON")).collect()
            }
            Self::Mongo { collections, .. } => {
                let documents = collections.collection::<BsonDocument>("documents");
                let mut found = documents.find(doc! {}).await.expect("rows");
                let mut rows = Vec::new();
                while found.advance().await.expect("rows") {
                    rows.push(value(&Bson::Document(found.deserialize_current().expect("a row"))));
                }
                rows
            }
        };
        let live = rows.into_iter().filter(|row| row["deleted"] != true);
        live.map(|row| ((text(&row, "collection").to_owned(), text(&row, "id").to_owned()), row["data"].clone()))
            .collect()
    }

    async fn document(&self, operation: &Value) -> Option<Stored> {
        let (collection, id) = (text(operation, "collection"), text(operation, "docId"));
        match self {
            Self::Postgres { client, schema } => {
                let sql = format!(
                    "SELECT data::text, rev, deleted, vector_clock::text, updated_at FROM {}.documents
                     WHERE collection = $1 AND id = $2",
                    schema.quoted()
                );
                let row = client.query_opt(&sql, &[&collection, &id]).await.expect("a row")?;
                Some(Stored {
                    data: serde_json::from_str(row.get(0)).expect("JSON"),
                    rev: row.get::<_, i32>(1).into(),
                    is_deleted: row.get(2),
                    clock: serde_json::from_str(row.get(3)).expect("JSON"),
                    updated_at: row.get(4),
                })
            }
            Self::Mongo { collections, .. } => {
                let documents = collections.collection::<BsonDocument>("documents");
                let found = documents.find_one(doc! { "collection": collection, "id": id }).await.expect("a row")?;
                let row = value(&Bson::Document(found));
                Some(Stored {
                    data: row["data"].clone(),
                    rev: number(&row, "rev"),
                    is_deleted: row["deleted"] == true,
                    clock: row["vectorClock"].clone(),
                    updated_at: number(&row, "updatedAt"),
                })
            }
        }
    }

    /// Writes the effect of an operation on a document.
    async fn store(&self, operation: &Value, before: Option<Stored>) {
        let data = operation["data"].clone();
        let (clock, updated_at) = (operation["vectorClock"].clone(), number(operation, "timestamp"));
        let stored = match (text(operation, "type"), before) {
            ("delete", Some(before)) => Stored { is_deleted: true, clock, updated_at, ..before },
            (kind, Some(before)) => {
                let data = if kind == "update" { spread(&before.data, &data) } else { data };
                Stored { data, rev: before.rev + 1, is_deleted: false, clock, updated_at }
            }
            (_, None) => Stored { data, rev: 1, is_deleted: false, clock, updated_at },
        };
        let (collection, id) = (text(operation, "collection"), text(operation, "docId"));
        let Stored { data, rev, is_deleted, clock, updated_at } = stored;
        match self {
            Self::Postgres { client, schema } => {
                let sql = format!(
                    "INSERT INTO {}.documents (collection, id, data, rev, deleted, vector_clock, updated_at)
                     VALUES ($1, $2, $3::text::jsonb, $4, $5, $6::text::jsonb, $7)
                     ON CONFLICT (collection, id) DO UPDATE SET
                         data = excluded.data, rev = excluded.rev, deleted = excluded.deleted,
                         vector_clock = excluded.vector_clock, updated_at = excluded.updated_at",
                    schema.quoted()
                );
                let rev = i32::try_from(rev).expect("few writes");
                let (data, clock) = (data.to_string(), clock.to_string());
                let row: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
                    [&collection, &id, &data, &rev, &is_deleted, &clock, &updated_at];
                client.execute(&sql, &row).await.expect("a row");
            }
            Self::Mongo { collections, .. } => {
                let documents = collections.collection::<BsonDocument>("documents");
                let row = json!({
                    "collection": collection, "id": id, "data": data, "rev": rev, "deleted": is_deleted,
                    "vectorClock": clock, "updatedAt": updated_at,
                });
                let Bson::Document(row) = bson(&row) else { panic!("an object") };
                let key = doc! { "collection": collection, "id": id };
                let is_there = documents.find_one(key.clone()).await.expect("a row").is_some();
                if is_there {
                    documents.update_one(key, doc! { "$set": row }).await.expect("a row");
                } else {
                    documents.insert_one(row).await.expect("a row");
                }
            }
        }
    }

    /// Executes a statement on the tables, with `{schema}` in the place of their schema.
    pub(crate) async fn execute(&self, sql: &str) {
        let Self::Postgres { client, schema } = self else { panic!("it has no tables") };
        client.batch_execute(&sql.replace("{schema}", &schema.quoted())).await.expect("the statement is right");
    }

    /// The collections.
    pub(crate) fn collections(&self) -> &mongodb::Database {
        let Self::Mongo { collections, .. } = self else { panic!("it has no collections") };
        collections
    }
}

/// The URL of a MongoDB database, which names it.
pub(crate) fn url_of(database: &Database) -> String {
    let (address, options) = database.uri().split_once('?').unwrap_or((database.uri(), "appName=tests"));
    format!("{}/{}?{options}", address.trim_end_matches('/'), database.name())
}

/// An operation as a client pushes it.
pub(crate) fn operation(id: &str, kind: &str, key: (&str, &str), data: Value, (client, counter): (&str, u64)) -> Value {
    let (collection, doc_id) = key;
    let mut clock = Map::new();
    clock.insert(client.to_owned(), counter.into());
    let mut operation = json!({
        "id": id, "type": kind, "collection": collection, "docId": doc_id, "clientId": client, "synced": false,
        "timestamp": 1_700_000_000_000_u64 + counter, "vectorClock": clock,
    });
    operation["data"] = data;
    operation
}

pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} of {value} is a text"))
}

fn number(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or_else(|| panic!("{key} of {value} is an integer"))
}

/// Whether a clock has no counter that is smaller than the other's.
fn covers(clock: &Value, other: &Value) -> bool {
    let counter = |clock: &Value, client: &str| clock[client].as_u64().unwrap_or(0);
    other.as_object().expect("a clock").keys().all(|client| counter(clock, client) >= counter(other, client))
}

fn spread(base: &Value, patch: &Value) -> Value {
    let mut merged = base.as_object().cloned().unwrap_or_default();
    merged.extend(patch.as_object().cloned().unwrap_or_default());
    Value::Object(merged)
}

/// A value as a driver in JavaScript stores it: numbers are doubles, unless they are small integers.
fn bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(boolean) => Bson::Boolean(*boolean),
        Value::Number(number) => match number.as_i64().and_then(|integer| i32::try_from(integer).ok()) {
            Some(integer) => Bson::Int32(integer),
            None => Bson::Double(number.as_f64().expect("a number")),
        },
        Value::String(text) => Bson::String(text.clone()),
        Value::Array(elements) => Bson::Array(elements.iter().map(bson).collect()),
        Value::Object(members) => {
            Bson::Document(members.iter().map(|(key, member)| (key.clone(), bson(member))).collect())
        }
    }
}

/// A stored value as JavaScript reads it.
fn value(bson: &Bson) -> Value {
    match bson {
        #[expect(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]
        Bson::Double(number) if number.fract() == 0.0 => json!(*number as i64),
        Bson::Double(number) => json!(number),
        Bson::Int32(integer) => json!(integer),
        Bson::Int64(integer) => json!(integer),
        Bson::Boolean(boolean) => json!(boolean),
        Bson::String(text) => json!(text),
        Bson::Array(elements) => elements.iter().map(value).collect(),
        Bson::Document(members) => Value::Object(members.iter().map(|(key, it)| (key.clone(), value(it))).collect()),
        _ => Value::Null,
    }
}
