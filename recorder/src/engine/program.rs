//! Candidate -> loaded and attached programs of one copy of the eBPF object.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Error, Result, anyhow, bail};
use aya::programs::links::FdLink;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeScope};
use aya::programs::{
    BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint, TracePoint, UProbe,
};
use aya::{Btf, Ebpf, EbpfLoader, Pod, VerifierLogLevel};
use schemas::wire::{Plan, context};

use super::check;
use crate::resolve::{Candidate, Mechanism};

static OBJECT: &[u8] = aya::include_bytes_aligned!("ktape.bpf.o");

/// Lines of the verifier's log in an error.
const LOG_LINES: usize = 4;

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Frozen(Plan);

// SAFETY: a plan is plain data without padding (wire.rs asserts its size).
unsafe impl Pod for Frozen {}

/// The programs of one probe and what they are attached with.
#[derive(Debug)]
pub struct Programs {
    /// Owns programs, maps and those links that are not in `links`.
    pub ebpf: Ebpf,
    /// Names of the programs that are attached, the recording one first.
    pub names: Vec<&'static str>,
    links: Vec<FdLink>,
    /// Numbers of the links of kprobes.
    pub kprobe_links: Vec<u32>,
}

/// What all copies of the object have in common.
pub struct Loader<'a> {
    pub btf: Option<&'a Btf>,
    pub stash_entries: u32,
    pub cpus: u32,
    pub tgid_offset: u32,
}

/// How the machine's registers look.
const REGS: u8 = if cfg!(target_arch = "aarch64") { context::REGS_AARCH64 } else { context::REGS_X86_64 };

fn kinds(mechanism: Mechanism) -> (u8, u8) {
    match mechanism {
        Mechanism::TpBtf | Mechanism::Fentry => (context::TYPED_ARGS, context::TYPED_ARGS),
        Mechanism::RawTp => (context::ARGS, context::ARGS),
        Mechanism::Fexit => (context::TYPED_RETURN, context::TYPED_ARGS),
        Mechanism::Kprobe | Mechanism::Kretprobe | Mechanism::Uprobe | Mechanism::Uretprobe => (REGS, REGS),
        Mechanism::Tracepoint | Mechanism::SyscallTracepoints => (context::TRACEPOINT, context::TRACEPOINT),
    }
}

impl Loader<'_> {
    /// Load a copy of the object with the plans of `candidate`. Nothing is in the kernel yet but its maps.
    pub fn load(&self, candidate: &Candidate) -> Result<Programs> {
        check::check(&candidate.plan)?;
        let entry_plan = candidate.entry.as_deref().unwrap_or(&Plan::EMPTY);
        check::check(entry_plan).context("the entry plan")?;
        let (kind, entry_kind) = kinds(candidate.mechanism);
        let inputs = check::inputs(&candidate.plan);
        let entry_inputs = check::entry_inputs(entry_plan, &candidate.plan);
        let interleaved = u8::from(matches!(candidate.mechanism, Mechanism::Uprobe | Mechanism::Uretprobe));
        let stash = if candidate.entry.is_some() { self.stash_entries } else { 1 };
        let ebpf = EbpfLoader::new()
            .btf(self.btf)
            .verifier_log_level(VerifierLogLevel::DEBUG)
            .override_global("PLAN", &Frozen(*candidate.plan), true)
            .override_global("ENTRY_PLAN", &Frozen(*entry_plan), true)
            .override_global("KIND", &kind, true)
            .override_global("ENTRY_KIND", &entry_kind, true)
            .override_global("INPUTS", &inputs, true)
            .override_global("ENTRY_INPUTS", &entry_inputs, true)
            .override_global("INTERLEAVED", &interleaved, true)
            .override_global("AARCH64", &u8::from(cfg!(target_arch = "aarch64")), true)
            .map_max_entries("RINGS", self.cpus)
            .map_max_entries("STASH", stash)
            .load(OBJECT)
            .context("cannot load the eBPF object")?;
        Ok(Programs { ebpf, names: Vec::new(), links: Vec::new(), kprobe_links: Vec::new() })
    }

    /// Load the program that adds children to the pid set.
    pub fn load_follow(&self) -> Result<Programs> {
        let ebpf = EbpfLoader::new()
            .btf(self.btf)
            .override_global("TGID_OFFSET", &self.tgid_offset, true)
            .load(OBJECT)
            .context("cannot load the eBPF object")?;
        Ok(Programs { ebpf, names: Vec::new(), links: Vec::new(), kprobe_links: Vec::new() })
    }
}

impl Programs {
    /// Attach what `candidate` says: the entry program first, so that the return program finds what it needs.
    pub fn attach(&mut self, candidate: &Candidate, btf: Option<&Btf>) -> Result<()> {
        let target = candidate.target.as_str();
        let btf = || btf.ok_or_else(|| anyhow!("this kernel has no BTF (/sys/kernel/btf/vmlinux)"));
        let entry = candidate.entry.is_some();
        match candidate.mechanism {
            Mechanism::TpBtf => {
                let program: &mut BtfTracePoint = self.program("on_tp_btf")?;
                program.load(target, btf()?).map_err(explain)?;
                program.attach().map_err(explain)?;
            }
            Mechanism::RawTp => self.raw_tp("on_raw_tp", target)?,
            Mechanism::Fentry => self.fentry("on_fentry", target, btf()?)?,
            Mechanism::Fexit => {
                if entry {
                    self.fentry("on_fentry_entry", target, btf()?)?;
                }
                let program: &mut FExit = self.program("on_fexit")?;
                program.load(target, btf()?).map_err(explain)?;
                program.attach().map_err(explain)?;
            }
            Mechanism::Kprobe => self.kprobe("on_kprobe", target)?,
            Mechanism::Kretprobe => {
                if entry {
                    self.kprobe("on_kprobe_entry", target)?;
                }
                self.kprobe("on_kretprobe", target)?;
            }
            Mechanism::Tracepoint => {
                let (category, name) = target
                    .split_once(':')
                    .with_context(|| format!("tracepoint '{target}' is not of the form category:name"))?;
                self.tracepoint("on_tracepoint", category, name)?;
            }
            Mechanism::SyscallTracepoints => {
                if entry {
                    self.tracepoint("on_tracepoint_entry", "syscalls", &format!("sys_enter_{target}"))?;
                }
                self.tracepoint("on_tracepoint", "syscalls", &format!("sys_exit_{target}"))?;
            }
            Mechanism::Uprobe => self.uprobe("on_uprobe", target)?,
            Mechanism::Uretprobe => {
                if entry {
                    self.uprobe("on_uprobe_entry", target)?;
                }
                self.uprobe("on_uretprobe", target)?;
            }
        }
        self.names.reverse();
        Ok(())
    }

    /// Attach the program that adds children to the pid set.
    pub fn attach_follow(&mut self) -> Result<()> {
        self.raw_tp("on_follow_fork", "sched_process_fork")
    }

    fn program<'a, T>(&'a mut self, name: &'static str) -> Result<&'a mut T>
    where
        &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        self.names.push(name);
        let program =
            self.ebpf.program_mut(name).with_context(|| format!("the eBPF object has no program {name}"))?;
        Ok(program.try_into()?)
    }

    fn raw_tp(&mut self, name: &'static str, target: &str) -> Result<()> {
        let program: &mut RawTracePoint = self.program(name)?;
        program.load().map_err(explain)?;
        program.attach(target).map_err(explain)?;
        Ok(())
    }

    fn fentry(&mut self, name: &'static str, target: &str, btf: &Btf) -> Result<()> {
        let program: &mut FEntry = self.program(name)?;
        program.load(target, btf).map_err(explain)?;
        program.attach().map_err(explain)?;
        Ok(())
    }

    fn kprobe(&mut self, name: &'static str, target: &str) -> Result<()> {
        let (function, offset) = match target.split_once('+') {
            Some((function, offset)) => (function, number(offset)?),
            None => (target, 0),
        };
        let program: &mut KProbe = self.program(name)?;
        program.load().map_err(explain)?;
        let id = program.attach(function, offset).map_err(explain)?;
        let link = program.take_link(id)?;
        // Before 5.15 there is no such link; the program owns its perf event then.
        if let Ok(link) = FdLink::try_from(link) {
            self.kprobe_links.extend(link.info().ok().map(|info| info.id()));
            self.links.push(link);
        }
        Ok(())
    }

    fn tracepoint(&mut self, program: &'static str, category: &str, name: &str) -> Result<()> {
        let program: &mut TracePoint = self.program(program)?;
        program.load().map_err(explain)?;
        program.attach(category, name).map_err(explain)?;
        Ok(())
    }

    fn uprobe(&mut self, name: &'static str, target: &str) -> Result<()> {
        let (path, place) = target
            .rsplit_once(':')
            .with_context(|| format!("uprobe '{target}' is not of the form path:symbol"))?;
        let location = match place.split_once('+') {
            Some((symbol, offset)) => UProbeAttachLocation::SymbolOffset(symbol, number(offset)?),
            None if place.starts_with("0x") => UProbeAttachLocation::AbsoluteOffset(number(place)?),
            None => UProbeAttachLocation::Symbol(place),
        };
        let program: &mut UProbe = self.program(name)?;
        program.load().map_err(explain)?;
        program.attach(location, path, UProbeScope::AllProcesses).map_err(explain)?;
        Ok(())
    }

    /// Put a map into entry `index` of a map of maps.
    pub fn set_inner(&self, outer: &str, index: u32, inner: BorrowedFd<'_>) -> Result<()> {
        use std::os::fd::AsRawFd as _;
        super::sys::map_update(self.map(outer)?, index, inner.as_raw_fd() as u32)
            .with_context(|| format!("cannot set entry {index} of map {outer}"))
    }

    /// A map of this copy of the object.
    pub fn map(&self, name: &str) -> Result<BorrowedFd<'_>> {
        use aya::maps::Map;
        match self.ebpf.map(name) {
            Some(Map::ArrayOfMaps(data) | Map::PerCpuArray(data) | Map::HashMap(data)) => {
                Ok(data.fd().as_fd())
            }
            _ => bail!("the eBPF object has no map {name}"),
        }
    }

    /// Descriptors of the attached programs, the recording one first.
    pub fn fds(&self) -> Result<Vec<OwnedFd>> {
        let fd = |name: &&str| -> Result<OwnedFd> {
            let program = self.ebpf.program(name).with_context(|| format!("no program {name}"))?;
            Ok(program.fd()?.as_fd().try_clone_to_owned()?)
        };
        self.names.iter().map(fd).collect()
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

fn is_noise(line: &str) -> bool {
    line.starts_with("processed ") || line.starts_with("verification time") || line.starts_with("stack depth")
}
