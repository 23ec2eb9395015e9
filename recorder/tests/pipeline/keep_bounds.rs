//! What is bounded stays so at any rate, and what a kept row names is there.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::*;
use crate::world::*;
use recorder::pipeline::{End, Limits, Options, RecordBuilder, TraceWriter};
use recorder::source::EventSource;

#[test]
fn a_trace_with_a_long_age_does_not_grow_beyond_its_size_either() {
    let temp = fast_dir();
    let mut world = World::new(S / 10, 1000, 3 * S);
    let mut writer = world.writer(&temp.path().join("unbounded.trace"), Options::default());
    world.run(&mut writer, 10, |_, _| {});
    writer.get_ready();
    // An age of an hour is looked at every ten seconds: so much comes in between that it must not be all. In a second
    // comes less than a sixteenth.
    let most = 3 * disk_bytes(writer.dir());
    drop(writer);

    let dir = temp.path().join("run.trace");
    let limits = Limits { max_bytes: Some(most), max_age_ns: Some(3600 * S as i64) };
    let mut world = World::new(S / 10, 1000, 3 * S);
    let mut writer = world.writer(&dir, Options { limits, ..Options::default() });
    let mut largest = 0;
    world.run(&mut writer, 100, |writer, now_ns| {
        if now_ns % S == 0 {
            // Without a wait, time would run ahead of what writes.
            writer.get_ready();
        }
        largest = largest.max(disk_bytes(&dir));
    });
    let end = End { counters: world.counters().unwrap(), ..End::default() };
    writer.close(end).unwrap();
    assert!(largest > most / 2, "{largest} bytes of {most}: the limit is not tested");
    // A second more: made-up time does not wait for what rewrites.
    assert!(largest <= most + most / 30, "{largest} bytes of {most} on disk");
    let kept_s = (world.now_ns as i64 - look(&dir).kept_from_ns.unwrap()) / S as i64;
    println!("{largest} bytes of {most} on disk, {kept_s} s are kept");
    assert!(kept_s >= 6, "of about 30 s only {kept_s} are kept");
}

#[test]
fn segments_of_many_tables_are_merged_as_fast_as_they_come() {
    const TABLES: u16 = 12;
    const SECONDS: u64 = 40;
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let names: Vec<String> = (0..TABLES).map(|table| format!("event{table}")).collect();
    let layouts: Vec<_> = names.iter().map(|name| layout(name, &[("value", "u64")])).collect();
    let options = Options {
        segment_age: Duration::from_millis(100),
        queue_bytes: 32 << 10,
        compact_at_close: false,
        ..replay_options()
    };
    let mut writer = TraceWriter::create(&dir, meta(layouts.clone(), 0), options).unwrap();
    for (table, name) in (0..TABLES).zip(&names) {
        writer.add_probe(probe(table, name)).unwrap();
    }
    let (mut most, mut published) = (0, 0);
    // A segment of each table in each step.
    let step_ns = S / 20;
    for step in 1..=SECONDS * 20 {
        for (table, layout) in (0..TABLES).zip(&layouts) {
            let record = RecordBuilder::new(layout, step * step_ns).seq(step as u32).set_u64("value", step);
            writer.feed(table, 0, &record.build()).unwrap();
        }
        writer.tick((step + 1) * step_ns, &mut || Ok(vec![])).unwrap();
        if step % 20 == 0 {
            // Small records: without a wait, time would run ahead of what writes.
            writer.get_ready();
            let there = names.iter().map(|name| segments(&dir, name));
            most = there.map(|segments| segments.len()).max().unwrap().max(most);
            published = segments(&dir, &names[0]).last().map_or(0, |path| number(path));
        }
    }
    writer.close(End::default()).unwrap();
    assert!(published > 300, "{published} segments: the limit is not tested");
    assert!(most < 320, "{most} segments of a table");
    for name in &names {
        assert_eq!(values(&dir, name), (1..=SECONDS * 20).collect::<Vec<u64>>());
    }
}

fn number(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn stacks_of_rows_that_wait_to_be_published_are_kept() {
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    // Segments of noise come when they are large and go at once; those of ticks come late.
    let limits = Limits { max_bytes: Some(1 << 20), ..Limits::default() };
    let options = Options { limits, segment_age: Duration::from_secs(60), ..Options::default() };
    let mut world = World::new(S / 10, 30, 3 * S).with_noise(15_000);
    let mut writer = world.writer(&dir, options);
    let mut gone = 0;
    for _ in 0..10 {
        world.run(&mut writer, 7, |_, _| {});
        writer.get_ready();
        gone += usize::from(look(&dir).kept_from_ns.is_some());
    }
    let end = End { counters: world.counters().unwrap(), ..End::default() };
    writer.close(end).unwrap();
    assert!(gone > 3, "{gone} times old rows were gone");
    let look = look(&dir);
    assert_eq!(look.values.last(), Some(&(world.ticks() - 1)));
}

#[test]
fn whatever_the_rate_a_trace_does_not_grow_beyond_its_size_by_more_than_a_twentieth() {
    const MOST: u64 = 8 << 20;
    const DRAINS: u64 = 150;
    // Some twenty million a second, of random numbers, which nothing makes smaller.
    const ROWS: u64 = 20_000;
    let temp = fast_dir();
    let dir = temp.path().join("run.trace");
    let layout = layout("noise", &[("value", "u64")]);
    let limits = Limits { max_bytes: Some(MOST), ..Limits::default() };
    let options = Options { limits, ..replay_options() };
    let mut writer = TraceWriter::create(&dir, meta(vec![layout.clone()], 0), options).unwrap();
    writer.add_probe(probe(0, "noise")).unwrap();
    let is_over = AtomicBool::new(false);
    let largest = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut largest = 0;
            while !is_over.load(Ordering::Relaxed) {
                largest = largest.max(disk_bytes(&dir));
                std::thread::sleep(Duration::from_millis(2));
            }
            largest
        });
        let mut random = 88_172_645_463_325_252u64;
        for row in 0..DRAINS * ROWS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let record = RecordBuilder::new(&layout, row * 50).seq(row as u32).set_u64("value", random);
            writer.feed(0, 0, &record.build()).unwrap();
            if (row + 1) % ROWS == 0 {
                writer.tick((row + 1) * 50, &mut || Ok(vec![])).unwrap();
            }
        }
        println!("{} bytes before it is closed", disk_bytes(&dir));
        writer.close(End::default()).unwrap();
        is_over.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    });
    println!("{largest} bytes of {MOST} on disk");
    assert!(largest > MOST * 7 / 10, "{largest} bytes: the limit is not tested");
    assert!(largest <= MOST + MOST / 20, "{largest} bytes of {MOST} on disk");
    let rows = values(&dir, "noise").len() as u64;
    assert!(rows > 200_000, "only {rows} rows are kept");
    let kept_from_ns = read_meta(&dir).kept_from_ns.unwrap();
    assert!(kept_from_ns > 0);
}
