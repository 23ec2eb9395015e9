//! Replaces the parameters `$name` in a syntax tree by their values.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, ValueWithSpan, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::Span;

/// Put `value(name)` in the place of each parameter `$name`, also of those that stand in arguments.
///
/// Fails with the first error of `value`, which learns where the parameter stands.
pub fn bind<E>(node: &mut impl VisitMut, value: impl FnMut(&str, Span) -> Result<Expr, E>) -> Result<(), E> {
    match node.visit(&mut Binder(value)) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Binder<F>(F);

impl<E, F: FnMut(&str, Span) -> Result<Expr, E>> VisitorMut for Binder<F> {
    type Break = E;

    // After its children: a value that has parameters itself belongs to somebody else.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<E> {
        let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), span }) = expr else {
            return ControlFlow::Continue(());
        };
        match (self.0)(name.trim_start_matches('$'), *span) {
            Ok(value) => {
                *expr = value;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// `statement` as text that means the same.
///
/// sqlparser prints two quotes in a row as one that is escaped already, so here each of them is escaped before.
pub fn print(statement: &Statement) -> String {
    let mut statement = statement.clone();
    // It never breaks.
    let _ = VisitMut::visit(&mut statement, &mut Quotes);
    statement.to_string()
}

struct Quotes;

impl VisitorMut for Quotes {
    type Break = ();

    fn pre_visit_value(&mut self, value: &mut ValueWithSpan) -> ControlFlow<()> {
        if let Value::SingleQuotedString(text) = &mut value.value {
            *text = text.replace('\'', "''");
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn parse(sql: &str) -> Statement {
        Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0)
    }

    #[test]
    fn each_parameter_is_replaced_and_no_text_that_looks_like_one() {
        let sql = "SELECT $n + $name, '$n', \"$n\" /* $n */ FROM f(x => $n, (SELECT $n)) AS t JOIN g($n) ON a = $n \
                   WHERE b IN ($n, $name) LIMIT $n OFFSET $n";
        let mut statement = parse(sql);
        let value =
            |name: &str, _| Ok::<_, ()>(Expr::value(Value::SingleQuotedString(format!("<{name}> $n"))));
        bind(&mut statement, value).unwrap();
        assert_eq!(
            statement.to_string(),
            "SELECT '<n> $n' + '<name> $n', '$n', \"$n\" FROM f(x => '<n> $n', (SELECT '<n> $n')) AS t JOIN \
             g('<n> $n') ON a = '<n> $n' WHERE b IN ('<n> $n', '<name> $n') LIMIT '<n> $n' OFFSET '<n> $n'"
        );
        assert_eq!(
            bind(&mut parse("SELECT $a, $b"), |name, _| Err::<Expr, _>(name.to_owned())),
            Err("a".into())
        );
    }

    #[test]
    fn what_is_printed_is_read_as_the_same() {
        for text in ["it''s", "''''", "a''''b", "\\''", "\\", "''''''", "x\\''''y", "'' ''"] {
            let statement = parse(&format!("SELECT '{text}'"));
            assert_eq!(parse(&print(&statement)), statement, "{text}");
        }
    }
}
