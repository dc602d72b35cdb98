//! Documents by id and by query, with operators, in an order, and with clocks.

use super::super::draft::{delete, insert, inserts, key, key_in, update};
use super::super::world::{World, query_of};
use crate::core::clock::Relation;
use crate::core::document::LiveDocument;
use crate::core::filter::{Condition, Expression, Filter, Operator, Sort};
use crate::core::json::Object;
use crate::core::names::OperationId;
use crate::core::numbers::{Rev, Seq};
use crate::limits::protocol::PAGE_MAX_BYTES;
use crate::store::{Query, QueryPage, SortedEnd};

fn names(documents: &[LiveDocument]) -> Vec<&str> {
    documents.iter().map(|document| document.key.id.as_str()).collect()
}

async fn page(world: &World, max_documents: usize, before_seq: Option<Seq>) -> QueryPage {
    let query = Query { max_documents, before_seq, ..query_of("todos", &[]) };
    world.service.query(&world.tenant, query).await.expect("the query is answered")
}

/// A document has its revision, the sequence number and the id of its last operation, and its exact data.
pub async fn a_document_is_read_with_everything_that_belongs_to_it(world: &World) {
    world.apply([insert("op-0", "other"), insert("op-1", "doc").data(r#"{ "a" : 1.0 }"#)]).await;
    let expected = LiveDocument {
        key: key("doc"),
        rev: Rev::new(1),
        seq: Seq::new(2),
        operation_id: OperationId::literal("op-1"),
        data: Object::literal(r#"{ "a" : 1.0 }"#),
        clock: None,
    };
    assert_eq!(world.document("doc").await, Some(expected.clone()));
    assert_eq!(world.query(&[("_id", "\"doc\"")]).await, [expected]);
}

/// Neither a document that was never written nor a deleted one is found.
pub async fn what_does_not_exist_is_nothing(world: &World) {
    world
        .apply([insert("op-1", "doc").in_collection("elsewhere"), insert("op-2", "gone"), delete("op-3", "gone")])
        .await;
    for id in ["doc", "gone", "never"] {
        assert_eq!(world.document(id).await, None, "{id}");
    }
    let elsewhere = world.service.document(&world.tenant, &key_in("elsewhere", "doc")).await.expect("it is read");
    assert_eq!(elsewhere.map(|document| document.rev), Some(Rev::new(1)));
}

/// The document that was committed last comes first, in all stores.
pub async fn a_query_answers_the_newest_commit_first(world: &World) {
    world.apply([insert("op-1", "b").at(9), insert("op-2", "a").at(5), insert("op-3", "c").at(1)]).await;
    assert_eq!(names(&world.query(&[]).await), ["c", "a", "b"]);
    world.apply([update("op-4", "b").at(2)]).await;
    assert_eq!(names(&world.query(&[]).await), ["b", "c", "a"]);
    world.apply([delete("op-5", "c"), update("op-6", "c")]).await;
    assert_eq!(names(&world.query(&[]).await), ["c", "b", "a"]);
}

/// A query finds the documents of its collection that are not deleted; an unknown collection has none.
pub async fn a_query_looks_in_one_collection_and_leaves_tombstones_out(world: &World) {
    world
        .apply([
            insert("op-1", "doc-1"),
            insert("op-2", "doc-2"),
            insert("op-3", "doc-3").in_collection("other"),
            delete("op-4", "doc-1"),
            delete("op-5", "never"),
        ])
        .await;
    assert_eq!(names(&world.query(&[]).await), ["doc-2"]);
    let other = world.service.query(&world.tenant, query_of("other", &[])).await.expect("the query is answered");
    assert_eq!(names(&other.documents), ["doc-3"]);
    let unknown = world.service.query(&world.tenant, query_of("unknown", &[])).await.expect("the query is answered");
    assert_eq!(unknown, QueryPage { documents: vec![], more_before: None, sorted: SortedEnd::Nothing });
}

/// Filters compare by type, and numbers by value. They reach nested keys by paths with dots, and find the values in
/// arrays.
pub async fn a_filter_finds_what_equals_its_values(world: &World) {
    for (id, data) in [
        ("one", r#"{"v":1}"#),
        ("one-as-text", r#"{"v":"1"}"#),
        ("one-in-array", r#"{"v":[3,1.0]}"#),
        ("one-deep", r#"{"v":{"w":{"x":1}},"v.w":2}"#),
        ("true", r#"{"v":true}"#),
        ("null", r#"{"v":null}"#),
        ("missing", r#"{"w":1}"#),
        ("object", r#"{"v":{"b":[1],"a":"x"}}"#),
        ("array", r#"{"v":[[1,2],{"k":null}]}"#),
        ("big", r#"{"v":12345678901234567890}"#),
        ("bigger", r#"{"v":12345678901234567891}"#),
        ("empty", r#"{"v":""}"#),
        ("operator", r#"{"v":{"$ne":5}}"#),
        ("twice", r#"{"v":5,"v":6}"#),
    ] {
        world.apply([insert(&format!("op-{id}"), id).data(data)]).await;
    }
    for (path, value, expected) in [
        ("v", "1", &["one-in-array", "one"][..]),
        ("v", "1.0", &["one-in-array", "one"]),
        ("v", "10e-1", &["one-in-array", "one"]),
        ("v", "\"1\"", &["one-as-text"]),
        ("v", "true", &["true"]),
        ("v", "false", &[]),
        ("v", "null", &["missing", "null"]),
        ("v", "\"\"", &["empty"]),
        ("v.w.x", "1", &["one-deep"]),
        ("v.w", "2", &[]),
        ("v.w", "{\"x\":1}", &["one-deep"]),
        ("v.a", "\"x\"", &["object"]),
        ("v.b", "1", &["object"]),
        ("v", r#"{"a":"x","b":[1.0]}"#, &["object"]),
        ("v", "[1,2]", &["array"]),
        ("v", "[2,1]", &[]),
        ("v", "[3,1]", &["one-in-array"]),
        ("v", r#"{"k":null}"#, &["array"]),
        ("v", "12345678901234567890", &["big"]),
        ("v", "12345678901234567891.0", &["bigger"]),
        ("v", r#"{"$ne":1}"#, &[]),
        ("v", r#"{"$ne":5}"#, &["operator"]),
        ("v", "5", &[]),
        ("v", "6", &["twice"]),
        ("v.0", "3", &[]),
    ] {
        assert_eq!(names(&world.query(&[(path, value)]).await), expected, "{path} {value}");
    }
}

/// Every condition must hold.
pub async fn the_conditions_of_a_filter_all_hold(world: &World) {
    world.apply([insert("op-1", "doc-1").data(r#"{"a":1,"b":2}"#), insert("op-2", "doc-2").data(r#"{"a":1}"#)]).await;
    assert_eq!(names(&world.query(&[("a", "1")]).await), ["doc-2", "doc-1"]);
    assert_eq!(names(&world.query(&[("a", "1"), ("b", "2")]).await), ["doc-1"]);
    assert_eq!(names(&world.query(&[("a", "1"), ("b", "null")]).await), ["doc-2"]);
    assert_eq!(names(&world.query(&[("a", "1"), ("a", "2")]).await), Vec::<&str>::new());
}

/// `_id` and `_rev` are those of the server, even if the data have keys with these names.
pub async fn a_filter_on_id_or_revision_asks_the_server_not_the_data(world: &World) {
    world.apply([insert("op-1", "doc-1").data(r#"{"_id":"doc-2","_rev":7}"#), insert("op-2", "doc-2")]).await;
    world.apply([update("op-3", "doc-2")]).await;
    assert_eq!(names(&world.query(&[("_id", "\"doc-2\"")]).await), ["doc-2"]);
    assert_eq!(names(&world.query(&[("_rev", "1")]).await), ["doc-1"]);
    assert_eq!(names(&world.query(&[("_rev", "2.0")]).await), ["doc-2"]);
    assert_eq!(names(&world.query(&[("_rev", "7")]).await), Vec::<&str>::new());
    assert_eq!(names(&world.query(&[("_id", "\"doc-1\""), ("_rev", "\"1\"")]).await), Vec::<&str>::new());
}

/// A page continues before the sequence number of the last document of the previous page.
pub async fn the_pages_of_a_query_follow_each_other(world: &World) {
    world.apply(inserts(5)).await;
    for max_documents in 1..=6 {
        let (mut before_seq, mut seen) = (None, Vec::new());
        loop {
            let page = page(world, max_documents, before_seq).await;
            seen.extend(page.documents.iter().map(|document| document.key.id.as_str().to_owned()));
            assert_eq!(page.more_before.is_some(), seen.len() < 5, "pages of {max_documents}");
            before_seq = page.more_before;
            if page.more_before.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["doc-5", "doc-4", "doc-3", "doc-2", "doc-1"]);
    }
}

/// The page size of a filter counts only documents that match.
pub async fn a_filtered_query_counts_only_what_matches(world: &World) {
    world.apply(inserts(40).into_iter().map(|draft| draft.data(r#"{"wanted":false}"#))).await;
    world.apply([3, 17, 31].map(|n| update(&format!("up-{n}"), &format!("doc-{n}")).data(r#"{"wanted":true}"#))).await;
    let filtered =
        |max_documents, before_seq| Query { max_documents, before_seq, ..query_of("todos", &[("wanted", "true")]) };
    let first = world.service.query(&world.tenant, filtered(2, None)).await.expect("the query is answered");
    assert_eq!((names(&first.documents), first.more_before.is_some()), (vec!["doc-31", "doc-17"], true));
    let before_seq = first.more_before;
    let last = world.service.query(&world.tenant, filtered(2, before_seq)).await.expect("the query is answered");
    assert_eq!((names(&last.documents), last.more_before.is_some()), (vec!["doc-3"], false));
}

/// Documents that are written between two pages move to the front. All others are returned exactly once.
pub async fn a_document_that_moves_while_somebody_pages_shifts_no_other(world: &World) {
    world.apply(inserts(6)).await;
    let first = page(world, 2, None).await;
    assert_eq!(names(&first.documents), ["doc-6", "doc-5"]);
    world
        .apply([update("op-7", "doc-4"), insert("op-8", "doc-8"), delete("op-9", "doc-2"), update("op-10", "doc-6")])
        .await;
    let second = page(world, 2, first.more_before).await;
    assert_eq!((names(&second.documents), second.more_before.is_some()), (vec!["doc-3", "doc-1"], false));
}

/// Law 10: a page of documents is bounded in bytes, and still makes progress.
pub async fn a_page_of_documents_is_bounded_in_bytes(world: &World) {
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(PAGE_MAX_BYTES / 5));
    for number in 1..=6 {
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}")).data(&data)]).await;
    }
    let first = page(world, 100, None).await;
    assert_eq!((names(&first.documents), first.more_before.is_some()), (vec!["doc-6", "doc-5", "doc-4"], true));
    let second = page(world, 100, first.more_before).await;
    assert_eq!((names(&second.documents), second.more_before.is_some()), (vec!["doc-3", "doc-2", "doc-1"], false));
}

async fn answer(world: &World, query: Query) -> QueryPage {
    world.service.query(&world.tenant, query).await.expect("the query is answered")
}

/// The documents that match, oldest first.
async fn matching(world: &World, expression: Expression) -> Vec<String> {
    let query = Query { filter: Filter::of(expression), ..query_of("todos", &[]) };
    let page = answer(world, query).await;
    names(&page.documents).into_iter().rev().map(str::to_owned).collect()
}

fn is(path: &str, operator: Operator, value: &str) -> Expression {
    Expression::Condition(Condition::with(path, operator, value))
}

fn not(part: Expression) -> Expression {
    Expression::Not(Box::new(part))
}

async fn apply_values(world: &World, values: &[&str]) {
    let drafts = values.iter().zip(1..).map(|(value, number)| {
        let data = if value.is_empty() { "{}".to_owned() } else { format!(r#"{{"x":{value}}}"#) };
        insert(&format!("op-{number}"), &format!("doc-{number}")).data(&data)
    });
    world.apply(drafts.collect::<Vec<_>>()).await;
}

/// Operators compare values of one type by their exact value, and a missing value as the protocol says.
pub async fn operators_find_the_same_documents_everywhere(world: &World) {
    use Operator::{Equal, Exists, Greater, GreaterOrEqual, In, Less, LessOrEqual};
    let large = "12345678901234567891";
    apply_values(world, &["", "null", "1", large, "\"a\"", "[1,\"b\"]", "true", r#"{"y":2}"#]).await;
    for (expression, expected) in [
        (is("x", Greater, "12345678901234567890"), &[4][..]),
        (is("x", GreaterOrEqual, "1.0"), &[3, 4, 6]),
        (is("x", Less, "\"b\""), &[5]),
        (is("x", LessOrEqual, "\"b\""), &[5, 6]),
        (is("x", LessOrEqual, "null"), &[2]),
        (is("x", Greater, "false"), &[7]),
        (is("x.y", Less, "3"), &[8]),
        (is("x", In, r#"[{"y":2.0},"b",null]"#), &[1, 2, 6, 8]),
        (is("x", Exists, "true"), &[2, 3, 4, 5, 6, 7, 8]),
        (is("x.y", Exists, "false"), &[1, 2, 3, 4, 5, 6, 7]),
        (not(is("x", Equal, "1")), &[1, 2, 4, 5, 7, 8]),
        (not(is("x", GreaterOrEqual, "0")), &[1, 2, 5, 7, 8]),
        (Expression::Any(vec![is("x", Equal, "true"), is("x", Equal, "1")]), &[3, 6, 7]),
        (Expression::All(vec![is("x", Equal, "1"), is("x", Equal, "\"b\"")]), &[6]),
        (Expression::All(vec![is("x", Greater, "0"), not(is("x", Greater, "1"))]), &[3, 6]),
        (Expression::Any(vec![]), &[]),
    ] {
        let expected: Vec<String> = expected.iter().map(|number| format!("doc-{number}")).collect();
        let found = matching(world, expression.clone()).await;
        assert_eq!(found, expected, "{expression:?}");
    }
}

/// `_id` and `_rev` are those of the server, whatever the operator.
pub async fn operators_ask_the_server_for_id_and_revision(world: &World) {
    world.apply([insert("op-1", "a").data(r#"{"_id":"z","_rev":9}"#), insert("op-2", "b"), update("op-3", "b")]).await;
    assert_eq!(matching(world, is("_id", Operator::Greater, "\"a\"")).await, ["b"]);
    assert_eq!(matching(world, is("_id", Operator::In, "[\"a\",\"z\"]")).await, ["a"]);
    assert_eq!(matching(world, not(is("_id", Operator::Equal, "\"a\""))).await, ["b"]);
    assert_eq!(matching(world, is("_rev", Operator::LessOrEqual, "1")).await, ["a"]);
    let either = vec![is("_id", Operator::Equal, "\"a\""), is("_rev", Operator::Equal, "2")];
    assert_eq!(matching(world, Expression::Any(either)).await, ["a", "b"]);
}

async fn sorted(world: &World, (path, is_descending): (&str, bool), max_documents: usize) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let sort = Some(Sort { path: path.to_owned(), is_descending, after });
        let page = answer(world, Query { max_documents, sort, ..query_of("todos", &[]) }).await;
        assert!(page.documents.len() <= max_documents && page.more_before.is_none());
        found.extend(names(&page.documents).into_iter().map(str::to_owned));
        match page.sorted {
            SortedEnd::After(place) => after = Some(place),
            SortedEnd::Nothing => return found,
            SortedEnd::TooMuch => panic!("there are few documents"),
        }
    }
}

/// Values have one order across types, documents without one come first, and equal ones newest first.
pub async fn sorted_pages_follow_each_other_in_one_order(world: &World) {
    apply_values(world, &["true", "[2]", r#"{"y":1}"#, "\"b\"", "\"a\"", "10", "9.5", "null", "", "1e1"]).await;
    world.apply([insert("op-11", "doc-11").data(r#"{"x":0}"#), delete("op-12", "doc-11")]).await;
    for max_documents in [1, 3, 10, 100] {
        let ascending = sorted(world, ("x", false), max_documents).await;
        let expected = [9, 8, 7, 10, 6, 5, 4, 3, 2, 1].map(|number| format!("doc-{number}"));
        assert_eq!(ascending, expected, "pages of {max_documents}");
        let descending = sorted(world, ("x", true), max_documents).await;
        let expected = [1, 2, 3, 4, 5, 10, 6, 7, 9, 8].map(|number| format!("doc-{number}"));
        assert_eq!(descending, expected, "pages of {max_documents}");
    }
    let by_id = sorted(world, ("_id", false), 2).await;
    assert_eq!(by_id, [1, 10, 2, 3, 4, 5, 6, 7, 8, 9].map(|number| format!("doc-{number}")));
}

/// Law 10: a sorted page is bounded in bytes, and the pages still have every document.
pub async fn a_sorted_page_is_bounded_in_bytes(world: &World) {
    for number in 1..=6 {
        let data = format!(r#"{{"x":{number},"text":"{}"}}"#, "x".repeat(PAGE_MAX_BYTES / 5));
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}")).data(&data)]).await;
    }
    let sort = Some(Sort { path: "x".to_owned(), is_descending: false, after: None });
    let first = answer(world, Query { sort, ..query_of("todos", &[]) }).await;
    assert_eq!(names(&first.documents), ["doc-1", "doc-2", "doc-3", "doc-4"]);
    assert_eq!(sorted(world, ("x", false), 100).await, [1, 2, 3, 4, 5, 6].map(|number| format!("doc-{number}")));
}

/// Clocks are read for queries that ask for them, and for no others.
pub async fn a_query_gives_clocks_if_it_is_asked_for_them(world: &World) {
    world.apply(inserts(3)).await;
    for (conditions, sort) in [
        (&[][..], None),
        (&[("_rev", "1")], None),
        (&[], Some(Sort { path: "_id".to_owned(), is_descending: true, after: None })),
    ] {
        let query = Query { sort, ..query_of("todos", conditions) };
        let without = answer(world, query.clone()).await.documents;
        assert!(without.len() == 3 && without.iter().all(|document| document.clock.is_none()));
        for document in answer(world, Query { with_clocks: true, ..query }).await.documents {
            let state = world.service.document_state(&world.tenant, &document.key).await.expect("it is read");
            assert_eq!(document.clock.as_ref(), state.as_ref().map(|state| state.clock.json()));
            assert!(document.clock.is_some());
        }
    }
}

/// A tombstone has a revision and a clock, so that a client can write over it.
pub async fn the_state_of_a_document_has_its_clock_even_if_it_is_deleted(world: &World) {
    let state = async |id: &str| world.service.document_state(&world.tenant, &key(id)).await.expect("it is read");
    assert_eq!(state("doc").await, None);
    world.apply([insert("op-1", "doc").data(r#"{"a":1}"#).clock(&[("a", 1)])]).await;
    let written = state("doc").await.expect("it is there");
    assert_eq!((written.rev.get(), written.data), (1, Some(Object::literal(r#"{"a":1}"#))));
    world.apply([delete("op-2", "doc").clock(&[("a", 2)])]).await;
    let deleted = state("doc").await.expect("its tombstone is there");
    assert_eq!((deleted.rev.get(), deleted.data), (2, None));
    assert_eq!(deleted.clock.compare(&written.clock), Relation::HappensAfter);
}
