use schemas::frames::block::{BlockReader, Stop};

use super::*;

fn frames(load: Load, rows: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    load.write(rows, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_model_writes_its_rows_in_order_of_time_and_the_same_every_time() {
    for load in [Load::Kmem, Load::Packets] {
        let bytes = frames(load, 30_000);
        assert_eq!(bytes, frames(load, 30_000), "{load:?}");
        let mut reader = BlockReader::new(&bytes[..]).unwrap();
        let (mut block, mut last_ns, mut counted) = (Vec::new(), 0, 0);
        let (mut records, mut has_ended) = (0, false);
        loop {
            match reader.next(&mut block).unwrap() {
                Ok(()) => {}
                Err(stop) => break assert_eq!(stop, Stop::End),
            }
            let mut rest = &block[..];
            while let Some(frame) = Frame::read(&mut rest).unwrap() {
                match frame {
                    Frame::Record { record, .. } => {
                        let ts_ns = u64::from_ne_bytes(*record.first_chunk().unwrap());
                        assert!(ts_ns >= last_ns, "{load:?}");
                        (last_ns, records) = (ts_ns, records + 1);
                    }
                    Frame::Tick(tick) => assert!(tick.watermark_ns >= last_ns, "{load:?}"),
                    Frame::Counters(counters) => {
                        // Those at the end; a model of this length has no others.
                        counted += counters.per_cpu.iter().map(|cpu| cpu.recorded).sum::<u64>();
                    }
                    Frame::End { now_ns, .. } => has_ended = now_ns >= last_ns,
                    _ => {}
                }
            }
        }
        // Two are of the snapshot.
        assert_eq!(records - 2, counted, "{load:?}");
        assert!(has_ended && (30_000..35_000).contains(&counted), "{load:?}: {counted}");
    }
}
