//! Reads JSON that was checked before, in one pass. Values are compared or skipped, and no tree is built.

use std::borrow::Cow;

use crate::core::json::string;

/// A position in a text, before or after a value.
///
/// Every method that reads a value moves to its end. `None` means that the text is damaged.
#[derive(Debug, Clone)]
pub(in crate::core) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the beginning of a text.
    pub(in crate::core) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The first byte of the next value, or the bracket that ends an array or object.
    pub(in crate::core) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let space = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
        self.at += space;
        rest.get(space).copied()
    }

    /// The text from here to a later position of the same scanner.
    pub(super) fn text_until(&self, end: &Self) -> &'a str {
        self.text.get(self.at..end.at).unwrap_or_default()
    }

    fn take(&mut self, expected: u8) -> bool {
        let is_there = self.peek() == Some(expected);
        self.at += usize::from(is_there);
        is_there
    }

    /// The text of the next value, which is not an array or object.
    pub(in crate::core) fn scalar(&mut self) -> Option<&'a str> {
        let is_string = self.peek()? == b'"';
        let begin = self.at;
        let bytes = self.text.as_bytes();
        if is_string {
            self.at += 1;
            while *bytes.get(self.at)? != b'"' {
                self.at += if bytes[self.at] == b'\\' { 2 } else { 1 };
            }
            self.at += 1;
        } else {
            let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
            self.at += bytes[begin..].iter().take_while(|byte| !ends(byte)).count();
        }
        self.text.get(begin..self.at).filter(|text| !text.is_empty())
    }

    /// Skips the next value of any kind.
    pub(in crate::core) fn skip(&mut self) -> Option<()> {
        if !matches!(self.peek()?, b'{' | b'[') {
            return self.scalar().map(drop);
        }
        let bytes = self.text.as_bytes();
        let mut open = 0_usize;
        loop {
            match bytes.get(self.at)? {
                b'"' => drop(self.scalar()?),
                b'{' | b'[' => {
                    open += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    open -= 1;
                    self.at += 1;
                    if open == 0 {
                        return Some(());
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// The text of the next value of any kind.
    pub(in crate::core) fn skip_text(&mut self) -> Option<&'a str> {
        self.peek()?;
        let begin = self.at;
        self.skip()?;
        self.text.get(begin..self.at)
    }

    /// Calls `read` before each element of the next value, which is an array. `read` must move past the element.
    pub(in crate::core) fn elements(&mut self, mut read: impl FnMut(&mut Self, usize) -> Option<()>) -> Option<()> {
        if !self.take(b'[') {
            return None;
        }
        if self.take(b']') {
            return Some(());
        }
        for index in 0.. {
            read(self, index)?;
            if !self.take(b',') {
                break;
            }
        }
        self.take(b']').then_some(())
    }

    /// Calls `read` with each key of the next value, which is an object. `read` must move past the member's value.
    ///
    /// Equal keys are passed as often as they occur; the caller uses the last one.
    pub(in crate::core) fn members(&mut self, mut read: impl FnMut(&mut Self, &str) -> Option<()>) -> Option<()> {
        if !self.take(b'{') {
            return None;
        }
        if self.take(b'}') {
            return Some(());
        }
        loop {
            let key = self.scalar()?;
            let key = match key.strip_prefix('"')?.strip_suffix('"')? {
                plain if !plain.contains('\\') => Cow::Borrowed(plain),
                _ => string(key).ok()?,
            };
            if !self.take(b':') {
                return None;
            }
            read(self, &key)?;
            if !self.take(b',') {
                break;
            }
        }
        self.take(b'}').then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_gone_over_whatever_is_in_them() {
        for value in [
            "1",
            "-1.5e+7",
            "null",
            r#""a\"]}\\""#,
            "[]",
            "{}",
            r#"[1, "]", {"a}": [ ]}]"#,
            r#"{"a" : {"b":[[[]]]} , "c":"\\"}"#,
        ] {
            let text = format!(" {value} , 7");
            let mut scanner = Scanner::new(&text);
            scanner.skip().unwrap();
            assert!(scanner.take(b','), "{value}");
            assert_eq!(scanner.scalar(), Some("7"), "{value}");
        }
    }

    #[test]
    fn elements_and_members_come_in_order_with_their_keys_read() {
        let mut seen = Vec::new();
        let mut scanner = Scanner::new(r#"{"a":[1,"x",[2]],"\u0062":3,"a":{}}"#);
        scanner
            .members(|scanner, key| {
                if scanner.peek()? != b'[' {
                    seen.push(key.to_owned());
                    return scanner.skip();
                }
                scanner.elements(|scanner, index| {
                    seen.push(format!("{key}{index}"));
                    scanner.skip()
                })
            })
            .unwrap();
        assert_eq!(seen, ["a0", "a1", "a2", "b", "a"]);
    }

    #[test]
    fn damaged_text_is_noticed_and_ends() {
        for text in ["", " ", "[", "{", "\"", "\"\\", "[1", "{\"a\"", "{\"a\":", "{\"a\":1", "[[]"] {
            assert_eq!(Scanner::new(text).skip(), None, "{text}");
        }
        assert_eq!(Scanner::new("[1").elements(|scanner, _| scanner.skip()), None);
        assert_eq!(Scanner::new("{\"a\":1").members(|scanner, _| scanner.skip()), None);
        assert_eq!(Scanner::new("{1:1}").members(|scanner, _| scanner.skip()), None);
    }
}
