//! A program at a place in a file that has a semaphore: the kernel raises it in each process while the program is attached.
//! (aya cannot say where it is.)

use std::ffi::CString;
use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::perf::{self, Attributes};

/// The kernel's kind of perf event for places in files.
const KIND: &str = "/sys/bus/event_source/devices/uprobe/type";
/// Which bits of `config` say where the semaphore is (`config:32-63`).
const FORMAT: &str = "/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset";
const SHIFT: u32 = 32;
/// What the C library has no text for (`ENOTSUPP`).
const NOT_SUPPORTED: i32 = 524;

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
    let first_cpu = 0;
    // `text` lives until the end.
    let event = perf::open(&attributes, first_cpu).map_err(|error| match error.raw_os_error() {
        Some(NOT_SUPPORTED) => {
            anyhow::anyhow!("the kernel cannot probe the instruction at file offset {offset:#x}")
        }
        Some(libc::EINVAL) => anyhow::Error::from(error).context(format!(
            "the kernel refuses the probe at file offset {offset:#x}: another program may probe it with another semaphore"
        )),
        _ => error.into(),
    })?;
    perf::attach(&event, program).context("cannot attach the program to the probe")?;
    Ok(event)
}
