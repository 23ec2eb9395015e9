//! Columns of an event, builtin ones included -> their types and places in the record.

use anyhow::{Result, bail};
use schemas::column::{Column, Layout, Type};
use schemas::def::{ColumnDef, Context, EventDef, MAX_COLUMNS, ProbeDef};
use schemas::expr::{Builtin, Field, Kind, ProbeKind};
use schemas::wire::{MAX_RECORD, MAX_STASH};

use super::scope::{ArgAt, Offer, Refusal, Returns};
use super::types::{Shape, with_kernel_names};
use super::{Mechanism, Request, Stacks, compile};
use crate::kernel::Kernel;

/// All columns, builtin ones included, and their types; a type that is not written comes from the first probe point
/// that gives one.
pub(super) fn typed_columns(
    kernel: &Kernel,
    request: &Request<'_>,
    offers: &mut [Vec<Offer<'_>>],
) -> Result<(Vec<ColumnDef>, Vec<Type>)> {
    let Request { def, filter, stacks, all_sources: _ } = *request;
    let mut columns = def.columns.clone();
    if def.everything {
        columns = everything(kernel, offers)?;
    }
    let mut builtin = Vec::new();
    if def.context == Context::Process {
        builtin.push(("comm", "char[16]", "$comm".to_owned(), "name of the current thread"));
        let doc = "cgroup v2 id of the current thread";
        builtin.push(("cgroup_id", "u64", "$cgroup_id".to_owned(), doc));
    }
    if matches!(stacks, Stacks::Kernel | Stacks::Both) {
        builtin.push(("kstack", "kstack", "$kstack".to_owned(), "kernel stack: row of table stacks"));
    }
    if matches!(stacks, Stacks::User | Stacks::Both) {
        builtin.push(("ustack", "ustack", "$ustack".to_owned(), "user stack: row of table stacks"));
    }
    if filter.sample > 1 {
        let doc = "how many events this row stands for: it was recorded with --sample";
        builtin.push(("weight", "u32", format!("{}:u32", filter.sample), doc));
    }
    for (name, ty, expr, doc) in builtin {
        if columns.iter().all(|column| column.name != name) {
            columns.push(ColumnDef {
                name: name.to_owned(),
                ty: Some(ty.parse()?),
                unit: None,
                doc: doc.to_owned(),
                subject: None,
                is_optional: false,
                expr: Some(Field::parse(&expr)?),
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
            Some(ty) => with_kernel_names(&kernel.btf, ty),
            None => compile::infer(kernel, &columns, column, offers, How::Column)?,
        };
        types.push(ty);
    }
    if def.everything {
        keep_equal_types(kernel, &columns, &types, offers);
    }
    Ok((columns, types))
}

/// The columns of a probe without fields: everything that it offers. For a tracepoint that is its record.
fn everything(kernel: &Kernel, offers: &[Vec<Offer<'_>>]) -> Result<Vec<ColumnDef>> {
    let all = || offers.iter().flatten().flat_map(|offer| offer.scopes().map(move |scope| (offer, scope)));
    let classic = all().find(|(_, scope)| scope.mechanism == Mechanism::Tracepoint);
    let Some((offer, scope)) = classic.or_else(|| all().next()) else { return Ok(Vec::new()) };
    let mut columns: Vec<ColumnDef> = Vec::new();
    let mut column = |name: &str, expr: &str, pointer: bool, doc: String| {
        // SQL does not tell the cases apart.
        let mut name = name.to_owned();
        while columns.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
            name.push('_');
        }
        let expr = Some(Field::parse(expr)?);
        let mut column =
            ColumnDef { name, ty: None, unit: None, doc, subject: None, is_optional: false, expr };
        // A pointer of which the kernel does not tell more is an address.
        // At another place of the same probe, if it is not there at this one.
        let scopes = || std::iter::once(scope).chain(all().map(|(_, scope)| scope));
        let types = scopes().map(|scope| compile::infer_in(kernel, &[], &column, offer.probe, scope));
        let mut types = types.filter_map(Result::ok);
        let own = compile::infer_in(kernel, &[], &column, offer.probe, scope);
        column.ty = match own.or_else(|error| types.next().filter(|_| scope.is_noted()).ok_or(error)) {
            // A register of unknown type has not got one by being recorded.
            Ok(Type::Hex(64)) if !pointer => None,
            Ok(ty) => Some(ty),
            Err(_) if pointer => Some(Type::Hex(64)),
            Err(error) => return Err(error.context(format!("column {}", column.name))),
        };
        columns.push(column);
        Ok(())
    };
    for (i, arg) in scope.args.iter().enumerate() {
        if !matches!(arg.at, ArgAt::Nowhere | ArgAt::Unreadable(_)) {
            let name = if arg.name.is_empty() { format!("arg{}", i + 1) } else { arg.name.clone() };
            let pointer = matches!(arg.ty.shape(&kernel.btf), Shape::Pointer { .. });
            column(&name, &format!("$arg{}", i + 1), pointer, format!("{name} of {}", scope.prototype))?;
        }
    }
    if let Returns::Value(ty) = &scope.returns {
        let pointer = matches!(ty.shape(&kernel.btf), Shape::Pointer { .. });
        column("retval", "retval", pointer, format!("what {} returned", scope.target))?;
    }
    Ok(columns)
}

/// Without fields, a mechanism is good only if its arguments are what the columns were made of.
fn keep_equal_types(kernel: &Kernel, columns: &[ColumnDef], types: &[Type], offers: &mut [Vec<Offer<'_>>]) {
    for offer in offers.iter_mut().flatten() {
        let probe = offer.probe;
        for way in &mut offer.ways {
            let Ok(scope) = way else { continue };
            let is_same = columns.iter().zip(types).all(|(column, ty)| {
                let Some(Field { expr, .. }) = &column.expr else { return true };
                let arg = match &expr.kind {
                    Kind::Builtin(Builtin::Arg(i)) => scope.args.get(usize::from(*i)),
                    _ => None,
                };
                if arg.is_some_and(|arg| matches!(arg.at, ArgAt::Elsewhere(_))) {
                    return true;
                }
                let same_name = match &expr.kind {
                    Kind::Builtin(Builtin::Arg(i)) => scope.args.get(usize::from(*i)).is_some_and(|a| {
                        a.name.is_empty() || column.name.trim_end_matches('_') == a.name.trim_end_matches('_')
                    }),
                    _ => true,
                };
                same_name && compile::infer_in(kernel, columns, column, probe, scope).is_ok_and(|t| t == *ty)
            });
            if !is_same {
                let reason = "its arguments are not the fields of the tracepoint: name fields in braces";
                *way = Err(Refusal::of(&probe.on, scope.mechanism, reason));
            }
        }
    }
}

/// Whether a column is read when the function is entered: where it is written so, and text that is given to a system call
/// which replaces the memory of the process.
pub(super) fn is_at_entry(probe: &ProbeDef, column: &ColumnDef, ty: &Type) -> bool {
    const REPLACING: [&str; 2] = ["execve", "execveat"];
    let is_replaced = probe.on.kind == ProbeKind::Syscall && REPLACING.contains(&probe.on.name.as_str());
    probe.value(column).is_some_and(|field| {
        matches!(field.expr.kind, Kind::Entry(_)) || (is_replaced && matches!(ty, Type::UserStr(_)))
    })
}

/// What the programs of an event store.
pub(super) struct Recorded {
    /// The rows.
    pub layout: Layout,
    /// Columns that programs fill.
    pub stored: Vec<Stored>,
    /// Bytes that are filled at the entry.
    pub stash_size: u16,
    /// Bytes of all, header included.
    pub record_size: u32,
    /// Of an aggregated event.
    pub keys: Option<Keys>,
}

/// A column that programs fill.
pub(super) struct Stored {
    pub column: ColumnDef,
    pub place: Column,
    pub how: How,
}

/// Where the value of a column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// From its expression.
    Column,
    /// From an expression about the row.
    Measure,
    /// The same, and of that a power of two.
    Power,
}

/// What of the record is the key of an aggregated event, and how much is added up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub subject: u64,
    pub bits: u32,
    pub from: u16,
    pub end: u16,
    pub sums: u8,
}

/// Each event is a record with all columns.
pub(super) fn recorded(def: &EventDef, columns: &[ColumnDef], types: Vec<Type>) -> Result<Recorded> {
    let (layout, stash_size) = layout(def, columns, types)?;
    let stored = columns.iter().zip(&layout.columns).map(|(column, place)| Stored {
        column: column.clone(),
        place: place.clone(),
        how: How::Column,
    });
    Ok(Recorded { stored: stored.collect(), stash_size, record_size: layout.record_size, keys: None, layout })
}

/// Lay out the columns; those that any probe reads at entry come first.
pub(super) fn layout(def: &EventDef, columns: &[ColumnDef], types: Vec<Type>) -> Result<(Layout, u16)> {
    let early: Vec<&str> = columns
        .iter()
        .zip(&types)
        .filter(|(column, ty)| {
            let mut probes = def.sources.iter().flat_map(|source| &source.probes);
            probes.any(|probe| is_at_entry(probe, column, ty))
        })
        .map(|(column, _)| column.name.as_str())
        .collect();
    let at_entry = |name: &str| early.contains(&name);
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
    let (mut layout, stash) = Layout::new(&def.name, &def.summary, wired, at_entry);
    layout.sampled =
        def.sources.iter().flat_map(|source| &source.probes).all(|probe| probe.on.kind.samples());
    if usize::from(stash) > MAX_STASH {
        bail!("the columns with entry(..) have {stash} bytes, the limit is {MAX_STASH}: shorten strings");
    }
    Ok((layout, stash))
}
