//! Whether an index serves each search of the store.
//!
//! The test does not ask the server for its plans, because a server with few documents may well prefer to read all of
//! them. It compares every filter and order in the commands with the existing indexes. The rules are those of MongoDB's
//! manual ("The ESR (Equality, Sort, Range) Guideline"). Commands about the few writers of a tenant are left out.

use std::collections::HashMap;

use mongodb::bson::{Bson, Document, doc};
use syncflow_server::conformance::draft::{delete, insert, update};
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::feed::{Collections, Feed};
use syncflow_server::core::names::{ClientId, Collection};
use syncflow_server::core::numbers::{Seq, UnixMs};
use syncflow_server::core::retention::Expiry;
use syncflow_server::store::{ChangesRequest, CompactStep, ExpireStep, Expired};

use super::proxy::{Proxy, name_of, target_of};
use super::watched;
use crate::support::mongo::Database;

/// A search in a collection: its filter and its order.
#[derive(Debug)]
struct Look {
    collection: String,
    filter: Document,
    order: Document,
}

/// The searches of a command, in every collection that it reads.
fn looks_of(command: &Document) -> Vec<Look> {
    let collection = target_of(command).unwrap_or_default();
    let document = |of: &Document, key: &str| of.get_document(key).cloned().unwrap_or_default();
    let look = |filter, order| Look { collection: collection.to_owned(), filter, order };
    let each = |list: &str| {
        let statements = command.get_array(list).expect("a list of statements").iter().filter_map(Bson::as_document);
        statements.map(|statement| look(document(statement, "q"), Document::new())).collect()
    };
    match name_of(command) {
        "find" => vec![look(document(command, "filter"), document(command, "sort"))],
        "findAndModify" => vec![look(document(command, "query"), document(command, "sort"))],
        "update" => each("updates"),
        "delete" => each("deletes"),
        "bulkWrite" => looks_of_bulk(command),
        "aggregate" => looks_of_pipeline(collection, command.get_array("pipeline").expect("a pipeline")),
        "insert" | "commitTransaction" | "abortTransaction" => Vec::new(),
        other => panic!("a command that this test does not know: {other}"),
    }
}

fn looks_of_bulk(command: &Document) -> Vec<Look> {
    let list = |key: &str| command.get_array(key).expect("a list").iter().filter_map(Bson::as_document);
    let namespaces: Vec<&str> = list("nsInfo").filter_map(|namespace| namespace.get_str("ns").ok()).collect();
    let look = |statement: &Document| {
        if name_of(statement) == "insert" {
            return None;
        }
        let index = statement.get_i32("update").expect("an update of a collection");
        let collection = namespaces[usize::try_from(index).expect("an index")].split_once('.').expect("a database").1;
        let filter = statement.get_document("filter").expect("a filter").clone();
        Some(Look { collection: collection.to_owned(), filter, order: Document::new() })
    };
    list("ops").filter_map(look).collect()
}

fn looks_of_pipeline(collection: &str, pipeline: &[Bson]) -> Vec<Look> {
    let stages: Vec<&Document> = pipeline.iter().filter_map(Bson::as_document).collect();
    let first = |index: usize, stage: &str| stages.get(index).and_then(|found| found.get_document(stage).ok().cloned());
    // A pipeline that does not begin with a filter reads the whole collection.
    let mut looks = vec![Look {
        collection: collection.to_owned(),
        filter: first(0, "$match").unwrap_or_default(),
        order: first(1, "$sort").unwrap_or_default(),
    }];
    for stage in stages {
        let inner = stage.get_document("$lookup").or_else(|_| stage.get_document("$unionWith"));
        let Ok(inner) = inner else { continue };
        let other = inner.get_str("from").or_else(|_| inner.get_str("coll")).expect("a collection");
        match inner.get_str("foreignField") {
            Ok(field) => looks.push(Look {
                collection: other.to_owned(),
                filter: [(field.to_owned(), Bson::String(String::new()))].into_iter().collect(),
                order: Document::new(),
            }),
            Err(_) => looks.extend(looks_of_pipeline(other, inner.get_array("pipeline").expect("a pipeline"))),
        }
    }
    looks
}

/// How a filter restricts a field.
#[derive(PartialEq)]
enum Bound {
    Values,
    Range,
    Open,
}

fn bound(filter: &Document, field: &str) -> Bound {
    match filter.get(field) {
        None => Bound::Open,
        Some(Bson::Document(operators)) if operators.contains_key("$in") => Bound::Values,
        Some(Bson::Document(operators)) if operators.keys().all(|operator| operator.starts_with('$')) => Bound::Range,
        Some(_) => Bound::Values,
    }
}

/// Whether an index serves a search: it must begin with the fields that have fixed values, followed by the order or the
/// range. The tenant alone is not enough.
fn serves(index: &Document, look: &Look) -> bool {
    let keys: Vec<&String> = index.keys().collect();
    let given = keys.iter().take_while(|key| bound(&look.filter, key) == Bound::Values).count();
    let behind = &keys[given..];
    let is_in_order =
        look.order.keys().enumerate().all(|(place, field)| behind.get(place).is_some_and(|key| *key == field));
    let is_range = behind.first().is_some_and(|key| bound(&look.filter, key) == Bound::Range);
    let has_order = !look.order.is_empty();
    let leads = given > 0 || (is_range && keys.len() == 1);
    leads && is_in_order && (has_order || is_range || behind.is_empty() || given > 1)
}

/// The keys of the indexes, by collection.
async fn indexes(database: &Database) -> HashMap<String, Vec<Document>> {
    let database = database.connect().await;
    let mut indexes = HashMap::new();
    for name in database.list_collection_names().await.expect("the collections are listed") {
        let mut models = database.collection::<Document>(&name).list_indexes().await.expect("the indexes are listed");
        let mut keys = Vec::new();
        while models.advance().await.expect("the next index") {
            keys.push(models.deserialize_current().expect("an index").keys);
        }
        indexes.insert(name, keys);
    }
    indexes
}

/// The ways of a look: one for each alternative of `$or`, with the rest of the filter. If an alternative is only about
/// ranges, there is one way.
fn ways(look: Look) -> Vec<Look> {
    let Look { collection, filter, order } = look;
    let alternatives: Vec<Document> = match filter.get_array("$or") {
        Ok(either) => either.iter().filter_map(Bson::as_document).cloned().collect(),
        Err(_) => Vec::new(),
    };
    let is_about_values = |field: &Bson| !matches!(field, Bson::Document(_));
    if alternatives.is_empty() || !alternatives.iter().all(|filter| filter.values().any(is_about_values)) {
        return vec![Look { collection, filter, order }];
    }
    let mut rest = filter;
    rest.remove("$or");
    let way = |alternative: Document| {
        let filter = rest.clone().into_iter().chain(alternative).collect();
        Look { collection: collection.clone(), filter, order: order.clone() }
    };
    alternatives.into_iter().map(way).collect()
}

fn assert_served(what: &str, proxy: &Proxy, indexes: &HashMap<String, Vec<Document>>) {
    let looks: Vec<Look> = proxy.take_commands().iter().flat_map(looks_of).flat_map(ways).collect();
    assert!(!looks.is_empty(), "{what} looks for something");
    for look in looks {
        let of_collection = indexes.get(&look.collection).unwrap_or_else(|| panic!("no collection for {look:?}"));
        assert!(of_collection.iter().any(|index| serves(index, &look)), "{what}: no index serves {look:?}");
    }
}

#[tokio::test]
async fn every_command_is_served_by_an_index() {
    let database = Database::new();
    let (world, proxy) = watched(&database).await;
    let indexes = indexes(&database).await;
    let served = |what: &str| assert_served(what, &proxy, &indexes);

    world.apply([insert("op-1", "doc-1"), insert("op-2", "doc-2")]).await;
    served("a push");
    world.apply([update("op-3", "doc-1").clock(&[("a", 3)]), delete("op-4", "doc-2").clock(&[("a", 4)])]).await;
    served("a push of new versions");
    super::world(&database.options()).apply([insert("op-5", "doc-5")]).await;
    proxy.take_commands();
    world.apply([update("op-6", "doc-1").clock(&[("a", 6)])]).await;
    served("a push beside somebody else");
    world.document("doc-1").await;
    served("a document");
    world.query(&[("n", "1")]).await;
    served("a query");
    world.query(&[]).await;
    served("a query without conditions");
    world.stats().await;
    served("statistics");
    world.since_of_nobody(0, 5).await;
    served("a page by timestamp");
    world.since("me", 0, 2).await;
    served("a first page of an original client");
    world.since("me", 0, 2).await;
    served("a page of an original client");
    world.changes(None, 1).await;
    served("a page of documents");
    let collections = Collections::new(["todos", "others"].map(Collection::literal)).expect("some names");
    world.changes_of(&Feed::Documents { collections: Some(collections) }, Some(Cursor::BEGINNING), 2).await;
    served("a page of two collections");
    let client_id = Some(ClientId::literal("you"));
    let request = ChangesRequest { client_id, ..ChangesRequest::operations(Some(Cursor::BEGINNING), 2) };
    world.store.changes(&world.tenant, request).await.expect("a page");
    served("a page of the log");
    world.store.tenants(None, 5).await.expect("the tenants");
    served("the tenants");
    world.store.clients(&world.tenant, Some(&ClientId::literal("me")), 5).await.expect("the clients");
    served("the clients");
    world.store.heads(std::slice::from_ref(&world.tenant)).await.expect("the newest places");
    served("the newest places of tenants");
    let far_future = UnixMs::new(u64::MAX >> 12);
    let step = CompactStep {
        now_ms: far_future,
        future_after_ms: far_future,
        received_until_ms: far_future,
        max_entries: 2,
        forget_clients_before_ms: far_future,
    };
    world.store.compact(&world.tenant, step).await.expect("a step");
    served("a compaction");
    world.since_of_nobody(0, 5).await;
    served("a page by timestamp behind the horizon");
    let cursor = world.page(None, 1).await.cursor.expect("a page with a cursor");
    proxy.take_commands();
    world.changes(Some(cursor), 1).await;
    served("a page of documents that goes on");
    let place = world.store.aged_place(&world.tenant, far_future, Seq::new(2)).await.expect("a place");
    served("the search for an old place");
    let floor = place.expect("the log has it");
    let expiry = Expiry { floor, tombstones_up_to: Seq::new(9), remains_before: floor.seq };
    let counted = world.store.count_expired(&world.tenant, expiry).await.expect("a count");
    served("a count of what is old");
    let step = ExpireStep { expiry, max_rows: 5 };
    let expired = world.store.expire(&world.tenant, step).await.expect("a step");
    served("a step of retention");
    assert_eq!((expired, counted), (Expired { tombstones: 1, remains: 1 }, expired));
}

#[test]
fn what_no_index_serves_is_found_out() {
    let look = |filter: Document, order: Document| Look { collection: String::new(), filter, order };
    let by_seq = doc! { "tenant": 1, "seq": 1 };
    let by_id = doc! { "_id": 1 };
    assert!(serves(&by_seq, &look(doc! { "tenant": "a", "seq": { "$gt": 5 } }, doc! { "seq": 1 })));
    assert!(serves(&by_id, &look(doc! { "_id": { "$gt": "a", "$lt": "b" }, "tenant": "a" }, doc! { "_id": 1 })));
    assert!(serves(&by_id, &look(doc! { "_id": { "$in": ["a", "b"] } }, doc! {})));
    for (filter, order) in [
        (doc! {}, doc! {}),
        (doc! { "tenant": "a" }, doc! {}),
        (doc! { "seq": { "$gt": 5 } }, doc! { "seq": 1 }),
        (doc! { "tenant": "a", "timestamp": { "$gt": 5 } }, doc! {}),
        (doc! { "tenant": "a", "seq": { "$gt": 5 } }, doc! { "timestamp": 1 }),
    ] {
        let look = look(filter, order);
        assert!(!serves(&by_seq, &look) && !serves(&by_id, &look), "{look:?}");
    }
}
