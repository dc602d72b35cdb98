//! The properties that the fuzz targets in `fuzz/` check. Every test run checks them with the corpus and with random
//! changes of it.

#[path = "../../fuzz/properties.rs"]
mod properties;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::support::random::for_random;

/// The files of a corpus.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("the corpus").map(|file| file.expect("a file").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file")).collect()
}

/// Bytes of a corpus with some of them replaced, doubled or left out.
fn changed(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let pieces =
        select(&["\"", "{", "}", "[", "]", "null", "-1", "1e999", "\\u0000", "\\ud800", ":", ",", ".", "\u{e9}"][..]);
    let change = (any::<Index>(), 0..4_usize, pieces);
    (select(corpus), vec(change, 0..4)).prop_map(|(mut bytes, changes)| {
        for (place, left_out, piece) in changes {
            let begin = place.index(bytes.len() + 1);
            let end = (begin + left_out).min(bytes.len());
            bytes.splice(begin..end, piece.bytes());
        }
        bytes
    })
}

fn hold(name: &str, cases: u32, property: fn(&[u8])) {
    let corpus = corpus(name);
    for bytes in &corpus {
        property(bytes);
    }
    for_random(cases, &changed(corpus), |bytes| {
        property(&bytes);
        Ok(())
    });
    for_random(cases, &vec(any::<u8>(), 0..64), |bytes| {
        property(&bytes);
        Ok(())
    });
}

#[test]
fn any_body_is_answered() {
    hold("bodies", 1_000, properties::a_body_is_answered);
}

#[test]
fn a_cursor_has_one_text() {
    hold("cursors", 5_000, properties::a_cursor_has_one_text);
}

#[test]
fn a_token_is_refused_or_sound() {
    hold("tokens", 2_000, properties::a_token_is_refused_or_sound);
}

#[test]
fn clocks_are_an_order() {
    hold("clocks", 5_000, properties::clocks_are_an_order);
}
