//! The bpf(2) calls that aya does not offer: maps that no object owns, and what the kernel says of programs and links.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

const MAP_CREATE: u32 = 0;
const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const MAP_GET_NEXT_KEY: u32 = 4;
const PROG_LOAD: u32 = 5;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const LINK_GET_FD_BY_ID: u32 = 30;

/// `BPF_MAP_TYPE_HASH`.
pub const HASH: u32 = 1;
/// `BPF_MAP_TYPE_ARRAY`.
pub const ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_PERCPU_HASH`.
pub const PER_CPU_HASH: u32 = 5;
/// `BPF_MAP_TYPE_RINGBUF`.
pub const RINGBUF: u32 = 27;

#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct MapElem {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
struct FdById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<T: IntoBytes + FromBytes>(command: u32, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is as long as said, and every pointer in it is to memory that its caller has borrowed.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    i32::try_from(result).ok().filter(|r| *r >= 0).ok_or_else(io::Error::last_os_error)
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just given us this descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Make a map.
pub fn map_create(
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: &str,
) -> io::Result<OwnedFd> {
    let mut map_name = [0; 16];
    let n = name.len().min(15);
    map_name[..n].copy_from_slice(&name.as_bytes()[..n]);
    let mut attr = MapCreate {
        map_type,
        key_size,
        value_size,
        max_entries,
        map_flags,
        map_name,
        ..MapCreate::new_zeroed()
    };
    bpf(MAP_CREATE, &mut attr).map(owned)
}

/// Whether the kernel takes a program of these instructions (as a socket filter, which is attached to nothing).
pub fn loads(program: &[[u8; 8]]) -> bool {
    const SOCKET_FILTER: u32 = 1;
    let mut attr = ProgLoad {
        prog_type: SOCKET_FILTER,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    bpf(PROG_LOAD, &mut attr).map(owned).is_ok()
}

/// Whether the kernel lets this thread use maps that it has descriptors of.
pub fn may_use_maps() -> bool {
    let key = 0u32;
    let none = u32::MAX;
    let mut attr = MapElem { map_fd: none, pad: 0, key: std::ptr::from_ref(&key) as u64, value: 0, flags: 0 };
    // There is no such map, which only who may use maps is told.
    bpf(MAP_LOOKUP_ELEM, &mut attr).is_err_and(|error| error.raw_os_error() != Some(libc::EPERM))
}

fn elem<K>(map: BorrowedFd<'_>, key: K, value: u64) -> (MapElem, Box<K>) {
    let key = Box::new(key);
    let attr = MapElem {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: std::ptr::from_ref(&*key) as u64,
        value,
        flags: 0,
    };
    (attr, key)
}

/// Set an entry of a map with keys of 4 bytes. `value` must be as long as the map says; of a map of maps it is a
/// descriptor.
pub fn map_update<T: IntoBytes + Immutable>(map: BorrowedFd<'_>, key: u32, value: T) -> io::Result<()> {
    let value = Box::new(value);
    let (mut attr, _key) = elem(map, key, std::ptr::from_ref(&*value) as u64);
    bpf(MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Remove an entry of a map with keys of 4 bytes; false if there was none.
pub fn map_delete(map: BorrowedFd<'_>, key: u32) -> io::Result<bool> {
    let (mut attr, _key) = elem(map, key, 0);
    match bpf(MAP_DELETE_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The value of a map whose keys are as long as `K`; false if there is none. `value` must be as long as the map says,
/// times the number of possible CPUs if it is per CPU.
pub fn map_lookup<K: IntoBytes>(map: BorrowedFd<'_>, key: K, value: &mut [u8]) -> io::Result<bool> {
    let (mut attr, _key) = elem(map, key, value.as_mut_ptr() as u64);
    match bpf(MAP_LOOKUP_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The key behind `key`, or the first one, of a map whose keys are as long as `K`; `None` at the end.
pub fn map_next_key<K: IntoBytes + FromBytes>(map: BorrowedFd<'_>, key: Option<K>) -> io::Result<Option<K>> {
    let mut next = Box::new(K::new_zeroed());
    let is_first = key.is_none();
    let key = key.unwrap_or_else(K::new_zeroed);
    let (mut attr, _key) = elem(map, key, std::ptr::from_mut(&mut *next) as u64);
    if is_first {
        attr.key = 0;
    }
    match bpf(MAP_GET_NEXT_KEY, &mut attr) {
        Ok(_) => Ok(Some(*next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The key behind `key`, or the first one, of a map whose keys are as long as `next`, into `next`; false at the end.
pub fn map_next_bytes(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let key = key.map_or(0, |key| key.as_ptr() as u64);
    let mut attr =
        MapElem { map_fd: map.as_raw_fd() as u32, pad: 0, key, value: next.as_mut_ptr() as u64, flags: 0 };
    match bpf(MAP_GET_NEXT_KEY, &mut attr) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Take an entry out of a map whose keys are as long as `key`, with its value, which must be as long as the map says,
/// times the number of possible CPUs if it is per CPU. Nothing may write to it meanwhile. Fails if there is none.
pub fn map_take(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let (key, value) = (key.as_ptr() as u64, value.as_mut_ptr() as u64);
    let mut attr = MapElem { map_fd: map.as_raw_fd() as u32, pad: 0, key, value, flags: 0 };
    // (Before Linux 5.14 both at once is not possible for each kind of map.)
    bpf(MAP_LOOKUP_ELEM, &mut attr)?;
    attr.value = 0;
    bpf(MAP_DELETE_ELEM, &mut attr).map(drop)
}

/// What the kernel says of a program or link; the first bytes of its `bpf_prog_info` or `bpf_link_info`.
pub fn info<const N: usize>(fd: BorrowedFd<'_>) -> io::Result<[u8; N]> {
    let mut info = [0; N];
    let mut attr =
        InfoByFd { bpf_fd: fd.as_raw_fd() as u32, info_len: N as u32, info: info.as_mut_ptr() as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// Another descriptor of a link.
pub fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(LINK_GET_FD_BY_ID, &mut FdById { id, next_id: 0, open_flags: 0 }).map(owned)
}
