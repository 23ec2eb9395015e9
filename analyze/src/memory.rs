//! `--memory` bounds the process: what operators say that they need, and what it really takes.
//!
//! Operators count most of what they keep, but not all: buffers of readers, batches on their way. So the pool also looks
//! at the resident size of the process, and refuses more where that is too large. Whoever can then goes on in temporary
//! files; the others end with one clear error.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Result, resources_datafusion_err};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// The process is looked at again after operators have grown by this much.
const STEP_BYTES: usize = 4 << 20;

/// What a query may take beside what its operators count: buffers for reading and decoding, batches on their way.
const UNCOUNTED_BYTES: usize = 96 << 20;

/// See the module.
#[derive(Debug)]
pub struct ProcessPool {
    shares: FairSpillPool,
    limit_bytes: usize,
    /// Resident before the first query: the program, its threads, the tables' metadata.
    base_bytes: usize,
    grown_bytes: AtomicUsize,
}

impl ProcessPool {
    /// A pool of so many bytes for a process that is as large as it is now without any query.
    pub fn new(limit_bytes: usize) -> Self {
        return_freed();
        Self {
            shares: FairSpillPool::new(limit_bytes),
            limit_bytes,
            base_bytes: resident_bytes().unwrap_or_default(),
            grown_bytes: AtomicUsize::new(0),
        }
    }

    /// Fails if the process is larger than it may become.
    fn check(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let grown = self.grown_bytes.fetch_add(additional, Ordering::Relaxed) + additional;
        if grown < STEP_BYTES {
            return Ok(());
        }
        self.grown_bytes.store(0, Ordering::Relaxed);
        let is_over = || {
            let resident = resident_bytes().unwrap_or_default().saturating_sub(self.base_bytes);
            (resident + additional > self.limit_bytes + UNCOUNTED_BYTES).then_some(resident)
        };
        if is_over().is_none() {
            return Ok(());
        }
        // What was freed may still be resident.
        return_freed();
        match is_over() {
            None => Ok(()),
            Some(resident) => Err(resources_datafusion_err!(
                "{} needs {} MiB more, and {} MiB of the {} MiB of --memory are in use",
                reservation.consumer().name(),
                additional.div_ceil(1 << 20),
                resident >> 20,
                self.limit_bytes >> 20
            )),
        }
    }
}

impl fmt::Display for ProcessPool {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "process of at most {} MiB", self.limit_bytes >> 20)
    }
}

impl MemoryPool for ProcessPool {
    fn name(&self) -> &str {
        "process"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.shares.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shares.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.shares.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.shares.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.check(reservation, additional)?;
        self.shares.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.shares.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit_bytes)
    }
}

/// Bytes of the process that are in memory.
pub fn resident_bytes() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split(' ').nth(1)?.parse().ok()?;
    let page_bytes = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(usize::try_from(page_bytes).ok()?)
}

#[cfg(target_env = "gnu")]
fn return_freed() {
    // SAFETY: malloc_trim has no preconditions.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn return_freed() {}

/// Let few threads share what they free, and give large blocks back at once: call it before there are threads.
pub fn set_up() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes any numbers; what it does not know it ignores.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 4);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
    }
}
