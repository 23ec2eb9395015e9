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
    let ask = || bench.analyze(&["sql", "mkdirs.trace", query, "-F", "csv"]);

    write(&segment, &symbols(1_000, "soft"), options());
    assert_eq!(ask().out, "name\nsoft\n");

    // A GiB of names.
    write(&segment, &symbols(1_000, &"s".repeat(1 << 20)), options());
    assert!(segment.metadata().unwrap().len() < 1 << 20);
    let run = ask();
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("symbols/000001.parquet: table symbols has too much text"), "{}", run.err);
}

#[test]
fn a_schema_that_the_library_does_not_expect_leaves_out_one_segment() {
    let bench = Bench::with(&["mkdirs"]);
    let query = ["sql", "mkdirs.trace", "SELECT count(*) AS n FROM mkdirs", "-F", "csv"];
    let before = bench.analyze(&query);
    let schema = KeyValue::new("ARROW:schema".to_owned(), SCHEMA_WITHOUT_FIELDS.to_owned());
    let properties = WriterProperties::builder().set_key_value_metadata(Some(vec![schema])).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    write(&bench.path("mkdirs.trace/mkdirs/000001.parquet"), &symbols(1, "soft"), options);
    let run = bench.analyze(&query);
    assert_eq!((before.code, run.code, &run.out), (0, 1, &before.out), "{}", run.err);
    let warning = "analyze: warning: mkdirs.trace/mkdirs/000001.parquet: damaged or not a Parquet file";
    assert!(run.err.contains(warning), "{}", run.err);
}

#[test]
fn numbers_at_the_edge_end_in_an_answer() {
    let bench = Bench::with(&["mkdirs"]);
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
