//! Types of expressions: from BTF, from a cast, or from the C text in a tracefs format.

use schemas::expr::CastType;

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
    /// `char[N]` in a tracepoint's record.
    Chars(u16),
    /// An array of something else there.
    Bytes(u16),
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
    /// `char[N]` or other bytes of a tracepoint's record.
    Bytes { count: u16, text: bool },
    /// `void`, a function, a float.
    Other,
}

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
            Self::Chars(count) => Shape::Bytes { count: *count, text: true },
            Self::Bytes(count) => Shape::Bytes { count: *count, text: false },
        }
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
            Self::Chars(count) => format!("char[{count}]"),
            Self::Bytes(count) => format!("{count} bytes"),
        }
    }

    /// Bytes of a value.
    pub fn size(&self, btf: &Btf) -> u32 {
        match self {
            Self::Btf(id) => btf.size(*id),
            Self::Pointer(_) => 8,
            Self::Int { size, .. } => u32::from(*size),
            Self::Chars(count) | Self::Bytes(count) => u32::from(*count),
        }
    }

    /// Whether it is a struct, to which a program with typed arguments may have pointers.
    pub fn is_struct(&self, btf: &Btf) -> bool {
        matches!(self.shape(btf), Shape::Struct(_))
    }

    /// Whether it is `char`, of which text is made.
    pub fn is_char(&self, btf: &Btf) -> bool {
        match self {
            Self::Btf(id) => matches!(btf.name(btf.strip(*id)), "char" | "unsigned char" | "signed char"),
            Self::Int { size, .. } => *size == 1,
            Self::Pointer(_) | Self::Chars(_) | Self::Bytes(_) => false,
        }
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
        None => find(&[Kind::Typedef, Kind::Int]).or_else(|| basic(name)),
    }
}

/// Integers that C writes in several ways, and that BTF may not name.
fn basic(name: &str) -> Option<Ty> {
    let (size, signed) = match name {
        "void" => return Some(Ty::Btf(0)),
        "bool" | "_Bool" | "u8" | "unsigned char" => (1, false),
        "s8" | "char" | "signed char" => (1, true),
        "u16" | "unsigned short" => (2, false),
        "s16" | "short" => (2, true),
        "u32" | "unsigned" | "unsigned int" => (4, false),
        "s32" | "int" => (4, true),
        "u64" | "unsigned long" | "unsigned long long" => (8, false),
        "s64" | "long" | "long long" => (8, true),
        _ => return None,
    };
    Some(Ty::Int { size, signed })
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
