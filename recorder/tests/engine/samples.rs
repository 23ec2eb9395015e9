//! Samples: of whom they are, how many there are, and how many are missed.

use std::time::{Duration, Instant};

use recorder::engine::{EngineOptions, Mechanism};
use recorder::kernel::Kernel;
use recorder::source::EventSource;
use schemas::wire::{NO_DST, Slot, src, subject};

use crate::support::{Alone, PROBE, candidate, drain, engine_with, mark, plan, slot, total};

const RATE: f64 = 999.0;

fn engine() -> Alone {
    let interrupts = Kernel::running().unwrap().interrupts();
    engine_with(EngineOptions { ring_bytes_total: 16 << 20, interrupts, ..EngineOptions::default() })
}

/// Time that this process has used, in seconds: in programs, in the kernel.
fn used_s() -> (f64, f64) {
    // SAFETY: all zeros are a value of it, and the kernel writes to a local variable.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: see above.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

/// Which register says where the processor was.
const IP: u8 = if cfg!(target_arch = "aarch64") { 32 } else { 16 };

#[test]
fn a_sample_is_of_the_process_that_its_timer_interrupts() {
    let address = Slot { dst: 32, width: 8, bit: 0, ..slot(src::REG, IP) };
    let mut engine = engine();
    let candidate = candidate(Mechanism::PerfEvent, "profile:hz:999", plan(&[], &[address], 8), None);
    engine.attach(PROBE, &candidate).unwrap();
    let (user_before, kernel_before) = used_s();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(600) {
        std::hint::spin_loop();
    }
    while begin.elapsed() < Duration::from_millis(1200) {
        mark(100);
    }
    let (user, kernel) = used_s();
    engine.detach_all();
    let (records, _) = drain(&mut engine);
    let counters = engine.counters().unwrap();
    assert_eq!(total(&counters).recorded, records.len() as u64);
    let own = u64::from(std::process::id());
    for record in &records {
        let of = record.header.pid_tgid;
        assert_eq!((subject::context(of), subject::pid(of).map(u64::from)), (Some("task"), Some(own)));
    }
    // What was missed may have been of others; this process uses one of several processors, and all else is filtered.
    let missed: u64 = counters.iter().map(|of_probe| of_probe.sample_misses).sum();
    let due = RATE * (user + kernel - user_before - kernel_before);
    let found = records.len() as f64;
    let slack = due * 0.1 + 10.0;
    assert!(found <= due + slack && found + missed as f64 >= due - slack, "{found} and {missed} of {due}");
    let in_kernel = records.iter().filter(|record| record.u64(32) >> 63 == 1).count() as f64;
    assert!(in_kernel > 10.0 && in_kernel < found - 10.0, "{in_kernel} of {found} in the kernel");
}

#[test]
fn each_event_of_a_period_of_one_is_a_sample_of_who_caused_it() {
    const PAGES: usize = 300;
    let mut engine = engine();
    let plan = plan(&[], &[Slot { dst: NO_DST, ..slot(src::REG, IP) }], 0);
    engine.attach(PROBE, &candidate(Mechanism::PerfEvent, "software:page-faults:1", plan, None)).unwrap();
    let (null, bytes) = (std::ptr::null_mut(), PAGES * 4096);
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, wherever there is room for it.
    let memory = unsafe { libc::mmap(null, bytes, protection, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED);
    // SAFETY: advice about that memory.
    unsafe { libc::madvise(memory, bytes, libc::MADV_NOHUGEPAGE) };
    for page in 0..PAGES {
        // SAFETY: within that memory.
        unsafe { memory.cast::<u8>().add(page * 4096).write_volatile(1) };
    }
    // SAFETY: nobody uses it any more.
    unsafe { libc::munmap(memory, bytes) };
    engine.detach_all();
    let (records, _) = drain(&mut engine);
    let own = u64::from(std::process::id());
    let is_own =
        |of: u64| subject::pid(of).map(u64::from) == Some(own) && subject::context(of) == Some("task");
    assert!(records.iter().all(|record| is_own(record.header.pid_tgid)));
    assert!(records.len() >= PAGES, "{} faults", records.len());
    let counters = engine.counters().unwrap();
    assert_eq!(total(&counters).recorded, records.len() as u64);
    assert_eq!(counters[0].sample_misses, 0);
}

#[test]
fn what_cannot_be_sampled_is_refused_in_words() {
    let mut engine = engine();
    let unknown = candidate(Mechanism::PerfEvent, "software:no-such:1", plan(&[], &[], 0), None);
    let error = format!("{:#}", engine.attach(PROBE, &unknown).unwrap_err());
    assert!(error.contains("there is no software event 'no-such'"), "{error}");
    // Where there are counters it is taken, unless all are in use.
    if let Err(error) = engine
        .attach(PROBE, &candidate(Mechanism::PerfEvent, "hardware:cycles:1000000", plan(&[], &[], 0), None))
    {
        let error = format!("{error:#}");
        assert!(error.contains("profile:hz:99") || error.contains("are in use"), "{error}");
    }
}
