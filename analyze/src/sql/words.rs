//! SQL as people write it -> tokens that DataFusion reads: numbers as `0x1f`, and names in any case.
//!
//! DataFusion takes `0x1f` for bytes and `"Foo"` for another name than `foo`. Here it is decided by the tokens, so that
//! strings, comments and `x'1f'` (which are bytes) stay as they are. A number with letters (`5ms`) would be read as a
//! number and a new name for it: it is refused.

use std::collections::HashMap;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use crate::sql::keywords::make_names;
use crate::sql::problem::Problem;
use crate::times::duration_ns;

/// A statement as tokens.
pub struct Words {
    /// What to parse. Names in quotes are lower case, as unquoted ones become when they are looked up.
    pub tokens: Vec<TokenWithSpan>,
    /// How names in quotes were written, by what they have become: the title of a column stays as it was asked for.
    pub titles: HashMap<String, String>,
}

/// Read `sql`.
///
/// Fails if a string or comment does not end, a hexadecimal number is none or has more than 64 bits, or another number
/// has letters.
pub fn read(sql: &str) -> Result<Words, Problem> {
    let mut tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().map_err(|error| {
        let span = Span::new(error.location, error.location);
        Problem::at(without_place(&error.message), span, sql, unterminated(&error.message))
    })?;
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
                let span = Span::new(tokens[i].span.start, tokens[last - 1].span.end);
                let message =
                    format!("'{}' is no hexadecimal number of at most 64 bits", written.escape_debug());
                return Err(Problem::at(message, span, sql, ""));
            };
            tokens[i].span.end = tokens[last - 1].span.end;
            tokens[i].token = Token::Number(number.to_string(), false);
            tokens.drain(i + 1..last);
        } else if let [number, letters, ..] = &tokens[i..]
            && matches!(number.token, Token::Number(..))
            && matches!(letters.token, Token::Word(_))
            && glued(number, letters)
        {
            let text = format!("{}{}", number.token, letters.token);
            let span = Span::new(number.span.start, letters.span.end);
            return Err(Problem::at(format!("'{text}' is no number"), span, sql, instead(&text)));
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
    make_names(&mut tokens);
    let titles = titles.into_iter().filter_map(|(name, title)| Some((name, title?))).collect();
    Ok(Words { tokens, titles })
}

/// What to write instead of a number with letters.
fn instead(text: &str) -> String {
    let digits = text.replace('_', "");
    if let Ok(ns) = duration_ns(text) {
        format!("times and durations are nanoseconds in SQL: write {ns}")
    } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("write {digits}")
    } else {
        "a name that begins with a digit stands in double quotes".to_owned()
    }
}

/// sqlparser ends some messages with the place.
fn without_place(message: &str) -> String {
    message.split(" at Line: ").next().unwrap_or(message).to_lowercase()
}

fn unterminated(message: &str) -> &'static str {
    if message.to_lowercase().contains("unterminated") {
        "what opens here is not closed; a quote within text is written twice: 'it''s'"
    } else {
        ""
    }
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
            let error = read(wrong).err().unwrap_or_else(|| panic!("{wrong}")).message;
            assert!(error.ends_with("is no hexadecimal number of at most 64 bits"), "{wrong}: {error}");
        }
    }

    #[test]
    fn numbers_with_letters_are_refused() {
        let said = |sql: &str| read(sql).err().map(|problem| (problem.message, problem.help));
        let ns = "times and durations are nanoseconds in SQL: write ";
        for (text, help) in [
            ("5ms", format!("{ns}5000000")),
            ("1.5s", format!("{ns}1500000000")),
            ("1_000", "write 1000".to_owned()),
            ("2nd", "a name that begins with a digit stands in double quotes".to_owned()),
        ] {
            assert_eq!(said(&format!("a > {text}")), Some((format!("'{text}' is no number"), help)));
        }
        for good in ["1e5", "1.5E-3", "5 ms", "'5ms'", "a5ms", "5-ms", ".5", "1::text"] {
            assert_eq!(said(good), None, "{good}");
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
