//! `EventDef` + kernel -> [`ResolvedEvent`]: the layout of its records and, for each source, the plans that may be
//! attached, best first.
//!
//! ```text
//! points    KIND:TARGET -> mechanisms of this kernel, each a scope: arguments with types, result
//! lower     expression + scope -> nodes (arith: operators and predicates; types: BTF and casts)
//! columns   value + column type -> what to store
//! compile   a scope and all of the above -> what is wanted of a plan; assemble: -> slots, terms, clauses
//! ```
//! Whether a candidate can be attached is found out by attaching it; here is decided whether it could mean what the
//! definition says.

mod arith;
mod assemble;
mod columns;
mod compile;
mod explain;
mod lower;
mod nodes;
mod points;
mod scope;
mod types;

use std::fmt;

use anyhow::{Context as _, Result, anyhow, bail};
use schemas::column::{Column, Layout, Type};
use schemas::def::{ColumnDef, Context, EventDef, MAX_COLUMNS};
use schemas::expr::{Field, Kind};
use schemas::wire::{MAX_RECORD, MAX_STASH, Plan};

pub use explain::{describe, explain};

use crate::kernel::Kernel;
use scope::Offer;

/// What to resolve.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The event.
    pub def: &'a EventDef,
    /// What of it is recorded.
    pub filter: &'a Filter,
    /// Stacks to record with each event.
    pub stacks: Stacks,
    /// Fail unless each source that is not optional has a candidate.
    pub all_sources: bool,
}

/// Which events are recorded. Empty lists let everything pass.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only processes of the pid set.
    pub pids: bool,
    /// Only threads of one of these names.
    pub comm: Vec<String>,
    /// Only these network namespaces: the event's own `netns` column, else the current thread's.
    pub netns: Vec<u32>,
    /// Only threads in one of these cgroups.
    pub cgroup_ids: Vec<u64>,
    /// The recorder itself.
    pub exclude_pid: Option<u32>,
    /// A predicate over columns, arguments and builtins.
    pub extra: Option<String>,
}

/// Which stacks are recorded with each event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stacks {
    #[default]
    None,
    Kernel,
    User,
    Both,
}

/// How a probe is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Tracepoint with typed arguments.
    TpBtf,
    /// Tracepoint with its arguments as they are.
    RawTp,
    /// Function entry, by BPF trampoline.
    Fentry,
    /// Function return, by BPF trampoline.
    Fexit,
    /// Function entry, by kprobe.
    Kprobe,
    /// Function return, by kretprobe.
    Kretprobe,
    /// Classic tracepoint, target `category:name`.
    Tracepoint,
    /// `sys_enter_NAME` and `sys_exit_NAME`, target `NAME`.
    SyscallTracepoints,
    /// Entry of a function in user space, target `path:symbol`.
    Uprobe,
    /// Its return.
    Uretprobe,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TpBtf => "tp_btf",
            Self::RawTp => "raw_tp",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::Tracepoint => "tracepoint",
            Self::SyscallTracepoints => "syscall tracepoints",
            Self::Uprobe => "uprobe",
            Self::Uretprobe => "uretprobe",
        })
    }
}

/// A probe that can be tried.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Source of the event.
    pub source: String,
    /// How it is attached.
    pub mechanism: Mechanism,
    /// What it is attached to.
    pub target: String,
    /// What the program does.
    pub plan: Box<Plan>,
    /// What the program at entry does, for a probe at return that needs one.
    pub entry: Option<Box<Plan>>,
    /// The tracepoint's typedef or the function in the kernel's BTF.
    pub btf_id: Option<u32>,
    /// Types and offsets, for people.
    pub explain: String,
}

/// One source and what may observe it.
#[derive(Clone, Debug)]
pub struct ResolvedSource {
    /// Its name.
    pub name: String,
    /// Nothing is missing if there is none.
    pub optional: bool,
    /// Best first.
    pub candidates: Vec<Candidate>,
    /// Probes that cannot be tried, and why.
    pub refused: Vec<(String, String)>,
}

/// An event on this kernel.
#[derive(Clone, Debug)]
pub struct ResolvedEvent {
    /// The records, the same for every source.
    pub layout: Layout,
    /// Where it is observed.
    pub sources: Vec<ResolvedSource>,
}

/// Resolve an event on a kernel. Fails if no source can be observed at all, with the reasons; if a predicate or a
/// record passes a limit; or, with `all_sources`, if a source is missing that is not optional.
pub fn resolve(kernel: &Kernel, request: &Request<'_>) -> Result<ResolvedEvent> {
    let def = request.def;
    resolve_event(kernel, request).with_context(|| format!("event {}", def.name))
}

fn resolve_event(kernel: &Kernel, request: &Request<'_>) -> Result<ResolvedEvent> {
    let def = request.def;
    let extra = match &request.filter.extra {
        Some(text) => Some(Field::parse(text).map_err(|error| anyhow!("filter: {error}"))?),
        None => None,
    };
    let mut offers: Vec<Vec<Offer<'_>>> = def
        .sources
        .iter()
        .map(|source| source.probes.iter().map(|probe| points::offer(kernel, probe)).collect())
        .collect();
    let (columns, types) = typed_columns(kernel, def, request.stacks, &mut offers)?;
    let layout = layout(def, &columns, types)?;

    let mut sources = Vec::new();
    for (source, offers) in def.sources.iter().zip(offers) {
        let mut resolved = ResolvedSource {
            name: source.name.clone(),
            optional: source.optional,
            candidates: Vec::new(),
            refused: Vec::new(),
        };
        for Offer { probe, scopes, refused } in offers {
            for scope in scopes {
                let compiler = compile::Compiler {
                    kernel,
                    def,
                    source: &source.name,
                    probe,
                    columns: &columns,
                    layout: &layout.0,
                    stash_size: layout.1,
                    filter: request.filter,
                    extra: extra.as_ref(),
                };
                match compiler.candidate(&scope) {
                    Ok(candidate) => resolved.candidates.push(candidate),
                    Err(error) => {
                        resolved
                            .refused
                            .push((format!("{} ({})", probe.on, scope.mechanism), format!("{error:#}")));
                    }
                }
            }
            resolved.refused.extend(refused.into_iter().map(|r| (r.probe, r.reason)));
        }
        let missing = resolved.candidates.is_empty() && !resolved.optional;
        if missing && request.all_sources {
            bail!("source {} cannot be observed on this kernel:\n{}", source.name, reasons(&[resolved]));
        }
        sources.push(resolved);
    }
    if sources.iter().all(|source| source.candidates.is_empty()) {
        bail!("it cannot be observed on this kernel:\n{}", reasons(&sources));
    }
    Ok(ResolvedEvent { layout: layout.0, sources })
}

/// Why nothing can be tried, each reason once.
fn reasons(sources: &[ResolvedSource]) -> String {
    let mut seen: Vec<(&str, Vec<&str>)> = Vec::new();
    for (probe, reason) in sources.iter().flat_map(|source| &source.refused) {
        match seen.iter_mut().find(|(known, _)| known == reason) {
            Some((_, probes)) => probes.push(probe),
            None => seen.push((reason, vec![probe])),
        }
    }
    let lines: Vec<String> = seen
        .into_iter()
        .map(|(reason, probes)| format!("{}: {}", probes.join(", "), reason.replace('\n', "\n  ")))
        .collect();
    format!("  {}", lines.join("\n  "))
}

/// All columns, builtin ones included, and their types; a type that is not written comes from the first probe point
/// that gives one.
fn typed_columns(
    kernel: &Kernel,
    def: &EventDef,
    stacks: Stacks,
    offers: &mut [Vec<Offer<'_>>],
) -> Result<(Vec<ColumnDef>, Vec<Type>)> {
    let mut columns = def.columns.clone();
    if def.everything {
        columns = everything(offers)?;
    }
    let mut builtin = Vec::new();
    if def.context == Context::Process {
        builtin.push(("comm", "char[16]", "$comm", "name of the current thread"));
        builtin.push(("cgroup_id", "u64", "$cgroup_id", "cgroup v2 id of the current thread"));
    }
    if matches!(stacks, Stacks::Kernel | Stacks::Both) {
        builtin.push(("kstack", "kstack", "$kstack", "kernel stack: row of table stacks"));
    }
    if matches!(stacks, Stacks::User | Stacks::Both) {
        builtin.push(("ustack", "ustack", "$ustack", "user stack: row of table stacks"));
    }
    for (name, ty, expr, doc) in builtin {
        if columns.iter().all(|column| column.name != name) {
            columns.push(ColumnDef {
                name: name.to_owned(),
                ty: Some(ty.parse()?),
                unit: None,
                doc: doc.to_owned(),
                expr: Some(Field::parse(expr)?),
            });
        }
    }
    let n = columns.len();
    if n > MAX_COLUMNS {
        bail!(
            "it has {n} columns with comm, cgroup_id and stacks, the limit is {MAX_COLUMNS}: leave some out"
        );
    }
    let mut types = Vec::new();
    for column in &columns {
        let ty = match &column.ty {
            Some(ty) => ty.clone(),
            None => compile::infer(kernel, &columns, column, offers)?,
        };
        types.push(ty);
    }
    if def.everything {
        keep_equal_types(kernel, &columns, &types, offers);
    }
    Ok((columns, types))
}

/// The columns of a probe without fields: everything that it offers. For a tracepoint that is its record.
fn everything(offers: &[Vec<Offer<'_>>]) -> Result<Vec<ColumnDef>> {
    let scopes = || offers.iter().flatten().flat_map(|offer| &offer.scopes);
    let Some(scope) = scopes().find(|s| s.mechanism == Mechanism::Tracepoint).or_else(|| scopes().next())
    else {
        return Ok(Vec::new());
    };
    let mut columns = Vec::new();
    let mut column = |name: &str, expr: &str, doc: String| {
        let taken = |name: &str| schemas::column::standard_fields().iter().any(|f| f.name() == name);
        let name = if taken(name) { format!("{name}_") } else { name.to_owned() };
        let expr = Some(Field::parse(expr)?);
        columns.push(ColumnDef { name, ty: None, unit: None, doc, expr });
        anyhow::Ok(())
    };
    for (i, arg) in scope.args.iter().enumerate() {
        if !matches!(arg.at, scope::ArgAt::Nowhere) {
            let name = if arg.name.is_empty() { format!("arg{}", i + 1) } else { arg.name.clone() };
            column(&name, &format!("$arg{}", i + 1), format!("{} of {}", name, scope.prototype))?;
        }
    }
    if let scope::Returns::Value(_) = scope.returns {
        column("retval", "retval", format!("what {} returned", scope.target))?;
    }
    Ok(columns)
}

/// Without fields, a mechanism is good only if its arguments are what the columns were made of.
fn keep_equal_types(kernel: &Kernel, columns: &[ColumnDef], types: &[Type], offers: &mut [Vec<Offer<'_>>]) {
    for offer in offers.iter_mut().flatten() {
        let probe = offer.probe;
        let (kept, dropped) = std::mem::take(&mut offer.scopes).into_iter().partition(|scope| {
            columns.iter().zip(types).all(|(column, ty)| {
                let Some(Field { expr, .. }) = &column.expr else { return true };
                let same_name = match &expr.kind {
                    Kind::Builtin(schemas::expr::Builtin::Arg(i)) => {
                        scope.args.get(usize::from(*i)).is_some_and(|a| {
                            a.name.is_empty()
                                || a.name == column.name
                                || column.name == format!("{}_", a.name)
                        })
                    }
                    _ => true,
                };
                same_name && compile::infer_in(kernel, columns, column, probe, scope).is_ok_and(|t| t == *ty)
            })
        });
        offer.scopes = kept;
        for scope in <Vec<scope::Scope>>::from(dropped) {
            let reason = "its arguments are not the fields of the tracepoint: name fields in braces";
            offer.refused.push(scope::Refusal::of(&probe.on, scope.mechanism, reason));
        }
    }
}

/// Lay out the columns; those that any probe reads at entry come first.
fn layout(def: &EventDef, columns: &[ColumnDef], types: Vec<Type>) -> Result<(Layout, u16)> {
    let at_entry = |name: &str| {
        columns.iter().filter(|c| c.name == name).any(|column| {
            let probes = def.sources.iter().flat_map(|source| &source.probes);
            probes
                .filter_map(|probe| probe.value(column))
                .any(|field| matches!(field.expr.kind, Kind::Entry(_)))
        })
    };
    let size: usize = types.iter().map(|ty| usize::from(ty.wire_size()) + 8).sum();
    if size > MAX_RECORD {
        bail!(
            "a record of it has up to {size} bytes, the limit is {MAX_RECORD}: shorten strings or leave columns out"
        );
    }
    let wired = columns
        .iter()
        .zip(types)
        .map(|(column, ty)| Column {
            name: column.name.clone(),
            ty,
            unit: column.unit.clone(),
            doc: column.doc.clone(),
            offset: 0,
            bit: 0,
        })
        .collect();
    let (layout, stash) = Layout::new(&def.name, &def.summary, wired, at_entry);
    if usize::from(stash) > MAX_STASH {
        bail!("the columns with entry(..) have {stash} bytes, the limit is {MAX_STASH}: shorten strings");
    }
    Ok((layout, stash))
}

#[cfg(test)]
mod tests;
