//! Seeds: every randomised test prints its own and replays from `SYNCFLOW_SEED`; `SYNCFLOW_CASES` sets how many it tries.

use std::fmt::Debug;
use std::str::FromStr;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// Tries cases until one fails, and then shows the smallest one that does, with the seed to replay it.
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

/// A generator for what needs no cases, such as pauses.
pub(crate) fn seeded() -> fastrand::Rng {
    let seed = seed();
    println!("replay with SYNCFLOW_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// The seed that is asked for, or one that was not used before.
pub(crate) fn seed() -> u64 {
    variable("SYNCFLOW_SEED").unwrap_or_else(|| fastrand::u64(..))
}

/// A number that a variable may set.
pub(crate) fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let Ok(value) = text.parse() else { panic!("{name} is no number: {text}") };
    Some(value)
}
