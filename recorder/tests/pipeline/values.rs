//! Synthetic records through the whole pipeline and back, without a kernel.

use crate::common::*;
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, RecordBatch};
use recorder::pipeline::{End, Options, RecordBuilder, TraceWriter};
use recorder::source::ProbeCounters;
use schemas::column::Layout;
use schemas::wire::{Counters, lost};

const UTC: i64 = 1_700_000_000_000_000_000;

fn every_type() -> Layout {
    layout(
        "every",
        &[
            ("a_u8", "u8"),
            ("a_s16", "s16"),
            ("a_x32", "x32"),
            ("a_u64", "u64"),
            ("a_s64", "s64"),
            ("flag", "bool"),
            ("comm", "char[16]"),
            ("path", "string[8]"),
            ("upath", "ustring[8]"),
            ("ip4", "ip4"),
            ("ip6", "ip6"),
            ("ip", "ip"),
            ("mac", "mac"),
            ("site", "sym"),
            ("raw", "hex[3]"),
            ("numbers", "s16[3]"),
            ("some", "bytes[4]"),
            ("of_user", "ubytes[4]"),
            ("args", "argv[40]"),
            ("cut_args", "argv[4]"),
            ("what", "enum(listen,stop=7)"),
            ("kstack", "kstack[4]"),
            ("ustack", "ustack[4]"),
        ],
    )
}

fn full_row(layout: &Layout, ts: u64) -> RecordBuilder<'_> {
    RecordBuilder::new(layout, ts)
        .task(42, 43)
        .set_u64("a_u8", 200)
        .set_i64("a_s16", -5)
        .set_u64("a_x32", 0xdead_beef)
        .set_u64("a_u64", u64::MAX)
        .set_i64("a_s64", i64::MIN)
        .set_u64("flag", 1)
        .set_text("comm", "redis-server")
        .set_text("path", "/a/longer/one")
        .set_bytes("upath", b"a\xffb\0old")
        .set_ip("ip4", "10.0.0.1".parse().unwrap())
        .set_ip("ip6", "fe80::1".parse().unwrap())
        .set_ip("ip", "::1".parse().unwrap())
        .set_bytes("mac", &[0, 0x1b, 0x21, 0xff, 0, 9])
        .set_u64("site", 0xffff_0010)
        .set_bytes("raw", &[1, 2, 3])
        .set_bytes("numbers", &[1, 0, 0xff, 0xff, 0, 0x80])
        // Six there were, of which four are recorded.
        .set_bytes("some", &[6, 0, 9, 8, 7, 6])
        .set_bytes("of_user", &[2, 0, 0, 0xff])
        // The first byte of an é is the last one that there is room for.
        .set_bytes("cut_args", b"\x09\0a\0b\xc3")
        .set_bytes("args", b"\x21\0ls\0-l\0a b\0\0it's\0caf\xc3\xa9\0\xff\0$x\0\'\0last")
        .set_text("what", "stop")
        .set_stack("kstack", &[0xffff_0020, 0xffff_0030])
        .set_stack("ustack", &[0x1000])
}

pub fn text(batch: &RecordBatch, name: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(name).unwrap();
    let column = arrow_cast_text(column);
    let column = column.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row).to_owned())
}

#[test]
fn values_of_every_type_are_read_back_and_what_is_not_set_is_null() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = every_type();
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], UTC), replay_options()).unwrap();
    writer.add_probe(probe(0, "every")).unwrap();
    writer.feed(0, 3, &full_row(&layout, 1000).seq(5).build()).unwrap();
    let second = RecordBuilder::new(&layout, 2000).set_u64("a_u8", 1).fault("a_u8").set_i64("what", 3).seq(6);
    writer.feed(0, 3, &second.build()).unwrap();
    let third = RecordBuilder::new(&layout, 3000)
        .set_bytes("ip", &[9; 20])
        .set_bytes("kstack", &(-14i64).to_ne_bytes());
    writer.feed(0, 3, &third.seq(7).build()).unwrap();
    let summary = writer.close(End::default()).unwrap();
    assert!(summary.failure.is_none() && summary.not_compacted.is_none(), "{summary:?}");
    assert_eq!(summary.events["every"].recorded, 3);

    let batch = read_table(&dir, "every");
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(batch.schema().fields(), layout.schema().fields());
    let value = |name: &str| batch.column_by_name(name).unwrap().clone();
    let ts = value("ts");
    let ts = ts.as_primitive::<TimestampNanosecondType>();
    assert_eq!(ts.values(), &[UTC + 1000, UTC + 2000, UTC + 3000]);
    assert_eq!(value("pid").as_primitive::<UInt32Type>().value(0), 42);
    assert_eq!(value("tid").as_primitive::<UInt32Type>().value(0), 43);
    assert_eq!(value("cpu").as_primitive::<UInt16Type>().value(0), 3);
    assert_eq!(value("seq").as_primitive::<UInt64Type>().values(), &[5, 6, 7]);
    assert_eq!(value("a_u8").as_primitive::<UInt8Type>().value(0), 200);
    assert_eq!(value("a_s16").as_primitive::<Int16Type>().value(0), -5);
    assert_eq!(value("a_x32").as_primitive::<UInt32Type>().value(0), 0xdead_beef);
    assert_eq!(value("a_u64").as_primitive::<UInt64Type>().value(0), u64::MAX);
    assert_eq!(value("a_s64").as_primitive::<Int64Type>().value(0), i64::MIN);
    assert!(value("flag").as_boolean().value(0));
    assert_eq!(value("raw").as_binary::<i32>().value(0), [1, 2, 3]);
    assert_eq!(value("numbers").as_binary::<i32>().value(0), [1, 0, 0xff, 0xff, 0, 0x80]);
    assert_eq!(value("some").as_binary::<i32>().value(0), [9, 8, 7, 6]);
    assert_eq!(value("of_user").as_binary::<i32>().value(0), [0, 0xff]);
    for (name, expected) in [
        ("comm", "redis-server"),
        ("path", "/a/longe"),
        ("upath", "a\\xffb"),
        ("ip4", "10.0.0.1"),
        ("ip6", "fe80::1"),
        ("ip", "::1"),
        ("mac", "00:1b:21:ff:00:09"),
        ("what", "stop"),
        ("cut_args", "a b"),
        ("args", r"ls -l 'a b' '' 'it'\''s' café '\xff' '$x' ''\''' last"),
    ] {
        assert_eq!(text(&batch, name, 0).as_deref(), Some(expected), "column {name}");
    }
    assert_eq!(text(&batch, "what", 1).as_deref(), Some("3"), "an unknown enum value is its number");
    // Nothing but `what` is set in row 1: a_u8 was set and faulted.
    for (i, field) in
        layout.schema().fields().iter().enumerate().skip(schemas::column::standard_fields().len())
    {
        assert_eq!(batch.column(i).is_null(1), field.name() != "what", "column {}", field.name());
    }
    assert!(value("ip").is_null(2) && value("kstack").is_null(2), "unknown family, -errno");
    let cuts = ["path", "some", "cut_args"]
        .iter()
        .fold(0, |cuts, name| cuts | 1 << layout.column(name).unwrap().bit);
    assert_eq!(value("cuts").as_primitive::<UInt32Type>().values(), &[cuts, 0, 0]);
    assert_eq!(value("faults").as_primitive::<UInt32Type>().values(), &[0, 1, 0]);

    let stacks = read_table(&dir, "stacks");
    assert_eq!(stacks.num_rows(), 2);
    let kernel = value("kstack").as_primitive::<Int64Type>().value(0);
    assert_eq!(stacks.column(0).as_primitive::<Int64Type>().value(0), kernel);
    let frames = stacks.column(3).as_list::<i32>().value(0);
    assert_eq!(frames.as_primitive::<UInt64Type>().values(), &[0xffff_0020, 0xffff_0030]);
    assert_eq!(read_table(&dir, "symbols").num_rows(), 3, "the sym column and two frames, no user address");
}

#[test]
fn counts_add_up_to_the_rows_and_every_loss_has_its_row() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = layout("tick", &[("value", "u64")]);
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), replay_options()).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    writer.add_probe(recorder::pipeline::ProbeRow { kind: "snapshot".into(), ..probe(1, "tick") }).unwrap();
    let second = 1_000_000_000;
    let mut counters = Counters::default();
    writer.feed(1, 0, &RecordBuilder::new(&layout, 1).build()).unwrap();
    for i in 0..5000u64 {
        counters.fired += 3;
        counters.filtered += 1;
        counters.recorded += 1;
        counters.lost[0] += 1;
        writer
            .feed(0, 0, &RecordBuilder::new(&layout, i * second / 1000 + 2).seq(i as u32 * 2).build())
            .unwrap();
        if i % 10 == 9 {
            let (per_cpu, kprobe_misses) = (vec![counters], Some(0));
            let now = vec![ProbeCounters { per_cpu, kprobe_misses, ..ProbeCounters::default() }];
            writer.tick(i * second / 1000 + 3, &mut || Ok(now.clone())).unwrap();
        }
    }
    // A late one.
    counters.fired += 1;
    counters.recorded += 1;
    counters.faults += 7;
    // Of three calls without an entry the store was full for two. Two events were
    // left out, and the kernel skipped four runs.
    counters.fired += 5;
    counters.map_full += 2;
    counters.lost[lost::NO_ENTRY] += 3;
    counters.lost[lost::SAMPLED] += 2;
    writer.feed(0, 0, &RecordBuilder::new(&layout, 10).seq(9999).build()).unwrap();
    let last = ProbeCounters {
        probe: 0,
        per_cpu: vec![counters],
        kprobe_misses: Some(4),
        sample_misses: 0,
        recursion_misses: None,
        unfollowed: 6,
    };
    let summary =
        writer.close(End { counters: vec![last], command_exit_code: Some(3), ..End::default() }).unwrap();
    assert_eq!(summary.not_compacted, None);
    let totals = &summary.events["tick"];
    assert_eq!((totals.seen, totals.recorded, totals.lost), (10_011, 5002, 5009));
    assert!(totals.has_loss());
    assert_eq!(totals.unknown, ["recursion"]);
    let expected = [
        ("fetch_fault", 7),
        ("kprobe_missed", 4),
        ("late", 1),
        ("map_full", 2),
        ("no_entry", 1),
        ("pids_full", 6),
        ("ring_full", 5000),
        ("sampled", 2),
    ];
    assert_eq!(totals.reasons, expected.into_iter().collect());

    let rows = read_table(&dir, "tick");
    assert_eq!(rows.num_rows(), 5002);
    assert_sorted(&rows);
    assert_files_do_not_overlap(&dir, "tick");
    let counts = read_table(&dir, "counts");
    let sum = |name: &str| -> i64 {
        counts.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().iter().sum()
    };
    assert_eq!((sum("fired"), sum("filtered"), sum("seen")), (15_011, 5000, 10_011));
    assert_eq!((sum("recorded"), sum("lost")), (5002, 5009));
    for row in 0..counts.num_rows() {
        let of = |name: &str| counts.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row);
        assert_eq!(of("seen"), of("recorded") + of("lost"), "row {row}");
    }
    assert!(counts.num_rows() >= 5, "a row per second");
    let losses = read_table(&dir, "losses");
    let count = losses.column_by_name("count").unwrap().as_primitive::<Int64Type>().clone();
    let unknown: Vec<usize> = (0..losses.num_rows()).filter(|&row| count.is_null(row)).collect();
    assert_eq!(unknown.len(), 1);
    assert_eq!(text(&losses, "reason", unknown[0]).as_deref(), Some("recursion"));
    let first = intervals(&losses, 0)[0];
    assert_eq!(intervals(&losses.slice(unknown[0], 1), 0), [first], "it is said with the first counts");
    let counted = intervals(&counts, 0);
    assert_follow(&counted, 0);
    assert_eq!(counted[0], first);
    let meta = read_meta(&dir);
    assert_eq!(meta.state, schemas::trace::State::Closed);
    assert_eq!(meta.command_exit_code, Some(3));
    assert!(read_table(&dir, "probes").column_by_name("detached_ts").unwrap().null_count() == 0);
}

#[test]
fn a_record_of_the_wrong_length_or_probe_is_an_error_that_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = layout("tick", &[("value", "u64")]);
    let mut writer = TraceWriter::create(&dir, meta(vec![layout], 0), replay_options()).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    let error = writer.feed(0, 0, &[0; 39]).unwrap_err().to_string();
    assert_eq!(error, "event 'tick', probe 0: a record has 39 bytes, expected 40");
    let error = writer.feed(0, 0, &[0xff; 40]).unwrap_err().to_string();
    assert_eq!(error, "event 'tick', probe 0: a record is of impossible time 18446744073709551615 ns");
    let error = writer.feed(7, 0, &[0; 40]).unwrap_err().to_string();
    assert_eq!(error, "a record of 40 bytes came from unknown probe 7");
    let error = TraceWriter::create(&dir, meta(vec![], 0), Options::default()).err().unwrap().to_string();
    assert!(error.ends_with("exists already: remove it, or choose another name with -o"), "{error}");
    writer.abandon().unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_closed_trace_has_a_file_in_every_table_even_if_nothing_happened() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = layout("tick", &[("value", "u64")]);
    let writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), replay_options()).unwrap();
    writer.close(End::default()).unwrap();
    for table in schemas::trace::SIDE_TABLES.iter().map(|t| t.name).chain(["tick"]) {
        assert_eq!(segments(&dir, table).len(), 1, "table {table}");
    }
    let file = std::fs::File::open(&segments(&dir, "tick")[0]).unwrap();
    let schema = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    assert_eq!(schema.schema().fields(), layout.schema().fields());
    assert_eq!(schema.schema().metadata()["doc"], "a synthetic event");
}

#[test]
fn garbage_in_a_record_of_the_right_length_becomes_rows_and_never_a_panic() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = every_type();
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], UTC), replay_options()).unwrap();
    writer.add_probe(probe(0, "every")).unwrap();
    let mut random = 88172645463325252u64;
    for _ in 0..3000 {
        let mut record: Vec<u8> = (0..layout.record_size)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random as u8
            })
            .collect();
        record[7] &= 0x3f;
        writer.feed(0, 0, &record).unwrap();
    }
    let summary = writer.close(End::default()).unwrap();
    assert!(summary.failure.is_none() && summary.not_compacted.is_none(), "{summary:?}");
    let rows = read_table(&dir, "every");
    assert_eq!(rows.num_rows(), 3000);
    assert_sorted(&rows);
}

#[test]
fn late_rows_are_marked_on_disk_and_compaction_puts_them_in_their_place() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run.trace");
    let layout = layout("tick", &[("value", "u64")]);
    let options = Options { compact_at_close: false, ..replay_options() };
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), options).unwrap();
    writer.add_probe(probe(0, "tick")).unwrap();
    let second = 1_000_000_000;
    let feed = |writer: &mut TraceWriter, ts: u64, seq: u32| {
        writer.feed(0, 0, &RecordBuilder::new(&layout, ts).seq(seq).set_u64("value", ts).build()).unwrap();
    };
    for s in 1..6 {
        feed(&mut writer, s * second, 2 * s as u32);
        writer.tick(s * second + 900_000_000, &mut || Ok(vec![])).unwrap();
        feed(&mut writer, s * second - 5, 2 * s as u32 + 1);
    }
    let summary = writer.close(End::default()).unwrap();
    assert_eq!(summary.events["tick"].reasons["late"], 5);
    let is_late = |path: &std::path::PathBuf| {
        let file = std::fs::File::open(path).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let late = reader.metadata().file_metadata().key_value_metadata().unwrap().iter();
        late.filter(|pair| pair.key == schemas::trace::LATE_KEY)
            .any(|pair| pair.value.as_deref() == Some("true"))
    };
    let late = segments(&dir, "tick").iter().filter(|path| is_late(path)).count();
    assert!(late >= 1 && segments(&dir, "tick").len() > late);
    recorder::store::compaction::compact(&dir, &mut |_, _| Ok(())).unwrap();
    assert!(!segments(&dir, "tick").iter().any(is_late));
    let rows = read_table(&dir, "tick");
    let expected: Vec<i64> = (1..6).flat_map(|s| [s * second as i64 - 5, s * second as i64]).collect();
    assert_eq!(times(&rows), expected);
    assert_files_do_not_overlap(&dir, "tick");
}
