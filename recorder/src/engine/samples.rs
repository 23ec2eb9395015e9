//! A program that samples: a perf event on each processor, and how many samples the kernel owes.
//!
//! Who looks at a clock or counter knows how many samples were due. Fewer come where the kernel holds an event back that
//! comes too often, where a virtual machine or its processor did not run, and where the program of another perf event,
//! kprobe or tracepoint was interrupted.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use anyhow::{Context, Error, Result, anyhow};
use schemas::expr::{Sampling, Target};
use schemas::wire::CpuState;
use zerocopy::IntoBytes;

use super::perf::{self, Attributes};

/// `PERF_FORMAT_TOTAL_TIME_ENABLED`: the time is read behind the count.
const WITH_TIME: u64 = 1;
/// `disabled`, and `pinned`: always on a counter of the processor, or an error.
const DISABLED: u64 = 1;
const PINNED: u64 = 1 << 2;
/// What the C library has no text for (`ENOTSUPP`).
const NOT_SUPPORTED: i32 = 524;

/// The events of a probe.
#[derive(Debug)]
pub struct Samples {
    sampling: Sampling,
    /// None once they are closed.
    events: Vec<File>,
    /// The processor of each.
    cpus: Vec<usize>,
    /// What was read of each at the start, and last.
    first: Vec<u64>,
    last: Vec<u64>,
    /// The most that were ever found missing.
    most_missed: u64,
}

impl Samples {
    /// Open `target` (`profile:hz:99`) on each of `cpus`, and let `program` run at its samples.
    pub fn attach(program: BorrowedFd<'_>, target: &str, cpus: &[u32]) -> Result<Self> {
        let target = Target::parse(target)?;
        let sampling = Sampling::parse(target.kind, &target.name).context("this is no perf event")?;
        let sampling = sampling.map_err(Error::msg)?;
        let attributes = Attributes {
            kind: sampling.kind,
            size: size_of::<Attributes>() as u32,
            config: sampling.config,
            period: sampling.period,
            read_format: WITH_TIME,
            flags: DISABLED | if sampling.is_hardware() { PINNED } else { 0 },
            ..Attributes::default()
        };
        let mut events = Vec::new();
        for cpu in cpus {
            let event = perf::open(&attributes, *cpu).map_err(|error| refused(error, &sampling, *cpu))?;
            perf::attach(&event, program).context("cannot attach the program")?;
            let event = File::from(event);
            // Of a pinned event that found no room the kernel says that it has ended.
            read(&event, &sampling).with_context(|| {
                format!(
                    "all counters of cpu {cpu} are in use, by perf or the watchdog for hard lockups (sysctl \
                     kernel.nmi_watchdog=0 frees that one)"
                )
            })?;
            events.push(event);
        }
        let cpus: Vec<usize> = cpus.iter().map(|cpu| *cpu as usize).collect();
        let (first, last) = (vec![0; cpus.len()], vec![0; cpus.len()]);
        Ok(Self { sampling, events, cpus, first, last, most_missed: 0 })
    }

    /// From now on samples are wanted.
    pub fn start(&mut self) {
        self.look();
        self.first.clone_from(&self.last);
    }

    /// See how far the events are. What the program has counted must be read after this.
    pub fn look(&mut self) {
        // Of a processor that was switched off nothing is read.
        for (last, event) in self.last.iter_mut().zip(&self.events) {
            *last = read(event, &self.sampling).unwrap_or(*last);
        }
    }

    /// No more samples are wanted. Gives the events, to be closed.
    pub fn finish(&mut self) -> Vec<File> {
        self.look();
        std::mem::take(&mut self.events)
    }

    /// Samples that were due until the last look and never came to the program, which counted `states`; at least so many:
    /// on each processor one may be under way.
    pub fn missed(&mut self, states: &[CpuState]) -> u64 {
        let missed = self.cpus.iter().zip(self.first.iter().zip(&self.last)).map(|(cpu, (first, last))| {
            let due = last.saturating_sub(*first) / self.sampling.period;
            let came = states.get(*cpu).map_or(0, |state| state.counters.fired);
            due.saturating_sub(came + 1)
        });
        self.most_missed = self.most_missed.max(missed.sum());
        self.most_missed
    }
}

/// How far an event is: nanoseconds of a clock, which goes on while the event is held back, or what was counted.
fn read(mut event: &File, sampling: &Sampling) -> io::Result<u64> {
    let mut values = [0u64; 2];
    event.read_exact(values.as_mut_bytes())?;
    let [count, enabled_ns] = values;
    Ok(if sampling.is_clock { enabled_ns } else { count })
}

fn refused(error: io::Error, sampling: &Sampling, cpu: u32) -> Error {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            Error::from(error).context("perf events take root or CAP_PERFMON")
        }
        Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP | libc::EINVAL | NOT_SUPPORTED)
            if sampling.is_hardware() =>
        {
            anyhow!(
                "the processor does not count this, or the kernel has no driver for its counters, as in most virtual \
                 machines: give the machine counters (a virtual PMU), or sample a clock (profile:hz:99)"
            )
        }
        _ => Error::from(error).context(format!("the kernel refuses the perf event on cpu {cpu}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_and_did_not_come_is_missed_by_processor_and_never_falls() {
        let sampling = Sampling { kind: 1, config: 0, period: 10, is_clock: true };
        let (first, last) = (vec![100, 100], vec![155, 300]);
        let mut samples =
            Samples { sampling, events: Vec::new(), cpus: vec![0, 2], first, last, most_missed: 0 };
        let mut states = [CpuState::default(); 3];
        // 5 and 20 were due.
        states[0].counters.fired = 7;
        states[2].counters.fired = 15;
        assert_eq!(samples.missed(&states), 4);
        states[2].counters.fired = 19;
        assert_eq!(samples.missed(&states), 4);
    }
}
