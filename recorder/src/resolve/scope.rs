//! What expressions can refer to at one probe point: its arguments, its result, where memory is.

use schemas::def::ProbeDef;
use schemas::expr::Target;

use super::Mechanism;
use super::types::Ty;
use super::ways::Abi;
use crate::user::Place;
use crate::user::operand::Argument;

/// Arguments that an entry program keeps.
const STASHED_ARGS: u8 = 6;

/// A probe point as one mechanism offers it.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub mechanism: Mechanism,
    /// What is attached to: function, tracepoint, `category:name`, `path:symbol`.
    pub target: String,
    /// As C writes it, for `--explain`.
    pub prototype: String,
    pub args: Vec<Arg>,
    /// `$argN` beyond `args`, as registers of which nobody tells the type.
    pub unnamed_args: bool,
    pub returns: Returns,
    /// Pointers in arguments point to user memory.
    pub user_pointers: bool,
    /// Arguments are kept by an entry program.
    pub stash_args: bool,
    pub syscall_regs: bool,
    /// By which entry the system call comes, if it is one.
    pub abi: Option<Abi>,
    pub n_args: u8,
    pub btf_id: Option<u32>,
    /// Where a probe in user space is.
    pub user: Option<Place>,
    /// Runs when the function has returned.
    pub at_return: bool,
}

/// An argument, or a field of a classic tracepoint.
#[derive(Clone, Debug)]
pub(super) struct Arg {
    /// As expressions and columns have it: no [context name](schemas::context).
    pub name: String,
    pub ty: Ty,
    pub at: ArgAt,
}

#[derive(Clone, Debug)]
pub(super) enum ArgAt {
    /// Argument number.
    Register(u8),
    /// Bytes from the start of the record.
    Field(u16),
    /// Text elsewhere in the record; the locator is at these bytes, and counts from the end of the locator if `relative`.
    Located { field: u16, relative: bool },
    /// The low 32 bits of a register of the `struct pt_regs` that the first argument points to, at this offset; with its
    /// sign if a 64-bit integer has one.
    Narrow { offset: u16, is_signed: bool },
    /// A word of the context.
    Word(u8),
    /// Whether the registers of the context are those of a program, and not the kernel's.
    Mode,
    /// Where the note of a probe that a program has built in says.
    Operand(Argument),
    /// Cannot be had here, for this reason, but at other places of the same probe; so it is NULL.
    Elsewhere(String),
    /// Cannot be had at any place of the probe, for this reason.
    Unreadable(String),
    /// Cannot be had: a struct passed by value, or on the stack.
    Nowhere,
}

#[derive(Clone, Debug)]
pub(super) enum Returns {
    /// Not known here, for this reason.
    NotHere(&'static str),
    Void,
    Value(Ty),
}

impl Scope {
    /// A scope without arguments.
    pub fn new(mechanism: Mechanism, target: &str) -> Self {
        Self {
            mechanism,
            target: target.to_owned(),
            prototype: target.to_owned(),
            args: Vec::new(),
            unnamed_args: false,
            returns: Returns::NotHere("retval is known at return only: use fn:, fexit: or kretprobe:"),
            user_pointers: false,
            stash_args: false,
            syscall_regs: false,
            abi: None,
            n_args: 0,
            btf_id: None,
            user: None,
            at_return: false,
        }
    }

    /// Whether notes of the program say where its arguments are.
    pub fn is_noted(&self) -> bool {
        let is_noted =
            |arg: &Arg| matches!(arg.at, ArgAt::Operand(_) | ArgAt::Elsewhere(_) | ArgAt::Unreadable(_));
        self.args.iter().any(is_noted)
    }

    /// This scope when the arguments come from the entry program, which keeps the first ones only.
    pub fn with_stashed_args(&self) -> Self {
        let mut scope = self.clone();
        for arg in &mut scope.args {
            if matches!(arg.at, ArgAt::Register(index) if index >= STASHED_ARGS) {
                arg.at = ArgAt::Nowhere;
            }
        }
        scope
    }

    /// The scope of the program that runs when the function is entered.
    pub fn at_entry(&self) -> Self {
        Self {
            returns: Returns::NotHere("retval is not known yet when the function is entered"),
            stash_args: false,
            at_return: false,
            ..self.clone()
        }
    }
}

/// How a probe point was refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The probe as written, and the mechanism if there are several.
    pub probe: String,
    pub reason: String,
}

impl Refusal {
    pub fn of(target: &Target, mechanism: Mechanism, reason: impl Into<String>) -> Self {
        Self { probe: format!("{target} ({mechanism})"), reason: reason.into() }
    }
}

/// A probe of a definition and the mechanisms that may observe it or why they cannot, best first.
pub(super) struct Offer<'a> {
    pub probe: &'a ProbeDef,
    pub ways: Vec<Result<Scope, Refusal>>,
}

impl Offer<'_> {
    /// The mechanisms that may observe it.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.ways.iter().filter_map(|way| way.as_ref().ok())
    }
}
