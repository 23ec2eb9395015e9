//! What the kernel itself counts of calls that no program saw.

use std::os::fd::{AsFd, OwnedFd};

use aya::util::KernelVersion;

use super::sys;
use crate::resolve::Mechanism;

/// Offset of `recursion_misses` in `struct bpf_prog_info`.
const RECURSION_MISSES: usize = 208;
/// Offset of `perf_event.kprobe.missed` in `struct bpf_link_info`.
const KPROBE_MISSED: usize = 48;

/// Since this version programs on kprobes and classic tracepoints that are skipped, because another such program
/// runs on the CPU, are counted (commit dd8657894c11, "bpf: Count missed stats in trace_call_bpf").
const COUNTS_PERF_SKIPS: KernelVersion = KernelVersion::new(6, 7, 0);
/// Since this version a kprobe's link says how often the kprobe was missed (commit 3acf8ace6823).
const COUNTS_KPROBE_MISSES: KernelVersion = KernelVersion::new(6, 7, 0);

/// Runs that the kernel skipped; `None` where it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misses {
    /// Because one was running already.
    pub recursion: Option<u64>,
    /// Because a kprobe, kretprobe or uretprobe could not be run.
    pub kprobe: Option<u64>,
}

impl Default for Misses {
    /// No run was skipped.
    fn default() -> Self {
        Self { recursion: Some(0), kprobe: Some(0) }
    }
}

impl Misses {
    /// Those that were not in `before`.
    pub fn since(self, before: Self) -> Self {
        let since = |now: Option<u64>, before: Option<u64>| Some(now?.saturating_sub(before?));
        Self { recursion: since(self.recursion, before.recursion), kprobe: since(self.kprobe, before.kprobe) }
    }
}

/// Whether this kernel counts recursion misses of programs attached like this. Raw tracepoints do since 6.1, which is
/// the oldest kernel that we support, trampolines since 5.12; nothing ever skips a uprobe's program.
fn counts_recursion(mechanism: Mechanism, kernel: KernelVersion) -> bool {
    match mechanism {
        Mechanism::Kprobe | Mechanism::Kretprobe | Mechanism::Tracepoint | Mechanism::SyscallTracepoints => {
            kernel >= COUNTS_PERF_SKIPS
        }
        Mechanism::TpBtf
        | Mechanism::RawTp
        | Mechanism::Fentry
        | Mechanism::Fexit
        | Mechanism::Uprobe
        | Mechanism::Uretprobe
        // What is skipped is one of the samples that were due and did not come.
        | Mechanism::PerfEvent => true,
    }
}

fn u64_at<const N: usize>(info: &[u8; N], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*info.get(offset..)?.first_chunk()?))
}

/// How often the program was skipped because one was running already; `None` if this kernel does not say.
pub fn recursion(mechanism: Mechanism, program: &OwnedFd) -> Option<u64> {
    if !counts_recursion(mechanism, KernelVersion::current().ok()?) {
        return None;
    }
    let info = sys::info::<{ RECURSION_MISSES + 8 }>(program.as_fd()).ok()?;
    u64_at(&info, RECURSION_MISSES)
}

/// How often the kernel could not run the kprobe of that link, or the uretprobe; `None` if it does not say, 0 for other
/// kinds. A uretprobe that more than 64 calls of a thread wait for is left out, and nobody counts it
/// (`MAX_URETPROBE_DEPTH`, prepare_uretprobe() in kernel/events/uprobes.c).
pub fn kprobes(mechanism: Mechanism, link: Option<&OwnedFd>) -> Option<u64> {
    match mechanism {
        Mechanism::Kprobe | Mechanism::Kretprobe
            if KernelVersion::current().ok()? >= COUNTS_KPROBE_MISSES =>
        {
            let info = sys::info::<{ KPROBE_MISSED + 8 }>(link?.as_fd()).ok()?;
            u64_at(&info, KPROBE_MISSED)
        }
        Mechanism::Kprobe | Mechanism::Kretprobe | Mechanism::Uretprobe => None,
        _ => Some(0),
    }
}
