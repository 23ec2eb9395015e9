//! Sorted raw rows of one event in, an Arrow batch in the schema of its table out, column by column.
//!
//! A column's values are read from all rows before the next column is looked at: no allocation and no decision per
//! value that the type has not settled. Nothing in a record is trusted beyond its length, which was checked before.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow_array::types::{
    ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::SchemaRef;
use schemas::column::{Column, IP_FAMILY_OFFSET, Layout, Type};
use schemas::wire::{RecordHeader, subject};

use super::merge::{Rows, bytes_at, seq, ts_ns};
use super::stacks::{Collector, Space};
use super::text::{Interner, text, words};
use crate::source::ProbeId;

const FAMILY_INET: u16 = 2;
const FAMILY_INET6: u16 = 10;
/// Bits in the header's bitmaps.
const MAX_COLUMNS: u8 = 32;

/// A record as a batch of one row. Fails if it does not fit the `layout`.
pub fn decode_record(
    layout: &Layout,
    utc_minus_boottime_ns: i64,
    probe: ProbeId,
    cpu: u16,
    record: &[u8],
) -> Result<RecordBatch> {
    ensure!(record.len() == layout.record_size as usize, "a record has {} bytes", record.len());
    let seq = vec![u64::from(seq(record))];
    let rows = Rows { records: vec![record], cpu: vec![cpu], probe: vec![probe], seq };
    Decoder::new(layout, utc_minus_boottime_ns)?.decode(&rows, &mut Collector::new(Box::new(|_| None)))
}

/// Decodes the records of one event.
pub struct Decoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// Whose kernel stacks are.
    kernel: Space,
    interners: Vec<Interner>,
    record_size: usize,
    utc_minus_boottime_ns: i64,
    nulls: Vec<u32>,
    /// Names of what probes run in.
    contexts: ArrayRef,
}

impl Decoder {
    /// For records laid out as `layout`. Fails if a column is not inside the record.
    pub fn new(layout: &Layout, utc_minus_boottime_ns: i64) -> Result<Self> {
        let record_size = layout.record_size as usize;
        let header = size_of::<RecordHeader>();
        ensure!(
            record_size >= header,
            "event '{}': a record has {record_size} bytes, its header has {header}",
            layout.event
        );
        for Column { name, ty, offset, bit, .. } in &layout.columns {
            let (start, end) = (usize::from(*offset), usize::from(*offset) + usize::from(ty.wire_size()));
            ensure!(
                start >= header && end <= record_size && *bit < MAX_COLUMNS,
                "event '{}': column '{name}' ({ty}, bytes {start}..{end}, bit {bit}) does not fit into a record of {record_size} bytes with {MAX_COLUMNS} columns",
                layout.event
            );
        }
        Ok(Self {
            schema: Arc::new(layout.schema()),
            columns: layout.columns.clone(),
            kernel: if layout.sampled { Space::Sampled } else { Space::Kernel },
            interners: layout.columns.iter().map(|_| Interner::default()).collect(),
            record_size,
            utc_minus_boottime_ns,
            nulls: Vec::new(),
            contexts: Arc::new(StringArray::from_iter_values(subject::NAMES)),
        })
    }

    /// Schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decode `rows`; stacks, addresses and cgroups go to `collector`.
    pub fn decode(&mut self, rows: &Rows, collector: &mut Collector) -> Result<RecordBatch> {
        let Self { schema, columns, kernel, interners, record_size, utc_minus_boottime_ns, nulls, contexts } =
            self;
        let n = rows.len();
        if let Some(other) = rows.records.iter().find(|record| record.len() != *record_size) {
            bail!("a record of {} bytes among those of {record_size} bytes", other.len());
        }
        let records = || rows.records.iter().copied();
        let header_u32 = |offset| records().map(move |r| u32::from_ne_bytes(bytes_at(r, offset)));
        let (faults, cuts): (Vec<u32>, Vec<u32>) = (header_u32(24).collect(), header_u32(28).collect());
        nulls.clear();
        nulls.extend(header_u32(20).zip(&faults).map(|(nulls, faults)| nulls | faults));
        let any_null = nulls.iter().fold(0, |any, mask| any | mask);

        let ts: Vec<i64> =
            records().map(|r| (ts_ns(r) as i64).wrapping_add(*utc_minus_boottime_ns)).collect();
        let (ctx, pid, tid) = subjects(rows, contexts)?;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(PrimitiveArray::<TimestampNanosecondType>::new(ts.into(), None).with_timezone("UTC")),
            primitive::<UInt16Type>(rows.cpu.clone(), None),
            ctx,
            pid,
            tid,
            primitive::<UInt16Type>(rows.probe.clone(), None),
            primitive::<UInt64Type>(rows.seq.clone(), None),
            primitive::<UInt32Type>(faults, None),
            primitive::<UInt32Type>(cuts, None),
        ];
        for (column, interner) in columns.iter().zip(interners) {
            let valid = (any_null >> column.bit & 1 != 0).then(|| {
                NullBuffer::new(BooleanBuffer::collect_bool(n, |i| nulls[i] >> column.bit & 1 == 0))
            });
            let offset = usize::from(column.offset);
            let size = usize::from(column.ty.wire_size());
            let fields = Fields { records: &rows.records, offset, size };
            arrays.push(column_array(column, &fields, valid, interner, *kernel, collector)?);
        }
        RecordBatch::try_new(schema.clone(), arrays).context("columns that do not fit their schema")
    }
}

/// What each record is of, and what its probe ran in.
fn subjects(rows: &Rows, contexts: &ArrayRef) -> Result<(ArrayRef, ArrayRef, ArrayRef)> {
    let all: Vec<u64> = rows.records.iter().map(|record| subject_of(record)).collect();
    let numbers = |number: fn(u64) -> Option<u32>| {
        let values = all.iter().map(|subject| number(*subject).unwrap_or(0)).collect();
        primitive::<UInt32Type>(values, valid(&all, |subject| number(subject).is_some()))
    };
    let known = valid(&all, |subject| subject::context(subject).is_some());
    let key = |subject: &u64| subject::context(*subject).map_or(0, |_| (subject >> subject::SHIFT) as i32);
    let keys = PrimitiveArray::<Int32Type>::new(all.iter().map(key).collect(), known);
    let ctx = DictionaryArray::try_new(keys, contexts.clone()).context("contexts without names")?;
    Ok((Arc::new(ctx), numbers(subject::pid), numbers(subject::tid)))
}

fn valid(subjects: &[u64], is_valid: impl Fn(u64) -> bool) -> Option<NullBuffer> {
    let valid = NullBuffer::new(BooleanBuffer::collect_bool(subjects.len(), |i| is_valid(subjects[i])));
    (valid.null_count() > 0).then_some(valid)
}

fn subject_of(record: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes_at(record, std::mem::offset_of!(RecordHeader, pid_tgid)))
}

/// One column in all records.
struct Fields<'a> {
    records: &'a [&'a [u8]],
    offset: usize,
    size: usize,
}

impl<'a> Fields<'a> {
    fn iter(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.records.iter().map(|record| &record[self.offset..self.offset + self.size])
    }

    fn arrays<const N: usize>(&self) -> impl Iterator<Item = [u8; N]> + '_ {
        self.records.iter().map(|record| bytes_at(record, self.offset))
    }

    fn ints<const N: usize, T>(&self, read: impl Fn([u8; N]) -> T) -> Vec<T> {
        self.arrays().map(read).collect()
    }

    /// With the process of the record.
    fn with_pid(&self) -> impl Iterator<Item = (u32, &'a [u8])> + '_ {
        self.records.iter().map(|record| {
            // A stack of user space has a process; of others it does not matter.
            let pid = subject::pid(subject_of(record)).unwrap_or(0);
            (pid, &record[self.offset..self.offset + self.size])
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(values: Vec<T::Native>, valid: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), valid))
}

fn is_valid(valid: &Option<NullBuffer>, row: usize) -> bool {
    valid.as_ref().is_none_or(|valid| valid.is_valid(row))
}

fn column_array(
    column: &Column,
    fields: &Fields<'_>,
    valid: Option<NullBuffer>,
    interner: &mut Interner,
    kernel: Space,
    collector: &mut Collector,
) -> Result<ArrayRef> {
    Ok(match &column.ty {
        Type::Unsigned(8) | Type::Hex(8) => primitive::<UInt8Type>(fields.ints(u8::from_ne_bytes), valid),
        Type::Unsigned(16) | Type::Hex(16) => primitive::<UInt16Type>(fields.ints(u16::from_ne_bytes), valid),
        Type::Unsigned(32) | Type::Hex(32) => primitive::<UInt32Type>(fields.ints(u32::from_ne_bytes), valid),
        Type::Unsigned(_) | Type::Hex(_) => {
            let values = fields.ints(u64::from_ne_bytes);
            if column.name == "cgroup_id" {
                meet(&values, &valid, |id| collector.cgroup(id));
            }
            primitive::<UInt64Type>(values, valid)
        }
        Type::Signed(8) => primitive::<Int8Type>(fields.ints(i8::from_ne_bytes), valid),
        Type::Signed(16) => primitive::<Int16Type>(fields.ints(i16::from_ne_bytes), valid),
        Type::Signed(32) => primitive::<Int32Type>(fields.ints(i32::from_ne_bytes), valid),
        Type::Signed(_) => primitive::<Int64Type>(fields.ints(i64::from_ne_bytes), valid),
        Type::Sym => {
            let values = fields.ints(u64::from_ne_bytes);
            meet(&values, &valid, |addr| collector.address(addr));
            primitive::<UInt64Type>(values, valid)
        }
        Type::Bool => Arc::new(BooleanArray::new(fields.iter().map(|f| f[0] != 0).collect(), valid)),
        Type::Chars(n) => dictionary(fields, valid, interner, |raw| text(raw, usize::from(*n)).into_owned())?,
        Type::Enum(names) => dictionary(fields, valid, interner, |raw| enum_text(names, raw))?,
        Type::KernelEnum(_) => dictionary(fields, valid, interner, |raw| enum_text(&[], raw))?,
        Type::Ip4 => {
            dictionary(fields, valid, interner, |raw| Ipv4Addr::from(bytes_at::<4>(raw, 0)).to_string())?
        }
        Type::Ip6 => {
            dictionary(fields, valid, interner, |raw| Ipv6Addr::from(bytes_at::<16>(raw, 0)).to_string())?
        }
        Type::Ip => {
            let known = fields.iter().map(|f| WireIp::read(f).has_known_family());
            let known = NullBuffer::new(known.collect());
            let valid = match NullBuffer::union(valid.as_ref(), Some(&known)) {
                Some(valid) if valid.null_count() == 0 => None,
                valid => valid,
            };
            dictionary(fields, valid, interner, |raw| WireIp::read(raw).text())?
        }
        Type::Str(n) | Type::UserStr(n) => {
            let most = usize::from(*n);
            utf8(fields, valid, |raw, out| out.extend_from_slice(text(raw, most).as_bytes()))
        }
        Type::Mac => utf8(fields, valid, |raw, out| {
            for (i, byte) in raw.iter().enumerate() {
                if i > 0 {
                    out.push(b':');
                }
                out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
            }
        }),
        Type::Bytes(_) | Type::Numbers(..) => binary(fields, valid, |raw| raw),
        Type::Some(most) | Type::UserSome(most) => binary(fields, valid, |raw| some_bytes(raw, *most).0),
        Type::Argv(most) => utf8(fields, valid, |raw, out| {
            let (raw, is_cut) = some_bytes(raw, *most);
            words(raw, is_cut, out);
        }),
        Type::KernelStack(_) => stack_ids(fields, valid, |_, frames| collector.stack(kernel, frames)),
        Type::UserStack(_) => {
            stack_ids(fields, valid, |pid, frames| collector.stack(Space::User(pid), frames))
        }
    })
}

/// The bytes of a value that says how many they are, at most `most`, and whether there were more.
fn some_bytes(raw: &[u8], most: u16) -> (&[u8], bool) {
    let length = u16::from_ne_bytes(bytes_at(raw, 0));
    (&raw[2..2 + usize::from(length.min(most))], length > most)
}

fn meet(values: &[u64], valid: &Option<NullBuffer>, mut visit: impl FnMut(u64)) {
    match valid {
        None => values.iter().for_each(|&value| visit(value)),
        Some(valid) => valid.valid_indices().for_each(|row| visit(values[row])),
    }
}

fn enum_text(names: &[(i32, String)], raw: &[u8]) -> String {
    let value = i32::from_ne_bytes(bytes_at(raw, 0));
    names.iter().find(|(v, _)| *v == value).map_or_else(|| value.to_string(), |(_, name)| name.clone())
}

/// A value of [`Type::Ip`] on the wire.
struct WireIp<'a> {
    family: u16,
    raw: &'a [u8],
}

impl<'a> WireIp<'a> {
    fn read(raw: &'a [u8]) -> Self {
        Self { family: u16::from_ne_bytes(bytes_at(raw, usize::from(IP_FAMILY_OFFSET))), raw }
    }

    fn has_known_family(&self) -> bool {
        matches!(self.family, FAMILY_INET | FAMILY_INET6)
    }

    fn text(&self) -> String {
        if self.family == FAMILY_INET {
            Ipv4Addr::from(bytes_at::<4>(self.raw, 0)).to_string()
        } else {
            Ipv6Addr::from(bytes_at::<16>(self.raw, 0)).to_string()
        }
    }
}

fn dictionary(
    fields: &Fields<'_>,
    valid: Option<NullBuffer>,
    interner: &mut Interner,
    text: impl Fn(&[u8]) -> String,
) -> Result<ArrayRef> {
    interner.begin_batch();
    let keys = match fields.size {
        4 => keys(fields.arrays::<4>(), &valid, interner, text),
        16 => keys(fields.arrays::<16>(), &valid, interner, text),
        _ => keys(fields.iter(), &valid, interner, text),
    };
    let keys = PrimitiveArray::<Int32Type>::new(keys.into(), valid);
    let values = interner.values();
    let array = DictionaryArray::try_new(keys, values).context("dictionary keys without values")?;
    Ok(Arc::new(array))
}

#[inline(always)]
fn keys<'a>(
    raw: impl Iterator<Item = impl AsRef<[u8]> + 'a>,
    valid: &Option<NullBuffer>,
    interner: &mut Interner,
    text: impl Fn(&[u8]) -> String,
) -> Vec<i32> {
    match valid {
        None => raw.map(|raw| interner.key(raw.as_ref(), &text)).collect(),
        Some(valid) => raw
            .zip(valid)
            .map(|(raw, is_valid)| if is_valid { interner.key(raw.as_ref(), &text) } else { 0 })
            .collect(),
    }
}

fn variable(
    fields: &Fields<'_>,
    valid: &Option<NullBuffer>,
    append: impl Fn(&[u8], &mut Vec<u8>),
) -> (OffsetBuffer<i32>, Vec<u8>) {
    let mut offsets = vec![0];
    let mut values = Vec::new();
    for (row, raw) in fields.iter().enumerate() {
        if is_valid(valid, row) {
            append(raw, &mut values);
        }
        offsets.push(values.len() as i32);
    }
    (OffsetBuffer::new(offsets.into()), values)
}

fn utf8(fields: &Fields<'_>, valid: Option<NullBuffer>, append: impl Fn(&[u8], &mut Vec<u8>)) -> ArrayRef {
    let (offsets, values) = variable(fields, &valid, append);
    Arc::new(StringArray::new(offsets, Buffer::from_vec(values), valid))
}

fn binary(fields: &Fields<'_>, valid: Option<NullBuffer>, of: impl Fn(&[u8]) -> &[u8]) -> ArrayRef {
    let (offsets, values) = variable(fields, &valid, |raw, out| out.extend_from_slice(of(raw)));
    Arc::new(BinaryArray::new(offsets, Buffer::from_vec(values), valid))
}

type Frames<'a> = std::iter::Map<std::slice::ChunksExact<'a, u8>, fn(&[u8]) -> u64>;

/// On the wire: bytes of the frames that follow, or -errno.
fn stack_ids(
    fields: &Fields<'_>,
    valid: Option<NullBuffer>,
    mut id: impl FnMut(u32, Frames<'_>) -> i64,
) -> ArrayRef {
    let ids: PrimitiveArray<Int64Type> = fields
        .with_pid()
        .enumerate()
        .map(|(row, (pid, raw))| {
            let length = i64::from_ne_bytes(bytes_at(raw, 0));
            let length = usize::try_from(length).unwrap_or(0).min(raw.len() - 8) / 8 * 8;
            (length > 0 && is_valid(&valid, row)).then(|| {
                let read: fn(&[u8]) -> u64 = |frame| u64::from_ne_bytes(bytes_at(frame, 0));
                id(pid, raw[8..8 + length].chunks_exact(8).map(read))
            })
        })
        .collect();
    Arc::new(ids)
}
