//! Integers as C has them: ranges, promotion, the type of a result, casts; and values taken for a column's type.

use schemas::column::Type;
use schemas::expr::{Expr, Field, ParseError, Span};
use schemas::wire::{MAX_ERRNO, cmp, src};

use super::lower::{Lower, Number, Value};
use super::nodes::{Bits, Compare, Formula, Node, NodeId, Right};
use super::types::{S32, Shape, Ty, with_kernel_names};
use crate::kernel::btf::{Int, Kind as BtfKind};

type Result<T> = std::result::Result<T, ParseError>;

/// The least and the greatest value.
pub(super) type Range = (i128, i128);

/// All values of a type.
pub(super) fn range_of(int: Int) -> Range {
    let bits = u32::from(int.size) * 8;
    if int.signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

pub(super) fn is_within((low, high): Range, (least, most): Range) -> bool {
    least <= low && high <= most
}

/// What is left of `value` in an integer of this type.
pub(super) fn wrap(value: i128, int: Int) -> i128 {
    let unused = 128 - u32::from(int.size) * 8;
    let cut = value << unused;
    if int.signed { cut >> unused } else { (cut as u128 >> unused) as i128 }
}

/// The type in which C computes with one: at least `int`.
pub(super) fn promoted(int: Int) -> Int {
    if int.size < 4 { plain(4, true) } else { plain(int.size, int.signed) }
}

/// The type in which C computes with two.
pub(super) fn common(a: Int, b: Int) -> Int {
    let (a, b) = (promoted(a), promoted(b));
    match a.size.cmp(&b.size) {
        std::cmp::Ordering::Equal => plain(a.size, a.signed && b.signed),
        std::cmp::Ordering::Greater => a,
        std::cmp::Ordering::Less => b,
    }
}

fn plain(size: u8, signed: bool) -> Int {
    Int { size, signed, boolean: false }
}

/// The type of a computed number.
pub(super) fn ty_of(int: Int) -> Ty {
    Ty::Int { size: int.size, signed: int.signed }
}

impl Lower<'_> {
    /// The integer type of a number; an address is 64 unsigned bits.
    pub(super) fn int_of(&self, number: &Number) -> Int {
        number.ty.int(&self.kernel.btf).unwrap_or(plain(8, false))
    }

    pub(super) fn is_pointer(&self, number: &Number) -> bool {
        matches!(number.ty.shape(&self.kernel.btf), Shape::Pointer { .. })
    }

    /// The value of a number that is a constant.
    pub(super) fn constant_of(&self, number: &Number) -> Option<i128> {
        let bits = self.nodes.as_constant(number.node)?;
        Some(if self.int_of(number).signed { i128::from(bits as i64) } else { i128::from(bits) })
    }

    /// The values that a number can have.
    pub(super) fn range(&self, number: &Number) -> Range {
        if let Some(value) = self.constant_of(number) {
            return (value, value);
        }
        let of_type = range_of(self.int_of(number));
        let of_node = match *self.nodes.get(number.node) {
            Node::Holds(_) => (0, 1),
            Node::If { .. } => (-i128::from(MAX_ERRNO), 0),
            Node::Bits {
                bits: Bits { keep: keep @ 1..64, signed, swap: 0, lshift: 0, negate: false, .. },
                ..
            } => {
                if signed {
                    (-(1 << (keep - 1)), (1 << (keep - 1)) - 1)
                } else {
                    (0, (1 << keep) - 1)
                }
            }
            _ => of_type,
        };
        if is_within(of_node, of_type) { of_node } else { of_type }
    }

    /// A number as another integer type: cut to its width, and extended by its sign.
    pub(super) fn convert(&mut self, number: Number, ty: Ty) -> Number {
        let Some(int) = ty.int(&self.kernel.btf) else { return Number { ty, ..number } };
        let node = match self.constant_of(&number) {
            Some(value) => self.nodes.constant(wrap(value, int) as u64),
            None => self.cut(number.node, self.range(&number), int),
        };
        Number { node, ty, typed: false, ..number }
    }

    /// `node`, whose value is in `range`, as it is in an integer of this type.
    pub(super) fn cut(&mut self, node: NodeId, range: Range, int: Int) -> NodeId {
        if int.size == 8 || is_within(range, range_of(int)) {
            return node;
        }
        self.nodes.bits(node, Bits { keep: int.size * 8, signed: int.signed, ..Bits::default() })
    }

    /// `(ty)number`.
    pub(super) fn cast(&mut self, field: &Field, span: Span, number: Number, ty: Ty) -> Result<Value> {
        match ty.shape(&self.kernel.btf) {
            Shape::Pointer { .. } => Ok(Value::Number(Number { ty, typed: false, ..number })),
            Shape::Int { int, .. } if int.boolean => Ok(Value::Truth(self.is_true(number))),
            Shape::Int { .. } => Ok(Value::Number(self.convert(number, ty))),
            _ => {
                let name = ty.c_name(&self.kernel.btf);
                Err(field.error(span, format!("a cast is to a pointer or an integer, {name} is neither")))
            }
        }
    }

    /// Whether a number is not 0. Of a register that holds a `bool` only the lowest byte is defined.
    pub(super) fn is_true(&mut self, number: Number) -> Formula {
        let mask = if number.ty == Ty::Register { 0xff } else { u64::MAX };
        if let Some(value) = self.nodes.as_constant(number.node) {
            return if value & mask != 0 { Formula::Always } else { Formula::Never };
        }
        Formula::Compare(Compare { left: number.node, mask, op: cmp::NE, right: Right::Constant(0) })
    }

    /// `value` as a column of type `ty` holds it. `None` if that type is no number and no text.
    pub(super) fn typed(
        &mut self,
        field: &Field,
        span: Span,
        value: Value,
        ty: &Type,
    ) -> Result<Option<Value>> {
        if matches!(value, Value::Null | Value::Missing | Value::Text(_) | Value::Comm | Value::Stack(_)) {
            return Ok(Some(value));
        }
        let to = match &with_kernel_names(&self.kernel.btf, ty) {
            Type::Unsigned(bits) | Type::Hex(bits) => Ty::Int { size: bits / 8, signed: false },
            Type::Signed(bits) => Ty::Int { size: bits / 8, signed: true },
            Type::Sym => Ty::Code,
            Type::Enum(names) => Ty::Enum(names.clone().into()),
            Type::Bool => {
                let number = self.read(field, span, value)?;
                return Ok(Some(Value::Truth(self.is_true(number))));
            }
            Type::Str(_) | Type::UserStr(_) => return self.as_text(field, span, value, ty).map(Some),
            _ => return Ok(None),
        };
        let number = self.read(field, span, value)?;
        // An address stays one, so that an error number in it is found.
        if self.is_pointer(&number) && matches!(ty, Type::Unsigned(64) | Type::Hex(64) | Type::Sym) {
            return Ok(Some(Value::Number(number)));
        }
        Ok(Some(Value::Number(self.convert(number, to))))
    }

    /// Text in memory; a plain 64-bit number is taken for its address.
    fn as_text(&mut self, field: &Field, span: Span, value: Value, ty: &Type) -> Result<Value> {
        let btf = &self.kernel.btf;
        if let Value::Memory(memory) = &value
            && matches!(memory.ty.shape(btf), Shape::Array { .. } | Shape::Chars(_) | Shape::Other)
        {
            return Ok(value);
        }
        let number = self.read(field, span, value)?;
        let to_user = number.to_user || matches!(ty, Type::UserStr(_));
        let ty = match number.ty.shape(btf) {
            Shape::Int { int, .. } if int.size == 8 => {
                let char = btf.find("char", BtfKind::Int).map_or(Ty::Int { size: 1, signed: true }, Ty::Btf);
                Ty::Pointer(Box::new(char))
            }
            _ => number.ty.clone(),
        };
        Ok(Value::Number(Number { ty, to_user, ..number }))
    }

    /// `err(of)`: the error number in a pointer or a signed number, 0 if there is none.
    pub(super) fn error_number(&mut self, field: &Field, of: &Expr) -> Result<Value> {
        let Some(number) = self.operand(field, of)? else { return Ok(Value::Missing) };
        let is_register =
            |node: NodeId| matches!(self.nodes.get(node), Node::Source { src: src::RET | src::ARG, .. });
        let from_register = match *self.nodes.get(number.node) {
            Node::Bits { of, .. } => is_register(of),
            _ => is_register(number.node),
        };
        if !from_register {
            return Err(field.error(of.span, "err(..) takes retval or an argument"));
        }
        if !self.is_pointer(&number) && !self.int_of(&number).signed {
            let ty = number.ty.c_name(&self.kernel.btf);
            return Err(field.error(of.span, format!("{ty} is unsigned, so it carries no error number")));
        }
        let guard = self.nodes.add(Node::Holds(is_error(number.node)));
        let node = self.nodes.add(Node::If { of: number.node, guard });
        Ok(Value::Number(Number { node, ty: S32, to_user: false, typed: false }))
    }
}

/// Whether a node is a negative error number, as a number or as a pointer.
pub(super) fn is_error(left: NodeId) -> Formula {
    let right = Right::Constant(MAX_ERRNO.wrapping_neg());
    Formula::Compare(Compare { left, mask: u64::MAX, op: cmp::GE, right })
}
