//! Members, items and pointers -> places in memory; places -> the numbers that are read from them.

use schemas::expr::{Expr, Field, ParseError, Span, near};
use schemas::wire::src;

use super::lower::{Lower, Memory, Number, Value};
use super::nodes::{Bits, Node, NodeId, Place};
use super::types::{Shape, Ty};

type Result<T> = std::result::Result<T, ParseError>;

impl Lower<'_> {
    pub(super) fn member(
        &mut self,
        field: &Field,
        of: &Expr,
        name: &str,
        at: Span,
        optional: bool,
    ) -> Result<Value> {
        let value = match self.expr(field, of)? {
            empty @ (Value::Null | Value::Missing) => return Ok(empty),
            value => value,
        };
        let btf = &self.kernel.btf;
        let memory = match value {
            Value::Memory(memory) if memory.ty.is_struct(btf) => memory,
            value => self.pointee(field, of.span, value, 0)?,
        };
        let Shape::Struct(id) = memory.ty.shape(btf) else {
            let message = format!("{} has no members, it cannot have a member {name}", memory.ty.c_name(btf));
            return Err(field.error(at, message));
        };
        let Some(member) = btf.member(id, name) else {
            if optional {
                return Ok(Value::Missing);
            }
            let names = btf.member_names(id);
            let near = near(name, names.iter().copied());
            let hint = match (near.is_empty(), names.len()) {
                (_, 0) => "; this kernel does not describe its members".to_owned(),
                (false, _) => format!("; near: {}", near.join(", ")),
                (true, 1..=20) => format!("; it has {}", names.join(", ")),
                (true, n) => format!("; it has {n} members, none with a name near that"),
            };
            let message = format!("{} has no member {name}{hint}", btf.c_name(id));
            return Err(field.error(at, message));
        };
        let bitfield = (member.bits != 0).then_some((member.bit_offset % 8, member.bits));
        let off = memory.off + i64::from(member.bit_offset / 8);
        Ok(Value::Memory(Memory { off, ty: Ty::Btf(member.ty), bitfield, ..memory }))
    }

    pub(super) fn index(&mut self, field: &Field, of: &Expr, index: u32) -> Result<Value> {
        let value = match self.expr(field, of)? {
            empty @ (Value::Null | Value::Missing) => return Ok(empty),
            value => value,
        };
        let btf = &self.kernel.btf;
        if let Value::Memory(memory) = &value
            && let Shape::Array { item, count } = memory.ty.shape(btf)
        {
            if index >= count && count != 0 {
                let message = format!("this array has {count} items, the last is [{}]", count - 1);
                return Err(field.error(of.span, message));
            }
            let off = memory.off + i64::from(index) * i64::from(item.size(btf));
            return Ok(Value::Memory(Memory { off, ty: item, ..memory.clone() }));
        }
        Ok(Value::Memory(self.pointee(field, of.span, value, index)?))
    }

    /// What a pointer points to, `index` items on.
    pub(super) fn pointee(&mut self, field: &Field, span: Span, value: Value, index: u32) -> Result<Memory> {
        let number = self.read(field, span, value)?;
        let btf = &self.kernel.btf;
        let Shape::Pointer { to, user } = number.ty.shape(btf) else {
            let message = format!(
                "{} is no pointer: it cannot be followed; cast it, as in ((struct X *)expression)->member",
                number.ty.c_name(btf)
            );
            return Err(field.error(span, message));
        };
        let off = i64::from(index) * i64::from(to.size(btf));
        let place = Place { user: user || number.to_user, typed: number.typed && to.is_struct(btf) };
        Ok(Memory { base: number.node, off, ty: to, bitfield: None, place })
    }

    /// Whether pointers in this memory point to user memory, although their type does not say so.
    pub(super) fn leads_to_user(&self, memory: &Memory) -> bool {
        let in_record = matches!(self.nodes.get(memory.base), Node::Source { src: src::CTX, .. });
        memory.place.user || (in_record && self.scope.user_pointers)
    }

    /// The address of something in memory.
    pub(super) fn address(&mut self, field: &Field, span: Span, memory: &Memory) -> Result<NodeId> {
        let off = self.offset(field, span, memory.off)?;
        Ok(self.nodes.offset(memory.base, off))
    }

    pub(super) fn offset(&self, field: &Field, span: Span, off: i64) -> Result<i32> {
        i32::try_from(off)
            .map_err(|_| field.error(span, format!("the offset {off} does not fit into 32 bits")))
    }

    /// The number or pointer that a value is; memory is read, with the conversions that its type asks for.
    pub(super) fn read(&mut self, field: &Field, span: Span, value: Value) -> Result<Number> {
        let memory = match value {
            Value::Number(number) => return Ok(number),
            Value::Memory(memory) => memory,
            Value::Truth(formula) => {
                let node = self.nodes.add(Node::Holds(formula));
                let ty = Ty::Int { size: 1, signed: false };
                return Ok(Number { node, ty, to_user: false, typed: false });
            }
            Value::Text(_)
            | Value::Comm
            | Value::Stack(_)
            | Value::Sized(..)
            | Value::Null
            | Value::Missing => {
                return Err(field.error(span, "expected a number or a pointer here"));
            }
        };
        let btf = &self.kernel.btf;
        let Memory { base, off, ref ty, bitfield, place } = memory;
        match ty.shape(btf) {
            Shape::Int { int, .. } if let Some((first, width)) = bitfield => {
                let off = self.offset(field, span, off)?;
                let bytes = (first + u32::from(width)).div_ceil(8).next_power_of_two().min(8) as u8;
                let raw = self.nodes.add(Node::Load { base, off, size: bytes, place });
                let bits = Bits { rshift: first as u8, keep: width, signed: int.signed, ..Bits::default() };
                Ok(Number { node: self.nodes.bits(raw, bits), ty: ty.clone(), to_user: false, typed: false })
            }
            Shape::Int { int, swap } if matches!(int.size, 1 | 2 | 4 | 8) => {
                let off = self.offset(field, span, off)?;
                let raw = self.nodes.add(Node::Load { base, off, size: int.size, place });
                let signed = int.signed && int.size < 8 && swap == 0;
                let keep = if signed { int.size * 8 } else { 0 };
                let node = self.nodes.bits(raw, Bits { keep, signed, swap, ..Bits::default() });
                Ok(Number { node, ty: ty.clone(), to_user: false, typed: false })
            }
            Shape::Pointer { to, user } => {
                let off = self.offset(field, span, off)?;
                let node = self.nodes.add(Node::Load { base, off, size: 8, place });
                let typed = place.typed && to.is_struct(btf);
                let to_user = user || self.leads_to_user(&memory);
                Ok(Number { node, ty: ty.clone(), to_user, typed })
            }
            Shape::Array { item, .. } => {
                let ty = Ty::Pointer(Box::new(item));
                let node = self.address(field, span, &memory)?;
                Ok(Number { node, ty, to_user: place.user, typed: false })
            }
            Shape::Struct(id) => {
                let names = btf.member_names(id);
                let more = if names.len() > 12 { ", ..." } else { "" };
                let names = names.into_iter().take(12).collect::<Vec<_>>().join(", ");
                let message =
                    format!("this is a {}: name one of its members ({names}{more})", ty.c_name(btf));
                Err(field.error(span, message))
            }
            Shape::Chars(_) | Shape::Located | Shape::Other | Shape::Int { .. } => {
                Err(field.error(span, format!("{} is no number", ty.c_name(btf))))
            }
        }
    }
}
