//! Expressions -> values in the graph of nodes: names are looked up, members found in BTF, pointers followed.

use schemas::def::{ColumnDef, ProbeDef};
use schemas::expr::{Builtin, Expr, Field, Kind, Op, ParseError, Span, near};
use schemas::wire::{cmp, src};

use super::nodes::{Bits, Compare, Formula, Node, NodeId, Nodes, Place, Right};
use super::scope::{ArgAt, Returns, Scope};
use super::types::{S32, S64, Shape, Ty, U32, U64, cast_type};
use crate::kernel::Kernel;
use crate::kernel::btf::Kind as BtfKind;
use crate::user::operand::{Address, Argument, Operand};

/// What an expression is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Memory: a variable, member or item.
    Memory(Memory),
    /// A number or pointer that was computed.
    Number(Number),
    /// `'text'`.
    Text(String),
    /// The name of the current thread.
    Comm,
    /// A stack; `true` for the kernel's.
    Stack(bool),
    /// A predicate.
    Truth(Formula),
    /// Memory with its length in bytes.
    Sized(Box<Self>, Number),
    /// `NULL`.
    Null,
    /// A member that this kernel does not have, written with `?`.
    Missing,
}

/// A typed place in memory: `base + off`.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub base: NodeId,
    pub off: i64,
    pub ty: Ty,
    /// First bit (from `off`) and width of a bitfield.
    pub bitfield: Option<(u32, u8)>,
    pub place: Place,
}

/// A computed number.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub node: NodeId,
    pub ty: Ty,
    /// If it is a pointer: to user memory.
    pub to_user: bool,
    /// If it is a pointer: as declared, from a typed argument.
    pub typed: bool,
}

/// The surroundings of an expression.
pub(super) struct Lower<'a> {
    pub kernel: &'a Kernel,
    pub scope: &'a Scope,
    pub probe: &'a ProbeDef,
    pub columns: &'a [ColumnDef],
    /// Names of columns go before names of arguments: in a predicate, which is about the row.
    pub columns_first: bool,
    pub nodes: &'a mut Nodes,
    /// In a predicate: what must hold because a column that it names is NULL otherwise.
    pub guards: Option<Vec<Formula>>,
    /// Names that are being looked up, so that `sk = "sk"` means the argument and a ring is found out.
    pub active: Vec<String>,
}

type Result<T> = std::result::Result<T, ParseError>;

impl<'a> Lower<'a> {
    /// The value of a whole field, without `entry(..)` around it.
    pub fn field(&mut self, field: &Field) -> Result<Value> {
        match &field.expr.kind {
            Kind::Entry(inner) => self.expr(field, inner),
            _ => self.expr(field, &field.expr),
        }
    }

    pub fn expr(&mut self, field: &Field, expr: &Expr) -> Result<Value> {
        match &expr.kind {
            Kind::Name(name) => self.name(field, name, expr.span),
            Kind::Builtin(builtin) => self.builtin(field, *builtin, expr.span),
            Kind::Retval => match self.register_column("retval", &expr.kind) {
                Some(column) => self.column(field, column, expr.span),
                None => self.retval(field, expr.span),
            },
            Kind::Duration => self.duration(field, expr.span),
            Kind::Int(n) => {
                // As in C: what is written in hexadecimal may be unsigned.
                let written = field.text.get(expr.span.start..expr.span.end).unwrap_or_default();
                let is_hex = written.trim_start_matches(['(', ' ']).to_ascii_lowercase().starts_with("0x");
                let ty = match *n {
                    n if i32::try_from(n).is_ok() => S32,
                    n if is_hex && u32::try_from(n).is_ok() => U32,
                    n if i64::try_from(n).is_ok() => S64,
                    _ => U64,
                };
                Ok(self.number(*n, ty))
            }
            Kind::Text(text) => Ok(Value::Text(text.clone())),
            Kind::Null => Ok(Value::Null),
            Kind::Member { of, name, at, optional } => self.member(field, of, name, *at, *optional),
            Kind::Index { of, index } => self.index(field, of, *index),
            Kind::Cast { to, of } => {
                let ty = cast_type(&self.kernel.btf, to).map_err(|message| field.error(to.span, message))?;
                match self.expr(field, of)? {
                    empty @ (Value::Null | Value::Missing) => Ok(empty),
                    value => {
                        let number = self.read(field, of.span, value)?;
                        self.cast(field, to.span, number, ty)
                    }
                }
            }
            Kind::Typed { of, ty } => {
                let value = self.expr(field, of)?;
                self.typed(field, expr.span, value, ty)?.ok_or_else(|| {
                    let message = "a value in an expression is taken for a number or text: u8..u64, s8..s64, x8..x64, \
                                   bool, string, ustring";
                    field.error(expr.span, message)
                })
            }
            Kind::Sized { of, length } => {
                let of = match self.expr(field, of)? {
                    empty @ (Value::Null | Value::Missing) => return Ok(empty),
                    value => value,
                };
                match self.expr(field, length)? {
                    empty @ (Value::Null | Value::Missing) => Ok(empty),
                    value => {
                        let number = self.read(field, length.span, value)?;
                        if self.is_pointer(&number) {
                            return Err(
                                field.error(length.span, "a length is a number, and this is a pointer")
                            );
                        }
                        Ok(Value::Sized(Box::new(of), number))
                    }
                }
            }
            Kind::Error(of) => self.error_number(field, of),
            Kind::Deref(of) => match self.expr(field, of)? {
                empty @ (Value::Null | Value::Missing) => Ok(empty),
                value => Ok(Value::Memory(self.pointee(field, of.span, value, 0)?)),
            },
            Kind::AddressOf(of) => match self.expr(field, of)? {
                empty @ (Value::Null | Value::Missing) => Ok(empty),
                Value::Memory(memory) if memory.bitfield.is_none() => {
                    let node = self.address(field, of.span, &memory)?;
                    let ty = Ty::Pointer(Box::new(memory.ty));
                    Ok(Value::Number(Number { node, ty, to_user: memory.place.user, typed: false }))
                }
                _ => Err(field.error(of.span, "only something in memory has an address")),
            },
            Kind::Negate(of) => self.negate(field, expr.span, of),
            Kind::Not(_) | Kind::Binary { op: Op::And | Op::Or, .. } => {
                Ok(Value::Truth(self.formula(field, expr)?))
            }
            Kind::Binary { op, left, right } => match op {
                Op::Equal | Op::NotEqual | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual => {
                    Ok(Value::Truth(self.formula(field, expr)?))
                }
                _ => self.arithmetic(field, *op, left, right),
            },
            Kind::Call { function, arguments } => self.call(field, expr.span, *function, arguments),
            Kind::Entry(_) => {
                Err(field.error(expr.span, "entry(..) must be the whole expression of a column"))
            }
        }
    }

    pub fn number(&mut self, value: u64, ty: Ty) -> Value {
        let node = self.nodes.constant(value);
        Value::Number(Number { node, ty, to_user: false, typed: false })
    }

    fn name(&mut self, field: &Field, name: &str, span: Span) -> Result<Value> {
        let probe = self.probe;
        if self.columns_first {
            // The process of the row, if it is another than that in which the probe runs.
            let subject = match name {
                "pid" => probe.pid.as_ref(),
                "tid" => probe.tid.as_ref(),
                _ => None,
            };
            if let Some(value) = subject.filter(|_| !self.is_active("subject", name)) {
                return self.within("subject", name, value);
            }
        }
        let column = self.columns.iter().find(|c| c.name == name);
        if self.columns_first && column.is_some_and(|c| probe.value(c).is_none()) {
            return Ok(Value::Missing);
        }
        let column = column.filter(|c| probe.value(c).is_some() && !self.is_active("column", name));
        if self.columns_first
            && let Some(column) = column
        {
            return self.column(field, column, span);
        }
        if let Some(value) = probe.lets.get(name).filter(|_| !self.is_active("let", name)) {
            return self.within("let", name, value);
        }
        if let Some(arg) = self.scope.args.iter().find(|arg| arg.name == name) {
            let (ty, at) = (arg.ty.clone(), arg.at.clone());
            return self.argument(field, span, ty, at);
        }
        if let Some(column) = column {
            return self.column(field, column, span);
        }
        if let Some(builtin) = Builtin::by_name(name).filter(|b| b.is_plain()) {
            return self.builtin(field, builtin, span);
        }
        Err(field.error(span, self.unknown_name(name)))
    }

    /// In a predicate: the column of a register, which says its type (`retval:s32`).
    fn register_column(&self, name: &str, kind: &Kind) -> Option<&'a ColumnDef> {
        let columns: &'a [ColumnDef] = self.columns;
        let column = columns.iter().filter(|_| self.columns_first).find(|column| column.name == name)?;
        let is_it = self.probe.value(column).is_some_and(|field| field.expr.kind == *kind);
        (is_it && !self.is_active("column", name)).then_some(column)
    }

    /// What a row has in a column: its value, as the column's type holds it.
    fn column(&mut self, field: &Field, column: &ColumnDef, span: Span) -> Result<Value> {
        let probe = self.probe;
        let Some(written) = probe.value(column) else { return Ok(Value::Missing) };
        if self.guards.is_some()
            && let Some(when) = probe.when.get(&column.name)
            && !self.is_active("when", &column.name)
        {
            self.active.push(format!("when{}", column.name));
            let formula = self.predicate(when);
            self.active.pop();
            self.guards.get_or_insert_default().push(formula?);
        }
        let value = match self.within("column", &column.name, written) {
            Err(_) if column.is_optional => return Ok(Value::Missing),
            value => value?,
        };
        match written.ty.as_ref().or(column.ty.as_ref()) {
            Some(ty) => Ok(self.typed(field, span, value.clone(), ty)?.unwrap_or(value)),
            None => Ok(value),
        }
    }

    fn is_active(&self, what: &str, name: &str) -> bool {
        self.active.iter().any(|a| a.strip_prefix(what) == Some(name))
    }

    fn within(&mut self, what: &str, name: &str, value: &Field) -> Result<Value> {
        self.active.push(format!("{what}{name}"));
        let columns_first = std::mem::take(&mut self.columns_first);
        let result = self.field(value);
        self.columns_first = columns_first;
        self.active.pop();
        result
    }

    fn unknown_name(&self, name: &str) -> String {
        let scope = self.scope;
        let args: Vec<&str> = scope.args.iter().map(|a| a.name.as_str()).filter(|n| !n.is_empty()).collect();
        let lets = self.probe.lets.keys().map(String::as_str).filter(|n| *n != name);
        let near = near(name, args.iter().copied().chain(lets));
        let hint = match near.first() {
            Some(first) => format!("did you mean {first}? "),
            None => String::new(),
        };
        let kind = if matches!(scope.mechanism, super::Mechanism::Tracepoint) { "field" } else { "argument" };
        match (args.is_empty(), scope.unnamed_args) {
            (true, true) => {
                format!("{} has no {kind} names: use $arg1 .. $arg{}", scope.target, scope.n_args)
            }
            (true, false) => format!("there is no {name}: {} has no {kind}s", scope.target),
            (false, _) => {
                format!("there is no {kind} {name}: {hint}{} has {}", scope.target, args.join(", "))
            }
        }
    }

    fn argument(&mut self, field: &Field, span: Span, ty: Ty, at: ArgAt) -> Result<Value> {
        match at {
            ArgAt::Register(index) => Ok(self.register(index, ty)),
            ArgAt::Narrow { offset, is_signed } => {
                let base = self.nodes.source(src::ARG, 0);
                let place = Place { user: false, typed: false };
                let load = self.nodes.add(Node::Load { base, off: offset.into(), size: 4, place });
                let is_long = ty.size(&self.kernel.btf) == 8;
                let node = if is_signed && is_long {
                    self.nodes.bits(load, Bits { keep: 32, signed: true, ..Bits::default() })
                } else {
                    load
                };
                let user = self.scope.user_pointers;
                Ok(self.normal(node, ty, user, false))
            }
            ArgAt::Field(offset) => {
                let base = self.nodes.source(src::CTX, 0);
                let place = Place { user: false, typed: false };
                Ok(Value::Memory(Memory { base, off: offset.into(), ty, bitfield: None, place }))
            }
            ArgAt::Located { field: at, relative } => {
                let base = self.nodes.source(src::CTX, 0);
                let place = Place { user: false, typed: false };
                let locator = self.nodes.add(Node::Load { base, off: at.into(), size: 4, place });
                let offset = self.nodes.bits(locator, Bits { keep: 16, ..Bits::default() });
                let off = if relative { i32::from(at) + 4 } else { 0 };
                let node = self.nodes.add(Node::Sum { base, add: Some(offset), off });
                Ok(Value::Memory(Memory { base: node, off: 0, ty, bitfield: None, place }))
            }
            ArgAt::Word(word) => {
                let node = self.nodes.source(src::REG, word);
                Ok(Value::Number(Number { node, ty, to_user: false, typed: false }))
            }
            ArgAt::Mode => Ok(Value::Truth(self.is_user())),
            ArgAt::Operand(argument) => self.noted(field, span, ty, &argument),
            ArgAt::Elsewhere(_) => {
                // It meets no condition, negated or not.
                if let Some(guards) = &mut self.guards {
                    guards.push(Formula::Never);
                }
                Ok(Value::Missing)
            }
            ArgAt::Unreadable(why) => Err(field.error(span, why)),
            ArgAt::Nowhere => Err(field.error(
                span,
                "this argument is not in a register (passed by value as a struct, or on the stack), so it cannot be read",
            )),
        }
    }

    /// What a note says of an argument; `ty` has room for its value, and for those at the probe's other places.
    fn noted(&mut self, field: &Field, span: Span, ty: Ty, argument: &Argument) -> Result<Value> {
        let Argument { size, signed, at } = argument;
        let own = Ty::Int { size: *size, signed: *signed };
        let number = |node| Number { node, ty: ty.clone(), to_user: true, typed: false };
        Ok(Value::Number(match at {
            Operand::Constant(value) => number(self.nodes.constant(*value)),
            Operand::Address(address) => number(self.sum(address)),
            Operand::Register { word, from_bit } => {
                let raw = self.nodes.source(src::REG, *word);
                let keep = if *size < 8 { *size * 8 } else { 0 };
                let signed = *signed && keep != 0;
                number(self.nodes.bits(raw, Bits { rshift: *from_bit, keep, signed, ..Bits::default() }))
            }
            Operand::Memory(address) => {
                let base = self.sum(&Address { offset: 0, ..address.clone() });
                let place = Place { user: true, typed: false };
                let memory = Memory { base, off: address.offset.into(), ty: own, bitfield: None, place };
                number(self.read(field, span, Value::Memory(memory))?.node)
            }
        }))
    }

    /// Whether the processor ran a program, and not the kernel.
    fn is_user(&mut self) -> Formula {
        // Of aarch64 the mode in pstate, EL0 if it is 0; of x86_64 the privilege level in cs, 0 for the kernel.
        let (word, mask, op) =
            if cfg!(target_arch = "aarch64") { (33, 0xf, cmp::EQ) } else { (17, 3, cmp::NE) };
        let left = self.nodes.source(src::REG, word);
        Formula::Compare(Compare { left, mask, op, right: Right::Constant(0) })
    }

    fn sum(&mut self, address: &Address) -> NodeId {
        let mut sum = None;
        for (word, shift) in &address.registers {
            let raw = self.nodes.source(src::REG, *word);
            let add = self.nodes.bits(raw, Bits { lshift: *shift, ..Bits::default() });
            sum = Some(match sum {
                None => add,
                Some(base) => self.nodes.add(Node::Sum { base, add: Some(add), off: 0 }),
            });
        }
        let base = sum.unwrap_or_else(|| self.nodes.constant(0));
        self.nodes.offset(base, address.offset)
    }

    fn register(&mut self, index: u8, ty: Ty) -> Value {
        let btf = &self.kernel.btf;
        let raw = self.nodes.source(src::ARG, index);
        let typed = match ty.shape(btf) {
            Shape::Pointer { to, .. } => to.is_struct(btf),
            _ => false,
        };
        let user = self.scope.user_pointers;
        self.normal(raw, ty, user, typed)
    }

    /// A 64-bit register that holds a value of this type.
    fn normal(&mut self, raw: NodeId, ty: Ty, user: bool, typed: bool) -> Value {
        let node = match ty.shape(&self.kernel.btf) {
            Shape::Int { int, swap } if int.size < 8 => {
                let bits =
                    Bits { keep: int.size * 8, signed: int.signed && swap == 0, swap, ..Bits::default() };
                self.nodes.bits(raw, bits)
            }
            _ => raw,
        };
        Value::Number(Number { node, ty, to_user: user, typed })
    }

    fn retval(&mut self, field: &Field, span: Span) -> Result<Value> {
        match &self.scope.returns {
            Returns::Value(ty) => {
                let raw = self.nodes.source(src::RET, 0);
                let user = matches!(self.scope.mechanism, super::Mechanism::Uretprobe);
                Ok(self.normal(raw, ty.clone(), user, false))
            }
            Returns::Void => Err(field.error(span, format!("{} returns nothing", self.scope.target))),
            Returns::NotHere(reason) => Err(field.error(span, *reason)),
        }
    }

    fn duration(&mut self, field: &Field, span: Span) -> Result<Value> {
        if !self.scope.at_return {
            let message = "dur is known at return only: use fn:, fexit:, kretprobe:, syscall: or uretprobe:";
            return Err(field.error(span, message));
        }
        let node = self.nodes.source(src::DURATION, 0);
        Ok(Value::Number(Number { node, ty: S64, to_user: false, typed: false }))
    }

    fn builtin(&mut self, field: &Field, builtin: Builtin, span: Span) -> Result<Value> {
        let value = match builtin {
            Builtin::Task => {
                let node = self.nodes.source(src::TASK, 0);
                let Some(task) = self.kernel.btf.find("task_struct", BtfKind::Struct) else {
                    return Err(field.error(span, "this kernel does not describe struct task_struct"));
                };
                let ty = Ty::Pointer(Box::new(Ty::Btf(task)));
                Value::Number(Number { node, ty, to_user: false, typed: true })
            }
            Builtin::Item => {
                let Some(each) = &self.probe.each else {
                    return Err(field.error(span, "$item is there with each = { count, array } only"));
                };
                let array = each.array.clone();
                let item = match self.field(&array)? {
                    Value::Number(Number { ty, .. }) | Value::Memory(Memory { ty, .. }) => {
                        match ty.shape(&self.kernel.btf) {
                            Shape::Pointer { to, .. } | Shape::Array { item: to, .. } => to,
                            _ => U64,
                        }
                    }
                    _ => U64,
                };
                let node = self.nodes.source(src::ITEM, 0);
                Value::Number(Number { node, ty: item, to_user: false, typed: false })
            }
            Builtin::Arg(index) => {
                let name = format!("arg{}", index + 1);
                if let Some(column) = self.register_column(&name, &Kind::Builtin(builtin)) {
                    return self.column(field, column, span);
                }
                let arg = self.scope.args.get(usize::from(index)).map(|arg| (arg.ty.clone(), arg.at.clone()));
                match arg {
                    Some((ty, at)) => return self.argument(field, span, ty, at),
                    None if self.scope.unnamed_args && index < self.scope.n_args => {
                        self.register(index, Ty::Register)
                    }
                    None => {
                        let n = if self.scope.unnamed_args {
                            self.scope.n_args.into()
                        } else {
                            self.scope.args.len()
                        };
                        let message = format!("{} has {n} arguments", self.scope.target);
                        return Err(field.error(span, message));
                    }
                }
            }
            Builtin::Comm => Value::Comm,
            Builtin::Pid => self.half(src::PID_TGID, true),
            Builtin::Tid => self.half(src::PID_TGID, false),
            Builtin::Uid => self.half(src::UID_GID, false),
            Builtin::Gid => self.half(src::UID_GID, true),
            Builtin::CgroupId => {
                let node = self.nodes.source(src::CGROUP_ID, 0);
                Value::Number(Number { node, ty: U64, to_user: false, typed: false })
            }
            Builtin::Netns => {
                let path = Field::parse("$task->nsproxy->net_ns->ns.inum")?;
                return self.field(&path);
            }
            Builtin::KernelStack => Value::Stack(true),
            Builtin::UserStack => Value::Stack(false),
            Builtin::Abi => match self.scope.abi {
                Some(abi) => Value::Text(abi.name().to_owned()),
                None => return Err(field.error(span, "$abi is there for syscall: only")),
            },
        };
        Ok(value)
    }

    /// The high or low 32 bits of a source.
    fn half(&mut self, source: u8, high: bool) -> Value {
        let raw = self.nodes.source(source, 0);
        let bits = Bits { rshift: if high { 32 } else { 0 }, keep: 32, ..Bits::default() };
        let node = self.nodes.bits(raw, bits);
        Value::Number(Number { node, ty: Ty::Int { size: 4, signed: false }, to_user: false, typed: false })
    }
}
