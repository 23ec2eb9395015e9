//! A type in, its name in C out.

use super::{Btf, Kind, TypeId};

/// Deepest nesting that is written out.
const MAX_NESTING: u32 = 16;

impl Btf {
    /// The type as C writes it: `struct sock *`, `char[16]`.
    pub fn c_name(&self, id: TypeId) -> String {
        self.c_name_below(id, MAX_NESTING)
    }

    fn c_name_below(&self, id: TypeId, depth: u32) -> String {
        let target = |depth: u32| self.c_name_below(self.target(id), depth - 1);
        if depth == 0 {
            return "...".to_owned();
        }
        let named = |tag: &str| match self.name(id) {
            "" => format!("{tag} (anonymous)"),
            name => format!("{tag} {name}"),
        };
        match self.kind(id) {
            Kind::Void => "void".to_owned(),
            Kind::Pointer => {
                let target = target(depth);
                if target.ends_with('*') { format!("{target}*") } else { format!("{target} *") }
            }
            Kind::Array => {
                let (item, count) = self.array(id).unwrap_or_default();
                format!("{}[{count}]", self.c_name_below(item, depth - 1))
            }
            Kind::Struct => named("struct"),
            Kind::Union => named("union"),
            Kind::Enum | Kind::Enum64 => named("enum"),
            Kind::Forward => named("struct"),
            Kind::Const => format!("const {}", target(depth)),
            Kind::Volatile | Kind::Restrict | Kind::TypeTag => target(depth),
            Kind::FuncProto => "function".to_owned(),
            Kind::Int
            | Kind::Typedef
            | Kind::Func
            | Kind::Var
            | Kind::DataSection
            | Kind::Float
            | Kind::DeclTag => self.name(id).to_owned(),
        }
    }
}
