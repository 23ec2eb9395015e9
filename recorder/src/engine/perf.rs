//! Perf events with a program, as far as aya does not offer them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `PERF_EVENT_IOC_ENABLE`, `PERF_EVENT_IOC_SET_BPF`.
const ENABLE: libc::Ioctl = 0x2400;
const SET_BPF: libc::Ioctl = 0x4004_2408;
/// Close the descriptor when another program is executed (`PERF_FLAG_FD_CLOEXEC`).
const CLOSE_ON_EXEC: libc::c_ulong = 8;

/// `struct perf_event_attr` as far as it goes here (`PERF_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Default)]
pub struct Attributes {
    pub kind: u32,
    pub size: u32,
    pub config: u64,
    pub period: u64,
    pub sample_type: u64,
    pub read_format: u64,
    pub flags: u64,
    pub wakeup_events: u32,
    pub breakpoint_type: u32,
    pub path: u64,
    pub offset: u64,
}

const _: () = assert!(size_of::<Attributes>() == 72);

/// Open an event of whatever runs on a processor. What `attributes` point to must live until then.
pub fn open(attributes: &Attributes, cpu: u32) -> io::Result<OwnedFd> {
    let (all, no_group) = (-1, -1);
    // SAFETY: the kernel reads as many bytes as `attributes` say that they have.
    let event = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(attributes),
            all,
            cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    if event < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(event as i32) })
}

/// Let a program run each time that the event happens, until the event is closed.
pub fn attach(event: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<()> {
    for (request, argument) in [(SET_BPF, program.as_raw_fd()), (ENABLE, 0)] {
        // SAFETY: both take a number.
        if unsafe { libc::ioctl(event.as_raw_fd(), request, argument) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
