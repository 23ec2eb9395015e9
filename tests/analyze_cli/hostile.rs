//! Traces that somebody made to do harm: sound Parquet files that say little and mean much.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray, UInt64Array};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use schemas::trace::log::{Commit, LOG_FILE, Log, Segment};
use schemas::trace::read;
use schemas::trace::sums::Summed;

use super::Bench;

/// An IPC message with an Arrow schema that lacks its list of fields, which the format allows.
const SCHEMA_WITHOUT_FIELDS: &str = "/////yQAAAAQAAAACgAMAAgACgAEAAAADAAAAAwAAAAEAAEABAAEAAQAAAA=";

fn write(path: &Path, rows: &RecordBatch, options: ArrowWriterOptions) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer =
        ArrowWriter::try_new_with_options(File::create(path).unwrap(), rows.schema(), options).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

/// Addresses from 1 on that all have this name.
fn symbols(rows: usize, name: &str) -> RecordBatch {
    let names =
        DictionaryArray::<Int32Type>::new(vec![0; rows].into(), Arc::new(StringArray::from(vec![name])));
    let columns: [(&str, ArrayRef); 4] = [
        ("addr", Arc::new(UInt64Array::from_iter_values(1..=rows as u64))),
        ("name", Arc::new(names)),
        ("offset_bytes", Arc::new(Int64Array::from(vec![0; rows]))),
        ("module", Arc::new(StringArray::from(vec![None::<&str>; rows]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn a_name_that_many_addresses_have_does_not_take_the_memory_of_all() {
    let bench = Bench::with(&["mkdirs"]);
    let segment = bench.path("mkdirs.trace/symbols/000001.parquet");
    let zstd = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let options = || ArrowWriterOptions::new().with_properties(zstd.clone());
    let query = "SELECT DISTINCT symbol(CAST(1000 AS BIGINT UNSIGNED)) AS name FROM mkdirs";
    let ask = || {
        fixtures::format2::convert(&bench.path("mkdirs.trace")).unwrap();
        bench.analyze(&["sql", "mkdirs.trace", query, "-F", "csv"])
    };

    write(&segment, &symbols(1_000, "soft"), options());
    assert_eq!(ask().out, "name\nsoft\n");

    // A GiB of names.
    write(&segment, &symbols(1_000, &"s".repeat(1 << 20)), options());
    assert!(segment.metadata().unwrap().len() < 1 << 20);
    let run = ask();
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("symbols/000001.parquet: table symbols has too much text"), "{}", run.err);
}

/// A segment of table mkdirs with a schema without fields.
fn write_without_fields(bench: &Bench) {
    let schema = KeyValue::new("ARROW:schema".to_owned(), SCHEMA_WITHOUT_FIELDS.to_owned());
    let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![schema])).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    write(&bench.path("mkdirs.trace/mkdirs/000001.parquet"), &symbols(1, "soft"), options);
}

#[test]
fn a_schema_that_the_library_does_not_expect_leaves_out_one_segment_of_format_1() {
    let bench = Bench::old(&["mkdirs"]);
    let query = ["sql", "mkdirs.trace", "SELECT count(*) AS n FROM mkdirs", "-F", "csv"];
    let before = bench.analyze(&query);
    write_without_fields(&bench);
    let run = bench.analyze(&query);
    assert_eq!((before.code, run.code, &run.out), (0, 1, &before.out), "{}", run.err);
    let warning = "analyze: warning: mkdirs.trace/mkdirs/000001.parquet: damaged or not a Parquet file";
    assert!(run.err.contains(warning), "{}", run.err);
}

#[test]
fn numbers_at_the_edge_end_in_an_answer() {
    let bench = Bench::old(&["mkdirs"]);
    let json = bench.path("mkdirs.trace/trace.json");
    let mut meta: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    (meta["start_ns"], meta["end_ns"]) = (i64::MIN.into(), i64::MAX.into());
    fs::write(&json, meta.to_string()).unwrap();
    let run = bench.analyze(&["mkdirs.trace"]);
    assert_eq!(run.code, 0, "{}", run.err);
    let columns = meta["events"][0]["columns"].as_array_mut().unwrap();
    columns[0]["type"] = "enum(a=2147483647,b)".into();
    fs::write(&json, meta.to_string()).unwrap();
    let run = bench.analyze(&["mkdirs.trace"]);
    assert!(run.code == 2 && run.err.contains("trace.json is damaged"), "{}", run.err);
}

/// Change what the log says, with CRCs that fit.
fn rewrite(bench: &Bench, change: impl FnOnce(&mut Commit)) {
    let dir = bench.path("mkdirs.trace");
    let mut commit = Log::parse(&fs::read(dir.join(LOG_FILE)).unwrap()).commits.remove(0);
    change(&mut commit);
    fixtures::format2::write_log(&dir, &[commit]).unwrap();
}

#[test]
fn a_log_that_says_what_cannot_be_is_refused() {
    type Change = fn(&mut Segment);
    let changes: [(Change, &str); 7] = [
        (|it| it.table = "../../etc".to_owned(), "it names table '../../etc', which is none"),
        (|it| it.table = "/etc".to_owned(), "it names table '/etc', which is none"),
        (|it| it.table = "listens".to_owned(), "it names table 'listens', which is none"),
        (|it| it.ts = Some((2, 1)), "mkdirs/000000.parquet makes no sense: it ends before it begins"),
        (|it| it.blocks = vec![1, 2], "mkdirs/000000.parquet makes no sense: 2 blocks"),
        (|it| it.rows = u64::MAX, "mkdirs/000000.parquet makes no sense: 18446744073709551615 rows"),
        (|it| it.bytes = u64::MAX, "mkdirs/000000.parquet makes no sense: "),
    ];
    for (change, why) in changes {
        let bench = Bench::with(&["mkdirs"]);
        rewrite(&bench, |commit| change(&mut commit.add[0]));
        let run = bench.analyze(&["mkdirs.trace"]);
        let error = format!("{} {}", run.code, run.err);
        assert!(
            run.code == 2 && run.err.starts_with("analyze: mkdirs.trace/log.jsonl is damaged: "),
            "{error}"
        );
        assert!(run.err.contains(why) && run.err.lines().count() == 1, "{error}");
    }
}

#[test]
fn a_log_with_numbers_at_the_edge_ends_in_an_answer() {
    let bench = Bench::with(&["mkdirs"]);
    rewrite(&bench, |commit| {
        commit.at_ns = i64::MIN;
        commit.until_ns = Some(i64::MAX);
        let status = commit.status.as_mut().unwrap();
        (status.start_ns, status.end_ns, status.kept_from_ns) =
            (Some(i64::MIN), Some(i64::MAX), Some(i64::MIN));
    });
    let run = bench.analyze(&["mkdirs.trace"]);
    assert_eq!(run.code, 0, "{}", run.err);
}

#[test]
fn a_file_that_is_not_what_the_log_says_is_no_answer() {
    let count = ["sql", "mkdirs.trace", "SELECT sum(mode), count(DISTINCT path) AS n FROM mkdirs"];
    let refused = |bench: &Bench, why: &str| {
        let run = bench.analyze(&count);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{}", run.err);
        let begin = "analyze: DIR/mkdirs.trace/mkdirs/00000";
        assert!(run.err.starts_with(begin) && run.err.contains(why), "{why}: {}", run.err);
        assert!(run.err.contains("`analyze verify TRACE`"), "{}", run.err);
        let run = bench.analyze(&["verify", "mkdirs.trace"]);
        assert!(
            run.code == 1 && run.out.contains(why) && run.err.is_empty(),
            "{why}: {} {}",
            run.out,
            run.err
        );
    };
    let changed = |change: fn(&mut Segment), why: &str| {
        let bench = Bench::with(&["mkdirs"]);
        rewrite(&bench, |commit| change(&mut commit.add[0]));
        refused(&bench, why);
    };
    changed(|it| it.rows += 1, " rows, and the log says ");
    changed(|it| it.ts = Some((1, 2)), "its times are not those that the log says");
    changed(|it| it.crc ^= 1, "do not fit their CRC in the log");
    // Sound files of other tables, and one on which the library panics.
    let bench = Bench::with(&["mkdirs"]);
    write(&bench.path("mkdirs.trace/mkdirs/000001.parquet"), &other(), ArrowWriterOptions::new());
    fixtures::format2::convert(&bench.path("mkdirs.trace")).unwrap();
    refused(&bench, "column mode is Utf8, not ");
    let bench = Bench::with(&["mkdirs"]);
    write_without_fields(&bench);
    let file = bench.path("mkdirs.trace/mkdirs/000001.parquet");
    let Summed { bytes, crc, .. } = read::sums(&mut File::open(&file).unwrap()).unwrap();
    rewrite(&bench, |commit| {
        let first = commit.add[0].clone();
        commit.add.push(Segment { number: 1, bytes, crc, rows: 1, ..first });
    });
    refused(&bench, "the footer makes no sense");
}

/// A row of what is no directory that was made.
fn other() -> RecordBatch {
    let columns: [(&str, ArrayRef); 1] = [("mode", Arc::new(StringArray::from(vec!["x"])))];
    RecordBatch::try_from_iter(columns).unwrap()
}
