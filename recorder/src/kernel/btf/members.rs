//! A type in, what it is made of out: members, enumerators, parameters.

use super::{Btf, Kind, TypeId, read_u32};

/// Deepest nesting of anonymous structs and unions.
const MAX_NESTING: u32 = 16;

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Empty for an anonymous struct or union.
    pub name: &'a str,
    /// Its type.
    pub ty: TypeId,
    /// Bits from the start of the struct that was asked.
    pub bit_offset: u32,
    /// Width if it is a bitfield, else 0.
    pub bits: u8,
}

impl Btf {
    /// Members of a struct or union as declared, anonymous ones included.
    pub fn members(&self, id: TypeId) -> impl Iterator<Item = Member<'_>> + '_ {
        let id = self.strip(id);
        let composite = matches!(self.kind(id), Kind::Struct | Kind::Union);
        let (at, info) = self.head(id).map_or((0, 0), |(at, [_, info, _])| (at, info));
        let has_bitfields = info >> 31 != 0;
        let count = if composite { info & 0xffff } else { 0 };
        (0..count as usize).map(move |i| {
            let [name, ty, offset] = [0, 4, 8].map(|field| read_u32(&self.data, at + 12 * i + field));
            let (bit_offset, bits) =
                if has_bitfields { (offset & 0xff_ffff, (offset >> 24) as u8) } else { (offset, 0) };
            Member { name: self.string(name), ty, bit_offset, bits }
        })
    }

    /// The member of that name, searched for in anonymous structs and unions too.
    pub fn member(&self, id: TypeId, name: &str) -> Option<Member<'_>> {
        self.member_below(id, name, MAX_NESTING)
    }

    fn member_below(&self, id: TypeId, name: &str, depth: u32) -> Option<Member<'_>> {
        self.members(id).find_map(|member| {
            if member.name == name {
                return Some(member);
            }
            if !member.name.is_empty() || depth == 0 {
                return None;
            }
            let inner = self.member_below(member.ty, name, depth - 1)?;
            Some(Member { bit_offset: member.bit_offset + inner.bit_offset, ..inner })
        })
    }

    /// Names of all members, those of anonymous structs and unions included.
    pub fn member_names(&self, id: TypeId) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect_names(id, &mut names, MAX_NESTING);
        names
    }

    fn collect_names<'a>(&'a self, id: TypeId, names: &mut Vec<&'a str>, depth: u32) {
        for member in self.members(id) {
            if !member.name.is_empty() {
                names.push(member.name);
            } else if depth > 0 {
                self.collect_names(member.ty, names, depth - 1);
            }
        }
    }

    /// Names and values of an enum.
    pub fn enumerators(&self, id: TypeId) -> Vec<(&str, i64)> {
        let id = self.strip(id);
        let Some((at, [_, info, _])) = self.head(id) else { return Vec::new() };
        let wide = match self.kind(id) {
            Kind::Enum => false,
            Kind::Enum64 => true,
            _ => return Vec::new(),
        };
        let signed = info >> 31 != 0;
        let value = |at: usize| {
            let low = read_u32(&self.data, at + 4);
            match (wide, signed) {
                (true, _) => (u64::from(read_u32(&self.data, at + 8)) << 32 | u64::from(low)) as i64,
                (false, true) => i64::from(low as i32),
                (false, false) => i64::from(low),
            }
        };
        let step = if wide { 12 } else { 8 };
        (0..(info & 0xffff) as usize)
            .map(|i| at + step * i)
            .map(|at| (self.string(read_u32(&self.data, at)), value(at)))
            .collect()
    }

    /// Parameters (name, type) and return type of a function or function prototype.
    pub fn prototype(&self, id: TypeId) -> Option<(Vec<(&str, TypeId)>, TypeId)> {
        let id = if self.kind(id) == Kind::Func { self.target(id) } else { id };
        let (at, [_, info, returns]) = self.head(id)?;
        (self.kind(id) == Kind::FuncProto).then(|| {
            let params = (0..(info & 0xffff) as usize)
                .map(|i| at + 8 * i)
                .map(|at| (self.string(read_u32(&self.data, at)), read_u32(&self.data, at + 4)))
                .collect();
            (params, returns)
        })
    }
}
