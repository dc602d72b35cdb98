//! The integration tests: one binary, each module a suite.

mod aws;
mod conflicts;
mod conformance;
mod convergence;
mod crash;
mod damage;
mod endpoints;
mod faults;
mod fuzzed;
mod history;
mod isolation;
mod lambda;
mod mongodb;
mod notes;
mod operator;
mod postgres;
mod properties;
mod races;
mod restore;
mod scripts;
mod simulation;
mod support;
mod tidy;
