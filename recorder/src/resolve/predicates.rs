//! Predicates -> formulas. Comparisons are those of mathematics, whatever the widths and signs of the two sides; one that
//! the types decide already is refused.

use schemas::expr::{Expr, Field, Kind, Op, ParseError, Span};
use schemas::wire::{MAX_ERRNO, cmp};

use super::integers::{Range, common, is_error, range_of, wrap};
use super::lower::{Lower, Number, Value};
use super::nodes::{Compare, Formula, Right};
use super::types::{Ty, U64};

type Result<T> = std::result::Result<T, ParseError>;

/// The side of a comparison: a number, masked, and the values that it can have.
struct Side {
    number: Number,
    mask: u64,
    range: Range,
    /// What C calls its type.
    ty: Ty,
}

impl Side {
    /// Whether it is read as a signed number.
    fn signed(&self) -> bool {
        self.range.0 < 0
    }

    fn compare(&self, op: u8, right: Right) -> Formula {
        Formula::Compare(Compare { left: self.number.node, mask: self.mask, op, right })
    }
}

impl Lower<'_> {
    /// A predicate of a definition or filter: it is about the row, so names of columns go first, and a column that is NULL
    /// compares with nothing.
    pub(super) fn predicate(&mut self, field: &Field) -> Result<Formula> {
        let columns_first = std::mem::replace(&mut self.columns_first, true);
        let guards = self.guards.replace(Vec::new());
        let formula = self.decide(field, &field.expr, false);
        (self.columns_first, self.guards) = (columns_first, guards);
        formula
    }

    /// An expression that holds or does not hold.
    pub(super) fn formula(&mut self, field: &Field, expr: &Expr) -> Result<Formula> {
        self.decide(field, expr, false)
    }

    fn decide(&mut self, field: &Field, expr: &Expr, negated: bool) -> Result<Formula> {
        let (left, right, is_all) = match &expr.kind {
            Kind::Not(of) => return self.decide(field, of, !negated),
            Kind::Binary { op: Op::And, left, right } => (left, right, !negated),
            Kind::Binary { op: Op::Or, left, right } => (left, right, negated),
            _ => return self.comparison_or_value(field, expr, negated),
        };
        let parts = [self.decide(field, left, negated)?, self.decide(field, right, negated)?];
        Ok(if is_all { Formula::all(parts) } else { Formula::any(parts) })
    }

    /// What is neither `!` nor `&&` nor `||`.
    fn comparison_or_value(&mut self, field: &Field, expr: &Expr, negated: bool) -> Result<Formula> {
        let outer = self.guards.take();
        self.guards = outer.as_ref().map(|_| Vec::new());
        let formula = match &expr.kind {
            Kind::Binary { op, left, right } => match comparison_of(*op) {
                Some(op) => self.comparison(field, op, left, right),
                None => self.not_zero(field, expr),
            },
            _ => self.not_zero(field, expr),
        };
        let guards = std::mem::replace(&mut self.guards, outer).unwrap_or_default();
        let formula = if negated { formula?.negate() } else { formula? };
        Ok(Formula::all(guards.into_iter().chain([formula])))
    }

    /// `expr != 0`.
    fn not_zero(&mut self, field: &Field, expr: &Expr) -> Result<Formula> {
        if !matches!(expr.kind, Kind::Binary { op: Op::BitAnd, .. }) {
            match self.expr(field, expr)? {
                Value::Truth(formula) => return Ok(formula),
                Value::Null | Value::Missing => return Ok(Formula::Never),
                Value::Text(_) | Value::Comm | Value::Stack(_) | Value::Sized(..) => {
                    return Err(
                        field.error(expr.span, "expected a comparison here, such as comm == \"nginx\"")
                    );
                }
                Value::Memory(_) | Value::Number(_) => {}
            }
        }
        let Some(side) = self.side(field, expr)? else { return Ok(Formula::Never) };
        if let Some(value) = self.nodes.as_constant(side.number.node) {
            return Ok(if value & side.mask != 0 { Formula::Always } else { Formula::Never });
        }
        Ok(side.compare(cmp::NE, Right::Constant(0)))
    }

    /// A number and, if it is `x & constant`, its mask. `None`: NULL for sure.
    fn side(&mut self, field: &Field, expr: &Expr) -> Result<Option<Side>> {
        if let Kind::Binary { op: Op::BitAnd, left, right } = &expr.kind {
            let (Some(a), Some(b)) = (self.operand(field, left)?, self.operand(field, right)?) else {
                return Ok(None);
            };
            let int = common(self.int_of(&a), self.int_of(&b));
            let ty = super::integers::ty_of(int);
            let (number, mask) = match (self.constant_of(&a), self.constant_of(&b)) {
                (None, Some(mask)) => (a, mask),
                (Some(mask), None) => (b, mask),
                (None, None) => {
                    let message =
                        "one side of & must be a constant here; or compare (a & b) with 0 term by term";
                    return Err(field.error(expr.span, message));
                }
                (Some(x), Some(y)) => {
                    let value = wrap(x, int) & wrap(y, int);
                    let node = self.nodes.constant(value as u64);
                    let number = Number { node, ty: ty.clone(), to_user: false, typed: false };
                    return Ok(Some(Side { number, mask: u64::MAX, range: (value, value), ty }));
                }
            };
            let mask = wrap(mask, int);
            let range = if mask >= 0 { (0, mask) } else { range_of(int) };
            return Ok(Some(Side { number, mask: mask as u64, range, ty }));
        }
        Ok(self.operand(field, expr)?.map(|number| self.whole(number)))
    }

    fn whole(&self, number: Number) -> Side {
        Side { range: self.range(&number), mask: u64::MAX, ty: number.ty.clone(), number }
    }

    fn comparison(&mut self, field: &Field, op: u8, left: &Expr, right: &Expr) -> Result<Formula> {
        let span = left.span.to(right.span);
        for (text, other) in [(left, right), (right, left)] {
            if let Kind::Text(text) = &text.kind {
                return self.text_comparison(field, op, other, text, span);
            }
        }
        // A pointer may be compared with NULL, which is 0; a member that is not there compares with nothing.
        let is_null = |expr: &Expr| matches!(expr.kind, Kind::Null);
        let null = |lower: &mut Self| {
            let node = lower.nodes.constant(0);
            lower.whole(Number { node, ty: U64, to_user: false, typed: false })
        };
        let (a, b) = match (is_null(left), is_null(right)) {
            (true, true) => return Ok(Formula::Never),
            // Whoever compares with NULL says that it is a pointer, so 64 bits.
            (true, false) => (Some(null(self)), self.any_operand(field, right)?.map(|n| self.whole(n))),
            (false, true) => (self.any_operand(field, left)?.map(|n| self.whole(n)), Some(null(self))),
            (false, false) => (self.side(field, left)?, self.side(field, right)?),
        };
        let (Some(a), Some(b)) = (a, b) else { return Ok(Formula::Never) };
        // A constant or an unmasked side goes to the right.
        let (x, y) = (self.constant_of(&a.number), self.constant_of(&b.number));
        if let (Some(x), Some(y)) = (x, y) {
            let holds = decided(op, (x, x), y) == Some(true);
            return Ok(if holds { Formula::Always } else { Formula::Never });
        }
        let swap = (x.is_some() && y.is_none()) || (b.mask != u64::MAX && a.mask == u64::MAX);
        let (a, b, op, constant) = if swap { (b, a, mirrored(op), x) } else { (a, b, op, y) };
        if b.mask != u64::MAX {
            return Err(field.error(span, "only one side of a comparison can be masked with &"));
        }
        match constant {
            Some(c) if self.is_address(&a) => self.with_error_numbers(field, span, op, &a, c),
            Some(c) => self.with_constant(field, span, op, &a, c),
            None => Ok(self.of_two(op, &a, &b)),
        }
    }

    /// A pointer of the kernel, which may carry an error number.
    fn is_address(&self, side: &Side) -> bool {
        side.mask == u64::MAX && self.is_pointer(&side.number) && !side.number.to_user
    }

    fn with_constant(&mut self, field: &Field, span: Span, op: u8, a: &Side, c: i128) -> Result<Formula> {
        let (low, high) = a.range;
        // A bit that the mask takes away.
        let is_masked = low >= 0 && c >= 0 && matches!(op, cmp::EQ | cmp::NE) && c as u64 & !a.mask != 0;
        let is_outside = c < low || c > high || is_masked;
        match decided(op, a.range, c).or(is_masked.then_some(op == cmp::NE)) {
            Some(holds) if is_outside || !holds => {
                let ty = a.ty.c_name(&self.kernel.btf);
                let always = if holds { "always" } else { "never" };
                let hint = match (low < 0, c < 0 || (c == 0 && !holds)) {
                    (false, true) => "; for its sign bit write a cast, as in (int)x",
                    (true, false) => "; for an unsigned number write a cast, as in (u32)x",
                    _ => "",
                };
                let message = format!(
                    "this {always} holds: the value on the other side is {ty}, here from {low} to {high}{hint}"
                );
                Err(field.error(span, message))
            }
            _ => Ok(a.compare(if a.signed() { signed_op(op) } else { op }, Right::Constant(c as u64))),
        }
    }

    /// A pointer that carries an error number counts as that negative number, any other as its address.
    fn with_error_numbers(
        &mut self,
        field: &Field,
        span: Span,
        op: u8,
        a: &Side,
        c: i128,
    ) -> Result<Formula> {
        let errors = -i128::from(MAX_ERRNO)..0;
        let equal = matches!(op, cmp::EQ | cmp::NE);
        if c < 0 && !errors.contains(&c) {
            let message = format!("a pointer is an address or an error number from {} to -1", errors.start);
            return Err(field.error(span, message));
        }
        let right = Right::Constant(c as u64);
        if equal {
            return Ok(a.compare(op, right));
        }
        let is_error = is_error(a.number.node);
        let below = |op: u8| match c {
            0 if op == cmp::LT => is_error.clone(),
            0.. => Formula::any([is_error.clone(), a.compare(op, right)]),
            _ => Formula::all([is_error.clone(), a.compare(op, right)]),
        };
        Ok(match op {
            cmp::LT | cmp::LE => below(op),
            cmp::GE => below(cmp::LT).negate(),
            _ => below(cmp::LE).negate(),
        })
    }

    /// Two numbers, neither of which is constant.
    fn of_two(&mut self, op: u8, a: &Side, b: &Side) -> Formula {
        let right = Right::Node(b.number.node);
        let fits = |side: &Side| side.range.1 <= i128::from(i64::MAX);
        let pointer = self.is_pointer(&a.number) || self.is_pointer(&b.number);
        if pointer || (!a.signed() && !b.signed()) {
            return a.compare(op, right);
        }
        if fits(a) && fits(b) {
            return a.compare(signed_op(op), right);
        }
        // One may be negative and the other beyond what a signed number holds: if the first is, that decides.
        let (signed, other, op_of_signed) = if a.signed() { (a, b, op) } else { (b, a, mirrored(op)) };
        let is_there = other.compare(cmp::EQ, Right::Constant(0));
        let is_there = match is_there {
            // 0 == 0, unless it is NULL.
            Formula::Compare(compare) => Formula::Compare(Compare { mask: 0, ..compare }),
            formula => formula,
        };
        let negative = signed.compare(cmp::SLT, Right::Constant(0));
        let not_negative = signed.compare(cmp::SGE, Right::Constant(0));
        match op_of_signed {
            cmp::NE | cmp::LT | cmp::LE => Formula::any([
                Formula::all([negative, is_there]),
                Formula::all([not_negative, a.compare(op, right)]),
            ]),
            _ => Formula::all([not_negative, a.compare(op, right)]),
        }
    }
}

fn comparison_of(op: Op) -> Option<u8> {
    Some(match op {
        Op::Equal => cmp::EQ,
        Op::NotEqual => cmp::NE,
        Op::Less => cmp::LT,
        Op::LessEqual => cmp::LE,
        Op::Greater => cmp::GT,
        Op::GreaterEqual => cmp::GE,
        _ => return None,
    })
}

/// Whether `x op c` is the same for all `x` of a range.
fn decided(op: u8, (low, high): Range, c: i128) -> Option<bool> {
    let (all, none) = match op {
        cmp::EQ => (low == c && high == c, c < low || c > high),
        cmp::NE => (c < low || c > high, low == c && high == c),
        cmp::LT => (high < c, low >= c),
        cmp::LE => (high <= c, low > c),
        cmp::GT => (low > c, high <= c),
        _ => (low >= c, high < c),
    };
    match (all, none) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// The comparison with its sides exchanged.
fn mirrored(op: u8) -> u8 {
    match op {
        cmp::LT => cmp::GT,
        cmp::LE => cmp::GE,
        cmp::GT => cmp::LT,
        cmp::GE => cmp::LE,
        other => other,
    }
}

fn signed_op(op: u8) -> u8 {
    match op {
        cmp::LT => cmp::SLT,
        cmp::LE => cmp::SLE,
        cmp::GT => cmp::SGT,
        cmp::GE => cmp::SGE,
        other => other,
    }
}
