//! A value and a column -> what the kernel side stores for it; and the type of a column that does not say one.

use schemas::column::{Column, IP_FAMILY_OFFSET, Type};
use schemas::expr::{ABIS, Builtin, Field, Kind, ParseError};
use schemas::wire::{NONE, cmp};

use super::lower::{Lower, Memory, Number, Value};
use super::nodes::{Bits, Compare, Formula, Node, NodeId, Place, Right};
use super::types::{Shape, Ty, names_of};

type Result<T> = std::result::Result<T, ParseError>;

/// Address families in column type `ip`.
const FAMILY_V4: u64 = 2;
const FAMILY_V6: u64 = 10;
/// Bytes of the name of a thread.
const COMM_BYTES: u16 = 16;

/// Something stored in the record.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub what: What,
    pub dst: u16,
    /// The column's bit, or [`NONE`] for a part of a column whose other part tells.
    pub bit: u8,
    /// Stored only if this holds.
    pub guard: Formula,
    /// If the guard does not hold another output fills the column.
    pub soft: bool,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Integer {
        node: NodeId,
        width: u8,
    },
    Memory {
        base: NodeId,
        off: i32,
        size: u16,
        place: Place,
    },
    Text {
        base: NodeId,
        off: i32,
        size: u16,
        place: Place,
    },
    /// At most `size` bytes, as many as `length` says.
    Bytes {
        base: NodeId,
        off: i32,
        size: u16,
        place: Place,
        length: NodeId,
    },
    Comm,
    Stack {
        kernel: bool,
        size: u16,
    },
}

impl Lower<'_> {
    /// What to store for `field` in `column`.
    pub(super) fn outputs(&mut self, field: &Field, column: &Column, guard: Formula) -> Result<Vec<Output>> {
        let value = self.field(field)?;
        let output =
            |what| Output { what, dst: column.offset, bit: column.bit, guard: guard.clone(), soft: false };
        if matches!(value, Value::Null | Value::Missing) {
            return Ok(vec![self.null(column)]);
        }
        let what = match &column.ty {
            Type::Ip => return self.ip(field, value, column, guard),
            Type::Enum(names) => match value {
                Value::Text(text) => match names.iter().find(|(_, name)| *name == text) {
                    Some((number, _)) => {
                        let node = self.nodes.constant(*number as i64 as u64);
                        What::Integer { node, width: 4 }
                    }
                    None => {
                        let known: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
                        let message = format!("column {} is one of {}", column.name, known.join(", "));
                        return Err(field.error(field.expr.span, message));
                    }
                },
                value => What::Integer { node: self.integer(field, value)?.node, width: 4 },
            },
            Type::KernelEnum(_) => What::Integer { node: self.integer(field, value)?.node, width: 4 },
            Type::Unsigned(bits) | Type::Signed(bits) | Type::Hex(bits) => {
                let number = self.integer(field, value)?;
                if *bits < 64 && self.is_pointer(&number) {
                    let message = format!(
                        "this is a pointer, which {} does not hold: the error number that it may carry is err(..)",
                        column.ty
                    );
                    return Err(self.wants(field, &message));
                }
                What::Integer { node: number.node, width: bits / 8 }
            }
            Type::Sym => What::Integer { node: self.integer(field, value)?.node, width: 8 },
            Type::Bool => What::Integer { node: self.truth(field, value)?, width: 1 },
            Type::Ip4 => self.ip4(field, value)?,
            Type::Ip6 => self.bytes(field, value, 16)?,
            Type::Mac => self.bytes(field, value, 6)?,
            Type::Bytes(size) => self.bytes(field, value, *size)?,
            Type::Numbers(..) => self.bytes(field, value, column.ty.wire_size())?,
            Type::Some(_) | Type::UserSome(_) | Type::Argv(_) => {
                return self.some(field, value, column, guard);
            }
            Type::Chars(size) => match value {
                Value::Comm if *size == COMM_BYTES => What::Comm,
                Value::Comm => return Err(self.wants(field, "the name of a thread is a char[16]")),
                value => self.chars(field, value, *size)?,
            },
            Type::Str(_) => match field.ty {
                // Cut as the kernel itself does, which is no loss: the column's bit would tell of one.
                Some(Type::Chars(size)) => {
                    let what = self.text(field, value, size.min(column.ty.wire_size()), false)?;
                    return Ok(vec![Output { bit: NONE, ..output(what) }]);
                }
                _ => self.text(field, value, column.ty.wire_size(), false)?,
            },
            // In one source of an event the kernel may have a copy of what is user memory in another.
            Type::UserStr(_) => {
                let is_user = !matches!(field.ty, Some(Type::Str(_)));
                self.text(field, value, column.ty.wire_size(), is_user)?
            }
            Type::KernelStack(frames) | Type::UserStack(frames) => {
                let wanted = matches!(column.ty, Type::KernelStack(_));
                match value {
                    Value::Stack(kernel) if kernel == wanted => What::Stack { kernel, size: 8 * frames },
                    _ => return Err(self.wants(field, "a stack is $kstack or $ustack")),
                }
            }
        };
        Ok(vec![output(what)])
    }

    /// A column that is always NULL.
    pub(super) fn null(&mut self, column: &Column) -> Output {
        let what = What::Integer { node: self.nodes.constant(0), width: 0 };
        Output { what, dst: column.offset, bit: column.bit, guard: Formula::Never, soft: false }
    }

    fn wants(&self, field: &Field, message: &str) -> ParseError {
        field.error(field.expr.span, message)
    }

    pub(super) fn integer(&mut self, field: &Field, value: Value) -> Result<Number> {
        match value {
            Value::Text(_) => Err(self.wants(field, "text fits into a column of type enum(..) only")),
            Value::Comm => Err(self.wants(field, "the name of a thread is a char[16]")),
            Value::Stack(_) => Err(self.wants(field, "a stack needs type kstack or ustack")),
            value => self.read(field, field.expr.span, value),
        }
    }

    fn truth(&mut self, field: &Field, value: Value) -> Result<NodeId> {
        let number = self.integer(field, value)?;
        let one_byte = number.ty.size(&self.kernel.btf) == 1;
        if one_byte || self.nodes.as_constant(number.node).is_some() {
            return Ok(number.node);
        }
        let formula = self.is_true(number);
        Ok(self.nodes.add(Node::Holds(formula)))
    }

    /// Bytes of which something says how many they are: the expression, or the locator of a field of a tracepoint.
    fn some(&mut self, field: &Field, value: Value, column: &Column, guard: Formula) -> Result<Vec<Output>> {
        let (memory, length, guard) = match value {
            Value::Sized(of, length) => {
                // What was to be read and failed has a negative length.
                let right = Right::Constant(0);
                let some =
                    Formula::Compare(Compare { left: length.node, mask: u64::MAX, op: cmp::SGE, right });
                let of = match *of {
                    // A number of that size is the address of the bytes, and not they.
                    Value::Memory(ref memory) if self.holds_address(memory) => {
                        Value::Number(self.read(field, field.expr.span, *of)?)
                    }
                    of => of,
                };
                (self.memory(field, of)?, length.node, Formula::all([guard, some]))
            }
            Value::Memory(memory) if let Some(length) = self.located_length(&memory) => {
                (memory, length, guard)
            }
            _ => {
                let message = format!(
                    "it is not known how many bytes this has: say so, as in :{}",
                    column.ty.to_string().replace(']', "; LENGTH]")
                );
                return Err(self.wants(field, &message));
            }
        };
        let off = self.offset(field, field.expr.span, memory.off)?;
        let user = memory.place.user || !matches!(column.ty, Type::Some(_));
        let place = Place { user, ..memory.place };
        let size = column.ty.most_bytes().unwrap_or_default();
        let what = What::Bytes { base: memory.base, off, size, place, length };
        Ok(vec![Output { what, dst: column.offset, bit: column.bit, guard, soft: false }])
    }

    fn holds_address(&self, memory: &Memory) -> bool {
        memory.bitfield.is_none()
            && matches!(memory.ty.shape(&self.kernel.btf), Shape::Int { int, .. } if int.size == 8)
    }

    /// How many bytes there are at a place elsewhere in the record, as its locator says.
    fn located_length(&mut self, memory: &Memory) -> Option<NodeId> {
        let Memory { base, ty: Ty::Located | Ty::Chars(0), .. } = memory else { return None };
        let Node::Sum { add: Some(offset), .. } = *self.nodes.get(*base) else { return None };
        let Node::Bits { of: locator, .. } = *self.nodes.get(offset) else { return None };
        Some(self.nodes.bits(locator, Bits { rshift: 16, keep: 16, ..Bits::default() }))
    }

    /// An IPv4 address: four bytes as they are in memory.
    fn ip4(&mut self, field: &Field, value: Value) -> Result<What> {
        if let Value::Memory(memory) = &value
            && matches!(
                memory.ty.shape(&self.kernel.btf),
                Shape::Struct(_) | Shape::Array { .. } | Shape::Chars(_) | Shape::Located
            )
        {
            return self.bytes(field, value, 4);
        }
        let number = self.read(field, field.expr.span, value)?;
        match number.ty.shape(&self.kernel.btf) {
            Shape::Int { int, .. } if int.size == 4 => {
                Ok(What::Integer { node: self.unswapped(number.node), width: 4 })
            }
            Shape::Pointer { .. } => self.bytes(field, Value::Number(number), 4),
            _ => Err(self.wants(field, "an ip4 is a 32-bit integer in network order, such as a __be32")),
        }
    }

    /// The value as it is in memory.
    fn unswapped(&mut self, node: NodeId) -> NodeId {
        match *self.nodes.get(node) {
            Node::Bits { of, bits } if bits.swap != 0 => self.nodes.bits(of, Bits { swap: 0, ..bits }),
            _ => node,
        }
    }

    /// Memory as it is, at an array or struct or behind a pointer.
    fn bytes(&mut self, field: &Field, value: Value, size: u16) -> Result<What> {
        let memory = self.memory(field, value)?;
        let have = memory.ty.size(&self.kernel.btf);
        if have != 0 && have < u32::from(size) && !memory.ty.is_byte(&self.kernel.btf) {
            let ty = memory.ty.c_name(&self.kernel.btf);
            return Err(self.wants(field, &format!("{ty} has {have} bytes, the column wants {size}")));
        }
        let off = self.offset(field, field.expr.span, memory.off)?;
        Ok(What::Memory { base: memory.base, off, size, place: memory.place })
    }

    /// The array or struct that a value is, or the memory that it points to.
    fn memory(&mut self, field: &Field, value: Value) -> Result<Memory> {
        let btf = &self.kernel.btf;
        match value {
            Value::Memory(memory)
                if memory.bitfield.is_none()
                    && !matches!(memory.ty.shape(btf), Shape::Pointer { .. } | Shape::Other) =>
            {
                Ok(memory)
            }
            Value::Number(Number { node, ref ty, to_user, .. }) if matches!(ty.shape(btf), Shape::Int { int, .. } if int.size == 8) =>
            {
                // A plain 64-bit value, such as $arg1 of a function without types, is taken for an address.
                let place = Place { user: to_user, typed: false };
                Ok(Memory { base: node, off: 0, ty: Ty::Btf(0), bitfield: None, place })
            }
            Value::Memory(_) | Value::Number(_) => self.pointee(field, field.expr.span, value, 0),
            _ => Err(self.wants(field, "this is not in memory, so its bytes cannot be copied")),
        }
    }

    fn chars(&mut self, field: &Field, value: Value, size: u16) -> Result<What> {
        let btf = &self.kernel.btf;
        let count = match &value {
            Value::Memory(memory) => match memory.ty.shape(btf) {
                Shape::Array { item, count } if item.is_byte(btf) => count.min(u32::from(u16::MAX)) as u16,
                Shape::Chars(count) => count,
                _ => 0,
            },
            _ => 0,
        };
        if count == 0 {
            return Err(
                self.wants(field, "a char[N] is copied from an array of char; for a pointer say string")
            );
        }
        match self.bytes(field, value, size.min(count))? {
            What::Memory { base, off, place, .. } => {
                Ok(What::Memory { base, off, size: size.min(count), place })
            }
            other => Ok(other),
        }
    }

    fn text(&mut self, field: &Field, value: Value, size: u16, user: bool) -> Result<What> {
        let value = match value {
            Value::Comm => {
                let comm = Field::parse("$task->comm")?;
                self.field(&comm)?
            }
            value => value,
        };
        let memory = self.memory(field, value)?;
        let btf = &self.kernel.btf;
        let is_text = match memory.ty.shape(btf) {
            Shape::Array { item, .. } => item.is_byte(btf),
            Shape::Chars(_) => true,
            Shape::Int { int, .. } => int.size == 1,
            // void *: whoever asks for a string knows.
            Shape::Other => true,
            _ => false,
        };
        if !is_text {
            let ty = memory.ty.c_name(btf);
            return Err(self.wants(field, &format!("this leads to {ty}, which is no text")));
        }
        if memory.place.user && !user {
            return Err(self.wants(field, "this points to user memory: say :ustring"));
        }
        let off = self.offset(field, field.expr.span, memory.off)?;
        let place = Place { user: user || memory.place.user, ..memory.place };
        Ok(What::Text { base: memory.base, off, size, place })
    }

    /// An address of either family, with the family behind it.
    fn ip(&mut self, field: &Field, value: Value, column: &Column, guard: Formula) -> Result<Vec<Output>> {
        let main =
            |what, guard: Formula, soft| Output { what, dst: column.offset, bit: column.bit, guard, soft };
        let family = |lower: &mut Self, value: u64, guard: Formula| Output {
            what: What::Integer { node: lower.nodes.constant(value), width: 2 },
            dst: column.offset + IP_FAMILY_OFFSET,
            bit: NONE,
            guard,
            soft: true,
        };
        let btf = &self.kernel.btf;
        let is_int = match &value {
            Value::Memory(Memory { ty, bitfield: None, .. }) | Value::Number(Number { ty, .. }) => {
                matches!(ty.shape(btf), Shape::Int { int, .. } if int.size == 4)
            }
            _ => false,
        };
        if is_int {
            let what = self.ip4(field, value)?;
            return Ok(vec![main(what, guard.clone(), false), family(self, FAMILY_V4, guard)]);
        }
        let memory = self.memory(field, value)?;
        let Shape::Struct(id) = memory.ty.shape(btf) else {
            let message = "an ip comes from a __be32, a struct in_addr, struct in6_addr or struct sock *";
            return Err(self.wants(field, message));
        };
        match btf.name(id) {
            "in_addr" => {
                let what = self.bytes(field, Value::Memory(memory), 4)?;
                Ok(vec![main(what, guard.clone(), false), family(self, FAMILY_V4, guard)])
            }
            "in6_addr" => {
                let what = self.bytes(field, Value::Memory(memory), 16)?;
                Ok(vec![main(what, guard.clone(), false), family(self, FAMILY_V6, guard)])
            }
            "sock" | "sock_common" => {
                let prefix = if btf.name(id) == "sock" { "__sk_common." } else { "" };
                let member = |name: &str| {
                    let mut place = memory.clone();
                    for part in format!("{prefix}{name}").split('.') {
                        let found = btf.member(struct_of(btf, &place.ty)?, part)?;
                        place.off += i64::from(found.bit_offset / 8);
                        place.ty = Ty::Btf(found.ty);
                    }
                    Some(Value::Memory(place))
                };
                let places = (member("skc_family"), member("skc_rcv_saddr"), member("skc_v6_rcv_saddr"));
                let (Some(of_family), Some(v4), v6) = places else {
                    return Err(
                        self.wants(field, "this kernel's struct sock has no skc_family or skc_rcv_saddr")
                    );
                };
                let of_family = self.read(field, field.expr.span, of_family)?.node;
                let is = |value| {
                    let right = Right::Constant(value);
                    let compare = Compare { left: of_family, mask: u64::MAX, op: cmp::EQ, right };
                    Formula::all([guard.clone(), Formula::Compare(compare)])
                };
                let mut outputs = vec![main(self.ip4(field, v4)?, is(FAMILY_V4), true)];
                // Kernels without IPv6 have no such member.
                if let Some(v6) = v6 {
                    outputs.push(main(self.bytes(field, v6, 16)?, is(FAMILY_V6), true));
                }
                let mut last = family(self, 0, guard.clone());
                last.what = What::Integer { node: of_family, width: 2 };
                (last.bit, last.soft) = (column.bit, false);
                outputs.push(last);
                Ok(outputs)
            }
            name => Err(self.wants(field, &format!("no ip can be taken from struct {name}"))),
        }
    }

    /// The type of a column that does not say one.
    pub(super) fn infer(&mut self, field: &Field) -> Result<Type> {
        let value = self.field(field)?;
        let btf = &self.kernel.btf;
        let ty = match &value {
            // Only a type says how long a value is.
            Value::Sized(..) => return Err(self.wants(field, "bytes have a type of their own")),
            Value::Comm => return Ok(Type::Chars(COMM_BYTES)),
            Value::Stack(true) => return Ok(Type::KernelStack(DEFAULT_FRAMES)),
            Value::Stack(false) => return Ok(Type::UserStack(DEFAULT_FRAMES)),
            Value::Truth(_) => return Ok(Type::Bool),
            Value::Text(_) if matches!(field.expr.kind, Kind::Builtin(Builtin::Abi)) => {
                let names = ABIS.iter().zip(0..).map(|(name, number)| (number, (*name).to_owned()));
                return Ok(Type::Enum(names.collect()));
            }
            Value::Text(text) => return Ok(Type::Enum(vec![(0, text.clone())])),
            Value::Null | Value::Missing => {
                let message = "the type of NULL is not known: say it, as in expression:u32";
                return Err(self.wants(field, message));
            }
            Value::Memory(Memory { ty, .. }) | Value::Number(Number { ty, .. }) => ty.clone(),
        };
        match ty.shape(btf) {
            Shape::Int { .. } if ty == Ty::Code => Ok(Type::Sym),
            // Whatever it is, these are its bits.
            Shape::Int { .. } if ty == Ty::Register => Ok(Type::Hex(64)),
            Shape::Int { int, .. } if int.boolean => Ok(Type::Bool),
            Shape::Int { int, .. } => {
                let names = names_of(ty.enumerators(btf));
                if !names.is_empty() && int.size <= 4 {
                    return Ok(Type::Enum(names));
                }
                let bits = int.size * 8;
                Ok(if int.signed { Type::Signed(bits) } else { Type::Unsigned(bits) })
            }
            Shape::Pointer { to, user } if to.is_char(btf) => {
                let to_user = match &value {
                    Value::Number(number) => number.to_user,
                    Value::Memory(memory) => self.leads_to_user(memory),
                    _ => false,
                };
                if user || to_user {
                    return "ustring".parse().map_err(|_| self.wants(field, "say :ustring"));
                }
                Err(self
                    .wants(field, "this is a char *: say :string (kernel memory) or :ustring (user memory)"))
            }
            Shape::Pointer { to, .. } if to.is_function(btf) => Ok(Type::Sym),
            Shape::Pointer { .. } => Ok(Type::Hex(64)),
            Shape::Chars(0) => "string".parse().map_err(|_| self.wants(field, "say :string")),
            Shape::Chars(count) => Ok(Type::Chars(count)),
            Shape::Located => "bytes".parse().map_err(|_| self.wants(field, "say :bytes[N]")),
            Shape::Array { item, count } => self.array(field, &item, count),
            Shape::Struct(id) if btf.name(id) == "in6_addr" => Ok(Type::Ip6),
            Shape::Struct(id) if btf.name(id) == "in_addr" => Ok(Type::Ip4),
            Shape::Struct(_) | Shape::Other => {
                // The error of reading it as a number names the members.
                self.read(field, field.expr.span, value).map(|_| Type::Hex(64))
            }
        }
    }

    /// The type of an array: of `char` it is text, of other bytes it is bytes, of numbers it is numbers.
    fn array(&self, field: &Field, item: &Ty, count: u32) -> Result<Type> {
        let btf = &self.kernel.btf;
        let fits = (1..=MOST_BYTES).contains(&item.size(btf).saturating_mul(count));
        let of = |item: Type| Type::Numbers(Box::new(item), count as u16);
        match item.shape(btf) {
            _ if !fits => {}
            Shape::Int { .. } if item.is_char(btf) => return Ok(Type::Chars(count as u16)),
            Shape::Int { int, .. } if int.size == 1 => return Ok(Type::Bytes(count as u16)),
            // In network order, which numbers in a column are not.
            Shape::Int { int, swap: 1.. } => return Ok(Type::Bytes(u16::from(int.size) * count as u16)),
            Shape::Int { int, .. } if int.signed => return Ok(of(Type::Signed(int.size * 8))),
            Shape::Int { int, .. } => return Ok(of(Type::Unsigned(int.size * 8))),
            Shape::Pointer { .. } => return Ok(of(Type::Hex(64))),
            _ => {}
        }
        let message = format!(
            "this is {}[{count}]: take an item, as in expression[0], or say :hex[N] with N up to {MOST_BYTES}",
            item.c_name(btf)
        );
        Err(self.wants(field, &message))
    }
}

/// Most bytes of an array in a column.
const MOST_BYTES: u32 = schemas::wire::MAX_STRING as u32;
const DEFAULT_FRAMES: u16 = 32;

fn struct_of(btf: &crate::kernel::Btf, ty: &Ty) -> Option<crate::kernel::TypeId> {
    match ty.shape(btf) {
        Shape::Struct(id) => Some(id),
        _ => None,
    }
}
