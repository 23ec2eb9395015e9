//! Kernel memory under file churn (`workload churn`): for each file eleven events in the task, and three frees after an
//! RCU grace period in a softirq. Kinds, order, sizes, pauses and addresses are those of a recording on Linux 6.18.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, Result};
use schemas::column::Layout;
use schemas::record::RecordBuilder;
use schemas::wire::subject;

use super::slabs::Slabs;
use super::{COMM, Feed, PID, Random, START_NS};

/// Source, kind and target of each probe; those of the second programs in interrupts come behind.
const PROBES: [(&str, &str, &str); 5] = [
    ("kmalloc", "tp_btf", "kmem:kmalloc"),
    ("kmem_cache_alloc", "tp_btf", "kmem:kmem_cache_alloc"),
    ("kfree", "tp_btf", "kmem:kfree"),
    ("kmem_cache_free", "tp_btf", "kmem:kmem_cache_free"),
    ("kmem_cache_free_bulk", "fentry", "kmem_cache_free_bulk"),
];
const KMALLOC: u16 = 0;
const ALLOC: u16 = 1;
const KFREE: u16 = 2;
const FREE: u16 = 3;

const TEXT: u64 = 0xffff_ffff_8100_0000;
const OBJECTS: u64 = 0xffff_8881_0000_0000;
/// Files after which all addresses of a cache were used once.
const TURN: u64 = 1_400_000;
/// A grace period ends so long after the one before, and up to so much later.
const GRACE_NS: u64 = 6_200_000;
const GRACE_MORE_NS: u64 = 3_500_000;
/// The process is moved to another processor after about so long.
const CPU_NS: u64 = 150_000_000;
/// Of so many files one has other events too.
const RARE: u64 = 150;
/// Of so many frees one was lost.
const LOST: u64 = 9000;
/// Of so many files one leaks an object.
const LEAK: u64 = 40_000;
/// Places that allocate and free rarely.
const RARE_SITES: u64 = 46;
/// Caches of theirs.
const RARE_CACHES: [&str; 9] = [
    "maple_node",
    "vm_area_struct",
    "anon_vma",
    "anon_vma_chain",
    "proc_inode_cache",
    "seq_file",
    "task_struct",
    "signal_cache",
    "pid",
];

/// A cache of which one object is in use at a time: the same one for long.
struct Hot {
    first: u64,
    bytes: u64,
    objects: u64,
    current: u64,
    /// Files after which another one is used.
    lasts: u64,
}

impl Hot {
    fn address(&mut self, random: &mut Random) -> u64 {
        if random.once_in(self.lasts) {
            self.current = random.below(self.objects);
        }
        self.first + self.current * self.bytes
    }
}

/// What one event records, but for its time and address.
struct Template {
    probe: u16,
    record: Vec<u8>,
    ptr: usize,
    /// Pause before it.
    after_ns: u64,
}

struct Model<'a, W> {
    feed: Feed<W>,
    layout: &'a Layout,
    random: Random,
    now_ns: u64,
    cpu: u16,
    cpu_until_ns: u64,
}

/// A place in the code that allocates or frees.
struct Site {
    at: u64,
    name: &'static str,
}

const SITES: [Site; 14] = [
    Site { at: 0x4fd0ce, name: "getname_flags" },
    Site { at: 0x4ee0d6, name: "alloc_empty_file" },
    Site { at: 0x8d9241, name: "security_file_alloc" },
    Site { at: 0x50fe17, name: "__d_alloc" },
    Site { at: 0x3dc747, name: "shmem_alloc_inode" },
    Site { at: 0x8d7222, name: "security_inode_alloc" },
    Site { at: 0x4e74cc, name: "putname_open" },
    Site { at: 0x5058dd, name: "putname_unlink" },
    Site { at: 0x4edd5b, name: "security_file_free" },
    Site { at: 0x4e8003, name: "file_free" },
    Site { at: 0x229951, name: "rcu_do_batch" },
    Site { at: 0x45c042, name: "simple_xattr_alloc" },
    Site { at: 0x45e331, name: "simple_xattr_free" },
    Site { at: 0x46a0c4, name: "leaky_alloc" },
];

fn symbols() -> String {
    let mut text = String::new();
    let sites = SITES.iter().map(|site| (TEXT + site.at - 0x20, site.name.to_owned()));
    let rare = (0..RARE_SITES).map(|n| (TEXT + 0xa0_0000 + n * 0x1240 - 0x20, format!("rare_site_{n}")));
    for (address, name) in sites.chain(rare) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address:016x} t {name}");
    }
    text
}

/// Size, flags and cache of an allocation.
struct Alloc {
    cache: Option<&'static str>,
    bytes: u64,
    gfp: u64,
}

const NAMES: Alloc = Alloc { cache: Some("names_cache"), bytes: 4096, gfp: 0xcc0 };
const FILP: Alloc = Alloc { cache: Some("filp"), bytes: 184, gfp: 0xcc0 };
const LSM_FILE: Alloc = Alloc { cache: Some("lsm_file_cache"), bytes: 24, gfp: 0xdc0 };
const DENTRY: Alloc = Alloc { cache: Some("dentry"), bytes: 192, gfp: 0xcc0 };
const INODE: Alloc = Alloc { cache: Some("shmem_inode_cache"), bytes: 744, gfp: 0xcc0 };
const LSM_INODE: Alloc = Alloc { cache: Some("lsm_inode_cache"), bytes: 32, gfp: 0xd40 };
const XATTR: Alloc = Alloc { cache: None, bytes: 168, gfp: 0x40dc0 };

impl<W: Write> Model<'_, W> {
    fn template(
        &self,
        probe: u16,
        site: u64,
        alloc: &Alloc,
        is_alloc: bool,
        in_softirq: bool,
        after_ns: u64,
    ) -> Result<Template> {
        let ptr = self.layout.column("ptr").context("kmem has no column ptr")?.offset.into();
        let via = if alloc.cache.is_some() { "cache" } else { "kmalloc" };
        let mut record = RecordBuilder::new(self.layout, 0)
            .set_text("kind", if is_alloc { "alloc" } else { "free" })
            .set_text("via", via)
            .set_u64("ptr", 0)
            .set_u64("call_site", TEXT + site);
        if let Some(cache) = alloc.cache {
            record = record.set_text("cache", cache);
        }
        if is_alloc {
            record = record
                .set_u64("bytes_req", alloc.bytes)
                .set_u64("bytes_alloc", alloc.bytes.next_multiple_of(8))
                .set_u64("gfp", alloc.gfp)
                .set_i64("node", -1);
        }
        let subject = if in_softirq {
            subject::SOFTIRQ << subject::SHIFT | subject::NOBODY
        } else {
            record = record.set_text("comm", COMM).set_u64("cgroup_id", 1);
            subject::TASK << subject::SHIFT | u64::from(PID) << 32 | u64::from(PID)
        };
        let mut record = record.build();
        record[8..16].copy_from_slice(&subject.to_ne_bytes());
        Ok(Template { probe, record, ptr, after_ns })
    }

    /// One event, a little later than the one before.
    fn event(&mut self, template: &mut Template, address: u64) -> Result<()> {
        let Template { probe, record, ptr, after_ns } = template;
        self.now_ns += *after_ns + 10 * (self.random.below(8) + self.random.below(8));
        if self.random.once_in(50) {
            self.now_ns += self.random.below(3000);
        }
        if self.random.once_in(1500) {
            self.now_ns += self.random.below(20_000);
        }
        if self.now_ns >= self.cpu_until_ns {
            self.cpu = 1 - self.cpu;
            self.cpu_until_ns = self.now_ns + CPU_NS / 2 + self.random.below(CPU_NS);
        }
        record[*ptr..*ptr + 8].copy_from_slice(&address.to_ne_bytes());
        self.feed.record(*probe, self.cpu, self.now_ns, record)
    }
}

/// Write frames of `rows` events, and those up to the end of a grace period.
pub fn write(rows: u64, out: impl Write) -> Result<()> {
    let layout = schemas::layouts::builtin(&[])?.remove("kmem").context("there is no event kmem")?;
    let feed = Feed::new(out, &layout, &symbols(), &PROBES)?;
    let random = Random(88_172_645_463_325_252);
    let mut model =
        Model { feed, layout: &layout, random, now_ns: START_NS, cpu: 0, cpu_until_ns: START_NS + CPU_NS };
    let site = |n: usize| SITES[n].at;
    let of_task = |probe, at, alloc: &Alloc, is_alloc, after_ns| {
        model.template(probe, at, alloc, is_alloc, false, after_ns)
    };
    let mut open_name = of_task(ALLOC, site(0), &NAMES, true, 1080)?;
    let mut file = of_task(ALLOC, site(1), &FILP, true, 1130)?;
    let mut lsm_file = of_task(ALLOC, site(2), &LSM_FILE, true, 780)?;
    let mut dentry = of_task(ALLOC, site(3), &DENTRY, true, 1620)?;
    let mut inode = of_task(ALLOC, site(4), &INODE, true, 1590)?;
    let mut lsm_inode = of_task(ALLOC, site(5), &LSM_INODE, true, 970)?;
    let mut open_name_free = of_task(FREE, site(6), &NAMES, false, 2270)?;
    let mut unlink_name = of_task(ALLOC, site(0), &NAMES, true, 3030)?;
    let mut unlink_name_free = of_task(FREE, site(7), &NAMES, false, 2690)?;
    let mut lsm_file_free = of_task(FREE, site(8), &LSM_FILE, false, 4160)?;
    let mut file_free = of_task(FREE, site(9), &FILP, false, 780)?;
    let mut xattr = of_task(KMALLOC, site(11), &XATTR, true, 900)?;
    let leaked_object = Alloc { cache: None, bytes: 64, gfp: 0xcc0 };
    let mut leak = of_task(KMALLOC, site(13), &leaked_object, true, 900)?;
    let in_softirq = |probe, at, alloc: &Alloc| model.template(probe, at, alloc, false, true, 780);
    let mut after_grace = [
        in_softirq(FREE, site(10), &LSM_INODE)?,
        in_softirq(FREE, site(10), &INODE)?,
        in_softirq(FREE, site(10), &DENTRY)?,
    ];
    let mut xattr_free = in_softirq(KFREE, site(12), &XATTR)?;
    let mut rare = Vec::new();
    for n in 0..RARE_SITES / 2 {
        let at = 0xa0_0000 + n * 2 * 0x1240;
        let alloc = Alloc {
            cache: Some(RARE_CACHES[n as usize % RARE_CACHES.len()]),
            bytes: 64 + n * 24,
            gfp: 0xcc0,
        };
        rare.push((of_task(ALLOC, at, &alloc, true, 900)?, of_task(FREE, at + 0x1240, &alloc, false, 2000)?));
    }

    let hot =
        |n: u64, bytes, objects, lasts| Hot { first: OBJECTS + (n << 28), bytes, objects, current: 0, lasts };
    let (mut names, mut files, mut lsm_files) =
        (hot(1, 4096, 10, 40_000), hot(2, 192, 93, 9000), hot(3, 24, 123, 9000));
    let slabs = |n: u64, bytes, objects, slabs, window| {
        Slabs::new(OBJECTS + (n << 28), bytes, objects, slabs, window, TURN)
    };
    let (mut dentries, mut inodes, mut lsm_inodes) =
        (slabs(4, 192, 21, 3431, 1400), slabs(5, 768, 21, 388, 70), slabs(6, 32, 128, 513, 215));
    let mut xattrs = slabs(7, 192, 21, 13, 12);

    // Files whose frees wait: those before the grace period that runs are freed when it ends.
    let (mut waiting, mut ready) = (VecDeque::new(), 0);
    let mut old_xattrs = VecDeque::new();
    let mut grace_ns = START_NS + GRACE_NS;
    let mut file_count = 0;
    loop {
        let (name, filp, lsm) = (
            names.address(&mut model.random),
            files.address(&mut model.random),
            lsm_files.address(&mut model.random),
        );
        let random = &mut model.random;
        let objects = [lsm_inodes.allocate(random), inodes.allocate(random), dentries.allocate(random)];
        model.event(&mut open_name, name)?;
        model.event(&mut file, filp)?;
        model.event(&mut lsm_file, lsm)?;
        model.event(&mut dentry, objects[2])?;
        model.event(&mut inode, objects[1])?;
        model.event(&mut lsm_inode, objects[0])?;
        model.event(&mut open_name_free, name)?;
        model.event(&mut unlink_name, name)?;
        model.event(&mut unlink_name_free, name)?;
        model.event(&mut lsm_file_free, lsm)?;
        model.event(&mut file_free, filp)?;
        waiting.push_back(objects);
        file_count += 1;
        if file_count % LEAK == LEAK / 4 {
            model.event(&mut leak, OBJECTS + (9 << 28) + file_count / LEAK * leaked_object.bytes)?;
        }
        if model.random.once_in(RARE) {
            let address = xattrs.allocate(&mut model.random);
            model.event(&mut xattr, address)?;
            old_xattrs.push_back(address);
        }
        if model.random.once_in(RARE * 80) {
            let n = model.random.below(rare.len() as u64);
            let address = OBJECTS + (8 << 28) + n * 0x1000;
            let (allocated, freed) = &mut rare[n as usize];
            model.event(allocated, address)?;
            model.event(freed, address)?;
        }
        if model.now_ns < grace_ns {
            continue;
        }
        grace_ns = model.now_ns + GRACE_NS + model.random.below(GRACE_MORE_NS);
        for _ in 0..ready {
            let Some(objects) = waiting.pop_front() else { break };
            for ((template, cache), address) in
                after_grace.iter_mut().zip([&mut lsm_inodes, &mut inodes, &mut dentries]).zip(objects)
            {
                cache.free(address);
                if model.random.once_in(LOST) {
                    model.feed.lose(FREE, model.cpu);
                } else {
                    model.event(template, address)?;
                }
            }
        }
        ready = waiting.len();
        while old_xattrs.len() > 40 {
            let Some(address) = old_xattrs.pop_front() else { break };
            xattrs.free(address);
            model.event(&mut xattr_free, address)?;
        }
        // What waits then is outstanding.
        if model.feed.rows >= rows {
            break;
        }
    }
    let end_ns = model.now_ns + 1;
    model.feed.end(end_ns)
}
