//! Hostile tokens and sets of keys; `fuzz/properties.rs` says what must hold.
#![no_main]

#[expect(dead_code, reason = "each target has its own property")]
#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::a_token_is_refused_or_sound(bytes));
