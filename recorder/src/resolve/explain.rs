//! Plans, events and probes for people: `--explain` and `recorder describe`.

use std::fmt::Write;

use schemas::column::Type;
use schemas::def::{Context, EventDef};
use schemas::wire::{NONE, Plan, Slot, flag, headers, op, src};

use super::compile::Compiler;
use super::layout::Stored;
use super::scope::Scope;
use super::{Candidate, Filter, Request, ResolvedEvent, Stacks, Unobserved, resolve};
use crate::kernel::Kernel;
use crate::user::Place;
use crate::user::operand::register_name;

/// Types, offsets and mechanisms of a resolved event.
pub fn explain(event: &ResolvedEvent) -> String {
    let mut out = format!("event {}: {}\n", event.layout.event, event.layout.summary);
    for source in &event.sources {
        let optional = if source.optional { " (optional)" } else { "" };
        let _ = writeln!(out, "\nsource {}{optional}", source.name);
        let mut before: Option<&Candidate> = None;
        for candidate in &source.candidates {
            let choice = if before.is_none() { "first choice" } else { "if that fails" };
            let same = before.is_some_and(|b| b.plan == candidate.plan && b.entry == candidate.entry);
            let shown = match candidate.explain.split_once('\n') {
                Some((head, _)) if same => format!("{head}\n  the same columns"),
                _ => candidate.explain.clone(),
            };
            let _ = writeln!(out, "  {choice}: {}", shown.replace('\n', "\n  "));
            before = Some(candidate);
        }
        for (probe, reason) in &source.refused {
            let _ = writeln!(out, "  not {probe}: {}", reason.replace('\n', "\n    "));
        }
        for Unobserved { what, why } in &source.unobserved {
            let _ = writeln!(out, "  not observed: {what}: {why}");
        }
    }
    out
}

/// What is known of an event: its columns and, with a kernel, what observes it there.
pub fn describe(def: &EventDef, kernel: Option<&Kernel>) -> String {
    let mut out = format!("{}: {}\n", def.name, def.summary);
    if let Some(excludes) = &def.excludes {
        let _ = writeln!(out, "no row: {excludes}");
    }
    if def.always {
        out.push_str("recorded with every trace\n");
    }
    if def.context == Context::Irq {
        out.push_str("happens in interrupts mostly: --pid, --comm and --cgroup do not apply\n");
    }
    let filter = Filter::default();
    let request = Request { def, filter: &filter, stacks: Stacks::None, all_sources: false };
    let resolved = kernel.map(|kernel| resolve(kernel, &request));
    out.push_str("\ncolumns\n");
    let mut rows: Vec<[String; 3]> = Vec::new();
    let unit = |unit: &Option<String>| unit.as_ref().map_or(String::new(), |unit| format!(" [{unit}]"));
    match &resolved {
        Some(Ok(event)) => {
            for column in &event.layout.columns {
                let ty = format!("{}{}", short(&column.ty), unit(&column.unit));
                rows.push([column.name.clone(), ty, column.doc.clone()]);
            }
        }
        _ => {
            for column in &def.columns {
                let ty = column.ty.as_ref().map_or_else(String::new, short);
                rows.push([column.name.clone(), format!("{ty}{}", unit(&column.unit)), column.doc.clone()]);
            }
        }
    }
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let (name_width, type_width) = (width(0), width(1));
    for [name, ty, doc] in &rows {
        let _ = writeln!(out, "  {name:name_width$}  {ty:type_width$}  {doc}");
    }
    out.push_str("\nsources\n");
    for source in &def.sources {
        let probes: Vec<String> = source.probes.iter().map(|probe| probe.on.to_string()).collect();
        let _ = writeln!(out, "  {}: {}", source.name, probes.join(", else "));
        if source.probes.iter().any(|probe| probe.ends.is_some()) {
            out.push_str(
                "    with a filter by process: in any process, if what it ends was recorded when it began\n",
            );
        }
        let Some(Ok(event)) = &resolved else { continue };
        let Some(found) = event.sources.iter().find(|s| s.name == source.name) else { continue };
        match found.candidates.as_slice() {
            [] => {
                for (probe, reason) in &found.refused {
                    let _ = writeln!(out, "    not here: {probe}: {}", reason.replace('\n', "\n      "));
                }
            }
            candidates => {
                let ways: Vec<String> =
                    candidates.iter().map(|c| format!("{} {}", c.mechanism, c.target)).collect();
                let _ = writeln!(out, "    tries here: {}", ways.join(", then "));
                for place in candidates.iter().filter_map(|candidate| candidate.user.as_ref()) {
                    let _ = writeln!(out, "    at {place}");
                    if let Some(remark) = place.remarks() {
                        let _ = writeln!(out, "    {remark}");
                    }
                }
            }
        }
        for Unobserved { what, why } in &found.unobserved {
            let _ = writeln!(out, "    not observed: {what}: {why}");
        }
    }
    for place in resolved
        .iter()
        .flatten()
        .flat_map(|event| &event.sources)
        .filter(|place| def.sources.iter().all(|source| source.name != place.name))
    {
        let targets: Vec<String> =
            place.candidates.iter().map(|c| format!("{} {}", c.mechanism, c.target)).collect();
        let what = place.way.as_deref().unwrap_or("the same, with arguments elsewhere");
        let _ = writeln!(out, "  {}: {what}", place.name);
        let _ = writeln!(out, "    tries here: {}", targets.join(", then "));
        for at in place.candidates.iter().filter_map(|candidate| candidate.user.as_ref()) {
            let _ = writeln!(out, "    at {at}");
        }
    }
    if let Some(Err(error)) = resolved {
        let _ = writeln!(out, "\nnot on this kernel: {error:#}");
    }
    out
}

/// A type; a long list of names is cut.
fn short(ty: &Type) -> String {
    match ty {
        Type::Enum(names) => {
            let shown: Vec<&str> = names.iter().take(6).map(|(_, name)| name.as_str()).collect();
            let more = if names.len() > shown.len() { ", ..." } else { "" };
            format!("enum({}{more})", shown.join(", "))
        }
        other => other.to_string(),
    }
}

/// One candidate: mechanism and prototype, then a line for each column.
pub(super) fn candidate(compiler: &Compiler<'_>, scope: &Scope, candidate: &Candidate) -> String {
    let mut out = format!("{} {}", candidate.mechanism, scope.prototype);
    if let Some(remarks) = candidate.user.as_ref().and_then(Place::remarks) {
        let _ = write!(out, "\n  {remarks}");
    }
    if let Some(field) = &compiler.probe.predicate {
        let span = field.expr.span;
        let _ = write!(out, "\n  only if {}", &field.text[span.start..span.end]);
    }
    let Plan { begins, ends, sample, nests, .. } = *candidate.plan;
    if begins != NONE {
        out.push_str("\n  begins an object whose end is recorded too");
    }
    if ends != NONE {
        out.push_str("\n  only ends of objects whose begin was recorded, in whichever process");
    }
    if sample > 1 {
        let _ = write!(out, "\n  one of {sample} per cpu");
    }
    if nests != 0 {
        out.push_str("\n  further programs record what happens in interrupts of the first");
    }
    if candidate.plan.is_timed() {
        out.push_str("\n  a program at the entry takes the time");
    }
    if compiler.recorded.keys.is_some() {
        let subjects = super::aggregate::subjects(candidate.plan.key_subject);
        let subjects =
            if subjects.is_empty() { String::new() } else { format!(" {} and", subjects.join(", ")) };
        let _ = write!(out, "\n  events are counted in the kernel, by{subjects} these:");
    }
    for Stored { column, place, .. } in &compiler.recorded.stored {
        let value = match compiler.probe.value(column) {
            Some(field) => field.text[field.expr.span.start..field.expr.span.end].to_owned(),
            None => "NULL".to_owned(),
        };
        let from_entry = candidate.entry.as_deref().and_then(|plan| steps(plan, place.bit));
        let at = match (steps(&candidate.plan, place.bit), from_entry) {
            (_, Some(steps)) => format!("at entry {steps}"),
            (Some(steps), None) => steps,
            (None, None) => "nothing".to_owned(),
        };
        let value = match (at.as_str(), column.is_optional) {
            ("nothing", true) => format!("NULL, as this kernel lacks what it is made of ({value})"),
            _ => value,
        };
        let when = match compiler.probe.when.get(&column.name) {
            Some(field) => format!(", only if {}", field.text),
            None => String::new(),
        };
        let _ = write!(out, "\n  {} {} = {value}: {at}{when}", place.name, short(&place.ty));
    }
    out
}

/// The steps that fill a column.
fn steps(plan: &Plan, bit: u8) -> Option<String> {
    let slots: Vec<String> = plan
        .slots
        .iter()
        .filter(|s| s.src != src::END && s.bit == bit)
        .map(|slot| step(plan, slot))
        .collect();
    (!slots.is_empty()).then(|| slots.join(", or "))
}

/// `arg0 24>48>176 u32`: start, offsets that are followed, what is read.
fn step(plan: &Plan, slot: &Slot) -> String {
    let temp = |index: u8| {
        let slots = plan.slots.iter().filter(|s| s.src != src::END && s.save != NONE);
        for slot in slots {
            match index.checked_sub(slot.save) {
                Some(0) if slot.op != op::HEADERS => return step(plan, slot),
                Some(headers::PROTO) if slot.op == op::HEADERS => return "protocol behind ip".to_owned(),
                Some(headers::UPPER) if slot.op == op::HEADERS => return "header behind ip".to_owned(),
                Some(headers::STATE) if slot.op == op::HEADERS => return "state behind ip".to_owned(),
                _ => {}
            }
        }
        "?".to_owned()
    };
    if slot.guard != NONE
        && plan.slots.iter().any(|s| s.save == slot.guard && s.src == src::CONST && s.op == op::VALUE)
    {
        return "NULL".to_owned();
    }
    let mut out = match slot.src {
        src::ARG => format!("arg{}", slot.index + 1),
        src::RET => "retval".to_owned(),
        src::CTX => "record".to_owned(),
        src::TASK => "task".to_owned(),
        src::TEMP => format!("({})", temp(slot.index)),
        src::CONST => match slot.op {
            op::PRED => "predicate".to_owned(),
            op::COMM => "comm".to_owned(),
            op::KSTACK => "kernel stack".to_owned(),
            op::USTACK => "user stack".to_owned(),
            _ => (slot.imm as i64).to_string(),
        },
        src::PID_TGID => "pid_tgid".to_owned(),
        src::CGROUP_ID => "cgroup_id".to_owned(),
        src::UID_GID => "uid_gid".to_owned(),
        src::DURATION => "time since the entry".to_owned(),
        src::REG if cfg!(target_arch = "aarch64") => format!("word {} of the registers", slot.index),
        src::REG => register_name(slot.index).to_owned(),
        src::ANCESTOR_ID => format!("cgroup_id at level {}", slot.index),
        _ => "item".to_owned(),
    };
    if slot.add != NONE {
        let _ = write!(out, " + ({})", temp(slot.add));
    }
    let reads = slot.derefs > 0 || matches!(slot.op, op::LOAD | op::MEM | op::STR | op::BYTES);
    let offsets: Vec<String> =
        slot.off[..=usize::from(slot.derefs)].iter().map(ToString::to_string).collect();
    if reads {
        let _ = write!(out, " {}", offsets.join(">"));
    } else if slot.off[0] != 0 {
        let _ = write!(out, " + {}", slot.off[0]);
    }
    match slot.op {
        op::LOAD => {
            let _ = write!(out, " u{}", slot.size * 8);
        }
        op::MEM => {
            let _ = write!(out, " {} bytes", slot.size);
        }
        op::STR => out.push_str(" text"),
        op::BYTES => {
            let _ = write!(out, " as many bytes as ({}), at most {}", temp(slot.clause_from), slot.size);
        }
        _ => {}
    }
    if slot.rshift != 0 {
        let _ = write!(out, " >> {}", slot.rshift);
    }
    if slot.bits != 0 && u16::from(slot.bits) != slot.size * 8 {
        let _ = write!(out, " {} bits", slot.bits);
    }
    for (bit, word) in [
        (flag::SIGNED, "signed"),
        (flag::SWAP, "swapped"),
        (flag::USER, "user memory"),
        (flag::NEGATE, "negated"),
        (flag::POWER, "power of two"),
    ] {
        if slot.flags & bit != 0 {
            let _ = write!(out, " {word}");
        }
    }
    if slot.lshift != 0 {
        let _ = write!(out, " << {}", slot.lshift);
    }
    out
}
