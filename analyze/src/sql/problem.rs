//! What is wrong with a piece of SQL: a message, the place with its line, and what helps.

use std::fmt;

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// Lines of file `n` of the library are numbered from `(n + 1) * FILE_LINES`, so that a span tells which text it is in.
/// Lines of the query itself have smaller numbers.
pub const FILE_LINES: u64 = 1 << 32;
/// Characters of a line that a message shows.
const MAX_SHOWN: usize = 100;

/// An error in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// What is near, and how to write it; may be empty.
    pub help: String,
}

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file; none for the query itself.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// Characters that are meant; at least 1.
    width: usize,
    /// The line.
    text: String,
}

impl Problem {
    /// A problem at `span` of `sql`.
    pub fn at(message: impl Into<String>, span: Span, sql: &str, help: impl Into<String>) -> Self {
        Self { message: message.into(), place: Place::of(span, sql, None), help: help.into() }
    }

    /// The same, in a file.
    pub fn in_file(mut self, file: &str) -> Self {
        if let Some(place) = &mut self.place {
            place.file = Some(file.to_owned());
        }
        self
    }

    /// Place, message and help in one line.
    pub fn line(&self) -> String {
        let place = self.place.as_ref().map_or_else(String::new, |place| {
            let file = place.file.as_ref().map_or_else(String::new, |file| format!("{file}:"));
            format!("{file}{}:{}: ", place.line, place.column)
        });
        let help = if self.help.is_empty() { String::new() } else { format!("; {}", self.help) };
        format!("{place}{}{help}", self.message)
    }
}

impl Place {
    /// The place of `span` in `sql`; `None` if it is not there.
    pub fn of(span: Span, sql: &str, file: Option<&str>) -> Option<Self> {
        let Location { line, column } = span.start;
        let line = line % FILE_LINES;
        let text = sql.split('\n').nth(usize::try_from(line.checked_sub(1)?).ok()?)?;
        let ends_there = span.end.line == span.start.line && span.end.column > column;
        let width = if ends_there { span.end.column - column } else { 1 };
        Some(Self {
            file: file.map(str::to_owned),
            line,
            column,
            width: usize::try_from(width).unwrap_or(1),
            text: text.trim_end().to_owned(),
        })
    }

    /// The part of the line around the place, and the column of the place in it, from 0.
    fn shown(&self) -> (String, usize) {
        // A character for each, so that what stands below them is right.
        let all: Vec<char> = plain(&self.text).chars().collect();
        let column = usize::try_from(self.column.saturating_sub(1)).unwrap_or_default().min(all.len());
        let begin = if all.len() > MAX_SHOWN { column.saturating_sub(MAX_SHOWN / 2) } else { 0 };
        let end = all.len().min(begin + MAX_SHOWN);
        let mut text: String = all[begin..end].iter().collect();
        let mut at = column - begin;
        if begin > 0 {
            text.insert(0, '…');
            at += 1;
        }
        if end < all.len() {
            text.push('…');
        }
        (text, at)
    }
}

/// `error` for people: what is wrong in SQL with the place where it stands below the message, all else in one line.
pub fn shown(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    if error.downcast_ref::<Problem>().is_some() { text } else { text.replace('\n', " ") }
}

/// `text` in one line that cannot steer a terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(&self.message))?;
        if let Some(place) = &self.place {
            let file = place.file.as_ref().map_or_else(String::new, |file| format!("{file}, "));
            let (text, at) = place.shown();
            let carets = place.width.min(text.chars().count().saturating_sub(at)).max(1);
            write!(f, "\n  {file}line {}, column {}:", place.line, place.column)?;
            write!(f, "\n    {text}\n    {}{}", " ".repeat(at), "^".repeat(carets))?;
        }
        if !self.help.is_empty() {
            for line in wrapped(&plain(&self.help)) {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

/// `text` in lines of words.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + word.chars().count() < MAX_SHOWN => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(line: u64, column: u64, end: u64) -> Span {
        Span::new(Location { line, column }, Location { line, column: end })
    }

    #[test]
    fn the_line_is_shown_with_the_place_below_it() {
        let problem = Problem::at("no column 'x'", span(2, 3, 5), "SELECT\n\té'xy'", "columns: y");
        let shown = "no column 'x'\n  line 2, column 3:\n     é'xy'\n      ^^\n  columns: y";
        assert_eq!(problem.to_string(), shown);
        assert_eq!(problem.in_file("a.sql").line(), "a.sql:2:3: no column 'x'; columns: y");
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_shown() {
        let sql = format!("{}WRONG{}", "a,".repeat(200), ",b".repeat(200));
        let text = Problem::at("m", span(1, 401, 406), &sql, "").to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2].chars().count(), 4 + MAX_SHOWN + 2);
        let at = lines[3].find('^').unwrap();
        assert_eq!(lines[2].chars().skip(at).take(5).collect::<String>(), "WRONG");
        assert!(Place::of(span(9, 1, 1), "SELECT", None).is_none());
        assert_eq!(Place::of(span(FILE_LINES * 3 + 1, 1, 1), "SELECT", None).unwrap().line, 1);
    }
}
