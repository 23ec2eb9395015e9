//! Raw bytes of text columns in, UTF-8 text out; text of few distinct values is interned into Arrow dictionary keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};

use schemas::text::escape;

use super::table::Table;

/// Distinct values of a column after which its dictionary starts afresh, so that its memory is bounded.
const MAX_INTERNED: usize = 8192;

/// The bytes before the first NUL.
pub fn until_nul(raw: &[u8]) -> &[u8] {
    let end = raw.iter().position(|&byte| byte == 0).unwrap_or(raw.len());
    &raw[..end]
}

/// Text of at most `most` bytes, with [escapes](schemas::text) for what is not UTF-8, but without a character that the
/// cut left incomplete.
pub fn text(raw: &[u8], most: usize) -> Cow<'_, str> {
    let raw = until_nul(raw);
    if raw.len() <= most {
        return escape(raw);
    }
    escape(without_part(&raw[..most]))
}

/// `raw` without a character at its end that a cut left incomplete.
fn without_part(raw: &[u8]) -> &[u8] {
    let last = raw.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    // Only the start of a character, so that its rest may be what was cut.
    let is_cut = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    if is_cut { &raw[..raw.len() - last.len()] } else { raw }
}

/// A fast hash of short keys: a multiply per eight bytes. Tables keyed with it are bounded, so a hostile choice of
/// keys costs time, not memory. Nothing on disk depends on it.
#[derive(Default)]
pub struct FastHasher(u64);

/// Builds [`FastHasher`].
pub type FastHash = BuildHasherDefault<FastHasher>;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl FastHasher {
    fn mix(&mut self, word: u64) {
        let product =
            u128::from(self.0.rotate_left(23) ^ word ^ 0x2545_f491_4f6c_dd1d) * u128::from(MULTIPLIER);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_ne_bytes(word.try_into().unwrap_or_default()));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_ne_bytes(word));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
}

/// Raw values of one column -> keys of a dictionary of texts.
#[derive(Default)]
pub struct Interner {
    raw: Table,
    /// By number of the raw value: its bytes, one after the other.
    raw_bytes: Vec<u8>,
    /// By number of the raw value: two of them may be one text (bytes after the NUL differ).
    keys: Vec<i32>,
    by_text: HashMap<Box<str>, i32, FastHash>,
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    values: Option<ArrayRef>,
}

impl Interner {
    /// Called before each batch: forgets everything if there is much.
    pub fn begin_batch(&mut self) {
        if self.keys.len() > MAX_INTERNED || self.offsets.is_empty() {
            *self = Self { offsets: vec![0], ..Self::default() };
        }
    }

    /// The key of `raw`, whose text is made by `text` the first time; all of a column are of one size. Inlined, so
    /// that a size known to the caller makes hash and comparison a few instructions.
    #[inline(always)]
    pub fn key(&mut self, raw: &[u8], text: impl FnOnce(&[u8]) -> String) -> i32 {
        let Self { raw: table, raw_bytes, .. } = self;
        let mut hasher = FastHasher::default();
        hasher.write(raw);
        let is_same = |number: u32| raw_bytes[number as usize * raw.len()..][..raw.len()] == *raw;
        let (number, is_new) = table.number(hasher.finish(), is_same);
        if is_new { self.insert(raw, text(raw)) } else { self.keys[number as usize] }
    }

    #[cold]
    fn insert(&mut self, raw: &[u8], text: String) -> i32 {
        let key = match self.by_text.get(text.as_str()) {
            Some(&key) => key,
            None => {
                let key = self.offsets.len() as i32 - 1;
                self.bytes.extend_from_slice(text.as_bytes());
                self.offsets.push(self.bytes.len() as i32);
                self.by_text.insert(text.into(), key);
                self.values = None;
                key
            }
        };
        self.raw_bytes.extend_from_slice(raw);
        self.keys.push(key);
        key
    }

    /// All texts so far, by key.
    pub fn values(&mut self) -> ArrayRef {
        let Self { offsets, bytes, values, .. } = self;
        values
            .get_or_insert_with(|| {
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets.clone()));
                Arc::new(StringArray::new(offsets, bytes.clone().into(), None))
            })
            .clone()
    }
}

/// Words that end with a NUL each, as a shell reads them: `sh -c 'exit 3'`.
/// `is_cut`: there were more bytes.
pub fn words(raw: &[u8], is_cut: bool, out: &mut Vec<u8>) {
    const PLAIN: &[u8] = b"_@%+=:,./-";
    let raw = if is_cut { without_part(raw) } else { raw };
    let raw = raw.strip_suffix(&[0]).unwrap_or(raw);
    for (i, word) in raw.split(|byte| *byte == 0).enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        let text = escape(word);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) || !byte.is_ascii();
        if !text.is_empty() && text.bytes().all(is_plain) {
            out.extend_from_slice(text.as_bytes());
        } else {
            out.extend_from_slice(format!("'{}'", text.replace('\'', r"'\''")).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_nul_and_at_its_limit_and_never_in_mid_character() {
        assert_eq!(text(b"abc\0stale", 16), "abc");
        assert_eq!(text(b"abcdef", 4), "abcd");
        assert_eq!(text("a\u{e9}\u{e9}".as_bytes(), 4), "a\u{e9}");
        assert_eq!(text(b"a\xffb", 16), "a\\xffb");
        assert_eq!(text(b"\xff\xc3\xa9", 2), "\\xff");
        assert_eq!(text(b"a\xff", 16), "a\\xff");
        assert_ne!(text(b"\xff", 16), text(b"\xfe", 16));
        assert_ne!(text(b"\xff", 16), text(b"\\xff", 16));
        assert_eq!(text(b"", 16), "");
    }

    #[test]
    fn equal_texts_get_one_key_whatever_follows_the_nul() {
        let mut interner = Interner::default();
        interner.begin_batch();
        let mut key = |raw: &[u8]| interner.key(raw, |raw| text(raw, 16).into_owned());
        let (a, b, c) = (key(b"x\0\0"), key(b"x\0y"), key(b"z\0\0"));
        assert_eq!(a, b);
        assert_ne!(a, c);
        assert_eq!(key(b"x\0\0"), a);
        assert_eq!(interner.values().len(), 2);
    }
}
