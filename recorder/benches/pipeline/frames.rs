//! Number of columns and events in; raw records of an event like `kmem`, as rings of four CPUs give them, out.

use anyhow::Result;
use recorder::pipeline::RecordBuilder;
use recorder::source::{EventSource, ProbeCounters, ProbeId};
use schemas::column::{Column, Layout};

/// CPUs that have events.
pub const CPUS: usize = 4;
const EVENTS_PER_DRAIN: u64 = 2000;
const NS_PER_EVENT: u64 = 500;
const POOL: u64 = 65_536;

/// The event with its first `own` columns (at most 10) after the 8 that every event has.
pub fn layout(own: usize) -> Result<Layout> {
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
    let column = |(name, ty): &(&str, &str)| {
        let ty = ty.parse()?;
        Ok(Column { name: (*name).into(), ty, unit: None, doc: String::new(), offset: 0, bit: 0 })
    };
    let columns = columns.iter().take(own).map(column).collect::<Result<Vec<_>>>()?;
    Ok(Layout::new("kmem", "synthetic", columns, |_| false).0)
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

/// Gives a number of events, 2000 a drain.
pub struct Frames {
    record_size: usize,
    /// Records one after the other, used again and again with new times and numbers.
    pool: Vec<u8>,
    random: Random,
    seq: [u32; CPUS],
    next: u64,
    events: u64,
}

impl Frames {
    /// `events` events, with slab-like pointers, 300 call sites and 40 names.
    pub fn new(layout: &Layout, events: u64) -> Self {
        let mut random = Random(88172645463325252);
        let record = |_| {
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
                .set_text("comm", format!("worker-{name}"))
                .set_u64("cgroup_id", 4000 + name / 8)
                .build()
        };
        let pool = (0..POOL).flat_map(record).collect();
        let record_size = layout.record_size as usize;
        Self { record_size, pool, random: Random(1), seq: [0; CPUS], next: 0, events }
    }
}

impl EventSource for Frames {
    fn drain(&mut self, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        let Self { record_size, pool, random, seq, next, events } = self;
        for _ in 0..EVENTS_PER_DRAIN.min(*events - *next) {
            let start = (*next % POOL) as usize * *record_size;
            let record = &mut pool[start..start + *record_size];
            // Mostly the CPUs take turns: the hardest case for a merge.
            let cpu = if *next % 8 == 0 { random.below(CPUS as u64) } else { *next % CPUS as u64 };
            record[..8].copy_from_slice(&(*next * NS_PER_EVENT).to_ne_bytes());
            record[16..20].copy_from_slice(&seq[cpu as usize].to_ne_bytes());
            seq[cpu as usize] += 1;
            *next += 1;
            visit(0, cpu as u16, record);
        }
        Ok(*next * NS_PER_EVENT)
    }

    fn counters(&mut self) -> Result<Vec<ProbeCounters>> {
        Ok(vec![])
    }

    fn finished(&self) -> bool {
        self.next == self.events
    }
}
