//! Promises of the MongoDB store alone: ownership of a database, standalone servers, concurrent cold starts, and
//! writers that die.

mod contention;
mod plans;
pub(crate) mod proxy;
mod round_trips;
mod watching;

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::insert;
use syncflow_server::core::json::Object;
use syncflow_server::limits::protocol::INTEGER_MAX;
use syncflow_server::store::mongodb::{MongoOptions, MongoStore};
use syncflow_server::store::{ErrorKind, Store as _};

use self::proxy::{Guise, Proxy};
use crate::support::mongo::Database;
use crate::support::mongo_server::MongoServer;

fn store(options: &MongoOptions) -> MongoStore {
    MongoStore::new(options).expect("the options are right")
}

fn world(options: &MongoOptions) -> World {
    World::new(Arc::new(store(options)))
}

/// A world whose commands are recorded. It has pushed an operation before.
async fn watched(database: &Database) -> (World, Proxy) {
    watched_in_guise(Guise::Itself, database).await
}

/// The same over a server that pretends to be another one.
async fn watched_in_guise(guise: Guise, database: &Database) -> (World, Proxy) {
    let options = database.options();
    let proxy = Proxy::in_guise(guise, &options.uri).await;
    let world = world(&MongoOptions { uri: proxy.uri.clone(), ..options });
    world.apply([insert("first", "first")]).await;
    proxy.take_commands();
    (world, proxy)
}

/// The checks of commits, over a server that cannot write to several collections in one command.
mod commits_to_an_older_server {
    use syncflow_server::for_each_conformance_check;

    macro_rules! one_test_per_check_of_commits {
        (only port::commit: [$($check:ident,)*]) => {
            $(#[tokio::test]
            async fn $check() {
                let database = crate::support::mongo::Database::new();
                let (world, _proxy) = super::watched_in_guise(super::Guise::Older, &database).await;
                syncflow_server::conformance::port::commit::$check(&world.as_tenant("another")).await;
            })*
        };
        (only $group:ident::$other:ident: [$($check:ident,)*]) => {};
        ($($group:ident { $($modules:tt)* })*) => {
            $(one_test_per_check_of_commits!(of $group $($modules)*);)*
        };
        (of port $($module:ident: [$($check:ident,)*])*) => {
            $(one_test_per_check_of_commits!(only port::$module: [$($check,)*]);)*
        };
        (of service $($modules:tt)*) => {};
    }

    for_each_conformance_check!(one_test_per_check_of_commits =>);
}

#[tokio::test]
async fn many_cold_starts_at_once_make_the_collections_and_indexes() {
    let database = Database::new();
    let worlds: Vec<World> = (0..6).map(|_| world(&database.options())).collect();
    join_all(worlds.iter().enumerate().map(|(number, world)| async move {
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}"))]).await;
    }))
    .await;
    assert_eq!(worlds[0].log().await.len(), 6);
    let indexes = database.connect().await.collection::<Document>("operations").list_index_names().await;
    assert_eq!(indexes.expect("the indexes are listed").len(), 3);
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let database = Database::new();
    let theirs = database.connect().await.collection::<Document>("documents");
    theirs.insert_one(doc! { "_id": "todos:doc-1", "title": "theirs" }).await.expect("it is inserted");
    let error = store(&database.options()).check().await.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.to_string().contains("collection documents is of another program"), "{error}");
    assert!(error.to_string().contains("import-express"), "{error}");
    assert_eq!(theirs.count_documents(doc! {}).await.expect("they are counted"), 1);

    let elsewhere = MongoOptions { documents_collection: "docs".to_owned(), ..database.options() };
    let world = world(&elsewhere);
    world.apply([insert("op-1", "doc-1")]).await;
    let error = store(&database.options()).check().await.expect_err("the names differ");
    assert!(error.to_string().contains("its collections are operations and docs"), "{error}");
}

#[tokio::test]
async fn texts_are_kept_byte_for_byte_whatever_bson_would_make_of_them() {
    let database = Database::new();
    let world = world(&database.options());
    let data = r#"{"$set":{"a.b":1.0},"n":12345678901234567890,"é":"\u00e9","z":1,"a":[ ],"":{"$ne":null}}"#;
    let draft = insert("$op.1", "$doc.1").data(data).clock(&[("$a.b", INTEGER_MAX), ("$", 1)]).at(INTEGER_MAX);
    world.apply([draft.clone()]).await;
    let entry = world.log().await.remove(0);
    assert_eq!(entry.data().map(Object::as_str), Some(data));
    assert_eq!(entry.clock.as_str(), draft.done().clock.json().as_str());
    assert_eq!(world.document("$doc.1").await.map(|document| document.data.as_str().to_owned()), Some(data.to_owned()));
}

/// The traces of a writer that died in the middle of a commit: its session is announced, and its transaction has locked
/// the head.
async fn leave_a_dead_writer(database: &Database) -> mongodb::ClientSession {
    let theirs = database.connect().await;
    let mut session = theirs.client().start_session().await.expect("a session");
    let announcement = doc! {
        "_id": "default\0dead", "tenant": "default", "beats": 1_i64,
        "session": session.id().get("id").expect("an id").clone(),
    };
    theirs.collection("syncflow_writers").insert_one(announcement).await.expect("it is announced");
    session.start_transaction().await.expect("it begins");
    let heads = theirs.collection::<RawDocumentBuf>("syncflow_heads");
    let take = heads.update_one(doc! { "_id": "default" }, doc! { "$inc": { "seq": 1_i64 } }).session(&mut session);
    assert_eq!(take.await.expect("the head is taken").matched_count, 1);
    session
}

#[tokio::test]
async fn a_writer_that_died_with_the_head_in_its_hands_holds_up_nobody_for_long() {
    let database = Database::new();
    let world = world(&database.options()).as_tenant("default");
    world.apply([insert("op-1", "doc-1")]).await;
    let mut dead = leave_a_dead_writer(&database).await;
    let began = Instant::now();
    let (log, ()) = tokio::join!(world.log(), world.apply([insert("op-2", "doc-2")]));
    assert!(log.len() <= 2, "readers are not held up");
    // The server itself would take a minute, and the store would give up long before that.
    println!("held up for {:?}", began.elapsed());
    assert!(dead.commit_transaction().await.is_err(), "its transaction is gone");
    let numbers: Vec<u64> = world.log().await.iter().map(|entry| entry.seq.get()).collect();
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn a_server_that_stands_alone_is_refused_with_what_helps() {
    let server = MongoServer::standalone().await;
    let store = store(&MongoOptions::new(&server.uri()));
    let refusal = store.refuse_unsuitable_server().await.expect_err("it is refused").to_string();
    assert!(refusal.contains("rs.initiate()") && !refusal.contains('\n'), "{refusal}");
    let error = store.check().await.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Failed);
}

#[tokio::test]
async fn while_the_server_is_down_the_store_is_unavailable_and_then_it_recovers() {
    let mut server = MongoServer::start().await;
    let before = world(&MongoOptions::new(&server.uri())).as_tenant("default");
    before.apply([insert("op-1", "doc-1")]).await;
    server.kill();
    let born_meanwhile = world(&MongoOptions::new(&server.uri())).as_tenant("default");
    for world in [&before, &born_meanwhile] {
        let error = world.store.check().await.expect_err("the server is down");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    server.start_again().await;
    born_meanwhile.apply([insert("op-2", "doc-2")]).await;
    assert_eq!(before.log().await.len(), 2);
}
