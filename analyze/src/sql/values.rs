//! Gives the parameters `$NAME` of a statement the values of `--param NAME=VALUE`.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, ValueWithSpan, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::sql::bind::bind;
use crate::sql::near::near;
use crate::sql::problem::Problem;
use crate::times::duration_ns;

/// The values of the parameters of a query.
#[derive(Debug, Default)]
pub struct Values(Vec<Given>);

#[derive(Debug)]
struct Given {
    name: String,
    value: Expr,
    is_used: AtomicBool,
}

impl Values {
    /// Take `NAME=VALUE`; one that is there already gets the new value. `moment_ns` reads a time.
    ///
    /// Fails if it is not written so, or looks like a time and is none.
    pub fn set(&mut self, text: &str, moment_ns: impl Fn(&str) -> Result<i64>) -> Result<()> {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("parameter '{text}' has no value: write {text}=VALUE"))?;
        let name = name.trim().trim_start_matches('$').to_ascii_lowercase();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        ensure!(
            !name.is_empty() && name.chars().all(is_word),
            "'{name}' is no name of a parameter: use letters, digits and '_'"
        );
        let value = literal(value, moment_ns).with_context(|| format!("parameter '{name}'"))?;
        self.0.retain(|given| given.name != name);
        self.0.push(Given { name, value, is_used: AtomicBool::new(false) });
        Ok(())
    }

    /// Names, in the order in which they were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|given| given.name.as_str())
    }

    /// Name and value, as SQL, of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, String)> {
        self.0.iter().map(|given| (given.name.as_str(), given.value.to_string()))
    }

    /// Put the values in their places in `statement`, which was read from `sql`.
    ///
    /// Fails if it has a parameter without a value.
    pub fn bind(&self, statement: &mut Statement, sql: &str) -> Result<(), Problem> {
        bind(statement, |written, span| {
            let name = written.to_ascii_lowercase();
            let Some(given) = self.0.iter().find(|given| given.name == name) else {
                let hint = near(&name, self.names());
                let help = without_value(&name);
                return Err(Problem::at(format!("parameter ${written} has no value{hint}"), span, sql, help));
            };
            given.is_used.store(true, Ordering::Relaxed);
            let mut value = given.value.clone();
            // An error of the value is shown where it stands. It never breaks.
            let _ = VisitMut::visit(&mut value, &mut StandsAt(span));
            Ok(value)
        })
    }

    /// Every value stood somewhere.
    ///
    /// Fails if one was for nothing: its name is misspelt, or the query is another one.
    pub fn all_used(&self) -> Result<()> {
        match self.0.iter().find(|given| !given.is_used.load(Ordering::Relaxed)) {
            Some(given) => Err(anyhow!(
                "--param {0}: the query has no parameter ${0}: write ${0} where its value is to stand",
                given.name
            )),
            None => Ok(()),
        }
    }
}

/// How parameter `name` gets a value.
pub fn without_value(name: &str) -> String {
    format!("give it one with --param {name}=VALUE, in the shell with \\set {name} VALUE")
}

struct StandsAt(Span);

impl VisitorMut for StandsAt {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        value.span = self.0;
        ControlFlow::Continue(())
    }
}

/// The expression for a value as people write it: a number, a duration (nanoseconds), a time (a timestamp), `true`,
/// `false`, else text. Text in single quotes is text whatever it looks like.
fn literal(text: &str, moment_ns: impl Fn(&str) -> Result<i64>) -> Result<Expr> {
    let quoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    if let Some(quoted) = quoted {
        return Ok(string(&quoted.replace("''", "'")));
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
        && let Ok(number) = u64::from_str_radix(hex, 16)
    {
        return parsed(&number.to_string());
    }
    if digits.starts_with(|c: char| c.is_ascii_digit()) {
        if digits.bytes().all(|c| c.is_ascii_digit()) || is_decimal(digits) {
            return parsed(&format!("({text})"));
        }
        if let (false, Ok(ns)) = (text.starts_with('-'), duration_ns(text)) {
            return parsed(&ns.to_string());
        }
    }
    let is_after = text.strip_prefix('+').is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()));
    if is_after || begins_as_date(text) {
        return parsed(&format!("utc({})", moment_ns(text)?));
    }
    match text {
        "true" | "false" => parsed(text),
        _ => Ok(string(text)),
    }
}

fn string(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

fn parsed(sql: &str) -> Result<Expr> {
    Ok(Parser::new(&GenericDialect {}).try_with_sql(sql)?.parse_expr()?)
}

fn is_decimal(digits: &str) -> bool {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    !part.is_empty() && is_number(whole) && is_number(part)
}

/// `2027-01-15`, and what may follow.
fn begins_as_date(text: &str) -> bool {
    let form = "0000-00-00".bytes().zip(text.bytes());
    text.len() >= 10 && form.into_iter().all(|(f, c)| if f == b'0' { c.is_ascii_digit() } else { f == c })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_type_that_they_look_like() {
        let moment = |text: &str| {
            ensure!(text.len() < 30, "no time");
            Ok(7)
        };
        let sql = |text: &str| literal(text, moment).unwrap().to_string();
        for (text, wanted) in [
            ("42", "(42)"),
            ("-42", "(-42)"),
            ("1.5", "(1.5)"),
            ("0xff", "255"),
            ("0xffff888100dc7000", "18446612686379446272"),
            ("500ms", "500000000"),
            ("1.5s", "1500000000"),
            ("+1.5s", "utc(7)"),
            ("2027-01-15T08:00:00Z", "utc(7)"),
            ("true", "true"),
            ("bash", "'bash'"),
            ("o'brien", "'o''brien'"),
            ("'42'", "'42'"),
            ("''", "''"),
            ("", "''"),
            ("5 apples", "'5 apples'"),
            ("1); DROP TABLE x --", "'1); DROP TABLE x --'"),
            ("10.0.0.0/8", "'10.0.0.0/8'"),
            ("+x", "'+x'"),
        ] {
            assert_eq!(sql(text), wanted, "{text}");
        }
        assert!(literal("2027-01-15 is a very long text for a date", moment).is_err());
    }
}
