//! Built-in events and inline probes on the running kernel: mechanisms, types, plans, and the whole text of errors.

mod c_types;
mod errors;
mod filters;
mod manual;
mod mechanisms;
mod names;
mod patterns;
mod plans;
mod run;
mod samples;
mod sound;
mod tracepoints;

use schemas::def::{builtin, parse_inline};
use schemas::wire::{MAX_SLOTS, NO_DST, NONE, Slot, cmp, flag, headers, op, src, stash};

use super::*;
use crate::kernel::facts::Facts;
use crate::kernel::{Btf, Kernel};

/// The running kernel as if it had everything compiled in, or no kprobes.
fn kernel(kprobes: bool) -> Kernel {
    let facts = Facts { kprobes, uprobes: true, no_trampolines: None, ..Facts::of_running_kernel() };
    Kernel::with_facts(Btf::of_running_kernel().unwrap(), facts)
}

fn try_resolve(kernel: &Kernel, def: &EventDef, filter: &Filter) -> Result<ResolvedEvent> {
    resolve(kernel, &Request { def, filter, stacks: Stacks::None, all_sources: false })
}

fn event(name: &str) -> ResolvedEvent {
    let def = builtin().iter().find(|def| def.name == name).unwrap();
    try_resolve(&kernel(true), def, &Filter::default()).unwrap_or_else(|e| panic!("{e:#}"))
}

fn inline(text: &str) -> ResolvedEvent {
    let def = parse_inline(text).unwrap();
    try_resolve(&kernel(true), &def, &Filter::default()).unwrap_or_else(|e| panic!("{e:#}"))
}

fn inline_error(text: &str) -> String {
    let def = parse_inline(text).unwrap();
    error_of(try_resolve(&kernel(true), &def, &Filter::default()))
}

/// The error; a resolved event has thousands of lines, so it is not shown.
fn error_of(result: Result<ResolvedEvent>) -> String {
    match result {
        Ok(event) => panic!("event {} resolves", event.layout.event),
        Err(error) => format!("{error:#}"),
    }
}

/// `name:type` of the event's own columns.
fn columns(event: &ResolvedEvent) -> String {
    let own = event.layout.columns.iter().filter(|c| c.name != "comm" && c.name != "cgroup_id");
    own.map(|c| format!("{}:{}", c.name, c.ty)).collect::<Vec<_>>().join(" ")
}

fn mechanisms(source: &ResolvedSource) -> String {
    source.candidates.iter().map(|c| c.mechanism.to_string()).collect::<Vec<_>>().join(", ")
}

fn slots(plan: &Plan) -> impl Iterator<Item = &Slot> {
    plan.slots.iter().take_while(|slot| slot.src != src::END)
}

fn candidate<'a>(event: &'a ResolvedEvent, source: &str, mechanism: Mechanism) -> &'a Candidate {
    let source = event.sources.iter().find(|s| s.name == source).unwrap();
    source.candidates.iter().find(|c| c.mechanism == mechanism).unwrap()
}

/// The slots that fill a column.
fn of_column<'a>(event: &ResolvedEvent, plan: &'a Plan, name: &str) -> Vec<&'a Slot> {
    let bit = event.layout.column(name).unwrap().bit;
    slots(plan).filter(|slot| slot.bit == bit).collect()
}
