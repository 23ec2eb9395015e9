//! This thread's rights in, what they allow and what is missing out; [`renounce`] gives them up.

mod identity;
mod renounce;

use std::fs;

use anyhow::{Result, bail};

pub use identity::Identity;
pub use renounce::{renounce, without_rights};

/// A capability that recording can need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    /// Its bit, as in linux/capability.h.
    bit: u32,
    /// What it is for.
    pub purpose: &'static str,
    /// What is lost without it.
    pub without: &'static str,
}

impl Capability {
    const fn mask(&self) -> u64 {
        1 << self.bit
    }
}

/// Needed by every recording.
pub const BPF: Capability = Capability {
    name: "CAP_BPF",
    bit: 39,
    purpose: "load programs and make maps",
    without: "nothing can be recorded",
};
/// Needed by every recording.
pub const PERFMON: Capability = Capability {
    name: "CAP_PERFMON",
    bit: 38,
    purpose: "attach probes and read kernel memory",
    without: "nothing can be recorded",
};
/// For system calls and classic tracepoints, and for who holds a socket.
pub const DAC_READ_SEARCH: Capability = Capability {
    name: "CAP_DAC_READ_SEARCH",
    bit: 2,
    purpose: "read tracefs and what other users' processes have open",
    without: "system calls and classic tracepoints cannot be recorded (unless tracefs is mounted readable)",
};
/// For the snapshot of processes.
pub const SYS_PTRACE: Capability = Capability {
    name: "CAP_SYS_PTRACE",
    bit: 19,
    purpose: "see namespaces, programs and sockets of other users' processes",
    without: "the snapshot has NULL for them",
};
/// For names of kernel functions.
pub const SYSLOG: Capability = Capability {
    name: "CAP_SYSLOG",
    bit: 34,
    purpose: "see kernel addresses",
    without: "frames of kernel stacks have no names",
};
/// For uprobes, listeners and missed kprobes; it includes what CAP_BPF and CAP_PERFMON allow.
pub const SYS_ADMIN: Capability = Capability {
    name: "CAP_SYS_ADMIN",
    bit: 21,
    purpose: "attach uprobes, enter other network namespaces, ask how often kprobes were missed",
    without: "there are no uprobes, listeners elsewhere are not in the snapshot, misses of kprobes are unknown",
};
/// For commands that change their user; the only one that is kept while recording.
pub const KILL: Capability = Capability {
    name: "CAP_KILL",
    bit: 5,
    purpose: "end a command that runs as another user",
    without: "such a command is not told that the recording ends",
};

/// For threads that give way and may be needed soon; kept while recording by the thread that decides about that, and only
/// where the limit of nice values does not allow the same.
pub const NICE: Capability = Capability {
    name: "CAP_SYS_NICE",
    bit: 23,
    purpose: "raise the priority of threads again that gave way",
    without: "encoding does not give way to what is recorded (unless RLIMIT_NICE is 20, 'ulimit -e')",
};

/// All that recording can need, the required ones first.
pub const CAPABILITIES: [Capability; 8] =
    [BPF, PERFMON, DAC_READ_SEARCH, SYS_PTRACE, SYSLOG, SYS_ADMIN, KILL, NICE];
/// Those without which nothing can be recorded.
pub const REQUIRED: [Capability; 2] = [BPF, PERFMON];

/// The first user namespace has this inode on every kernel.
const INITIAL_USERNS: &str = "user:[4026531837]";
/// Why capabilities do not count, and what helps.
const IN_USERNS: &str = "this is a user namespace of its own (a rootless container, unshare --user): the capabilities \
                         there count for nothing that is recorded; run it outside, or in a container that the host's \
                         root runs, without user namespace";

/// The effective capabilities of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    effective: u64,
    /// The thread is in a user namespace other than the first, and they hold in there alone.
    is_in_userns: bool,
}

impl Privileges {
    /// Of this thread. What cannot be read counts as not there.
    pub fn own() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let userns = fs::read_link("/proc/thread-self/ns/user");
        Self {
            effective: effective(&status).unwrap_or(0),
            is_in_userns: userns.is_ok_and(|userns| userns.as_os_str() != INITIAL_USERNS),
        }
    }

    /// Exactly these.
    #[cfg(test)]
    pub(crate) fn with(capabilities: &[Capability]) -> Self {
        let effective = capabilities.iter().fold(0, |all, capability| all | capability.mask());
        Self { effective, is_in_userns: false }
    }

    /// Whether `capability` is there, by itself or through CAP_SYS_ADMIN.
    pub fn has(self, capability: &Capability) -> bool {
        let Self { effective, is_in_userns } = self;
        let through = REQUIRED.contains(capability) && effective & SYS_ADMIN.mask() != 0;
        !is_in_userns && (effective & capability.mask() != 0 || through)
    }

    /// Why no capability counts, if that is so.
    pub fn void(self) -> Option<&'static str> {
        self.is_in_userns.then_some(IN_USERNS)
    }

    /// Names of those of `wanted` that are not there.
    pub fn missing(self, wanted: &[Capability]) -> Vec<&str> {
        wanted.iter().filter(|c| !self.has(c)).map(|c| c.name).collect()
    }

    /// Fails if nothing can be recorded.
    pub fn check(self) -> Result<()> {
        let missing = self.missing(&REQUIRED);
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(reason) = self.void() {
            bail!("no privilege to record: {reason}");
        }
        bail!(
            "no privilege to record: {} is missing; run it as root (sudo recorder ...), or give it what it needs: \
             'recorder doctor' tells how",
            missing.join(" and ")
        )
    }
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_capabilities_the_error_says_which_and_what_to_do() {
        let error = Privileges::with(&[BPF]).check().unwrap_err().to_string();
        assert!(error.contains("CAP_PERFMON is missing") && error.contains("sudo"), "{error}");
        assert!(Privileges::with(&[BPF, PERFMON]).check().is_ok());
        assert!(Privileges::with(&[SYS_ADMIN]).check().is_ok());
    }

    #[test]
    fn in_a_user_namespace_no_capability_counts() {
        let all = Privileges { is_in_userns: true, ..Privileges::with(&CAPABILITIES) };
        assert_eq!(all.missing(&REQUIRED), ["CAP_BPF", "CAP_PERFMON"]);
        let error = all.check().unwrap_err().to_string();
        assert!(error.contains("user namespace") && error.contains("run it outside"), "{error}");
    }

    #[test]
    fn the_effective_set_is_read_from_the_status_file() {
        assert_eq!(effective("CapPrm:\t0\nCapEff:\t000000c000000000\n"), Some(0xc0 << 32));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
