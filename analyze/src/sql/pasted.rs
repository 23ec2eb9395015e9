//! Values as `analyze` prints them -> values as columns have them: what is printed is accepted back.
//!
//! In comparisons, `IN` and `BETWEEN`: text `'0x1f'` (JSON) beside a number, `'01ff'` beside bytes, a name such as
//! `'vfs_read+0x1b'` beside a code address, and a number beside text that may be the name of one.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, lit,
};
use datafusion::optimizer::AnalyzerRule;

use arrow_schema::DataType;

/// Comes before DataFusion brings both sides of a comparison to one type.
#[derive(Debug)]
pub struct Pasted {
    /// The function `symbol`.
    pub symbol: Arc<ScalarUDF>,
}

impl AnalyzerRule for Pasted {
    fn name(&self) -> &str {
        "pasted_values"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| self.plan(plan)).data()
    }
}

impl Pasted {
    fn plan(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema
                .merge(&DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?);
        }
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let expr = expr.transform_up(|expr| Ok(self.expr(expr, &schema)))?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    }

    fn expr(&self, expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
        let changed = match &expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
                let is_equality = matches!(op, Operator::Eq | Operator::NotEq);
                let list = |value: &Expr, literal: &Expr| {
                    let found =
                        is_equality.then(|| self.in_list(value, &[literal], *op == Operator::NotEq, schema));
                    found.flatten()
                };
                let binary = |left: &Expr, right: &Expr| {
                    Expr::BinaryExpr(BinaryExpr {
                        left: Box::new(left.clone()),
                        op: *op,
                        right: Box::new(right.clone()),
                    })
                };
                list(left, right)
                    .or_else(|| list(right, left))
                    .or_else(|| Some(binary(left, &number(left, right, schema)?)))
                    .or_else(|| Some(binary(&number(right, left, schema)?, right)))
            }
            Expr::Between(Between { expr: value, negated, low, high }) => {
                let (new_low, new_high) = (number(value, low, schema), number(value, high, schema));
                (new_low.is_some() || new_high.is_some()).then(|| {
                    let bound = |new: Option<Expr>, old: &Expr| Box::new(new.unwrap_or_else(|| old.clone()));
                    Expr::Between(Between {
                        expr: value.clone(),
                        negated: *negated,
                        low: bound(new_low, low),
                        high: bound(new_high, high),
                    })
                })
            }
            Expr::InList(InList { expr: value, list, negated }) => {
                self.in_list(value, &list.iter().collect::<Vec<_>>(), *negated, schema)
            }
            _ => None,
        };
        changed.map_or_else(|| Transformed::no(expr), Transformed::yes)
    }

    /// `value IN (list)` with other values, or with the name of the value; `None`: as it is.
    fn in_list(&self, value: &Expr, list: &[&Expr], negated: bool, schema: &DFSchema) -> Option<Expr> {
        let ty = value.get_type(schema).ok()?;
        let within =
            |value: Expr, list: Vec<Expr>| Expr::InList(InList { expr: Box::new(value), list, negated });
        if is_text(&ty) {
            // The name of a number that has none is the number.
            let numbers: Vec<i128> = list.iter().map(|item| whole(item)).collect::<Option<_>>()?;
            let texts = numbers.iter().flat_map(|n| [n.to_string(), format!("{n:#x}")]);
            return Some(within(value.clone(), texts.map(lit).collect()));
        }
        let is_literal = |expr: &Expr| text(expr).is_some();
        if ty == DataType::UInt64
            && !is_literal(value)
            && list.iter().all(|item| text(item).is_some_and(is_name))
        {
            let names = list.iter().map(|item| (*item).clone()).collect();
            return Some(within(self.symbol.call(vec![value.clone()]), names));
        }
        let changed: Vec<Option<Expr>> = list.iter().map(|item| number(value, item, schema)).collect();
        changed.iter().any(Option::is_some).then(|| {
            let list = changed.into_iter().zip(list).map(|(new, old)| new.unwrap_or_else(|| (*old).clone()));
            within(value.clone(), list.collect())
        })
    }
}

/// The literal `literal` as a number or bytes, if it is text that was printed for them and `value` is such.
fn number(value: &Expr, literal: &Expr, schema: &DFSchema) -> Option<Expr> {
    let text = text(literal)?;
    let ty = value.get_type(schema).ok()?;
    if matches!(ty, DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_)) {
        return bytes(text).map(lit);
    }
    if !ty.is_integer() && !matches!(ty, DataType::Decimal128(_, 0)) {
        return None;
    }
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    Some(i64::try_from(number).map_or_else(|_| lit(number), lit))
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pairs = (0..text.len()).step_by(2);
    is_hex.then(|| pairs.filter_map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok()).collect())
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text),
            _,
        ) => text.as_deref(),
        _ => None,
    }
}

/// Not a number: the name of a function.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| !c.is_ascii_digit() && !matches!(c, '-' | '+' | ' ' | '.'))
}

fn whole(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some((*number).into()),
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Some((*number).into()),
        _ => None,
    }
}

fn is_text(ty: &DataType) -> bool {
    match ty {
        DataType::Dictionary(_, value) => is_text(value),
        other => matches!(other, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8),
    }
}
