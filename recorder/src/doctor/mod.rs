//! `recorder doctor`: this kernel and these privileges in; what works, what does not, why, and the remedy on standard
//! output. It attaches every probe for a moment, with a filter that no process passes.

mod needs;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use anyhow::{Result, bail};
use schemas::def::{EventDef, builtin, parse_inline};

use crate::cli::EXIT_OK;
use crate::engine::{Engine, EngineOptions, Mechanism};
use crate::kernel::{Facts, Kernel, KernelSymbols};
use crate::privileges::{CAPABILITIES, Capability, Privileges, REQUIRED, SYSLOG};
use crate::record::{brief, parts};
use crate::resolve::{Candidate, Filter, Request, ResolvedSource, Stacks, Unobserved, resolve};
use crate::snapshot::processes;

/// Probes that between them try every mechanism, on what every kernel has.
const TRIALS: [&str; 8] = [
    "tp:sched:sched_process_exit{ who=$pid }",
    "raw_tp:sched_process_exit{ who=$pid }",
    "fentry:vfs_open{ who=$pid }",
    "fexit:vfs_open{ result=retval }",
    "kprobe:vfs_open{ who=$pid }",
    "kretprobe:vfs_open{ result=retval }",
    "syscall:mkdir{ mode }",
    "profile:hz:99{ in_user }",
];
/// Rings of a trial: nothing goes into them.
const TRIAL_RING_BYTES: u64 = 1 << 20;
/// A function of the C library that is rarely called.
const LIBC_FUNCTION: &str = "clearenv";

/// Examine, and fail if nothing can be recorded.
pub fn run(out: &mut impl Write) -> Result<u8> {
    let facts = Facts::of_running_kernel();
    kernel_facts(&facts, out)?;
    let privileges = Privileges::own();
    capabilities(privileges, out)?;
    let kernel = match Kernel::running() {
        Ok(kernel) => kernel,
        Err(error) => {
            writeln!(out, "\nBTF: {error:#}")?;
            bail!("nothing can be recorded here: {error:#}");
        }
    };
    if !privileges.missing(&REQUIRED).is_empty() {
        remedies(&facts, &kernel, privileges, out)?;
        privileges.check()?;
    }
    mechanisms(&kernel, out)?;
    let observed = events(&kernel, privileges, out)?;
    remedies(&facts, &kernel, privileges, out)?;
    if observed == 0 {
        bail!("no built-in event can be recorded here");
    }
    Ok(EXIT_OK)
}

/// What can be done about what does not work.
fn remedies(facts: &Facts, kernel: &Kernel, privileges: Privileges, out: &mut impl Write) -> Result<()> {
    let mut lines: Vec<String> = Vec::new();
    match privileges.void() {
        Some(reason) => lines.push(reason.to_owned()),
        None => lines.extend(needs::remedies(privileges)),
    }
    if privileges.has(&SYSLOG)
        && let Err(error) = KernelSymbols::check()
    {
        lines.push(format!("for names of kernel addresses: {error:#}"));
    }
    if let Err(error) = kernel.tracefs() {
        lines.push(format!("for classic and syscall tracepoints: {error:#}"));
    }
    if !facts.kprobes {
        lines.push("for kprobes: use a kernel with CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y, as distributions have".to_owned());
    }
    if !facts.uprobes {
        lines.push("for uprobes: use a kernel with CONFIG_UPROBE_EVENTS=y".to_owned());
    }
    if facts.lockdown.as_deref() == Some("confidentiality") {
        lines.push("for reading kernel memory: boot with lockdown=integrity or none".to_owned());
    }
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nremedies")?;
    for line in lines {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn kernel_facts(facts: &Facts, out: &mut impl Write) -> Result<()> {
    let Facts { release, machine, kprobes, uprobes, no_trampolines, lockdown, filter_functions: _ } = facts;
    writeln!(out, "kernel {release} on {machine}")?;
    let yes = |is: bool| if is { "yes" } else { "no" };
    writeln!(out, "  kprobes compiled in: {}; uprobes: {}", yes(*kprobes), yes(*uprobes))?;
    if let Some(reason) = no_trampolines {
        writeln!(out, "  fentry and fexit: {reason}")?;
    }
    match lockdown.as_deref() {
        Some("confidentiality") => {
            writeln!(
                out,
                "  lockdown: confidentiality forbids reading kernel memory; boot with lockdown=integrity"
            )?;
        }
        Some(mode) => writeln!(out, "  lockdown: {mode}")?,
        None => {}
    }
    if let Err(error) = processes::check_pid_namespace() {
        writeln!(out, "  {error}")?;
    }
    Ok(())
}

fn capabilities(privileges: Privileges, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\ncapabilities")?;
    if let Some(reason) = privileges.void() {
        writeln!(out, "  {reason}")?;
    }
    for capability in &CAPABILITIES {
        let Capability { name, purpose, without, .. } = capability;
        let (state, text) = match (privileges.has(capability), REQUIRED.contains(capability)) {
            (true, _) => ("yes", format!("to {purpose}")),
            (false, true) => ("MISSING", format!("to {purpose}; without it {without}")),
            (false, false) => ("no", format!("to {purpose}; without it {without}")),
        };
        writeln!(out, "  {name:<20} {state:<8} {text}")?;
    }
    Ok(())
}

/// An error of several lines in one.
fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// The C library of this process, if it has one.
fn libc_path() -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    paths.map(str::to_owned).find(|path| {
        path.rsplit('/').next().is_some_and(|name| name.starts_with("libc.so") || name.starts_with("libc-"))
    })
}

/// How a source can be observed here: what was attached and why nothing better was, or every reason why not.
fn try_source(
    kernel: &Kernel,
    source: &ResolvedSource,
) -> Result<(Mechanism, String, Vec<String>), Vec<String>> {
    let refused = |which: std::ops::Range<usize>| {
        source.refused[which].iter().map(|(probe, reason)| format!("{probe}: {reason}"))
    };
    let mut reasons: Vec<String> = Vec::new();
    let mut told = 0;
    for candidate in &source.candidates {
        reasons.extend(refused(told..candidate.better));
        told = candidate.better;
        let interrupts = kernel.interrupts();
        let options =
            EngineOptions { ring_bytes_total: TRIAL_RING_BYTES, interrupts, ..EngineOptions::default() };
        let attached = Engine::new(options).and_then(|mut engine| engine.attach(0, candidate));
        match attached {
            Ok(()) => return Ok((candidate.mechanism, candidate.target.clone(), reasons)),
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    reasons.extend(refused(told..source.refused.len()));
    Err(reasons)
}

fn sources(kernel: &Kernel, def: &EventDef) -> Result<Vec<ResolvedSource>> {
    let filter = Filter { pids: true, ..Filter::default() };
    let request = Request { def, filter: &filter, stacks: Stacks::None, all_sources: false };
    Ok(resolve(kernel, &request)?.sources)
}

fn mechanisms(kernel: &Kernel, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\nmechanisms")?;
    let mut results: BTreeMap<String, Result<(), String>> = BTreeMap::new();
    let mut trials: Vec<String> = TRIALS.map(str::to_owned).to_vec();
    if let Some(libc) = libc_path() {
        trials.push(format!("uprobe:{libc}:{LIBC_FUNCTION}{{ who=$pid }}"));
        trials.push(format!("uretprobe:{libc}:{LIBC_FUNCTION}{{ result=retval:s32 }}"));
    }
    for trial in &trials {
        let def = parse_inline(trial)?;
        let written = trial.split('{').next().unwrap_or_default().to_owned();
        match sources(kernel, &def) {
            Ok(sources) => {
                for source in sources {
                    for (probe, reason) in &source.refused {
                        let kind = parts(probe).0.to_owned();
                        results.entry(kind).or_insert_with(|| Err(reason.clone()));
                    }
                    for candidate in source.candidates {
                        let kind = candidate.mechanism.to_string();
                        let name = source.name.clone();
                        let candidate = Candidate { better: 0, ..candidate };
                        let alone = ResolvedSource {
                            name,
                            optional: false,
                            way: None,
                            unobserved: Vec::new(),
                            candidates: vec![candidate],
                            refused: Vec::new(),
                        };
                        let result =
                            try_source(kernel, &alone).map(|_| ()).map_err(|reasons| reasons.join("; "));
                        let entry = results.entry(kind).or_insert_with(|| result.clone());
                        if result.is_ok() {
                            *entry = result;
                        }
                    }
                }
            }
            Err(error) => {
                let kind = written.split(':').next().unwrap_or(&written).to_owned();
                results.entry(kind).or_insert_with(|| Err(one_line(&error)));
            }
        }
    }
    for (kind, result) in results {
        match result {
            Ok(()) => writeln!(out, "  {kind:<20} works")?,
            Err(reason) => writeln!(out, "  {kind:<20} no: {}", brief(&[reason]))?,
        }
    }
    Ok(())
}

/// How many events can be observed at least in part.
fn events(kernel: &Kernel, privileges: Privileges, out: &mut impl Write) -> Result<usize> {
    writeln!(out, "\nevents")?;
    let mut observed = 0;
    for def in builtin() {
        let sources = match sources(kernel, def) {
            Ok(sources) => sources,
            Err(error) => {
                writeln!(out, "  {}: no: {}", def.name, one_line(&error))?;
                writeln!(
                    out,
                    "    {:<22} {}",
                    "needs",
                    needs::text(def, &[], privileges, kernel.tracefs().is_ok())
                )?;
                continue;
            }
        };
        writeln!(out, "  {}", def.name)?;
        let mut used = Vec::new();
        for source in &sources {
            match try_source(kernel, source) {
                Ok((mechanism, target, better)) => {
                    used.push(mechanism);
                    writeln!(out, "    {:<22} {mechanism} {target}", source.name)?;
                    for reason in better {
                        writeln!(out, "    {:<22}   after: {}", "", brief(&[reason]))?;
                    }
                    for Unobserved { what, why } in &source.unobserved {
                        writeln!(out, "    {:<22} NOT OBSERVED: {what}: {why}", "")?;
                    }
                }
                Err(reasons) => {
                    let what = if source.way.is_some() {
                        "NOT OBSERVED"
                    } else if source.optional {
                        "not here (nothing is missing)"
                    } else {
                        "NOT OBSERVED"
                    };
                    writeln!(out, "    {:<22} {what}: {}", source.name, brief(&reasons))?;
                }
            }
        }
        writeln!(
            out,
            "    {:<22} {}",
            "needs",
            needs::text(def, &used, privileges, kernel.tracefs().is_ok())
        )?;
        observed += usize::from(!used.is_empty());
    }
    Ok(observed)
}
