//! The engine: candidates -> attached programs; their rings -> raw records and counters.
//!
//! ```text
//! candidate -> check -> program (one copy of the eBPF object per probe: object) -> kernel
//! kernel -> ring (one per probe and CPU) -> Engine::drain          sys: bpf(2); misses: what nobody saw
//! ```

mod check;
mod misses;
mod object;
mod pids;
mod program;
mod ring;
mod sys;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use aya::Btf;
use schemas::wire::{Counters, CpuState};
use zerocopy::FromBytes;

pub use pids::{MAX_PIDS, PidSet};

pub use crate::resolve::{Candidate, Mechanism};
use crate::source::{EventSource, ProbeCounters, ProbeId};
use program::{Loader, Programs};
use ring::Ring;

/// Smallest and largest ring of one probe and CPU.
const RING_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(64 << 20);
/// Links are closed by this many threads: closing a kprobe waits for every CPU.
const DETACH_THREADS: usize = 16;
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
    /// Offset of `task_struct.tgid` (from BTF). Needed to follow the children of processes in the pid set.
    pub tgid_offset: Option<u32>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { ring_bytes_total: 64 << 20, total_weight: 1, stash_entries: 8192, tgid_offset: None }
    }
}

/// Live probes.
pub struct Engine {
    options: EngineOptions,
    btf: Option<Btf>,
    loader: Loader,
    pids: PidSet,
    follow: Option<Programs>,
    probes: Vec<Attached>,
    online_cpus: Vec<u32>,
    possible_cpus: usize,
}

/// A probe and its rings. `programs` goes away when it is detached, the rest stays.
struct Attached {
    id: ProbeId,
    mechanism: Mechanism,
    programs: Option<Programs>,
    rings: Vec<(u16, Ring)>,
    states: OwnedFd,
    program_fds: Vec<OwnedFd>,
    kprobe_misses: Option<u64>,
}

impl Engine {
    /// Get ready. Fails if this process may not use bpf(2), with what to do about it.
    pub fn new(options: EngineOptions) -> Result<Self> {
        raise_memlock_limit();
        let cpus = |(path, error)| anyhow::Error::from(error).context(format!("cannot read {path}"));
        let possible_cpus = aya::util::nr_cpus().map_err(cpus)?;
        let tgid_offset = options.tgid_offset.unwrap_or(0);
        Ok(Self {
            loader: Loader::new(possible_cpus as u32, options.stash_entries, tgid_offset),
            btf: Btf::from_sys_fs().ok(),
            pids: PidSet::new().context("run it as root or with CAP_BPF and CAP_PERFMON")?,
            follow: None,
            probes: Vec::new(),
            online_cpus: aya::util::online_cpus().map_err(cpus)?,
            possible_cpus,
            options,
        })
    }

    /// Attach a probe of weight 1. An error says why this kernel will not have it: try the next candidate.
    pub fn attach(&mut self, probe: ProbeId, candidate: &Candidate) -> Result<()> {
        self.attach_weighted(probe, candidate, 1)
    }

    /// Attach a probe that gets `weight` shares of the ring memory.
    pub fn attach_weighted(&mut self, probe: ProbeId, candidate: &Candidate, weight: u32) -> Result<()> {
        if self.probes.iter().any(|p| p.id == probe) {
            bail!("probe {probe} is attached already");
        }
        if candidate.plan.filter_pids != 0 {
            self.follow_children()?;
        }
        let mut programs = self.loader.load(candidate)?;
        programs.set_inner("PIDS", 0, self.pids.fd())?;
        let bytes = self.ring_bytes(weight);
        let mut rings = Vec::new();
        for &cpu in &self.online_cpus {
            let ring = Ring::new(bytes)
                .with_context(|| format!("cannot make a ring of {} KiB for cpu {cpu}", bytes >> 10))?;
            programs.set_inner("RINGS", cpu, ring.fd())?;
            rings.push((cpu as u16, ring));
        }
        programs
            .attach(candidate, self.btf.as_ref())
            .with_context(|| format!("cannot attach {} {}", candidate.mechanism, candidate.target))?;
        self.probes.push(Attached {
            id: probe,
            mechanism: candidate.mechanism,
            states: programs.map("CPUS")?.try_clone_to_owned()?,
            program_fds: programs.fds()?,
            programs: Some(programs),
            rings,
            kprobe_misses: None,
        });
        Ok(())
    }

    /// The processes that probes with a process filter record. Children join by themselves.
    pub fn pids(&mut self) -> &mut PidSet {
        &mut self.pids
    }

    /// Detach all probes. What is in the rings stays there to be drained, and the counters to be read.
    pub fn detach_all(&mut self) {
        // A panic in one of its threads has been told; what is not detached goes with the process.
        let _ = self.start_detaching().join();
    }

    /// Start to detach all probes in the background, because that may take a second in which events still come: drain
    /// until the thread has finished.
    pub fn start_detaching(&mut self) -> JoinHandle<()> {
        let mut programs: Vec<Programs> = self.follow.take().into_iter().collect();
        for probe in &mut self.probes {
            if let Some(attached) = probe.programs.take() {
                probe.kprobe_misses = misses::kprobes(probe.mechanism, &attached.kprobe_links);
                programs.push(attached);
            }
        }
        std::thread::spawn(move || {
            let each = programs.len().div_ceil(DETACH_THREADS).max(1);
            std::thread::scope(|scope| {
                while !programs.is_empty() {
                    let some = programs.split_off(programs.len().saturating_sub(each));
                    scope.spawn(|| drop(some));
                }
            });
        })
    }

    fn follow_children(&mut self) -> Result<()> {
        if self.follow.is_some() || self.options.tgid_offset.is_none() {
            return Ok(());
        }
        let mut programs = self.loader.load_follow()?;
        programs.set_inner("PIDS", 0, self.pids.fd())?;
        programs.attach_follow().context("cannot follow the children of processes")?;
        self.follow = Some(programs);
        Ok(())
    }

    /// A power of two of pages.
    fn ring_bytes(&self, weight: u32) -> u32 {
        let rings = u64::from(self.options.total_weight.max(1)) * self.online_cpus.len().max(1) as u64;
        let share = self.options.ring_bytes_total.saturating_mul(u64::from(weight)) / rings;
        let bytes = share.clamp(*RING_BYTES.start(), *RING_BYTES.end());
        1 << bytes.ilog2()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.detach_all();
    }
}

impl EventSource for Engine {
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        let now_ns = boot_ns().saturating_sub(CLOCK_SLACK_NS);
        let mut watermark_ns = now_ns;
        for probe in &mut self.probes {
            for (cpu, ring) in &mut probe.rings {
                let floor_ns = ring.drain(now_ns, &mut |record| visit(probe.id, *cpu, record));
                watermark_ns = watermark_ns.min(floor_ns);
            }
        }
        Ok(watermark_ns)
    }

    fn counters(&mut self) -> Result<Vec<ProbeCounters>> {
        let mut buffer = vec![0; self.possible_cpus * size_of::<CpuState>()];
        let mut all = Vec::with_capacity(self.probes.len());
        for probe in &self.probes {
            sys::map_lookup(probe.states.as_fd(), 0, &mut buffer)
                .with_context(|| format!("cannot read the counters of probe {}", probe.id))?;
            let per_cpu: Vec<Counters> = buffer
                .chunks_exact(size_of::<CpuState>())
                .filter_map(|chunk| CpuState::read_from_bytes(chunk).ok())
                .map(|state| state.counters)
                .collect();
            all.push(ProbeCounters {
                probe: probe.id,
                per_cpu,
                recursion_misses: misses::recursion(probe.mechanism, &probe.program_fds),
                kprobe_misses: match &probe.programs {
                    Some(programs) => misses::kprobes(probe.mechanism, &programs.kprobe_links),
                    None => probe.kprobe_misses,
                },
            });
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
