//! What is said of a finished file is what somebody finds who reads it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_schema::Field;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::column::timestamp;
use schemas::trace::SIDE_TABLES;
use schemas::trace::read::sums;

use super::super::encode::tests::{pages, rows};
use super::*;

/// Compare with what is in the file, and check the CRC of each of its pages.
pub fn check(written: &Written) {
    let file = || File::open(written.temp.path()).unwrap();
    assert_eq!(written.sums, sums(&mut file()).unwrap());
    assert_eq!(written.sums.bytes, file().metadata().unwrap().len());
    let reader = ParquetRecordBatchReaderBuilder::try_new(file()).unwrap();
    let metadata = reader.metadata().file_metadata();
    assert_eq!(written.rows, metadata.num_rows().unsigned_abs());
    let keys = metadata.key_value_metadata().unwrap();
    assert_eq!(written.is_late, keys.iter().any(|pair| pair.key == LATE_KEY));
    let ts: Vec<i64> = reader
        .build()
        .unwrap()
        .filter_map(|batch| batch.unwrap().column_by_name("ts").cloned())
        .flat_map(|ts| ts.as_primitive::<TimestampNanosecondType>().values().to_vec())
        .collect();
    assert_eq!(written.ts, ts.iter().min().copied().zip(ts.iter().max().copied()));
    let bytes = std::fs::read(written.temp.path()).unwrap();
    if written.rows > 0 {
        pages::check(&bytes);
    }
}

/// A table of times and numbers.
pub fn event() -> SchemaRef {
    let fields = [("seq", DataType::UInt64), ("cpu", DataType::UInt16), ("comm", DataType::Utf8)];
    let fields = fields.map(|(name, ty)| Field::new(name, ty, name == "comm"));
    Arc::new(Schema::new([vec![Field::new("ts", timestamp(), false)], fields.to_vec()].concat()))
}

fn segment(dir: &Path, table: &str, schema: &SchemaRef, is_late: bool) -> Segment {
    let properties = writer_properties(schema, 1, is_late).unwrap();
    std::fs::create_dir_all(dir.join(table)).unwrap();
    Segment::create(&dir.join(table), "1", schema, properties).unwrap()
}

#[test]
fn what_is_said_of_a_segment_is_what_is_in_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap();
    let tables = SIDE_TABLES.iter().map(|table| (table.name, Arc::new((table.schema)())));
    for (table, schema) in tables.chain([("event", event())]) {
        for (parts, is_late) in [(&[][..], false), (&[0], true), (&[1], false), (&[700, 0, 5000], true)] {
            let mut segment = segment(&dir, table, &schema, is_late);
            for (part, rows) in parts.iter().enumerate() {
                // The last part has the smallest times.
                let start_ts = 5_000_000_000 - 1_000_000_000 * part as i64;
                segment.write(&rows::random(&schema, *rows, 50, start_ts)).unwrap();
            }
            let rows: usize = parts.iter().sum();
            let written = segment.finish().unwrap();
            assert_eq!((written.rows, written.is_late), (rows as u64, is_late), "{table}");
            let has_ts = schema.field(0).name() == "ts";
            assert_eq!(written.ts.is_some(), has_ts && rows > 0, "{table}");
            check(&written);
        }
    }
}

#[test]
fn bytes_of_a_segment_grow_with_each_row_group() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap();
    let schema = event();
    let mut segment = segment(&dir, "event", &schema, false);
    let magic = segment.bytes();
    segment.write(&rows::random(&schema, 200_000, 1 << 40, 1)).unwrap();
    assert_eq!(segment.bytes(), magic);
    segment.write(&rows::random(&schema, 100_000, 1 << 40, 1 << 40)).unwrap();
    let first = segment.bytes();
    assert!(first > 1 << 20, "{first} bytes after a row group");
    let written = segment.finish().unwrap();
    assert!(written.sums.bytes > first);
    check(&written);
}
