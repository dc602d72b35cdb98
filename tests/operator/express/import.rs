//! The fate of the rows of an Express server: whole, damaged, incomplete, and changed between two imports.

use std::sync::Arc;

use mongodb::bson::{Bson, Document as BsonDocument, doc};
use serde_json::{Value, json};
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::insert;
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::document::Document;
use syncflow_server::core::names::DocumentKey;
use syncflow_server::service::operator::{BadRow, BadRows, ExpressImported, ImportError, Operator};
use syncflow_server::store::memory::MemoryStore;

use super::layout::{Express, Kind, operation};

fn world() -> World {
    World::new(Arc::new(MemoryStore::new())).as_tenant("shop")
}

/// The effect of an import and the bad rows.
async fn import_as(
    express: &Express,
    world: &World,
    bad_rows: BadRows,
    is_dry_run: bool,
) -> Result<(ExpressImported, Vec<BadRow>), ImportError> {
    let operator = Operator::new(Arc::clone(&world.service));
    let mut import = operator.import_express(&world.tenant, express.source(), bad_rows, is_dry_run);
    let mut bad = Vec::new();
    while let Some(more) = import.next().await? {
        bad.extend(more);
    }
    Ok((import.finish().await?, bad))
}

async fn import(express: &Express, world: &World) -> ExpressImported {
    let (imported, bad) = import_as(express, world, BadRows::Stop, false).await.expect("it is imported");
    assert_eq!((imported.bad_rows, bad), (0, vec![]));
    let verified = Operator::new(Arc::clone(&world.service)).verify(&world.tenant).await.expect("the store works");
    assert_eq!((verified.findings, verified.are_counters_checked), (vec![], true));
    imported
}

async fn document(world: &World, id: &str) -> Option<Document> {
    let key = DocumentKey::parse("todos", id).expect("names");
    world.service.document_state(&world.tenant, &key).await.expect("it is read")
}

/// The data, the revision and the clock of a document.
async fn state(world: &World, id: &str) -> (Option<Value>, u64, Value) {
    let document = document(world, id).await.expect("it is there");
    let data = document.data.map(|data| serde_json::from_str(data.as_str()).expect("JSON"));
    (data, document.rev.get(), serde_json::from_str(document.clock.json().as_str()).expect("JSON"))
}

async fn knows(world: &World, id: &str) -> bool {
    let known = world.store.operation_ids(&world.tenant, None, 10_000).await.expect("the ids are read");
    known.iter().any(|known| known.as_str() == id)
}

fn milk() -> [Value; 2] {
    [
        operation("op-1", "insert", ("todos", "milk"), json!({"title": "Milk \"é\"", "n": 1.5}), ("phone", 1)),
        operation(
            "op-2",
            "update",
            ("todos", "milk"),
            json!({"done": true, "at": 1_700_000_000_000_u64}),
            ("phone", 2),
        ),
    ]
}

fn bread() -> [Value; 2] {
    [
        operation("op-3", "insert", ("todos", "bread"), json!({"title": "Bread"}), ("tablet", 1)),
        operation("op-4", "delete", ("todos", "bread"), Value::Null, ("tablet", 2)),
    ]
}

async fn documents_tombstones_ids_and_clocks_are_taken_over(kind: Kind) {
    let (express, world) = (Express::new(kind).await, world());
    express.push(&milk()).await;
    express.push(&bread()).await;
    let (tried, _) = import_as(&express, &world, BadRows::Stop, true).await.expect("it is tried");
    assert_eq!((tried.documents, tried.ids, tried.clients), (2, 4, 2));
    assert_eq!((world.log().await, document(&world, "milk").await), (vec![], None), "a dry run writes nothing");
    assert!(!knows(&world, "op-1").await && world.memory("phone").await.is_none());

    assert_eq!(import(&express, &world).await, tried);
    let data = json!({"title": "Milk \"é\"", "n": 1.5, "done": true, "at": 1_700_000_000_000_u64});
    assert_eq!(state(&world, "milk").await, (Some(data), 2, json!({"phone": 2})));
    assert_eq!(state(&world, "bread").await, (None, 2, json!({"tablet": 2})));
    let again = import(&express, &world).await;
    assert_eq!((again.documents, again.present_documents), (0, 2));

    // An operation whose answer was lost has no effect, and one that has seen the document is accepted.
    let lost = world.push([insert("op-1", "milk").client("phone").clock(&[("phone", 1)])]).await;
    assert_eq!(lost, [Outcome::Duplicate]);
    let next = insert("op-5", "milk").client("phone").clock(&[("phone", 3)]);
    assert_eq!(world.push([next]).await, [Outcome::Applied]);
    let after = import(&express, &world).await;
    assert_eq!((after.documents, after.present_documents), (0, 2), "a later state stays");

    // A client comes with a number of the Express server, and no later answer gives such a number for a place.
    for (client, since) in [("phone", 1_700_000_000_002_u64), ("tablet", 0)] {
        let page = world.since(client, since, 1).await;
        assert_eq!(page.entries[0].key.id.as_str(), "bread", "it is answered from the beginning");
        let given = page.entries.iter().map(|entry| entry.timestamp.get()).max().expect("an entry");
        assert!(given > 1_700_000_000_002, "another database of the client may have this number: {given}");
    }
}

async fn the_log_completes_what_the_express_server_left_half_done(kind: Kind) {
    let (express, world) = (Express::new(kind).await, world());
    express.push(&milk()).await;
    for missed in [
        operation("op-5", "update", ("todos", "milk"), json!({"title": "Oat milk"}), ("phone", 3)),
        operation("op-6", "insert", ("todos", "eggs"), json!({"title": "Eggs"}), ("phone", 4)),
        operation("op-7", "delete", ("todos", "salt"), Value::Null, ("phone", 5)),
        operation("op-8", "update", ("todos", "milk"), json!({"title": "Overwritten"}), ("laptop", 1)),
    ] {
        express.log(&missed).await;
    }
    let imported = import(&express, &world).await;
    assert_eq!((imported.documents, imported.ids), (3, 6));
    assert_eq!((imported.completed_documents, imported.overwritten_operations), (3, 1));
    let (data, rev, clock) = state(&world, "milk").await;
    assert_eq!(data.expect("it is live")["title"], "Oat milk");
    assert_eq!((rev, clock), (4, json!({"laptop": 1, "phone": 3})), "a client with either operation takes it");
    assert_eq!(state(&world, "eggs").await, (Some(json!({"title": "Eggs"})), 1, json!({"phone": 4})));
    assert_eq!(state(&world, "salt").await, (None, 1, json!({"phone": 5})));
    let again = import(&express, &world).await;
    assert_eq!((again.documents, again.present_documents), (0, 3));
}

async fn documents_without_operations_are_taken_over(kind: Kind) {
    let (express, world) = (Express::new(kind).await, world());
    express.push(&milk()).await;
    express.push(&bread()).await;
    express.compact(1_800_000_000_000).await;
    let imported = import(&express, &world).await;
    assert_eq!((imported.documents, imported.ids, imported.clients), (2, 0, 2));
    assert_eq!(document(&world, "milk").await.expect("it is there").client_id.as_str(), "phone");
    // The last operation of the document is not known any more. It changes nothing if it is pushed again.
    let repeated = insert("op-2", "milk").client("phone").data(r#"{"done":true}"#).clock(&[("phone", 2)]);
    assert_eq!(world.push([repeated]).await, [Outcome::Applied]);
}

async fn a_later_import_takes_what_came_meanwhile(kind: Kind) {
    let (express, world) = (Express::new(kind).await, world());
    express.push(&milk()).await;
    express.push(&bread()).await;
    import(&express, &world).await;
    // The Express server does not number the deletion of a document, so the next state has the same revision here.
    let revived = operation("op-5", "insert", ("todos", "bread"), json!({"title": "Rye"}), ("tablet", 3));
    let new = operation("op-6", "insert", ("todos", "eggs"), json!({}), ("phone", 3));
    express.push(&[revived, new]).await;
    let imported = import(&express, &world).await;
    assert_eq!((imported.documents, imported.present_documents), (2, 1));
    assert_eq!(state(&world, "bread").await, (Some(json!({"title": "Rye"})), 3, json!({"tablet": 3})));
    assert!(knows(&world, "op-5").await && knows(&world, "op-6").await);

    let client = insert("op-7", "eggs").client("phone").clock(&[("phone", 4)]);
    assert_eq!(world.push([client]).await, [Outcome::Applied]);
    let elsewhere = operation("op-8", "update", ("todos", "eggs"), json!({"a": 1}), ("laptop", 1));
    express.log(&elsewhere).await;
    let problem = import_as(&express, &world, BadRows::Skip, false).await.expect_err("two servers have changed it");
    assert_eq!(problem.to_string(), "document todos/eggs: it was changed in another way in this tenant");
    // Its connection is closed meanwhile, so that the tables are free to be dropped.
    express.ids().await;
}

async fn an_update_whose_document_is_missing_is_bad(kind: Kind) {
    let (express, world) = (Express::new(kind).await, world());
    express.push(&milk()).await;
    express.log(&operation("op-5", "update", ("todos", "eggs"), json!({"n": 1}), ("phone", 3))).await;
    let problem = import_as(&express, &world, BadRows::Stop, false).await.expect_err("it stops").to_string();
    assert!(problem.starts_with("operations \"op-5\"") && problem.contains("document is missing"), "{problem}");
    let (tried, bad) = import_as(&express, &world, BadRows::Stop, true).await.expect("a dry run does not stop");
    assert_eq!((tried.bad_rows, bad.len()), (1, 1));
    let (imported, bad) = import_as(&express, &world, BadRows::Skip, false).await.expect("it is skipped");
    assert_eq!((imported.bad_rows, bad.len(), imported.ids), (1, 1, 2));
    assert!(document(&world, "eggs").await.is_none() && !knows(&world, "op-5").await);
}

macro_rules! on_both {
    ($($check:ident)*) => {
        mod from_postgresql {
            $(#[tokio::test]
            async fn $check() {
                super::$check(super::Kind::Postgres).await;
            })*
        }

        mod from_mongodb {
            $(#[tokio::test]
            async fn $check() {
                super::$check(super::Kind::Mongo).await;
            })*
        }
    };
}

on_both! {
    documents_tombstones_ids_and_clocks_are_taken_over
    the_log_completes_what_the_express_server_left_half_done
    documents_without_operations_are_taken_over
    a_later_import_takes_what_came_meanwhile
    an_update_whose_document_is_missing_is_bad
}

/// The places and problems of all bad rows, and what is imported beside them.
async fn bad_rows(express: &Express) -> (ExpressImported, Vec<String>) {
    let world = world();
    import_as(express, &world, BadRows::Stop, false).await.expect_err("it stops at the first one");
    let (imported, bad) = import_as(express, &world, BadRows::Skip, false).await.expect("they are skipped");
    let mut bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
    bad.sort_unstable();
    assert_eq!(imported.bad_rows, bad.len() as u64);
    assert!(document(&world, "milk").await.is_some(), "its neighbours are imported");
    (imported, bad)
}

/// Asserts that each bad row has its place and its problem.
fn assert_named(bad: &[String], expected: &[(&str, &str)]) {
    assert_eq!(bad.len(), expected.len(), "{bad:#?}");
    for (bad, (place, problem)) in bad.iter().zip(expected) {
        assert!(bad.starts_with(place) && bad.contains(problem) && !bad.contains("hunter2"), "{bad}: {problem}");
    }
}

#[tokio::test]
async fn damaged_rows_of_tables_are_reported_with_their_places() {
    let express = Express::new(Kind::Postgres).await;
    express.push(&milk()).await;
    express.push(&bread()).await;
    express
        .execute(
            "INSERT INTO {schema}.documents (collection, id, data, rev, vector_clock, updated_at) VALUES
                 ('todos', 'd1', '[\"hunter2\"]', 1, '{}', 5),
                 ('todos', 'd2', '{}', -1, '{}', 5),
                 ('todos', 'd3', '{}', 1, '{\"a\": \"hunter2\"}', 5),
                 ('todos', 'd4', '{}', 1, '{}', 9007199254740992),
                 ('todos', 'd5', jsonb_build_object('a', repeat('x', 3000000)), 1, '{}', 5),
                 ('todos', repeat('e', 300), '{}', 1, '{}', 5);
             INSERT INTO {schema}.operations (id, type, collection, doc_id, timestamp, client_id, vector_clock) VALUES
                 ('', 'insert', 'todos', 'milk', 5, 'a', '{}'),
                 ('o1', 'insert', 'todos', 'milk', 0, 'a', '{}'),
                 ('o2', 'insert', 'todos', 'milk', 5, repeat('a', 257), '{}'),
                 ('o3', 'insert', 'todos', 'milk', 5, 'a', '7'),
                 ('o4', 'update', 'todos', 'd1', 5, 'a', '{}')",
        )
        .await;
    let (imported, bad) = bad_rows(&express).await;
    let expected = [
        ("documents \"todos\" \"d1\": ", "data must be"),
        ("documents \"todos\" \"d2\": ", "rev must be"),
        ("documents \"todos\" \"d3\": ", "the vector clock "),
        ("documents \"todos\" \"d4\": ", "updated_at must be"),
        ("documents \"todos\" \"d5\": ", "data has more than"),
        ("documents \"todos\" \"eee", "id must have at most"),
        ("operations \"\": ", "id must not be empty"),
        ("operations \"o1\": ", "timestamp must be"),
        ("operations \"o2\": ", "client_id must have"),
        ("operations \"o3\": ", "the vector clock "),
    ];
    assert_named(&bad, &expected);
    assert_eq!((imported.documents, imported.ids, imported.left_out_operations), (2, 4, 1));
}

#[tokio::test]
async fn damaged_rows_of_collections_are_reported_with_their_places() {
    let express = Express::new(Kind::Mongo).await;
    express.push(&milk()).await;
    let documents = express.collections().collection::<BsonDocument>("documents");
    let row = |id: &str| {
        doc! {
            "collection": "todos", "id": id, "data": {}, "rev": 1, "deleted": false, "vectorClock": {}, "updatedAt": 5,
        }
    };
    let with = |id: &str, name: &str, value: Bson| {
        let mut row = row(id);
        row.insert(name, value);
        row
    };
    let mut without_data = row("d7");
    without_data.remove("data");
    let rows = [
        with("d1", "data", Bson::String("hunter2".to_owned())),
        with("d2", "data", Bson::Document(doc! { "a": f64::NAN })),
        with("d3", "data", Bson::Document(doc! { "a": "hunter2\u{0}" })),
        with("d4", "deleted", Bson::String("hunter2".to_owned())),
        with("d5", "updatedAt", Bson::String("hunter2".to_owned())),
        with("d6", "vectorClock", Bson::Document(doc! { "a": 0.5 })),
        without_data,
        with("d8", "id", Bson::Int32(8)),
        row("d9"),
        row("d9"),
    ];
    documents.insert_many(rows).await.expect("rows");
    let log = express.collections().collection::<BsonDocument>("operations");
    let operation = |id: &str| {
        doc! {
            "_id": id, "id": id, "type": "insert", "collection": "todos", "docId": "milk", "timestamp": 5,
            "clientId": "a", "vectorClock": {},
        }
    };
    let mut without_type = operation("o1");
    without_type.remove("type");
    let mut early = operation("o2");
    early.insert("timestamp", -5);
    log.insert_many([without_type, early, operation("o\u{1}3")]).await.expect("rows");
    let (imported, bad) = bad_rows(&express).await;
    let expected = [
        ("documents \"todos\" \"d1\" (_id ", "data must be"),
        ("documents \"todos\" \"d2\" (_id ", "a number that no JSON can hold"),
        ("documents \"todos\" \"d3\" (_id ", "data "),
        ("documents \"todos\" \"d4\" (_id ", "deleted must be"),
        ("documents \"todos\" \"d5\" (_id ", "updatedAt must be"),
        ("documents \"todos\" \"d6\" (_id ", "the vector clock "),
        ("documents \"todos\" \"d7\" (_id ", "data is missing"),
        ("documents \"todos\" \"d9\" (_id ", "there twice"),
        ("documents \"todos\" ? (_id ", "id must be a text"),
        ("operations \"o1\" (_id ", "type is missing"),
        ("operations \"o2\" (_id ", "timestamp must be"),
        ("operations \"o\\u{1}3\" (_id ", "control characters"),
    ];
    assert_named(&bad, &expected);
    assert_eq!((imported.documents, imported.ids), (2, 2));
}

#[tokio::test]
async fn a_document_with_more_operations_than_are_read_at_once_is_taken_over() {
    const OPERATIONS: u64 = 1_250;
    let (express, world) = (Express::new(Kind::Postgres).await, world());
    express
        .execute(&format!(
            "INSERT INTO {{schema}}.documents (collection, id, data, rev, vector_clock, updated_at)
             VALUES ('todos', 'hot', '{{\"n\": 1100}}', 1100, '{{\"a\": 1100}}', 1100);
             INSERT INTO {{schema}}.operations
                 (id, type, collection, doc_id, data, timestamp, client_id, vector_clock, received_at)
             SELECT 'op-' || n, 'update', 'todos', 'hot', jsonb_build_object('n', n), n, 'a',
                 jsonb_build_object('a', n), now() + n * interval '1 s'
             FROM generate_series(1, {OPERATIONS}) AS n;
             INSERT INTO {{schema}}.documents (collection, id, data, rev, vector_clock, updated_at)
             SELECT 'todos', 'cold-' || n, '{{}}', 1, '{{\"b\": 1}}', n FROM generate_series(1, 350) AS n"
        ))
        .await;
    let imported = import(&express, &world).await;
    assert_eq!((imported.ids, imported.completed_documents), (OPERATIONS, 1));
    // The state is written before the first ids are known, and again after the last operation.
    assert_eq!(imported.documents, 352);
    assert_eq!(state(&world, "hot").await, (Some(json!({"n": OPERATIONS})), OPERATIONS, json!({"a": OPERATIONS})));
    let again = import(&express, &world).await;
    assert_eq!((again.documents, again.present_documents), (0, 352));
}

#[tokio::test]
async fn a_mongodb_that_changes_during_the_import_is_noticed() {
    let (express, world) = (Express::new(Kind::Mongo).await, world());
    express.push(&milk()).await;
    let operator = Operator::new(Arc::clone(&world.service));
    let mut import = operator.import_express(&world.tenant, express.source(), BadRows::Stop, false);
    while import.next().await.expect("it is imported").is_some() {}
    express.push(&bread()).await;
    let problem = import.finish().await.expect_err("there is more now").to_string();
    assert!(problem.contains("stop the Express server"), "{problem}");
    assert_eq!(super::import::import(&express, &world).await.documents, 1, "the next one continues");
}
