//! A command in, started and ended; what it cost the processor and its peak memory out.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;

/// Time between looks at a process.
const LOOK: Duration = Duration::from_millis(5);

/// What a process took, processor time with the children that it waited for.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    pub user_ns: u64,
    pub system_ns: u64,
    pub peak_rss_bytes: u64,
}

/// A process that runs; killed when dropped.
pub struct Running {
    child: Child,
    text: String,
    has_ended: bool,
    peak_rss_bytes: u64,
}

impl Running {
    /// Start it.
    pub fn start(command: &mut Command) -> Result<Self> {
        let text = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot run {text}"))?;
        Ok(Self { child, text, has_ended: false, peak_rss_bytes: 0 })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Close its standard input.
    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Send it a signal; one that has ended meanwhile needs none.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Wait until `is_true`. Fails if the process ends before, or after `limit`.
    pub fn until(&mut self, limit: Duration, is_true: impl Fn() -> bool) -> Result<()> {
        let began = Instant::now();
        while !is_true() {
            if let Some((status, _)) = self.poll()? {
                bail!("{} ended too early: {status}", self.text);
            }
            if began.elapsed() > limit {
                bail!("{} was not ready after {limit:?}", self.text);
            }
            sleep(LOOK);
        }
        Ok(())
    }

    /// Wait for its end. Fails if that takes longer than `limit`.
    pub fn end(self, limit: Duration) -> Result<(ExitStatus, Usage)> {
        self.end_watched(limit, || {})
    }

    /// The same; `look` is called again and again until then.
    pub fn end_watched(mut self, limit: Duration, mut look: impl FnMut()) -> Result<(ExitStatus, Usage)> {
        let began = Instant::now();
        loop {
            if let Some(ended) = self.poll()? {
                return Ok(ended);
            }
            if began.elapsed() > limit {
                bail!("{} did not end within {limit:?}", self.text);
            }
            look();
            sleep(LOOK);
        }
    }

    /// Has it ended? Looks at its memory too: what the kernel tells at the end begins with the memory of this program,
    /// which it was started from.
    fn poll(&mut self) -> Result<Option<(ExitStatus, Usage)>> {
        let memory = peak_rss_bytes(self.child.id()).unwrap_or(0);
        self.peak_rss_bytes = self.peak_rss_bytes.max(memory);
        let mut status = 0;
        // SAFETY: all zeros is a value of this plain struct.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: writes to two local variables. The child is ours and was not waited for.
        let pid = unsafe {
            libc::wait4(self.child.id().cast_signed(), &raw mut status, libc::WNOHANG, &raw mut usage)
        };
        if pid < 0 {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("cannot wait for {}", self.text));
        }
        if pid == 0 {
            return Ok(None);
        }
        self.has_ended = true;
        let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
        let usage = Usage {
            user_ns: ns(usage.ru_utime),
            system_ns: ns(usage.ru_stime),
            peak_rss_bytes: self.peak_rss_bytes,
        };
        Ok(Some((ExitStatus::from_raw(status), usage)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            // Fails only if it has ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Of a process that has not ended.
fn peak_rss_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
