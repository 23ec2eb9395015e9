//! Reads the tables in which the kernel side counts aggregated events, and makes their rows at the end of each interval.
//!
//! Each probe has two tables of which the kernel side uses one. At the end of an interval the other takes its place, which
//! makes the kernel wait until every program that may have found the first has left; then it is read and emptied. So each
//! event is in exactly one row. That takes as long as an RCU grace period, some 10 ms, in a thread of its own, and the
//! watermark stands still meanwhile.

use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use schemas::wire::{RecordHeader, subject, value_words};

use super::program::Programs;
use super::{boot_ns, sys};
use crate::resolve::{Candidate, Power};
use crate::source::ProbeId;

/// Tables are exchanged by this many threads: each waits for the kernel.
const THREADS: usize = 32;

/// What of a record is the key, and what follows in a row.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    from: usize,
    end: usize,
    /// Bits of the process, thread and context that are part of the key.
    subject: u64,
    keys: u32,
    sums: usize,
    power: Option<Power>,
}

impl Shape {
    /// Of a candidate whose plan aggregates.
    pub fn of(candidate: &Candidate) -> Self {
        let plan = &candidate.plan;
        Self {
            from: plan.key_from.into(),
            end: plan.key_end.into(),
            subject: plan.key_subject,
            keys: plan.key_bits.count_ones(),
            sums: plan.sums.into(),
            power: candidate.power,
        }
    }

    /// Bytes of a key.
    pub fn key_bytes(self) -> u32 {
        self.end.saturating_sub(self.from) as u32
    }

    /// Words of a value.
    pub fn words(self) -> u32 {
        value_words(self.sums) as u32
    }

    /// The row of what one processor counted for `key` in `interval_ns`.
    fn row(self, key: &[u8], words: &[u64], ts_ns: u64, interval_ns: u64, seq: u32) -> Vec<u8> {
        const SUBJECT: usize = offset_of!(RecordHeader, pid_tgid);
        const NULLS: usize = offset_of!(RecordHeader, nulls);
        let mut row = vec![0; self.end];
        row[self.from..].copy_from_slice(key);
        let unknown = subject::UNKNOWN << subject::SHIFT | subject::NOBODY;
        let subject = u64_at(&row, SUBJECT) & self.subject | unknown & !self.subject;
        put(&mut row, 0, &ts_ns.to_ne_bytes());
        put(&mut row, SUBJECT, &subject.to_ne_bytes());
        put(&mut row, offset_of!(RecordHeader, seq), &seq.to_ne_bytes());
        let mut nulls = u64_at(&row, NULLS - 4).to_ne_bytes()[4..].try_into().map_or(0, u32::from_ne_bytes);
        let mut bit = self.keys;
        let mut push = |row: &mut Vec<u8>, value: Option<u64>| {
            nulls |= u32::from(value.is_none()) << bit;
            bit += 1;
            row.extend(value.unwrap_or(0).to_ne_bytes());
        };
        if let Some(Power { at, bit, signed }) = self.power {
            let at = usize::from(at);
            let is_null = u64_at(&row, NULLS - 4) >> 32 >> bit & 1 != 0;
            let (from, to) = bounds(u64_at(&row, at), signed);
            if !is_null {
                put(&mut row, at, &from.to_ne_bytes());
            }
            push(&mut row, (!is_null).then_some(to));
        }
        push(&mut row, Some(interval_ns));
        push(&mut row, Some(words[0]));
        for sum in words[1..].chunks_exact(2) {
            push(&mut row, Some(sum[0]));
            push(&mut row, (sum[0] != 0).then_some(sum[1]));
        }
        put(&mut row, NULLS, &nulls.to_ne_bytes());
        row
    }
}

/// The least and the greatest value of which `power` is the power of two.
fn bounds(power: u64, signed: bool) -> (u64, u64) {
    if signed && power.cast_signed() < 0 {
        let power = power.cast_signed();
        // -1 alone, -3 to -2, -7 to -4; the last one has only the smallest number.
        let least = power.checked_mul(2).map_or(i64::MIN, |twice| twice + 1);
        return (least.cast_unsigned(), power.cast_unsigned());
    }
    (power, power + power.saturating_sub(1))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The two tables of one program.
#[derive(Debug)]
pub struct Table {
    probe: ProbeId,
    copy: u32,
    shape: Shape,
    /// Where the kernel side looks.
    place: OwnedFd,
    /// The first is what it finds there.
    maps: [OwnedFd; 2],
    since_ns: u64,
    /// Rows so far, by CPU.
    rows: Vec<u32>,
}

impl Table {
    /// What the kernel side is to find.
    pub fn current(&self) -> BorrowedFd<'_> {
        self.maps[0].as_fd()
    }

    /// Put the other one in its place, and wait until nobody uses the one that was there.
    fn exchange(&mut self) -> Result<()> {
        self.maps.swap(0, 1);
        sys::map_update(self.place.as_fd(), self.copy, self.maps[0].as_raw_fd() as u32)
            .context("cannot exchange the table of an aggregated event")
    }

    /// Empty the one that was there before; its rows.
    fn take(&mut self, end_ns: u64, cpus: usize, rows: &mut Vec<Row>) -> Result<()> {
        let Self { probe, shape, maps, since_ns, rows: seqs, .. } = self;
        let interval_ns = end_ns.saturating_sub(*since_ns);
        *since_ns = end_ns;
        let map = maps[1].as_fd();
        let words = shape.words() as usize;
        let mut value = vec![0; 8 * words * cpus];
        let mut key = vec![0; shape.key_bytes() as usize];
        let mut next = key.clone();
        let mut is_there = sys::map_next_bytes(map, None, &mut key).context("cannot list keys")?;
        while is_there {
            // Before it is taken out, because what comes after one that is not there is the first.
            is_there = sys::map_next_bytes(map, Some(&key), &mut next).context("cannot list keys")?;
            sys::map_take(map, &key, &mut value).context("cannot read what was counted for a key")?;
            for (cpu, value) in value.chunks_exact(8 * words).enumerate() {
                let numbers: Vec<u64> = (0..words).map(|i| u64_at(value, 8 * i)).collect();
                if numbers[0] != 0 {
                    let record = shape.row(&key, &numbers, end_ns, interval_ns, seqs[cpu]);
                    seqs[cpu] = seqs[cpu].wrapping_add(1);
                    rows.push(Row { probe: *probe, cpu: cpu as u16, record });
                }
            }
            std::mem::swap(&mut key, &mut next);
        }
        Ok(())
    }
}

/// A row on its way to the drain.
#[derive(Debug)]
struct Row {
    probe: ProbeId,
    cpu: u16,
    record: Vec<u8>,
}

/// An interval that is being read.
#[derive(Debug)]
struct Work {
    /// Its rows are not older than this boot time (ns).
    floor_ns: u64,
    thread: JoinHandle<Result<(Vec<Table>, Vec<Row>)>>,
}

/// The tables of all probes.
#[derive(Debug)]
pub struct Tables {
    interval_ns: u64,
    max_keys: u32,
    cpus: usize,
    /// Not there while they are being read.
    tables: Vec<Table>,
    work: Option<Work>,
    /// Boot time (ns) at which the interval ends.
    next_ns: u64,
    rows: Vec<Row>,
    failure: Option<Error>,
}

impl Tables {
    pub fn new(interval: Duration, max_keys: u32, cpus: usize) -> Self {
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let (tables, rows) = (Vec::new(), Vec::new());
        Self { interval_ns, max_keys, cpus, tables, work: None, next_ns: u64::MAX, rows, failure: None }
    }

    /// Tables for each copy of a program.
    pub fn make(&self, probe: ProbeId, candidate: &Candidate, programs: &Programs) -> Result<Vec<Table>> {
        let shape = Shape::of(candidate);
        let map = || {
            let (key_bytes, value_bytes) = (shape.key_bytes(), 8 * shape.words());
            sys::map_create(sys::PER_CPU_HASH, key_bytes, value_bytes, self.max_keys, 0, "ktape_table")
        };
        let table = |copy: u32| {
            let maps = || -> std::io::Result<_> { Ok([map()?, map()?]) };
            let maps = maps().with_context(|| {
                format!(
                    "cannot make a table of {} keys of {} bytes: --max-keys",
                    self.max_keys,
                    shape.key_bytes()
                )
            })?;
            Ok(Table {
                probe: probe + copy as ProbeId,
                copy,
                shape,
                place: programs.map("TABLES")?.try_clone_to_owned()?,
                maps,
                since_ns: boot_ns(),
                rows: vec![0; self.cpus],
            })
        };
        (0..candidate.copies()).map(table).collect()
    }

    /// They are in use.
    pub fn add(&mut self, tables: Vec<Table>) {
        if !tables.is_empty() && self.next_ns == u64::MAX {
            self.next_ns = boot_ns().saturating_add(self.interval_ns);
        }
        self.tables.extend(tables);
    }

    /// The first interval begins.
    pub fn start(&mut self, start_ns: u64) {
        self.tables.iter_mut().for_each(|table| table.since_ns = start_ns);
        if !self.tables.is_empty() {
            self.next_ns = start_ns.saturating_add(self.interval_ns);
        }
    }

    /// Visit rows that are there, and begin to read an interval that is over. Gives the boot time (ns) before which no row
    /// is still to come.
    pub fn drain(&mut self, now_ns: u64, visit: &mut dyn FnMut(ProbeId, u16, &[u8])) -> Result<u64> {
        if self.work.as_ref().is_some_and(|work| work.thread.is_finished()) {
            self.join();
        }
        if now_ns >= self.next_ns && self.work.is_none() && self.failure.is_none() {
            let late_ns = now_ns - self.next_ns;
            // One that is missed is part of the one that comes.
            self.next_ns = self
                .next_ns
                .saturating_add((late_ns / self.interval_ns + 1).saturating_mul(self.interval_ns));
            let (tables, cpus) = (std::mem::take(&mut self.tables), self.cpus);
            let thread = thread::Builder::new().name("tables".to_owned());
            let thread = thread.spawn(move || read(tables, cpus)).context("cannot start a thread")?;
            self.work = Some(Work { floor_ns: now_ns, thread });
        }
        for Row { probe, cpu, record } in self.rows.drain(..) {
            visit(probe, cpu, &record);
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(self.work.as_ref().map_or(u64::MAX, |work| work.floor_ns)),
        }
    }

    /// No program counts any more: read what there is, for the next drain.
    pub fn finish(&mut self) {
        self.join();
        self.next_ns = u64::MAX;
        let result = read(std::mem::take(&mut self.tables), self.cpus);
        self.keep(result);
        self.tables.clear();
    }

    fn join(&mut self) {
        if let Some(Work { thread, .. }) = self.work.take() {
            let result =
                thread.join().unwrap_or_else(|_| Err(anyhow!("the thread that reads tables has died")));
            self.keep(result);
        }
    }

    fn keep(&mut self, result: Result<(Vec<Table>, Vec<Row>)>) {
        match result {
            Ok((tables, rows)) => {
                self.tables.extend(tables);
                self.rows.extend(rows);
            }
            Err(error) => drop(self.failure.get_or_insert(error)),
        }
    }
}

/// End the interval of all tables at once, and read it.
fn read(mut tables: Vec<Table>, cpus: usize) -> Result<(Vec<Table>, Vec<Row>)> {
    let end_ns = boot_ns();
    thread::scope(|scope| {
        let each = tables.len().div_ceil(THREADS).max(1);
        let exchange = |some: &mut [Table]| some.iter_mut().try_for_each(Table::exchange);
        let threads: Vec<_> =
            tables.chunks_mut(each).map(|some| scope.spawn(move || exchange(some))).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("a thread that exchanges tables has died"))?
        })
    })?;
    let mut rows = Vec::new();
    tables.iter_mut().try_for_each(|table| table.take(end_ns, cpus, &mut rows))?;
    Ok((tables, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_of_two_has_the_numbers_up_to_the_next() {
        assert_eq!([0, 1, 2, 64].map(|power| bounds(power, false)), [(0, 0), (1, 1), (2, 3), (64, 127)]);
        assert_eq!(bounds(1 << 63, false), (1 << 63, u64::MAX));
        let signed = |power: i64| {
            let (from, to) = bounds(power.cast_unsigned(), true);
            (from.cast_signed(), to.cast_signed())
        };
        assert_eq!([-1, -2, -4].map(signed), [(-1, -1), (-3, -2), (-7, -4)]);
        assert_eq!([signed(1 << 62), signed(i64::MIN)], [(1 << 62, i64::MAX), (i64::MIN, i64::MIN)]);
        assert_eq!(signed(i64::MIN / 2), (i64::MIN + 1, i64::MIN / 2));
    }
}
