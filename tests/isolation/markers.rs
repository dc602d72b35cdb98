//! Markers: words by which a document, and each operation, is recognised in any bytes.

use std::collections::BTreeSet;

/// The id of a document, which is its marker.
pub(super) fn of_document((collection, document): (usize, usize)) -> String {
    format!("dq{collection}x{document}z")
}

/// The marker of an operation: it is in the operation's id and in its data.
pub(super) fn of_operation(number: u64) -> String {
    format!("mq{number}z")
}

/// All markers in a text.
pub(super) fn in_text(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (begin, _) in text.match_indices('q') {
        let rest = &text[begin + 1..];
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'x').count();
        let is_whole = digits > 0 && rest[digits..].starts_with('z');
        if is_whole && begin > 0 && matches!(text.as_bytes()[begin - 1], b'd' | b'm') {
            found.insert(text[begin - 1..begin + digits + 2].to_owned());
        }
    }
    found
}

#[test]
fn markers_are_found_in_any_text() {
    let text = format!("{{\"{}\":\"op-{}\"}} q5z mqz é{}", of_document((1, 2)), of_operation(12), of_operation(3));
    let expected = [of_document((1, 2)), of_operation(12), of_operation(3)];
    assert_eq!(in_text(&text), expected.into_iter().collect());
}
