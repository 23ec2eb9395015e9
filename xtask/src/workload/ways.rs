//! One thing done by every way that this machine has into it: directories made by system calls of 64-bit and of 32-bit
//! programs, by x32 calls and by io_uring, and namespaces and files by 32-bit calls.
//!
//! `int $0x80` enters the kernel as a 32-bit program does, whoever executes it; all that it hands over lies below 4 GiB.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::netns::Netns;
use ring::Ring;

mod ring;

/// System calls of x32 programs have this bit in their number.
const X32: i64 = 0x4000_0000;
/// Numbers of 32-bit calls.
const MKDIR_32: i32 = 39;
const MKDIRAT_32: i32 = 296;
const OPENAT_32: i32 = 295;
const LSEEK_32: i32 = 19;
const SETNS_32: i32 = 346;

/// A directory asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asked {
    pub syscall: String,
    pub via: String,
    pub dfd: Option<i32>,
    pub path: String,
    pub mode: u16,
    pub ret: i32,
}

/// A 32-bit call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Opened {
    pub dfd: i32,
    pub path: String,
    pub flags: i32,
    pub is_open: bool,
}

/// What was done, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    pub mkdirs: Vec<Asked>,
    pub opened: Vec<Opened>,
    /// Offset of each 32-bit lseek, all from the end of an empty file, and what came back.
    pub sought: Vec<(i32, i32)>,
    /// fd and result of each 32-bit setns.
    pub joined: Vec<(i32, i32)>,
    pub has_x32: bool,
}

pub fn run() -> Result<Truth> {
    let parent = std::env::temp_dir().join(format!("ktape-ways-{}", std::process::id()));
    let low = Low::new()?;
    let mut mkdirs = vec![native("mkdir", None, &parent, 0o700)?];
    for name in ["one", "two", "one"] {
        mkdirs.push(native("mkdir", None, &parent.join(name), 0o755)?);
        mkdirs.push(native("mkdirat", Some(libc::AT_FDCWD), &parent.join(format!("at-{name}")), 0o751)?);
        mkdirs.push(by_int80(&low, "mkdir", None, &parent.join(format!("ia32-{name}")), 0o750)?);
        let path = parent.join(format!("ia32-at-{name}"));
        mkdirs.push(by_int80(&low, "mkdirat", Some(libc::AT_FDCWD), &path, 0o711)?);
    }
    // Not a descriptor: the sign of what a 32-bit register has counts.
    mkdirs.push(by_int80(&low, "mkdirat", Some(-1), Path::new("nowhere"), 0o700)?);
    let mut ring = Ring::new()?;
    for name in ["one", "two", "one"] {
        let path = parent.join(format!("ring-{name}"));
        let text = CString::new(path.as_os_str().as_bytes())?;
        let ret = ring.mkdirat(libc::AT_FDCWD, &text, 0o705)?;
        mkdirs.push(asked("mkdirat", "io_uring", Some(libc::AT_FDCWD), &path, 0o705, ret));
    }
    let x32 = parent.join("x32");
    let text = CString::new(x32.as_os_str().as_bytes())?;
    // SAFETY: a string that ends with NUL, and a number.
    let done = unsafe { libc::syscall(libc::SYS_mkdir + X32, text.as_ptr(), 0o770) };
    let ret = result(done);
    // Where there are no such calls, no directory was asked for.
    let has_x32 = ret != -libc::ENOSYS;
    if has_x32 {
        mkdirs.push(asked("mkdir", "native", None, &x32, 0o770, ret));
    }
    let (mut opened, mut sought, mut joined) = (Vec::new(), Vec::new(), Vec::new());
    let file = parent.join("file");
    for (path, flags) in [(&file, libc::O_CREAT | libc::O_RDWR), (&parent.join("none"), libc::O_RDONLY)] {
        let name = low.put(path)?;
        let fd = int80(OPENAT_32, [libc::AT_FDCWD, name, flags, 0o600, 0]);
        opened.push(Opened {
            dfd: libc::AT_FDCWD,
            path: path.display().to_string(),
            flags,
            is_open: fd >= 0,
        });
        if fd >= 0 {
            for offset in [5, -1] {
                sought.push((offset, int80(LSEEK_32, [fd, offset, libc::SEEK_END, 0, 0])));
            }
            // SAFETY: the descriptor is open and nobody else's.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    let home = Netns::current()?;
    for fd in [home.file.as_raw_fd(), -1] {
        joined.push((fd, int80(SETNS_32, [fd, libc::CLONE_NEWNET, 0, 0, 0])));
    }
    std::fs::remove_dir_all(&parent).with_context(|| format!("cannot remove {}", parent.display()))?;
    Ok(Truth { pid: std::process::id(), mkdirs, opened, sought, joined, has_x32 })
}

fn native(syscall: &str, dfd: Option<i32>, path: &Path, mode: u16) -> Result<Asked> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: strings that end with NUL, and numbers. By number, for libc may use mkdirat.
    let done = unsafe {
        match dfd {
            None => libc::syscall(libc::SYS_mkdir, text.as_ptr(), i32::from(mode)),
            Some(dfd) => libc::syscall(libc::SYS_mkdirat, dfd, text.as_ptr(), i32::from(mode)),
        }
    };
    Ok(asked(syscall, "native", dfd, path, mode, result(done)))
}

fn by_int80(low: &Low, syscall: &str, dfd: Option<i32>, path: &Path, mode: u16) -> Result<Asked> {
    let name = low.put(path)?;
    let ret = match dfd {
        None => int80(MKDIR_32, [name, i32::from(mode), 0, 0, 0]),
        Some(dfd) => int80(MKDIRAT_32, [dfd, name, i32::from(mode), 0, 0]),
    };
    Ok(asked(syscall, "ia32", dfd, path, mode, ret))
}

fn asked(syscall: &str, via: &str, dfd: Option<i32>, path: &Path, mode: u16, ret: i32) -> Asked {
    let path = path.display().to_string();
    Asked { syscall: syscall.to_owned(), via: via.to_owned(), dfd, path, mode, ret }
}

fn result(done: i64) -> i32 {
    if done >= 0 { done as i32 } else { -nix::errno::Errno::last_raw() }
}

/// A system call by the entry of 32-bit programs: the result or -errno.
#[cfg(target_arch = "x86_64")]
fn int80(number: i32, args: [i32; 5]) -> i32 {
    let [a, b, c, d, e] = args;
    let mut result = i64::from(number);
    // The upper halves are not zero, as no 32-bit program could tell.
    let wide = |value: i32| i64::from(value.cast_unsigned()) | 0x7777 << 32;
    // SAFETY: the kernel changes rax and, as its 32-bit entry may, r8 to r11; memory is as the call says.
    unsafe {
        std::arch::asm!(
            "xchg {saved}, rbx",
            "int 0x80",
            "xchg {saved}, rbx",
            saved = inout(reg) wide(a) => _,
            inout("rax") result,
            in("rcx") wide(b),
            in("rdx") wide(c),
            in("rsi") wide(d),
            in("rdi") wide(e),
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    result as i32
}

#[cfg(not(target_arch = "x86_64"))]
fn int80(_: i32, _: [i32; 5]) -> i32 {
    -libc::ENOSYS
}

/// A page below 4 GiB.
struct Low(*mut u8);

const LOW_BYTES: usize = 4096;

impl Low {
    fn new() -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: new memory, nobody else's.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), LOW_BYTES, protection, flags, -1, 0) };
        ensure!(page != libc::MAP_FAILED, "cannot map memory below 4 GiB");
        Ok(Self(page.cast()))
    }

    /// Put a path there, in place of the one before; where it is.
    fn put(&self, path: &Path) -> Result<i32> {
        let text = CString::new(path.as_os_str().as_bytes())?;
        let bytes = text.as_bytes_with_nul();
        ensure!(bytes.len() <= LOW_BYTES, "the path is too long");
        // SAFETY: the page is ours and has room.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0, bytes.len()) };
        Ok(self.0 as usize as i32)
    }
}
