//! The ways into a system call beside its 64-bit entry: which functions serve them, and which ways nothing can observe.
//!
//! A 32-bit program, and `int $0x80` of a 64-bit one, enter by functions of their own (`__ia32_sys_mkdir`), some calls
//! of x32 programs too. They read the arguments from other registers of `struct pt_regs`, and 32 bits of each. Requests
//! of io_uring enter below the system call, each at a function of its own.

use schemas::def::{EventDef, ProbeDef, SourceDef};
use schemas::expr::{ProbeKind, Target};

use super::points::{check_function, function, syscall_arguments};
use super::scope::{ArgAt, Offer, Refusal, Returns, Scope};
use super::types::{S64, Shape, Ty};
use super::{Mechanism, Unobserved};
use crate::kernel::btf::Kind;
use crate::kernel::{FunctionSymbol, Kernel};

mod tables;

use tables::{OF_IPC, OF_SOCKETCALL, OTHER_ARGUMENTS, OTHER_NAMES, operation};

/// By which entry a system call comes; the text is the value of `$abi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    Native,
    Ia32,
    X32,
    Aarch32,
}

impl Abi {
    pub fn name(self) -> &'static str {
        schemas::expr::ABIS[self as usize]
    }

    /// Where `struct pt_regs` has the arguments, in bytes.
    fn registers(self) -> [u16; 6] {
        match self {
            // bx cx dx si di bp
            Self::Ia32 => [40, 88, 96, 104, 112, 32],
            // di si dx r10 r8 r9
            Self::Native | Self::X32 => [112, 104, 96, 56, 72, 64],
            Self::Aarch32 => [0, 8, 16, 24, 32, 40],
        }
    }

    /// Who comes by it.
    fn callers(self) -> &'static str {
        match self {
            Self::Native => "64-bit programs",
            Self::Ia32 => "32-bit programs (and int 0x80)",
            Self::X32 => "x32 programs",
            Self::Aarch32 => "32-bit programs",
        }
    }
}

/// A source, or one more place where calls of a source's system call enter.
pub(super) struct Place<'a> {
    pub name: String,
    pub optional: bool,
    /// Of one more place: what is not observed without it.
    pub way: Option<String>,
    pub offers: Vec<Offer<'a>>,
    /// What no place observes.
    pub unobserved: Vec<Unobserved>,
}

/// The places of `source`, its own first.
pub(super) fn places<'a>(kernel: &Kernel, def: &EventDef, source: &'a SourceDef) -> Vec<Place<'a>> {
    let mut offers: Vec<Offer<'a>> =
        source.probes.iter().map(|probe| super::points::offer(kernel, probe)).collect();
    let more = more_places(&mut offers);
    // What the kernel's io_uring cannot be asked for, nobody asks for.
    if source.covers.as_ref().is_some_and(|operation| !has_operation(kernel, operation)) {
        return Vec::new();
    }
    let own = Place {
        name: source.name.clone(),
        optional: source.optional,
        way: source.covers.as_ref().map(|operation| format!("requests of io_uring ({operation})")),
        offers,
        unobserved: Vec::new(),
    };
    let mut places = vec![own];
    // Their arguments are found in other ways, so that each takes a program of its own.
    places.extend((2..).zip(more).map(|(number, offer)| Place {
        name: format!("{} {number}", source.name),
        optional: source.optional,
        way: None,
        offers: vec![offer],
        unobserved: Vec::new(),
    }));
    // Beside another kind of probe, which may see all ways at once, more places would see some calls twice.
    let [probe] = source.probes.as_slice() else { return places };
    if probe.on.kind != ProbeKind::Syscall {
        return places;
    }
    let call = probe.on.name.as_str();
    let covered: Vec<&str> = def.sources.iter().filter_map(|source| source.covers.as_deref()).collect();
    places[0].unobserved = unobserved(kernel, call, &covered);
    for Entry { function, abi, is_compat } in entries(kernel, call) {
        let suffix = function.rsplit_once("sys_").map_or("", |(_, name)| name);
        let also = suffix.strip_prefix(call).map_or("", |rest| rest.trim_start_matches('_'));
        let name = format!("{} {} {also}", source.name, abi.name());
        let ways = [Mechanism::Fexit, Mechanism::Kretprobe]
            .map(|mechanism| entry_scope(kernel, mechanism, call, &function, abi, is_compat))
            .into_iter()
            .zip([Mechanism::Fexit, Mechanism::Kretprobe])
            .map(|(scope, mechanism)| {
                let target = Target { kind: ProbeKind::Function, name: function.clone() };
                scope.map_err(|reason| Refusal::of(&target, mechanism, reason))
            })
            .collect();
        places.push(Place {
            name: name.trim_end().to_owned(),
            optional: true,
            way: Some(format!("{call} of {}", abi.callers())),
            offers: vec![Offer { probe, ways }],
            unobserved: Vec::new(),
        });
    }
    places
}

/// All places but the first of the first probe that has any; of other probes nothing is known about that.
fn more_places<'a>(offers: &mut [Offer<'a>]) -> Vec<Offer<'a>> {
    let is_built_in = |offer: &Offer<'_>| offer.probe.on.kind == ProbeKind::Usdt && offer.ways.len() > 1;
    let first = offers.iter().position(|offer| offer.scopes().next().is_some());
    let mut more = Vec::new();
    for (i, offer) in offers.iter_mut().enumerate().filter(|(_, offer)| is_built_in(offer)) {
        if Some(i) == first {
            let others = offer.ways.split_off(1).into_iter();
            more.extend(others.map(|way| Offer { probe: offer.probe, ways: vec![way] }));
        } else {
            let reason =
                "it has places with arguments of their own, so it cannot be an alternative to another probe";
            offer.ways = vec![Err(Refusal::of(&offer.probe.on, Mechanism::Uprobe, reason))];
        }
    }
    more
}

/// What a probe that is attached by `mechanism` does not see of what it is to see.
pub(super) fn misses(kernel: &Kernel, probe: &ProbeDef, mechanism: Mechanism) -> Vec<Unobserved> {
    let mut misses: Vec<Unobserved> = probe
        .misses
        .iter()
        .map(|what| Unobserved { what: what.clone(), why: format!("{} does not show them", probe.on) })
        .collect();
    let silent = |what: String| Unobserved {
        what,
        why: "the kernel's tracepoints of system calls are silent for them".to_owned(),
    };
    match (probe.on.kind, mechanism) {
        (ProbeKind::Syscall, Mechanism::SyscallTracepoints) if has_x32(kernel) => {
            misses.push(silent(format!("{} of {}", probe.on.name, Abi::X32.callers())));
        }
        (ProbeKind::Tracepoint, Mechanism::Tracepoint) => {
            let call = probe.on.name.strip_prefix("syscalls:sys_");
            let call =
                call.and_then(|rest| rest.strip_prefix("enter_").or_else(|| rest.strip_prefix("exit_")));
            let Some(call) = call else { return misses };
            let abis = [(has_32_bit(kernel), compat_abi(kernel)), (has_x32(kernel), Abi::X32)];
            misses.extend(
                abis.iter()
                    .filter(|(is, _)| *is)
                    .map(|(_, abi)| silent(format!("{call} of {}", abi.callers()))),
            );
            misses.extend(io_uring(kernel, call, &[]));
        }
        _ => {}
    }
    misses
}

/// A function by which calls enter.
struct Entry {
    function: String,
    abi: Abi,
    /// It has a prototype of its own, whose `long` has 32 bits.
    is_compat: bool,
}

/// The functions by which `call` is entered beside the 64-bit one, and with the same arguments in the same order.
fn entries(kernel: &Kernel, call: &str) -> Vec<Entry> {
    let abi = compat_abi(kernel);
    let (plain, compat) = match abi {
        // The 64-bit functions serve 32-bit programs too.
        Abi::Aarch32 => (None, "__arm64_compat_sys_"),
        _ => (Some("__ia32_sys_"), "__ia32_compat_sys_"),
    };
    let exists = |name: &String| kernel.function(name) == FunctionSymbol::Unique;
    let mut entries = Vec::new();
    let mut add = |function: String, abi: Abi, is_compat: bool| {
        if exists(&function) {
            entries.push(Entry { function, abi, is_compat });
        }
    };
    let own = format!("{compat}{call}");
    if is_other(kernel, call) {
        // Its arguments are not those of `call`.
    } else if exists(&own) {
        add(own, abi, true);
    } else if let Some(plain) = plain {
        add(format!("{plain}{call}"), abi, false);
    }
    // Those with times of 32 and of 64 bits.
    for name in [format!("{call}32"), format!("{call}_time32"), format!("{call}_time64")] {
        if let Some(plain) = plain {
            add(format!("{plain}{name}"), abi, false);
        }
        add(format!("{compat}{name}"), abi, true);
    }
    add(format!("__x32_compat_sys_{call}"), Abi::X32, true);
    entries
}

/// What of `call` no place of it observes.
fn unobserved(kernel: &Kernel, call: &str, covered: &[&str]) -> Vec<Unobserved> {
    let mut all = Vec::new();
    let abi = compat_abi(kernel);
    if has_32_bit(kernel) {
        let mut add = |how: &str, why: &str| {
            all.push(Unobserved { what: format!("{call} of {}{how}", abi.callers()), why: why.to_owned() });
        };
        if is_other(kernel, call) {
            add("", "their system call has other arguments");
        }
        if let Some((_, other)) = OTHER_NAMES.iter().find(|(name, _)| *name == call) {
            add(&format!(" by {other}"), "it is a system call of its own");
        }
        if kernel.function(&format!("__ia32_sys_{call}16")) != FunctionSymbol::Missing {
            add(&format!(" by {call}16"), "its arguments have 16 bits");
        }
        if OF_SOCKETCALL.contains(&call) {
            add(" by socketcall", "socketcall is a system call of its own: syscall:socketcall");
        }
        if OF_IPC.contains(&call) {
            add(" by ipc", "ipc is a system call of its own: syscall:ipc");
        }
    }
    all.extend(io_uring(kernel, call, covered));
    all
}

/// Whether 32-bit programs enter `call` by a function with other arguments.
fn is_other(kernel: &Kernel, call: &str) -> bool {
    let has = |prefix: &str| kernel.function(&format!("{prefix}{call}")) != FunctionSymbol::Missing;
    OTHER_ARGUMENTS.contains(&call) || has("__ia32_sys_ia32_") || has("__ia32_compat_sys_ia32_")
}

/// The request of io_uring that does what `call` does, unless it is one of `covered`.
fn io_uring(kernel: &Kernel, call: &str, covered: &[&str]) -> Option<Unobserved> {
    let operation = operation(call).filter(|name| !covered.contains(name) && has_operation(kernel, name))?;
    Some(Unobserved {
        what: format!("{call} by io_uring ({operation})"),
        why: "it enters below the system call".to_owned(),
    })
}

fn has_operation(kernel: &Kernel, operation: &str) -> bool {
    let btf = &kernel.btf;
    let Some(id) = btf.find("io_uring_op", Kind::Enum) else { return false };
    btf.enumerators(id).iter().any(|(name, _)| *name == operation)
}

fn compat_abi(kernel: &Kernel) -> Abi {
    if kernel.facts.machine == "aarch64" { Abi::Aarch32 } else { Abi::Ia32 }
}

/// Whether the kernel has an entry for 32-bit programs.
fn has_32_bit(kernel: &Kernel) -> bool {
    let name = match compat_abi(kernel) {
        Abi::Aarch32 => "__arm64_compat_sys_ioctl",
        _ => "__ia32_compat_sys_ioctl",
    };
    kernel.function(name) != FunctionSymbol::Missing
}

fn has_x32(kernel: &Kernel) -> bool {
    kernel.function("__x32_compat_sys_ioctl") != FunctionSymbol::Missing
}

/// `call`, entered by `function`.
fn entry_scope(
    kernel: &Kernel,
    mechanism: Mechanism,
    call: &str,
    function_name: &str,
    abi: Abi,
    is_compat: bool,
) -> Result<Scope, String> {
    check_function(kernel, mechanism, function_name)?;
    let mut scope = function(kernel, mechanism, function_name)?;
    let registers = abi.registers();
    scope.args = syscall_arguments(kernel, call)?;
    for (arg, offset) in scope.args.iter_mut().zip(registers) {
        let is_signed = match arg.ty.shape(&kernel.btf) {
            Shape::Int { int, .. } => int.signed && is_compat,
            _ => false,
        };
        arg.at = ArgAt::Narrow { offset, is_signed };
        if !is_same(kernel, &arg.ty) {
            arg.ty = Ty::Pointer(Box::new(Ty::Btf(0)));
        }
    }
    scope.abi = Some(abi);
    scope.user_pointers = true;
    scope.returns = Returns::Value(S64);
    let btf = &kernel.btf;
    let args: Vec<String> = scope.args.iter().map(|a| format!("{} {}", a.ty.c_name(btf), a.name)).collect();
    scope.prototype = format!("long {function_name}({})", args.join(", "));
    Ok(scope)
}

/// Whether an argument means the same to a 32-bit program: a number, or a pointer to what has the same layout there.
fn is_same(kernel: &Kernel, ty: &Ty) -> bool {
    match ty.shape(&kernel.btf) {
        Shape::Pointer { to, .. } => has_same_layout(kernel, &to, 8),
        _ => true,
    }
}

fn has_same_layout(kernel: &Kernel, ty: &Ty, depth: u32) -> bool {
    let btf = &kernel.btf;
    match ty.shape(btf) {
        // 8 bytes are `long`, or lie elsewhere in a struct.
        Shape::Int { int, .. } => int.size < 8,
        Shape::Array { item, .. } => has_same_layout(kernel, &item, depth),
        Shape::Struct(id) if depth > 0 => {
            btf.members(id).all(|m| has_same_layout(kernel, &Ty::Btf(m.ty), depth - 1))
        }
        Shape::Chars(_) | Shape::Located => true,
        // Of `void` nothing is read without a cast.
        Shape::Other => true,
        Shape::Pointer { .. } | Shape::Struct(_) => false,
    }
}
