//! An identity and the capabilities to keep in, a thread that may do no more than that out.
//!
//! Rights belong to threads: what is given up here is gone for this thread and for those that it starts later. A
//! recording needs none of what attaching takes: maps, programs and links are used by descriptor, kallsyms is open
//! already, and the trace belongs to the user that the thread becomes.

use std::io;
use std::path::Path;

use anyhow::{Context, Result, anyhow};

use super::identity::check;
use super::{Capability, DAC_READ_SEARCH, Identity};

/// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits.
const VERSION: u32 = 0x2008_0522;
/// Highest number that a capability can have.
const LAST: u32 = 63;

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`: half of each set.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Keep only `keep` in this thread, become `identity`, and never gain anything again. The way to `trace` must stay
/// open: if it leads through directories of others, CAP_DAC_READ_SEARCH stays too.
pub fn renounce(identity: Option<&Identity>, keep: &[Capability], trace: &Path) -> Result<()> {
    // Without CAP_SETPCAP this is refused; the bounding set only matters to programs that are executed, and none is.
    for capability in 0..=LAST {
        // SAFETY: plain numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            break;
        }
    }
    // SAFETY: plain numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())
        .context("cannot give up gaining privileges")?;
    if let Some(identity) = identity {
        identity.assume()?;
    }
    let permitted = permitted().context("cannot ask for the capabilities")?;
    let keep = permitted & keep.iter().fold(0, |all, capability| all | capability.mask());
    let search = permitted & DAC_READ_SEARCH.mask();
    set(keep, keep | search)
        .and_then(|()| if is_barred(trace) { set(keep | search, keep | search) } else { set(keep, keep) })
        .context("cannot give up capabilities")
}

/// What `ask` gives in a thread that can use none of our capabilities.
pub fn without_rights<T: Send>(ask: impl FnOnce() -> T + Send) -> Result<T> {
    let asking = || set(0, permitted()?).map(|()| ask());
    let asked = std::thread::scope(|scope| scope.spawn(asking).join());
    asked
        .map_err(|_| anyhow!("the thread without rights has died"))?
        .context("cannot be without capabilities")
}

fn is_barred(trace: &Path) -> bool {
    trace.join(".").symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn permitted() -> io::Result<u64> {
    let mut halves = [Half::default(); 2];
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: version 3 writes two halves.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    Ok(u64::from(halves[0].permitted) | u64::from(halves[1].permitted) << 32)
}

/// Effective and permitted set; the inheritable one is emptied, and the ambient one with it.
fn set(effective: u64, permitted: u64) -> io::Result<()> {
    let half = |shift: u32| Half {
        effective: (effective >> shift) as u32,
        permitted: (permitted >> shift) as u32,
        inheritable: 0,
    };
    let halves = [half(0), half(32)];
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: version 3 reads two halves.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) })
}
