//! Texts that are cheap to clone. Texts that are read together share their memory.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::{self, Utf8Error};

use crate::limits::protocol::TEXT_CHUNK_MAX_BYTES;
use bytes::BytesMut;
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};

/// A text that is cheap to clone.
pub type Text = ByteString;

/// A part of a text as a text that shares its memory, and a copy of what is not a part.
pub(crate) fn part_of(whole: &Text, part: Cow<'_, str>) -> Text {
    match part {
        Cow::Borrowed(part) => whole.slice_ref(part),
        Cow::Owned(copy) => copy.into(),
    }
}

/// The SHA-256 of a text, in hexadecimal digits.
pub(crate) fn sha256_hex(text: &str) -> String {
    let mut digits = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        // A string takes everything.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// The size of a pool's first chunk, in bytes. Each further one is twice as large. A row that does not fit gets its own
/// memory, so that little of a chunk is wasted.
const FIRST_CHUNK_BYTES: usize = 4 * 1024;

/// Copies texts into one piece of memory and checks them all at once.
///
/// # Errors
/// If one of them is not UTF-8.
pub fn copy_texts<const N: usize>(texts: [&[u8]; N]) -> Result<[Text; N], Utf8Error> {
    copy(texts, &mut BytesMut::with_capacity(bytes_of(&texts)))
}

/// Copies the texts of many rows into few chunks of memory. It is meant for a page, whose thousands of texts are freed
/// together.
#[derive(Debug, Default)]
pub struct TextPool {
    chunk: BytesMut,
    last_chunk_bytes: usize,
}

impl TextPool {
    /// Copies the texts of one row and checks them all at once.
    ///
    /// # Errors
    /// If one of them is not UTF-8.
    pub fn copy_texts<const N: usize>(&mut self, texts: [&[u8]; N]) -> Result<[Text; N], Utf8Error> {
        let bytes = bytes_of(&texts);
        if bytes > FIRST_CHUNK_BYTES {
            return copy_texts(texts);
        }
        if bytes > self.chunk.capacity() {
            self.last_chunk_bytes = (self.last_chunk_bytes * 2).clamp(FIRST_CHUNK_BYTES, TEXT_CHUNK_MAX_BYTES);
            self.chunk = BytesMut::with_capacity(self.last_chunk_bytes);
        }
        copy(texts, &mut self.chunk)
    }
}

fn bytes_of(texts: &[&[u8]]) -> usize {
    texts.iter().map(|text| text.len()).sum()
}

/// Copies texts to the end of a chunk that has room for them.
fn copy<const N: usize>(texts: [&[u8]; N], chunk: &mut BytesMut) -> Result<[Text; N], Utf8Error> {
    for text in texts {
        chunk.extend_from_slice(text);
    }
    let all = Text::try_from(chunk.split().freeze())?;
    let mut end = 0;
    let kept = texts.map(|text| {
        let begin = end;
        end += text.len();
        all.get(begin..end).map_or_else(Text::new, |text| all.slice_ref(text))
    });
    // Two byte strings can each be invalid UTF-8 and valid when joined. So if a cut falls inside a character, each text
    // is checked on its own.
    if kept.iter().zip(texts).any(|(kept, text)| kept.len() != text.len()) {
        texts.into_iter().try_for_each(|text| str::from_utf8(text).map(drop))?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_what_it_is_given_whatever_the_sizes() {
        let mut pool = TextPool::default();
        let large = "é".repeat(TEXT_CHUNK_MAX_BYTES);
        let mut kept = Vec::new();
        for turn in 0..2_000 {
            let (number, size) = (turn.to_string(), turn % 700);
            let middle = if turn % 500 == 1 { large.as_str() } else { &large[..size * 2] };
            let texts = pool.copy_texts([number.as_bytes(), b"", middle.as_bytes()]).unwrap();
            kept.push((texts, number, middle));
        }
        for ([first, empty, last], number, middle) in &kept {
            assert_eq!((&**first, &**empty, &**last), (number.as_str(), "", *middle));
        }
    }

    #[test]
    fn the_rows_of_a_page_share_their_memory() {
        let mut pool = TextPool::default();
        let rows: Vec<[Text; 2]> =
            (0..1_000).map(|row| pool.copy_texts([format!("{row:050}").as_bytes(), b"x"]).unwrap()).collect();
        let follows = |pair: &[[Text; 2]]| pair[0][1].as_ptr().wrapping_add(1) == pair[1][0].as_ptr();
        let breaks = rows.windows(2).filter(|pair| !follows(pair)).count();
        // The chunks have 4, 8, 16 and 32 KiB, so there are three borders.
        assert!(breaks <= 3, "{breaks}");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused_even_if_they_are_with_their_neighbour() {
        let (begin, end) = "é".as_bytes().split_at(1);
        for texts in [[begin, b"a"], [b"a", end], [begin, end], [b"\xff", b""]] {
            assert!(TextPool::default().copy_texts(texts).is_err() && copy_texts(texts).is_err(), "{texts:?}");
        }
        assert_eq!(copy_texts(["é".as_bytes(), b"", "ü".as_bytes()]).unwrap(), ["é", "", "ü"]);
    }
}
