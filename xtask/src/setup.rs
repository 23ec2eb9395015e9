//! Set-up gives a fresh Debian or Ubuntu machine everything that demo and tests need.
//!
//! Small tools are installed from the distribution's packages, and never by removing another package. QEMU, guest
//! kernels and Python libraries go into the target directory. Set-up says what it does, and nothing when all is there.

mod ebpf;
mod emulator;
mod kernels;
mod packages;
mod python;
mod systemd;
mod unpacked;

use anyhow::Result;

pub use emulator::{busybox, qemu};
pub use kernels::{Kernel, OTHERS, SERIES, kernel};
pub use packages::{extract, install, is_root, library_dirs, services};
pub use python::python;
pub use systemd::{Systemd, systemd};

/// Tools that must run: program to look for, Debian package it is in.
const TOOLS: &[(&str, &str)] = &[
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

/// Install the independent readers of traces, if they are missing.
pub fn readers() -> Result<()> {
    python::ensure_newest()
}

/// Install what is missing. With `ebpf` also what rebuilding the kernel side needs.
pub fn run(ebpf: bool) -> Result<()> {
    install(TOOLS, &[])?;
    emulator::fetch_missing()?;
    kernels::fetch_missing()?;
    systemd::fetch_missing()?;
    python::ensure()?;
    if ebpf {
        ebpf::ensure()?;
    }
    Ok(())
}
