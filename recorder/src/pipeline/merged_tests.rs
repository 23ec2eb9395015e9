//! How much of what is merged is in memory at a time.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, UInt64Builder};
use arrow_array::{ArrayRef, Int64Array};
use arrow_schema::{DataType, Field};

use super::super::segment::{Segment, segment_name};
use super::*;

const FILES: u64 = 4;
const ROWS: u64 = 12_000;
const FRAMES: u64 = 127;

/// A segment of stacks that are as long as they may be.
fn stacks(dir: &Path, number: u64) -> PathBuf {
    let item = Arc::new(Field::new("item", DataType::UInt64, false));
    let fields = vec![
        Field::new("stack_id", DataType::Int64, false),
        Field::new("frames", DataType::List(item.clone()), false),
    ];
    let schema: SchemaRef = Schema::new(fields).into();
    let mut frames = ListBuilder::new(UInt64Builder::new()).with_field(item);
    for row in 0..ROWS {
        frames.append_value((0..FRAMES).map(|frame| Some((row + frame) % 1000)));
    }
    let ids: Int64Array = (0..ROWS).map(|row| (number * ROWS + row).cast_signed()).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(frames.finish())];
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let properties = writer_properties(&schema, 1, false).unwrap();
    let mut segment = Segment::create(dir, &number.to_string(), &schema, properties).unwrap();
    segment.write(&batch).unwrap();
    segment.finish().unwrap().temp.publish(&segment_name(number)).unwrap()
}

#[test]
fn long_rows_become_more_row_groups_and_not_more_memory() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap().join("stacks");
    fs::create_dir(&dir).unwrap();
    let paths: Vec<PathBuf> = (0..FILES).map(|number| stacks(&dir, number)).collect();
    let inputs: Vec<Input> = paths.iter().map(|path| Input::open(0, path).unwrap()).collect();
    let mut merged = Merged::create(TempFile::create(&dir, "all").unwrap(), &inputs[0], false).unwrap();
    for input in inputs {
        merged.append(&[input]).unwrap();
    }
    let path = merged.finish().unwrap().temp.reveal("all.parquet").unwrap();
    let all = Input::open(0, &path).unwrap();
    assert_eq!(all.rows, FILES * ROWS);
    let groups = all.metadata.metadata().row_groups();
    let most = groups.iter().map(|group| group.num_rows().unsigned_abs()).max().unwrap();
    // All together are 48 MiB.
    assert!(most * FRAMES * 8 < (MOST_BYTES as u64) * 3 / 2, "{most} rows at a time");
    let ids: Vec<i64> = all
        .batches()
        .unwrap()
        .flat_map(|batch| {
            let batch = batch.unwrap();
            batch.column(0).as_primitive::<arrow_array::types::Int64Type>().values().to_vec()
        })
        .collect();
    assert!(ids.iter().copied().eq(0..(FILES * ROWS).cast_signed()));
}
