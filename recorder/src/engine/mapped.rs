//! A page of a file, mapped for a moment.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Unmapped when it is dropped.
pub struct Mapped {
    address: *mut libc::c_void,
    bytes: usize,
}

impl Mapped {
    /// The page of `file` in which `offset` is; `None` where the file cannot be mapped.
    pub fn new(file: &File, offset: u64) -> Option<Self> {
        // SAFETY: asks for a number.
        let bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        let start = (offset / bytes * bytes).cast_signed();
        let bytes = bytes as usize;
        // SAFETY: a new mapping, which nobody reads, at a place that the kernel chooses.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                start,
            )
        };
        (address != libc::MAP_FAILED).then_some(Self { address, bytes })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping, to which nothing points.
        unsafe { libc::munmap(self.address, self.bytes) };
    }
}
