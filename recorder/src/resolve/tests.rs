//! Built-in events and inline probes on the running kernel; whole error texts.

use schemas::def::{builtin, parse_inline};
use schemas::wire::{NONE, flag, op, src};

use super::*;
use crate::kernel::facts::Facts;
use crate::kernel::{Btf, Kernel};

fn running() -> Kernel {
    Kernel::running().unwrap()
}

/// The running kernel as if it had everything compiled in.
fn capable() -> Kernel {
    let facts = Facts { kprobes: true, uprobes: true, no_trampolines: None, ..Facts::of_running_kernel() };
    Kernel::with_facts(Btf::of_running_kernel().unwrap(), facts)
}

fn try_resolve(kernel: &Kernel, def: &EventDef, filter: &Filter) -> Result<ResolvedEvent> {
    resolve(kernel, &Request { def, filter, stacks: Stacks::None, all_sources: false })
}

fn inline(kernel: &Kernel, text: &str) -> ResolvedEvent {
    let def = parse_inline(text).unwrap();
    try_resolve(kernel, &def, &Filter::default()).unwrap_or_else(|e| panic!("{e:#}"))
}

fn inline_error(text: &str) -> String {
    let def = parse_inline(text).unwrap();
    format!("{:#}", try_resolve(&capable(), &def, &Filter::default()).unwrap_err())
}

fn dump() {
    for def in builtin() {
        let event = try_resolve(&running(), def, &Filter::default());
        match event {
            Ok(event) => println!("{}", explain(&event)),
            Err(error) => println!("{error:#}"),
        }
    }
}

#[test]
fn show() {
    dump();
}
