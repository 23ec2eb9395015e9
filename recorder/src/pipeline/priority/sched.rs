//! The scheduler of this kernel, as far as priorities of threads go.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::level::Level;

/// Shortest slice that the kernel gives (from 6.12 on; before, it does not look at it). A thread with short slices runs
/// soon after it wakes up, and another one that wakes up does not wait long for it.
const SLICE_NS: u64 = 100_000;
/// `RLIMIT_NICE` is 20 minus the lowest nice value allowed.
const NICE_LIMIT_OF_ZERO: i32 = 20;

/// `struct sched_attr`, its first version.
#[repr(C)]
#[derive(Default)]
struct Attr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// What levels mean in this process.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The nice value that its threads have by themselves.
    pub own_nice: i32,
    /// They may have less priority than that, because they can be raised again.
    pub may_lower: bool,
}

/// Give the thread `tid` that level.
pub fn set(tid: i32, level: Level, bounds: Bounds) -> io::Result<()> {
    let Bounds { own_nice, may_lower } = bounds;
    let policy = match level {
        Level::NORMAL => libc::SCHED_OTHER,
        Level::IDLE if may_lower => libc::SCHED_IDLE,
        // It does not preempt whoever runs when it wakes up.
        _ => libc::SCHED_BATCH,
    };
    let nice = level.nice().filter(|_| may_lower).unwrap_or(own_nice);
    set_attr(tid, policy, nice.max(own_nice))
}

/// From now on this thread runs in short slices. Those that it starts later do too.
pub fn short_slices() {
    if let Some(nice) = own_nice() {
        // Where the kernel does not know them, everything is as it was.
        let _ = set_attr(0, libc::SCHED_OTHER, nice);
    }
}

fn set_attr(tid: i32, policy: i32, nice: i32) -> io::Result<()> {
    let attr = Attr {
        size: size_of::<Attr>() as u32,
        policy: policy.cast_unsigned(),
        nice,
        runtime: SLICE_NS,
        ..Attr::default()
    };
    // SAFETY: the kernel reads a local variable of the size that it says.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const attr, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The nice value of this thread, unless its user chose another policy (`chrt`), which is left alone.
pub fn own_nice() -> Option<i32> {
    // SAFETY: plain numbers.
    let policy = unsafe { libc::sched_getscheduler(0) };
    // SAFETY: plain numbers. -1 is a nice value too, and the call does not fail for this thread.
    (policy == libc::SCHED_OTHER).then(|| unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) })
}

/// Let threads of this process be raised to their normal priority without a right, where that may be allowed now.
pub fn allow_raising() {
    let Some(nice) = own_nice() else { return };
    let wanted = limit_of(nice);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NICE)
        && soft < wanted
    {
        // Where that is refused (CAP_SYS_RESOURCE), CAP_SYS_NICE does the same.
        let _ = setrlimit(Resource::RLIMIT_NICE, wanted, hard.max(wanted));
    }
}

/// Whether anybody may raise a thread of this process to that nice value.
pub fn may_raise_to(nice: i32) -> bool {
    getrlimit(Resource::RLIMIT_NICE).is_ok_and(|(soft, _)| soft >= limit_of(nice))
}

fn limit_of(nice: i32) -> u64 {
    u64::try_from(NICE_LIMIT_OF_ZERO - nice).unwrap_or(0)
}
