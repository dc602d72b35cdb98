//! Hostile request bodies; `fuzz/properties.rs` says what must hold.
#![no_main]

#[expect(dead_code, reason = "each target has its own property")]
#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::a_body_is_answered(bytes));
