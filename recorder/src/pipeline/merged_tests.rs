//! How much of what is merged is in memory at a time, and what is said of the result.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, UInt64Builder};
use arrow_array::{ArrayRef, Int64Array};
use arrow_schema::{DataType, Field};
use arrow_select::concat::concat_batches;
use parquet::arrow::ArrowWriter;

use super::super::encode::tests::{pages, rows};
use super::super::segment::tests::{check, event};
use super::super::segment::{ROW_GROUP_ROWS, Segment, segment_name};
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

/// Segments of these numbers of rows, one after the other in time; as an older recorder wrote them if `is_old`.
fn segments(dir: &Path, sizes: &[usize], is_old: bool) -> Vec<Input> {
    let schema = event();
    let segment = |(number, size): (usize, &usize)| {
        let batch = rows::random(&schema, *size, 1 << 20, (number as i64) << 40);
        let properties = writer_properties(&schema, 1, false).unwrap();
        let path = dir.join(segment_name(number as u64));
        if is_old {
            let file = File::create(&path).unwrap();
            let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            assert!(pages::all(&fs::read(&path).unwrap()).iter().all(|page| page.crc.is_none()));
        } else {
            let mut segment = Segment::create(dir, &number.to_string(), &schema, properties).unwrap();
            segment.write(&batch).unwrap();
            segment.finish().unwrap().temp.publish(&segment_name(number as u64)).unwrap();
        }
        Input::open(number as u64, &path).unwrap()
    };
    sizes.iter().enumerate().map(segment).collect()
}

#[test]
fn what_is_said_of_a_merged_file_is_what_is_in_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().canonicalize().unwrap().join("event");
    for (sizes, is_old, row_groups) in [
        (&[100, 70_000, 80_000, 10, 2000, 70_000][..], false, vec![100, 70_000, 80_000, 2010, 70_000]),
        // Of an older recorder, all rows are encoded again, so that their pages have CRCs.
        (&[100, 70_000, 200_000], true, vec![ROW_GROUP_ROWS, 270_100 - ROW_GROUP_ROWS]),
        (&[0], false, vec![]),
    ] {
        fs::create_dir(&dir).unwrap();
        let inputs = segments(&dir, sizes, is_old);
        let rows = |inputs: &[Input]| -> Vec<RecordBatch> {
            inputs.iter().flat_map(|input| input.batches().unwrap()).map(Result::unwrap).collect()
        };
        let schema = inputs[0].metadata.schema().clone();
        let before = concat_batches(&schema, &rows(&inputs)).unwrap();
        let temp = TempFile::create(&dir, "all").unwrap();
        let mut merged = Merged::create(temp, &inputs[0], is_old).unwrap();
        for input in inputs {
            merged.append(&[input]).unwrap();
        }
        let open_bytes = merged.bytes();
        let written = merged.finish().unwrap();
        assert!(written.sums.bytes > open_bytes);
        check(&written);
        let all = Input::open(0, &written.temp.path()).unwrap();
        let groups: Vec<usize> =
            all.metadata.metadata().row_groups().iter().map(|group| group.num_rows() as usize).collect();
        assert_eq!(groups, row_groups);
        assert_eq!(written.is_late, is_old);
        assert!(concat_batches(&schema, &rows(&[all])).unwrap() == before, "other rows");
        drop(written);
        fs::remove_dir_all(&dir).unwrap();
    }
}
