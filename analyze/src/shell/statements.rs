//! Puts lines together to whole statements and commands.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// `\d listens`, without the backslash.
    Command(String),
    /// A statement, without the semicolon.
    Query(String),
}

/// Puts lines together until a statement is whole.
#[derive(Debug, Default)]
pub struct Reader {
    text: String,
}

impl Reader {
    /// What is whole with this line.
    pub fn line(&mut self, line: &str) -> Vec<Piece> {
        if self.text.trim().is_empty()
            && let Some(command) = command(line)
        {
            return vec![Piece::Command(command)];
        }
        self.text.push_str(line);
        self.text.push('\n');
        let (statements, rest) = split(&self.text);
        self.text = rest;
        statements.into_iter().map(Piece::Query).collect()
    }

    /// What is left at the end, without a semicolon.
    pub fn rest(self) -> Option<Piece> {
        let is_blank = tokens(&self.text)
            .is_some_and(|tokens| tokens.iter().all(|token| matches!(token.token, Token::Whitespace(_))));
        (!is_blank).then(|| Piece::Query(self.text.trim().to_owned()))
    }
}

/// The command that a line is, if it is one.
fn command(line: &str) -> Option<String> {
    let line = line.trim();
    match line {
        "quit" | "exit" => Some("q".to_owned()),
        "help" => Some("?".to_owned()),
        _ => line.strip_prefix('\\').map(|command| command.trim_end_matches(';').trim_end().to_owned()),
    }
}

/// Does this line need no further one?
pub fn is_whole(text: &str) -> bool {
    text.trim().is_empty() || command(text).is_some() || {
        let (statements, rest) = split(text);
        !statements.is_empty() && rest.trim().is_empty()
    }
}

fn tokens(text: &str) -> Option<Vec<TokenWithSpan>> {
    Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().ok()
}

/// The statements that end with a semicolon (one in a string or a comment ends none), and what follows the last.
fn split(text: &str) -> (Vec<String>, String) {
    // A string or comment that goes on.
    let Some(tokens) = tokens(text) else { return (Vec::new(), text.to_owned()) };
    let lines: Vec<&str> = text.split('\n').collect();
    let place = |line: u64, column: u64| {
        let line = (line as usize).saturating_sub(1).min(lines.len().saturating_sub(1));
        let before: usize = lines[..line].iter().map(|line| line.len() + 1).sum();
        let within = lines[line].char_indices().nth((column as usize).saturating_sub(1));
        before + within.map_or(lines[line].len(), |(at, _)| at)
    };
    let (mut statements, mut from) = (Vec::new(), 0);
    for token in tokens.iter().filter(|token| token.token == Token::SemiColon) {
        let at = place(token.span.start.line, token.span.start.column);
        let statement = text[from..at].trim();
        if !statement.is_empty() {
            statements.push(statement.to_owned());
        }
        from = at + 1;
    }
    (statements, text[from..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_ends_a_statement_but_not_in_text_or_a_comment() {
        let mut reader = Reader::default();
        assert_eq!(reader.line("SELECT ';' -- ;"), []);
        assert_eq!(reader.line("  AS \"é;\", 0x1f"), []);
        assert_eq!(reader.line("\\d"), [], "a command stands alone");
        let mut reader = Reader::default();
        assert_eq!(reader.line("SELECT 'é;'"), []);
        let query = |text: &str| Piece::Query(text.to_owned());
        assert_eq!(
            reader.line("  , 0x1f; SELECT 2; SELECT"),
            [query("SELECT 'é;'\n  , 0x1f"), query("SELECT 2")]
        );
        assert_eq!(reader.line("3;"), [query("SELECT\n3")]);
        assert_eq!(reader.line(" \\d listens;"), [Piece::Command("d listens".to_owned())]);
        assert_eq!(reader.line("SELECT 4"), []);
        assert_eq!(reader.rest(), Some(query("SELECT 4")));
        let mut reader = Reader::default();
        assert_eq!(reader.line("-- only a comment"), []);
        assert_eq!(reader.rest(), None);
    }

    #[test]
    fn the_terminal_asks_for_more_lines_until_it_is_whole() {
        for whole in ["", "\\d", "exit", "SELECT 1;", "SELECT 1; ", "SELECT 1;\nSELECT 2;"] {
            assert!(is_whole(whole), "{whole}");
        }
        for part in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT 2", "SELECT /* ;"] {
            assert!(!is_whole(part), "{part}");
        }
    }
}
