//! One BPF ring buffer, of one CPU: memory shared with the kernel -> records.
//!
//! Layout (kernel/bpf/ringbuf.c): a page with the consumer's position, a page with the producer's, then the data
//! twice in a row, so that no record is ever split. A record is a u32 of length and flags, 4 bytes, and the data,
//! rounded up to 8.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::sys;

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER_BYTES: u64 = 8;
/// The producer gets room back after this many bytes: each time costs a cache line that it shares.
const PUBLISH_BYTES: u64 = 16 << 10;

/// A mapping of a file descriptor.
#[derive(Debug)]
struct Mapping {
    address: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to nobody else and may be used from any thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, bytes: usize, protection: i32, offset: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                offset as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { address, bytes })
    }

    /// # Safety
    /// `offset` is inside the mapping and aligned for `T`, and `T` is an atomic.
    unsafe fn at<T>(&self, offset: usize) -> &T {
        // SAFETY: see above.
        unsafe { self.address.add(offset).cast().as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and borrows of it have ended.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.bytes) };
    }
}

/// The consumer of one ring.
#[derive(Debug)]
pub struct Ring {
    map: OwnedFd,
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    mask: u64,
    position: u64,
    /// Every record that is still to come is at least this late.
    floor_ns: u64,
}

/// The time stamp of a record: its first 8 bytes.
fn ts_ns(record: &[u8]) -> u64 {
    record.first_chunk().map_or(0, |ts| u64::from_ne_bytes(*ts))
}

impl Ring {
    /// Make a ring of `bytes`, a power of two of pages.
    pub fn new(bytes: u32) -> io::Result<Self> {
        let page = page_bytes();
        let map = sys::map_create(sys::RINGBUF, 0, 0, bytes, 0, "ktape_ring")?;
        let consumer = Mapping::new(map.as_fd(), page, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        let producer = Mapping::new(map.as_fd(), page + 2 * bytes as usize, libc::PROT_READ, page)?;
        Ok(Self { map, consumer, producer, page, mask: u64::from(bytes) - 1, position: 0, floor_ns: 0 })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// Bytes of records that it has room for.
    pub fn bytes(&self) -> u64 {
        self.mask + 1
    }

    /// The time before which nothing more will come, as of the last [`drain`](Self::drain).
    pub fn floor_ns(&self) -> u64 {
        self.floor_ns
    }

    fn publish(&self) {
        // SAFETY: the position is at the start of its page.
        unsafe { self.consumer.at::<AtomicU64>(0) }.store(self.position, Ordering::Release);
    }

    /// Visit the records that are there now. Returns the time before which nothing more will come from this ring;
    /// `now_ns` was taken before the call.
    pub fn drain(&mut self, now_ns: u64, visit: &mut dyn FnMut(&[u8])) -> u64 {
        // SAFETY: the position is at the start of its page.
        let end = unsafe { self.producer.at::<AtomicU64>(0) }.load(Ordering::Acquire);
        if end == self.position {
            self.floor_ns = now_ns;
            return now_ns;
        }
        let mut published = self.position;
        let mut last_ns = None;
        let mut unfinished = false;
        while self.position < end {
            let at = self.page + (self.position & self.mask) as usize;
            // SAFETY: positions are multiples of 8 inside the data.
            let length = unsafe { self.producer.at::<AtomicU32>(at) }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                unfinished = true;
                break;
            }
            let bytes = length & !(BUSY | DISCARD);
            if length & DISCARD == 0 {
                // SAFETY: the record is inside the data, which is mapped twice in a row, and the kernel does not
                // write to it before the position is published.
                let record = unsafe {
                    let data = self.producer.address.add(at + HEADER_BYTES as usize);
                    std::slice::from_raw_parts(data.as_ptr(), bytes as usize)
                };
                last_ns = Some(ts_ns(record));
                visit(record);
            }
            self.position += (HEADER_BYTES + u64::from(bytes)).next_multiple_of(8);
            if self.position - published >= PUBLISH_BYTES {
                self.publish();
                published = self.position;
            }
        }
        self.publish();
        // Programs take the time after their place in the ring, so what is not in it yet will be later than now_ns.
        // An unfinished record is at least as late as the one before it.
        if unfinished {
            self.floor_ns = self.floor_ns.max(last_ns.unwrap_or(0));
        } else {
            self.floor_ns = now_ns;
        }
        self.floor_ns
    }
}

/// Bytes of a page of memory.
pub fn page_bytes() -> usize {
    // SAFETY: no memory is involved.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
