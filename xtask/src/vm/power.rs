//! A guest with a disk in, the plug pulled: what it said until then out. The disk is kept.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Guest, Qemu, tail};
use crate::{host, setup};

/// Make the file `disk`, sparse, with an empty ext4 in it.
pub fn make_disk(disk: &Path, size_mib: u64) -> Result<()> {
    fs::File::create(disk)
        .and_then(|file| file.set_len(size_mib << 20))
        .with_context(|| format!("cannot write {}", disk.display()))?;
    let mkfs = host::which("mkfs.ext4").context("mkfs.ext4 is missing; run: cargo xtask setup")?;
    host::output(Command::new(mkfs).args(["-q", "-F"]).arg(disk)).map(drop)
}

impl Guest {
    /// Boot, let the script run until it has said `word` and for `life` after that, and end QEMU without a warning. Gives
    /// what the script said.
    pub fn power_off(&self, word: &str, life: Duration) -> Result<String> {
        let kernel = setup::kernel(&self.kernel)?;
        let state = tempfile::tempdir().context("cannot make a temporary directory")?;
        let initrd = state.path().join("initrd");
        self.initramfs(&kernel)?.write(&initrd)?;
        let said = |port: &str| {
            let bytes = fs::read(state.path().join(port)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        // As in `run`, a boot may hang once.
        for _ in 0..2 {
            let mut qemu = Qemu::start(self, &kernel.image, &initrd, state.path())?;
            let booted = Instant::now();
            while booted.elapsed() < self.timeout {
                if said("out").contains(word) {
                    thread::sleep(life);
                    drop(qemu);
                    return Ok(said("out"));
                }
                if qemu.0.try_wait()?.is_some() {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        let (kernel, out, console) = (&self.kernel, tail(&said("out")), tail(&said("console")));
        bail!(
            "guest {kernel} did not say '{word}'; its last output:\n{out}\nlast kernel messages:\n{console}"
        )
    }
}
