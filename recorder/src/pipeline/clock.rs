//! The clocks of this machine in, a row of table clock out.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, TimestampNanosecondArray};
use nix::time::{ClockId, clock_gettime};

use super::count_rows::side_schema;

/// CLOCK_BOOTTIME now: the time of the kernel's records.
pub fn boottime_ns() -> u64 {
    clock_ns(ClockId::CLOCK_BOOTTIME) as u64
}

/// CLOCK_REALTIME - CLOCK_BOOTTIME now, read so that being interrupted between the two does not matter: of a few tries
/// the one whose two boot times are closest.
pub fn utc_minus_boottime_ns() -> i64 {
    const TRIES: usize = 5;
    let tries = (0..TRIES).map(|_| {
        let before = clock_ns(ClockId::CLOCK_BOOTTIME);
        let utc = clock_ns(ClockId::CLOCK_REALTIME);
        let after = clock_ns(ClockId::CLOCK_BOOTTIME);
        (after - before, utc - (before + (after - before) / 2))
    });
    tries.min().map_or(0, |(_, offset)| offset)
}

/// Nanoseconds of a clock. Those asked for exist on every kernel that runs eBPF.
fn clock_ns(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// The clocks now, as a row; `trace_offset_ns` is that of the trace.
pub fn batch(trace_offset_ns: i64) -> Result<RecordBatch> {
    let boottime_ns = clock_ns(ClockId::CLOCK_BOOTTIME);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from(vec![boottime_ns + trace_offset_ns]).with_timezone("UTC")),
        Arc::new(Int64Array::from(vec![boottime_ns])),
        Arc::new(Int64Array::from(vec![utc_minus_boottime_ns()])),
    ];
    Ok(RecordBatch::try_new(side_schema("clock")?, columns)?)
}
