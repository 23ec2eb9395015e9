//! The tracers compared, as a table: a probe and a process in, the command that records it and the events found in its
//! output out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::load::Probe;
use crate::{host, setup};

/// Tracepoints of [`Probe::Kmem`].
pub const KMEM: [&str; 4] = ["kmalloc", "kmem_cache_alloc", "kfree", "kmem_cache_free"];

/// One recording to be made.
pub struct Task<'a> {
    pub probe: Probe,
    /// The only process to record.
    pub pid: u32,
    /// Receives output, standard output (`stdout`) and standard error (`stderr`).
    pub dir: &'a Path,
    /// Memory between kernel and tracer, for each CPU.
    pub buffer_bytes_per_cpu: u64,
    pub cpus: u64,
    /// The recorder.
    pub ktape: &'a Path,
}

/// What a tracer's output says.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Events in it.
    pub events: u64,
    /// Events that the tracer says it lost.
    pub lost: u64,
    /// Size on disk.
    pub bytes: u64,
}

/// How to use one of them.
pub struct Tracer {
    pub name: &'static str,
    /// Its command line. It ends well on SIGINT.
    pub command: fn(&Task<'_>) -> Result<Command>,
    /// It has said this, on either stream, when the probe is attached.
    pub ready: &'static str,
    pub find: fn(&Task<'_>) -> Result<Found>,
}

/// Ours.
pub const KTAPE: Tracer =
    Tracer { name: "ktape", command: ktape, ready: "recorder: recording", find: in_trace };
/// The others, with the same memory for buffers.
pub const PEERS: [Tracer; 3] = [
    Tracer {
        name: "perf record",
        command: |task| perf(task, false),
        ready: "Events enabled",
        find: in_perf_data,
    },
    Tracer {
        name: "perf record -z",
        command: |task| perf(task, true),
        ready: "Events enabled",
        find: in_perf_data,
    },
    Tracer { name: "bpftrace", command: bpftrace, ready: READY, find: in_text },
];

const READY: &str = "ready";

/// The recorder as users have it, built for release; for a smoke test the one that is built anyway.
pub fn recorder_of(is_quick: bool) -> Result<PathBuf> {
    if is_quick { host::built("recorder") } else { Ok(host::target_dir()?.join("release/recorder")) }
}

/// The event as the recorder is told.
pub fn ktape_event(probe: Probe) -> &'static str {
    match probe {
        Probe::Getppid => "getppid=tp:syscalls:sys_enter_getppid",
        Probe::Kmem => "kmem",
        Probe::Kmem12 => "kmem12",
    }
}

fn ktape(task: &Task<'_>) -> Result<Command> {
    let mut command = Command::new(task.ktape);
    command.arg("record");
    if task.probe == Probe::Kmem12 {
        let file = task.dir.join("kmem12.toml");
        fs::write(&file, include_str!("kmem12.toml"))
            .with_context(|| format!("cannot write {}", file.display()))?;
        command.arg(file);
    } else {
        command.arg(ktape_event(task.probe));
    }
    command.arg("--pid").arg(task.pid.to_string());
    command.arg("--buffer-size").arg((task.buffer_bytes_per_cpu * task.cpus).to_string());
    command.arg("-o").arg(task.dir.join("trace"));
    Ok(command)
}

/// Counted by another reader of Parquet than ours.
fn in_trace(task: &Task<'_>) -> Result<Found> {
    let trace = task.dir.join("trace");
    let event = ktape_event(task.probe).split('=').next().unwrap_or_default();
    let (events, lost) = in_tables(&trace, event)?;
    Ok(Found { events, lost, bytes: size_bytes(&trace)? })
}

/// Rows of `event` in a trace, and losses.
pub fn in_tables(trace: &Path, event: &str) -> Result<(u64, u64)> {
    let sql = format!(
        "SELECT (SELECT count(*) FROM '{0}/{event}/*.parquet'), \
         (SELECT coalesce(sum(lost), 0)::BIGINT FROM '{0}/counts/*.parquet' WHERE event = '{event}')",
        trace.display()
    );
    let program = "import duckdb, sys; print(*duckdb.sql(sys.argv[1]).fetchall()[0])";
    let text = host::output(Command::new(setup::python()?).args(["-c", program, &sql]))?;
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [events, lost] = numbers[..] else { anyhow::bail!("DuckDB says of {}: {text}", trace.display()) };
    Ok((events, lost))
}

fn perf(task: &Task<'_>, compress: bool) -> Result<Command> {
    let mut command = Command::new("perf");
    // Without looking for build ids: that would be a second pass over the file.
    command.args(["record", "--no-buildid", "--no-buildid-cache", "--delay", "1"]);
    command.arg("--mmap-pages").arg(format!("{}M", task.buffer_bytes_per_cpu >> 20));
    if compress {
        command.arg("-z");
    }
    for event in events(task.probe) {
        command.args(["-e", &event]);
    }
    command.arg("-p").arg(task.pid.to_string()).arg("-o").arg(task.dir.join("perf.data"));
    Ok(command)
}

/// The tracepoints, as perf and trace-cmd name them.
pub fn events(probe: Probe) -> Vec<String> {
    match probe {
        Probe::Getppid => vec!["syscalls:sys_enter_getppid".to_owned()],
        Probe::Kmem | Probe::Kmem12 => KMEM.iter().map(|name| format!("kmem:{name}")).collect(),
    }
}

fn in_perf_data(task: &Task<'_>) -> Result<Found> {
    let data = task.dir.join("perf.data");
    let (events, lost) = perf_stats(&data)?;
    Ok(Found { events, lost, bytes: size_bytes(&data)? })
}

/// Samples, and lost samples. `perf report --stats` sums up all events first, then each kind: `SAMPLE events: N`,
/// `LOST_SAMPLES events: N`.
pub fn perf_stats(data: &Path) -> Result<(u64, u64)> {
    let text = host::output(Command::new("perf").args(["report", "--stats", "-i"]).arg(data))?;
    let (mut events, mut lost) = (0, 0);
    let mut is_sum = false;
    for line in text.lines().map(str::trim) {
        if line.ends_with("stats:") {
            is_sum = line.starts_with("Aggregated");
        } else if !is_sum && let Some((name, count)) = line.split_once(" events:") {
            let count = count.split_whitespace().next().and_then(|word| word.parse().ok());
            let count: u64 = count.with_context(|| format!("perf report says: {line}"))?;
            match name {
                "SAMPLE" => events += count,
                "LOST_SAMPLES" => lost += count,
                _ => {}
            }
        }
    }
    Ok((events, lost))
}

fn bpftrace(task: &Task<'_>) -> Result<Command> {
    let columns = "nsecs, cpu, pid, tid, comm";
    let probes: Vec<String> = match task.probe {
        Probe::Getppid => vec![format!(
            "tracepoint:syscalls:sys_enter_getppid /pid == {}/ {{ printf(\"%llu %d %d %d %s\\n\", {columns}); }}",
            task.pid
        )],
        Probe::Kmem | Probe::Kmem12 => KMEM
            .iter()
            .map(|name| {
                let (format, own) = match name.contains("alloc") {
                    true => (" %lu %lu %d", ", args->bytes_req, args->bytes_alloc, args->gfp_flags"),
                    false => ("", ""),
                };
                format!(
                    "tracepoint:kmem:{name} /pid == {}/ {{ printf(\"%llu %d %d %d %s {name} %p %p{format}\\n\", \
                     {columns}, args->ptr, args->call_site{own}); }}",
                    task.pid
                )
            })
            .collect(),
    };
    let mut command = Command::new("bpftrace");
    // It writes when its buffer of some KiB is full, which is best for it: so much is said at first.
    let ready = format!("interval:ms:10 {{ printf(\"{READY}{}\\n\"); }}", ".".repeat(200));
    command.arg("-e").arg(format!("{} {ready}", probes.join(" ")));
    command.arg("-o").arg(task.dir.join("stdout"));
    let pages = task.buffer_bytes_per_cpu / 4096;
    command.env("BPFTRACE_PERF_RB_PAGES", pages.to_string());
    Ok(command)
}

/// An event is a line that begins with its time.
fn in_text(task: &Task<'_>) -> Result<Found> {
    let path = task.dir.join("stdout");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let stderr = fs::read_to_string(task.dir.join("stderr")).unwrap_or_default();
    let events =
        bytes.split(|byte| *byte == b'\n').filter(|line| line.first().is_some_and(u8::is_ascii_digit));
    let text = String::from_utf8_lossy(&bytes);
    let lost = text
        .lines()
        .chain(stderr.lines())
        .filter_map(|line| line.strip_prefix("Lost ")?.split_whitespace().next()?.parse::<u64>().ok());
    Ok(Found { events: events.count() as u64, lost: lost.sum(), bytes: bytes.len() as u64 })
}

/// Bytes of a file, or of all files in a directory.
pub fn size_bytes(path: &Path) -> Result<u64> {
    let meta = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if meta.is_file() {
        return Ok(meta.len());
    }
    let mut sum = 0;
    for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        sum += size_bytes(&entry?.path())?;
    }
    Ok(sum)
}
