//! Loads a copy of the eBPF object for each candidate, with its constants and with maps of the size it needs.

use anyhow::{Context, Result};
use aya::{EbpfLoader, VerifierLogLevel};
use schemas::expr::{Sampling, Target};
use schemas::wire::{Interrupts, NONE, Plan, SCRATCHES};
use zerocopy::IntoBytes;

use super::check;
use super::object::old_kernels::IS_OLD;
use super::object::{self, Constants, EVENTS, Sections};
use super::program::{Programs, RAW_TP, kinds};
use super::tables::Shape;
use crate::kernel::{ProgramOffsets, TaskOffsets};
use crate::resolve::{Candidate, Mechanism};

/// Values of which each counts once that are remembered: those of the latest events, which can meet on processors.
const ONCE: u32 = 4096;

/// Loads copies of the object.
pub struct Loader {
    /// One for all: making one parses the kernel's BTF.
    loader: EbpfLoader<'static>,
    /// What all copies have.
    constants: Constants,
    cpus: u32,
    stash_entries: u32,
    interrupts: Interrupts,
}

impl Loader {
    pub fn new(
        cpus: u32,
        stash_entries: u32,
        task: TaskOffsets,
        interrupts: Interrupts,
        programs: ProgramOffsets,
    ) -> Self {
        let mut loader = EbpfLoader::new();
        loader.verifier_log_level(VerifierLogLevel::DEBUG);
        let mut constants = Constants::default();
        constants.set("AARCH64", u8::from(cfg!(target_arch = "aarch64")));
        constants.set("TGID_OFFSET", task.tgid);
        constants.set("PID_OFFSET", task.pid);
        constants.set("START_OFFSET", task.start.unwrap_or(0));
        constants.set("ACTIVE_OFFSET", programs.active);
        constants.set("ITEMS_OFFSET", programs.items);
        constants.set("CPU_COUNT", cpus);
        Self { loader, constants, cpus, stash_entries, interrupts }
    }

    /// Load a copy of the object with the plans of `candidate`. Nothing is in the kernel yet but its maps.
    pub fn load(&mut self, candidate: &Candidate) -> Result<Programs> {
        let (sections, constants) = self.prepare(candidate)?;
        self.finish(&object::copy(sections, &constants)?, events(candidate))
    }

    /// What a copy for `candidate` has; the maps are made as large as it needs.
    fn prepare(&mut self, candidate: &Candidate) -> Result<(Sections, Constants)> {
        check::check(&candidate.plan)?;
        let entry_plan = candidate.entry.as_deref().unwrap_or(&Plan::EMPTY);
        check::check(entry_plan).context("the entry plan")?;
        let ((kind, section), (entry_kind, entry_section)) = kinds(candidate.mechanism);
        let is_user = matches!(candidate.mechanism, Mechanism::Uprobe | Mechanism::Uretprobe);
        let interleaved = is_user && !*IS_OLD;
        // A task makes system calls and runs programs, nobody else does.
        let never = is_user || candidate.mechanism == Mechanism::SyscallTracepoints;
        let own = samples_in_interrupt(candidate).into();
        let interrupts = if never { Interrupts::default() } else { Interrupts { own, ..self.interrupts } };
        let entry = candidate.entry.is_some();
        let shape = (candidate.plan.aggregates != 0).then(|| Shape::of(candidate));
        let scratches = if shape.is_some() && interleaved { SCRATCHES } else { candidate.copies() };
        let mut constants = self.constants.clone();
        constants.set("PLAN", *candidate.plan);
        constants.set("ENTRY_PLAN", *entry_plan);
        constants.set("KIND", kind);
        constants.set("ENTRY_KIND", entry_kind);
        constants.set("INPUTS", check::inputs(&candidate.plan));
        constants.set("ENTRY_INPUTS", check::entry_inputs(entry_plan, &candidate.plan));
        constants.set("INTERRUPTS", interrupts);
        constants.set("INTERLEAVED", u8::from(interleaved));
        self.loader
            .map_max_entries("RINGS", self.cpus * candidate.copies())
            .map_max_entries("CPUS", candidate.copies())
            .map_max_entries("TABLES", candidate.copies())
            .map_max_entries("SCRATCH", scratches)
            .map_max_entries("ONCE", if candidate.plan.once == NONE { 1 } else { ONCE })
            .map_max_entries("STASH", if entry { self.stash_entries } else { 1 });
        let each = candidate.plan.each_count != NONE;
        let sections = Sections {
            entry: entry.then_some(entry_section),
            exit: entry.then_some(RAW_TP.1),
            table: shape.map(|shape| (shape.key_bytes(), shape.words())),
            ..Sections::of_events(section, each, candidate.copies())
        };
        Ok((sections, constants))
    }

    /// Load the programs that keep the pid set.
    pub fn load_follow(&mut self) -> Result<Programs> {
        self.load_small(Sections { follow: Some(RAW_TP.1), ..Sections::default() })
    }

    /// Load the iterator over tasks.
    pub fn load_iterator(&mut self) -> Result<Programs> {
        self.load_small(Sections { iterator: Some("iter/task"), ..Sections::default() })
    }

    /// Load a copy that uses only maps that are shared.
    fn load_small(&mut self, sections: Sections) -> Result<Programs> {
        for map in ["RINGS", "CPUS", "STASH", "ONCE", "TABLES", "SCRATCH"] {
            self.loader.map_max_entries(map, 1);
        }
        self.finish(&object::copy(sections, &self.constants)?, &[])
    }

    fn finish(&mut self, object: &[u64], events: &'static [&'static str]) -> Result<Programs> {
        let ebpf = self.loader.load(object.as_bytes()).context("cannot load the eBPF object")?;
        Ok(Programs::new(ebpf, events))
    }
}

/// Whether the program runs in an interrupt that is there to take a sample.
fn samples_in_interrupt(candidate: &Candidate) -> bool {
    let sampling = || {
        let target = Target::parse(&candidate.target).ok()?;
        Sampling::parse(target.kind, &target.name)?.ok()
    };
    candidate.mechanism == Mechanism::PerfEvent && sampling().is_some_and(|it| it.interrupts())
}

/// Names of the recording program and of its further copies.
fn events(candidate: &Candidate) -> &'static [&'static str] {
    let each = candidate.plan.each_count != NONE;
    &EVENTS[usize::from(each)][..candidate.copies() as usize]
}

#[cfg(test)]
mod tests {
    use aya::Btf;
    use schemas::def::{EventDef, builtin, parse_inline, parse_toml};

    use super::super::program::{ENTRY, EXIT, at_entry, at_event};
    use super::*;
    use crate::kernel::Kernel;
    use crate::resolve::{Filter, Request, Stacks, resolve};

    /// Bytes of each program as the kernel keeps it, none if it does not take it.
    fn kept(programs: &mut Programs, candidate: &Candidate, btf: &Btf) -> Vec<Option<u32>> {
        let (mechanism, target) = at_event(candidate.mechanism, &candidate.target);
        let names = events(candidate).iter();
        let mut wanted: Vec<_> = names.map(|name| (*name, mechanism, target.clone())).collect();
        if candidate.entry.is_some() {
            let (mechanism, target) = at_entry(candidate.mechanism, &candidate.target).unwrap();
            wanted.push((ENTRY, mechanism, target));
            wanted.push((EXIT, Mechanism::RawTp, "sched_process_exit".into()));
        }
        let kept = wanted.into_iter().map(|(name, mechanism, target)| {
            programs.load(name, mechanism, &target, Some(btf)).ok()?;
            programs.ebpf.program(name)?.info().ok()?.size_translated()
        });
        kept.collect()
    }

    /// What no built-in event has: probes of user functions, and events that are counted.
    fn others() -> Vec<EventDef> {
        let counted = |name: &str, on: &str, key: &str| {
            let text = format!(
                "summary = \"x\"\n[aggregate]\ncount = [\"key\", \"pid\"]\nsum = [\"key\"]\n[[source]]\n[[source.probe]]\n\
                 on = \"{on}\"\n[[column]]\nname = \"key\"\ntype = \"u64\"\ndoc = \"x\"\nexpr = \"{key}\"\n"
            );
            parse_toml(name, &text).unwrap()
        };
        vec![
            parse_inline("entry=uprobe:libc:read{ fd=$arg1:s32 } if fd == 7").unwrap(),
            parse_inline("slow=uretprobe:libc:read{ retval:s64 } if dur > 1ms").unwrap(),
            counted("reads", "uprobe:libc:read", "$arg1"),
            counted("switched", "tp:sched:sched_switch", "prev_pid"),
        ]
    }

    /// The kernel removes what its verifier proves unreachable. If it keeps as much of the reduced copy as of the whole one,
    /// nothing else was removed.
    #[test]
    fn no_instruction_is_removed_that_the_kernel_would_keep() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not root: programs are loaded in guests only");
            return;
        }
        let kernel = Kernel::running().unwrap();
        let btf = Btf::from_sys_fs().unwrap();
        let (task, programs) = (kernel.task_offsets().unwrap(), kernel.program_offsets().unwrap());
        let mut loader = Loader::new(2, 64, task, kernel.interrupts(), programs);
        let full = Filter { pids: true, comm: vec!["sh".into()], ..Filter::default() };
        let mut compared = 0;
        for (filter, stacks) in [(Filter::default(), Stacks::None), (full, Stacks::Both)] {
            for def in builtin().iter().chain(&others()) {
                let request = Request { def, filter: &filter, stacks, all_sources: true };
                let event =
                    resolve(&kernel, &request).unwrap_or_else(|error| panic!("{}: {error:#}", def.name));
                for candidate in event.sources.iter().filter_map(|source| source.candidates.first()) {
                    let (sections, constants) = loader.prepare(candidate).unwrap();
                    let mut kept =
                        |object: &[u64]| kept(&mut loader.finish(object, &[]).unwrap(), candidate, &btf);
                    let whole = kept(&object::whole_copy(sections, &constants).unwrap());
                    let small = kept(&object::copy(sections, &constants).unwrap());
                    assert_eq!(small, whole, "{} {}", candidate.event, candidate.source);
                    let is_other = builtin().iter().all(|it| it.name != def.name);
                    assert!(!is_other || small.iter().all(Option::is_some), "{} is refused", def.name);
                    compared += small.iter().flatten().count();
                }
            }
        }
        assert!(compared > 100, "{compared} programs were loaded");
    }
}
