//! Parses one statement as people write it.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Select, SelectItem, Statement as SqlStatement, Value, ValueWithSpan, Visit, Visitor,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::sql::problem::Problem;
use crate::sql::syntax;
use crate::sql::words::{self, Words};

/// Parentheses, operators and queries may be nested so deeply.
const MAX_NESTING: usize = 50;

/// A statement.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// For DataFusion to plan.
    pub statement: Statement,
    /// See [`Words::titles`].
    pub titles: HashMap<String, String>,
    /// Columns that get another name without the word AS: the column and the name. A comma may be missing.
    pub renamed: Vec<(String, String)>,
}

impl Parsed {
    /// The query, or that which is explained.
    ///
    /// Fails if it is none.
    pub fn inner(&mut self) -> Result<&mut SqlStatement, Problem> {
        let refused =
            |message: &str| Problem { message: message.to_owned(), place: None, help: String::new() };
        match &mut self.statement {
            Statement::Statement(inner) => Ok(inner),
            Statement::Explain(explain) => match explain.statement.as_mut() {
                Statement::Statement(inner) => Ok(inner),
                _ => Err(refused("only queries can be explained")),
            },
            _ => Err(refused("only queries are possible: a trace is not changed")),
        }
    }
}

/// Parse `sql`, whose first line has number `first_line + 1` in the spans of what comes out.
///
/// Fails if it is no SQL, more or less than one statement, or compares something with NULL.
pub fn parse(sql: &str, first_line: u64) -> Result<Parsed, Problem> {
    let Words { mut tokens, titles } = words::read(sql)?;
    let down = |at: Location| if at.line == 0 { at } else { Location { line: at.line + first_line, ..at } };
    for token in &mut tokens {
        token.span = Span::new(down(token.span.start), down(token.span.end));
    }
    let parser = DFParserBuilder::new(tokens.clone()).with_recursion_limit(MAX_NESTING).build();
    let mut statements = parser
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| syntax::explain(&error.strip_backtrace(), &tokens, sql))?;
    let Some(statement) = statements.pop_front() else {
        let message = "the query is empty: try \"SHOW TABLES\" or \"SELECT * FROM listens LIMIT 10\"";
        return Err(Problem { message: message.to_owned(), place: None, help: String::new() });
    };
    if !statements.is_empty() {
        let message = format!("there are {} statements", statements.len() + 1);
        return Err(Problem::at(message, second(&tokens), sql, "give one query at a time"));
    }
    let mut parsed = Parsed { statement, titles, renamed: Vec::new() };
    if let Ok(inner) = parsed.inner()
        && let ControlFlow::Break((span, is_equality)) = inner.visit(&mut Nulls)
    {
        let help = if is_equality { "write IS NULL" } else { "write IS NOT NULL" };
        return Err(Problem::at("a comparison with NULL is never true", span, sql, help));
    }
    let mut renamed = Renamed { tokens: &tokens, found: Vec::new() };
    if let Ok(inner) = parsed.inner() {
        // It never breaks.
        let _ = inner.visit(&mut renamed);
    }
    parsed.renamed = renamed.found;
    Ok(parsed)
}

/// Where the second statement begins.
fn second(tokens: &[TokenWithSpan]) -> Span {
    let is_text = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::SemiColon);
    let first = tokens.iter().skip_while(|token| !is_text(token));
    let rest = first.skip_while(|token| token.token != Token::SemiColon);
    rest.filter(is_text).map(|token| token.span).next().unwrap_or(Span::empty())
}

/// Finds columns that get another name without the word AS.
struct Renamed<'a> {
    tokens: &'a [TokenWithSpan],
    found: Vec<(String, String)>,
}

impl Visitor for Renamed<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            let SelectItem::ExprWithAlias { expr, alias } = item else { continue };
            if !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
                continue;
            }
            let before = self.tokens.iter().take_while(|token| token.span.start < alias.span.start);
            let last = before.filter(|token| !matches!(token.token, Token::Whitespace(_))).last();
            let is_as = matches!(last, Some(TokenWithSpan { token: Token::Word(word), .. }) if word.keyword == Keyword::AS);
            if !is_as {
                self.found.push((expr.to_string(), alias.value.to_lowercase()));
            }
        }
        ControlFlow::Continue(())
    }
}

/// Finds comparisons with NULL.
struct Nulls;

impl Visitor for Nulls {
    type Break = (Span, bool);

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<(Span, bool)> {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        if let Expr::BinaryOp { left, op: op @ (Eq | NotEq | Lt | LtEq | Gt | GtEq), right } = expr {
            for side in [left, right] {
                if let Expr::Value(ValueWithSpan { value: Value::Null, span }) = side.as_ref() {
                    return ControlFlow::Break((*span, *op == Eq));
                }
            }
        }
        ControlFlow::Continue(())
    }
}
