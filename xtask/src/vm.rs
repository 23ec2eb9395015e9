//! A guest: kernel series, files and a script in; exit code, output and a directory of results out.
//!
//! QEMU boots the kernel with an initramfs of busybox and the given files. Nothing of the host is mounted and there is
//! no network card; the script's output, the result directory (as tar) and signs of life come back through
//! virtio-serial ports, which need no module. Emulated guests (no KVM) hang or panic now and then, so one that shows
//! no sign of life is started again.

mod power;

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::initramfs::Initramfs;
use crate::{host, setup};

pub use power::make_disk;

/// A guest without a sign of life for this long is given up. (It sends one every two seconds.)
const SILENCE: Duration = Duration::from_secs(60);

/// An emulated guest that stops by itself is booted again, until it has been booted this often. QEMU 7.2 damages a kernel
/// that patches its own code (probes and tracepoints do) while another processor executes it.
const BOOTS: u32 = 3;

/// What to boot and what to run in it.
pub struct Guest {
    /// Series of the kernel: `6.1`.
    pub kernel: String,
    /// Programs and files: path here, path in the guest. Programs get their shared libraries.
    pub files: Vec<(PathBuf, String)>,
    /// Directories with shared libraries that the host does not have.
    pub library_dirs: Vec<PathBuf>,
    /// Shell script, run as root in the guest's `/out`.
    pub script: String,
    /// Receives what the script left in `/out`; made anew.
    pub out_dir: PathBuf,
    /// For the script, boot excluded.
    pub timeout: Duration,
    /// Also show the script's output as it comes.
    pub echo: bool,
    /// A file that the guest has as disk, `/dev/vda`.
    pub disk: Option<PathBuf>,
    /// Let one thread execute its processors in turn. With a thread for each, QEMU 7.2 may execute in part what another
    /// processor is patching at that moment: the kernel jumps to address 0 after a kprobe was set and removed some forty
    /// times on a function that another processor executes all the time, without any eBPF.
    pub in_turn: bool,
}

/// How it went.
pub struct Outcome {
    /// Of the script.
    pub exit_code: i32,
    /// Standard output and error of the script.
    pub output: String,
    /// The kernel's messages.
    pub console: String,
}

/// Why a boot gave no outcome.
enum Failure {
    /// No sign of life: another try may do.
    Hung(String),
    Other(anyhow::Error),
}

impl Guest {
    /// A guest with the workspace's own programs, as far as they are built, and the tools that tests look with.
    pub fn new(kernel: &str, script: &str, out_dir: PathBuf) -> Result<Self> {
        let mut files = vec![(std::env::current_exe()?, "/usr/bin/xtask".to_owned())];
        if let Ok(xtask) = host::built("xtask") {
            files[0].0 = xtask;
        }
        if let Ok(recorder) = host::built("recorder") {
            files.push((recorder, "/usr/bin/recorder".to_owned()));
        }
        files.extend(["ip", "ss", "strace"].iter().filter_map(|tool| tool_file(tool)));
        let (kernel, script) = (kernel.to_owned(), script.to_owned());
        let timeout = Duration::from_secs(300);
        let library_dirs = Vec::new();
        let (echo, disk, in_turn) = (false, None, false);
        Ok(Self { kernel, files, library_dirs, script, out_dir, timeout, echo, disk, in_turn })
    }

    /// Boot, run, power off. Fails if the guest does not get to the end of its script.
    pub fn run(&self) -> Result<Outcome> {
        let kernel = setup::kernel(&self.kernel)?;
        let state = tempfile::tempdir().context("cannot make a temporary directory")?;
        let initrd = state.path().join("initrd");
        self.initramfs(&kernel)?.write(&initrd)?;
        for attempt in 1.. {
            match self.boot(&kernel.image, &initrd, state.path()) {
                Ok(outcome) => return Ok(outcome),
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Hung(why)) if attempt < BOOTS => {
                    eprintln!("guest {}: {why}; booting it once more", self.kernel);
                }
                Err(Failure::Hung(why)) => bail!("guest {}: {why}, {BOOTS} times", self.kernel),
            }
        }
        unreachable!("the loop ends at the last attempt")
    }

    fn initramfs(&self, kernel: &setup::Kernel) -> Result<Initramfs> {
        let mut root = Initramfs::default();
        root.copy(&setup::busybox()?, "/bin/busybox")?;
        // busybox's own shell would take its applets even where the real program is there, such as ip.
        root.program(Path::new("/bin/sh"), "/usr/bin/sh", &[])?;
        root.text("/init", include_str!("init.sh"));
        root.text("/script", self.script.as_str());
        for dir in ["dev", "proc", "sys", "tmp", "run", "root", "out", "etc"] {
            root.directory(dir);
        }
        root.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n");
        root.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n");
        root.copy(&kernel.modules, "/modules")?;
        for (host, guest) in &self.files {
            root.program(host, guest, &self.library_dirs)?;
        }
        Ok(root)
    }

    fn boot(&self, image: &Path, initrd: &Path, state: &Path) -> Result<Outcome, Failure> {
        let mut qemu = Qemu::start(self, image, initrd, state).map_err(Failure::Other)?;
        let said = |port: &str| {
            let bytes = fs::read(state.join(port)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let mut shown = Shown { enabled: self.echo, bytes: 0 };
        let (mut began, mut heard, mut alive_at) = (None, 0, Instant::now());
        loop {
            let ended = qemu.0.try_wait().map_err(|error| Failure::Other(error.into()))?.is_some();
            let control = said("ctl");
            shown.up_to_date(&state.join("out"));
            if control.len() > heard {
                (heard, alive_at) = (control.len(), Instant::now());
            }
            if began.is_none() && control.contains("begin") {
                began = Some(Instant::now());
            }
            if ended {
                let code = control.lines().find_map(|line| line.strip_prefix("exit ")?.trim().parse().ok());
                let Some(exit_code) = code else {
                    let tail = tail(&said("console"));
                    return Err(Failure::Hung(format!(
                        "it stopped by itself; last kernel messages:\n{tail}"
                    )));
                };
                unpack(&state.join("tar"), &self.out_dir).map_err(Failure::Other)?;
                return Ok(Outcome { exit_code, output: said("out"), console: said("console") });
            }
            if alive_at.elapsed() > SILENCE {
                let tail = tail(&said("console"));
                return Err(Failure::Hung(format!("no sign of life; last kernel messages:\n{tail}")));
            }
            if began.is_some_and(|began| began.elapsed() > self.timeout) {
                let (kernel, limit) = (&self.kernel, self.timeout.as_secs());
                let tail = tail(&said("out"));
                return Err(Failure::Other(anyhow!(
                    "guest {kernel}: the script took longer than {limit} s; its last output:\n{tail}"
                )));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A running QEMU, killed when dropped.
struct Qemu(Child);

impl Qemu {
    fn start(guest: &Guest, image: &Path, initrd: &Path, state: &Path) -> Result<Self> {
        // No KVM: where it is offered inside a virtual machine, guests may hang before their first message.
        let machine = "-cpu max -smp 2 -m 1024 -nodefaults -display none -no-reboot -nic none \
                       -device virtio-serial-pci";
        let mut command = setup::qemu()?;
        command.arg("-accel").arg(if guest.in_turn { "tcg,thread=single" } else { "tcg,thread=multi" });
        command.args(machine.split_whitespace());
        command.arg("-kernel").arg(image).arg("-initrd").arg(initrd);
        // What is recorded by a kernel that is damaged says nothing.
        command.args(["-append", "console=ttyS0 oops=panic panic=-1 quiet"]);
        command.arg("-serial").arg(format!("file:{}", state.join("console").display()));
        for port in ["ctl", "out", "tar"] {
            let path = state.join(port);
            // A first boot may have left its own.
            fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
            command.arg("-chardev").arg(format!("file,id={port},path={}", path.display()));
            command.arg("-device").arg(format!("virtserialport,chardev={port},name={port}"));
        }
        if let Some(disk) = &guest.disk {
            // A disk without a cache of its own: what was written to it stays, what was only in the guest's memory is
            // gone when QEMU is. Flushes need not reach the host's disk, which may take seconds when it is busy.
            command.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", disk.display()));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).context("cannot run QEMU")
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How much of the guest's output was copied to ours.
struct Shown {
    enabled: bool,
    bytes: u64,
}

impl Shown {
    fn up_to_date(&mut self, file: &Path) {
        if !self.enabled {
            return;
        }
        let Ok(mut file) = fs::File::open(file) else { return };
        let mut out = std::io::stdout().lock();
        // Nobody may be reading any more; the guest goes on.
        let copied = file.seek(SeekFrom::Start(self.bytes)).and_then(|_| std::io::copy(&mut file, &mut out));
        self.bytes += copied.unwrap_or(0);
        let _ = out.flush();
    }
}

fn unpack(tar: &Path, into: &Path) -> Result<()> {
    if into.exists() {
        fs::remove_dir_all(into).with_context(|| format!("cannot empty {}", into.display()))?;
    }
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    host::status(Command::new("tar").arg("-xf").arg(tar).arg("-C").arg(into).arg("--no-same-owner"))
}

/// A tool of the host, at the same place in the guest.
pub fn tool_file(name: &str) -> Option<(PathBuf, String)> {
    host::which(name).map(|path| (path, format!("/usr/bin/{name}")))
}

/// The lines of a text that tell how it ended: the first ones of a kernel that says it is damaged, or the last ones.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let damage = lines.iter().position(|line| line.contains("] BUG: ") || line.contains("] Oops: "));
    let first = damage.unwrap_or(lines.len().saturating_sub(15));
    lines[first..].iter().take(15).copied().collect::<Vec<_>>().join("\n")
}

/// Quote words for the shell.
pub fn quote(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// A command of the command line.
pub struct Run {
    /// `HERE` or `HERE:THERE`.
    pub files: Vec<String>,
    /// Programs of `PATH`.
    pub with: Vec<String>,
    /// Size of a new disk, if it gets one.
    pub disk_mib: Option<u64>,
    /// Where results go.
    pub out: Option<PathBuf>,
    /// For the command.
    pub timeout: Duration,
    /// The command.
    pub command: Vec<String>,
}

impl Run {
    /// Run it in a guest of each kernel, one after the other; gives the first exit code that is not 0.
    pub fn in_each(&self, kernels: &[String]) -> Result<u8> {
        let out = match &self.out {
            Some(out) => out.clone(),
            None => host::target_dir()?.join("guest/out"),
        };
        let mut first = 0;
        for kernel in kernels {
            let began = Instant::now();
            let mut guest = Guest::new(kernel, "", out.join(kernel))?;
            (guest.echo, guest.timeout) = (true, self.timeout);
            self.prepare(&mut guest)?;
            let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
            if let Some(size_mib) = self.disk_mib {
                let disk = dir.path().join("disk");
                make_disk(&disk, size_mib)?;
                guest.disk = Some(disk);
            }
            let outcome = guest.run()?;
            let (code, seconds) = (outcome.exit_code, began.elapsed().as_secs_f32());
            eprintln!(
                "guest {kernel}: exit code {code} after {seconds:.1} s; /out is in {}",
                guest.out_dir.display()
            );
            if first == 0 {
                first = u8::try_from(code).unwrap_or(1);
            }
        }
        Ok(first)
    }

    fn prepare(&self, guest: &mut Guest) -> Result<()> {
        for file in &self.files {
            let (here, there) = file.split_once(':').unwrap_or((file, file));
            let here = PathBuf::from(here);
            let there = match file.contains(':') {
                true => there.to_owned(),
                false => format!("/{}", here.file_name().unwrap_or_default().to_string_lossy()),
            };
            guest.files.push((here, there));
        }
        for name in &self.with {
            guest.files.push(tool_file(name).with_context(|| format!("{name} is not in PATH"))?);
        }
        let mut command = self.command.clone();
        let program = PathBuf::from(&command[0]);
        if command[0].contains('/') && program.is_file() {
            let inside = format!("/usr/bin/{}", program.file_name().unwrap_or_default().to_string_lossy());
            guest.files.push((program, inside.clone()));
            command[0] = inside;
        } else if command.len() == 1 {
            guest.script = command.remove(0);
            return Ok(());
        }
        guest.script = quote(&command);
        Ok(())
    }
}
