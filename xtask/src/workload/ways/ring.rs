//! An io_uring of one request at a time, by its system calls alone.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;

const OP_MKDIRAT: u8 = 37;
const ENTER_GETEVENTS: u32 = 1;
const ENTRIES: u32 = 4;
const OFF_SQ_RING: i64 = 0;
const OFF_CQ_RING: i64 = 0x800_0000;
const OFF_SQES: i64 = 0x1000_0000;
const PAGES_BYTES: usize = 4096;

/// `struct io_sqring_offsets` and `struct io_cqring_offsets`.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    others: [u32; 4],
    user_addr: u64,
}

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    others: [u32; 7],
    sq: Offsets,
    cq: Offsets,
}

/// `struct io_uring_sqe`, as far as it is used.
#[repr(C)]
struct Request {
    opcode: u8,
    flags: u8,
    priority: u16,
    fd: i32,
    off: u64,
    addr: u64,
    len: u32,
    others: [u32; 9],
}

/// A ring.
pub struct Ring {
    fd: OwnedFd,
    params: Params,
    requests: *mut u8,
    submitted: *mut u8,
    completed: *mut u8,
}

impl Ring {
    pub fn new() -> Result<Self> {
        let mut params = Params::default();
        // SAFETY: the kernel writes to a local variable of the type that it expects.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut params) };
        let fd = Errno::result(fd).context("cannot make an io_uring")?;
        // SAFETY: the descriptor is open and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let map = |offset| {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
            // SAFETY: new memory, nobody else's.
            let page = unsafe {
                libc::mmap(std::ptr::null_mut(), PAGES_BYTES, protection, flags, fd.as_raw_fd(), offset)
            };
            ensure!(page != libc::MAP_FAILED, "cannot map the io_uring: {}", Errno::last());
            Ok(page.cast::<u8>())
        };
        let (submitted, completed, requests) = (map(OFF_SQ_RING)?, map(OFF_CQ_RING)?, map(OFF_SQES)?);
        Ok(Self { fd, params, requests, submitted, completed })
    }

    /// Make a directory: 0 or -errno.
    pub fn mkdirat(&mut self, dfd: i32, path: &CStr, mode: u32) -> Result<i32> {
        let request = Request {
            opcode: OP_MKDIRAT,
            flags: 0,
            priority: 0,
            fd: dfd,
            off: 0,
            addr: path.as_ptr() as u64,
            len: mode,
            others: [0; 9],
        };
        let Params { sq, cq, .. } = &self.params;
        // SAFETY: the offsets are the kernel's, and lie in the page that is mapped.
        let at = |ring: *mut u8, offset: u32| unsafe { &*ring.add(offset as usize).cast::<AtomicU32>() };
        let tail = at(self.submitted, sq.tail).load(Ordering::Acquire);
        let index = tail & at(self.submitted, sq.ring_mask).load(Ordering::Relaxed);
        // SAFETY: requests have 64 bytes each, and there are more than `index`.
        unsafe { self.requests.add(64 * index as usize).cast::<Request>().write(request) };
        // others[2] is `array`.
        at(self.submitted, sq.others[2] + 4 * index).store(index, Ordering::Relaxed);
        at(self.submitted, sq.tail).store(tail.wrapping_add(1), Ordering::Release);
        let none = std::ptr::null::<u8>();
        // SAFETY: numbers, and no signal mask.
        let entered = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, self.fd.as_raw_fd(), 1, 1, ENTER_GETEVENTS, none, 0)
        };
        Errno::result(entered).context("cannot submit to the io_uring")?;
        let head = at(self.completed, cq.head);
        let done = head.load(Ordering::Acquire);
        ensure!(done != at(self.completed, cq.tail).load(Ordering::Acquire), "the io_uring has not answered");
        let slot = done & at(self.completed, cq.ring_mask).load(Ordering::Relaxed);
        // Completions have 16 bytes: user_data, result, flags; others[1] is `cqes`.
        let result = at(self.completed, cq.others[1] + 16 * slot + 8).load(Ordering::Relaxed);
        head.store(done.wrapping_add(1), Ordering::Release);
        Ok(result.cast_signed())
    }
}
