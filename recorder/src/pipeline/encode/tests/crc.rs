//! Every page has its CRC, and a reader that checks it finds what was damaged since.

use ::bytes::Bytes;
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::trace::SIDE_TABLES;

use super::super::super::segment::writer_properties;
use super::super::{TableWriter, page};
use super::{Shape, batches, every_type, pages, rows};

fn file(schema: &SchemaRef, batches: &[RecordBatch]) -> Vec<u8> {
    let mut file = vec![];
    let properties = writer_properties(schema, 1, false).unwrap();
    let mut writer = TableWriter::new(&mut file, schema, properties).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    file
}

/// A file of each kind.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let shape = Shape { rows: 21_000, distinct: 300, null_percent: 20, run: 2 };
    let (schema, batches) = batches(&every_type(), shape);
    let mut files = vec![("an event", file(&schema, &batches))];
    for table in SIDE_TABLES {
        let schema = SchemaRef::new((table.schema)());
        files.push((table.name, file(&schema, &[rows::random(&schema, 300, 40, 1)])));
    }
    files
}

fn read(file: &[u8]) -> Result<usize, String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(file)).unwrap();
    let batches: Result<Vec<_>, _> = reader.build().unwrap().collect();
    Ok(batches.map_err(|error| error.to_string())?.iter().map(RecordBatch::num_rows).sum())
}

#[test]
fn a_flipped_bit_in_any_page_is_an_error_of_the_reader() {
    for (name, mut file) in files() {
        pages::check(&file);
        assert!(read(&file).unwrap() > 0);
        for pages::Page { body, .. } in pages::all(&file) {
            assert!(!body.is_empty(), "{name}: a page without bytes");
            for at in [body.start, body.start.midpoint(body.end), body.end - 1] {
                file[at] ^= 0x10;
                let error = read(&file).expect_err(name);
                assert!(error.contains("CRC"), "{name}, byte {at}: {error}");
                file[at] ^= 0x10;
            }
        }
    }
}

#[test]
fn the_crc_is_seen_in_the_first_bytes_of_a_header() {
    let dictionary = page::Kind::Dictionary { values: 7 };
    for size in [0, 1, 100, 1 << 20, i32::MAX as usize] {
        let mut out = vec![];
        let header = page::write(&dictionary, size, [b"abc", b"de"], &mut out).unwrap();
        assert_eq!(out.len(), header + 5);
        assert!(page::has_crc(&out[..page::CRC_BYTES.min(out.len())]));
    }
    let too_large = i32::MAX as usize + 1;
    page::write(&dictionary, too_large, [b"", b""], &mut vec![]).unwrap_err();
    // After three integers a struct, number 5: the header of a data page without CRC.
    assert!(!page::has_crc(&[0x15, 0x00, 0x15, 0x80, 0x01, 0x15, 0x10, 0x2c]));
    assert!(!page::has_crc(&[0x15, 0x00, 0x15]));
    assert!(!page::has_crc(&[]));
}
