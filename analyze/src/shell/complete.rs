//! Completes the names that may stand at the cursor.

use std::collections::BTreeSet;

use anyhow::Result;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};

use super::commands::COMMANDS;
use super::statements::is_whole;
use crate::ordered::Operator;
use crate::output::Format;
use crate::session::Session;
use clap::ValueEnum;

const KEYWORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "JOIN",
    "LEFT JOIN",
    "USING",
    "UNION ALL",
    "DISTINCT",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "WITH",
    "FILTER",
    "OVER",
    "PARTITION BY",
    "DESC",
    "EXPLAIN",
    "SHOW TABLES",
    "DESCRIBE",
    "NULL",
    "AND",
    "OR",
    "NOT",
    "AS",
    "ON",
    "IN",
    "IS",
];

/// The names that can stand in a query.
pub struct Words {
    /// Names and columns of tables.
    tables: Vec<(String, Vec<String>)>,
    /// Names and parameters of analyses.
    analyses: Vec<(String, Vec<String>)>,
    /// Functions and operators.
    functions: Vec<String>,
    files: FilenameCompleter,
}

impl Words {
    /// Those of `session`.
    ///
    /// Fails if a table cannot be opened.
    pub async fn of(session: &Session) -> Result<Self> {
        let mut tables = Vec::new();
        for name in session.table_names() {
            let table = session.context().table_provider(name.to_lowercase()).await?;
            let columns = table.schema().fields().iter().map(|field| field.name().clone()).collect();
            tables.push((name.clone(), columns));
        }
        let state = session.context().state();
        let functions: BTreeSet<&String> =
            state.scalar_functions().keys().chain(state.aggregate_functions().keys()).collect();
        let analyses = session.library().all().iter();
        let analyses = analyses.map(|a| (a.name.clone(), a.params.iter().map(|p| p.name.clone()).collect()));
        let operators = Operator::ALL.map(|operator| operator.name().to_owned());
        Ok(Self {
            tables,
            analyses: analyses.collect(),
            functions: functions.into_iter().cloned().chain(operators).collect(),
            files: FilenameCompleter::new(),
        })
    }

    /// Where the word before the cursor begins, and what it can become.
    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        if let Some(command) = line.strip_prefix('\\') {
            return self.of_command(command);
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let start = line
            .rfind(|c: char| !is_part(c))
            .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
        let word = &line[start..];
        if let Some((before, _)) = word.rsplit_once('.') {
            let start = start + before.len() + 1;
            let names: Vec<&String> = match before {
                "a" => self.analyses.iter().map(|(name, _)| name).collect(),
                table => self.columns(line, Some(table)),
            };
            return (start, matching(&line[start..], names.into_iter().map(String::as_str)));
        }
        let tables = self.tables.iter().map(|(name, _)| name.clone());
        let calls = self.analyses.iter().map(|(name, _)| format!("{name}("));
        let functions = self.functions.iter().map(|name| format!("{name}("));
        let params = self.called(line).into_iter().map(|name| format!("{name} => "));
        let columns = self.columns(line, None).into_iter().cloned();
        let keywords = KEYWORDS.iter().map(|word| (*word).to_owned());
        let all: Vec<String> =
            params.chain(columns).chain(tables).chain(calls).chain(functions).chain(keywords).collect();
        (start, matching(word, all.iter().map(String::as_str)))
    }

    fn of_command(&self, command: &str) -> (usize, Vec<String>) {
        let Some((name, word)) = command.split_once(' ') else {
            return (1, matching(command, COMMANDS.iter().map(|(name, ..)| *name)));
        };
        let start = 1 + name.len() + 1;
        let formats: Vec<String> = Format::value_variants()
            .iter()
            .filter_map(|format| Some(format.to_possible_value()?.get_name().to_owned()))
            .collect();
        let tables = self.tables.iter().chain(&self.analyses).map(|(name, _)| name.as_str());
        match name {
            "d" => (start, matching(word, tables)),
            "f" => (start, matching(word, formats.iter().map(String::as_str))),
            _ => (start, Vec::new()),
        }
    }

    /// Columns of `table`; else of the tables that the line names; else of all.
    fn columns(&self, line: &str, table: Option<&str>) -> Vec<&String> {
        let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let is_named = |name: &str| match table {
            Some(table) => name.eq_ignore_ascii_case(table),
            None => words.iter().any(|word| word.eq_ignore_ascii_case(name)),
        };
        let mut found: Vec<&(String, Vec<String>)> =
            self.tables.iter().filter(|(name, _)| is_named(name)).collect();
        if found.is_empty() {
            found = self.tables.iter().collect();
        }
        let names: BTreeSet<&String> = found.into_iter().flat_map(|(_, columns)| columns).collect();
        names.into_iter().collect()
    }

    /// Parameters of the analysis whose call the cursor is in.
    fn called(&self, line: &str) -> Vec<&String> {
        let Some(open) = line.rfind('(').filter(|open| !line[*open..].contains(')')) else {
            return Vec::new();
        };
        let before = &line[..open];
        let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        let found = self.analyses.iter().find(|(name, _)| name.eq_ignore_ascii_case(&before[start..]));
        found.map_or_else(Vec::new, |(_, params)| params.iter().collect())
    }
}

fn matching<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let begins = |name: &&str| name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let mut found: Vec<String> = Vec::new();
    for name in names.filter(begins) {
        if !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
    found
}

impl Completer for Words {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        if ["\\i ", "\\o "].iter().any(|command| line.starts_with(command)) {
            return self.files.complete(line, pos, context);
        }
        let (start, names) = self.candidates(&line[..pos]);
        Ok((start, names.into_iter().map(|name| Pair { display: name.clone(), replacement: name }).collect()))
    }
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(match is_whole(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}

impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Words {
            tables: vec![
                ("listens".to_owned(), list(&["ts", "port", "comm"])),
                ("kmem".to_owned(), list(&["ts", "ptr"])),
            ],
            analyses: vec![("leaks".to_owned(), list(&["top", "min_age_ns"]))],
            functions: list(&["symbol", "sum"]),
            files: FilenameCompleter::new(),
        }
    }

    #[test]
    fn names_are_completed_where_they_can_stand() {
        let found = |line: &str| words().candidates(line);
        assert_eq!(found("SELECT * FROM lis"), (14, vec!["listens".to_owned()]));
        assert_eq!(found("SELECT sy"), (7, vec!["symbol(".to_owned()]));
        assert_eq!(found("SELECT * FROM leaks(t").1[0], "top => ");
        assert_eq!(found("SELECT kmem.p"), (12, vec!["ptr".to_owned()]));
        // Of the tables that are named, if any is.
        assert_eq!(found("SELECT p").1, ["port", "ptr", "PARTITION BY"]);
        assert_eq!(found("SELECT * FROM kmem WHERE p").1, ["ptr", "PARTITION BY"]);
        assert_eq!(found("SELECT * FROM a.l").1, ["leaks"]);
        assert_eq!(found("\\ti"), (1, vec!["timing".to_owned()]));
        assert_eq!(found("\\d k"), (3, vec!["kmem".to_owned()]));
        assert_eq!(found("\\f nd"), (3, vec!["ndjson".to_owned()]));
        assert_eq!(found("é lis"), (3, vec!["listens".to_owned()]));
    }
}
