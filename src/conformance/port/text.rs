//! Awkward texts in every field that accepts them: names are stored and compared byte by byte, and data are stored
//! unchanged.

use super::super::draft::{self, insert, key_in, update};
use super::super::world::{World, ids, query_of};
use crate::core::decide::Outcome;
use crate::core::filter::{Condition, Filter};
use crate::core::json::Object;
use crate::core::names::{ClientId, Collection, DocumentId, OperationId, TenantId};
use crate::core::numbers::{Rev, Seq};
use crate::limits::protocol::NAME_MAX_BYTES;
use crate::store::Query;

/// Names that could be confused with others by quoting, wildcards, case folding, trimming or a collation.
fn awkward_names() -> Vec<String> {
    let longest = "é".repeat(NAME_MAX_BYTES / 2);
    let almost_longest = format!("{}ab", "é".repeat(NAME_MAX_BYTES / 2 - 1));
    let names = [
        "plain",
        "Plain",
        "PLAIN",
        "plain ",
        " plain",
        "p",
        "pl%",
        "pl_in",
        "%",
        "_",
        "'",
        "''",
        "\"",
        "\\",
        "\\'",
        "`",
        "$1",
        "$ne",
        "{\"$gt\":\"\"}",
        "?",
        ":name",
        "@name",
        "a.b",
        "a..b",
        ".",
        "a/b",
        "a//b",
        "a;b",
        "a,b",
        "a|b",
        "'; DROP TABLE documents; --",
        "\" OR 1=1 --",
        "x') UNION SELECT 1 --",
        "/* */",
        "null",
        "NULL",
        "true",
        "0",
        "00",
        "0.0",
        "1e3",
        "-1",
        "[]",
        "{}",
        "é",
        "e\u{301}",
        "ß",
        "ss",
        "İ",
        "i",
        "ı",
        "Σ",
        "ς",
        "😀",
        "👨‍👩‍👧",
        "\u{200b}",
        "\u{feff}x",
        "\u{e000}",
        "\u{10ffff}",
        "中文",
        "العربية",
        "\u{202e}abc",
        "ǆ",
        "Ǆ",
    ];
    names.into_iter().map(str::to_owned).chain([longest, almost_longest]).collect()
}

/// A text as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Checks that the names are valid, because the checks below would otherwise prove nothing.
fn assert_valid(names: &[String]) {
    for name in names {
        assert!(DocumentId::parse(name).is_ok(), "{name:?}");
    }
}

/// Documents and operations with awkward ids are told apart, and are found, listed and logged under exactly these ids.
pub async fn awkward_document_and_operation_ids_are_kept_apart(world: &World) {
    let names = awkward_names();
    assert_valid(&names);
    let data = |name: &str| format!(r#"{{"name":{}}}"#, quoted(name));
    world.apply(names.iter().map(|name| insert(name, name).data(&data(name)))).await;
    assert_eq!(world.stats().await.documents, names.len() as u64);
    for name in &names {
        assert_eq!(world.data(name).await, Some(data(name)), "{name:?}");
        let by_id = world.query(&[("_id", &quoted(name))]).await;
        assert_eq!(by_id.iter().map(|found| found.key.id.as_str()).collect::<Vec<_>>(), [name]);
        assert_eq!(world.push([insert(name, "elsewhere")]).await, [Outcome::Duplicate], "{name:?}");
    }
    assert_eq!(ids(&world.log().await), names);
    assert_eq!(world.document("PlAiN").await, None);
}

/// Collections with awkward names have their own documents.
pub async fn awkward_collections_are_kept_apart(world: &World) {
    let names = awkward_names();
    world
        .apply(
            names
                .iter()
                .map(|name| insert(name, "doc").in_collection(name).data(&format!("{{\"c\":{}}}", quoted(name)))),
        )
        .await;
    for name in &names {
        let document = world.service.document(&world.tenant, &key_in(name, "doc")).await.expect("it is read");
        assert_eq!(document.map(|document| document.operation_id), Some(OperationId::literal(name)));
        let page = world.service.query(&world.tenant, query_of(name, &[])).await.expect("the query is answered");
        assert_eq!(page.documents.len(), 1, "{name:?}");
        assert_eq!(page.documents[0].key.collection, Collection::literal(name));
    }
}

/// Clients with awkward names, as authors, in clocks, and in pulls.
pub async fn awkward_clients_are_kept_apart(world: &World) {
    let names = awkward_names();
    let clock: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(1..).collect();
    world.apply([insert("op-1", "doc").clock(&clock).client("'\"\\")]).await;
    let entry = world.log().await.remove(0);
    assert_eq!(entry.client_id, ClientId::literal("'\"\\"));
    assert_eq!(entry.clock, *draft::clock(&clock).json());
    assert_eq!(world.push([update("op-2", "doc").clock(&clock)]).await, [Outcome::Applied], "the clock is the same");
    for (number, name) in (0..).zip(&names) {
        world.apply([insert(&format!("before-{number}"), "other").at(number + 10)]).await;
        world.since(name, 0, 1_000).await;
    }
    for (number, name) in (0_u64..).zip(&names) {
        let memory = world.memory(name).await.expect("the client is remembered");
        assert_eq!((memory.revision, memory.pulled_seq), (Rev::new(1), Seq::new(number + 3)), "{name:?}");
    }
}

/// Tenants with awkward names are independent.
pub async fn awkward_tenants_are_kept_apart(world: &World) {
    for name in awkward_names() {
        let tenant = World { tenant: TenantId::literal(&name), ..world.clone() };
        tenant.apply([insert(&name, &name)]).await;
        assert_eq!(tenant.stats().await.operations, 1, "{name:?}");
        assert!(tenant.document(&name).await.is_some());
    }
}

/// Values and keys of a filter are compared and never executed.
pub async fn awkward_filters_are_only_compared(world: &World) {
    let names: Vec<String> = awkward_names().into_iter().filter(|name| !name.contains('.')).collect();
    let documents = names.iter().enumerate().map(|(number, name)| {
        let data = format!("{{{}:{}}}", quoted(name), quoted(name));
        insert(&format!("op-{number}"), &format!("doc-{number}")).data(&data)
    });
    world.apply(documents.collect::<Vec<_>>()).await;
    for (number, name) in names.iter().enumerate() {
        let found = world.query(&[(name, &quoted(name))]).await;
        assert_eq!(found.len(), 1, "{name:?}");
        assert_eq!(found[0].key.id.as_str(), format!("doc-{number}"));
        assert_eq!(world.query(&[(name, "\"nothing\"")]).await, [], "{name:?}");
    }
    let no_key = Filter::new(vec![Condition::new("' OR '1'='1", "1")]);
    let query = Query { filter: no_key, ..query_of("todos", &[]) };
    assert_eq!(world.service.query(&world.tenant, query).await.expect("the query is answered").documents, []);
}

/// `data` are returned with the bytes that were pushed: from the log, from the document, and from its state.
pub async fn data_is_kept_byte_for_byte(world: &World) {
    let texts = [
        "{}",
        "{ }",
        "{\n\t\"a\" :\r\n 1 }",
        r#"{"b":1,"a":2,"b":3}"#,
        r#"{"n":12345678901234567890,"f":1.0,"e":1E+2,"z":-0,"tiny":1e-400,"long":0.10000000000000000000000000001}"#,
        r#"{"escaped":"\u00e9\/\ud83d\ude00\u2028","raw":"é/😀"}"#,
        r#"{"quotes":"' '' \" \\ \\\\ `","percent":"% _ $1 ?"}"#,
        r#"{"":{"":{"":[]}},"null":null,"text":"null"}"#,
        r#"{"'; DROP TABLE log; --":"'; DROP TABLE log; --"}"#,
        r#"{"control":"\u0001\u001f\t\n"}"#,
        r#"{"$set":{"a":1},"a.b":2,"__proto__":{}}"#,
        "{\"nonchar\":\"\u{fffe}\u{ffff}\u{10ffff}\"}",
    ];
    for (number, text) in (0..).zip(texts) {
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}")).data(text)]).await;
        assert_eq!(world.data(&format!("doc-{number}")).await.as_deref(), Some(text));
    }
    for page in [world.log().await, world.page(None, 99).await.entries, world.since_of_nobody(0, 99).await.entries] {
        let found: Vec<&str> = page.iter().filter_map(|entry| entry.data()).map(Object::as_str).collect();
        assert_eq!(found, texts);
    }
    world.apply((0..texts.len()).map(|number| update(&format!("up-{number}"), &format!("doc-{number}")))).await;
    assert_eq!(world.data("doc-4").await.as_deref(), Some(texts[4]), "an update keeps the bytes of what it leaves");
}
