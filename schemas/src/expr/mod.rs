//! Expressions over kernel memory: text -> [`Expr`], [`Field`] or [`Probe`]; what they mean is `recorder::resolve`'s
//! business.
//!
//! The grammar is the kernel's own BTF event grammar, so a line can be pasted from tracefs:
//! ```text
//! probe   := [NAME '='] KIND ':' TARGET [ '{' field (',' field)* '}' ] [ 'if' expr ]
//! field   := [NAME '='] expr [':' type]
//! expr    := or of ands of comparisons (== != < <= > >=) of & of << >> of + - of * of unary
//! unary   := ('*' | '&' | '!' | '-' | '(' type '*'* ')') unary | operand
//! operand := postfix [':' type]
//! postfix := base ( ('->' | '.') MEMBER ['?'] | '[' INT ']' )*
//! base    := NAME | $NAME | retval | dur | INT | 'text' | "text" | NULL | entry '(' expr ')' | err '(' expr ')'
//!          | '(' expr ')' | FUNCTION '(' expr (',' expr)* ')'
//! ```
//! An INT may be a time, as `10ms` (ns, us, ms, s): so many nanoseconds.
//! A `:type` that ends a field is the field's; in a predicate, in parentheses and before an operator it is the operand's.
//! The type of bytes may say how many of them there are, as in `buf:ubytes[64; count]`: the length is an expr.
//! `->` and `.` mean the same: the type decides whether a pointer is followed. Unlike in C, `&` binds tighter than a
//! comparison, so `flags & 4 == 4` means what it says.

mod c_integer;
mod error;
mod lex;
mod parse;
mod probe;
mod sampling;

pub use c_integer::c_integer;
pub use error::{ParseError, Span, near};
pub use probe::{Probe, ProbeKind, Target};
pub use sampling::{HARDWARE_EVENTS, SOFTWARE_EVENTS, Sampling, UNITS};

use crate::column::Type;
use crate::context::own_name;

/// An expression and where it stands in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An argument, a `let`, a column, or a builtin without its `$`.
    Name(String),
    /// `$task` and its like.
    Builtin(Builtin),
    /// The return value.
    Retval,
    /// Nanoseconds from entry to return.
    Duration,
    /// An integer.
    Int(u64),
    /// `'text'` or `"text"`.
    Text(String),
    /// No value.
    Null,
    /// `of->name`; with `?` it is NULL on kernels that lack the member.
    Member {
        /// The struct or the pointer to it.
        of: Box<Expr>,
        /// The member.
        name: String,
        /// Where the member's name stands.
        at: Span,
        /// Written `name?`.
        optional: bool,
    },
    /// `of[index]`.
    Index {
        /// The array or pointer.
        of: Box<Expr>,
        /// Which item.
        index: u32,
    },
    /// `(struct X *)of` or `(int)of`.
    Cast {
        /// The type.
        to: CastType,
        /// What is cast.
        of: Box<Expr>,
    },
    /// `of:ty` within an expression: `of` taken for that type.
    Typed {
        /// What is typed.
        of: Box<Expr>,
        /// Its type.
        ty: Type,
    },
    /// `of:bytes[N; length]`: memory of which `length` bytes belong to the value.
    Sized {
        /// Where they are.
        of: Box<Expr>,
        /// How many.
        length: Box<Expr>,
    },
    /// `*of`.
    Deref(Box<Expr>),
    /// `&of`.
    AddressOf(Box<Expr>),
    /// `!of`.
    Not(Box<Expr>),
    /// `-of`.
    Negate(Box<Expr>),
    /// `left op right`.
    Binary {
        /// The operator.
        op: Op,
        /// Its left side.
        left: Box<Expr>,
        /// Its right side.
        right: Box<Expr>,
    },
    /// `entry(of)`: read when the function is entered, although the probe is at its return.
    Entry(Box<Expr>),
    /// `err(of)`: the negative error number that a pointer or number carries, 0 if it carries none.
    Error(Box<Expr>),
    /// `ip_proto(skb)` and its like.
    Call {
        /// The function.
        function: Function,
        /// What it is given.
        arguments: Vec<Expr>,
    },
}

/// Functions of packets: what is behind the IP header of a `struct sk_buff *`. A second argument says where that header
/// is, if not where the packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `ip_proto`: number of the upper-layer protocol.
    IpProto,
    /// `ip_upper`: address of the upper-layer header.
    IpUpper,
    /// `ip_state`: whether it is there, or why not.
    IpState,
}

/// Names of the functions.
pub const FUNCTIONS: &[(&str, Function)] =
    &[("ip_proto", Function::IpProto), ("ip_upper", Function::IpUpper), ("ip_state", Function::IpState)];

impl Function {
    /// The function of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        FUNCTIONS.iter().find(|(n, _)| *n == name).map(|(_, function)| *function)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, f)| *f == self).map_or("", |(name, _)| name)
    }
}

/// The type in a cast: a pointer or an integer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CastType {
    /// `struct`, `union`, `enum`, or none for a typedef or an integer.
    pub tag: Option<&'static str>,
    /// Name of the type pointed to.
    pub name: String,
    /// Number of `*`; 0 for an integer.
    pub stars: u8,
    /// Where it stands.
    pub span: Span,
}

/// Values that every event has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// `$task`: `struct task_struct *` of the current thread.
    Task,
    /// `$item`: the current array item of an `each` source.
    Item,
    /// `$argN`, counted from 0 here and from 1 in the text.
    Arg(u8),
    /// `$comm`: name of the current thread.
    Comm,
    /// `$pid`: the current process.
    Pid,
    /// `$tid`: the current thread.
    Tid,
    /// `$uid`: real user of the current thread.
    Uid,
    /// `$gid`: real group of the current thread.
    Gid,
    /// `$cgroup_id`: cgroup v2 id of the current thread.
    CgroupId,
    /// `$netns`: network namespace of the current thread.
    Netns,
    /// `$kstack`: the kernel stack.
    KernelStack,
    /// `$ustack`: the user stack.
    UserStack,
    /// `$abi`: by which entry a system call came ([`ABIS`]).
    Abi,
}

/// Values of `$abi`: the 64-bit entry and whatever shares it, the 32-bit entry of x86 or Arm, entries for x32 alone.
pub const ABIS: [&str; 4] = ["native", "ia32", "x32", "aarch32"];

/// Names of the builtins, as written after the `$`; `argN` comes on top.
pub const BUILTINS: &[(&str, Builtin)] = &[
    ("task", Builtin::Task),
    ("item", Builtin::Item),
    ("comm", Builtin::Comm),
    ("pid", Builtin::Pid),
    ("tid", Builtin::Tid),
    ("uid", Builtin::Uid),
    ("gid", Builtin::Gid),
    ("cgroup_id", Builtin::CgroupId),
    ("netns", Builtin::Netns),
    ("kstack", Builtin::KernelStack),
    ("ustack", Builtin::UserStack),
    ("abi", Builtin::Abi),
];

impl Builtin {
    /// Whether it may be written without `$` where no argument has its name.
    pub fn is_plain(self) -> bool {
        match self {
            Self::Comm | Self::Pid | Self::Tid | Self::Uid | Self::Gid | Self::CgroupId | Self::Netns => true,
            Self::KernelStack | Self::UserStack => true,
            Self::Task | Self::Item | Self::Arg(_) | Self::Abi => false,
        }
    }

    /// The builtin of that name, without `$`.
    pub fn by_name(name: &str) -> Option<Self> {
        if let Some(&(_, builtin)) = BUILTINS.iter().find(|(n, _)| *n == name) {
            return Some(builtin);
        }
        let number: u8 = name.strip_prefix("arg")?.parse().ok()?;
        number.checked_sub(1).map(Self::Arg)
    }
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    BitAnd,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
}

/// An expression with its text and, after `:`, its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As written; the spans of `expr` point into it.
    pub text: String,
    /// The expression.
    pub expr: Expr,
    /// The type, if it was written.
    pub ty: Option<Type>,
}

impl Field {
    /// Read `expr [':' type]`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::field(text)
    }

    /// Read an expression that holds or does not hold: a `:type` in it is that of an operand.
    pub fn parse_predicate(text: &str) -> Result<Self, ParseError> {
        parse::predicate(text)
    }

    /// An error at a place of this field's text.
    pub fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(&self.text, span, message)
    }
}

impl Expr {
    /// Whether `test` holds for this expression or for one inside it.
    pub fn any(&self, test: &mut impl FnMut(&Self) -> bool) -> bool {
        if test(self) {
            return true;
        }
        match &self.kind {
            Kind::Name(_)
            | Kind::Builtin(_)
            | Kind::Retval
            | Kind::Duration
            | Kind::Int(_)
            | Kind::Text(_)
            | Kind::Null => false,
            Kind::Member { of, .. }
            | Kind::Index { of, .. }
            | Kind::Cast { of, .. }
            | Kind::Typed { of, .. }
            | Kind::Deref(of)
            | Kind::AddressOf(of)
            | Kind::Not(of)
            | Kind::Negate(of)
            | Kind::Error(of)
            | Kind::Entry(of) => of.any(test),
            Kind::Binary { left, right, .. } => left.any(test) || right.any(test),
            Kind::Sized { of, length } => of.any(test) || length.any(test),
            Kind::Call { arguments, .. } => arguments.iter().any(|argument| argument.any(test)),
        }
    }

    /// The name that a column of this expression has by default: its last identifier, that of a member so that it does
    /// not take the place of a [context column](crate::context).
    pub fn default_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Name(name) => Some(name.clone()),
            Kind::Member { name, .. } => Some(own_name(name)),
            Kind::Builtin(Builtin::Arg(n)) => Some(format!("arg{}", n + 1)),
            Kind::Builtin(builtin) => {
                BUILTINS.iter().find(|(_, b)| b == builtin).map(|(name, _)| (*name).to_owned())
            }
            Kind::Retval => Some("retval".to_owned()),
            Kind::Duration => Some("dur_ns".to_owned()),
            Kind::Call { function, .. } => Some(function.name().to_owned()),
            Kind::Index { of, .. }
            | Kind::Cast { of, .. }
            | Kind::Typed { of, .. }
            | Kind::Sized { of, .. }
            | Kind::Deref(of)
            | Kind::AddressOf(of)
            | Kind::Entry(of) => of.default_name(),
            Kind::Error(_) => Some("err".to_owned()),
            Kind::Int(_)
            | Kind::Text(_)
            | Kind::Null
            | Kind::Not(_)
            | Kind::Negate(_)
            | Kind::Binary { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
