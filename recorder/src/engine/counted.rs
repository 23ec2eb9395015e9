//! A program at a place in a file that has a semaphore: the kernel raises it in each process while the program is attached.
//! (aya cannot say where it is.)

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The kernel's kind of perf event for places in files.
const KIND: &str = "/sys/bus/event_source/devices/uprobe/type";
/// Which bits of `config` say where the semaphore is (`config:32-63`).
const FORMAT: &str = "/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset";
const SHIFT: u32 = 32;
/// `PERF_EVENT_IOC_ENABLE`, `PERF_EVENT_IOC_SET_BPF`.
const ENABLE: libc::Ioctl = 0x2400;
const SET_BPF: libc::Ioctl = 0x4004_2408;
/// Close the descriptor when another program is executed (`PERF_FLAG_FD_CLOEXEC`).
const CLOSE_ON_EXEC: libc::c_ulong = 8;
/// What the C library has no text for (`ENOTSUPP`).
const NOT_SUPPORTED: i32 = 524;

/// `struct perf_event_attr` as far as it goes here (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    path: u64,
    offset: u64,
}

const _: () = assert!(size_of::<Attributes>() == 72);

/// Attach a program at `offset` of the file at `path` and raise what is at `semaphore` of it, until the result is closed.
pub fn attach(program: BorrowedFd<'_>, path: &Path, offset: u64, semaphore: u64) -> Result<OwnedFd> {
    let kind = fs::read_to_string(KIND).with_context(|| format!("cannot read {KIND}"))?;
    let kind = kind.trim().parse().with_context(|| format!("{KIND} holds no number"))?;
    let format = fs::read_to_string(FORMAT).unwrap_or_default();
    if format.trim() != "config:32-63" {
        bail!(
            "this kernel cannot raise the probe's semaphore (Linux 4.20 or later can), without which it does not happen"
        );
    }
    let semaphore =
        u32::try_from(semaphore).context("its semaphore is beyond the first 4 GiB of the file")?;
    let text = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Attributes {
        kind,
        size: size_of::<Attributes>() as u32,
        config: u64::from(semaphore) << SHIFT,
        path: text.as_ptr() as u64,
        offset,
        ..Attributes::default()
    };
    let (all, first_cpu, no_group) = (-1, 0, -1);
    // SAFETY: `attributes` is as long as it says, and lives as long as the text that it points to.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            all,
            first_cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    if event < 0 {
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(NOT_SUPPORTED) => anyhow::anyhow!(
                "the kernel cannot probe the instruction at file offset {offset:#x}"
            ),
            Some(libc::EINVAL) => anyhow::Error::from(error).context(format!(
                "the kernel refuses the probe at file offset {offset:#x}: another program may probe it with another semaphore"
            )),
            _ => error.into(),
        });
    }
    // SAFETY: the kernel has just given us this descriptor.
    let event = unsafe { OwnedFd::from_raw_fd(event as i32) };
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: both take a number.
        if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } < 0 {
            return Err(io::Error::last_os_error()).context("cannot attach the program to the probe");
        }
    }
    Ok(event)
}
