//! Seeds. Every randomised test prints its seed and replays it from `SYNCFLOW_SEED`. `SYNCFLOW_CASES` sets the number
//! of cases.

use std::fmt::Debug;
use std::str::FromStr;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// Tries random cases until one fails. Then it panics with the smallest failing case and its seed.
pub(crate) fn for_random<S: Strategy>(cases: u32, strategy: &S, test: impl Fn(S::Value) -> TestCaseResult)
where
    S::Value: Debug,
{
    let seed = seed();
    let cases = variable("SYNCFLOW_CASES").unwrap_or(cases);
    println!("replay with SYNCFLOW_SEED={seed} SYNCFLOW_CASES={cases}");
    let config = Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(strategy, test) {
        panic!("{error}\nreplay with SYNCFLOW_SEED={seed} SYNCFLOW_CASES={cases}");
    }
}

/// A seeded generator for values that are not part of a case, such as pauses.
pub(crate) fn seeded() -> fastrand::Rng {
    let seed = seed();
    println!("replay with SYNCFLOW_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// The seed in `SYNCFLOW_SEED`, or a new one.
pub(crate) fn seed() -> u64 {
    variable("SYNCFLOW_SEED").unwrap_or_else(|| fastrand::u64(..))
}

/// A number from a variable, if it is set.
pub(crate) fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let Ok(value) = text.parse() else { panic!("{name} is not a number: {text}") };
    Some(value)
}
