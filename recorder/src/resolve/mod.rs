//! `EventDef` + kernel -> [`ResolvedEvent`]: the layout of its records and, for each source, the plans that may be
//! attached, best first.
//!
//! ```text
//! points    KIND:TARGET -> mechanisms of this kernel, each a scope: arguments with types, result
//! layout    columns with types, those of the kernel where none are written -> places in the record
//! lower     expression + scope -> nodes (memory: members and pointers; arith and integers: operators and conversions
//!           of C; predicates and text: comparisons; types: what there is;
//!           packet: what is behind an IP header)
//! columns   value + column type -> what to store
//! aggregate what an event is counted by in the kernel, if its events are not recorded one by one
//! patterns  a source that names several functions by a pattern -> one for each
//! ways      a source of system calls -> more places for calls that enter elsewhere, and what nothing observes
//! compile   a scope and all of the above -> what is wanted of a plan; assemble: -> slots, terms, clauses
//! ```
//! Whether a candidate can be attached is found out by attaching it; here is decided whether it could mean what the
//! definition says.

mod aggregate;
mod arith;
mod assemble;
mod columns;
mod compile;
mod draft;
mod explain;
mod integers;
mod layout;
mod lower;
mod memory;
mod nodes;
mod packet;
mod patterns;
mod points;
mod predicates;
mod scope;
mod text;
mod types;
mod ways;

use std::fmt;

use anyhow::{Context as _, Result, anyhow, bail};
use schemas::column::Layout;
use schemas::def::{EventDef, ProbeDef};
use schemas::expr::{Field, ProbeKind};
use schemas::wire::Plan;

pub use explain::{describe, explain};

use crate::kernel::Kernel;
use crate::user::Place;
use scope::{Offer, Refusal, Scope};

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

/// A cgroup whose threads are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// The inode of its directory.
    pub id: u64,
    /// How many levels below the root it is: with all that is below it, also what is made later. `None`: it alone.
    pub level: Option<u8>,
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
    pub cgroups: Vec<Cgroup>,
    /// The recorder itself.
    pub exclude_pid: Option<u32>,
    /// A predicate over columns, arguments and builtins.
    pub extra: Option<String>,
    /// Of what is left, only every event of this number, per probe and CPU; 0 and 1 mean all.
    pub sample: u32,
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
    /// Entry of a function in user space, target `PATH:SYMBOL`.
    Uprobe,
    /// Its return.
    Uretprobe,
    /// A sample of what a processor runs, target `profile:hz:99` or its like.
    PerfEvent,
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
            Self::PerfEvent => "perf_event",
        })
    }
}

/// A probe that can be tried.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The event.
    pub event: String,
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
    /// Where a probe in user space is attached.
    pub user: Option<Place>,
    /// Of an event that is counted in the kernel by powers of two: the key that they are.
    pub power: Option<Power>,
    /// How many of the probes that cannot be tried would be better than this one.
    pub better: usize,
    /// No event can pass its filter.
    pub is_never: bool,
    /// What it does not see of what it is to see.
    pub misses: Vec<Unobserved>,
    /// Types and offsets, for people.
    pub explain: String,
}

/// A key that is a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    /// Offset in the record; 8 bytes.
    pub at: u16,
    /// Its bit in the header's bitmaps.
    pub bit: u8,
    /// Negative numbers have the opposites.
    pub signed: bool,
}

/// A way into an event that is not observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unobserved {
    /// Which: `mkdirat by io_uring (IORING_OP_MKDIRAT)`.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl Candidate {
    /// Programs that record: more than one if events in interrupts of the first are left to further ones.
    pub fn copies(&self) -> u32 {
        1 + u32::from(self.plan.nests)
    }
}

/// One source and what may observe it.
#[derive(Clone, Debug)]
pub struct ResolvedSource {
    /// Its name.
    pub name: String,
    /// Nothing is missing if there is none.
    pub optional: bool,
    /// It is one more way into the event, which does not make the event observed by itself: what is not observed
    /// without it.
    pub way: Option<String>,
    /// Ways that no source observes.
    pub unobserved: Vec<Unobserved>,
    /// Best first.
    pub candidates: Vec<Candidate>,
    /// Probes that cannot be tried, and why; best first.
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
    let def = &*patterns::expanded(kernel, request.def)?;
    let request = &Request { def, ..*request };
    let extra = match &request.filter.extra {
        Some(text) => Some(Field::parse_predicate(text).map_err(|error| anyhow!("filter: {error}"))?),
        None => None,
    };
    let mut places = Vec::new();
    let mut offers = Vec::new();
    for source in &def.sources {
        for ways::Place { name, optional, way, offers: of_place, unobserved } in
            ways::places(kernel, def, source)
        {
            places.push(ResolvedSource {
                name,
                optional,
                way,
                unobserved,
                candidates: Vec::new(),
                refused: Vec::new(),
            });
            offers.push(of_place);
        }
    }
    let own: Vec<&Offer<'_>> = (places.iter().zip(&offers).filter(|(place, _)| place.way.is_none()))
        .flat_map(|(_, offers)| offers)
        .collect();
    if own.iter().all(|offer| offer.scopes().next().is_none()) {
        let refused = own.iter().flat_map(|offer| &offer.ways).filter_map(|way| way.as_ref().err());
        return Err(unobservable(refused.map(|r| (r.probe.as_str(), r.reason.as_str()))).into());
    }
    let stacks = aggregate::stacks(def, request.stacks);
    let (columns, types) = layout::typed_columns(kernel, &Request { stacks, ..*request }, &mut offers)?;
    let recorded = match &def.aggregate {
        None => layout::recorded(def, &columns, types)?,
        Some(aggregate) => aggregate::recorded(kernel, def, aggregate, (&columns, &types), &offers)?,
    };
    let compiled = |source: &str, probe, scope: &Scope| {
        let compiler = compile::Compiler {
            kernel,
            def,
            source,
            probe,
            columns: &columns,
            recorded: &recorded,
            filter: request.filter,
            extra: extra.as_ref(),
        };
        compiler.candidate(scope)
    };
    join_places(&mut places, &mut offers, &compiled);

    let mut sources = Vec::new();
    let mut wrong: Vec<String> = Vec::new();
    for (mut resolved, offers) in places.into_iter().zip(offers) {
        for Offer { probe, ways } in offers {
            for way in ways {
                let scope = match way {
                    Ok(scope) => scope,
                    Err(Refusal { probe, reason }) => {
                        resolved.refused.push((probe, reason));
                        continue;
                    }
                };
                match compiled(&resolved.name, probe, &scope) {
                    Ok(candidate) => {
                        let better = resolved.refused.len();
                        resolved.candidates.push(Candidate { better, ..candidate });
                    }
                    Err(error) => {
                        let reason = format!("{error:#}");
                        if resolved.way.is_none() {
                            wrong.push(reason.clone());
                        }
                        resolved.refused.push((format!("{} ({})", probe.on, scope.mechanism), reason));
                    }
                }
            }
        }
        let missing = resolved.candidates.is_empty() && !resolved.optional;
        if missing && request.all_sources {
            let source = format!("source {}", resolved.name);
            return Err(anyhow!(unobservable(reasons(&[resolved]))).context(source));
        }
        sources.push(resolved);
    }
    let mut own = sources.iter().filter(|source| source.way.is_none());
    if own.all(|source| source.candidates.is_empty()) {
        // Of the same mistake in all expressions, tell it without the ways that it spoils.
        match wrong.as_slice() {
            [first, rest @ ..] if rest.iter().all(|other| other == first) => bail!("{first}"),
            _ => return Err(unobservable(reasons(&sources)).into()),
        }
    }
    Ok(ResolvedEvent { layout: recorded.layout, sources })
}

/// Places of a built-in probe that differ only in arguments which this event does not use are one place with one program.
fn join_places<'a>(
    places: &mut Vec<ResolvedSource>,
    offers: &mut Vec<Vec<Offer<'a>>>,
    compiled: &dyn Fn(&str, &'a ProbeDef, &Scope) -> Result<Candidate>,
) {
    let mut i = 0;
    while i < offers.len() {
        let built_in = |offers: &[Offer<'a>]| match offers {
            [Offer { probe, ways }] if probe.on.kind == ProbeKind::Usdt => match ways.as_slice() {
                [Ok(scope)] => Some((*probe, scope.clone())),
                _ => None,
            },
            _ => None,
        };
        let plan = |probe, scope: &Scope| compiled("", probe, scope).ok().map(|candidate| candidate.plan);
        let semaphore = |scope: &Scope| scope.user.as_ref().and_then(|place| place.semaphore);
        let same = built_in(&offers[i]).and_then(|(probe, scope)| {
            let own = plan(probe, &scope)?;
            let is_same = |other: &Vec<Offer<'a>>| {
                built_in(other).is_some_and(|(of, before)| {
                    std::ptr::eq(of, probe)
                        && semaphore(&before) == semaphore(&scope)
                        && plan(of, &before).as_ref() == Some(&own)
                })
            };
            Some((offers[..i].iter().position(is_same)?, scope))
        });
        match same {
            Some((first, scope)) => {
                if let Some(Ok(before)) = offers[first].first_mut().and_then(|offer| offer.ways.first_mut()) {
                    points::join(before, &scope);
                }
                offers.remove(i);
                places.remove(i);
            }
            None => i += 1,
        }
    }
}

fn reasons(sources: &[ResolvedSource]) -> impl Iterator<Item = (&str, &str)> {
    let own = sources.iter().filter(|source| source.way.is_none());
    own.flat_map(|source| &source.refused).map(|(probe, reason)| (probe.as_str(), reason.as_str()))
}

/// Nothing can be tried, and why: each reason once.
#[derive(Debug)]
pub struct Unobservable(String);

impl fmt::Display for Unobservable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unobservable {}

fn unobservable<'a>(reasons: impl Iterator<Item = (&'a str, &'a str)>) -> Unobservable {
    let mut seen: Vec<(&str, Vec<&str>)> = Vec::new();
    for (probe, reason) in reasons {
        match seen.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, probes)) => probes.push(probe),
            None => seen.push((reason, vec![probe])),
        }
    }
    let mut out = "it cannot be observed on this kernel:".to_owned();
    for (reason, probes) in seen {
        out.push_str(&format!("\n  {}: {}", probes.join(", "), reason.replace('\n', "\n  ")));
    }
    Unobservable(out)
}

#[cfg(test)]
mod tests;
