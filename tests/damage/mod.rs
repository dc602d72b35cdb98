//! Rows that were damaged from outside: every store returns an error that names the column, and never a wrong value.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use mongodb::bson::{Bson, Document, doc};
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{COLLECTION, inserts, key};
use syncflow_server::conformance::world::query_of;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::names::ClientId;
use syncflow_server::core::numbers::{Seq, UnixMs};
use syncflow_server::core::progress::Progress;
use syncflow_server::store::mongodb::MongoStore;
use syncflow_server::store::postgres::PostgresStore;
use syncflow_server::store::{ChangesRequest, ErrorKind, LoadRequest, Result};

use crate::support::mongo::Database;
use crate::support::postgres::{Schema, connect, server_url};
use crate::support::stores::open_sqlite;

/// The new value of a column.
#[derive(Debug, Clone, Copy)]
enum Value {
    Number(i64),
    Text(&'static str),
}

/// A table that every store has, under its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Heads,
    Log,
    Documents,
    Clients,
}

/// The reads after the damage.
#[derive(Debug, Clone, Copy)]
enum Read {
    Log,
    State,
    Document,
    Load,
    Filtered,
    Stats,
    Client,
}

const CUT: Value = Value::Text("{\"secret\":");
const NEGATIVE: Value = Value::Number(-77);

/// The column, its value, and the reads that must fail.
const CASES: [(Table, &str, Value, &[Read]); 10] = [
    (Table::Heads, "horizon", NEGATIVE, &[Read::Log, Read::State]),
    (Table::Log, "timestamp", NEGATIVE, &[Read::Log]),
    (Table::Log, "kind", Value::Text("secret"), &[Read::Log]),
    (Table::Log, "data", CUT, &[Read::Log]),
    (Table::Log, "clock", CUT, &[Read::Log]),
    (Table::Documents, "rev", NEGATIVE, &[Read::Document, Read::Load, Read::Filtered]),
    (Table::Documents, "timestamp", NEGATIVE, &[Read::State, Read::Load]),
    (Table::Documents, "data", CUT, &[Read::State, Read::Document, Read::Load, Read::Filtered]),
    (Table::Documents, "clock", CUT, &[Read::State, Read::Load]),
    (Table::Clients, "pulled_seq", NEGATIVE, &[Read::Stats, Read::Client]),
];

async fn read(world: &World, read: Read) -> Result<()> {
    let (store, tenant) = (&world.store, &world.tenant);
    let pull = |cursor| ChangesRequest::operations(cursor, 9);
    match read {
        Read::Log => store.changes(tenant, pull(Some(Cursor::BEGINNING))).await.map(drop),
        Read::State => store.changes(tenant, pull(None)).await.map(drop),
        Read::Document => store.document(tenant, &key("doc-1")).await.map(drop),
        Read::Load => {
            let request = LoadRequest { keys: vec![key("doc-1")], ..LoadRequest::default() };
            store.load(tenant, request).await.map(drop)
        }
        Read::Filtered => store.query(tenant, query_of(COLLECTION, &[("n", "1")])).await.map(drop),
        Read::Stats => store.stats(tenant, UnixMs::EPOCH..=UnixMs::new(5)).await.map(drop),
        Read::Client => store.client(tenant, &ClientId::literal("me")).await.map(drop),
    }
}

/// Damages one column after the other, each in its own tenant, and reads.
async fn every_damage_is_an_error(
    world: World,
    damage: impl Fn(Table, &'static str, Value, String) -> BoxFuture<'static, ()>,
) {
    for (number, (table, column, value, reads)) in CASES.into_iter().enumerate() {
        let world = world.as_tenant(&format!("tenant-{number}"));
        world.apply(inserts(2).into_iter().map(|draft| draft.data("{\"n\":1}"))).await;
        let progress = Progress { pulled_seq: Seq::new(1), seen_at_ms: UnixMs::new(5) };
        world.store.note_pulled(&world.tenant, &ClientId::literal("me"), progress).await.expect("it is noted");
        for what in reads {
            read(&world, *what).await.unwrap_or_else(|error| panic!("{what:?} before the damage: {error}"));
        }
        damage(table, column, value, world.tenant.as_str().to_owned()).await;
        for what in reads {
            let error = read(&world, *what).await.expect_err(&format!("{table:?} {column} is damaged: {what:?}"));
            assert_eq!(error.kind(), ErrorKind::Failed, "{error}");
            let text = error.to_string();
            let names_the_column = matches!(value, Value::Text(_)) || text.contains(column.trim_end_matches("_seq"));
            assert!(names_the_column && !text.contains("secret") && !text.contains("77"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_damaged_row_of_sqlite_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("syncflow.db");
    let world = World::new(open_sqlite(&file));
    every_damage_is_an_error(world, |table, column, value, tenant| {
        let table = match table {
            Table::Heads => "heads",
            Table::Log => "operations",
            Table::Documents => "documents",
            Table::Clients => "clients",
        };
        let connection = rusqlite::Connection::open(&file).expect("the file opens");
        let sql = format!("UPDATE {table} SET {column} = ?1 WHERE tenant = ?2");
        let changed = match value {
            Value::Number(number) => connection.execute(&sql, rusqlite::params![number, tenant]),
            Value::Text(text) => connection.execute(&sql, rusqlite::params![text, tenant]),
        };
        assert!(changed.expect("the statement is right") > 0, "{sql}");
        Box::pin(std::future::ready(()))
    })
    .await;
}

#[tokio::test]
async fn a_damaged_row_of_postgres_is_an_error() {
    let schema = Schema::new();
    let world = World::new(Arc::new(PostgresStore::new(&schema.options()).expect("the options are right")));
    let quoted = schema.quoted();
    every_damage_is_an_error(world, |table, column, value, tenant| {
        let column = if (table, column) == (Table::Documents, "data") { "body" } else { column };
        let table = match table {
            Table::Heads => "heads",
            Table::Log => "operations",
            Table::Documents => "documents",
            Table::Clients => "clients",
        };
        let sql = format!("UPDATE {quoted}.syncflow_{table} SET \"{column}\" = $1 WHERE tenant = $2");
        Box::pin(async move {
            let client = connect(&server_url()).await;
            let changed = match value {
                Value::Number(number) => client.execute(&sql, &[&number, &tenant]).await,
                Value::Text(text) => client.execute(&sql, &[&text, &tenant]).await,
            };
            assert!(changed.expect("the statement is right") > 0, "{sql}");
        })
    })
    .await;
}

#[tokio::test]
async fn a_damaged_row_of_mongodb_is_an_error() {
    let database = Database::new();
    let options = database.options();
    let store = MongoStore::new(&options).expect("the options are right");
    let direct = database.connect().await;
    every_damage_is_an_error(World::new(Arc::new(store)), |table, column, value, tenant| {
        let column = if column == "pulled_seq" { "pulledSeq" } else { column };
        let collection = direct.collection::<Document>(match table {
            Table::Heads => "syncflow_heads",
            Table::Log => &options.operations_collection,
            Table::Documents => &options.documents_collection,
            Table::Clients => "syncflow_clients",
        });
        let value = match value {
            Value::Number(number) => Bson::Int64(number),
            Value::Text(text) => Bson::String(text.to_owned()),
        };
        Box::pin(async move {
            let changed = collection.update_many(doc! { "tenant": tenant }, doc! { "$set": { column: value } }).await;
            assert!(changed.expect("the command is right").matched_count > 0, "{column}");
        })
    })
    .await;
}
