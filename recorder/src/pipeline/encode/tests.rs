//! The same random rows through this encoder and through the general writer: what is read back, and what the footers
//! say, must be the same.

mod crc;
pub mod pages;
pub mod rows;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::Encoding;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::WriterProperties;
use schemas::column::{Column, Layout};
use schemas::trace::SIDE_TABLES;
use schemas::wire::RecordHeader;
use zerocopy::IntoBytes;

use super::super::decode::Decoder;
use super::super::merge::{Merge, Rows, SeqCounter};
use super::super::random::Random;
use super::super::segment::writer_properties;
use super::super::stacks::Collector;
use super::super::staging::{Pool, Staging};
use super::{TableWriter, times};

fn every_type() -> Layout {
    let types = [
        "u8",
        "u16",
        "u32",
        "u64",
        "s8",
        "s16",
        "s32",
        "s64",
        "x8",
        "x64",
        "bool",
        "char[16]",
        "string[40]",
        "ustring[8]",
        "ip4",
        "ip6",
        "ip",
        "mac",
        "sym",
        "hex[5]",
        "enum(listen,stop=7)",
        "kstack[4]",
        "ustack[4]",
    ];
    let column = |(i, ty): (usize, &&str)| Column {
        name: format!("c{i}"),
        ty: ty.parse().unwrap(),
        unit: None,
        doc: String::new(),
        offset: 0,
        bit: 0,
    };
    Layout::new("every", "", types.iter().enumerate().map(column).collect(), |_| false).0
}

/// What the values of a test are like.
#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    /// Distinct byte patterns of a field.
    distinct: u64,
    /// Values that are NULL.
    null_percent: u64,
    /// Rows after which patterns change: the longer, the more runs.
    run: u64,
}

/// Random records of two cpus, decoded.
fn batches(layout: &Layout, shape: Shape) -> (SchemaRef, Vec<RecordBatch>) {
    let Shape { rows, distinct, null_percent, run } = shape;
    let mut random = Random(0x1234_5678_9abc_def1 ^ rows as u64 ^ distinct << 32);
    let size = layout.record_size as usize;
    let mut staging = Staging::new(size, Pool::default());
    let sources = [staging.add_source(0, 0), staging.add_source(1, 1)];
    let header_size = size_of::<RecordHeader>();
    let mut record = vec![0u8; size];
    let mut header = RecordHeader { ts_ns: 5, pid_tgid: 0, seq: 0, nulls: 0, faults: 0, cuts: 0 };
    for row in 0..rows {
        header.ts_ns += random.below(3000);
        header.seq = row as u32;
        if random.below(run) == 0 {
            header.pid_tgid = random.below(distinct) << 32 | random.below(distinct);
            for column in &layout.columns {
                let (from, bytes) = (usize::from(column.offset), usize::from(column.ty.wire_size()));
                let mut pattern = Random(random.below(distinct).wrapping_mul(0x9e37_79b9) + 1);
                record[from..from + bytes].fill_with(|| (pattern.below(1 << 40) >> 13) as u8);
                if column.ty.to_string() == "ip" {
                    record[from + 16..from + 18].copy_from_slice(&[[2, 0], [10, 0], [7, 0]][row % 3]);
                }
                let is_null = random.below(100) < null_percent;
                header.nulls = header.nulls & !(1 << column.bit) | u32::from(is_null) << column.bit;
            }
            header.faults =
                if random.below(9) == 0 { header.nulls & random.below(1 << 30) as u32 } else { 0 };
        }
        record[..header_size].copy_from_slice(header.as_bytes());
        staging.push(sources[random.below(2) as usize], &record);
    }
    let chunk = staging.cut(None);
    let mut merge = Merge::new(&chunk);
    let mut counters = [SeqCounter::default(); 2];
    let mut decoder = Decoder::new(layout, 77).unwrap();
    let (mut collector, mut sorted, mut batches) =
        (Collector::new(Box::new(|_| None)), Rows::default(), vec![]);
    while merge.next(4096, &mut counters, &mut sorted) {
        batches.push(decoder.decode(&sorted, &mut collector).unwrap());
    }
    (decoder.schema().clone(), batches)
}

struct Read {
    batches: Vec<RecordBatch>,
    metadata: Arc<ParquetMetaData>,
    schema: SchemaRef,
}

fn read(file: Vec<u8>) -> Read {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(Bytes::from(file), options).unwrap();
    let (metadata, schema) = (reader.metadata().clone(), reader.schema().clone());
    let batches = reader.with_batch_size(1000).build().unwrap().map(Result::unwrap).collect();
    Read { batches, metadata, schema }
}

fn write_both(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    change: impl Fn(WriterProperties) -> WriterProperties,
) -> [Read; 2] {
    let properties = || change(writer_properties(schema, 1, false).unwrap());
    let (mut own, mut general) = (vec![], vec![]);
    let mut writer = TableWriter::new(&mut own, schema, properties()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    let mut writer = ArrowWriter::try_new(&mut general, schema.clone(), Some(properties())).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
    [read(own), read(general)]
}

fn compare(schema: &SchemaRef, batches: &[RecordBatch], [own, general]: &[Read; 2]) {
    assert_eq!(own.schema.fields(), schema.fields());
    assert_eq!(own.schema, general.schema);
    assert!(own.batches == general.batches, "other values than the general writer's");
    let (file, other) = (own.metadata.file_metadata(), general.metadata.file_metadata());
    assert_eq!(file.num_rows() as usize, batches.iter().map(RecordBatch::num_rows).sum::<usize>());
    assert_eq!(file.key_value_metadata(), other.key_value_metadata());
    assert_eq!(file.column_orders(), other.column_orders());
    assert_eq!(own.metadata.num_row_groups(), general.metadata.num_row_groups());
    for (group, other) in own.metadata.row_groups().iter().zip(general.metadata.row_groups()) {
        assert_eq!(group.num_rows(), other.num_rows());
        assert_eq!(group.sorting_columns(), other.sorting_columns());
        assert_eq!(group.sorting_columns().is_some(), times::has_ts(schema));
        for (column, other) in group.columns().iter().zip(other.columns()) {
            let name = column.column_path().string();
            assert_eq!(column.num_values(), other.num_values(), "column {name}");
            let Some(expected) = other.statistics() else { continue };
            let statistics = column.statistics().unwrap();
            assert_eq!(statistics.min_bytes_opt(), expected.min_bytes_opt(), "column {name}");
            assert_eq!(statistics.max_bytes_opt(), expected.max_bytes_opt(), "column {name}");
            assert_eq!(statistics.null_count_opt(), expected.null_count_opt(), "column {name}");
        }
    }
    // NULLs, and lists without items, are counted in every column, text included.
    for (i, field) in schema.fields().iter().enumerate() {
        let nulls = |group: &parquet::file::metadata::RowGroupMetaData| {
            group.column(i).statistics().and_then(|s| s.null_count_opt()).unwrap()
        };
        let counted: u64 = own.metadata.row_groups().iter().map(nulls).sum();
        let expected: usize = batches.iter().map(|batch| absent(batch.column(i))).sum();
        assert_eq!(counted, expected as u64, "column {}", field.name());
    }
    if times::has_ts(schema) {
        pages_tell_their_times(own, batches);
    }
}

fn absent(array: &ArrayRef) -> usize {
    match array.as_list_opt::<i32>() {
        Some(lists) => lists.iter().filter(|list| list.as_ref().is_none_or(|list| list.is_empty())).count(),
        None => array.null_count(),
    }
}

fn pages_tell_their_times(file: &Read, batches: &[RecordBatch]) {
    let ts: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<TimestampNanosecondType>().values().iter().copied())
        .collect();
    let mut from = 0;
    for (index, group) in file.metadata.row_groups().iter().enumerate() {
        let ranges = &file.metadata.column_index().unwrap()[index];
        let ColumnIndexMetaData::INT64(ranges) = &ranges[0] else { panic!("no page ranges of ts") };
        let offsets = &file.metadata.offset_index().unwrap()[index];
        let starts = offsets[0].page_locations().iter().map(|page| page.first_row_index as usize);
        let rows = group.num_rows() as usize;
        let ends = starts.clone().skip(1).chain([rows]);
        for (page, (start, end)) in starts.zip(ends).enumerate() {
            assert!(end - start <= 20 * 1024 && end > start, "a page of {start}..{end}");
            let range = (ranges.min_value(page).copied(), ranges.max_value(page).copied());
            assert_eq!(range, (Some(ts[from + start]), Some(ts[from + end - 1])), "page {page}");
        }
        from += rows;
    }
}

#[test]
fn every_type_reads_back_as_the_general_writer_writes_it() {
    let layout = every_type();
    for (rows, distinct, null_percent, run) in [
        (0, 1, 0, 1),
        (1, 1, 0, 1),
        (1, 1, 100, 1),
        (5000, 1, 0, 1),
        (5000, 300, 100, 1),
        (50_000, 40, 30, 1),
        (50_000, 3, 1, 500),
        (25_000, 1 << 40, 0, 1),
        (25_000, 1 << 40, 10, 40),
    ] {
        let (schema, batches) = batches(&layout, Shape { rows, distinct, null_percent, run });
        compare(&schema, &batches, &write_both(&schema, &batches, |properties| properties));
    }
}

#[test]
fn side_tables_read_back_as_the_general_writer_writes_them() {
    for table in SIDE_TABLES {
        let schema = SchemaRef::new((table.schema)());
        for (rows, distinct) in [(0, 1), (1, 1), (3000, 20), (9000, 1 << 40)] {
            let all = rows::random(&schema, rows, distinct, 7);
            // Parts of an array, as they come from a merge, begin anywhere in its lists.
            let cut = rows / 3;
            let parts = [all.slice(0, cut), all.slice(cut, rows - cut)];
            compare(&schema, &parts, &write_both(&schema, &parts, |properties| properties));
        }
    }
}

#[test]
fn a_page_of_lists_ends_between_two_rows() {
    let table = SIDE_TABLES.iter().find(|table| table.name == "stacks").unwrap();
    let schema = SchemaRef::new((table.schema)());
    let batches = [rows::random(&schema, 4000, 1 << 40, 3), rows::random(&schema, 500, 9, 4)];
    // Some lists alone are longer than a page, and the dictionary is given up.
    let small = |properties: WriterProperties| {
        properties
            .into_builder()
            .set_data_page_row_count_limit(50)
            .set_dictionary_page_size_limit(20_000)
            .set_max_row_group_row_count(Some(1500))
            .build()
    };
    let both = write_both(&schema, &batches, small);
    compare(&schema, &batches, &both);
    let frames = schema.index_of("frames").unwrap();
    for (index, group) in both[0].metadata.row_groups().iter().enumerate() {
        let pages = both[0].metadata.offset_index().unwrap()[index][frames].page_locations();
        assert!(pages.len() > 500, "{} pages of {} rows", pages.len(), group.num_rows());
    }
}

#[test]
fn rows_beyond_a_row_group_begin_the_next() {
    let layout = every_type();
    let (schema, batches) = batches(&layout, Shape { rows: 21_000, distinct: 70, null_percent: 5, run: 3 });
    let small = |properties: WriterProperties| {
        properties
            .into_builder()
            .set_max_row_group_row_count(Some(5000))
            .set_data_page_row_count_limit(1024)
            .set_write_batch_size(512)
            .build()
    };
    let both = write_both(&schema, &batches, small);
    assert_eq!(both[0].metadata.num_row_groups(), 5);
    compare(&schema, &batches, &both);
}

#[test]
fn a_dictionary_that_grows_too_large_is_given_up_in_mid_chunk() {
    let layout = every_type();
    let shape = Shape { rows: 30_000, distinct: 1 << 40, null_percent: 10, run: 2 };
    let (schema, batches) = batches(&layout, shape);
    let small = |properties: WriterProperties| {
        properties
            .into_builder()
            .set_dictionary_page_size_limit(20_000)
            .set_max_row_group_row_count(Some(16_000))
            .set_data_page_size_limit(30_000)
            .build()
    };
    let both = write_both(&schema, &batches, small);
    compare(&schema, &batches, &both);
    for name in ["c3", "c12", "c15", "c19"] {
        let column = schema.index_of(name).unwrap();
        for group in both[0].metadata.row_groups() {
            let pages = group.column(column).page_encoding_stats_mask().unwrap();
            let kinds = [Encoding::RLE_DICTIONARY, Encoding::PLAIN];
            assert!(kinds.iter().all(|kind| pages.is_set(*kind)), "{name}: {pages:?}");
        }
    }
}
