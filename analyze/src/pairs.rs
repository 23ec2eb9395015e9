//! Rows of `kmem` in order of time go in; allocations and frees come out paired by pointer.
//!
//! One row per allocation, and one per free that matches none. For each pointer only its last event is kept, so memory
//! grows with the number of different pointers, not of events. At equal times frees come before allocations.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use anyhow::{Context, Result};
use arrow_array::builder::{StringBuilder, StringDictionaryBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use schemas::column::{field, text_dictionary, timestamp, typed};
use std::sync::Arc;

use crate::provider::{NUMBER, Source};
use crate::trace::names::{HOST, TRACE};

/// Columns read from `kmem`; those that a trace does not have are NULL.
pub const INPUT: &[&str] = &[
    "ts",
    "kind",
    "ptr",
    "pid",
    "comm",
    "call_site",
    "via",
    "cache",
    "bytes_req",
    "bytes_alloc",
    "kstack",
    TRACE,
    HOST,
    NUMBER,
];
/// Bytes that a pointer takes in the table of last events, and an allocation in the table of live ones.
const POINTER_BYTES: usize = 32;

/// Schema of `kmem_pairs`.
pub fn schema(source: Source) -> SchemaRef {
    let column = |name, ty, unit, doc| field(name, ty, true, unit, doc);
    let mut fields: Vec<Field> = vec![
        column("ts", timestamp(), Some("ns"), "time of the allocation, or of a free that matches none"),
        column(
            "class",
            text_dictionary(),
            None,
            "paired, free_missed, outstanding; alloc_before_recording, alloc_missed for frees that match no allocation",
        ),
        column(
            "end_ts",
            timestamp(),
            Some("ns"),
            "time of the free (paired) or of the next allocation (free_missed)",
        ),
        typed("x64", column("ptr", DataType::UInt64, None, "address of the object")),
        column("pid", DataType::UInt32, None, "process that allocated, or freed if there is no allocation"),
        column("comm", text_dictionary(), None, "its name"),
        typed("sym", column("call_site", DataType::UInt64, None, "code address of the caller")),
        column("via", text_dictionary(), None, "kmalloc, cache or bulk"),
        column("cache", DataType::Utf8, None, "slab cache; NULL for kmalloc"),
        column("bytes_req", DataType::Int64, Some("bytes"), "size asked for"),
        column("bytes_alloc", DataType::Int64, Some("bytes"), "size taken"),
        typed(
            "kstack",
            column("kstack", DataType::Int64, None, "kernel stack of the allocation: row of table stacks"),
        ),
    ];
    fields.extend(source.fields());
    Arc::new(Schema::new(fields))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Paired,
    FreeMissed,
    Outstanding,
    AllocBeforeRecording,
    AllocMissed,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::FreeMissed => "free_missed",
            Self::Outstanding => "outstanding",
            Self::AllocBeforeRecording => "alloc_before_recording",
            Self::AllocMissed => "alloc_missed",
        }
    }
}

/// An event as it is kept; texts are numbers into [`Texts`].
#[derive(Clone, Copy, Debug)]
struct Event {
    ts: i64,
    ptr: u64,
    call_site: Option<u64>,
    bytes_req: Option<i64>,
    bytes_alloc: Option<i64>,
    kstack: Option<i64>,
    pid: Option<u32>,
    comm: u32,
    via: u32,
    cache: u32,
    /// The text of column `trace`, or of the number of the trace.
    trace: u32,
    host: u32,
}

#[derive(Debug)]
struct Row {
    event: Event,
    class: Class,
    end_ts: Option<i64>,
}

/// Distinct texts; number 0 is NULL.
#[derive(Debug, Default)]
struct Texts {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
    bytes: usize,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.texts.push(text.to_owned());
        self.bytes += 2 * text.len() + 80;
        let number = self.texts.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        number
    }

    fn get(&self, number: u32) -> Option<&str> {
        let index = (number as usize).checked_sub(1)?;
        self.texts.get(index).map(String::as_str)
    }
}

/// Marks a pointer whose last event is a free.
const FREED: u32 = u32::MAX;

/// Pairs events; see the module.
#[derive(Debug, Default)]
pub struct Pairer {
    texts: Texts,
    /// (pointer, trace) to index in `live`, or [`FREED`].
    last: HashMap<(u64, u32), u32>,
    live: Vec<Event>,
    unused: Vec<u32>,
    /// Allocations at `now`: frees of the same time come first.
    waiting: Vec<Event>,
    now: i64,
    out: VecDeque<Row>,
}

impl Pairer {
    /// Take the next rows.
    ///
    /// Fails if a column has a type that it cannot have.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let input = Input::new(batch, &mut self.texts)?;
        let alloc = self.texts.number("alloc");
        for row in 0..batch.num_rows() {
            let Some((event, kind)) = input.event(row, &mut self.texts) else { continue };
            if event.ts != self.now {
                self.settle();
                self.now = event.ts;
            }
            if kind == alloc {
                self.waiting.push(event);
            } else {
                self.free(event);
            }
        }
        Ok(())
    }

    /// No more rows: what is live is outstanding.
    pub fn finish(&mut self) {
        self.settle();
        let mut live: Vec<u32> = self.last.values().copied().filter(|index| *index != FREED).collect();
        self.last = HashMap::new();
        live.sort_unstable_by_key(|i| self.live.get(*i as usize).map(|e| (e.ts, e.ptr)));
        let outstanding = live.iter().filter_map(|i| self.live.get(*i as usize));
        self.out.extend(outstanding.map(|e| Row { event: *e, class: Class::Outstanding, end_ts: None }));
    }

    /// Rows ready to be [taken](Self::take).
    pub fn ready(&self) -> usize {
        self.out.len()
    }

    /// Bytes in use, about.
    pub fn bytes(&self) -> usize {
        self.last.capacity() * POINTER_BYTES
            + (self.live.capacity() + self.waiting.capacity()) * size_of::<Event>()
            + self.out.capacity() * size_of::<Row>()
            + self.texts.bytes
    }

    fn settle(&mut self) {
        for event in std::mem::take(&mut self.waiting) {
            self.alloc(event);
        }
    }

    fn alloc(&mut self, event: Event) {
        match self.last.entry((event.ptr, event.trace)) {
            Entry::Occupied(entry) if *entry.get() != FREED => {
                if let Some(slot) = self.live.get_mut(*entry.get() as usize) {
                    let before = std::mem::replace(slot, event);
                    self.out.push_back(Row {
                        event: before,
                        class: Class::FreeMissed,
                        end_ts: Some(event.ts),
                    });
                }
            }
            entry => {
                let index = match self.unused.pop() {
                    Some(index) => {
                        self.live[index as usize] = event;
                        index
                    }
                    None => {
                        self.live.push(event);
                        (self.live.len() - 1) as u32
                    }
                };
                entry.insert_entry(index);
            }
        }
    }

    fn free(&mut self, event: Event) {
        let row = match self.last.insert((event.ptr, event.trace), FREED) {
            None => Row { event, class: Class::AllocBeforeRecording, end_ts: None },
            Some(FREED) => Row { event, class: Class::AllocMissed, end_ts: None },
            Some(index) => {
                self.unused.push(index);
                let Some(alloc) = self.live.get(index as usize) else { return };
                Row { event: *alloc, class: Class::Paired, end_ts: Some(event.ts) }
            }
        };
        self.out.push_back(row);
    }

    /// At most `rows` rows: the columns of [`schema`] that `projection` names.
    pub fn take(&mut self, rows: usize, schema: &SchemaRef) -> Result<RecordBatch> {
        let rows: Vec<Row> = self.out.drain(..rows.min(self.out.len())).collect();
        let columns: Result<Vec<ArrayRef>> =
            schema.fields().iter().map(|f| self.column(&rows, f.name())).collect();
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns?, &options)?)
    }

    fn column(&self, rows: &[Row], name: &str) -> Result<ArrayRef> {
        let times = |time: fn(&Row) -> Option<i64>| {
            Arc::new(rows.iter().map(time).collect::<TimestampNanosecondArray>().with_timezone("UTC"))
                as ArrayRef
        };
        let numbers = |number: fn(&Event) -> Option<i64>| {
            Arc::new(rows.iter().map(|r| number(&r.event)).collect::<Int64Array>()) as ArrayRef
        };
        let texts = |number: fn(&Event) -> u32| {
            let mut text = StringDictionaryBuilder::<Int32Type>::new();
            rows.iter().for_each(|r| text.append_option(self.texts.get(number(&r.event))));
            Arc::new(text.finish()) as ArrayRef
        };
        Ok(match name {
            "ts" => times(|r| Some(r.event.ts)),
            "end_ts" => times(|r| r.end_ts),
            "class" => {
                let mut text = StringDictionaryBuilder::<Int32Type>::new();
                rows.iter().for_each(|r| text.append_value(r.class.name()));
                Arc::new(text.finish())
            }
            "ptr" => Arc::new(rows.iter().map(|r| Some(r.event.ptr)).collect::<UInt64Array>()),
            "pid" => Arc::new(rows.iter().map(|r| r.event.pid).collect::<UInt32Array>()),
            "call_site" => Arc::new(rows.iter().map(|r| r.event.call_site).collect::<UInt64Array>()),
            "bytes_req" => numbers(|e| e.bytes_req),
            "bytes_alloc" => numbers(|e| e.bytes_alloc),
            "kstack" => numbers(|e| e.kstack),
            "comm" => texts(|e| e.comm),
            "via" => texts(|e| e.via),
            TRACE => texts(|e| e.trace),
            HOST => texts(|e| e.host),
            NUMBER => {
                let number = |row: &Row| self.texts.get(row.event.trace)?.parse().ok();
                Arc::new(rows.iter().map(number).collect::<Int32Array>())
            }
            "cache" => {
                let mut text = StringBuilder::new();
                rows.iter().for_each(|r| text.append_option(self.texts.get(r.event.cache)));
                Arc::new(text.finish())
            }
            other => anyhow::bail!("kmem_pairs has no column {other}"),
        })
    }
}

/// The columns of one batch; dictionaries are numbered once, not per row.
struct Input {
    ts: ArrayRef,
    ptr: ArrayRef,
    call_site: Option<ArrayRef>,
    bytes_req: Option<ArrayRef>,
    bytes_alloc: Option<ArrayRef>,
    kstack: Option<ArrayRef>,
    pid: Option<ArrayRef>,
    cache: Option<ArrayRef>,
    kind: Coded,
    comm: Coded,
    via: Coded,
    trace: Coded,
    host: Coded,
}

/// A dictionary column: keys, and for each value of the dictionary its number in [`Texts`].
struct Coded {
    array: Option<ArrayRef>,
    numbers: Vec<u32>,
}

impl Coded {
    fn new(batch: &RecordBatch, name: &str, texts: &mut Texts) -> Result<Self> {
        let Some(column) = batch.column_by_name(name) else {
            return Ok(Self { array: None, numbers: Vec::new() });
        };
        let array = cast(column, &text_dictionary())?;
        let values = array.as_dictionary::<Int32Type>().values().clone();
        let values = values.as_string_opt::<i32>().context("a dictionary is not of text")?;
        let numbers = values.iter().map(|v| v.map_or(0, |v| texts.number(v))).collect();
        Ok(Self { array: Some(array), numbers })
    }

    fn get(&self, row: usize) -> u32 {
        let Some(array) = &self.array else { return 0 };
        let keys = array.as_dictionary::<Int32Type>().keys();
        if keys.is_null(row) {
            return 0;
        }
        self.numbers.get(keys.value(row) as usize).copied().unwrap_or(0)
    }
}

impl Input {
    fn new(batch: &RecordBatch, texts: &mut Texts) -> Result<Self> {
        let optional =
            |name: &str, ty: DataType| batch.column_by_name(name).map(|c| cast(c, &ty)).transpose();
        let ts = optional("ts", timestamp())?.context("kmem has no column ts")?;
        Ok(Self {
            ts: cast(&ts, &DataType::Int64)?,
            ptr: optional("ptr", DataType::UInt64)?.context("kmem has no column ptr")?,
            call_site: optional("call_site", DataType::UInt64)?,
            bytes_req: optional("bytes_req", DataType::Int64)?,
            bytes_alloc: optional("bytes_alloc", DataType::Int64)?,
            kstack: optional("kstack", DataType::Int64)?,
            pid: optional("pid", DataType::UInt32)?,
            cache: optional("cache", DataType::Utf8)?,
            kind: Coded::new(batch, "kind", texts)?,
            comm: Coded::new(batch, "comm", texts)?,
            via: Coded::new(batch, "via", texts)?,
            trace: Coded::new(
                batch,
                if batch.column_by_name(NUMBER).is_some() { NUMBER } else { TRACE },
                texts,
            )?,
            host: Coded::new(batch, HOST, texts)?,
        })
    }

    /// Row `row` and its kind; `None` without time, kind or pointer.
    fn event(&self, row: usize, texts: &mut Texts) -> Option<(Event, u32)> {
        let signed = |column: &Option<ArrayRef>| {
            let column = column.as_ref()?.as_primitive::<Int64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        let unsigned = |column: &ArrayRef| {
            let column = column.as_primitive::<UInt64Type>();
            column.is_valid(row).then(|| column.value(row))
        };
        let cache = self.cache.as_ref().map(|c| c.as_string::<i32>()).filter(|c| c.is_valid(row));
        let ts = self.ts.as_primitive::<Int64Type>();
        let kind = self.kind.get(row);
        let ptr = unsigned(&self.ptr).filter(|ptr| *ptr != 0)?;
        if ts.is_null(row) || kind == 0 {
            return None;
        }
        let event = Event {
            ts: ts.value(row),
            ptr,
            call_site: self.call_site.as_ref().and_then(unsigned),
            bytes_req: signed(&self.bytes_req),
            bytes_alloc: signed(&self.bytes_alloc),
            kstack: signed(&self.kstack),
            pid: self.pid.as_ref().and_then(|c| {
                let column = c.as_primitive::<UInt32Type>();
                column.is_valid(row).then(|| column.value(row))
            }),
            comm: self.comm.get(row),
            via: self.via.get(row),
            cache: cache.map_or(0, |c| texts.number(c.value(row))),
            trace: self.trace.get(row),
            host: self.host.get(row),
        };
        Some((event, kind))
    }
}
