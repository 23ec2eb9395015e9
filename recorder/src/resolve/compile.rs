//! One probe point, with the definition's expressions and the request's filters -> a candidate.

use anyhow::{Context as _, Result, anyhow, ensure};
use schemas::column::Type;
use schemas::def::{ColumnDef, Context, EventDef, ProbeDef};
use schemas::expr::{Builtin, Expr, Field, Kind, ParseError};
use schemas::wire::{MAX_COPIES, Plan, cmp, src, stash};

use super::assemble::{Wanted, assemble};
use super::layout::{How, Keys, Recorded, Stored, is_at_entry};
use super::lower::{Lower, Value};
use super::nodes::{Compare, Formula, Node, NodeId, Nodes, Right};
use super::scope::{ArgAt, Offer, Scope};
use super::{Candidate, Filter, Mechanism, Power, explain, ways};
use crate::kernel::Kernel;
use crate::user::Place;

/// System calls that the child leaves too, which they make.
const MAKING_CHILDREN: [&str; 4] = ["clone", "clone3", "fork", "vfork"];

/// Everything that one candidate is made of.
pub(super) struct Compiler<'a> {
    pub kernel: &'a Kernel,
    pub def: &'a EventDef,
    pub source: &'a str,
    pub probe: &'a ProbeDef,
    pub columns: &'a [ColumnDef],
    pub recorded: &'a Recorded,
    pub filter: &'a Filter,
    pub extra: Option<&'a Field>,
}

/// The type of a column from the first probe point that gives one.
pub(super) fn infer(
    kernel: &Kernel,
    columns: &[ColumnDef],
    column: &ColumnDef,
    offers: &[Vec<Offer<'_>>],
    how: How,
) -> Result<Type> {
    let mut first_error = None;
    for offer in offers.iter().flatten() {
        for scope in offer.scopes() {
            match infer_as(kernel, columns, column, offer.probe, scope, how) {
                Ok(ty) => return Ok(ty),
                Err(error) => first_error.get_or_insert(error),
            };
        }
    }
    match first_error {
        Some(error) => Err(error.context(format!("column {}", column.name))),
        None => Err(anyhow!("column {}: no probe point gives it a type", column.name)),
    }
}

/// The type of a column at one probe point.
pub(super) fn infer_in(
    kernel: &Kernel,
    columns: &[ColumnDef],
    column: &ColumnDef,
    probe: &ProbeDef,
    scope: &Scope,
) -> Result<Type> {
    infer_as(kernel, columns, column, probe, scope, How::Column)
}

fn infer_as(
    kernel: &Kernel,
    columns: &[ColumnDef],
    column: &ColumnDef,
    probe: &ProbeDef,
    scope: &Scope,
    how: How,
) -> Result<Type> {
    let Some(field) = probe.value(column) else {
        return Err(anyhow!("a column without an expression needs a type"));
    };
    if let Some(ty) = &field.ty {
        return Ok(ty.clone());
    }
    let entry;
    let scope = if matches!(field.expr.kind, Kind::Entry(_)) {
        entry = scope.at_entry();
        &entry
    } else {
        scope
    };
    let mut nodes = Nodes::default();
    let mut lower = Lower {
        kernel,
        scope,
        probe,
        columns,
        columns_first: how != How::Column,
        guards: None,
        nodes: &mut nodes,
        active: Vec::new(),
    };
    lower.active.push(format!("column{}", column.name));
    Ok(lower.infer(field)?)
}

impl<'a> Compiler<'a> {
    /// The plans for one probe point.
    pub fn candidate(&self, scope: &Scope) -> Result<Candidate> {
        let entry_scope = scope.at_entry();
        let stored = self.recorded.stored.iter();
        let at_entry: Vec<&str> = stored
            .filter(|it| scope.at_return && is_at_entry(self.probe, &it.column, &it.place.ty))
            .map(|it| it.column.name.as_str())
            .collect();
        let uses_stash = scope.stash_args || !at_entry.is_empty();
        let stashed;
        let scope = if uses_stash {
            stashed = scope.with_stashed_args();
            &stashed
        } else {
            scope
        };

        let mut plan = Plan { record_size: self.recorded.record_size, ..Plan::EMPTY };
        plan.n_args = scope.n_args;
        plan.syscall_regs = scope.syscall_regs.into();
        if self.def.context == Context::Process && self.probe.ends.is_none() {
            // An event with other subjects than the current process is theirs too: when the recorder leaves a
            // processor, another thread comes.
            if self.probe.filter_pids.is_empty() {
                plan.exclude_pid = self.filter.exclude_pid.unwrap_or(0);
            }
            plan.filter_pids = self.filter.pids.into();
        }
        // An end is recorded if its begin was, so that what is there of an object is complete.
        plan.sample = if self.probe.ends.is_some() { 0 } else { self.filter.sample };
        let twice = matches!(scope.mechanism, Mechanism::TpBtf | Mechanism::RawTp | Mechanism::Fentry);
        plan.nests = if self.probe.nests && twice && !uses_stash { MAX_COPIES as u8 - 1 } else { 0 };
        let base = plan;
        if uses_stash {
            plan.use_stash = stash::ALL;
            let makes_child = MAKING_CHILDREN.contains(&scope.target.as_str());
            plan.child_leaves = (scope.mechanism == Mechanism::SyscallTracepoints && makes_child).into();
            plan.stash_size = if at_entry.is_empty() { 0 } else { self.recorded.stash_size };
        }
        if let Some(Keys { subject, bits, from, end, sums }) = self.recorded.keys {
            plan.aggregates = 1;
            (plan.key_subject, plan.key_bits, plan.key_from, plan.key_end) = (subject, bits, from, end);
            (plan.sums, plan.sum_bit) = (sums, bits.count_ones() as u8);
        }
        let (mut plan, is_never) = self.plan(scope, plan, |name| !at_entry.contains(&name), true)?;
        if plan.is_timed() && !uses_stash {
            plan.use_stash = stash::TIME;
        }
        ensure!(
            self.probe.each.is_none() || plan.use_stash == stash::NONE,
            "each does not go with values from the entry of a function (entry(..), dur, a kretprobe's arguments): many items \
             take several runs, and these are kept for one: observe it with fentry or kprobe"
        );
        let entry = if plan.use_stash != stash::NONE {
            let base = Plan { stash_size: plan.stash_size, sample: 0, ..base };
            // With subjects the filter needs values that the entry program does not have.
            let own_filter = self.probe.filter_pids.is_empty();
            let base = Plan { filter_pids: if own_filter { base.filter_pids } else { 0 }, ..base };
            Some(Box::new(self.plan(&entry_scope, base, |name| at_entry.contains(&name), false)?.0))
        } else {
            None
        };
        let mut candidate = Candidate {
            event: self.def.name.clone(),
            source: self.source.to_owned(),
            mechanism: scope.mechanism,
            target: scope.target.clone(),
            plan: Box::new(plan),
            entry,
            btf_id: scope.btf_id,
            user: self.user(scope),
            power: self.recorded.stored.iter().find(|it| it.how == How::Power).map(
                |Stored { place, .. }| Power {
                    at: place.offset,
                    bit: place.bit,
                    signed: matches!(place.ty, Type::Signed(_)),
                },
            ),
            better: 0,
            is_never,
            misses: ways::misses(self.kernel, self.probe, scope.mechanism),
            explain: String::new(),
        };
        candidate.explain = explain::candidate(self, scope, &candidate);
        Ok(candidate)
    }

    /// Where a probe in user space is, with the arguments that are NULL there.
    fn user(&self, scope: &Scope) -> Option<Place> {
        let mut place = scope.user.clone()?;
        let columns = self.columns.iter().filter_map(|column| self.probe.value(column));
        let others = self.probe.lets.values().chain(&self.probe.predicate).chain(self.probe.when.values());
        let fields: Vec<&Field> =
            columns.chain(others).chain(self.def.only_if.as_ref()).chain(self.extra).collect();
        for (i, arg) in scope.args.iter().enumerate() {
            let ArgAt::Elsewhere(why) = &arg.at else { continue };
            let is_it = |expr: &Expr| match &expr.kind {
                Kind::Name(name) => *name == arg.name,
                Kind::Builtin(Builtin::Arg(index)) => usize::from(*index) == i,
                _ => false,
            };
            if fields.iter().any(|field| field.expr.any(&mut |expr| is_it(expr))) {
                let offsets: Vec<String> =
                    place.offsets.iter().map(|offset| format!("{offset:#x}")).collect();
                place.notes.push(format!(
                    "{} is NULL at file offset {}: {why}",
                    arg.name,
                    offsets.join(", ")
                ));
            }
        }
        Some(place)
    }

    /// Whether only some events are recorded, so that the ends that go with them must be told from others.
    fn knows_objects(&self) -> bool {
        let Filter { pids, comm, netns, cgroups, exclude_pid: _, extra: _, sample } = self.filter;
        let is_filtered =
            *pids || !comm.is_empty() || !netns.is_empty() || !cgroups.is_empty() || *sample > 1;
        is_filtered || self.def.only_if.is_some()
    }

    /// Whether a column of the current thread is there because every event has it, not because this one defines it.
    fn is_added(&self, column: &ColumnDef) -> bool {
        let of_thread = matches!(column.name.as_str(), "comm" | "cgroup_id" | "ustack");
        of_thread && !self.def.columns.iter().any(|own| own.name == column.name)
    }

    /// One plan: the columns that `wants` names and, if `whole`, the filter and all that goes with it. And whether that
    /// filter lets nothing pass.
    fn plan(
        &self,
        scope: &Scope,
        plan: Plan,
        wants: impl Fn(&str) -> bool,
        whole: bool,
    ) -> Result<(Plan, bool)> {
        let mut nodes = Nodes::default();
        let mut lower = Lower {
            kernel: self.kernel,
            scope,
            probe: self.probe,
            columns: self.columns,
            columns_first: false,
            guards: None,
            nodes: &mut nodes,
            active: Vec::new(),
        };
        let mut wanted = Wanted::default();
        if whole {
            self.filters(&mut lower, &mut wanted, plan.filter_pids != 0)?;
        }
        for Stored { column, place, how } in &self.recorded.stored {
            if !wants(&column.name) {
                continue;
            }
            let guard = match self.probe.when.get(&column.name) {
                Some(field) => lower.predicate(field).with_context(|| format!("when {}", column.name))?,
                None => Formula::Always,
            };
            let outputs = match self.probe.value(column) {
                // It would be that of the process in which the probe runs, and the row is about another.
                Some(_) if self.probe.pid.is_some() && self.is_added(column) => vec![lower.null(place)],
                Some(field) if *how != How::Column => lower
                    .measure(field, place, *how == How::Power)
                    .with_context(|| format!("column {}", column.name))?,
                Some(field) => {
                    let before = column.is_optional.then(|| lower.nodes.clone());
                    lower.active.push(format!("column{}", column.name));
                    let outputs = lower.outputs(field, place, guard);
                    lower.active.pop();
                    match (outputs, before) {
                        (Err(_), Some(before)) => {
                            *lower.nodes = before;
                            vec![lower.null(place)]
                        }
                        (outputs, _) => outputs.with_context(|| format!("column {}", column.name))?,
                    }
                }
                None => vec![lower.null(place)],
            };
            wanted.outputs.extend(outputs);
        }
        for output in &wanted.outputs {
            if !matches!(output.guard, Formula::Always | Formula::Never) {
                lower.nodes.add(Node::Holds(output.guard.clone()));
            }
        }
        let is_never = wanted.filter == Some(Formula::Never);
        Ok((assemble(&nodes, &wanted, &plan)?, is_never))
    }

    /// What is computed before the columns: where, filters, subjects, identity, array.
    fn filters(&self, lower: &mut Lower<'_>, wanted: &mut Wanted, by_pid: bool) -> Result<()> {
        let probe = self.probe;
        if let Some(each) = &probe.each {
            let count = number(lower, &each.count).context("each count")?;
            let array = number(lower, &each.array).context("each array")?;
            wanted.each = Some((count, array));
        }
        if by_pid {
            for field in &probe.filter_pids {
                wanted.subjects.push(number(lower, field).context("filter_pids")?);
            }
        }
        if self.knows_objects() {
            let object = |field: &Option<Field>, lower: &mut Lower<'_>| {
                field.as_ref().map(|field| number(lower, field)).transpose()
            };
            wanted.begins = object(&probe.begins, lower).context("begins")?;
            wanted.ends = object(&probe.ends, lower).context("ends")?;
        }
        wanted.once = probe.once.as_ref().map(|field| number(lower, field)).transpose().context("once")?;
        wanted.pid = probe.pid.as_ref().map(|field| number(lower, field)).transpose().context("pid")?;
        wanted.tid = probe.tid.as_ref().map(|field| number(lower, field)).transpose().context("tid")?;

        let mut all = Vec::new();
        if let Some(field) = &probe.predicate {
            all.push(lower.predicate(field).context("predicate")?);
        }
        // What ends an object is recorded if its begin was.
        if let Some(field) = self.def.only_if.as_ref().filter(|_| probe.ends.is_none()) {
            all.push(lower.predicate(field).context("condition")?);
        }
        if let Some(field) = self.extra {
            all.push(lower.predicate(field).context("filter")?);
        }
        let Filter { pids: _, comm, netns, cgroups, exclude_pid: _, extra: _, sample: _ } = self.filter;
        let by_thread = self.def.context == Context::Process && probe.ends.is_none();
        if by_thread {
            if !comm.is_empty() {
                let field = Field::parse("$comm")?;
                let names = comm.iter().map(|name| lower.comm_is(&field, name));
                all.push(Formula::any(
                    names.collect::<Result<Vec<_>, ParseError>>().context("filter by comm")?,
                ));
            }
            if !cgroups.is_empty() {
                let own = number(lower, &Field::parse("$cgroup_id")?)?;
                all.push(Formula::any(cgroups.iter().map(|cgroup| {
                    let at_level = |level| lower.nodes.source(src::ANCESTOR_ID, level);
                    equals(cgroup.level.map_or(own, at_level), cgroup.id)
                })));
            }
        }
        if !netns.is_empty() {
            let own = self.columns.iter().find(|column| column.name == "netns");
            let field = match own.and_then(|column| probe.value(column)) {
                Some(field) => Some(field.clone()),
                None if probe.ends.is_some() => None,
                None => Some(Field::parse("$netns")?),
            };
            if let Some(field) = field {
                let node = number(lower, &field).context("filter by netns")?;
                all.push(one_of(node, netns.iter().copied().map(u64::from)));
            }
        }
        let filter = Formula::all(all);
        wanted.filter = (filter != Formula::Always).then_some(filter);
        Ok(())
    }
}

fn number(lower: &mut Lower<'_>, field: &Field) -> Result<NodeId, ParseError> {
    let value: Value = lower.field(field)?;
    Ok(lower.read(field, field.expr.span, value)?.node)
}

fn one_of(left: NodeId, values: impl Iterator<Item = u64>) -> Formula {
    Formula::any(values.map(|value| equals(left, value)))
}

fn equals(left: NodeId, value: u64) -> Formula {
    Formula::Compare(Compare { left, mask: u64::MAX, op: cmp::EQ, right: Right::Constant(value) })
}
