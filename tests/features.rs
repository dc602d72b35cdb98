//! Fails if the tests are built without the features that they need.
//!
//! Cargo leaves out a test whose features are off, so a plain `cargo test` would pass without most of the tests.

#[test]
fn the_tests_are_built_with_all_features() {
    let has_all = cfg!(all(
        feature = "conformance",
        feature = "sqlite",
        feature = "postgres",
        feature = "mongodb",
        feature = "local",
        feature = "lambda",
        feature = "aws",
        feature = "mongodb-iam",
        feature = "traces",
    ));
    assert!(has_all, "most tests need more features and database servers; this command runs them all: local-dev/test");
}
