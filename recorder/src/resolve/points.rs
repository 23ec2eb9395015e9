//! `KIND:TARGET` -> the mechanisms of this kernel that may observe it, each with the arguments that it offers.

use schemas::context::own_name;
use schemas::def::ProbeDef;
use schemas::expr::{ProbeKind, near};

use super::Mechanism;
use super::scope::{Arg, ArgAt, Offer, Refusal, Returns, Scope};
use super::types::{S64, Shape, Ty, U64, from_c};
use super::ways::Abi;
use crate::kernel::btf::{Kind, TypeId};
use crate::kernel::tracefs::Location;
use crate::kernel::{FunctionSymbol, Kernel, Tracefs};
use crate::user::operand::{Argument, Operand};
use crate::user::{Place, usdt};

/// Arguments that are in registers when a kprobe runs.
const REGISTER_ARGS: u8 = 6;
/// Arguments that a BPF trampoline hands over.
const TRAMPOLINE_ARGS: u8 = 12;
/// Functions that do not return, so that `fn:` must observe their entry.
const NO_RETURN: [&str; 6] =
    ["do_exit", "do_group_exit", "make_task_dead", "kthread_exit", "__x64_sys_exit", "__x64_sys_exit_group"];

/// All mechanisms for a probe, best first. Of one that a program has built in: all places with arguments of their own.
pub(super) fn offer<'a>(kernel: &Kernel, probe: &'a ProbeDef) -> Offer<'a> {
    let target = &probe.on;
    let mut offer = Offer { probe, ways: Vec::new() };
    let name = target.name.as_str();
    let mechanisms: &[Mechanism] = match target.kind {
        ProbeKind::Function if NO_RETURN.contains(&name) => &[Mechanism::Fentry, Mechanism::Kprobe],
        ProbeKind::Function => &[Mechanism::Fexit, Mechanism::Kretprobe],
        ProbeKind::Kprobe => &[Mechanism::Kprobe],
        ProbeKind::Kretprobe => &[Mechanism::Kretprobe],
        ProbeKind::Fentry => &[Mechanism::Fentry],
        ProbeKind::Fexit => &[Mechanism::Fexit],
        ProbeKind::Tracepoint => &[Mechanism::TpBtf, Mechanism::RawTp, Mechanism::Tracepoint],
        ProbeKind::RawTracepoint => &[Mechanism::RawTp],
        ProbeKind::Syscall => &[Mechanism::Fexit, Mechanism::Kretprobe, Mechanism::SyscallTracepoints],
        ProbeKind::Uprobe => &[Mechanism::Uprobe],
        ProbeKind::Uretprobe => &[Mechanism::Uretprobe],
        ProbeKind::Profile | ProbeKind::Software | ProbeKind::Hardware => &[Mechanism::PerfEvent],
        ProbeKind::Usdt => {
            let refusal = |reason| Refusal::of(target, Mechanism::Uprobe, reason);
            offer.ways = match built_in(kernel, name) {
                Ok(scopes) => scopes.into_iter().map(Ok).collect(),
                Err(reason) => vec![Err(refusal(reason))],
            };
            return offer;
        }
    };
    for mechanism in mechanisms {
        let scope = match (target.kind, mechanism) {
            (ProbeKind::Syscall, _) => syscall(kernel, *mechanism, name),
            (_, Mechanism::TpBtf | Mechanism::RawTp) => raw_tracepoint(kernel, *mechanism, name),
            (_, Mechanism::Tracepoint) => tracepoint(kernel, name),
            (_, Mechanism::Uprobe | Mechanism::Uretprobe) => user_function(kernel, *mechanism, name),
            (_, Mechanism::PerfEvent) => Ok(sample(&target.to_string())),
            _ => function(kernel, *mechanism, name),
        };
        offer.ways.push(scope.map_err(|reason| Refusal::of(target, *mechanism, reason)));
    }
    offer
}

/// `, near: a, b`, or nothing.
fn near_text<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let near = near(name, names);
    if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) }
}

/// Whether the mechanism can work at all on a function of this kernel.
pub(super) fn check_function(kernel: &Kernel, mechanism: Mechanism, name: &str) -> Result<(), String> {
    let kprobe = matches!(mechanism, Mechanism::Kprobe | Mechanism::Kretprobe);
    match kernel.function(name) {
        FunctionSymbol::Unique => {}
        FunctionSymbol::Many => {
            return Err(format!(
                "several functions of this kernel are named {name}, so it cannot be probed by name"
            ));
        }
        FunctionSymbol::Missing => {
            let parts = [".isra.0", ".constprop.0", ".part.0", ".cold"];
            if let Some(part) =
                parts.iter().find(|part| kernel.function(&format!("{name}{part}")) == FunctionSymbol::Unique)
            {
                let hint = if kprobe { ", try that name" } else { ", which only a kprobe can observe" };
                return Err(format!("the compiler made {name}{part} of {name}{hint}"));
            }
            let near = match kernel.functions() {
                Some(names) => near_text(name, names.iter()),
                None => near_text(name, kernel.btf.names(Kind::Func)),
            };
            let hint = match name.strip_prefix("sys_") {
                Some(call) => format!("; for a system call write syscall:{call}"),
                None => near,
            };
            return Err(format!("this kernel has no function {name} (it may be inlined){hint}"));
        }
    }
    if kprobe && !kernel.facts.kprobes {
        return Err("this kernel is built without kprobes (CONFIG_KPROBE_EVENTS)".to_owned());
    }
    if !kprobe && let Some(reason) = &kernel.facts.no_trampolines {
        return Err(reason.clone());
    }
    Ok(())
}

pub(super) fn function(kernel: &Kernel, mechanism: Mechanism, name: &str) -> Result<Scope, String> {
    check_function(kernel, mechanism, name)?;
    let mut scope = Scope::new(mechanism, name);
    let typed = matches!(mechanism, Mechanism::Fentry | Mechanism::Fexit);
    scope.at_return = matches!(mechanism, Mechanism::Fexit | Mechanism::Kretprobe);
    scope.stash_args = mechanism == Mechanism::Kretprobe;
    let most = if typed { TRAMPOLINE_ARGS } else { REGISTER_ARGS };
    let Some(id) = kernel.btf.find(name, Kind::Func) else {
        if typed {
            return Err(format!("this kernel does not describe the arguments of {name} in its BTF"));
        }
        scope.unnamed_args = true;
        scope.n_args = REGISTER_ARGS;
        if scope.at_return {
            scope.returns = Returns::Value(Ty::Register);
        }
        return Ok(scope);
    };
    let (params, returns) = kernel.btf.prototype(id).unwrap_or_default();
    (scope.args, scope.n_args) = arguments(kernel, &params, most);
    scope.btf_id = typed.then_some(id);
    if scope.at_return {
        let is_void = kernel.btf.kind(kernel.btf.strip(returns)) == Kind::Void;
        scope.returns = if is_void { Returns::Void } else { Returns::Value(Ty::Btf(returns)) };
    }
    scope.prototype = prototype(kernel, name, &params, Some(returns));
    if typed && scope.n_args > TRAMPOLINE_ARGS {
        return Err(format!("{name} has more than {TRAMPOLINE_ARGS} arguments"));
    }
    Ok(scope)
}

fn prototype(kernel: &Kernel, name: &str, params: &[(&str, TypeId)], returns: Option<TypeId>) -> String {
    let params: Vec<String> = params
        .iter()
        .map(|(name, ty)| match kernel.btf.c_name(*ty) {
            ty if ty.ends_with('*') => format!("{ty}{name}"),
            ty => format!("{ty} {name}"),
        })
        .collect();
    let returns = returns.map_or(String::new(), |id| format!("{} ", kernel.btf.c_name(id)));
    format!("{returns}{name}({})", params.join(", "))
}

/// Arguments by register; a struct passed by value takes one for each 8 bytes.
fn arguments(kernel: &Kernel, params: &[(&str, TypeId)], most: u8) -> (Vec<Arg>, u8) {
    let mut next = 0_u8;
    let mut args = Vec::new();
    for (name, ty) in params {
        let by_value = matches!(kernel.btf.kind(kernel.btf.strip(*ty)), Kind::Struct | Kind::Union);
        let at = if by_value || next >= most { ArgAt::Nowhere } else { ArgAt::Register(next) };
        args.push(Arg { name: own_name(name), ty: Ty::Btf(*ty), at });
        let registers = if by_value { kernel.btf.size(*ty).div_ceil(8).max(1) } else { 1 };
        next = next.saturating_add(registers.min(255) as u8);
    }
    (args, next)
}

/// tp_btf or raw tracepoint: the arguments of the tracepoint's prototype.
fn raw_tracepoint(kernel: &Kernel, mechanism: Mechanism, target: &str) -> Result<Scope, String> {
    let name = target.rsplit(':').next().unwrap_or(target);
    let btf = &kernel.btf;
    // The name alone decides, so a wrong category must be found out. Some tracepoints are not in tracefs at all.
    if let (Some((category, _)), Ok(tracefs)) = (target.split_once(':'), kernel.tracefs())
        && !tracefs.has(category, name)
        && let Some(hint) = elsewhere(tracefs, name)
    {
        return Err(format!("there is no tracepoint {category}:{name}{hint}"));
    }
    let Some(typedef) = btf.find(&format!("btf_trace_{name}"), Kind::Typedef) else {
        let names = btf.names(Kind::Typedef).filter_map(|n| n.strip_prefix("btf_trace_"));
        let hint = near_text(name, names);
        return Err(format!("this kernel has no tracepoint {name}, or it is in a module{hint}"));
    };
    let proto = btf.target(btf.strip(typedef));
    let (types, _) = btf.prototype(proto).unwrap_or_default();
    // The prototype in the typedef has no names; that of the function which calls the probes has.
    let named = [format!("__traceiter_{name}"), format!("__bpf_trace_{name}")]
        .iter()
        .filter_map(|function| btf.prototype(btf.find(function, Kind::Func)?))
        .map(|(params, _)| params)
        .find(|params| params.len() == types.len());
    let params = named.unwrap_or(types);
    let params = params.get(1..).unwrap_or_default();
    let mut scope = Scope::new(mechanism, name);
    (scope.args, scope.n_args) = arguments(kernel, params, TRAMPOLINE_ARGS);
    mark_code(kernel, target, &mut scope.args);
    scope.btf_id = (mechanism == Mechanism::TpBtf).then_some(typedef);
    scope.prototype = prototype(kernel, name, params, None);
    Ok(scope)
}

/// Arguments that the tracepoint records as they are and prints as names of code are code addresses.
fn mark_code(kernel: &Kernel, target: &str, args: &mut [Arg]) {
    let Ok(tracefs) = kernel.tracefs() else { return };
    let fields = match target.split_once(':') {
        Some((category, name)) => tracefs.fields(category, name).unwrap_or_default(),
        None => tracefs.fields_of(target),
    };
    for field in fields.iter().filter(|field| field.code) {
        let name = own_name(&field.name);
        let is_word = |arg: &Arg| match arg.ty.shape(&kernel.btf) {
            Shape::Int { int, .. } => int.size == 8,
            Shape::Pointer { .. } => true,
            _ => false,
        };
        if let Some(arg) = args.iter_mut().find(|arg| arg.name == name && is_word(arg)) {
            arg.ty = Ty::Code;
        }
    }
}

/// Tracepoints of that name in other categories, as a hint.
fn elsewhere(tracefs: &Tracefs, name: &str) -> Option<String> {
    let all = tracefs.tracepoints().unwrap_or_default();
    let found: Vec<String> =
        all.iter().filter(|(_, n)| n == name).map(|(c, n)| format!("tp:{c}:{n}")).collect();
    (!found.is_empty()).then(|| format!("; did you mean {}?", found.join(" or ")))
}

/// A classic tracepoint: the fields of its record.
fn tracepoint(kernel: &Kernel, target: &str) -> Result<Scope, String> {
    let (category, name) = target.split_once(':').unwrap_or(("", target));
    let tracefs = kernel.tracefs().map_err(|error| error.to_string())?;
    if !tracefs.has(category, name) {
        let hint = elsewhere(tracefs, name).unwrap_or_else(|| {
            let all = tracefs.tracepoints().unwrap_or_default();
            near_text(name, all.iter().map(|(_, name)| name.as_str()))
        });
        return Err(format!("tracefs has no tracepoint {category}:{name}{hint}"));
    }
    let fields = tracefs.fields(category, name).map_err(|error| format!("{error:#}"))?;
    let mut scope = Scope::new(Mechanism::Tracepoint, target);
    scope.user_pointers = category == "syscalls";
    for field in &fields {
        let at = match field.location {
            Some(location) => ArgAt::Located { field: field.offset, relative: location == Location::Field },
            None => ArgAt::Field(field.offset),
        };
        let of_item = |size| from_c(&kernel.btf, &field.ty, size, field.signed);
        let ty = match (field.array, field.ty.as_str()) {
            (_, "char") if field.location.is_some() => Ty::Chars(0),
            _ if field.location.is_some() => Ty::Located,
            (Some(0), _) => of_item(field.size),
            (Some(count), "char") => Ty::Chars(count),
            (Some(count), _) => Ty::Array(Box::new(of_item(field.size / count)), count.into()),
            (None, _) if field.code && field.size == 8 => Ty::Code,
            (None, _) => of_item(field.size),
        };
        // An array without a size is where the record ends.
        let at = if field.array == Some(0) && field.location.is_none() { ArgAt::Nowhere } else { at };
        scope.args.push(Arg { name: own_name(&field.name), ty, at });
    }
    let texts: Vec<String> = fields.iter().map(|f| format!("{} {}", f.ty, f.name)).collect();
    scope.prototype = format!("{target} {{ {} }}", texts.join("; "));
    Ok(scope)
}

/// A system call, at its return: names and types of arguments come from tracefs, or from the function inside.
fn syscall(kernel: &Kernel, mechanism: Mechanism, name: &str) -> Result<Scope, String> {
    let function = format!("{}{name}", kernel.facts.syscall_prefix());
    let mut scope = if mechanism == Mechanism::SyscallTracepoints {
        let tracefs = kernel.tracefs().map_err(|error| error.to_string())?;
        if !tracefs.has("syscalls", &format!("sys_enter_{name}")) {
            let all = tracefs.tracepoints().unwrap_or_default();
            let names = all.iter().filter_map(|(_, n)| n.strip_prefix("sys_enter_"));
            return Err(format!(
                "this kernel has no tracepoint for the system call {name}{}",
                near_text(name, names)
            ));
        }
        let mut scope = Scope::new(mechanism, name);
        scope.stash_args = true;
        scope.at_return = true;
        scope
    } else {
        check_function(kernel, mechanism, &function)?;
        let mut scope = self::function(kernel, mechanism, &function)?;
        scope.syscall_regs = true;
        scope
    };
    scope.user_pointers = true;
    scope.abi = Some(Abi::Native);
    scope.returns = Returns::Value(S64);
    scope.args = syscall_arguments(kernel, name)?;
    if !scope.syscall_regs {
        scope.n_args = scope.args.len() as u8;
    }
    let btf = &kernel.btf;
    let args: Vec<String> = scope.args.iter().map(|a| format!("{} {}", a.ty.c_name(btf), a.name)).collect();
    scope.prototype = format!("long {name}({})", args.join(", "));
    Ok(scope)
}

pub(super) fn syscall_arguments(kernel: &Kernel, name: &str) -> Result<Vec<Arg>, String> {
    let btf = &kernel.btf;
    let from_tracefs = kernel.tracefs().and_then(|t| t.fields("syscalls", &format!("sys_enter_{name}")));
    if let Ok(fields) = &from_tracefs {
        // The first is the number of the system call; a second `__syscall_nr` is never among the others.
        let fields = fields.iter().filter(|field| field.name != "__syscall_nr");
        let arg = |(i, field): (usize, &crate::kernel::TraceField)| Arg {
            name: own_name(&field.name),
            ty: from_c(btf, &field.ty, field.size, field.signed),
            at: ArgAt::Register(i as u8),
        };
        return Ok(fields.enumerate().map(arg).collect());
    }
    let inner = btf.find(&format!("__do_sys_{name}"), Kind::Func).and_then(|id| btf.prototype(id));
    match (inner, from_tracefs) {
        (Some((params, _)), _) => Ok(arguments(kernel, &params, REGISTER_ARGS).0),
        (None, Err(error)) => Err(format!("the arguments of {name} are not known: {error:#}")),
        (None, Ok(_)) => Err(format!("the arguments of {name} are not known")),
    }
}

/// A sample: what the registers say that the processor ran, and for how much of it the sample stands.
fn sample(target: &str) -> Scope {
    // Words of `struct bpf_perf_event_data`.
    let (ip, period) = if cfg!(target_arch = "aarch64") { (32, 34) } else { (16, 21) };
    let mut scope = Scope::new(Mechanism::PerfEvent, target);
    let arg = |name: &str, ty, at| Arg { name: name.to_owned(), ty, at };
    scope.args = vec![
        arg("in_user", Ty::Int { size: 1, signed: false }, ArgAt::Mode),
        arg("ip", Ty::Pointer(Box::new(Ty::Btf(0))), ArgAt::Word(ip)),
        arg("period", U64, ArgAt::Word(period)),
    ];
    scope.prototype = format!("{target} {{ bool in_user; void *ip; u64 period }}");
    scope.returns = Returns::NotHere("a sample has no result: it has in_user, ip and period");
    scope
}

/// The places of a probe that a program has built in, those with the same arguments together.
fn built_in(kernel: &Kernel, target: &str) -> Result<Vec<Scope>, String> {
    if !kernel.facts.uprobes {
        return Err("this kernel is built without uprobes (CONFIG_UPROBE_EVENTS)".to_owned());
    }
    let sites = usdt::find(target).map_err(|error| format!("{error:#}"))?;
    let n_args = sites.iter().map(|site| site.arguments.len()).max().unwrap_or(0);
    let mut scopes: Vec<Scope> = sites.iter().map(|site| built_in_at(&site.place)).collect();
    for i in 0..n_args {
        let of_site = |site: &usdt::Site| site.arguments.get(i).cloned();
        let known: Vec<Argument> = sites.iter().filter_map(of_site).filter_map(Result::ok).collect();
        let ty = common_type(&known);
        for (scope, site) in scopes.iter_mut().zip(&sites) {
            let at = match of_site(site) {
                Some(Ok(argument)) => ArgAt::Operand(argument),
                Some(Err(why)) if known.is_empty() => ArgAt::Unreadable(why),
                Some(Err(why)) => ArgAt::Elsewhere(why),
                None if known.is_empty() => ArgAt::Unreadable("it is not read at any place".to_owned()),
                None => ArgAt::Elsewhere("the probe has no such argument there".to_owned()),
            };
            scope.args.push(Arg { name: format!("arg{i}"), ty: ty.clone(), at });
        }
    }
    Ok(scopes)
}

fn built_in_at(place: &Place) -> Scope {
    let mut scope = Scope::new(Mechanism::Uprobe, &place.target);
    scope.prototype = format!("{} at {place}", place.target);
    scope.user = Some(place.clone());
    scope.user_pointers = true;
    scope.returns = Returns::NotHere(
        "a probe that a program has built in has no result: its arguments are arg0, arg1, ...",
    );
    scope
}

/// Let `scope` be for the places of `other` too, whose arguments are found in the same way as far as they are used.
pub(super) fn join(scope: &mut Scope, other: &Scope) {
    let (Some(place), Some(others)) = (&mut scope.user, &other.user) else { return };
    place.join(others);
    scope.prototype = format!("{} at {place}", place.target);
}

/// A type that has room for an argument at all places. Compilers give a number that is written in the program the type
/// `int`, whatever it is elsewhere.
fn common_type(arguments: &[Argument]) -> Ty {
    let is_any = |a: &&Argument| matches!(a.at, Operand::Constant(value) if value.cast_signed() >= 0);
    let size = |signed: bool| {
        let of_sign = arguments.iter().filter(|a| a.signed == signed);
        let typed = of_sign.clone().filter(|a| !is_any(a)).map(|a| a.size).max();
        (typed, of_sign.map(|a| a.size).max())
    };
    let ((unsigned, any_unsigned), (signed, any_signed)) = (size(false), size(true));
    let largest = any_unsigned.max(any_signed).unwrap_or(8);
    match (unsigned, signed) {
        (Some(_), None) => Ty::Int { size: largest, signed: false },
        (None, None) => Ty::Int { size: largest, signed: any_signed.is_some() },
        (None, Some(_)) => Ty::Int { size: largest, signed: true },
        // The smallest that holds both, if there is one.
        (Some(unsigned), Some(_)) => Ty::Int { size: largest.max(unsigned * 2).min(8), signed: true },
    }
}

fn user_function(kernel: &Kernel, mechanism: Mechanism, target: &str) -> Result<Scope, String> {
    if !kernel.facts.uprobes {
        return Err("this kernel is built without uprobes (CONFIG_UPROBE_EVENTS)".to_owned());
    }
    let at_return = mechanism == Mechanism::Uretprobe;
    let place = Place::find(target, at_return).map_err(|error| format!("{error:#}"))?;
    let mut scope = Scope::new(mechanism, &place.target);
    scope.prototype = format!("{} at {place}", place.target);
    scope.user = Some(place);
    scope.user_pointers = true;
    scope.unnamed_args = true;
    scope.n_args = REGISTER_ARGS;
    scope.at_return = at_return;
    scope.stash_args = scope.at_return;
    if scope.at_return {
        scope.returns = Returns::Value(Ty::Register);
    }
    Ok(scope)
}
