//! Options and the running kernel in, resolved events out: everything that can be wrong with what was asked for is
//! found here, before anything is made.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use schemas::column::{Layout, Type};
use schemas::def::{Context, EventDef};
use schemas::trace::CGROUP_CHANGES;
use schemas::wire::Interrupts;

use super::attach::WAY_SHARE;
use super::trigger::{PlannedTrigger, Trigger};
use super::unfinished::{self, UNFINISHED};
use crate::cli::args::StackKind;
use crate::cli::options::Options;
use crate::engine::{Engine, EngineOptions};
use crate::kernel::{Kernel, ProgramOffsets, TaskOffsets};
use crate::privileges::{DAC_READ_SEARCH, Privileges};
use crate::resolve::{
    Filter, Request, ResolvedEvent, ResolvedSource, Stacks, Unobservable, explain, resolve,
};
use crate::select::Selection;

/// An event and how it can be observed here.
pub struct Planned {
    /// Its definition.
    pub def: EventDef,
    /// Its columns and the ways to observe it.
    pub resolved: ResolvedEvent,
}

/// Everything that is to be recorded.
pub struct Plan {
    /// The events; what was asked for comes first.
    pub events: Vec<Planned>,
    /// How many of them were asked for.
    pub asked: usize,
    /// Events that cannot be had without capabilities that are missing: name and reason.
    pub denied: Vec<(String, String)>,
    /// What makes snapshots.
    pub triggers: Vec<PlannedTrigger>,
    /// What is needed to follow processes.
    task_offsets: Option<TaskOffsets>,
    /// How to tell interrupts.
    pub interrupts: Interrupts,
    program_offsets: Option<ProgramOffsets>,
    interval: Duration,
    max_keys: u32,
}

impl Plan {
    /// Resolve the events of `selection`. Fails if an expression does not fit this kernel, or if rights are missing
    /// for all that was asked for.
    pub fn new(kernel: &Kernel, options: &Options, selection: Selection) -> Result<Self> {
        let filter = filter(options);
        let counted = selection.events.iter().find(|event| event.aggregate.is_some());
        if let Some(event) = counted.filter(|_| options.sample > 1) {
            bail!(
                "--sample leaves events out, which {} would not count: record it without --sample",
                event.name
            );
        }
        let Selection { events: defs, asked } = selection;
        let (mut events, mut denied) = (Vec::new(), Vec::new());
        for (i, def) in defs.into_iter().enumerate() {
            // What is recorded with every trace tells who is who: stacks and names do not matter for it, and it is
            // complete.
            let is_asked = i < asked;
            let always = Filter {
                comm: Vec::new(),
                netns: Vec::new(),
                cgroups: Vec::new(),
                sample: 0,
                ..filter.clone()
            };
            // What a cgroup is called does not depend on who made it: whoever it holds may be recorded.
            let unfiltered = Filter::default();
            let filter = match (def.name.as_str(), is_asked) {
                (CGROUP_CHANGES, _) => &unfiltered,
                (_, true) => &filter,
                (_, false) => &always,
            };
            let request = Request {
                def: &def,
                filter,
                stacks: if is_asked { stacks(options.stacks) } else { Stacks::None },
                all_sources: is_asked && options.require,
            };
            match resolve(kernel, &request) {
                Ok(resolved) => events.push(Planned { def, resolved }),
                // The last chance of an event that was asked for is an error.
                Err(error)
                    if is_asked
                        && !options.require
                        && denied.len() + 1 < asked
                        && is_denied(kernel, &error) =>
                {
                    let reason = error.root_cause().to_string();
                    denied.push((def.name.clone(), reason));
                }
                Err(error) => return Err(error),
            }
        }
        let trigger = |text: &String| PlannedTrigger::new(kernel, Trigger::parse(text)?, options);
        let triggers = options.flight.triggers.iter().map(trigger).collect::<Result<_>>()?;
        let (task_offsets, program_offsets) = (kernel.task_offsets(), kernel.program_offsets());
        let interrupts = kernel.interrupts();
        let asked = asked - denied.len();
        let (interval, max_keys) = (options.interval, options.max_keys);
        let plan = Self {
            events,
            asked,
            denied,
            triggers,
            task_offsets,
            program_offsets,
            interrupts,
            interval,
            max_keys,
        };
        let has_own = plan.events.iter().any(|event| event.def.name == UNFINISHED);
        ensure!(
            !has_own || !plan.is_timed(),
            "the recorder makes a table {UNFINISHED}: name the event otherwise"
        );
        Ok(plan)
    }

    /// Layouts of all events, and of the table of calls that do not return, if durations are recorded.
    pub fn layouts(&self) -> Vec<Layout> {
        let own = self.events.iter().map(|event| event.resolved.layout.clone());
        own.chain(self.is_timed().then(unfinished::layout)).collect()
    }

    fn is_timed(&self) -> bool {
        let sources = self.events.iter().flat_map(|event| &event.resolved.sources);
        sources.flat_map(|source| &source.candidates).any(|candidate| candidate.plan.is_timed())
    }

    /// An engine that has room for all of this in `ring_bytes` of rings.
    pub fn engine(&self, ring_bytes: u64) -> Result<Engine> {
        // What is counted in the kernel needs no ring.
        let weights = self.events.iter().filter(|event| event.def.aggregate.is_none()).map(|event| {
            let sources = event.resolved.sources.iter().filter(|source| !source.candidates.is_empty());
            let weight = event.def.weight;
            let weight = |source: &ResolvedSource| match source.way {
                Some(_) => (weight / WAY_SHARE).max(1),
                None => weight,
            };
            sources.map(weight).sum::<u32>()
        });
        Engine::new(EngineOptions {
            ring_bytes_total: ring_bytes,
            total_weight: weights.sum::<u32>()
                + self.triggers.iter().map(PlannedTrigger::sources).sum::<u32>(),
            task_offsets: self.task_offsets,
            interrupts: self.interrupts,
            program_offsets: self.program_offsets,
            interval: self.interval,
            max_keys: self.max_keys,
            ..EngineOptions::default()
        })
    }

    /// What was asked for.
    pub fn asked(&self) -> &[Planned] {
        &self.events[..self.asked]
    }

    /// Whether addresses of the kernel are recorded that want names.
    pub fn names_addresses(&self) -> bool {
        let columns = self.asked().iter().flat_map(|event| &event.resolved.layout.columns);
        columns.into_iter().any(|column| matches!(column.ty, Type::Sym | Type::KernelStack(_)))
    }

    /// What `--explain` shows.
    pub fn explain(&self) -> String {
        let texts: Vec<String> = self.asked().iter().map(|event| explain(&event.resolved)).collect();
        texts.join("\n")
    }

    /// Events that filters by process do not apply to.
    pub fn unfiltered(&self) -> impl Iterator<Item = &str> {
        let irq = self.asked().iter().filter(|event| event.def.context == Context::Irq);
        irq.map(|event| event.def.name.as_str())
    }
}

/// Whether this process may not look where it would have to.
fn is_denied(kernel: &Kernel, error: &anyhow::Error) -> bool {
    let is_missing = !Privileges::own().missing(&[DAC_READ_SEARCH]).is_empty();
    is_missing && kernel.tracefs().is_err() && error.downcast_ref::<Unobservable>().is_some()
}

/// What is recorded of the events that were asked for.
pub fn filter(options: &Options) -> Filter {
    Filter {
        pids: options.follows_processes(),
        comm: options.comm.clone(),
        netns: options.netns.clone(),
        cgroups: options.cgroups.clone(),
        exclude_pid: Some(std::process::id()),
        extra: None,
        sample: options.sample,
    }
}

fn stacks(kind: Option<StackKind>) -> Stacks {
    match kind {
        None => Stacks::None,
        Some(StackKind::Kernel) => Stacks::Kernel,
        Some(StackKind::User) => Stacks::User,
        Some(StackKind::Both) => Stacks::Both,
    }
}
