//! Writing: one writer for every JSON text that is sent, and a counter for the length of such a text.

/// Takes a JSON text piece by piece. It cannot fail: a text grows, and a count needs no memory.
pub(crate) trait Sink {
    /// Adds a piece that is JSON already.
    fn push_json(&mut self, piece: &str);

    /// Adds a text as a JSON string.
    fn push_string(&mut self, text: &str);

    /// Adds an integer.
    fn push_number(&mut self, number: u64);
}

impl Sink for String {
    #[inline]
    fn push_json(&mut self, piece: &str) {
        self.push_str(piece);
    }

    #[inline]
    fn push_string(&mut self, text: &str) {
        if escaped_bytes(text) > 0 {
            self.push_str(&serde_json::Value::from(text).to_string());
        } else {
            self.push('"');
            self.push_str(text);
            self.push('"');
        }
    }

    #[inline]
    fn push_number(&mut self, number: u64) {
        use std::fmt::Write as _;

        // Writing to a string cannot fail.
        let _ = write!(self, "{number}");
    }
}

/// Counts the bytes of a JSON text instead of writing it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ByteCount(usize);

impl ByteCount {
    /// The size of the text that a function writes, in bytes.
    #[must_use]
    pub(crate) fn of(write: impl FnOnce(&mut Self)) -> usize {
        let mut count = Self::default();
        write(&mut count);
        count.0
    }
}

impl Sink for ByteCount {
    #[inline]
    fn push_json(&mut self, piece: &str) {
        self.0 += piece.len();
    }

    #[inline]
    fn push_string(&mut self, text: &str) {
        let more = if escaped_bytes(text) > 0 { text.bytes().map(bytes_more_when_escaped).sum() } else { 0 };
        self.0 += text.len() + 2 + more;
    }

    #[inline]
    fn push_number(&mut self, number: u64) {
        self.0 += number.checked_ilog10().map_or(1, |log| log as usize + 1);
    }
}

/// How many bytes of a text need an escape in a JSON string.
fn escaped_bytes(text: &str) -> usize {
    // All bytes are counted, because the compiler vectorises a loop that has no early exit.
    text.bytes().filter(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\')).count()
}

fn bytes_more_when_escaped(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => "\\n".len() - 1,
        0x00..0x20 => "\\u0000".len() - 1,
        _ => 0,
    }
}

/// Writes one JSON object, member after member.
pub(crate) struct ObjectWriter<'s, S> {
    sink: &'s mut S,
    is_empty: bool,
}

impl<'s, S: Sink> ObjectWriter<'s, S> {
    /// Writes an object whose members `members` writes.
    #[inline]
    pub(crate) fn write(sink: &'s mut S, members: impl FnOnce(&mut Self)) {
        sink.push_json("{");
        let mut object = Self { sink, is_empty: true };
        members(&mut object);
        object.sink.push_json("}");
    }

    /// Writes a member whose value is JSON already.
    #[inline]
    pub(crate) fn raw(&mut self, key: &'static str, json: &str) {
        self.key(key).push_json(json);
    }

    /// Writes a member with any text as its key. Its value is JSON already.
    #[inline]
    pub(crate) fn raw_member(&mut self, key: &str, json: &str) {
        self.separate();
        self.sink.push_string(key);
        self.sink.push_json(":");
        self.sink.push_json(json);
    }

    /// Writes a member that is a string.
    #[inline]
    pub(crate) fn string(&mut self, key: &'static str, text: &str) {
        self.key(key).push_string(text);
    }

    /// Writes a member that is an integer.
    #[inline]
    pub(crate) fn number(&mut self, key: &'static str, number: u64) {
        self.key(key).push_number(number);
    }

    /// Writes a member that is true or false.
    #[inline]
    pub(crate) fn boolean(&mut self, key: &'static str, value: bool) {
        self.raw(key, if value { "true" } else { "false" });
    }

    /// Writes a member that is an object.
    #[inline]
    pub(crate) fn object(&mut self, key: &'static str, members: impl FnOnce(&mut ObjectWriter<'_, S>)) {
        ObjectWriter::write(self.key(key), members);
    }

    /// Writes a member that is an array. A function writes its elements.
    #[inline]
    pub(crate) fn array<T>(
        &mut self,
        key: &'static str,
        elements: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut S, T),
    ) {
        let sink = self.key(key);
        sink.push_json("[");
        for (index, element) in elements.into_iter().enumerate() {
            if index > 0 {
                sink.push_json(",");
            }
            write(sink, element);
        }
        sink.push_json("]");
    }

    /// Writes the members of an object that is JSON already. Their bytes stay unchanged.
    pub(crate) fn members_of(&mut self, object: &str) {
        let object = object.trim();
        let inside = object.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default();
        let inside = inside.trim_start();
        if !inside.is_empty() {
            self.separate();
            self.sink.push_json(inside);
        }
    }

    /// Begins a member. `key` must not need escapes.
    #[inline]
    fn key(&mut self, key: &'static str) -> &mut S {
        debug_assert_eq!(escaped_bytes(key), 0, "{key:?}");
        self.separate();
        self.sink.push_json("\"");
        self.sink.push_json(key);
        self.sink.push_json("\":");
        self.sink
    }

    #[inline]
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_empty) {
            self.sink.push_json(",");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(sink: &mut impl Sink, text: &str, number: u64) {
        ObjectWriter::write(sink, |object| {
            object.string("text", text);
            object.number("number", number);
            object.raw_member(text, "null");
            object.object("inside", |inside| inside.boolean("true", true));
            object.object("empty", |_| {});
            object.members_of(r#" { "a": 1 , "b":[ ]} "#);
            object.members_of("{}");
            object.members_of("{ }");
            object.array("array", [text, text], Sink::push_string);
            object.array("none", [0; 0], Sink::push_number);
        });
    }

    #[test]
    fn an_object_is_written_member_after_member() {
        let mut text = String::new();
        write(&mut text, "é", 0);
        let expected = r#"{"text":"é","number":0,"é":null,"inside":{"true":true},"empty":{},"a": 1 , "b":[ ],"#;
        assert_eq!(text, format!("{expected}\"array\":[\"é\",\"é\"],\"none\":[]}}"));
        let mut empty = String::new();
        ObjectWriter::write(&mut empty, |object| object.members_of("{}"));
        assert_eq!(empty, "{}");
    }

    proptest! {
        #[test]
        fn the_count_is_the_length_of_the_text(text in "[\\x00-\\x7f\u{80}é📱]{0,20}", number: u64) {
            for number in [number, number % 1_000, 0] {
                let mut json = String::new();
                write(&mut json, &text, number);
                prop_assert_eq!(ByteCount::of(|count| write(count, &text, number)), json.len(), "{}", json);
                let read: serde_json::Value = serde_json::from_str(&json).unwrap();
                prop_assert_eq!(read["text"].as_str(), Some(text.as_str()));
                prop_assert_eq!(read["number"].as_u64(), Some(number));
            }
        }
    }
}
