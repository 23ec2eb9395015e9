//! The plan of a query -> the notation of each of its columns: what is a copy of an address or identifier is one too.
//!
//! Copies are made by another name, a subquery or join, `min`, `max`, `CASE`, `coalesce`, `lag` and the like, and by
//! what moves or masks an address (`+`, `-`, `&`, `|`, `#`, `<<`, `>>`); the difference of two addresses is an amount.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, WindowFunctionDefinition};
use schemas::column::Notation;

/// Functions whose value is one of their arguments.
const CHOOSING: &[&str] = &[
    "coalesce",
    "nvl",
    "nvl2",
    "ifnull",
    "nullif",
    "greatest",
    "least",
    "arrow_cast",
    "array_element",
    "array_extract",
    "list_element",
    "array_sort",
    "array_distinct",
    "array_slice",
    "make_array",
    "array_concat",
    "array_append",
    "array_min",
    "array_max",
    "named_struct",
];
/// Aggregates and window functions whose value is one of those of their first argument.
const PICKING: &[&str] = &[
    "min",
    "max",
    "first_value",
    "last_value",
    "nth_value",
    "any_value",
    "array_agg",
    "lag",
    "lead",
    "mode",
];

/// The notation of each column of `plan`.
pub fn of(plan: &LogicalPlan) -> Vec<Notation> {
    let fields = plan.schema().fields();
    let found = match plan {
        LogicalPlan::TableScan(_) => fields.iter().map(|field| Notation::of(field)).collect(),
        LogicalPlan::Projection(node) => Scope::new(&node.input).all(&node.expr),
        LogicalPlan::Aggregate(node) => {
            let scope = Scope::new(&node.input);
            [scope.all(&node.group_expr), scope.all(&node.aggr_expr)].concat()
        }
        LogicalPlan::Window(node) => {
            let scope = Scope::new(&node.input);
            let own = scope.all(&node.window_expr);
            [scope.notations, own].concat()
        }
        LogicalPlan::Union(node) => {
            let all = node.inputs.iter().map(|input| of(input));
            all.reduce(|a, b| a.into_iter().zip(b).map(|(a, b)| a.max(b)).collect()).unwrap_or_default()
        }
        _ => match plan.inputs().as_slice() {
            [input] => of(input),
            _ => Vec::new(),
        },
    };
    if found.len() == fields.len() { found } else { by_name(plan) }
}

/// Where columns do not stand where those of the inputs do.
fn by_name(plan: &LogicalPlan) -> Vec<Notation> {
    let scopes: Vec<Scope<'_>> = plan.inputs().into_iter().map(Scope::new).collect();
    let fields = plan.schema().iter();
    fields
        .map(|(qualifier, field)| {
            let same = scopes.iter().find_map(|scope| {
                let schema = scope.plan.schema();
                let index = schema.index_of_column_by_name(qualifier, field.name());
                index
                    .or_else(|| schema.index_of_column_by_name(None, field.name()))
                    .map(|i| scope.notations[i])
            });
            // Made here: a field that says its type is one of a table.
            let told = || field.metadata().contains_key("ktape_type").then(|| Notation::of(field));
            same.or_else(told).unwrap_or_default()
        })
        .collect()
}

struct Scope<'a> {
    plan: &'a LogicalPlan,
    notations: Vec<Notation>,
}

impl<'a> Scope<'a> {
    fn new(plan: &'a LogicalPlan) -> Self {
        Self { plan, notations: of(plan) }
    }

    fn all(&self, exprs: &[Expr]) -> Vec<Notation> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn most<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>) -> Notation {
        exprs.into_iter().map(|expr| self.expr(expr)).max().unwrap_or_default()
    }

    fn expr(&self, expr: &Expr) -> Notation {
        match expr {
            Expr::Column(column) => {
                let index = self.plan.schema().maybe_index_of_column(column);
                index.and_then(|i| self.notations.get(i)).copied().unwrap_or_default()
            }
            Expr::Alias(alias) => self.expr(&alias.expr),
            Expr::Cast(cast) => self.expr(&cast.expr),
            Expr::TryCast(cast) => self.expr(&cast.expr),
            Expr::Negative(inner) => self.expr(inner),
            // Of literals, only addresses are so large.
            Expr::Literal(ScalarValue::UInt64(Some(_)), _) => Notation::Hexadecimal,
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (left, right) = (self.expr(left), self.expr(right));
                match op {
                    Operator::Minus if right == Notation::Amount => left,
                    Operator::Plus
                    | Operator::BitwiseAnd
                    | Operator::BitwiseOr
                    | Operator::BitwiseXor
                    | Operator::BitwiseShiftLeft
                    | Operator::BitwiseShiftRight => left.max(right),
                    _ => Notation::Amount,
                }
            }
            Expr::Case(case) => {
                let then = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
                self.most(then.chain(case.else_expr.as_deref()))
            }
            Expr::ScalarFunction(call) if CHOOSING.contains(&call.name()) => self.most(&call.args),
            Expr::AggregateFunction(call) if PICKING.contains(&call.func.name()) => {
                self.most(call.params.args.first())
            }
            Expr::WindowFunction(call) => {
                let name = match &call.fun {
                    WindowFunctionDefinition::AggregateUDF(function) => function.name(),
                    WindowFunctionDefinition::WindowUDF(function) => function.name(),
                };
                if PICKING.contains(&name) { self.most(call.params.args.first()) } else { Notation::Amount }
            }
            Expr::ScalarSubquery(query) => of(&query.subquery).first().copied().unwrap_or_default(),
            Expr::Unnest(unnest) => self.expr(&unnest.expr),
            _ => Notation::Amount,
        }
    }
}
