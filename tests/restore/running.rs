//! Databases that are dropped, deleted or replaced while a server has them open.

use std::fs;
use std::sync::Arc;

use mongodb::bson::{Document, doc};
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{insert, update};
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::store::mongodb::MongoStore;
use syncflow_server::store::postgres::{PostgresOptions, PostgresStore};
use syncflow_server::store::{Commit, ErrorKind};

use super::{copy, world};
use crate::support::mongo::Database;
use crate::support::postgres::{CleanUp, Schema, connect, key_values, server_url, unique_name};
use crate::support::stores::open_sqlite;

/// A world that has written and read, so that its server has learnt all that it keeps about its database.
async fn used(world: World) -> World {
    for number in 0..40 {
        world.apply([update(&format!("op-{number}"), "doc-1")]).await;
    }
    world.page(None, 10).await;
    world.since("me", 0, 10).await;
    world.since_of_nobody(0, 10).await;
    world.query(&[("n", "1")]).await;
    world
}

/// Everything works, and the log is empty at the beginning.
async fn begins_again(world: &World) {
    assert_eq!(world.stats().await.operations, 0);
    world.apply([insert("op-1", "doc-1"), insert("again", "doc-2")]).await;
    let numbers: Vec<u64> = world.log().await.iter().map(|entry| entry.seq.get()).collect();
    assert_eq!(numbers, [1, 2]);
    world.since("me", 0, 10).await;
    world.since_of_nobody(0, 10).await;
    assert!(world.query(&[("n", "1")]).await.is_empty());
    assert_eq!(world.compact(0).await, 2);
}

fn postgres(options: &PostgresOptions) -> World {
    world(Arc::new(PostgresStore::new(options).expect("the options are right")))
}

#[tokio::test]
async fn a_schema_of_postgres_that_is_dropped_is_made_again_by_the_next_request() {
    let schema = Schema::new();
    let world = used(postgres(&schema.options())).await;
    let admin = connect(&server_url()).await;
    admin.batch_execute(&format!("DROP SCHEMA {} CASCADE", schema.quoted())).await.expect("it can be dropped");
    begins_again(&world).await;
    admin.batch_execute(&format!("DROP SCHEMA {} CASCADE", schema.quoted())).await.expect("it can be dropped");
    world.store.check().await.expect("the store recovers");
}

#[tokio::test]
async fn a_database_of_postgres_that_is_dropped_is_unavailable_until_it_is_made_again() {
    let (url, name) = (server_url(), unique_name());
    let admin = connect(&url).await;
    let create = format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0");
    admin.batch_execute(&create).await.expect("it can be made");
    let _clean_up = CleanUp::new(&url, format!("DROP DATABASE {name} WITH (FORCE)"));
    let world = used(postgres(&PostgresOptions::new(&format!("{} dbname={name}", key_values(&url))))).await;
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.expect("it can be dropped");
    let error = world.store.check().await.expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    admin.batch_execute(&create).await.expect("it can be made again");
    begins_again(&world).await;
}

#[tokio::test]
async fn tables_of_postgres_that_another_server_made_again_are_used_with_what_is_in_them() {
    let schema = Schema::new();
    let world = used(postgres(&schema.options())).await;
    let admin = connect(&server_url()).await;
    admin.batch_execute(&format!("DROP SCHEMA {} CASCADE", schema.quoted())).await.expect("it can be dropped");
    postgres(&schema.options()).apply([insert("other", "doc-9")]).await;
    assert_eq!(world.stats().await.operations, 1);
    world.apply([insert("op-1", "doc-1")]).await;
    assert_eq!(world.log().await.len(), 2);
}

#[tokio::test]
async fn a_file_of_sqlite_that_is_deleted_is_written_no_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, elsewhere) = (directory.path().join("syncflow.db"), directory.path().join("elsewhere.db"));
    let world = used(world(open_sqlite(&file))).await;
    let batch = world.decide([insert("new", "new")]).await;
    fs::rename(&file, &elsewhere).expect("it can be moved");
    let error = world.store.commit(&world.tenant, batch.clone()).await.expect_err("it is gone");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("was deleted or replaced"), "{error}");
    assert!(world.store.check().await.is_err(), "health tells of it");
    fs::rename(&elsewhere, &file).expect("it can be put back");
    assert_eq!(world.commit(batch).await, Commit::Done);
    assert_eq!(world.stats().await.operations, 41);
}

#[tokio::test]
async fn a_file_of_sqlite_that_is_replaced_is_not_taken_for_the_one_that_was_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, backup) = (directory.path().join("syncflow.db"), directory.path().join("backup.db"));
    drop(used(world(open_sqlite(&file))).await);
    copy(&file, &backup);
    let world = world(open_sqlite(&file));
    world.apply([insert("new", "new")]).await;
    let batch = world.decide([insert("newer", "newer")]).await;
    fs::rename(&backup, &file).expect("it can be replaced");
    let error = world.store.commit(&world.tenant, batch).await.expect_err("it is another file");
    assert!(error.to_string().contains("was deleted or replaced"), "{error}");
    assert!(world.store.stats(&world.tenant, UnixMs::EPOCH..=UnixMs::EPOCH).await.is_err(), "nor is it read");
}

/// The world over a database, and a direct connection to the database.
async fn on_mongodb(database: &Database) -> (World, mongodb::Database) {
    let store = MongoStore::new(&database.options()).expect("the options are right");
    (used(world(Arc::new(store))).await, database.connect().await)
}

/// Whether the unique index of ids exists and the database is marked as complete.
async fn is_complete(theirs: &mongodb::Database) -> bool {
    let schema = theirs.collection::<Document>("syncflow_schema").find_one(doc! { "_id": "schema" }).await;
    let is_marked = schema.expect("it is read").is_some_and(|schema| schema.get_bool("indexes").unwrap_or(false));
    let indexes = theirs.collection::<Document>("operations").list_index_names().await.expect("they are listed");
    is_marked && indexes.len() == 3
}

#[tokio::test]
async fn a_database_of_mongodb_that_is_dropped_gets_its_indexes_again_before_anything_is_accepted() {
    let database = Database::new();
    let (world, theirs) = on_mongodb(&database).await;
    theirs.drop().await.expect("it can be dropped");
    world.apply([insert("op-1", "doc-1")]).await;
    assert!(is_complete(&theirs).await);
    let numbers: Vec<u64> = world.log().await.iter().map(|entry| entry.seq.get()).collect();
    assert_eq!(numbers, [1]);
    theirs.drop().await.expect("it can be dropped");
    world.as_tenant("another").apply([insert("op-1", "doc-1")]).await;
    assert!(is_complete(&theirs).await);
}

#[tokio::test]
async fn a_log_of_mongodb_that_is_dropped_gets_its_indexes_again_before_anything_is_accepted() {
    let database = Database::new();
    let (world, theirs) = on_mongodb(&database).await;
    theirs.collection::<Document>("operations").drop().await.expect("it can be dropped");
    world.apply([insert("new", "doc-9")]).await;
    assert!(is_complete(&theirs).await);
}

#[tokio::test]
async fn a_log_of_mongodb_that_is_dropped_gets_its_indexes_again_from_a_process_that_has_not_written_to_it() {
    let database = Database::new();
    let (_, theirs) = on_mongodb(&database).await;
    theirs.collection::<Document>("operations").drop().await.expect("it can be dropped");
    let store = MongoStore::new(&database.options()).expect("the options are right");
    let other = world(Arc::new(store));
    other.apply([insert("new", "new-1")]).await;
    assert!(is_complete(&theirs).await);
}

/// Fails without writing anything, and says which collection was dropped.
async fn refuses_without(world: &World, theirs: &mongodb::Database, collection: &str) {
    let dropped = theirs.collection::<Document>(collection);
    let batch = world.decide([insert("new", "new")]).await;
    let entries_before = theirs.collection::<Document>("operations").count_documents(doc! {}).await;
    let error = world.store.commit(&world.tenant, batch).await.expect_err("a part is missing");
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains(&format!("collection {collection} was dropped")), "{error}");
    let entries = theirs.collection::<Document>("operations").count_documents(doc! {}).await;
    assert_eq!(entries.expect("they are counted"), entries_before.expect("they are counted"));
    assert_eq!(dropped.count_documents(doc! {}).await.expect("they are counted"), 0);
}

#[tokio::test]
async fn heads_of_mongodb_that_are_dropped_without_their_log_are_missed() {
    let database = Database::new();
    let (world, theirs) = on_mongodb(&database).await;
    theirs.collection::<Document>("syncflow_heads").drop().await.expect("it can be dropped");
    refuses_without(&world, &theirs, "syncflow_heads").await;
}

#[tokio::test]
async fn documents_of_mongodb_that_are_dropped_without_their_log_are_missed_by_the_next_process() {
    let database = Database::new();
    let (_, theirs) = on_mongodb(&database).await;
    theirs.collection::<Document>("documents").drop().await.expect("it can be dropped");
    let store = MongoStore::new(&database.options()).expect("the options are right");
    refuses_without(&world(Arc::new(store)), &theirs, "documents").await;
}
