//! Set-up: a fresh Debian or Ubuntu machine in, everything that demo and tests need out.
//!
//! Tools come from the distribution's packages; guest kernels and Python libraries go into the target directory.
//! Says what it does as it does it, nothing when all is there.

mod ebpf;
mod kernels;
mod packages;
mod python;
mod systemd;

use anyhow::Result;

pub use kernels::{Kernel, SERIES, kernel};
pub use packages::{extract, install, is_root, library_dirs, services};
pub use python::python;
pub use systemd::{Systemd, systemd};

/// Tools that must run: program to look for, Debian package it is in.
const TOOLS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("strace", "strace"),
    ("xz", "xz-utils"),
    ("tar", "tar"),
    ("ldd", "libc-bin"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// What ktape is compared with.
const PEERS: &[(&str, &str)] =
    &[("perf", "linux-perf"), ("bpftrace", "bpftrace"), ("trace-cmd", "trace-cmd")];

/// Install what is missing for comparisons with other tracers.
pub fn bench() -> Result<()> {
    run(false)?;
    install(PEERS, &[])
}

/// Install what is missing. With `ebpf` also what rebuilding the kernel side needs.
pub fn run(ebpf: bool) -> Result<()> {
    install(TOOLS, &packages::static_busybox())?;
    kernels::fetch_missing()?;
    systemd::fetch_missing()?;
    python::ensure()?;
    if ebpf {
        ebpf::ensure()?;
    }
    Ok(())
}
