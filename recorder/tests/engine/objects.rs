//! Objects that recorded events begin and end, as memory is allocated and freed: what the kernel remembers of them.

use std::ops::Range;

use crate::support::{
    Alone, HEADER, candidate, engine_with, first_argument, only, plan, slot, syscall_id, total,
};
use recorder::engine::{Candidate, EngineOptions, Mechanism};
use recorder::source::{EventSource, ProbeId};
use schemas::wire::{Slot, cmp, lost, src};

const BEGIN: libc::c_long = libc::SYS_getpgid;
const END: libc::c_long = libc::SYS_getsid;
const PROBES: [(ProbeId, libc::c_long); 2] = [(0, BEGIN), (2, END)];

/// A system call that nothing else in this process makes begins or ends the object that it is given.
fn probe(call: libc::c_long) -> Candidate {
    let object = Slot { save: 1, dst: HEADER, width: 8, ..slot(src::TEMP, 1) };
    let mut plan = plan(&[syscall_id(), Slot { save: 1, ..first_argument() }], &[object], 8);
    only(&mut plan, 0, cmp::EQ, call as u64);
    if call == BEGIN {
        plan.begins = 1;
    } else {
        plan.ends = 1;
    }
    candidate(Mechanism::RawTp, "sys_enter", plan, None)
}

/// An engine that sees objects begin and end.
struct Objects(Alone);

impl Objects {
    fn new() -> Self {
        let options =
            EngineOptions { ring_bytes_total: 128 << 20, total_weight: 2, ..EngineOptions::default() };
        let mut engine = engine_with(options);
        for (number, call) in PROBES {
            engine.attach(number, &probe(call)).unwrap();
        }
        Self(engine)
    }

    /// Which of these are recorded when they begin or end.
    fn call(&mut self, call: libc::c_long, objects: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut recorded = Vec::new();
        let mut drain = |engine: &mut Alone| {
            engine
                .drain(&mut |_, _, record| {
                    let object = &record[usize::from(HEADER)..usize::from(HEADER) + 8];
                    recorded.push(u64::from_ne_bytes(object.try_into().unwrap()));
                })
                .unwrap();
        };
        for (n, object) in objects.enumerate() {
            // SAFETY: no memory is involved.
            unsafe { libc::syscall(call, object) };
            if n % 10_000 == 9_999 {
                drain(&mut self.0);
            }
        }
        drain(&mut self.0);
        assert_eq!(total(&self.0.counters().unwrap()).lost, [0; lost::COUNT], "the rings are too small");
        recorded
    }

    fn begin(&mut self, numbers: Range<u64>) {
        let mut objects: Vec<u64> = numbers.map(object).collect();
        // CPU by CPU.
        let mut recorded = self.call(BEGIN, objects.iter().copied());
        objects.sort_unstable();
        recorded.sort_unstable();
        assert!(recorded == objects, "{} of {} begins are recorded", recorded.len(), objects.len());
    }

    fn end(&mut self, numbers: Range<u64>) -> usize {
        self.call(END, numbers.map(object)).len()
    }
}

/// Like addresses of memory: multiples of 64 in a part of the kernel's own half, in no order, each number another one.
fn object(number: u64) -> u64 {
    let mut spread = number as u32;
    spread ^= spread >> 15;
    spread = spread.wrapping_mul(0x2c1b_3c6d);
    spread ^= spread >> 12;
    0xffff_8881_0000_0000 + u64::from(spread) * 64
}

#[test]
fn an_end_is_recorded_if_its_begin_was_and_only_once() {
    let mut objects = Objects::new();
    assert_eq!(objects.end(0..100), 0);
    objects.begin(0..1000);
    // A begin whose end was missed, and none at all.
    objects.begin(500..600);
    objects.call(BEGIN, std::iter::once(0));
    assert_eq!(objects.call(END, std::iter::once(0)), [0; 0]);
    assert_eq!(objects.end(0..2000), 1000);
    assert_eq!(objects.end(0..2000), 0);
}

#[test]
fn a_third_of_a_million_objects_are_told_apart() {
    // Many find their bucket full: there are 65,536 of them, with room for 8.
    let (mut objects, n) = (Objects::new(), 350_000);
    objects.begin(0..n);
    assert_eq!(objects.end(n..2 * n), 0);
    assert_eq!(objects.end(0..n) as u64, n);
    assert_eq!(objects.end(0..n), 0);
}

#[test]
fn more_objects_than_there_is_room_for_lead_to_more_rows_and_none_missing() {
    let (mut objects, n) = (Objects::new(), 650_000);
    objects.begin(0..n);
    assert_eq!(objects.end(0..n) as u64, n);
    assert_eq!(objects.end(n..n + 1000), 1000, "ends are not told apart any more");
}
