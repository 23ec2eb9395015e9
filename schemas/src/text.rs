//! Bytes that the kernel takes for a name -> text, and back: different bytes are different text.
//!
//! Valid UTF-8 stays as it is. Each byte that is not part of valid UTF-8 becomes `\xHH`, with lower-case digits. So that
//! this can be undone, a backslash of the name itself becomes `\x5c` where `x` and two lower-case hexadecimal digits
//! follow it, and only there.

use std::borrow::Cow;
use std::fmt::Write;

/// The text of `bytes`.
///
/// ```
/// use schemas::text::{escape, unescape};
/// assert_eq!(escape("caf\u{e9} \\x".as_bytes()), "caf\u{e9} \\x");
/// assert_eq!(escape(b"a\xff"), "a\\xff");
/// assert_eq!(escape(b"a\\xff"), "a\\x5cxff");
/// assert_eq!(*unescape("a\\x5cxff"), *b"a\\xff");
/// ```
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !bytes.contains(&b'\\') || !has_escape(bytes) => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(bytes)),
    }
}

#[cold]
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 8);
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' && escape_at(bytes, at).is_some() {
                text.push_str("\\x5c");
            } else {
                text.push(c);
            }
            at += c.len_utf8();
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
        at += chunk.invalid().len();
    }
    text
}

/// The bytes whose text is `text`.
pub fn unescape(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !has_escape(bytes) {
        return Cow::Borrowed(bytes);
    }
    let mut raw = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = escape_at(bytes, at);
        raw.push(escape.unwrap_or(byte));
        at += if escape.is_some() { 4 } else { 1 };
    }
    Cow::Owned(raw)
}

fn has_escape(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| escape_at(bytes, at).is_some())
}

/// The byte that `\xHH` at `at` stands for, if that stands there.
fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    match bytes.get(at..at + 4)? {
        [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_bytes_are_different_text_that_can_be_read_back() {
        // All names of up to five of these parts: backslashes, digits, bytes that are not UTF-8, parts of a character.
        let parts: [&[u8]; 8] = [b"\\", b"x", b"5", b"c", b"f", b"\xff", b"\xc3", b"\xa9"];
        let mut names: Vec<Vec<u8>> = vec![Vec::new()];
        let mut from = 0;
        for _ in 0..5 {
            let to = names.len();
            for i in from..to {
                for part in parts {
                    let name = [&names[i], part].concat();
                    names.push(name);
                }
            }
            from = to;
        }
        for name in &names {
            let text = escape(name);
            assert_eq!(*unescape(&text), **name, "{text}");
        }
        let texts: std::collections::HashSet<String> = names.iter().map(|n| escape(n).into_owned()).collect();
        let names: std::collections::HashSet<Vec<u8>> = names.into_iter().collect();
        assert_eq!(texts.len(), names.len());
    }

    #[test]
    fn text_is_changed_only_where_it_must_be() {
        for text in ["", "redis-server", "\u{e9}", "C:\\temp", "a\\", "a\\x", "a\\xF", "a\\xFF", "\\\\"] {
            assert!(matches!(escape(text.as_bytes()), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(escape(b"\xff\xfe"), "\\xff\\xfe");
        assert_eq!(escape(b"\xc3"), "\\xc3");
    }
}
