//! This process's rights in, what they allow and what is missing out.

use std::fs;

use anyhow::{Result, bail};

/// A capability that recording can need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its name.
    pub name: &'static str,
    /// Its bit, as in linux/capability.h.
    bit: u32,
    /// What it is for.
    pub purpose: &'static str,
    /// Nothing can be recorded without it.
    pub required: bool,
}

/// CAP_SYS_ADMIN, which includes what CAP_BPF and CAP_PERFMON allow.
const SYS_ADMIN_BIT: u32 = 21;

/// All that recording can need.
pub const CAPABILITIES: [Capability; 6] = [
    Capability { name: "CAP_BPF", bit: 39, purpose: "load programs and make maps", required: true },
    Capability {
        name: "CAP_PERFMON",
        bit: 38,
        purpose: "attach probes and read kernel memory",
        required: true,
    },
    Capability {
        name: "CAP_SYS_ADMIN",
        bit: SYS_ADMIN_BIT,
        purpose: "see listeners of other network namespaces, count what the kernel skipped",
        required: false,
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        bit: 19,
        purpose: "see namespaces, programs and sockets of other users' processes",
        required: false,
    },
    Capability {
        name: "CAP_SYSLOG",
        bit: 34,
        purpose: "see kernel addresses (kprobes, names of stack frames)",
        required: false,
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        bit: 2,
        purpose: "read tracefs and other users' /proc entries",
        required: false,
    },
];

/// The effective capabilities of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges(u64);

impl Privileges {
    /// Of this process. What cannot be read counts as not there.
    pub fn own() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self(effective(&status).unwrap_or(0))
    }

    /// Whether `capability` is there, by itself or through CAP_SYS_ADMIN.
    pub fn has(self, capability: &Capability) -> bool {
        let own = self.0 >> capability.bit & 1 == 1;
        own || capability.required && self.0 >> SYS_ADMIN_BIT & 1 == 1
    }

    /// Fails if nothing can be recorded.
    pub fn check(self) -> Result<()> {
        let missing: Vec<&str> =
            CAPABILITIES.iter().filter(|c| c.required && !self.has(c)).map(|c| c.name).collect();
        if missing.is_empty() {
            return Ok(());
        }
        bail!(
            "no privilege to record: {} is missing; run it as root (sudo recorder ...); 'recorder doctor' tells more",
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
        let error = Privileges(1 << 39).check().unwrap_err().to_string();
        assert!(error.contains("CAP_PERFMON is missing") && error.contains("sudo"), "{error}");
        assert!(Privileges(1 << 39 | 1 << 38).check().is_ok());
        assert!(Privileges(1 << SYS_ADMIN_BIT).check().is_ok());
    }

    #[test]
    fn the_effective_set_is_read_from_the_status_file() {
        assert_eq!(effective("CapPrm:\t0\nCapEff:\t000000c000000000\n"), Some(0xc0 << 32));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}
