//! SQL as people write it -> tokens that DataFusion reads: numbers as `0x1f`, and names in any case.
//!
//! DataFusion takes `0x1f` for bytes and `"Foo"` for another name than `foo`. Here it is decided by the tokens, so that
//! strings, comments and `x'1f'` (which are bytes) stay as they are.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

/// A statement as tokens.
pub struct Words {
    /// What to parse. Names in quotes are lower case, as unquoted ones become when they are looked up.
    pub tokens: Vec<TokenWithSpan>,
    /// How names in quotes were written, by what they have become: the title of a column stays as it was asked for.
    pub titles: HashMap<String, String>,
}

/// Read `sql`.
///
/// Fails if a string or comment does not end, or a hexadecimal number is none or has more than 64 bits.
pub fn read(sql: &str) -> Result<Words> {
    let mut tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .map_err(|error| anyhow!("SQL error: {error}"))?;
    let lines: Vec<&str> = sql.split('\n').collect();
    let mut titles: HashMap<String, Option<String>> = HashMap::new();
    let mut i = 0;
    while i < tokens.len() {
        if let Some(digits) = hexadecimal(&tokens[i..], &lines) {
            let last =
                i + 1 + tokens[i + 1..].iter().zip(&tokens[i..]).take_while(|(b, a)| glued(a, b)).count();
            let number = match last - i == digits.tokens {
                true => u64::from_str_radix(&digits.text, 16).ok(),
                false => None,
            };
            let Some(number) = number else {
                let written: String = tokens[i..last].iter().map(|t| written(&t.token)).collect();
                bail!("'{}' is no hexadecimal number of at most 64 bits", written.escape_debug());
            };
            tokens[i].span.end = tokens[last - 1].span.end;
            tokens[i].token = Token::Number(number.to_string(), false);
            tokens.drain(i + 1..last);
        } else if let Token::Word(word) = &mut tokens[i].token
            && word.quote_style.is_some()
            && word.value.contains(|c: char| c.is_ascii_uppercase())
        {
            let asked = std::mem::take(&mut word.value);
            word.value = asked.to_ascii_lowercase();
            let title = titles.entry(word.value.clone()).or_insert_with(|| Some(asked.clone()));
            // Written in two ways: neither is the title.
            if title.as_ref().is_some_and(|title| *title != asked) {
                *title = None;
            }
        }
        i += 1;
    }
    let titles = titles.into_iter().filter_map(|(name, title)| Some((name, title?))).collect();
    Ok(Words { tokens, titles })
}

struct Digits {
    text: String,
    /// Tokens that they take: `0X1f` is read as `0` and a name.
    tokens: usize,
}

/// The digits of the hexadecimal number with which `tokens` begins.
fn hexadecimal(tokens: &[TokenWithSpan], lines: &[&str]) -> Option<Digits> {
    match &tokens.first()?.token {
        // As opposed to x'1f'.
        Token::HexStringLiteral(text) if begins_with_zero(tokens[0].span.start, lines) => {
            Some(Digits { text: text.clone(), tokens: 1 })
        }
        Token::Number(zero, false) if zero == "0" => match &tokens.get(1)?.token {
            Token::Word(word) if word.quote_style.is_none() && glued(&tokens[0], &tokens[1]) => {
                let text = word.value.strip_prefix(['x', 'X'])?;
                Some(Digits { text: text.to_owned(), tokens: 2 })
            }
            _ => None,
        },
        _ => None,
    }
}

fn begins_with_zero(at: Location, lines: &[&str]) -> bool {
    let line = usize::try_from(at.line).ok().and_then(|n| lines.get(n.checked_sub(1)?));
    let column = usize::try_from(at.column).unwrap_or_default();
    line.and_then(|line| line.chars().nth(column.saturating_sub(1))) == Some('0')
}

/// Do they make one word in the eyes of the user?
fn glued(a: &TokenWithSpan, b: &TokenWithSpan) -> bool {
    let is_part = matches!(&b.token, Token::Number(..) | Token::HexStringLiteral(_))
        || matches!(&b.token, Token::Word(word) if word.quote_style.is_none());
    is_part && a.span.end == b.span.start
}

fn written(token: &Token) -> String {
    match token {
        Token::HexStringLiteral(digits) => format!("0x{digits}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(sql: &str) -> String {
        read(sql).unwrap().tokens.iter().map(|t| t.token.to_string()).collect()
    }

    #[test]
    fn hexadecimal_numbers_become_decimal_outside_of_strings_comments_and_names() {
        assert_eq!(rewritten("ptr=0xffff888100dc7000"), "ptr=18446612686379446272");
        assert_eq!(rewritten("IN(0x10,0X1f,0xFf)"), "IN(16,31,255)");
        assert_eq!(rewritten("a&-0x400+symbol(0x0)"), "a&-1024+symbol(0)");
        assert_eq!(rewritten("'é'\n,\n 0xa --0xb\n"), "'é'\n,\n 10 --0xb\n");
        for same in ["'0x10'", "\"0x10\"", "/*0x10*/ 1", "X'10'", "a0x10", "0 x10", "10"] {
            assert_eq!(rewritten(same), same);
        }
        for wrong in ["0x", "0xfg", "0x1.5", "0x10000000000000000", "0x1 + 0Xg", "0X"] {
            let error = read(wrong).err().unwrap_or_else(|| panic!("{wrong}")).to_string();
            assert!(error.ends_with("is no hexadecimal number of at most 64 bits"), "{wrong}: {error}");
        }
    }

    #[test]
    fn names_in_quotes_are_lower_case_and_titles_stay() {
        let words = read("SELECT \"Ptr\" AS \"The Address\", 'Ptr', \"A\", \"a\" FROM \"Foo\"").unwrap();
        let text: String = words.tokens.iter().map(|t| t.token.to_string()).collect();
        assert_eq!(text, "SELECT \"ptr\" AS \"the address\", 'Ptr', \"a\", \"a\" FROM \"foo\"");
        assert_eq!(words.titles["the address"], "The Address");
    }
}
