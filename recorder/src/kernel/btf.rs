//! The kernel's own type information (BTF): bytes -> types by number and by name.
//!
//! Only the place of each type is kept; everything else is read from the bytes when asked for, so that opening the
//! 5 MB of a kernel takes a few milliseconds. Numbers out of range, which only a broken file has, read as `void`.
//! Format: <https://docs.kernel.org/bpf/btf.html>.

mod c_name;
mod members;

use std::cell::OnceCell;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

pub use members::Member;

/// Number of a type; 0 is `void`.
pub type TypeId = u32;

/// Where the running kernel has its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// Longest chain of typedefs and qualifiers that is followed; a broken file may have a ring of them.
const MAX_CHAIN: usize = 64;

/// The kinds of types, numbered as in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names of the format")]
pub enum Kind {
    Void = 0,
    Int = 1,
    Pointer = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Forward = 7,
    Typedef = 8,
    Volatile = 9,
    Const = 10,
    Restrict = 11,
    Func = 12,
    FuncProto = 13,
    Var = 14,
    DataSection = 15,
    Float = 16,
    DeclTag = 17,
    TypeTag = 18,
    Enum64 = 19,
}

const KINDS: [Kind; 20] = [
    Kind::Void,
    Kind::Int,
    Kind::Pointer,
    Kind::Array,
    Kind::Struct,
    Kind::Union,
    Kind::Enum,
    Kind::Forward,
    Kind::Typedef,
    Kind::Volatile,
    Kind::Const,
    Kind::Restrict,
    Kind::Func,
    Kind::FuncProto,
    Kind::Var,
    Kind::DataSection,
    Kind::Float,
    Kind::DeclTag,
    Kind::TypeTag,
    Kind::Enum64,
];

/// All types of a kernel.
#[derive(Debug)]
pub struct Btf {
    data: Vec<u8>,
    strings: std::ops::Range<usize>,
    /// Where each type starts in `data`; index = number.
    types: Vec<u32>,
    /// Hash of the name in the high half, number in the low half; sorted.
    by_name: OnceCell<Vec<u64>>,
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    /// Bytes.
    pub size: u8,
    /// Can be negative.
    pub signed: bool,
    /// Is `bool`.
    pub boolean: bool,
}

impl Btf {
    /// The running kernel's types.
    pub fn of_running_kernel() -> Result<Self> {
        Self::read(Path::new(VMLINUX)).context(
            "this kernel does not describe its types (BTF): it must be built with CONFIG_DEBUG_INFO_BTF=y",
        )
    }

    /// The types in a file of raw BTF.
    pub fn read(path: &Path) -> Result<Self> {
        let data = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(data).with_context(|| format!("{} is not BTF that can be used", path.display()))
    }

    /// Find where the types are.
    pub fn parse(data: Vec<u8>) -> Result<Self> {
        ensure!(data.len() >= 24, "it has {} bytes, a header alone has 24", data.len());
        ensure!(data[..2] == MAGIC.to_le_bytes(), "it does not start with eb9f (little-endian)");
        let word = |at: usize| read_u32(&data, at) as usize;
        let header = word(4);
        let section = |offset: usize, len: usize| {
            let start = header.checked_add(offset)?;
            let end = start.checked_add(len)?;
            (end <= data.len()).then_some(start..end)
        };
        let Some(types_at) = section(word(8), word(12)) else { bail!("its type section is cut") };
        let Some(strings) = section(word(16), word(20)) else { bail!("its string section is cut") };
        let mut types = Vec::with_capacity(types_at.len() / 24);
        types.push(u32::MAX);
        let mut at = types_at.start;
        while at + 12 <= types_at.end {
            types.push(at as u32);
            let info = read_u32(&data, at + 4);
            let Some(extra) = extra_bytes(info) else {
                bail!("type {} has an unknown kind", types.len() - 1)
            };
            at += 12 + extra;
        }
        ensure!(at == types_at.end, "its last type is cut");
        Ok(Self { data, strings, types, by_name: OnceCell::new() })
    }

    /// How many types there are, `void` included.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is nothing but `void`.
    pub fn is_empty(&self) -> bool {
        self.types.len() <= 1
    }

    /// Name offset, info and size-or-type of a type.
    fn head(&self, id: TypeId) -> Option<(usize, [u32; 3])> {
        let at = *self.types.get(id as usize)? as usize;
        if id == 0 {
            return None;
        }
        Some((
            at + 12,
            [read_u32(&self.data, at), read_u32(&self.data, at + 4), read_u32(&self.data, at + 8)],
        ))
    }

    /// The kind of a type.
    pub fn kind(&self, id: TypeId) -> Kind {
        self.head(id)
            .map_or(Kind::Void, |(_, [_, info, _])| KINDS[((info >> 24) & 31) as usize % KINDS.len()])
    }

    fn string(&self, offset: u32) -> &str {
        let start = self.strings.start + offset as usize;
        if start >= self.strings.end {
            return "";
        }
        let rest = &self.data[start..self.strings.end];
        let len = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..len]).unwrap_or("")
    }

    /// The name of a type, empty if it has none.
    pub fn name(&self, id: TypeId) -> &str {
        self.head(id).map_or("", |(_, [name, _, _])| self.string(name))
    }

    /// The type that a pointer, typedef, qualifier, tag, function or variable refers to.
    pub fn target(&self, id: TypeId) -> TypeId {
        match self.kind(id) {
            Kind::Pointer
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Func
            | Kind::FuncProto
            | Kind::Var
            | Kind::DeclTag
            | Kind::TypeTag => self.head(id).map_or(0, |(_, [_, _, target])| target),
            _ => 0,
        }
    }

    /// The type without typedefs, qualifiers and tags.
    pub fn strip(&self, id: TypeId) -> TypeId {
        self.chain(id).last().unwrap_or(id)
    }

    /// The type, then what each typedef, qualifier and tag in turn refers to.
    pub fn chain(&self, id: TypeId) -> impl Iterator<Item = TypeId> + '_ {
        std::iter::successors(Some(id), |id| match self.kind(*id) {
            Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                Some(self.target(*id))
            }
            _ => None,
        })
        .take(MAX_CHAIN)
    }

    /// Bytes of a value of this type; 0 for what has none.
    pub fn size(&self, id: TypeId) -> u32 {
        let id = self.strip(id);
        let size = self.head(id).map_or(0, |(_, [_, _, size])| size);
        match self.kind(id) {
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => size,
            Kind::Pointer => 8,
            Kind::Array => self.array(id).map_or(0, |(item, count)| self.size(item).saturating_mul(count)),
            _ => 0,
        }
    }

    /// The integer type behind typedefs and qualifiers; enums count as integers.
    pub fn int(&self, id: TypeId) -> Option<Int> {
        let id = self.strip(id);
        let (at, [_, info, size]) = self.head(id)?;
        match self.kind(id) {
            Kind::Int => {
                let encoding = read_u32(&self.data, at) >> 24;
                Some(Int { size: size as u8, signed: encoding & 1 != 0, boolean: encoding & 4 != 0 })
            }
            Kind::Enum | Kind::Enum64 => {
                Some(Int { size: size as u8, signed: info >> 31 != 0, boolean: false })
            }
            _ => None,
        }
    }

    /// Item type and count of an array.
    pub fn array(&self, id: TypeId) -> Option<(TypeId, u32)> {
        let id = self.strip(id);
        let (at, _) = self.head(id)?;
        (self.kind(id) == Kind::Array).then(|| (read_u32(&self.data, at), read_u32(&self.data, at + 8)))
    }

    /// The type of that name and kind, the first if there are several.
    pub fn find(&self, name: &str, kind: Kind) -> Option<TypeId> {
        let index = self.by_name();
        let hash = hash(name.as_bytes());
        let start = index.partition_point(|entry| (entry >> 32) < u64::from(hash));
        index[start..]
            .iter()
            .take_while(|entry| (*entry >> 32) as u32 == hash)
            .map(|entry| *entry as u32)
            .find(|id| self.kind(*id) == kind && self.name(*id) == name)
    }

    /// Where a variable is that each processor has its own of, in the section of them.
    pub fn per_cpu(&self, name: &str) -> Option<i32> {
        let variable = self.find(name, Kind::Var)?;
        let (at, [_, info, _]) = self.head(self.find(".data..percpu", Kind::DataSection)?)?;
        let places = (0..(info & 0xffff) as usize).map(|i| at + 12 * i);
        let place = places.into_iter().find(|place| read_u32(&self.data, *place) == variable)?;
        i32::try_from(read_u32(&self.data, place + 4)).ok()
    }

    /// Names of all types of that kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        (1..self.types.len() as u32).filter(move |id| self.kind(*id) == kind).map(|id| self.name(id))
    }

    fn by_name(&self) -> &[u64] {
        self.by_name.get_or_init(|| {
            let named = |id: TypeId| {
                let (_, [name, _, _]) = self.head(id)?;
                (name != 0).then(|| u64::from(hash(self.string(name).as_bytes())) << 32 | u64::from(id))
            };
            let mut index: Vec<u64> = (1..self.types.len() as u32).filter_map(named).collect();
            index.sort_unstable();
            index
        })
    }
}

/// Bytes of a type behind its 12 common ones.
fn extra_bytes(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    let kind = KINDS.get(((info >> 24) & 31) as usize)?;
    Some(match kind {
        Kind::Int | Kind::Var | Kind::DeclTag => 4,
        Kind::Array => 12,
        Kind::Struct | Kind::Union | Kind::DataSection | Kind::Enum64 => 12 * count,
        Kind::Enum | Kind::FuncProto => 8 * count,
        Kind::Pointer
        | Kind::Forward
        | Kind::Typedef
        | Kind::Volatile
        | Kind::Const
        | Kind::Restrict
        | Kind::Func
        | Kind::Float
        | Kind::TypeTag => 0,
        Kind::Void => return None,
    })
}

fn read_u32(data: &[u8], at: usize) -> u32 {
    data.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

/// FNV-1a: short names, no hostile input.
pub(super) fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
