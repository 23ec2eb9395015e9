//! Attaches the programs of one copy of the eBPF object as a candidate says.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Error, Result, anyhow, bail};
use aya::programs::links::FdLink;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeScope};
use aya::programs::{
    BtfTracePoint, FEntry, FExit, Iter, KProbe, PerfEvent, Program, ProgramError, RawTracePoint, TracePoint,
    UProbe,
};
use aya::{Btf, Ebpf};
use schemas::wire::{NONE, context};

use super::counted;
use super::mapped::Mapped;
use super::samples::Samples;
use super::sys::link_by_id;
use crate::kernel::Tracefs;
use crate::resolve::{Candidate, Mechanism};
use crate::user::Place;

/// Names of the other programs in the object.
pub(super) const ENTRY: &str = "on_entry";
pub(super) const EXIT: &str = "on_exit";
const FORK: &str = "on_fork";
const FREE: &str = "on_free";
const TASK: &str = "on_task";
/// Maps of maps are set by this many threads.
const SETTING_THREADS: usize = 32;
/// Lines of the verifier's log in an error.
const LOG_LINES: usize = 4;

/// The programs of one probe and what they are attached with.
#[derive(Debug)]
pub struct Programs {
    /// Owns programs, maps and those links that are not in `links`.
    pub ebpf: Ebpf,
    links: Vec<FdLink>,
    /// Probes in files that raise a semaphore there.
    events_of_files: Vec<OwnedFd>,
    /// Names of the recording program and of its further copies.
    events: &'static [&'static str],
    /// The link of the recording program's kprobe once more, to ask for misses; none without CAP_SYS_ADMIN.
    pub kprobe_link: Option<OwnedFd>,
    /// What calls a program that samples.
    pub samples: Option<Samples>,
}

/// How the machine's registers look.
const REGS: u8 = if cfg!(target_arch = "aarch64") { context::REGS_AARCH64 } else { context::REGS_X86_64 };

/// Context and ELF section of a kind of program.
pub(super) type Kind = (u8, &'static str);

const TP_BTF: Kind = (context::TYPED_ARGS, "tp_btf");
pub(super) const RAW_TP: Kind = (context::ARGS, "raw_tp");
const FENTRY: Kind = (context::FUNCTION, "fentry");
const FEXIT: Kind = (context::FUNCTION, "fexit");
const KPROBE: Kind = (REGS, "kprobe");
const KRETPROBE: Kind = (REGS, "kretprobe");
const TRACEPOINT: Kind = (context::TRACEPOINT, "tracepoint");
const UPROBE: Kind = (REGS, "uprobe");
const URETPROBE: Kind = (REGS, "uretprobe");
const PERF_EVENT: Kind = (REGS, "perf_event");

/// The recording program and the one at entry.
pub(super) fn kinds(mechanism: Mechanism) -> (Kind, Kind) {
    match mechanism {
        Mechanism::TpBtf => (TP_BTF, TP_BTF),
        Mechanism::RawTp => (RAW_TP, RAW_TP),
        Mechanism::Fentry => (FENTRY, FENTRY),
        Mechanism::Fexit => (FEXIT, FENTRY),
        Mechanism::Kprobe => (KPROBE, KPROBE),
        Mechanism::Kretprobe => (KRETPROBE, KPROBE),
        Mechanism::Tracepoint | Mechanism::SyscallTracepoints => (TRACEPOINT, TRACEPOINT),
        Mechanism::Uprobe => (UPROBE, UPROBE),
        Mechanism::Uretprobe => (URETPROBE, UPROBE),
        Mechanism::PerfEvent => (PERF_EVENT, PERF_EVENT),
    }
}

/// What the program at entry is attached to.
pub(super) fn at_entry(mechanism: Mechanism, target: &str) -> Result<(Mechanism, String)> {
    Ok(match mechanism {
        Mechanism::Fexit => (Mechanism::Fentry, target.to_owned()),
        Mechanism::Kretprobe => (Mechanism::Kprobe, target.to_owned()),
        Mechanism::SyscallTracepoints => (Mechanism::Tracepoint, format!("syscalls:sys_enter_{target}")),
        Mechanism::Uretprobe => (Mechanism::Uprobe, target.to_owned()),
        other => bail!("{other} programs have no program at entry"),
    })
}

/// What the recording program is attached to.
pub(super) fn at_event(mechanism: Mechanism, target: &str) -> (Mechanism, String) {
    match mechanism {
        Mechanism::SyscallTracepoints => (Mechanism::Tracepoint, format!("syscalls:sys_exit_{target}")),
        other => (other, target.to_owned()),
    }
}

impl Programs {
    /// Those of a copy that is not in the kernel yet; `events` names the recording program and its further
    /// copies.
    pub(super) fn new(ebpf: Ebpf, events: &'static [&'static str]) -> Self {
        Self {
            ebpf,
            links: Vec::new(),
            events_of_files: Vec::new(),
            events,
            kprobe_link: None,
            samples: None,
        }
    }

    /// Attach what `candidate` says: the entry program last, so that no call is kept whose return nobody sees.
    pub fn attach(&mut self, candidate: &Candidate, btf: Option<&Btf>) -> Result<()> {
        let (own_target, events) = (candidate.target.as_str(), self.events);
        let (mechanism, target) = at_event(candidate.mechanism, own_target);
        for event in events {
            self.load(event, mechanism, &target, btf)?;
        }
        // The programs must know each other before any of them runs.
        if events.len() > 1 || candidate.plan.each_count != NONE {
            for (index, event) in (0..).zip(events) {
                let program = self.fd(event)?.as_raw_fd() as u32;
                super::sys::map_update(self.map("PROGRAMS")?, index, program)
                    .context("cannot put a program into the map of programs")?;
            }
        }
        for event in events {
            self.attach_one(event, mechanism, &target, candidate.user.as_ref())?;
        }
        if candidate.entry.is_none() {
            return Ok(());
        }
        self.raw_tp(EXIT, "sched_process_exit")?;
        if mechanism == Mechanism::Uretprobe {
            // It begins with an empty stack.
            self.attach_one(EXIT, Mechanism::RawTp, "sched_process_exec", None)?;
        }
        let (mechanism, target) = at_entry(candidate.mechanism, own_target)?;
        self.load(ENTRY, mechanism, &target, btf)?;
        self.attach_one(ENTRY, mechanism, &target, candidate.user.as_ref())
    }

    /// Load a program for what it will be attached to.
    pub(super) fn load(
        &mut self,
        name: &'static str,
        mechanism: Mechanism,
        target: &str,
        btf: Option<&Btf>,
    ) -> Result<()> {
        let btf = || btf.context("this kernel has no BTF (/sys/kernel/btf/vmlinux)");
        let loaded = match mechanism {
            Mechanism::TpBtf => self.program::<BtfTracePoint>(name)?.load(target, btf()?),
            Mechanism::RawTp => self.program::<RawTracePoint>(name)?.load(),
            Mechanism::Fentry => self.program::<FEntry>(name)?.load(target, btf()?),
            Mechanism::Fexit => self.program::<FExit>(name)?.load(target, btf()?),
            Mechanism::Kprobe | Mechanism::Kretprobe => self.program::<KProbe>(name)?.load(),
            Mechanism::Tracepoint | Mechanism::SyscallTracepoints => {
                // On a machine on which nobody has used it yet, it is not mounted.
                Tracefs::open()?;
                self.program::<TracePoint>(name)?.load()
            }
            Mechanism::Uprobe | Mechanism::Uretprobe => self.program::<UProbe>(name)?.load(),
            Mechanism::PerfEvent => self.program::<PerfEvent>(name)?.load(),
        };
        loaded.map_err(explain)
    }

    /// Attach a program that is loaded.
    fn attach_one(
        &mut self,
        name: &'static str,
        mechanism: Mechanism,
        target: &str,
        user: Option<&Place>,
    ) -> Result<()> {
        match mechanism {
            Mechanism::TpBtf => self.program::<BtfTracePoint>(name)?.attach().map(drop).map_err(explain),
            Mechanism::RawTp => {
                self.program::<RawTracePoint>(name)?.attach(target).map(drop).map_err(explain)
            }
            Mechanism::Fentry => self.program::<FEntry>(name)?.attach().map(drop).map_err(refused_function),
            Mechanism::Fexit => self.program::<FExit>(name)?.attach().map(drop).map_err(refused_function),
            Mechanism::Kprobe | Mechanism::Kretprobe => self.kprobe(name, target),
            Mechanism::Tracepoint | Mechanism::SyscallTracepoints => self.tracepoint(name, target),
            Mechanism::Uprobe | Mechanism::Uretprobe => {
                self.uprobe(name, user.context("its place in the file is not known")?)
            }
            Mechanism::PerfEvent => {
                let cpus = aya::util::online_cpus()
                    .map_err(|(path, error)| Error::from(error).context(format!("cannot read {path}")))?;
                self.samples = Some(Samples::attach(self.fd(name)?, target, &cpus)?);
                Ok(())
            }
        }
    }

    /// Attach the programs that keep the pid set.
    pub fn attach_follow(&mut self) -> Result<()> {
        self.raw_tp(FORK, "sched_process_fork")?;
        self.raw_tp(FREE, "sched_process_free")
    }

    /// Files that tell, when they are read, of all processes (as [`Start`](schemas::wire::Start)).
    pub fn iterate<const N: usize>(&mut self, btf: Option<&Btf>) -> Result<[File; N]> {
        let btf = btf.ok_or_else(|| anyhow!("this kernel has no BTF (/sys/kernel/btf/vmlinux)"))?;
        let program: &mut Iter = self.program(TASK)?;
        program.load("task", btf).map_err(explain)?;
        let mut file = || {
            let link = program.attach().map_err(explain)?;
            Ok(program.take_link(link)?.into_file()?)
        };
        let files = (0..N).map(|_| file()).collect::<Result<Vec<_>>>()?;
        files.try_into().map_err(|_| anyhow!("too few files"))
    }

    fn program<'a, T>(&'a mut self, name: &'static str) -> Result<&'a mut T>
    where
        &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let program =
            self.ebpf.program_mut(name).with_context(|| format!("the eBPF object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    fn raw_tp(&mut self, name: &'static str, target: &str) -> Result<()> {
        self.load(name, Mechanism::RawTp, target, None)?;
        self.attach_one(name, Mechanism::RawTp, target, None)
    }

    fn kprobe(&mut self, name: &'static str, target: &str) -> Result<()> {
        let (function, offset) = match target.split_once('+') {
            Some((function, offset)) => (function, number(offset)?),
            None => (target, 0),
        };
        let program: &mut KProbe = self.program(name)?;
        let id = program.attach(function, offset).map_err(explain)?;
        // Before Linux 5.15 there is no link, but a perf event that the program owns: if it were taken, the probe would go.
        if aya::features().bpf_perf_link() {
            let link = FdLink::try_from(program.take_link(id)?)?;
            if name != ENTRY {
                self.kprobe_link = link.info().ok().and_then(|info| link_by_id(info.id()).ok());
            }
            self.links.push(link);
        }
        Ok(())
    }

    fn tracepoint(&mut self, name: &'static str, target: &str) -> Result<()> {
        let (category, point) = target
            .split_once(':')
            .with_context(|| format!("tracepoint '{target}' is not of the form category:name"))?;
        let program: &mut TracePoint = self.program(name)?;
        program.attach(category, point).map_err(explain)?;
        Ok(())
    }

    fn uprobe(&mut self, name: &'static str, place: &Place) -> Result<()> {
        if let Some(semaphore) = place.semaphore {
            for offset in &place.offsets {
                let _mapped = Mapped::new(place.file(), *offset);
                let event = counted::attach(self.fd(name)?, &place.path(), *offset, semaphore)?;
                self.events_of_files.push(event);
            }
            return Ok(());
        }
        let program: &mut UProbe = self.program(name)?;
        for offset in &place.offsets {
            // The kernel looks at the instruction when a process maps it: that is us, so that a refusal is told now.
            let _mapped = Mapped::new(place.file(), *offset);
            let location = UProbeAttachLocation::AbsoluteOffset(*offset);
            let attached = program.attach(location, place.path(), UProbeScope::AllProcesses);
            attached.map_err(|error| refused_instruction(error, *offset))?;
        }
        Ok(())
    }

    /// Put maps into entries of maps of maps: (outer, index, inner). Each makes the kernel wait for an RCU grace period,
    /// tens of milliseconds, so they wait together.
    pub fn set_inner(&self, entries: &[(&str, u32, BorrowedFd<'_>)]) -> Result<()> {
        let set = |(outer, index, inner): &(&str, u32, BorrowedFd<'_>)| {
            super::sys::map_update(self.map(outer)?, *index, inner.as_raw_fd() as u32)
                .with_context(|| format!("cannot set entry {index} of map {outer}"))
        };
        std::thread::scope(|scope| {
            let some = entries.chunks(entries.len().div_ceil(SETTING_THREADS).max(1));
            let threads: Vec<_> = some.map(|some| scope.spawn(|| some.iter().try_for_each(set))).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| anyhow!("a thread that sets maps has died"))?
            })
        })
    }

    /// A map of this copy of the object.
    pub fn map(&self, name: &str) -> Result<BorrowedFd<'_>> {
        use aya::maps::Map;
        match self.ebpf.map(name) {
            Some(
                Map::ArrayOfMaps(data)
                | Map::PerCpuArray(data)
                | Map::HashMap(data)
                | Map::ProgramArray(data),
            ) => Ok(data.fd().as_fd()),
            _ => bail!("the eBPF object has no map {name}"),
        }
    }

    /// Descriptor of the recording program, of the first if there are copies.
    pub fn event_fd(&self) -> Result<OwnedFd> {
        let first = self.events.first().context("there is no recording program")?;
        Ok(self.fd(first)?.try_clone_to_owned()?)
    }

    /// Descriptor of a program that is loaded.
    fn fd(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let program = self.ebpf.program(name).with_context(|| format!("no program {name}"))?;
        Ok(program.fd()?.as_fd())
    }
}

fn number(text: &str) -> Result<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.with_context(|| format!("offset '{text}' is not a number"))
}

/// aya's error in one line: its causes, and the end of what the verifier said.
fn explain(error: ProgramError) -> Error {
    if let ProgramError::LoadError { io_error, verifier_log } = &error {
        let log = verifier_log.to_string();
        let lines: Vec<&str> = log.lines().map(str::trim).filter(|l| !l.is_empty() && !is_noise(l)).collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].join(" | ");
        let end = if end.is_empty() { String::new() } else { format!("; the verifier says: {end}") };
        return anyhow!("the kernel refuses the program: {io_error}{end}");
    }
    Error::from(error)
}

/// What the kernel says when it cannot probe something; the C library has no text for it (`ENOTSUPP`).
const NOT_SUPPORTED: i32 = 524;

fn refused_instruction(error: ProgramError, offset: u64) -> Error {
    unless_supported(error, || {
        format!(
            "the kernel cannot probe the instruction at file offset {offset:#x}: give the offset of another one, or the \
             start of a function"
        )
    })
}

fn refused_function(error: ProgramError) -> Error {
    unless_supported(error, || {
        "the kernel cannot call a program there with the function's arguments (kernels differ: many pass six at most)".into()
    })
}

/// aya's error, or `because` if the kernel does not support what was asked for.
fn unless_supported(error: ProgramError, because: impl FnOnce() -> String) -> Error {
    let error = explain(error);
    let raw = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>());
    match raw.and_then(std::io::Error::raw_os_error) {
        Some(NOT_SUPPORTED) => anyhow!(because()),
        _ => error,
    }
}

fn is_noise(line: &str) -> bool {
    line.starts_with("processed ") || line.starts_with("verification time") || line.starts_with("stack depth")
}
