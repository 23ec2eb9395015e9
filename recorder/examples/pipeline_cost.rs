//! What an event like `kmem` costs the consumer, without a kernel: `cargo run -p recorder --example pipeline_cost
//! [EVENTS] [OWN_COLUMNS] [DIR]`. Prints CPU time of both threads per event and bytes per event on disk.
//! An event has 8 standard columns, and at most 10 of its own here.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use recorder::pipeline::{End, Options, ProbeRow, RecordBuilder, TraceWriter};
use schemas::column::{Column, Layout};
use schemas::trace::{FORMAT_VERSION, Meta, State};

const CPUS: u16 = 4;
const EVENTS_PER_DRAIN: u64 = 2000;
const NS_PER_EVENT: u64 = 500;

fn layout(own_columns: usize) -> Layout {
    let columns = [
        ("kind", "enum(alloc,free)"),
        ("ptr", "x64"),
        ("call_site", "sym"),
        ("comm", "char[16]"),
        ("via", "enum(kmalloc,cache,bulk)"),
        ("bytes_req", "s64"),
        ("bytes_alloc", "s64"),
        ("gfp", "x32"),
        ("node", "s32"),
        ("cgroup_id", "u64"),
    ];
    let columns = columns
        .iter()
        .take(own_columns)
        .map(|(name, ty)| {
            let ty = ty.parse()?;
            Ok(Column { name: (*name).into(), ty, unit: None, doc: String::new(), offset: 0, bit: 0 })
        })
        .collect::<Result<Vec<_>>>();
    Layout::new("kmem", "synthetic", columns.unwrap_or_default(), |_| false).0
}

/// Cheap pseudo-random numbers; the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// A pool of records to feed, with slab-like pointers, 300 call sites and 40 names.
fn records(layout: &Layout) -> Vec<Vec<u8>> {
    let mut random = Random(88172645463325252);
    (0..20_000)
        .map(|_| {
            let name = random.below(40);
            let size = 1 << (3 + random.below(9));
            RecordBuilder::new(layout, 0)
                .task(1000 + name as u32, 1000 + name as u32)
                .set_u64("kind", random.below(2))
                .set_u64("via", random.below(2))
                .set_u64("ptr", 0xffff_8881_0000_0000 + random.below(20_000) * 64)
                .set_u64("call_site", 0xffff_ffff_8100_0000 + random.below(300) * 0x1234)
                .set_u64("bytes_req", size)
                .set_u64("bytes_alloc", size)
                .set_u64("gfp", 0xcc0 + random.below(4))
                .set_i64("node", -1)
                .set_text("comm", &format!("worker-{name}"))
                .set_u64("cgroup_id", 4000 + name / 8)
                .build()
        })
        .collect()
}

fn cpu_ns() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(usage.user_time().num_nanoseconds() + usage.system_time().num_nanoseconds())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let events: u64 = arguments.next().map_or(Ok(4_000_000), |n| n.parse()).context("EVENTS is a number")?;
    let own: usize = arguments.next().map_or(Ok(10), |n| n.parse()).context("OWN_COLUMNS is a number")?;
    let dir =
        arguments.next().map_or_else(|| std::env::temp_dir().join("pipeline_cost.trace"), PathBuf::from);
    let layout = layout(own);
    let meta = Meta {
        format_version: FORMAT_VERSION,
        recorder_version: env!("CARGO_PKG_VERSION").into(),
        state: State::Open,
        host: String::new(),
        kernel_release: String::new(),
        machine: String::new(),
        boot_id: String::new(),
        cpus: CPUS.into(),
        utc_minus_boottime_ns: 0,
        start_ns: 0,
        end_ns: None,
        command_line: vec![],
        command_exit_code: None,
        recorder_pid: 0,
        events: vec![layout.clone()],
        kept_from_ns: None,
        frozen: None,
    };
    let mut records = records(&layout);
    let mut writer = TraceWriter::create(&dir, meta, Options { is_live: false, ..Options::default() })?;
    let probe = ProbeRow { probe: Some(0), event: "kmem".into(), ..ProbeRow::default() };
    writer.add_probe(probe)?;

    let (start, start_cpu) = (Instant::now(), cpu_ns()?);
    let mut seq = [0u32; CPUS as usize];
    let mut random = Random(1);
    for drain in 0..events / EVENTS_PER_DRAIN {
        for i in 0..EVENTS_PER_DRAIN {
            let n = drain * EVENTS_PER_DRAIN + i;
            let record = &mut records[(n % 20_000) as usize];
            // Bursts of events of one cpu, as rings give them.
            let cpu = if i % 8 == 0 { random.below(CPUS.into()) as usize } else { (n % 4) as usize };
            record[..8].copy_from_slice(&(n * NS_PER_EVENT).to_ne_bytes());
            record[16..20].copy_from_slice(&seq[cpu].to_ne_bytes());
            seq[cpu] += 1;
            writer.feed(0, cpu as u16, record)?;
        }
        writer.tick((drain + 1) * EVENTS_PER_DRAIN * NS_PER_EVENT, &mut || Ok(vec![]))?;
    }
    let fed = start.elapsed();
    let summary = writer.close(End::default())?;
    let cpu = cpu_ns()? - start_cpu;
    let per_event = |ns: i64| ns / events as i64;
    println!(
        "{events} events of {} bytes, {} columns: {} ns of CPU, {} ns of wall time per event ({} ns until \
         all were fed), {:.1} bytes on disk per event, {} segments",
        layout.record_size,
        8 + layout.columns.len(),
        per_event(cpu),
        per_event(start.elapsed().as_nanos() as i64),
        per_event(fed.as_nanos() as i64),
        summary.bytes as f64 / events as f64,
        summary.segments
    );
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove '{}'", dir.display()))
}
