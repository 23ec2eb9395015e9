//! Explains an error of DataFusion: what is wrong, where, what is near, and how to write it.

use anyhow::{Error, anyhow};
use datafusion::common::{Column, DataFusionError, Diagnostic, SchemaError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::sql::near::near;
use crate::sql::problem::Problem;
use crate::sql::types::{difference, in_words};
use crate::sql::values::without_value;
use crate::sql::words;

/// What there is to ask for.
pub struct Known<'a> {
    /// Tables of the open traces.
    pub tables: &'a [String],
    /// Tables that are there if an event was recorded, with that event.
    pub events: Vec<(&'a str, &'a str)>,
    /// Analyses.
    pub analyses: Vec<&'a str>,
    /// Functions, aggregates and window functions.
    pub functions: Vec<String>,
    /// Table functions and operators.
    pub operators: Vec<&'a str>,
    /// A problem at a span, which may be in a file of the library.
    pub locate: &'a dyn Fn(String, Span, String) -> Problem,
}

/// Explain `error` of the query `sql`, which is empty if there is none.
pub fn explain(error: &DataFusionError, known: &Known<'_>, sql: &str) -> Error {
    let root = error.find_root();
    let text = root.strip_backtrace();
    // If it does not say where, then perhaps where the parts are.
    let spans = |diagnostic: &Diagnostic| {
        diagnostic.span.or_else(|| diagnostic.notes.iter().find_map(|note| note.span))
    };
    let span = error.diagnostic().and_then(spans).map(|span| {
        let at = |at: datafusion::common::Location| Location { line: at.line, column: at.column };
        Span::new(at(span.start), at(span.end))
    });
    let case = Case { known, sql, span };
    if let DataFusionError::SchemaError(schema, _) = root {
        match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => return case.no_column(field, valid_fields),
            SchemaError::AmbiguousReference { field } => return case.ambiguous(field, error),
            _ => {}
        }
    }
    if matches!(root, DataFusionError::ResourcesExhausted(_)) {
        return anyhow!(
            "the query needs more memory than allowed: give more with --memory, or narrow the query ({text})"
        );
    }
    // Tables of the user's own say themselves what is wrong with their files, as an error of execution.
    let is_own = matches!(root, DataFusionError::Execution(_));
    if !is_own && (text.contains("No such file or directory") || text.contains("NotFound")) {
        return anyhow!(
            "a segment vanished while it was read, as when the recorder merges or removes files: ask again ({text})"
        );
    }
    case.text(&text)
}

/// The text between `begin` and `end`.
fn between<'t>(text: &'t str, begin: &str, end: &str) -> Option<&'t str> {
    text.split_once(begin)?.1.split_once(end).map(|(found, _)| found)
}

struct Case<'a> {
    known: &'a Known<'a>,
    sql: &'a str,
    span: Option<Span>,
}

impl Case<'_> {
    fn problem(&self, message: impl Into<String>, span: Option<Span>, help: impl Into<String>) -> Error {
        (self.known.locate)(message.into(), span.or(self.span).unwrap_or(Span::empty()), help.into()).into()
    }

    /// The first token of the query for which `is_it` holds.
    fn token(&self, is_it: impl Fn(&Token) -> bool) -> Option<TokenWithSpan> {
        words::read(self.sql).ok()?.tokens.into_iter().find(|token| is_it(&token.token))
    }

    fn word(&self, name: &str) -> Option<Span> {
        let is_it =
            |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(name));
        self.token(is_it).map(|token| token.span)
    }

    fn string(&self, text: &str) -> Option<Span> {
        let is_it = |token: &Token| matches!(token, Token::SingleQuotedString(found) if found == text);
        self.token(is_it).map(|token| token.span)
    }

    fn no_column(&self, field: &Column, valid: &[Column]) -> Error {
        let name = field.name.as_str();
        let is_it = |token: &Token| matches!(token, Token::Word(word) if word.quote_style.is_some() && word.value.eq_ignore_ascii_case(name));
        let is_quoted = self.token(is_it).is_some_and(|token| {
            // With its quotes it is longer than its letters.
            let Span { start, end } = token.span;
            end.column.saturating_sub(start.column) > name.chars().count() as u64
        });
        let span = self.span.or_else(|| self.word(name));
        if valid.is_empty() {
            let help = match is_quoted {
                true => format!("text stands in single quotes: '{name}'"),
                false => "the query has no FROM: write SELECT ... FROM TABLE".to_owned(),
            };
            return self.problem(format!("there is no column '{name}'"), span, help);
        }
        let mut names: Vec<&str> = Vec::new();
        let mut place = String::new();
        if let Some(relation) = &field.relation {
            let of_it = valid
                .iter()
                .filter(|column| column.relation.as_ref().is_some_and(|r| r.resolved_eq(relation)));
            names = of_it.map(|column| column.name.as_str()).collect();
            if names.is_empty() {
                return self.no_relation(&relation.to_string(), valid, span);
            }
            place = format!(" in '{}'", relation.table());
        }
        if names.is_empty() {
            names = valid.iter().map(|column| column.name.as_str()).collect();
        }
        names.sort_unstable();
        names.dedup();
        let hint = match is_quoted {
            true => format!("; text stands in single quotes: '{name}'"),
            false => near(name, names.iter().copied()),
        };
        let help = format!("columns: {}", names.join(", "));
        self.problem(format!("there is no column '{name}'{place}{hint}"), span, help)
    }

    fn no_relation(&self, relation: &str, valid: &[Column], span: Option<Span>) -> Error {
        let mut tables: Vec<String> = valid
            .iter()
            .filter_map(|column| column.relation.as_ref())
            .map(|r| r.table().to_owned())
            .collect();
        tables.sort_unstable();
        tables.dedup();
        let hint = near(relation, tables.iter().map(String::as_str));
        let help = if tables.is_empty() { String::new() } else { format!("it has: {}", tables.join(", ")) };
        self.problem(format!("the query has no table '{relation}'{hint}"), span, help)
    }

    fn ambiguous(&self, field: &Column, error: &DataFusionError) -> Error {
        let notes = error.diagnostic().map(|diagnostic| diagnostic.notes.as_slice()).unwrap_or_default();
        let mut ways: Vec<&str> =
            notes.iter().filter_map(|note| note.message.strip_prefix("possible column ")).collect();
        ways.sort_unstable();
        let help = if ways.is_empty() {
            "name its table: TABLE.COLUMN".to_owned()
        } else {
            format!("write {}", ways.join(" or "))
        };
        let span = self.span.or_else(|| self.word(&field.name));
        self.problem(format!("column '{}' is in several tables", field.name), span, help)
    }

    fn no_table(&self, table: &str) -> Error {
        let Known { tables, events, analyses, .. } = self.known;
        let table = &*table.to_ascii_lowercase();
        let span = self.span.or_else(|| self.word(table));
        let help = format!("tables: {}", tables.join(", "));
        if let Some((_, event)) = events.iter().find(|(name, _)| *name == table) {
            let message =
                format!("event '{event}' is not in this trace: record it with `recorder record {event}`");
            // It is written well; so there is no place to look at.
            return Problem { message, place: None, help }.into();
        }
        let hint = match analyses.contains(&table) {
            true => format!("; the analysis is '{table}()' or 'a.{table}'"),
            false => near(table, tables.iter().map(String::as_str).chain(analyses.iter().copied())),
        };
        self.problem(format!("there is no table '{table}'{hint}"), span, help)
    }

    /// What DataFusion says in a text.
    fn text(&self, text: &str) -> Error {
        if text.contains("not found")
            && let Some(table) = between(text, "table '", "'")
        {
            return self.no_table(table.rsplit('.').next().unwrap_or(table));
        }
        if let Some(name) = between(text, "table function '", "'") {
            let Known { analyses, operators, tables, .. } = self.known;
            let names = analyses.iter().chain(operators).copied();
            let hint = match tables.iter().any(|table| table.eq_ignore_ascii_case(name)) {
                true => format!("; the table is '{name}', without parentheses"),
                false => near(name, names),
            };
            return self.problem(
                format!("there is no analysis '{name}'{hint}"),
                self.word(name),
                "`analyze list` names all",
            );
        }
        if let Some(name) = between(text, "Invalid function '", "'") {
            let hint = near(name, self.known.functions.iter().map(String::as_str));
            return self.problem(format!("there is no function '{name}'{hint}"), self.word(name), "");
        }
        if let Some(name) =
            between(text, "Invalid qualifier ", "\n").or_else(|| text.split("Invalid qualifier ").nth(1))
        {
            return self.problem(format!("the query has no table '{name}'"), self.word(name), "");
        }
        if text.contains("must be in GROUP BY") || text.contains("must appear in the GROUP BY") {
            let column = between(text, "column \"", "\"").unwrap_or("a column");
            let column = column.rsplit('.').next().unwrap_or(column);
            return self.problem(
                format!("'{column}' has many values where the query counts or sums rows"),
                self.word(column),
                format!("write GROUP BY {column}, or take one of them: min({column})"),
            );
        }
        if text.contains("Aggregate functions are not allowed in the WHERE clause") {
            return self.problem(
                "WHERE cannot count or sum: it decides about single rows",
                self.word("where"),
                "write HAVING after GROUP BY",
            );
        }
        if let Some(name) = between(text, "Placeholder '", "'") {
            let span = self.token(|token| matches!(token, Token::Placeholder(found) if found == name));
            let help = without_value(name.trim_start_matches('$'));
            return self.problem(
                format!("parameter {name} has no value"),
                span.map(|token| token.span),
                help,
            );
        }
        if text.contains("Divide by zero") {
            return self.problem("division by zero", None, "write x / nullif(y, 0), which is NULL then");
        }
        if text.contains("operator: PGOverlap") {
            let span = self.token(|token| *token == Token::Overlap);
            return self.problem("there is no operator '&&'", span.map(|token| token.span), "write AND");
        }
        if let Some((value, ty)) =
            between(text, "Cannot cast string '", "' to value of").zip(between(text, "to value of ", " type"))
        {
            let wanted = in_words(ty);
            return self.problem(format!("'{value}' is no {wanted}"), self.string(value), "");
        }
        if let Some(value) = between(text, "Error parsing timestamp from '", "'") {
            let help = match value.starts_with('+') {
                true => "times from the start are options: --from +1.5s; in SQL write '2027-01-15T08:00:00Z'",
                false => "write '2027-01-15T08:00:00Z'",
            };
            return self.problem(format!("'{value}' is no time"), self.string(value), help);
        }
        if let Some(difference) = difference(text) {
            let span = difference.function.as_deref().and_then(|name| self.word(name));
            return self.problem(difference.message, span, difference.help);
        }
        self.problem(cleaned(text), None, "")
    }
}

/// DataFusion's message without its prefixes, in one line.
fn cleaned(text: &str) -> String {
    const PREFIXES: &[&str] = &[
        "Error during planning: ",
        "Schema error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "External error: ",
        "SQL error: ",
        "Internal error: ",
        "Optimizer rule failed: ",
        "type_coercion",
        "caused by",
    ];
    let mut text = text.split("This issue was likely caused by a bug").next().unwrap_or(text).trim();
    // The syntax tree itself is for nobody.
    text = text.split(" Substring {").next().unwrap_or(text);
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest.trim_start();
    }
    let text = text.trim_end_matches('.').replace('\n', " ");
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text,
    }
}
