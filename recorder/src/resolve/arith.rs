//! Arithmetic in expressions -> nodes, with the types and conversions of C.

use schemas::expr::{Expr, Field, Op, ParseError, Span};

use super::integers::{Range, common, promoted, range_of, ty_of, wrap};
use super::lower::{Lower, Number, Value};
use super::nodes::{Bits, Node, NodeId};
use super::types::{S32, S64, Shape, Ty};

type Result<T> = std::result::Result<T, ParseError>;

impl Lower<'_> {
    pub(super) fn negate(&mut self, field: &Field, span: Span, of: &Expr) -> Result<Value> {
        let Some(number) = self.operand(field, of)? else { return Ok(Value::Missing) };
        if let Some(value) = self.constant_of(&number) {
            let ty = match -value {
                value if i32::try_from(value).is_ok() && self.int_of(&number).size <= 4 => S32,
                value if i64::try_from(value).is_ok() => S64,
                _ => return Err(field.error(span, "this does not fit into 64 bits")),
            };
            return Ok(self.number((-value) as u64, ty));
        }
        if self.is_pointer(&number) {
            return Err(field.error(span, "a pointer has no opposite: cast it to (long) first"));
        }
        let int = promoted(self.int_of(&number));
        let (low, high) = self.range(&number);
        let node = self.negated(number.node);
        Ok(self.result(node, (-high, -low), int))
    }

    fn negated(&mut self, node: NodeId) -> NodeId {
        self.nodes.bits(node, Bits { negate: true, ..Bits::default() })
    }

    /// A computed number: `node`, which has a value in `range`, in an integer of this type.
    fn result(&mut self, node: NodeId, range: Range, int: crate::kernel::btf::Int) -> Value {
        let node = self.cut(node, range, int);
        Value::Number(Number { node, ty: ty_of(int), to_user: false, typed: false })
    }

    /// A number whose type is known, or nothing if it is NULL for sure.
    pub(super) fn operand(&mut self, field: &Field, expr: &Expr) -> Result<Option<Number>> {
        let number = self.any_operand(field, expr)?;
        if number.as_ref().is_some_and(|number| number.ty == Ty::Register) {
            let written = field.text.get(expr.span.start..expr.span.end).unwrap_or("retval");
            let message = format!(
                "nobody tells how wide {written} is and whether it is signed: say it, as in (int){written} or \
                 (u64){written}, in a condition also {written}:s32"
            );
            return Err(field.error(expr.span, message));
        }
        Ok(number)
    }

    /// The same, whether or not its type is known.
    pub(super) fn any_operand(&mut self, field: &Field, expr: &Expr) -> Result<Option<Number>> {
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
        if matches!(op, Op::Add | Op::Subtract) && (self.is_pointer(&a) || self.is_pointer(&b)) {
            return self.point(field, span, op, a, b);
        }
        let is_shift = matches!(op, Op::ShiftLeft | Op::ShiftRight);
        let int = match is_shift {
            true => promoted(self.int_of(&a)),
            false => common(self.int_of(&a), self.int_of(&b)),
        };
        let (x, y) = (self.constant_of(&a), self.constant_of(&b));
        let bits = i128::from(int.size) * 8;
        if is_shift && !y.is_some_and(|y| (0..bits).contains(&y)) {
            let message = format!("a value of {bits} bits is shifted by a constant from 0 to {}", bits - 1);
            return Err(field.error(span, message));
        }
        if let (Some(x), Some(y)) = (x, y) {
            let value = match op {
                Op::Add => x + y,
                Op::Subtract => x - y,
                Op::Multiply => x.wrapping_mul(y),
                Op::BitAnd => wrap(x, int) & wrap(y, int),
                Op::ShiftLeft => x << y,
                _ => x >> y,
            };
            return Ok(self.number(wrap(value, int) as u64, ty_of(int)));
        }
        // The constant to the right, where the order does not matter.
        let (a, b, constant) = match (op, x, y) {
            (Op::Add | Op::Multiply | Op::BitAnd, Some(x), None) => (b, a, Some(x)),
            (_, _, y) => (a, b, y),
        };
        let (low, high) = self.range(&a);
        let (node, range) = match (op, constant) {
            (Op::Add, Some(y)) => (self.plus(a.node, y), (low + y, high + y)),
            (Op::Subtract, Some(y)) => (self.plus(a.node, -y), (low - y, high - y)),
            (Op::Add | Op::Subtract, None) => {
                let (least, most) = self.range(&b);
                let (add, range) = match op {
                    Op::Add => (b.node, (low + least, high + most)),
                    _ => (self.negated(b.node), (low - most, high - least)),
                };
                (self.nodes.add(Node::Sum { base: a.node, add: Some(add), off: 0 }), range)
            }
            (Op::Multiply, Some(y)) if y > 0 && (y & (y - 1)) == 0 => {
                return Ok(self.shifted_left(&a, y.trailing_zeros() as u8, int));
            }
            (Op::ShiftLeft, Some(y)) => return Ok(self.shifted_left(&a, y as u8, int)),
            (Op::ShiftRight, Some(y)) => {
                let rshift = y as u8;
                // What can be negative is shifted with its sign.
                let keep = if low < 0 && rshift > 0 { 64 - rshift } else { 0 };
                let bits = Bits { rshift, keep, signed: keep != 0, ..Bits::default() };
                (self.nodes.bits(a.node, bits), (low >> y, high >> y))
            }
            (Op::BitAnd, Some(mask)) => {
                let mask = wrap(mask, int);
                let node = self.masked(field, span, a.node, mask as u64)?;
                (node, if mask >= 0 { (0, mask) } else { range_of(int) })
            }
            (Op::Multiply, _) => return Err(field.error(span, "only a power of two can be multiplied with")),
            _ => return Err(field.error(span, "the right side must be a constant")),
        };
        Ok(self.result(node, range, int))
    }

    /// `node + value`.
    fn plus(&mut self, node: NodeId, value: i128) -> NodeId {
        match i32::try_from(value) {
            Ok(off) => self.nodes.offset(node, off),
            Err(_) => {
                let add = self.nodes.constant(value as u64);
                self.nodes.add(Node::Sum { base: node, add: Some(add), off: 0 })
            }
        }
    }

    fn shifted_left(&mut self, a: &Number, lshift: u8, int: crate::kernel::btf::Int) -> Value {
        let (low, high) = self.range(a);
        let bits =
            if int.size == 8 || super::integers::is_within((low << lshift, high << lshift), range_of(int)) {
                Bits { lshift, ..Bits::default() }
            } else {
                Bits { keep: int.size * 8 - lshift, signed: int.signed, lshift, ..Bits::default() }
            };
        let node = self.nodes.bits(a.node, bits);
        Value::Number(Number { node, ty: ty_of(int), to_user: false, typed: false })
    }

    fn masked(&mut self, field: &Field, span: Span, node: NodeId, mask: u64) -> Result<NodeId> {
        if mask == 0 {
            return Ok(self.nodes.constant(0));
        }
        let low = mask.trailing_zeros() as u8;
        let run = (mask >> low).trailing_ones() as u8;
        if mask.count_ones() != u32::from(run) {
            let message = "outside of predicates a mask must be one run of bits, as 0xf0 is";
            return Err(field.error(span, message));
        }
        Ok(self.nodes.bits(node, Bits { rshift: low, keep: run, lshift: low, ..Bits::default() }))
    }

    /// A pointer and a number, which counts in items, as in C.
    fn point(&mut self, field: &Field, span: Span, op: Op, a: Number, b: Number) -> Result<Value> {
        let btf = &self.kernel.btf;
        let item = |number: &Number| match number.ty.shape(btf) {
            Shape::Pointer { to, .. } => Some(to.size(btf).max(1)),
            _ => None,
        };
        let (a, b, size) = match (op, item(&a), item(&b)) {
            (_, Some(size), None) => (a, b, size),
            (Op::Add, None, Some(size)) => (b, a, size),
            (Op::Add, ..) => return Err(field.error(span, "two pointers cannot be added")),
            _ => return Err(field.error(span, "a pointer cannot be subtracted: cast both to (long)")),
        };
        let node = match self.constant_of(&b) {
            Some(n) => {
                let n = if op == Op::Subtract { -n } else { n };
                let off = i64::try_from(n * i128::from(size)).unwrap_or(i64::MAX);
                let off = self.offset(field, span, off)?;
                self.nodes.offset(a.node, off)
            }
            None => {
                if !size.is_power_of_two() {
                    let message =
                        "items of this size cannot be counted: cast the pointer to (u8 *) and add bytes";
                    return Err(field.error(span, message));
                }
                let lshift = size.trailing_zeros() as u8;
                let mut add = self.nodes.bits(b.node, Bits { lshift, ..Bits::default() });
                if op == Op::Subtract {
                    add = self.negated(add);
                }
                self.nodes.add(Node::Sum { base: a.node, add: Some(add), off: 0 })
            }
        };
        Ok(Value::Number(Number { node, ty: a.ty, to_user: a.to_user, typed: false }))
    }
}
