use super::block::{BlockReader, BlockWriter, Codec, Stop};
use super::*;
use crate::trace::{FORMAT_VERSION, State};

fn meta() -> Meta {
    Meta {
        format_version: FORMAT_VERSION,
        recorder_version: "0".to_owned(),
        state: State::Open,
        host: "h".to_owned(),
        kernel_release: "6.12".to_owned(),
        machine: "x86_64".to_owned(),
        boot_id: String::new(),
        cpus: 2,
        utc_minus_boottime_ns: 5,
        start_ns: 6,
        end_ns: None,
        command_line: vec!["recorder".to_owned()],
        command_exit_code: None,
        recorder_pid: 7,
        kept_from_ns: None,
        gfp_flags: Vec::new(),
        frozen: None,
        events: Vec::new(),
    }
}

fn all() -> Vec<Frame<'static>> {
    let counted = Counters { fired: 3, recorded: 2, lost: [1, 0, 0, 0, 0], ..Counters::default() };
    vec![
        Frame::Header(Box::new(Header { byte_order: ByteOrder::OWN, meta: meta() })),
        Frame::Symbols("ffffffff81000000 t f\n"),
        Frame::Probe(Box::new(ProbeRow { probe: Some(1), event: "e".to_owned(), ..ProbeRow::default() })),
        Frame::Started { start_ns: -8 },
        Frame::Record { probe: 1, cpu: 3, record: b"bytes of a record" },
        Frame::Tick(Tick { watermark_ns: u64::MAX, now_ns: 10 }),
        Frame::Counters(ProbeCounters {
            probe: 1,
            per_cpu: vec![Counters::default(), counted, Counters::default()],
            recursion_misses: None,
            kprobe_misses: Some(4),
            sample_misses: 2,
            unfollowed: 5,
        }),
        Frame::Count { now_ns: 12 },
        Frame::Clocks(vec![
            ClockReading {
                boottime_ns: 1,
                utc_minus_boottime_ns: -2,
                boottime_minus_monotonic_ns: 3,
                step_ns: None,
            },
            ClockReading {
                boottime_ns: 4,
                utc_minus_boottime_ns: 5,
                boottime_minus_monotonic_ns: 6,
                step_ns: Some(-7),
            },
        ]),
        Frame::Cut { watermark_ns: 13 },
        Frame::End { now_ns: 14, command_exit_code: Some(-1) },
        Frame::End { now_ns: 14, command_exit_code: None },
    ]
}

fn bytes_of(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut bytes).unwrap());
    bytes
}

#[test]
fn every_frame_is_read_as_it_was_written() {
    let bytes = bytes_of(&all());
    let mut rest = &bytes[..];
    let read: Vec<Frame<'_>> = std::iter::from_fn(|| Frame::read(&mut rest).unwrap()).collect();
    assert_eq!(read, all());
}

#[test]
fn a_frame_that_is_cut_or_too_long_is_an_error() {
    for frame in all() {
        let bytes = bytes_of(&[frame]);
        for end in 1..bytes.len() {
            assert!(Frame::read(&mut &bytes[..end]).is_err());
        }
    }
    let mut long = bytes_of(&[Frame::Count { now_ns: 1 }]);
    long[1] += 1;
    long.push(0);
    assert_eq!(Frame::read(&mut &long[..]).unwrap_err().to_string(), "a frame has 1 bytes too many");
    let late = bytes_of(&[Frame::Count { now_ns: u64::MAX }]);
    assert!(Frame::read(&mut &late[..]).unwrap_err().to_string().contains("the limit is"));
    assert_eq!(
        Frame::read(&mut &[99, 0, 0, 0, 0][..]).unwrap_err().to_string(),
        "a frame is of unknown kind 99"
    );
}

#[test]
fn long_symbols_come_in_frames_of_whole_lines() {
    let line = "ffffffff81000000 t a_function\n";
    let text = line.repeat(3 * SYMBOLS_BYTES / line.len());
    let parts: Vec<&str> = symbols_frames(&text)
        .map(|frame| match frame {
            Frame::Symbols(text) => text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(parts.len() > 2 && parts.iter().all(|part| part.ends_with('\n')), "{}", parts.len());
    assert_eq!(parts.concat(), text);
    assert_eq!(symbols_frames("").count(), 0);
}

fn file(codec: Codec) -> Vec<u8> {
    let mut writer = BlockWriter::new(Vec::new(), codec).unwrap();
    all().chunks(4).for_each(|frames| writer.write(&bytes_of(frames)).unwrap());
    writer.finish().unwrap()
}

/// The frames of all whole blocks, and why there are no more.
fn read(bytes: &[u8]) -> std::io::Result<(Vec<u8>, Stop)> {
    let mut reader = BlockReader::new(bytes)?;
    let (mut all, mut block) = (Vec::new(), Vec::new());
    loop {
        match reader.next(&mut block)? {
            Ok(()) => all.extend_from_slice(&block),
            Err(stop) => return Ok((all, stop)),
        }
    }
}

#[test]
fn blocks_are_read_up_to_a_tear_wherever_it_is() {
    let expected = bytes_of(&all());
    for codec in [Codec::Plain, Codec::Zstd] {
        let whole = file(codec);
        assert_eq!(read(&whole).unwrap(), (expected.clone(), Stop::End));
        for end in 8..whole.len() {
            let (frames, stop) = read(&whole[..end]).unwrap();
            assert!(expected.starts_with(&frames) && frames.len() < expected.len(), "{end}");
            assert!(
                matches!(stop, Stop::Torn { .. })
                    || [0, 1, 2].map(|n| bytes_of(&all()[..n * 4]).len()).contains(&frames.len())
            );
        }
        for at in 8..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 0x55;
            let (frames, stop) = read(&bad).unwrap();
            assert!(
                expected.starts_with(&frames) && matches!(stop, Stop::Torn { .. }),
                "byte {at}: {stop:?}"
            );
        }
    }
}

#[test]
fn what_is_no_frame_file_says_so() {
    let error = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(error(b"PAR1....").contains("--keep-frames"));
    assert!(error(b"kta").contains("--keep-frames"));
    assert!(error(b"ktapefr9").contains("version 9"));
}
