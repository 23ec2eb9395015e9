//! Errors that show the text with a caret under the place; and names that are near a misspelt one.

use std::fmt;

/// Bytes `start..end` of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// From the start of `self` to the end of `other`.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start, end: other.end }
    }
}

/// A text that could not be understood: what is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong and what was expected.
    pub message: String,
    /// The whole text.
    pub text: String,
    /// The place.
    pub span: Span,
}

impl ParseError {
    /// An error about `text[span]`.
    pub fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        Self { message: message.into(), text: text.to_owned(), span }
    }

    /// The same error in a longer text, of which this one's text is the part that starts at `offset`.
    pub(crate) fn within(self, text: &str, offset: usize) -> Self {
        let span = Span { start: self.span.start + offset, end: self.span.end + offset };
        Self { text: text.to_owned(), span, ..self }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the line in question; a definition may have several.
        let start = self.span.start.min(self.text.len());
        let line_start = self.text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let before = self.text[line_start..start].chars().count();
        let end = self.span.end.clamp(start, line_start + line.len().max(start - line_start));
        let width = self.text[start..end].chars().count().max(1);
        write!(f, "{}\n  {line}\n  {:before$}{:^<width$}", self.message, "", "")
    }
}

impl std::error::Error for ParseError {}

/// The up to five of `names` that are nearest to `wanted`, nearest first; names that have nothing to do with it are
/// left out.
pub fn near<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted_lower = wanted.to_lowercase();
    // Of one or two letters nothing is left when one is wrong.
    let most = if wanted.len() < 3 { 0 } else { wanted.len().div_ceil(3) };
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .filter(|name| !name.is_empty())
        .filter_map(|name| {
            let lower = name.to_lowercase();
            if wanted.len() >= 3
                && (lower.contains(&wanted_lower) || wanted_lower.contains(&lower) && lower.len() > 3)
            {
                return Some((lower.len().abs_diff(wanted_lower.len()).min(most), name));
            }
            if lower.len().abs_diff(wanted_lower.len()) > most {
                return None;
            }
            let distance = edit_distance(&wanted_lower, &lower);
            (distance <= most).then_some((distance, name))
        })
        .collect();
    found.sort();
    found.dedup();
    // With a good guess at hand, far ones are noise.
    let best = found.first().map_or(0, |(distance, _)| *distance);
    found.retain(|(distance, _)| *distance < 2 * best.max(1));
    found.truncate(5);
    found.into_iter().map(|(_, name)| name).collect()
}

/// Insertions, deletions and replacements that make `a` from `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
