//! Text -> tokens with their places.

use super::{ParseError, Span};

/// One word or sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Ident(String),
    /// `$name`, without the `$`.
    Dollar(String),
    Int(u64),
    /// What stands between quotes.
    Text(String),
    Sign(&'static str),
    End,
}

/// All signs; longer ones first.
const SIGNS: [&str; 26] = [
    "->", "==", "!=", "<=", ">=", "<<", ">>", "&&", "||", "(", ")", "[", "]", "{", "}", "*", "&", "!", "<",
    ">", "+", "-", "=", ",", ":", ";",
];
const SIGNS_OF_MEMBERS: [&str; 2] = [".", "?"];

/// Cut `text[from..]` into tokens; the last one is [`Token::End`].
pub(super) fn tokens(text: &str, from: usize) -> Result<Vec<(Token, Span)>, ParseError> {
    let mut found = Vec::new();
    let mut at = from;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, len) = if is_ident_start(first) {
            let len = ident_len(rest);
            (Token::Ident(rest[..len].to_owned()), len)
        } else if first == '$' {
            let len = ident_len(&rest[1..]);
            (Token::Dollar(rest[1..1 + len].to_owned()), 1 + len)
        } else if first.is_ascii_digit() {
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Token::Int(integer(text, at, len)?), len)
        } else if first == '\'' || first == '"' {
            let Some(end) = rest[1..].find(first) else {
                let span = Span { start: at, end: text.len() };
                return Err(ParseError::new(text, span, format!("this text has no closing {first}")));
            };
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if let Some(sign) = SIGNS.iter().chain(&SIGNS_OF_MEMBERS).find(|sign| rest.starts_with(**sign))
        {
            (Token::Sign(sign), sign.len())
        } else {
            let span = Span { start: at, end: at + first.len_utf8() };
            return Err(ParseError::new(text, span, format!("'{first}' has no meaning here")));
        };
        found.push((token, Span { start: at, end: at + len }));
        at += len;
    }
    found.push((Token::End, Span { start: text.len(), end: text.len() }));
    Ok(found)
}

fn is_ident_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

/// Bytes of the identifier that `text` starts with.
pub(super) fn ident_len(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Units of time and their nanoseconds.
const TIMES: [(&str, u64); 4] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];

/// A number, or a time in nanoseconds.
fn integer(text: &str, start: usize, len: usize) -> Result<u64, ParseError> {
    let word = &text[start..start + len];
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let parsed = match (word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")), &word[digits.len()..]) {
        (Some(digits), _) => u64::from_str_radix(digits, 16).ok(),
        (None, "") => word.parse().ok(),
        (None, unit) => TIMES.iter().find(|(name, _)| *name == unit).and_then(|(_, ns)| {
            let time_ns: u64 = digits.parse().ok()?;
            time_ns.checked_mul(*ns).filter(|ns| i64::try_from(*ns).is_ok())
        }),
    };
    parsed.ok_or_else(|| {
        let span = Span { start, end: start + len };
        let message =
            "expected a decimal or 0x number of at most 64 bits, or a time in ns, us, ms or s, such as 10ms";
        ParseError::new(text, span, message)
    })
}

impl Token {
    /// How an error names this token.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Ident(name) => format!("'{name}'"),
            Self::Dollar(name) => format!("'${name}'"),
            Self::Int(n) => format!("'{n}'"),
            Self::Text(text) => format!("the text '{text}'"),
            Self::Sign(sign) => format!("'{sign}'"),
            Self::End => "the end".to_owned(),
        }
    }
}
