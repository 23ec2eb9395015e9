//! Event definitions: TOML or command-line text -> [`EventDef`], checked as far as that is possible without a kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

mod aggregate;
mod file;
mod names;

pub use aggregate::{Aggregate, Measure};
pub use file::parse_toml;

use serde::Deserialize;

use crate::column::Type;
use crate::expr::{Expr, Field, Kind, ParseError, Probe, ProbeKind, Target, near};

/// Most columns of an event, builtin ones included: the bits in a record's bitmaps.
pub const MAX_COLUMNS: usize = 32;
/// Relative size of an event's rings if its definition does not say. Not 1, so that a rare event can ask for less.
const DEFAULT_WEIGHT: u32 = 16;
/// The definitions that come with ktape.
const BUILTIN: &[(&str, &str)] = &[
    ("block_io", include_str!("../events/block_io.toml")),
    ("cache", include_str!("../events/cache.toml")),
    ("capabilities", include_str!("../events/capabilities.toml")),
    ("cgroup_changes", include_str!("../events/cgroup_changes.toml")),
    ("dir_entries", include_str!("../events/dir_entries.toml")),
    ("drops", include_str!("../events/drops.toml")),
    ("execs", include_str!("../events/execs.toml")),
    ("file_io", include_str!("../events/file_io.toml")),
    ("irqs", include_str!("../events/irqs.toml")),
    ("kmem", include_str!("../events/kmem.toml")),
    ("listens", include_str!("../events/listens.toml")),
    ("lock_waits", include_str!("../events/lock_waits.toml")),
    ("mkdirs", include_str!("../events/mkdirs.toml")),
    ("mounts", include_str!("../events/mounts.toml")),
    ("netns_joins", include_str!("../events/netns_joins.toml")),
    ("ooms", include_str!("../events/ooms.toml")),
    ("opens", include_str!("../events/opens.toml")),
    ("packets", include_str!("../events/packets.toml")),
    ("processes", include_str!("../events/processes.toml")),
    ("reclaims", include_str!("../events/reclaims.toml")),
    ("samples", include_str!("../events/samples.toml")),
    ("signals", include_str!("../events/signals.toml")),
    ("sock_io", include_str!("../events/sock_io.toml")),
    ("switches", include_str!("../events/switches.toml")),
    ("syscalls", include_str!("../events/syscalls.toml")),
    ("tcp_conns", include_str!("../events/tcp_conns.toml")),
    ("tcp_events", include_str!("../events/tcp_events.toml")),
    ("tcp_segments", include_str!("../events/tcp_segments.toml")),
    ("wakeups", include_str!("../events/wakeups.toml")),
    ("works", include_str!("../events/works.toml")),
];

/// A named kind of event: where it is observed and what is recorded of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDef {
    /// Name of the event, its table and its directory.
    pub name: String,
    /// One sentence: when does it happen.
    pub summary: String,
    /// Recorded with every trace.
    pub always: bool,
    /// Whether the current process has to do with it.
    pub context: Context,
    /// Size of its rings relative to other events.
    pub weight: u32,
    /// Places to observe; all are attached.
    pub sources: Vec<SourceDef>,
    /// What is no event, although its name might suggest it.
    pub excludes: Option<String>,
    /// What is recorded. Empty with `everything`.
    pub columns: Vec<ColumnDef>,
    /// The columns are all fields or arguments that the (only) source offers; the kernel knows which.
    pub everything: bool,
    /// What somebody who records it asks of its rows, beside the conditions of its sources: `EVENT if CONDITION`.
    pub only_if: Option<Field>,
    /// Its events are counted in the kernel instead of being recorded one by one.
    pub aggregate: Option<Aggregate>,
}

/// Whether the current process has to do with an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Context {
    /// It caused it.
    #[default]
    Process,
    /// It does not: the event happens in interrupts mostly, which are nobody's. Filters by process do not apply.
    Irq,
}

/// A place to observe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDef {
    /// Name, unique in the event.
    pub name: String,
    /// Kernels may lack it; then nothing is missing.
    pub optional: bool,
    /// Operation of io_uring (`IORING_OP_MKDIRAT`) that is observed here; a kernel without it lacks nothing.
    pub covers: Option<String>,
    /// Ways to observe it, best first; the first that this kernel offers is taken.
    pub probes: Vec<ProbeDef>,
}

/// A way to observe: a probe point with its expressions, those of the source included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeDef {
    /// Where it is attached.
    pub on: Target,
    /// Named expressions that others use.
    pub lets: BTreeMap<String, Field>,
    /// Only events for which this holds are recorded.
    pub predicate: Option<Field>,
    /// Expressions of columns; they go before the columns' own.
    pub set: BTreeMap<String, Field>,
    /// Columns that are NULL unless a predicate holds.
    pub when: BTreeMap<String, Field>,
    /// Replaces the process of the record.
    pub pid: Option<Field>,
    /// Replaces the thread of the record.
    pub tid: Option<Field>,
    /// Processes to look up in the set of recorded ones, at most two; empty for the current one.
    pub filter_pids: Vec<Field>,
    /// One record for each item of an array.
    pub each: Option<Each>,
    /// What names the object that begins here.
    pub begins: Option<Field>,
    /// What names the object that ends here. Filters by process do not apply: an end is recorded if its begin was.
    pub ends: Option<Field>,
    /// Of events with the same value of this, the first is recorded.
    pub once: Option<Field>,
    /// It happens in interrupts of itself too, so that a second program is needed to see all.
    pub nests: bool,
    /// Events of the source that are not seen here.
    pub misses: Vec<String>,
}

/// One record for each item of an array of pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each {
    /// How many items.
    pub count: Field,
    /// The first item's address.
    pub array: Field,
}

/// A column of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDef {
    /// Name in SQL.
    pub name: String,
    /// Type; `None` is decided by the kernel's type of the expression.
    pub ty: Option<Type>,
    /// `ns`, `bytes`, `pages`, ...
    pub unit: Option<String>,
    /// What it says and where it comes from.
    pub doc: String,
    /// Whose it is, if not the current thread's although its name says so: a socket's network namespace.
    pub subject: Option<String>,
    /// Whether it is NULL where the kernel has not what its value is made of. Otherwise the event is not observed there.
    pub is_optional: bool,
    /// Its value, unless a probe sets another; without any it is NULL.
    pub expr: Option<Field>,
}

impl ProbeDef {
    /// The expression of a column when it is observed here.
    pub fn value<'a>(&'a self, column: &'a ColumnDef) -> Option<&'a Field> {
        self.set.get(&column.name).or(column.expr.as_ref())
    }
}

/// A definition that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefError(String);

impl fmt::Display for DefError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DefError {}

impl From<ParseError> for DefError {
    fn from(error: ParseError) -> Self {
        Self(error.to_string())
    }
}

fn fail<T>(message: impl Into<String>) -> Result<T, DefError> {
    Err(DefError(message.into()))
}

/// The events that come with ktape, by name.
///
/// # Panics
/// If a definition in this crate is wrong, which a test of this crate excludes.
pub fn builtin() -> &'static [EventDef] {
    static EVENTS: OnceLock<Vec<EventDef>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let parse = |(name, text): &(&str, &str)| parse_toml(name, text).unwrap_or_else(|e| panic!("{e}"));
        BUILTIN.iter().map(parse).collect()
    })
}

/// Read a probe as written on the command line: `NAME=KIND:TARGET{ fields } if predicate`.
pub fn parse_inline(text: &str) -> Result<EventDef, DefError> {
    let Probe { name, target, fields, predicate } = Probe::parse(text)?;
    // What several functions have in common is only that they are called.
    let everything = fields.is_none() && !target.is_pattern();
    let mut columns = Vec::new();
    for (name, field) in fields.unwrap_or_default() {
        let written = field.text[field.expr.span.start..field.expr.span.end].to_owned();
        let ty = field.ty.clone();
        let unit = (field.expr.kind == Kind::Duration).then(|| "ns".to_owned());
        columns.push(ColumnDef {
            name,
            ty,
            unit,
            doc: written,
            subject: None,
            is_optional: false,
            expr: Some(field),
        });
    }
    let probe = ProbeDef {
        on: target.clone(),
        lets: BTreeMap::new(),
        predicate,
        set: BTreeMap::new(),
        when: BTreeMap::new(),
        pid: None,
        tid: None,
        filter_pids: Vec::new(),
        each: None,
        begins: None,
        ends: None,
        once: None,
        nests: false,
        misses: Vec::new(),
    };
    let event = EventDef {
        summary: format!("{target}, given on the command line"),
        always: false,
        context: Context::Process,
        weight: DEFAULT_WEIGHT,
        sources: vec![SourceDef {
            name: target.default_name(),
            optional: false,
            covers: None,
            probes: vec![probe],
        }],
        excludes: None,
        columns,
        everything,
        only_if: None,
        aggregate: None,
        name,
    };
    check(&event)?;
    Ok(event)
}

impl EventDef {
    /// The event, but only rows that meet `condition`. Fails if that is no condition, or if the recorder itself makes rows of
    /// what is there already, to which no program could apply it.
    pub fn only_if(self, condition: &str) -> Result<Self, DefError> {
        let field = Field::parse_predicate(condition)?;
        let is_snapshot =
            |ty: &Type| matches!(ty, Type::Enum(names) if names.iter().any(|(_, name)| name == "snapshot"));
        if self.columns.iter().filter_map(|column| column.ty.as_ref()).any(is_snapshot) {
            return fail(format!(
                "{0} cannot have a condition, because it also has rows of what was there before: record all of it, and \
                 ask with WHERE afterwards",
                self.name
            ));
        }
        Ok(Self { only_if: Some(field), ..self })
    }
}

fn check(event: &EventDef) -> Result<(), DefError> {
    let name = &event.name;
    if let Some(refusal) = crate::name::refusal(name) {
        return fail(refusal);
    }
    if event.columns.len() > MAX_COLUMNS {
        let n = event.columns.len();
        return fail(format!("event {name} has {n} columns, the limit is {MAX_COLUMNS}"));
    }
    names::check(event)?;
    for (i, source) in event.sources.iter().enumerate() {
        if event.sources[..i].iter().any(|other| other.name == source.name) {
            return fail(format!("event {name} has two sources named {}", source.name));
        }
        if source.probes.is_empty() {
            return fail(format!("event {name}, source {} has no probe", source.name));
        }
        for probe in &source.probes {
            check_probe(event, source, probe)?;
        }
    }
    Ok(())
}

fn check_probe(event: &EventDef, source: &SourceDef, probe: &ProbeDef) -> Result<(), DefError> {
    let at = format!("event {}, source {}, probe {}", event.name, source.name, probe.on);
    for (key, column) in probe.set.keys().map(|c| ("set", c)).chain(probe.when.keys().map(|c| ("when", c))) {
        let names = || event.columns.iter().map(|c| c.name.as_str());
        if !names().any(|name| name == column) {
            let near = near(column, names());
            let hint = if near.is_empty() { names().collect::<Vec<_>>().join(", ") } else { near.join(", ") };
            return fail(format!("{at}: {key} names a column {column} that is not there; there is {hint}"));
        }
    }
    if probe.filter_pids.len() > 2 {
        return fail(format!(
            "{at}: filter_pids has {} expressions, the limit is 2",
            probe.filter_pids.len()
        ));
    }
    let begins =
        || event.sources.iter().flat_map(|source| &source.probes).any(|probe| probe.begins.is_some());
    if probe.ends.is_some() && (probe.begins.is_some() || !begins()) {
        return fail(format!("{at}: ends goes with begins in another source of the event"));
    }
    let is_entry = |expr: &Expr| matches!(expr.kind, Kind::Entry(_));
    let whole = event.columns.iter().filter_map(|c| probe.value(c)).map(|field| match &field.expr.kind {
        Kind::Entry(inner) => (field, &**inner),
        _ => (field, &field.expr),
    });
    let others = probe.lets.values().chain(&probe.predicate).chain(probe.when.values());
    for (field, expr) in whole.chain(others.map(|field| (field, &field.expr))) {
        let mut place = None;
        expr.any(&mut |e| is_entry(e) && place.replace(e.span).is_none());
        if let Some(span) = place {
            let error = field.error(span, "entry(..) must be the whole expression of a column");
            return fail(format!("{at}: {error}"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether a probe of this kind runs when its function has returned, wherever it can choose.
pub fn runs_at_return(kind: ProbeKind) -> bool {
    match kind {
        ProbeKind::Function
        | ProbeKind::Kretprobe
        | ProbeKind::Fexit
        | ProbeKind::Syscall
        | ProbeKind::Uretprobe => true,
        ProbeKind::Kprobe
        | ProbeKind::Fentry
        | ProbeKind::Tracepoint
        | ProbeKind::RawTracepoint
        | ProbeKind::Uprobe
        | ProbeKind::Usdt
        | ProbeKind::Profile
        | ProbeKind::Software
        | ProbeKind::Hardware => false,
    }
}

#[cfg(test)]
mod tests;
