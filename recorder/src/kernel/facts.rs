//! What this kernel and these privileges allow, as far as it can be known without trying.

use std::fs;
use std::path::Path;

/// Facts about a kernel.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// Kprobes are compiled in.
    pub kprobes: bool,
    /// Uprobes are compiled in.
    pub uprobes: bool,
    /// Why fentry and fexit cannot work; `None` if nothing is known against them.
    pub no_trampolines: Option<String>,
    /// The lockdown mode (`none`, `integrity`, `confidentiality`), if the kernel tells.
    pub lockdown: Option<String>,
    /// tracefs/available_filter_functions, the list of functions that can be traced, can be read.
    pub filter_functions: bool,
}

impl Facts {
    /// Of the running kernel.
    pub fn of_running_kernel() -> Self {
        let (release, machine) = match nix::sys::utsname::uname() {
            Ok(uts) => {
                (uts.release().to_string_lossy().into_owned(), uts.machine().to_string_lossy().into_owned())
            }
            Err(_) => ("unknown".to_owned(), std::env::consts::ARCH.to_owned()),
        };
        // The perf event source exists exactly if CONFIG_KPROBE_EVENTS (CONFIG_UPROBE_EVENTS) is set.
        let event_source = |name: &str| Path::new("/sys/bus/event_source/devices").join(name).exists();
        let filter_functions = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].iter().any(|root| {
            use std::io::Read;
            let mut byte = [0];
            fs::File::open(Path::new(root).join("available_filter_functions"))
                .is_ok_and(|mut file| file.read(&mut byte).is_ok_and(|n| n == 1))
        });
        Self {
            release,
            kprobes: event_source("kprobe"),
            uprobes: event_source("uprobe"),
            no_trampolines: (machine != "x86_64" && machine != "aarch64")
                .then(|| format!("BPF trampolines are not to be expected on {machine}")),
            machine,
            lockdown: lockdown(),
            filter_functions,
        }
    }

    /// Prefix of the functions that serve system calls.
    pub fn syscall_prefix(&self) -> &'static str {
        if self.machine == "aarch64" { "__arm64_sys_" } else { "__x64_sys_" }
    }
}

/// `none [integrity] confidentiality` -> `integrity`.
fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let start = text.find('[')? + 1;
    let end = start + text[start..].find(']')?;
    Some(text[start..end].to_owned())
}
