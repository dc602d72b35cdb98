//! Values that the protocol accepts and PostgreSQL cannot represent. They are stored and found as in the model store.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::insert;
use syncflow_server::core::json::check;

use crate::support::random::for_random;
use crate::support::{block_on, stores};

/// Numbers around the limits of PostgreSQL. Some of them are equal.
const NUMBERS: [&str; 14] = [
    "0",
    "-0.0",
    "1",
    "1.0",
    "10e-1",
    "1e-16383",
    "1e-16384",
    "10e-16385",
    "1e-100000",
    "1e-99999999999999999999",
    "12345678901234567890",
    "1.7976931348623157e308",
    "1.7976931348623158e308",
    "17976931348623158e292",
];

/// Values that are not numbers.
const OTHERS: [&str; 6] = ["null", "true", r#""""#, r#""1""#, r#""é\u00e9\ud83d\ude00""#, r#""\\\"%_'; --""#];

fn number() -> BoxedStrategy<String> {
    let long =
        (1_usize..3, 3_990_usize..4_010).prop_map(|(digit, zeros)| format!("{digit}{0}e-{zeros}", "0".repeat(zeros)));
    let many_digits = (4_995_usize..5_005).prop_map(|digits| format!("0.{}", "7".repeat(digits)));
    prop_oneof![6 => proptest::sample::select(NUMBERS.as_slice()).prop_map(str::to_owned), 1 => long, 1 => many_digits]
        .boxed()
}

fn scalar() -> BoxedStrategy<String> {
    prop_oneof![3 => number(), 2 => proptest::sample::select(OTHERS.as_slice()).prop_map(str::to_owned)].boxed()
}

fn value() -> BoxedStrategy<String> {
    scalar()
        .prop_recursive(3, 8, 3, |inside| {
            let key = proptest::sample::select(["a", "b", "", "a.b"].as_slice());
            let object = prop::collection::vec((key, inside.clone()), 0..3).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            });
            let array = prop::collection::vec(inside, 0..3).prop_map(|elements| format!("[{}]", elements.join(" , ")));
            prop_oneof![object, array]
        })
        .boxed()
}

/// Data of some documents, and conditions that are often taken from these data.
fn worlds() -> impl Strategy<Value = (Vec<String>, Vec<(String, String)>)> {
    let path = proptest::sample::select(["x", "x.a", "x.b", "x.a.b", "x.", ""].as_slice()).prop_map(str::to_owned);
    let documents = prop::collection::vec(value(), 1..6);
    let conditions = prop::collection::vec((path, value(), any::<prop::sample::Index>(), any::<bool>()), 1..8);
    (documents, conditions).prop_map(|(documents, conditions)| {
        let conditions = conditions.into_iter().map(|(path, value, index, is_taken)| {
            if is_taken { ("x".to_owned(), index.get(&documents).clone()) } else { (path, value) }
        });
        let conditions = conditions.collect();
        (documents.iter().map(|value| format!("{{\"x\":{value}}}")).collect(), conditions)
    })
}

async fn compare(
    model: &World,
    store: &World,
    documents: &[String],
    conditions: &[(String, String)],
) -> TestCaseResult {
    for (number, data) in documents.iter().enumerate() {
        prop_assert!(check(data).is_ok(), "the protocol takes it: {}", data);
        for world in [model, store] {
            world.apply([insert(&format!("op-{number}"), &format!("doc-{number}")).data(data)]).await;
        }
    }
    for (path, value) in conditions {
        let condition = [(path.as_str(), value.as_str())];
        prop_assert_eq!(store.query(&condition).await, model.query(&condition).await, "{:?}", condition);
    }
    let everything: Vec<_> = conditions.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
    prop_assert_eq!(store.query(&everything).await, model.query(&everything).await);
    prop_assert_eq!(store.log().await, model.log().await);
    Ok(())
}

#[test]
fn every_value_is_stored_and_found_as_by_the_model_store() {
    let home = block_on(stores::postgres());
    for_random(300, &worlds(), |(documents, conditions)| {
        block_on(async {
            let model = stores::memory().await;
            let store = World::new(home.store()).as_tenant(&home.next_name());
            let model = World::new(model.store()).as_tenant(store.tenant.as_str());
            compare(&model, &store, &documents, &conditions).await
        })
    });
}

#[tokio::test]
async fn a_query_that_few_of_many_documents_match_sees_one_moment() {
    let home = stores::postgres().await;
    let world = World::new(home.store());
    // No index finds a missing value, so the store reads all documents, in several steps.
    let data = |number: usize| if number % 1_000 == 7 { "{}" } else { r#"{"done":true}"# };
    let drafts: Vec<_> =
        (0..3_500).map(|number| insert(&format!("op-{number}"), &format!("doc-{number}")).data(data(number))).collect();
    world.apply(drafts).await;
    let found = world.query(&[("done", "null")]).await;
    let ids: Vec<_> = found.iter().map(|document| document.key.id.as_str()).collect();
    assert_eq!(ids, ["doc-3007", "doc-2007", "doc-1007", "doc-7"]);
}
