//! Arithmetic and predicates in expressions -> nodes and formulas.

use schemas::expr::{Expr, Field, Kind, Op, ParseError, Span};
use schemas::wire::cmp;

use super::lower::{Lower, Memory, Number, Value};
use super::nodes::{Bits, Compare, Formula, Node, NodeId, Right};
use super::types::{S64, Shape, Ty, U64};

type Result<T> = std::result::Result<T, ParseError>;

/// The side of a comparison: a number, masked.
struct Side {
    number: Number,
    mask: u64,
    signed: bool,
}

impl Lower<'_> {
    pub(super) fn negate(&mut self, field: &Field, span: Span, of: &Expr) -> Result<Value> {
        let number = self.operand(field, of)?;
        match number.and_then(|n| self.nodes.as_constant(n.node)) {
            Some(value) => Ok(self.number(value.wrapping_neg(), S64)),
            None => Err(field.error(span, "only a constant can be negated")),
        }
    }

    /// A number, or nothing if it is NULL for sure.
    fn operand(&mut self, field: &Field, expr: &Expr) -> Result<Option<Number>> {
        match self.expr(field, expr)? {
            Value::Null | Value::Missing => Ok(None),
            value => self.read(field, expr.span, value).map(Some),
        }
    }

    pub(super) fn arithmetic(&mut self, field: &Field, op: Op, left: &Expr, right: &Expr) -> Result<Value> {
        let span = left.span.to(right.span);
        let (Some(a), Some(b)) = (self.operand(field, left)?, self.operand(field, right)?) else {
            return Ok(Value::Missing);
        };
        let constants = (self.nodes.as_constant(a.node), self.nodes.as_constant(b.node));
        if let (Some(x), Some(y)) = constants {
            let value = match op {
                Op::Add => x.wrapping_add(y),
                Op::Subtract => x.wrapping_sub(y),
                Op::Multiply => x.wrapping_mul(y),
                Op::BitAnd => x & y,
                Op::ShiftLeft => x.checked_shl(y as u32).unwrap_or(0),
                _ => x.checked_shr(y as u32).unwrap_or(0),
            };
            return Ok(self.number(value, S64));
        }
        // The constant to the right, where the order does not matter.
        let (a, b, constant) = match (op, constants) {
            (Op::Add | Op::Multiply | Op::BitAnd, (Some(x), None)) => (b, a, Some(x)),
            (_, (_, y)) => (a, b, y),
        };
        let signed = self.is_signed(&a.ty) || self.is_signed(&b.ty);
        let ty = if signed { S64 } else { U64 };
        let node = match (op, constant) {
            (Op::Add, _) => return self.add(field, span, a, b, constant),
            (Op::Subtract, Some(y)) => return self.add(field, span, a, b, Some(y.wrapping_neg())),
            (Op::Multiply, Some(y)) if y.is_power_of_two() => {
                self.shifted_left(a.node, y.trailing_zeros() as u8)
            }
            (Op::ShiftLeft, Some(y)) if y < 64 => self.shifted_left(a.node, y as u8),
            (Op::ShiftRight, Some(y)) if y < 64 => {
                self.nodes.bits(a.node, Bits { rshift: y as u8, ..Bits::default() })
            }
            (Op::BitAnd, Some(mask)) => {
                let low = mask.trailing_zeros() as u8;
                let run = (mask >> low.min(63)).trailing_ones() as u8;
                if mask == 0 || mask.count_ones() != u32::from(run) {
                    let message = "outside of predicates a mask must be one run of bits, as 0xf0 is";
                    return Err(field.error(span, message));
                }
                self.nodes.bits(a.node, Bits { rshift: low, keep: run, lshift: low, ..Bits::default() })
            }
            (Op::Subtract, None) => return Err(field.error(span, "only a constant can be subtracted")),
            (Op::Multiply, _) => return Err(field.error(span, "only a power of two can be multiplied with")),
            _ => return Err(field.error(span, "the right side must be a constant")),
        };
        Ok(Value::Number(Number { node, ty, to_user: false, typed: false }))
    }

    fn shifted_left(&mut self, node: NodeId, lshift: u8) -> NodeId {
        self.nodes.bits(node, Bits { lshift, ..Bits::default() })
    }

    /// `a + b`; a pointer counts in items, as in C.
    fn add(
        &mut self,
        field: &Field,
        span: Span,
        a: Number,
        b: Number,
        constant: Option<u64>,
    ) -> Result<Value> {
        let btf = &self.kernel.btf;
        let item = |number: &Number| match number.ty.shape(btf) {
            Shape::Pointer { to, .. } => Some(to.size(btf).max(1)),
            _ => None,
        };
        let (a, b, size) = match (item(&a), item(&b)) {
            (Some(_), Some(_)) => return Err(field.error(span, "two pointers cannot be added")),
            (Some(size), None) => (a, b, size),
            (None, Some(size)) => (b, a, size),
            (None, None) => (a, b, 0),
        };
        let (ty, to_user) = if size != 0 {
            (a.ty.clone(), a.to_user)
        } else {
            (if self.is_signed(&a.ty) || self.is_signed(&b.ty) { S64 } else { U64 }, false)
        };
        let size = size.max(1);
        let node = match constant {
            Some(n) => {
                let off = (n as i64).checked_mul(i64::from(size)).unwrap_or(i64::MAX);
                let off = self.offset(field, span, off)?;
                self.nodes.offset(a.node, off)
            }
            None => {
                if !size.is_power_of_two() {
                    let message =
                        "items of this size cannot be counted: cast the pointer to (u8 *) and add bytes";
                    return Err(field.error(span, message));
                }
                let add = self.shifted_left(b.node, size.trailing_zeros() as u8);
                self.nodes.add(Node::Sum { base: a.node, add: Some(add), off: 0 })
            }
        };
        Ok(Value::Number(Number { node, ty, to_user, typed: false }))
    }

    fn is_signed(&self, ty: &Ty) -> bool {
        matches!(ty.shape(&self.kernel.btf), Shape::Int { int, .. } if int.signed)
    }

    /// An expression as a predicate.
    pub(super) fn formula(&mut self, field: &Field, expr: &Expr) -> Result<Formula> {
        match &expr.kind {
            Kind::Not(of) => Ok(self.formula(field, of)?.negate()),
            Kind::Binary { op: Op::And, left, right } => {
                Ok(Formula::all([self.formula(field, left)?, self.formula(field, right)?]))
            }
            Kind::Binary { op: Op::Or, left, right } => {
                Ok(Formula::any([self.formula(field, left)?, self.formula(field, right)?]))
            }
            Kind::Binary { op, left, right } => {
                let op = match op {
                    Op::Equal => cmp::EQ,
                    Op::NotEqual => cmp::NE,
                    Op::Less => cmp::LT,
                    Op::LessEqual => cmp::LE,
                    Op::Greater => cmp::GT,
                    Op::GreaterEqual => cmp::GE,
                    _ => return self.not_zero(field, expr),
                };
                self.comparison(field, op, left, right)
            }
            _ => self.not_zero(field, expr),
        }
    }

    /// `expr != 0`.
    fn not_zero(&mut self, field: &Field, expr: &Expr) -> Result<Formula> {
        if !matches!(expr.kind, Kind::Binary { op: Op::BitAnd, .. }) {
            match self.expr(field, expr)? {
                Value::Truth(formula) => return Ok(formula),
                Value::Null | Value::Missing => return Ok(Formula::Never),
                Value::Text(_) | Value::Comm | Value::Stack(_) => {
                    return Err(
                        field.error(expr.span, "expected a comparison here, such as comm == \"nginx\"")
                    );
                }
                Value::Memory(_) | Value::Number(_) => {}
            }
        }
        let Some(side) = self.side(field, expr)? else { return Ok(Formula::Never) };
        Ok(self.compare(cmp::NE, side, Right::Constant(0)))
    }

    /// A number and, if it is `x & constant`, its mask. `None`: NULL for sure.
    fn side(&mut self, field: &Field, expr: &Expr) -> Result<Option<Side>> {
        if let Kind::Binary { op: Op::BitAnd, left, right } = &expr.kind {
            let (Some(a), Some(b)) = (self.operand(field, left)?, self.operand(field, right)?) else {
                return Ok(None);
            };
            let constants = (self.nodes.as_constant(a.node), self.nodes.as_constant(b.node));
            let (number, mask) = match constants {
                (None, Some(mask)) => (a, mask),
                (Some(mask), None) => (b, mask),
                (None, None) => {
                    let message =
                        "one side of & must be a constant here; or compare (a & b) with 0 term by term";
                    return Err(field.error(expr.span, message));
                }
                (Some(x), Some(y)) => {
                    let node = self.nodes.constant(x & y);
                    (Number { node, ..a }, u64::MAX)
                }
            };
            return Ok(Some(Side { number, mask, signed: false }));
        }
        let Some(number) = self.operand(field, expr)? else { return Ok(None) };
        let signed = self.is_signed(&number.ty);
        Ok(Some(Side { number, mask: u64::MAX, signed }))
    }

    fn compare(&mut self, op: u8, left: Side, right: Right) -> Formula {
        let Side { number, mask, .. } = left;
        if let (Some(x), Right::Constant(y)) = (self.nodes.as_constant(number.node), right) {
            let x = x & mask;
            let (sx, sy) = (x as i64, y as i64);
            let holds = match op {
                cmp::EQ => x == y,
                cmp::NE => x != y,
                cmp::LT => x < y,
                cmp::LE => x <= y,
                cmp::GT => x > y,
                cmp::GE => x >= y,
                cmp::SLT => sx < sy,
                cmp::SLE => sx <= sy,
                cmp::SGT => sx > sy,
                _ => sx >= sy,
            };
            return if holds { Formula::Always } else { Formula::Never };
        }
        Formula::Compare(Compare { left: number.node, mask, op, right })
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
        let zero = |lower: &mut Self| {
            let node = lower.nodes.constant(0);
            let number = Number { node, ty: U64, to_user: false, typed: false };
            Some(Side { number, mask: u64::MAX, signed: false })
        };
        let a = if is_null(left) { zero(self) } else { self.side(field, left)? };
        let b = if is_null(right) { zero(self) } else { self.side(field, right)? };
        let (Some(a), Some(b)) = (a, b) else { return Ok(Formula::Never) };
        // A constant or an unmasked side goes to the right.
        let swap = (self.nodes.as_constant(a.number.node).is_some()
            && self.nodes.as_constant(b.number.node).is_none())
            || (b.mask != u64::MAX && a.mask == u64::MAX);
        let (a, b, op) = if swap { (b, a, mirrored(op)) } else { (a, b, op) };
        if b.mask != u64::MAX {
            return Err(field.error(span, "only one side of a comparison can be masked with &"));
        }
        let constant = self.nodes.as_constant(b.number.node);
        let negative = constant.is_some_and(|c| (c as i64) < 0) && b.signed;
        let signed = match constant {
            Some(_) => a.signed || negative,
            None => a.signed || b.signed,
        };
        let op = if signed { signed_op(op) } else { op };
        let right = constant.map_or(Right::Node(b.number.node), Right::Constant);
        Ok(self.compare(op, a, right))
    }

    /// A comparison with text: of a name in memory word by word, of an enum by its names.
    fn text_comparison(
        &mut self,
        field: &Field,
        op: u8,
        other: &Expr,
        text: &str,
        span: Span,
    ) -> Result<Formula> {
        let negate = match op {
            cmp::EQ => false,
            cmp::NE => true,
            _ => return Err(field.error(span, "text can be compared with == and != only")),
        };
        let equal = match self.expr(field, other)? {
            Value::Null | Value::Missing => return Ok(Formula::Never),
            Value::Text(value) if value == text => Formula::Always,
            Value::Text(_) => Formula::Never,
            Value::Comm => self.comm_is(field, text)?,
            value => self.text_in_memory(field, other.span, value, text)?,
        };
        Ok(if negate { equal.negate() } else { equal })
    }

    /// Whether the name of the current thread is `text`.
    pub(super) fn comm_is(&mut self, field: &Field, text: &str) -> Result<Formula> {
        let comm = Field::parse("$task->comm")?;
        let value = self.field(&comm)?;
        self.text_in_memory(field, field.expr.span, value, text)
    }

    fn text_in_memory(&mut self, field: &Field, span: Span, value: Value, text: &str) -> Result<Formula> {
        let btf = &self.kernel.btf;
        let memory = match value {
            Value::Memory(memory) => match memory.ty.shape(btf) {
                Shape::Array { item, count } if item.is_char(btf) => {
                    if text.len() >= count as usize {
                        return Ok(Formula::Never);
                    }
                    memory
                }
                Shape::Bytes { text: true, .. } => memory,
                Shape::Int { .. } => return self.enumerator_is(field, span, Value::Memory(memory), text),
                _ => self.pointee(field, span, Value::Memory(memory), 0)?,
            },
            Value::Number(number) => match number.ty.shape(btf) {
                Shape::Int { .. } => return self.enumerator_is(field, span, Value::Number(number), text),
                _ => self.pointee(field, span, Value::Number(number), 0)?,
            },
            _ => return Err(field.error(span, "this cannot be compared with text")),
        };
        // The closing NUL is compared too, so that "ng" is not "nginx".
        let bytes: Vec<u8> = text.bytes().chain([0]).collect();
        let mut words = Vec::new();
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let size = chunk.len().next_power_of_two();
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            let off = self.offset(field, span, memory.off + 8 * i as i64)?;
            let Memory { base, mut place, .. } = memory;
            place.typed = false;
            let left = self.nodes.add(Node::Load { base, off, size: size as u8, place });
            let mask = if chunk.len() == size { u64::MAX } else { (1 << (8 * chunk.len())) - 1 };
            let right = Right::Constant(u64::from_le_bytes(word));
            words.push(Formula::Compare(Compare { left, mask, op: cmp::EQ, right }));
        }
        Ok(Formula::all(words))
    }

    fn enumerator_is(&mut self, field: &Field, span: Span, value: Value, text: &str) -> Result<Formula> {
        let number = self.read(field, span, value)?;
        let btf = &self.kernel.btf;
        let names = match &number.ty {
            Ty::Btf(id) => btf.enumerators(*id),
            _ => Vec::new(),
        };
        match names.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => {
                let side = Side { number, mask: u64::MAX, signed: false };
                Ok(self.compare(cmp::EQ, side, Right::Constant(*value as u64)))
            }
            None => {
                let message = format!("{} has no value named {text}", number.ty.c_name(btf));
                Err(field.error(span, message))
            }
        }
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
