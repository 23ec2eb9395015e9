//! What sqlparser says of SQL that it cannot read -> what is wrong there, and how to write it.

use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::sql::near::nearest;
use crate::sql::problem::Problem;

/// Clauses in the order in which they stand.
const CLAUSES: &[&str] = &["SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET"];
/// Words that begin a statement.
const BEGINNINGS: &[&str] = &["SELECT", "WITH", "EXPLAIN", "SHOW", "DESCRIBE", "VALUES"];
/// Words that may follow a table, in whose place a misspelt one is taken for another name of it.
const AFTER_TABLE: &[&str] =
    &["WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "JOIN", "INNER", "LEFT", "CROSS", "UNION"];

/// Explain `error`, sqlparser's message on `tokens`, which `sql` consists of.
pub fn explain(error: &str, tokens: &[TokenWithSpan], sql: &str) -> Problem {
    let error = error.replace("SQL error: ParserError(\"", "").replace("\")", "").replace("\\\"", "\"");
    let (text, location) = split(&error);
    let words: Vec<&TokenWithSpan> =
        tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    let place = location.and_then(|at| words.iter().position(|token| token.span.start == at));
    let span = match (place, location) {
        (Some(i), _) => words[i].span,
        (None, Some(at)) => Span::new(at, at),
        // It ends too early.
        (None, None) => words.last().map_or(Span::empty(), |last| Span::new(last.span.end, last.span.end)),
    };
    if text.contains("RecursionLimitExceeded") || text.contains("recursion limit") {
        return Problem::at(
            "the query is nested too deeply",
            Span::empty(),
            sql,
            "write it in parts, with WITH",
        );
    }
    let (expected, found) = match text.split_once(", found: ") {
        Some((expected, found)) => (expected.trim_start_matches("Expected: "), found.trim()),
        None => return Problem::at(lower(text), span, sql, ""),
    };
    let found = if found == "EOF" { "the end".to_owned() } else { format!("'{found}'") };
    let message = format!("expected {}, found {found}", spelt(expected));
    let help = help(&words, place.unwrap_or(words.len()), expected);
    Problem::at(message, span, sql, help)
}

/// The message without the place at its end, and the place.
fn split(error: &str) -> (&str, Option<Location>) {
    let Some((text, place)) = error.rsplit_once(" at Line: ") else { return (error, None) };
    let numbers = place.split_once(", Column: ").and_then(|(line, column)| {
        Some(Location { line: line.parse().ok()?, column: column.trim().parse().ok()? })
    });
    (text, numbers)
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

/// What was expected, in the words of a reader.
fn spelt(expected: &str) -> String {
    match expected {
        "end of statement" => "the end of the query".to_owned(),
        "an SQL statement" => "a query".to_owned(),
        other if other.len() <= 2 => format!("'{other}'"),
        other => lower_unless_keyword(other),
    }
}

fn lower_unless_keyword(text: &str) -> String {
    if text.chars().nth(1).is_some_and(char::is_lowercase) { lower(text) } else { text.to_owned() }
}

/// How to write it, where `words[at]` cannot be read.
fn help(words: &[&TokenWithSpan], at: usize, expected: &str) -> String {
    let word =
        |i: usize| words.get(i).map(|token| token.token.to_string().to_uppercase()).unwrap_or_default();
    let before = |n: usize| at.checked_sub(n).map(word).unwrap_or_default();
    let found = word(at);
    if at == 0 || (expected == "an SQL statement" && before(1) == ";") {
        let near = nearest(&found, BEGINNINGS.iter().copied());
        return near
            .map_or("a query begins with SELECT or WITH".to_owned(), |near| format!("did you mean {near}?"));
    }
    let open = opened(words, at);
    if let Some(i) = CLAUSES.iter().position(|clause| *clause == found)
        && let Some(later) = CLAUSES[i + 1..].iter().find(|clause| clauses(words, at).contains(clause))
    {
        return format!("{} stands before {}", clause(&found), clause(later));
    }
    if let "GROUP" | "ORDER" = found.as_str()
        && word(at + 1) != "BY"
    {
        return format!("write {found} BY");
    }
    if before(1) == "," && CLAUSES.contains(&found.as_str()) {
        return format!("remove the comma before {}", clause(&found));
    }
    if open > 0 && (found.is_empty() || CLAUSES.contains(&found.as_str())) {
        return "a ')' is missing".to_owned();
    }
    if open <= 0 && found == ")" {
        return "there is no '(' for this ')'".to_owned();
    }
    if let Some(near) = [2, 1, 0]
        .into_iter()
        .filter(|n| at >= *n && is_name(words.get(at - n)))
        .find_map(|n| nearest(&word(at - n), AFTER_TABLE.iter().copied()).map(|near| (at - n, near)))
    {
        return format!("did you mean {} instead of {}?", near.1, words[near.0].token);
    }
    if before(1) == "IN" {
        return "the values stand in parentheses: IN (1, 2)".to_owned();
    }
    if expected == "AND" {
        return "both bounds are included: BETWEEN 1 AND 2".to_owned();
    }
    let is_in_text = matches!(words.get(at.wrapping_sub(1)).map(|t| &t.token), Some(Token::SingleQuotedString(text)) if text.is_empty());
    if is_in_text {
        return "text stands in one quote on each side: 'text'".to_owned();
    }
    let selecting = clauses(words, at).last().is_some_and(|clause| *clause == "SELECT");
    if selecting && starts_value(words.get(at)) {
        return format!("is a comma missing before {}?", words[at].token);
    }
    if expected == "end of statement" && starts_value(words.get(at)) {
        return "are conditions joined with AND, and values with commas?".to_owned();
    }
    String::new()
}

fn clause(word: &str) -> String {
    if matches!(word, "GROUP" | "ORDER") { format!("{word} BY") } else { word.to_owned() }
}

fn is_name(token: Option<&&TokenWithSpan>) -> bool {
    let word = |token: &Token| matches!(token, Token::Word(word) if word.quote_style.is_none());
    token.is_some_and(|token| word(&token.token))
}

fn starts_value(token: Option<&&TokenWithSpan>) -> bool {
    let starts = |token: &Token| {
        matches!(token, Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::LParen)
    };
    token.is_some_and(|token| starts(&token.token))
}

/// Parentheses that are open before `words[at]`.
fn opened(words: &[&TokenWithSpan], at: usize) -> i64 {
    words[..at].iter().fold(0, |open, token| match token.token {
        Token::LParen => open + 1,
        Token::RParen => open - 1,
        _ => open,
    })
}

/// The clauses before `words[at]` of the query that it is in.
fn clauses(words: &[&TokenWithSpan], at: usize) -> Vec<&'static str> {
    let mut found: Vec<Vec<&'static str>> = vec![Vec::new()];
    for token in &words[..at] {
        match &token.token {
            Token::LParen => found.push(Vec::new()),
            Token::RParen if found.len() > 1 => {
                found.pop();
            }
            Token::Word(word) if word.quote_style.is_none() => {
                let name = word.value.to_uppercase();
                if let (Some(clause), Some(own)) = (CLAUSES.iter().find(|c| **c == name), found.last_mut()) {
                    own.push(clause);
                } else if matches!(name.as_str(), "UNION" | "EXCEPT" | "INTERSECT")
                    && let Some(own) = found.last_mut()
                {
                    own.clear();
                }
            }
            _ => {}
        }
    }
    found.pop().unwrap_or_default()
}
