//! Types of expressions: from BTF, from a cast, or from the C text in a tracefs format.

use std::sync::Arc;

use schemas::column::Type;
use schemas::expr::{CastType, c_integer};

use crate::kernel::btf::{Btf, Int, Kind, TypeId};

/// The type of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ty {
    /// A type of the kernel, as declared.
    Btf(TypeId),
    /// Made by a cast or `&`.
    Pointer(Box<Self>),
    /// An integer without a name.
    Int { size: u8, signed: bool },
    /// A number of 32 bits with names, as a column's type gives them.
    Enum(Arc<[(i32, String)]>),
    /// A code address that is declared as a plain integer or pointer.
    Code,
    /// A register of which nobody tells what it holds: how wide, and whether signed.
    Register,
    /// `char[N]` in a tracepoint's record; 0 for text elsewhere in it.
    Chars(u16),
    /// An array of something else there.
    Array(Box<Self>, u32),
    /// Bytes elsewhere in the record, as many as its locator says.
    Located,
}

/// What can be done with a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// An integer; `swap` bytes are in network order.
    Int { int: Int, swap: u8 },
    /// A pointer; `user` if it is declared to point to user memory.
    Pointer { to: Ty, user: bool },
    /// A struct or union.
    Struct(TypeId),
    /// An array inside a struct.
    Array { item: Ty, count: u32 },
    /// `char[N]` of a tracepoint's record; 0 for text elsewhere in it.
    Chars(u16),
    /// Bytes elsewhere in a tracepoint's record.
    Located,
    /// `void`, a function, a float.
    Other,
}

/// An unsigned 32-bit integer.
pub(super) const U32: Ty = Ty::Int { size: 4, signed: false };
/// A signed 32-bit integer.
pub(super) const S32: Ty = Ty::Int { size: 4, signed: true };
/// An unsigned 64-bit integer.
pub(super) const U64: Ty = Ty::Int { size: 8, signed: false };
/// A signed 64-bit integer.
pub(super) const S64: Ty = Ty::Int { size: 8, signed: true };

impl Ty {
    pub fn shape(&self, btf: &Btf) -> Shape {
        match self {
            Self::Btf(id) => shape_of(btf, *id),
            Self::Pointer(to) => Shape::Pointer { to: (**to).clone(), user: false },
            Self::Int { size, signed } => {
                Shape::Int { int: Int { size: *size, signed: *signed, boolean: false }, swap: 0 }
            }
            Self::Enum(_) => Shape::Int { int: Int { size: 4, signed: true, boolean: false }, swap: 0 },
            Self::Code | Self::Register => {
                Shape::Int { int: Int { size: 8, signed: false, boolean: false }, swap: 0 }
            }
            Self::Chars(count) => Shape::Chars(*count),
            Self::Array(item, count) => Shape::Array { item: (**item).clone(), count: *count },
            Self::Located => Shape::Located,
        }
    }

    /// The integer that it is.
    pub fn int(&self, btf: &Btf) -> Option<Int> {
        match self.shape(btf) {
            Shape::Int { int, .. } => Some(int),
            _ => None,
        }
    }

    /// Names of its values, if it is an enum.
    pub fn enumerators(&self, btf: &Btf) -> Vec<(String, i64)> {
        match self {
            Self::Btf(id) => btf.enumerators(*id).into_iter().map(|(name, v)| (name.to_owned(), v)).collect(),
            Self::Enum(names) => {
                names.iter().map(|(value, name)| (name.clone(), i64::from(*value))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether it is a function, so that a pointer to it is a code address.
    pub fn is_function(&self, btf: &Btf) -> bool {
        matches!(self, Self::Btf(id) if btf.kind(btf.strip(*id)) == Kind::FuncProto)
    }

    /// As C writes it.
    pub fn c_name(&self, btf: &Btf) -> String {
        match self {
            Self::Btf(id) => btf.c_name(*id),
            Self::Pointer(to) => match to.c_name(btf) {
                name if name.ends_with('*') => format!("{name}*"),
                name => format!("{name} *"),
            },
            Self::Int { size, signed } => {
                format!("{}{}", if *signed { "s" } else { "u" }, u32::from(*size) * 8)
            }
            Self::Enum(_) => "enum".to_owned(),
            Self::Code => "code address".to_owned(),
            Self::Register => "64-bit register".to_owned(),
            Self::Chars(0) => "char[]".to_owned(),
            Self::Chars(count) => format!("char[{count}]"),
            Self::Array(item, count) => format!("{}[{count}]", item.c_name(btf)),
            Self::Located => "bytes of the record".to_owned(),
        }
    }

    /// Bytes of a value.
    pub fn size(&self, btf: &Btf) -> u32 {
        match self {
            Self::Btf(id) => btf.size(*id),
            Self::Pointer(_) => 8,
            Self::Int { size, .. } => u32::from(*size),
            Self::Enum(_) => 4,
            Self::Code | Self::Register => 8,
            Self::Chars(count) => u32::from(*count),
            Self::Array(item, count) => item.size(btf).saturating_mul(*count),
            Self::Located => 0,
        }
    }

    /// Whether it is a struct, to which a program with typed arguments may have pointers.
    pub fn is_struct(&self, btf: &Btf) -> bool {
        matches!(self.shape(btf), Shape::Struct(_))
    }

    /// Whether it is `char`, of which text is made. (`unsigned char`, which `u8` is too, is a byte.)
    pub fn is_char(&self, btf: &Btf) -> bool {
        matches!(self, Self::Btf(id) if btf.name(btf.strip(*id)) == "char")
    }

    /// Whether it is one byte, which is taken for a character if text is asked for.
    pub fn is_byte(&self, btf: &Btf) -> bool {
        self.int(btf).is_some_and(|int| int.size == 1)
    }
}

fn shape_of(btf: &Btf, id: TypeId) -> Shape {
    let stripped = btf.strip(id);
    match btf.kind(stripped) {
        Kind::Int | Kind::Enum | Kind::Enum64 => {
            let Some(int) = btf.int(stripped) else { return Shape::Other };
            let big_endian = btf.chain(id).any(|id| matches!(btf.name(id), "__be16" | "__be32" | "__be64"));
            Shape::Int { int, swap: if big_endian { int.size } else { 0 } }
        }
        Kind::Pointer => {
            let to = btf.target(stripped);
            let user = btf.chain(to).any(|id| btf.kind(id) == Kind::TypeTag && btf.name(id) == "user");
            Shape::Pointer { to: Ty::Btf(to), user }
        }
        Kind::Struct | Kind::Union => Shape::Struct(stripped),
        Kind::Array => {
            let (item, count) = btf.array(stripped).unwrap_or_default();
            Shape::Array { item: Ty::Btf(item), count }
        }
        _ => Shape::Other,
    }
}

/// `enum(kernel NAME)` with the names that this kernel has; without any if it has no such enum, so that numbers stay numbers.
pub(super) fn with_kernel_names(btf: &Btf, ty: &Type) -> Type {
    let Type::KernelEnum(name) = ty else { return ty.clone() };
    let id = [Kind::Enum, Kind::Enum64].into_iter().find_map(|kind| btf.find(name, kind));
    Type::Enum(id.map_or_else(Vec::new, |id| names_of(btf.enumerators(id))))
}

/// Enumerators that a column can hold.
pub(super) fn names_of<T: Into<String>>(enumerators: Vec<(T, i64)>) -> Vec<(i32, String)> {
    enumerators
        .into_iter()
        .filter_map(|(name, value)| Some((i32::try_from(value).ok()?, name.into())))
        .collect()
}

/// The type in a cast; `Err` names what there is near.
pub(super) fn cast_type(btf: &Btf, cast: &CastType) -> Result<Ty, String> {
    let base = named(btf, cast.tag, &cast.name).ok_or_else(|| {
        let kind = cast.tag.unwrap_or("type");
        let kinds: &[Kind] = match cast.tag {
            Some("union") => &[Kind::Union],
            Some("enum") => &[Kind::Enum, Kind::Enum64],
            Some(_) => &[Kind::Struct],
            None => &[Kind::Typedef, Kind::Int],
        };
        let near = schemas::expr::near(&cast.name, kinds.iter().flat_map(|kind| btf.names(*kind)));
        let hint = if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) };
        format!("this kernel has no {kind} {}{hint}", cast.name)
    })?;
    Ok((0..cast.stars).fold(base, |ty, _| Ty::Pointer(Box::new(ty))))
}

fn named(btf: &Btf, tag: Option<&str>, name: &str) -> Option<Ty> {
    let find = |kinds: &[Kind]| kinds.iter().find_map(|kind| btf.find(name, *kind)).map(Ty::Btf);
    match tag {
        Some("struct") => find(&[Kind::Struct, Kind::Forward]),
        Some("union") => find(&[Kind::Union, Kind::Forward]),
        Some(_) => find(&[Kind::Enum, Kind::Enum64]),
        None if name == "void" => Some(Ty::Btf(0)),
        None => find(&[Kind::Typedef, Kind::Int])
            .or_else(|| c_integer(name).map(|(size, signed)| Ty::Int { size, signed })),
    }
}

/// The type in a tracefs format, `const char * const *` for instance; unknown ones become integers of that size.
pub(super) fn from_c(btf: &Btf, text: &str, size: u16, signed: bool) -> Ty {
    let stars = text.matches('*').count();
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c == '*')
        .filter(|word| !matches!(*word, "" | "const" | "volatile" | "__user"))
        .collect();
    let (tag, words) = match words.split_first() {
        Some((&("struct" | "union" | "enum"), rest)) => (Some(words[0]), rest),
        _ => (None, &words[..]),
    };
    match named(btf, tag, &words.join(" ")) {
        Some(base) => (0..stars).fold(base, |ty, _| Ty::Pointer(Box::new(ty))),
        None if stars > 0 => Ty::Pointer(Box::new(Ty::Btf(0))),
        None => Ty::Int { size: size.min(8) as u8, signed },
    }
}
