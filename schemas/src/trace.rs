//! A trace on disk: its directory, `trace.json`, and the tables that every trace has beside its events.
//!
//! ```text
//! run.trace/
//!   trace.json                      Meta, written once
//!   log.jsonl                       which segments the trace consists of, and how it ended
//!   EVENT/000000.parquet ...        segments: sorted by ts, never changed
//!   losses/ counts/ clock/ probes/ stacks/ symbols/ cgroups/     side tables, segments likewise
//! ```
//! docs/trace-format.md tells all.

use std::collections::HashMap;

use arrow_schema::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::column::{Layout, field, text_dictionary, timestamp, typed};

pub mod log;
mod losses;
pub mod read;
pub mod sums;

pub use losses::{LATE, LOSS_REASONS, LossReason, losses_markdown};

/// Version of the format; readers refuse a larger one.
pub const FORMAT_VERSION: u32 = 2;
/// Name of the file that makes a directory a trace.
pub const META_FILE: &str = "trace.json";
/// Ending of the names that the recorder gives to traces.
pub const TRACE_SUFFIX: &str = ".trace";
/// Ending of a segment that can be read.
pub const SEGMENT_SUFFIX: &str = ".parquet";
/// The side table that has one segment with all rows: a newer one takes its place.
pub const PROBES: &str = "probes";
/// Kind, in table `probes`, of what no probe of this recording sees: a way into an event, which `target` names.
pub const NOT_OBSERVED: &str = "not observed";
/// The event that tells who a process is: what others name is kept longer than its time.
pub const PROCESSES: &str = "processes";
/// The event that tells what a cgroup id stands for: table `cgroups` is made from it.
pub const CGROUP_CHANGES: &str = "cgroup_changes";

/// Key in a segment's Parquet metadata: its table as JSON (`doc`, and `columns` with `name`, `type`, `unit`, `doc`),
/// for readers that do not decode the Arrow schema.
pub const TABLE_KEY: &str = "ktape.table";
/// Key in a segment's Parquet metadata, value `true`: its rows came late and lie between those of other segments.
pub const LATE_KEY: &str = "ktape.late";

/// How a recording ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Being written, or the recorder died: up to a second may be missing at the end.
    #[default]
    Open,
    /// Ended well.
    Closed,
    /// The recorder died; `recorder compact` has tidied it up since.
    Recovered,
}

/// `trace.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Version of the recorder.
    pub recorder_version: String,
    /// How it ended. This and the other keys that change while recording are in the log, not in `trace.json`, which has
    /// them in format 1.
    #[serde(default, skip_serializing)]
    pub state: State,
    /// Name of the machine.
    pub host: String,
    /// `uname -r`.
    pub kernel_release: String,
    /// `uname -m`.
    pub machine: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Number of possible CPUs.
    pub cpus: u32,
    /// UTC nanoseconds = CLOCK_BOOTTIME nanoseconds + this, for every `ts` of the trace.
    pub utc_minus_boottime_ns: i64,
    /// UTC nanoseconds of the start of the recording: every probe was attached. In `trace.json`, when the recorder
    /// started.
    pub start_ns: i64,
    /// UTC nanoseconds of the end, if it ended well.
    #[serde(default, skip_serializing)]
    pub end_ns: Option<i64>,
    /// The recorder's command line.
    pub command_line: Vec<String>,
    /// Exit code of the command that was run, if there was one.
    #[serde(default, skip_serializing)]
    pub command_exit_code: Option<i32>,
    /// Process id of the recorder.
    pub recorder_pid: u32,
    /// What was recorded: the event tables of this trace.
    pub events: Vec<Layout>,
    /// UTC nanoseconds from which on every row is there, if older ones were removed while recording.
    #[serde(default, skip_serializing)]
    pub kept_from_ns: Option<i64>,
    /// Names of allocation flags (`gfp`) on the recorded kernel, in the order in which it looks for them, if `kmem` was
    /// recorded and the kernel says them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gfp_flags: Vec<(u64, String)>,
    /// Of what and why this trace is a snapshot, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
}

impl Meta {
    /// The text of `trace.json`, with its own CRC at the end. Fails if it cannot be written as JSON.
    pub fn to_text(&self) -> anyhow::Result<String> {
        let json = serde_json::to_string_pretty(self)?;
        sums::sealed(&json).ok_or_else(|| anyhow::anyhow!("the description of a trace is no JSON object"))
    }
}

/// A snapshot says what it was taken of and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Who asked for it.
    pub by: FrozenBy,
    /// The signal, or the trigger as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The event that set the trigger off: its columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<serde_json::Value>,
    /// The trace that was being recorded.
    pub from: String,
}

/// What makes a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrozenBy {
    /// A signal to the recorder.
    Signal,
    /// `recorder snapshot`.
    Command,
    /// An event that matched a `--trigger`.
    Trigger,
}

/// A side table: name, what it is, and its schema.
pub struct SideTable {
    /// Name of the table and its directory.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its columns.
    pub schema: fn() -> Schema,
}

/// The tables that every trace has beside its events.
pub const SIDE_TABLES: &[SideTable] = &[
    SideTable {
        name: "counts",
        summary: "per interval (about a second), probe and cpu with any activity: fired = filtered + seen, seen = recorded + lost",
        schema: counts,
    },
    SideTable {
        name: "losses",
        summary: "per interval (about a second), probe, cpu and reason: what is missing or incomplete in the event tables",
        schema: losses,
    },
    SideTable {
        name: "clock",
        summary: "offset of the wall clock to the boot clock over time, and each step of the wall clock",
        schema: clock,
    },
    SideTable { name: PROBES, summary: "every probe tried: attached or why not", schema: probes },
    SideTable { name: "stacks", summary: "each distinct stack once", schema: stacks },
    SideTable {
        name: "symbols",
        summary: "name of each code address in stacks and sym columns",
        schema: symbols,
    },
    SideTable {
        name: "cgroups",
        summary: "path and container of each cgroup id in column cgroup_id",
        schema: cgroups,
    },
];

/// The value of [`TABLE_KEY`] for a table with that schema.
pub fn table_json(schema: &Schema) -> String {
    let text = |metadata: &HashMap<String, String>, key: &str| metadata.get(key).cloned();
    let columns: Vec<serde_json::Value> = schema
        .fields()
        .iter()
        .map(|field| {
            let ty = text(field.metadata(), "ktape_type").unwrap_or_else(|| field.data_type().to_string());
            serde_json::json!({
                "name": field.name(),
                "type": ty,
                "unit": text(field.metadata(), "unit"),
                "doc": text(field.metadata(), "doc"),
            })
        })
        .collect();
    serde_json::json!({ "doc": text(schema.metadata(), "doc"), "columns": columns }).to_string()
}

fn ns(name: &str, doc: &str) -> Field {
    field(name, timestamp(), false, Some("ns"), doc)
}

fn text(name: &str, doc: &str) -> Field {
    field(name, text_dictionary(), false, None, doc)
}

fn number(name: &str, doc: &str) -> Field {
    field(name, DataType::Int64, false, None, doc)
}

fn probe_columns() -> [Field; 5] {
    [
        ns("ts", "end of the interval"),
        field(
            "since_ts",
            timestamp(),
            true,
            Some("ns"),
            "beginning of the interval: about a second before its end, more while the recorder was held up; NULL in \
             traces of older recorders, a second then",
        ),
        text("event", "event table"),
        field("probe", DataType::UInt16, false, None, "row of table probes"),
        field(
            "cpu",
            DataType::UInt16,
            true,
            None,
            "processor; NULL where the kernel counts for all together",
        ),
    ]
}

fn counts() -> Schema {
    let own = [
        number(
            "fired",
            "times the probe ran, or was skipped by the kernel (cpu NULL); can be ahead of filtered + seen by what runs \
             at that moment",
        ),
        number("filtered", "times the filter said no"),
        number("seen", "events that passed the filter: recorded + lost"),
        number(
            "recorded",
            "rows in the event table; negative where a failing disk takes back what was counted before",
        ),
        number("lost", "events that passed the filter and are missing; table losses has the reasons"),
    ];
    Schema::new(probe_columns().into_iter().chain(own).collect::<Vec<_>>())
}

fn losses() -> Schema {
    let own = [
        text("reason", "why; docs/losses.md explains each"),
        field(
            "count",
            DataType::Int64,
            true,
            None,
            "how many in this interval; NULL: this kernel cannot tell",
        ),
    ];
    Schema::new(probe_columns().into_iter().chain(own).collect::<Vec<_>>())
}

fn clock() -> Schema {
    Schema::new(vec![
        ns("ts", "when it was read, on the trace's own time scale"),
        field("boottime_ns", DataType::Int64, false, Some("ns"), "CLOCK_BOOTTIME"),
        field(
            "utc_minus_boottime_ns",
            DataType::Int64,
            false,
            Some("ns"),
            "CLOCK_REALTIME - CLOCK_BOOTTIME from then on; trace.json has the one used for ts",
        ),
        field(
            "step_ns",
            DataType::Int64,
            true,
            Some("ns"),
            "how far the wall clock was set forward (or back, if negative) at ts; NULL in the regular rows",
        ),
        field(
            "boottime_minus_monotonic_ns",
            DataType::Int64,
            true,
            Some("ns"),
            "CLOCK_BOOTTIME - CLOCK_MONOTONIC: how long the machine has been suspended since it was started (to some 100 ns)",
        ),
    ])
}

fn probes() -> Schema {
    Schema::new(vec![
        field("probe", DataType::UInt16, true, None, "number used in the event tables; NULL if not attached"),
        text("event", "event table"),
        text("source", "name of the source in the event's definition"),
        text(
            "kind",
            "mechanism: tp_btf, raw_tp, fentry, fexit, kprobe, kretprobe, tracepoint, uprobe, uretprobe, snapshot; 'not \
             observed': a way into the event that no probe of this recording sees",
        ),
        field(
            "target",
            DataType::Utf8,
            false,
            None,
            "function or tracepoint, or the way that is not observed",
        ),
        field("attached", DataType::Boolean, false, None, "is this the one that was used"),
        field(
            "reason",
            DataType::Utf8,
            true,
            None,
            "why it was not attached, or what is to be known about it",
        ),
        field("attached_ts", timestamp(), true, Some("ns"), "when it began to see: the same for all"),
        field(
            "detached_ts",
            timestamp(),
            true,
            Some("ns"),
            "when it was detached; NULL while recording or after a crash",
        ),
        field("program", DataType::Utf8, true, None, "filter and columns, as the recorder understood them"),
    ])
}

fn stacks() -> Schema {
    let frame = Field::new("item", DataType::UInt64, false);
    Schema::new(vec![
        typed("kstack", field("stack_id", DataType::Int64, false, None, "hash of the frames")),
        text("space", "kernel or user"),
        field("pid", DataType::UInt32, true, None, "process of a user stack"),
        typed(
            "sym",
            field("frames", DataType::List(frame.into()), false, None, "return addresses, innermost first"),
        ),
    ])
}

fn symbols() -> Schema {
    Schema::new(vec![
        typed(
            "sym",
            field("addr", DataType::UInt64, false, None, "code address, as in stacks.frames and sym columns"),
        ),
        text("name", "function, or the address in hexadecimal if unknown"),
        field("offset_bytes", DataType::Int64, false, Some("bytes"), "addr minus start of the function"),
        field(
            "module",
            text_dictionary(),
            true,
            None,
            "kernel module or mapped file; NULL for the kernel itself",
        ),
    ])
}

fn cgroups() -> Schema {
    Schema::new(vec![
        field(
            "cgroup_id",
            DataType::UInt64,
            false,
            None,
            "as in event tables: inode of the cgroup directory; the kernel uses none twice",
        ),
        field(
            "path",
            DataType::Utf8,
            true,
            None,
            "path in the hierarchy; NULL if nothing told it (docs/trace-format.md)",
        ),
        field(
            "container_id",
            text_dictionary(),
            true,
            None,
            "container id found in the path (docker, containerd, crio, podman)",
        ),
    ])
}
