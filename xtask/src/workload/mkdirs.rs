//! Directories made with mkdir and mkdirat, one of them twice.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// How many ticks.
#[derive(clap::Args)]
pub struct TickOptions {
    /// Calls of mkdir
    #[arg(long, default_value_t = 500)]
    pub count: u32,
    /// Pause after each
    #[arg(long, default_value_t = 0)]
    pub pause_ms: u64,
}

/// What [`ticks`] did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ticks {
    pub pid: u32,
    pub count: u32,
}

/// Numbered calls of mkdir that fail with ENOTDIR and change nothing: /dev/null/0, /dev/null/1, ...
pub fn ticks(options: &TickOptions) -> Result<Ticks> {
    for number in 0..options.count {
        mkdir(Path::new(&format!("/dev/null/{number}")), 0o700)?;
        if options.pause_ms > 0 {
            std::thread::sleep(Duration::from_millis(options.pause_ms));
        }
    }
    Ok(Ticks { pid: std::process::id(), count: options.count })
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mkdir {
    /// `mkdir` or `mkdirat`.
    pub syscall: String,
    /// NULL for mkdir.
    pub dfd: Option<i32>,
    pub path: String,
    pub mode: u16,
    pub ret: i32,
}

/// What was done.
#[derive(Debug, Serialize, Deserialize)]
pub struct Truth {
    pub pid: u32,
    pub calls: Vec<Mkdir>,
}

pub fn run() -> Result<Truth> {
    // Made by the standard library with mkdir too; it is the first call.
    let parent = std::env::temp_dir().join(format!("ktape-mkdirs-{}", std::process::id()));
    let mut calls = vec![mkdir(&parent, 0o700)?];
    for number in 0..8 {
        calls.push(mkdir(&parent.join(format!("directory-{number}")), 0o755)?);
    }
    let handle = File::open(&parent).with_context(|| format!("cannot open {}", parent.display()))?;
    for number in 0..4 {
        calls.push(mkdirat(handle.as_raw_fd(), Path::new(&format!("at-{number}")), 0o750)?);
    }
    calls.push(mkdirat(libc::AT_FDCWD, &parent.join("at-cwd"), 0o1777)?);
    calls.push(mkdir(&parent.join("directory-0"), 0o711)?);
    std::fs::remove_dir_all(&parent).with_context(|| format!("cannot remove {}", parent.display()))?;
    Ok(Truth { pid: std::process::id(), calls })
}

fn mkdir(path: &Path, mode: u16) -> Result<Mkdir> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a string that ends with NUL, and numbers. By number, for libc may use mkdirat.
    let done = unsafe { libc::syscall(libc::SYS_mkdir, text.as_ptr(), i32::from(mode)) };
    Ok(call("mkdir", None, path, mode, done))
}

fn mkdirat(dfd: i32, path: &Path, mode: u16) -> Result<Mkdir> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: as above.
    let done = unsafe { libc::syscall(libc::SYS_mkdirat, dfd, text.as_ptr(), i32::from(mode)) };
    Ok(call("mkdirat", Some(dfd), path, mode, done))
}

fn call(syscall: &str, dfd: Option<i32>, path: &Path, mode: u16, done: i64) -> Mkdir {
    let ret = if done == 0 { 0 } else { -nix::errno::Errno::last_raw() };
    Mkdir { syscall: syscall.to_owned(), dfd, path: path.display().to_string(), mode, ret }
}
