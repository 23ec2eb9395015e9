//! Tells when processes were started to the nanosecond, as probes see it: /proc knows it in clock ticks only, and what is
//! in two tables of one process must be the same.

use std::collections::HashMap;
use std::io::Read;

use anyhow::{Context, Result};
use schemas::wire::Start;
use zerocopy::FromBytes;

use super::processes::Process;

const NS_PER_S: u64 = 1_000_000_000;

/// When each process was started, by number; of one number several if it was used again between two looks.
#[derive(Debug, Default)]
pub struct Starts(HashMap<u32, Vec<u64>>);

impl Starts {
    /// Add what the kernel's iterator over tasks tells.
    pub fn look(&mut self, mut iterator: impl Read) -> Result<()> {
        let mut bytes = Vec::new();
        iterator.read_to_end(&mut bytes).context("cannot read the kernel's list of tasks")?;
        for start in bytes.chunks_exact(size_of::<Start>()) {
            let Ok(Start { pid, boottime_ns }) = Start::read_from_bytes(start) else { continue };
            let known = self.0.entry(pid as u32).or_default();
            if !known.contains(&boottime_ns) {
                known.push(boottime_ns);
            }
        }
        Ok(())
    }

    /// Set the exact start of `process` if it is known.
    pub fn complete(&self, process: &mut Process) {
        let ns_per_tick = NS_PER_S / procfs::ticks_per_second().max(1);
        let starts = self.0.get(&process.pid).into_iter().flatten();
        let start = starts.copied().find(|ns| ns / ns_per_tick == process.start_ticks);
        process.start_boottime_ns = start.and_then(|ns| i64::try_from(ns).ok());
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;
    use crate::snapshot::cgroups::Hierarchy;
    use crate::snapshot::processes;

    #[test]
    fn the_start_of_a_process_is_the_one_within_its_tick() {
        let mut process = processes::read(std::process::id(), &Hierarchy::open()).unwrap();
        let tick = process.start_ticks * (NS_PER_S / procfs::ticks_per_second());
        let pid = u64::from(process.pid);
        let mut starts = Starts::default();
        let start = |pid, boottime_ns| Start { pid, boottime_ns };
        starts.look(start(pid, tick - 1).as_bytes()).unwrap();
        starts.complete(&mut process);
        assert_eq!(process.start_boottime_ns, None, "that was another process of this number");
        starts.look([start(pid, tick + 7), start(pid + 1, tick)].as_bytes()).unwrap();
        starts.complete(&mut process);
        assert_eq!(process.start_boottime_ns, Some(tick.cast_signed() + 7));
    }
}
