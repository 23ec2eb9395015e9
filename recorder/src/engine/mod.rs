//! The engine: candidates -> attached programs; their rings -> raw records and counters.
//!
//! ```text
//! candidate -> check -> program (a copy of the eBPF object per probe: object) -> kernel
//! pids, objects, gate: what probes share      hold -> attach ... -> start -> drain ... -> start_detaching
//! kernel -> ring (one per probe and CPU) -> Engine::drain          sys: bpf(2); misses: what nobody saw
//! kernel -> table of keys (one per aggregating probe) -> tables, each interval -> Engine::drain
//! ```

mod calls;
mod check;
mod counted;
mod gate;
mod loader;
mod mapped;
mod misses;
mod object;
mod objects;
mod perf;
mod pids;
mod program;
mod ring;
mod samples;
mod sys;
mod tables;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use aya::Btf;
use schemas::wire::{Counters, CpuState, Interrupts, NONE};
use zerocopy::FromBytes;

pub use calls::Unfinished;
pub use pids::{MAX_PIDS, PidSet};
pub use sys::may_use_maps;

use crate::kernel::{ProgramOffsets, TaskOffsets};
pub use crate::resolve::{Candidate, Mechanism};
use crate::source::{EventSource, ProbeCounters, ProbeId};
use gate::Gate;
use loader::Loader;
use misses::Misses;
use objects::ObjectSets;
use program::Programs;
use ring::Ring;
use samples::Samples;
use tables::Tables;

/// Smallest and largest ring of one probe and CPU.
const RING_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(64 << 20);
/// Part of a probe's ring memory that the second copy of one that nests has in addition, and again of that the third.
const NESTED_SHARE: u64 = 8;
/// Links are closed by this many threads: closing a kprobe waits for every CPU.
const DETACH_THREADS: usize = 16;
/// How often a loss by skips is looked at again before it is believed.
const LOOKS: usize = 4;
/// Most keys of an aggregated event, unless [`EngineOptions`] says otherwise.
pub const MAX_KEYS: u32 = 8192;
/// The kernel side's clock, `ktime_get_boot_fast_ns`, may be behind ours: by some nanoseconds always, by more while
/// the clock is being adjusted.
const CLOCK_SLACK_NS: u64 = 1_000_000;

/// What the engine may use.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Bytes of all rings together (64 MiB).
    pub ring_bytes_total: u64,
    /// Sum of the weights of the probes that will be attached; each gets its share of the rings.
    pub total_weight: u32,
    /// Calls that an entry probe can keep at once for its return probe (8192; about 0.5 KiB each).
    pub stash_entries: u32,
    /// Processes that can be followed at once ([`MAX_PIDS`]).
    pub max_pids: u32,
    /// Needed to follow the children of processes in the pid set (`Kernel::task_offsets`).
    pub task_offsets: Option<TaskOffsets>,
    /// How programs tell interrupts from tasks (`Kernel::interrupts`; without it they take all for tasks).
    pub interrupts: Interrupts,
    /// Needed to record what happens in interrupts of a probe that nests (`Kernel::program_offsets`).
    pub program_offsets: Option<ProgramOffsets>,
    /// How long events of an aggregated event are counted before that becomes rows (1 s).
    pub interval: Duration,
    /// Most keys of an aggregated event, for each probe (8192).
    pub max_keys: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            ring_bytes_total: 64 << 20,
            total_weight: 1,
            stash_entries: 8192,
            max_pids: MAX_PIDS,
            task_offsets: None,
            interrupts: Interrupts::default(),
            program_offsets: None,
            interval: Duration::from_secs(1),
            max_keys: MAX_KEYS,
        }
    }
}

/// Live probes.
pub struct Engine {
    options: EngineOptions,
    btf: Option<Btf>,
    loader: Loader,
    gate: Gate,
    pids: PidSet,
    objects: ObjectSets,
    follow: Option<Programs>,
    /// Counters of the programs that keep the pid set; they stay when those are detached.
    follow_states: Option<OwnedFd>,
    probes: Vec<Attached>,
    /// One for each thread that detaches probes; closed when it has.
    detaching: Vec<Receiver<()>>,
    tables: Tables,
    /// Rings that are left alone, unless nothing comes from them but after ...
    paused: Vec<(ProbeId, u16)>,
    /// ... this boot time (ns).
    paused_beyond_ns: u64,
    online_cpus: Vec<u32>,
    possible_cpus: usize,
}

/// A probe and its rings. `programs` goes away when it is detached, the rest stays.
struct Attached {
    id: ProbeId,
    mechanism: Mechanism,
    filters_pids: bool,
    /// 1, or more for a probe that nests: its further copies have the next numbers.
    copies: u32,
    programs: Option<Programs>,
    /// By number, cpu.
    rings: Vec<(ProbeId, u16, Ring)>,
    states: OwnedFd,
    /// Of a program that samples.
    samples: Option<Samples>,
    /// What is kept of calls from entry to return, if their duration is measured.
    calls: Option<OwnedFd>,
    /// The recording program, whose skips are losses unless a further copy took them. A call of which the program at
    /// entry was skipped is counted when it returns and nothing was kept of it.
    program: OwnedFd,
    /// What the kernel had skipped before the start; not ours.
    skipped_before: Misses,
    /// What it had skipped at the end.
    skipped: Option<Misses>,
}

impl Engine {
    /// Get ready. Fails if this process may not use bpf(2), with what to do about it.
    pub fn new(options: EngineOptions) -> Result<Self> {
        raise_memlock_limit();
        let cpus = |(path, error)| Error::from(error).context(format!("cannot read {path}"));
        let possible_cpus = aya::util::nr_cpus().map_err(cpus)?;
        let task = options.task_offsets.unwrap_or_default();
        let program = options.program_offsets.unwrap_or_default();
        let privileges = "run it as root or with CAP_BPF and CAP_PERFMON";
        Ok(Self {
            loader: Loader::new(
                possible_cpus as u32,
                options.stash_entries,
                task,
                options.interrupts,
                program,
            ),
            btf: Btf::from_sys_fs().ok(),
            gate: Gate::new().context(privileges)?,
            pids: PidSet::new(options.max_pids).context(privileges)?,
            objects: ObjectSets::default(),
            follow: None,
            follow_states: None,
            probes: Vec::new(),
            detaching: Vec::new(),
            tables: Tables::new(options.interval, options.max_keys, possible_cpus),
            paused: Vec::new(),
            paused_beyond_ns: 0,
            online_cpus: aya::util::online_cpus().map_err(cpus)?,
            possible_cpus,
            options,
        })
    }

    /// Let no probe see anything until [`start`](Self::start): attaching many takes seconds.
    pub fn hold(&mut self) -> Result<()> {
        self.gate.hold()
    }

    /// Let all probes see from now on. Gives the boot time (ns) before which none has seen anything.
    pub fn start(&mut self) -> Result<u64> {
        for probe in &mut self.probes {
            probe.skipped_before = probe.skipped_until_now(self.possible_cpus);
        }
        let start_ns = boot_ns().saturating_sub(CLOCK_SLACK_NS);
        self.gate.open()?;
        self.samples().for_each(Samples::start);
        self.tables.start(start_ns);
        Ok(start_ns)
    }

    /// Bytes of all rings together: more than was asked for, if many probes have the smallest ones.
    pub fn ring_bytes_made(&self) -> u64 {
        self.probes.iter().flat_map(|probe| &probe.rings).map(|(_, _, ring)| ring.bytes()).sum()
    }

    /// Attach a probe of weight 1. An error says why this kernel will not have it: try the next candidate.
    pub fn attach(&mut self, probe: ProbeId, candidate: &Candidate) -> Result<()> {
        self.attach_weighted(probe, candidate, 1)
    }

    /// Attach a probe that gets `weight` shares of the ring memory. One that nests takes as many numbers as it has copies
    /// ([`Candidate::copies`]): those after `probe` are for what happens in interrupts of it.
    pub fn attach_weighted(&mut self, probe: ProbeId, candidate: &Candidate, weight: u32) -> Result<()> {
        if self.probes.iter().any(|p| (p.id..p.id + p.copies as ProbeId).contains(&probe)) {
            bail!("probe {probe} is attached already");
        }
        let plan = &candidate.plan;
        if plan.filter_pids != 0 {
            self.follow_children()?;
        }
        let mut programs = self.loader.load(candidate)?;
        let mut rings = Vec::new();
        let is_recorded = plan.aggregates == 0;
        for copy in (0..candidate.copies()).filter(|_| is_recorded) {
            let bytes = self.ring_bytes(weight, copy);
            for &cpu in &self.online_cpus {
                let ring = Ring::new(bytes)
                    .with_context(|| format!("cannot make a ring of {} KiB for cpu {cpu}", bytes >> 10))?;
                rings.push((probe + copy as ProbeId, cpu as u16, ring));
            }
        }
        let mut maps = vec![("SHARED", 0, self.gate.fd())];
        if plan.filter_pids != 0 {
            maps.push(("PIDS", 0, self.pids.fd()));
        }
        if plan.begins != NONE || plan.ends != NONE {
            let set = self.objects.of(&candidate.event)?;
            maps.extend(set.maps().map(|(outer, map)| (outer, 0, map)));
        }
        maps.extend(rings.iter().map(|(id, cpu, ring)| {
            let copy = u32::from(id - probe);
            ("RINGS", u32::from(*cpu) + copy * self.possible_cpus as u32, ring.fd())
        }));
        let tables = if is_recorded { Vec::new() } else { self.tables.make(probe, candidate, &programs)? };
        maps.extend(tables.iter().zip(0..).map(|(table, copy)| ("TABLES", copy, table.current())));
        programs.set_inner(&maps)?;
        programs
            .attach(candidate, self.btf.as_ref())
            .with_context(|| format!("cannot attach {} {}", candidate.mechanism, candidate.target))?;
        self.tables.add(tables);
        self.probes.push(Attached {
            id: probe,
            mechanism: candidate.mechanism,
            filters_pids: plan.filter_pids != 0,
            copies: candidate.copies(),
            states: programs.map("CPUS")?.try_clone_to_owned()?,
            calls: plan
                .is_timed()
                .then(|| programs.map("STASH")?.try_clone_to_owned().map_err(Error::from))
                .transpose()?,
            program: programs.event_fd()?,
            samples: programs.samples.take(),
            programs: Some(programs),
            rings,
            skipped_before: Misses::default(),
            skipped: None,
        });
        Ok(())
    }

    /// The processes that probes with a process filter record. Children join by themselves.
    pub fn pids(&mut self) -> &mut PidSet {
        &mut self.pids
    }

    /// Two files that tell, when they are read, when each process was started. Fails if this kernel has no such iterator.
    pub fn process_starts(&mut self) -> Result<[File; 2]> {
        if self.options.task_offsets.is_none_or(|offsets| offsets.start.is_none()) {
            bail!("this kernel does not describe task_struct.start_boottime");
        }
        self.loader.load_iterator()?.iterate(self.btf.as_ref())
    }

    /// Detach all probes. What is in the rings stays there to be drained, and the counters to be read.
    pub fn detach_all(&mut self) {
        // A panic in one of its threads has been told; what is not detached goes with the process.
        let _ = self.start_detaching().join();
    }

    /// Let no probe see anything any more, and start to detach all in the background, because that may take a second:
    /// drain until the thread has finished.
    pub fn start_detaching(&mut self) -> JoinHandle<()> {
        let events: Vec<File> = self.samples().flat_map(Samples::finish).collect();
        // A gate that could not be closed is no gate: the probes end one by one.
        let _ = self.gate.close();
        self.tables.finish();
        let mut programs: Vec<Programs> = self.follow.take().into_iter().collect();
        for probe in &mut self.probes {
            let skipped = probe.skipped_until_now(self.possible_cpus);
            probe.skipped.get_or_insert(skipped);
            programs.extend(probe.programs.take());
        }
        let (working, done) = mpsc::channel();
        self.detaching.push(done);
        std::thread::spawn(move || {
            let _working: Sender<()> = working;
            drop(events);
            let each = programs.len().div_ceil(DETACH_THREADS).max(1);
            std::thread::scope(|scope| {
                while !programs.is_empty() {
                    let some = programs.split_off(programs.len().saturating_sub(each));
                    scope.spawn(|| drop(some));
                }
            });
        })
    }

    /// Calls that had not returned when the recording ended ([`start_detaching`](Self::start_detaching)), of probes that
    /// measure durations; in no order.
    pub fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let mut all = Vec::new();
        for probe in &self.probes {
            if let Some(store) = &probe.calls {
                all.extend(calls::unfinished(probe.id, store)?);
            }
        }
        Ok(all)
    }

    fn samples(&mut self) -> impl Iterator<Item = &mut Samples> {
        self.probes.iter_mut().filter_map(|probe| probe.samples.as_mut())
    }

    fn follow_children(&mut self) -> Result<()> {
        if self.follow.is_some() || self.options.task_offsets.is_none() {
            return Ok(());
        }
        let mut programs = self.loader.load_follow()?;
        programs.set_inner(&[("PIDS", 0, self.pids.fd())])?;
        programs.attach_follow().context("cannot follow the children of processes")?;
        self.follow_states = Some(programs.map("CPUS")?.try_clone_to_owned()?);
        self.follow = Some(programs);
        Ok(())
    }

    /// A power of two of pages. What happens in interrupts of a probe is a small part of what it sees.
    fn ring_bytes(&self, weight: u32, copy: u32) -> u32 {
        let rings = u64::from(self.options.total_weight.max(1)) * self.online_cpus.len().max(1) as u64;
        let share = self.options.ring_bytes_total.saturating_mul(u64::from(weight)) / rings;
        let share = share / NESTED_SHARE.pow(copy);
        let bytes = share.clamp(*RING_BYTES.start(), *RING_BYTES.end());
        1 << bytes.ilog2()
    }

    /// Children that did not fit into the pid set.
    fn unfollowed(&self) -> Result<u64> {
        let Some(map) = &self.follow_states else { return Ok(0) };
        Ok(states(map, 0, self.possible_cpus)?.iter().map(|state| state.counters.map_full).sum())
    }
}

/// Entry `copy` of counters, CPU by CPU.
fn states(map: &OwnedFd, copy: u32, cpus: usize) -> Result<Vec<CpuState>> {
    let mut buffer = vec![0; cpus * size_of::<CpuState>()];
    sys::map_lookup(map.as_fd(), copy, &mut buffer).context("cannot read counters")?;
    let states = buffer.chunks_exact(size_of::<CpuState>());
    Ok(states.filter_map(|chunk| CpuState::read_from_bytes(chunk).ok()).collect())
}

impl Attached {
    /// What the kernel has skipped since the probe was attached and no further copy has taken. A skip is counted a
    /// moment before it is taken, so what looks like a loss is looked at again.
    fn skipped_until_now(&self, cpus: usize) -> Misses {
        let link = self.programs.as_ref().and_then(|programs| programs.kprobe_link.as_ref());
        let kprobe = misses::kprobes(self.mechanism, link);
        let lost = || {
            let skipped = misses::recursion(self.mechanism, &self.program)?;
            Some(skipped.saturating_sub(self.taken(cpus)))
        };
        let mut recursion = lost();
        if self.copies > 1 {
            for _ in 0..LOOKS {
                if recursion.is_none_or(|lost| lost == 0) {
                    break;
                }
                recursion = recursion.min(lost());
            }
        }
        Misses { recursion, kprobe }
    }

    /// What further copies have recorded or filtered in place of the first.
    fn taken(&self, cpus: usize) -> u64 {
        let all = (1..self.copies).flat_map(|copy| states(&self.states, copy, cpus).unwrap_or_default());
        all.map(|state| state.taken).sum()
    }

    /// What was lost by skips since the start. What ended the recording is not: of copies, that can be told afterwards,
    /// when all have come to their end.
    fn skipped(&self, cpus: usize) -> Misses {
        let now = || self.skipped_until_now(cpus);
        let skipped = match self.skipped {
            Some(skipped) if self.copies > 1 => Misses { recursion: now().recursion, ..skipped },
            Some(skipped) => skipped,
            None => now(),
        };
        skipped.since(self.skipped_before)
    }
}

impl Drop for Engine {
    /// Waits until all is detached. A thread that is killed in the midst of it, as the end of the process kills threads, cannot
    /// write to the memory of others any more: the kernel leaves the breakpoint of a uprobe there, and the semaphore as it is
    /// ("failed to unregister, leaking uprobe").
    fn drop(&mut self) {
        self.detach_all();
        for done in self.detaching.drain(..) {
            let _ = done.recv();
        }
    }
}

impl EventSource for Engine {
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        let now_ns = boot_ns().saturating_sub(CLOCK_SLACK_NS);
        let mut watermark_ns = self.tables.drain(now_ns, visit)?.min(now_ns);
        for probe in &mut self.probes {
            for (id, cpu, ring) in &mut probe.rings {
                if ring.floor_ns() > self.paused_beyond_ns && self.paused.contains(&(*id, *cpu)) {
                    watermark_ns = watermark_ns.min(ring.floor_ns());
                    continue;
                }
                let floor_ns = ring.drain(now_ns, &mut |record| visit(*id, *cpu, record));
                watermark_ns = watermark_ns.min(floor_ns);
            }
        }
        Ok(watermark_ns)
    }

    fn pause(&mut self, lanes: &[(ProbeId, u16)], watermark_ns: u64) {
        self.paused.clear();
        self.paused.extend_from_slice(lanes);
        self.paused_beyond_ns = watermark_ns;
    }

    fn counters(&mut self) -> Result<Vec<ProbeCounters>> {
        let unfollowed = self.unfollowed()?;
        let counters = |states: &[CpuState]| -> Vec<Counters> { states.iter().map(|s| s.counters).collect() };
        let mut all = Vec::with_capacity(self.probes.len());
        for probe in &mut self.probes {
            let skipped = probe.skipped(self.possible_cpus);
            probe.samples.iter_mut().for_each(Samples::look);
            for copy in 0..probe.copies {
                // What a further copy misses, one before it has seen or counts as missed.
                let Misses { recursion, kprobe } = if copy == 0 { skipped } else { Misses::default() };
                let states = states(&probe.states, copy, self.possible_cpus)?;
                all.push(ProbeCounters {
                    probe: probe.id + copy as ProbeId,
                    per_cpu: counters(&states),
                    recursion_misses: recursion,
                    kprobe_misses: kprobe,
                    sample_misses: probe.samples.as_mut().map_or(0, |samples| samples.missed(&states)),
                    unfollowed: if probe.filters_pids && copy == 0 { unfollowed } else { 0 },
                });
            }
        }
        Ok(all)
    }

    fn finished(&self) -> bool {
        false
    }
}

/// CLOCK_BOOTTIME, the clock of the records.
fn boot_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes to a local variable; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Kernels before 5.11 count BPF memory against this limit. Without CAP_SYS_RESOURCE it cannot be raised, and later
/// ones do not need it.
fn raise_memlock_limit() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the kernel reads a local variable.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) };
}
