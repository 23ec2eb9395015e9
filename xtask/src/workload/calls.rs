//! System calls that classic tools ask about: sleeps, syncs, shared memory, changes of identity, waits for a lock.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Syncs of each kind.
const SYNCS: u32 = 5;
/// Length of a sleep, and of the wait for a lock that nobody releases.
const SLEEP: Duration = Duration::from_millis(20);

/// How often each call was made, by its name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    /// Of these, failed.
    pub failed: BTreeMap<String, u32>,
    pub calls: BTreeMap<String, u32>,
    /// Address of the lock that was waited for.
    pub futex: u64,
}

impl Truth {
    /// Make a system call by its number, for libc may use another.
    fn call(&mut self, name: &str, number: libc::c_long, args: [libc::c_long; 4]) -> libc::c_long {
        // SAFETY: the callers pass what the call takes; pointers are NULL or live as long as the call.
        let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3]) };
        *self.calls.entry(name.to_owned()).or_default() += 1;
        *self.failed.entry(name.to_owned()).or_default() += u32::from(result < 0);
        result
    }
}

pub fn run() -> Result<Truth> {
    let mut truth = Truth { pid: std::process::id(), ..Truth::default() };
    let file = tempfile::tempfile().context("cannot make a file")?;
    let fd = libc::c_long::from(file.as_raw_fd());
    for _ in 0..SYNCS {
        truth.call("fsync", libc::SYS_fsync, [fd, 0, 0, 0]);
        truth.call("fdatasync", libc::SYS_fdatasync, [fd, 0, 0, 0]);
        truth.call("fdatasync", libc::SYS_fdatasync, [-1, 0, 0, 0]);
    }
    let asked = libc::timespec { tv_sec: 0, tv_nsec: SLEEP.as_nanos() as i64 };
    for _ in 0..3 {
        truth.call("nanosleep", libc::SYS_nanosleep, [&raw const asked as i64, 0, 0, 0]);
        let args = [i64::from(libc::CLOCK_MONOTONIC), 0, &raw const asked as i64, 0];
        truth.call("clock_nanosleep", libc::SYS_clock_nanosleep, args);
    }
    // A deadline that has passed.
    let args = [i64::from(libc::CLOCK_MONOTONIC), i64::from(libc::TIMER_ABSTIME), &raw const asked as i64, 0];
    truth.call("clock_nanosleep", libc::SYS_clock_nanosleep, args);

    let size = 8192;
    let id = truth.call("shmget", libc::SYS_shmget, [i64::from(libc::IPC_PRIVATE), size, 0o600, 0]);
    ensure!(id >= 0, "no shared memory");
    let at = truth.call("shmat", libc::SYS_shmat, [id, 0, 0, 0]);
    truth.call("shmdt", libc::SYS_shmdt, [at, 0, 0, 0]);
    truth.call("shmdt", libc::SYS_shmdt, [at, 0, 0, 0]);
    truth.call("shmctl", libc::SYS_shmctl, [id, i64::from(libc::IPC_RMID), 0, 0]);

    wait_for_lock(&mut truth);
    // Of one thread, and the last thing that it does.
    let changes = std::thread::scope(|scope| {
        let change = || {
            let mut changes = Truth::default();
            changes.call("setfsuid", libc::SYS_setfsuid, [1000, 0, 0, 0]);
            changes.call("setresuid", libc::SYS_setresuid, [-1, 1000, -1, 0]);
            changes.call("setreuid", libc::SYS_setreuid, [1000, 1000, 0, 0]);
            changes.call("setuid", libc::SYS_setuid, [0, 0, 0, 0]);
            changes
        };
        scope.spawn(change).join()
    });
    let changes = changes.map_err(|_| anyhow::anyhow!("a thread has died"))?;
    truth.calls.extend(changes.calls);
    truth.failed.extend(changes.failed);
    Ok(truth)
}

/// Wait until the time is up for a lock that nobody releases.
fn wait_for_lock(truth: &mut Truth) {
    let lock = AtomicU32::new(1);
    truth.futex = &raw const lock as u64;
    let longest = libc::timespec { tv_sec: 0, tv_nsec: SLEEP.as_nanos() as i64 };
    let args = [&raw const lock as i64, i64::from(libc::FUTEX_WAIT), 1, &raw const longest as i64];
    truth.call("futex", libc::SYS_futex, args);
}
