//! Numbers of probes and CPUs in; rows of tables counts and losses out.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::builder::{
    Int64Builder, StringDictionaryBuilder, TimestampNanosecondBuilder, UInt16Builder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use schemas::trace::SIDE_TABLES;

use crate::source::ProbeId;

/// Rows of table counts that tell of so many `rows` of `event`, none of them lost.
pub fn adjustment(
    interval: Interval,
    event: &str,
    rows: &BTreeMap<(ProbeId, u16), u64>,
) -> Result<Option<RecordBatch>> {
    let mut counts = CountsBuilder::default();
    for ((probe, cpu), rows) in rows {
        let rows = rows.cast_signed();
        let row = CountRow { fired: rows, seen: rows, recorded: rows, ..CountRow::default() };
        counts.append(interval, event, *probe, Some(*cpu), &row);
    }
    counts.finish()
}

/// Schema of a side table.
pub fn side_schema(name: &str) -> Result<Arc<Schema>> {
    let table =
        SIDE_TABLES.iter().find(|t| t.name == name).with_context(|| format!("no side table '{name}'"))?;
    Ok(Arc::new((table.schema)()))
}

/// The time that a row is about, UTC nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Its beginning: the end of the one before, or the start of the recording.
    pub since_ns: i64,
    /// Its end.
    pub ts_ns: i64,
}

/// The numbers of a row of table counts.
#[derive(Default, PartialEq, Eq)]
pub struct CountRow {
    pub fired: i64,
    pub filtered: i64,
    pub seen: i64,
    pub recorded: i64,
    pub lost: i64,
}

/// The columns that both tables start with.
#[derive(Default)]
struct ProbeColumns {
    ts: TimestampNanosecondBuilder,
    since_ts: TimestampNanosecondBuilder,
    event: StringDictionaryBuilder<Int32Type>,
    probe: UInt16Builder,
    cpu: UInt16Builder,
    rows: usize,
}

impl ProbeColumns {
    fn append(&mut self, interval: Interval, event: &str, probe: ProbeId, cpu: Option<u16>) {
        let Interval { since_ns, ts_ns } = interval;
        self.ts.append_value(ts_ns);
        self.since_ts.append_value(since_ns);
        self.event.append_value(event);
        self.probe.append_value(probe);
        self.cpu.append_option(cpu);
        self.rows += 1;
    }

    fn finish(self) -> Vec<ArrayRef> {
        let Self { mut ts, mut since_ts, mut event, mut probe, mut cpu, rows: _ } = self;
        vec![
            Arc::new(ts.finish().with_timezone("UTC")),
            Arc::new(since_ts.finish().with_timezone("UTC")),
            Arc::new(event.finish()),
            Arc::new(probe.finish()),
            Arc::new(cpu.finish()),
        ]
    }
}

/// Rows of table counts.
#[derive(Default)]
pub struct CountsBuilder {
    probe: ProbeColumns,
    numbers: [Int64Builder; 5],
}

impl CountsBuilder {
    /// One more.
    pub fn append(
        &mut self,
        interval: Interval,
        event: &str,
        probe: ProbeId,
        cpu: Option<u16>,
        row: &CountRow,
    ) {
        self.probe.append(interval, event, probe, cpu);
        let CountRow { fired, filtered, seen, recorded, lost } = row;
        for (builder, value) in self.numbers.iter_mut().zip([fired, filtered, seen, recorded, lost]) {
            builder.append_value(*value);
        }
    }

    /// All of them, if there are any.
    pub fn finish(self) -> Result<Option<RecordBatch>> {
        if self.probe.rows == 0 {
            return Ok(None);
        }
        let mut columns = self.probe.finish();
        columns.extend(self.numbers.into_iter().map(|mut b| Arc::new(b.finish()) as ArrayRef));
        Ok(Some(RecordBatch::try_new(side_schema("counts")?, columns)?))
    }
}

/// Rows of table losses.
#[derive(Default)]
pub struct LossesBuilder {
    probe: ProbeColumns,
    reason: StringDictionaryBuilder<Int32Type>,
    count: Int64Builder,
}

impl LossesBuilder {
    /// One more; without a `count` nobody knows.
    pub fn append(
        &mut self,
        interval: Interval,
        event: &str,
        probe: ProbeId,
        cpu: Option<u16>,
        reason: &str,
        count: Option<i64>,
    ) {
        self.probe.append(interval, event, probe, cpu);
        self.reason.append_value(reason);
        self.count.append_option(count);
    }

    /// All of them, if there are any.
    pub fn finish(mut self) -> Result<Option<RecordBatch>> {
        if self.probe.rows == 0 {
            return Ok(None);
        }
        let mut columns = self.probe.finish();
        columns.push(Arc::new(self.reason.finish()));
        columns.push(Arc::new(self.count.finish()));
        Ok(Some(RecordBatch::try_new(side_schema("losses")?, columns)?))
    }
}
