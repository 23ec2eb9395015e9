//! Random interleavings against a sort.

use schemas::column::Layout;

use super::merge::{Merge, Rows, SeqCounter, seq, ts_ns};
use super::random::Random;
use super::staging::{Pool, Staging};
use schemas::record::RecordBuilder;

type Key = (u64, u16, u32);

fn keys(rows: &Rows) -> Vec<Key> {
    rows.records.iter().zip(&rows.cpu).map(|(record, &cpu)| (ts_ns(record), cpu, seq(record))).collect()
}

/// Feed `n` records of up to `lanes` cpus and probes, with steps back as `disorder` says, cutting at random, and
/// compare what comes out with a sort of what went in.
fn compare_with_sort(seed: u64, n: usize, lanes: u64, disorder: u64) {
    let layout = Layout::new("event", "", vec![], |_| false).0;
    let record_size = layout.record_size as usize;
    let mut random = Random(seed);
    let mut staging = Staging::new(record_size, Pool::default());
    let mut counters = Vec::new();
    let mut seqs: Vec<u32> = (0..lanes).map(|_| u32::MAX - random.below(100) as u32).collect();
    for lane in 0..lanes {
        staging.add_source((lane % 3) as u16, lane as u16);
        // A recording begins far from the wrap: the first number is not one that stepped back over it.
        let mut counter = SeqCounter::default();
        counter.extend(seqs[lane as usize]);
        counters.push(counter);
    }
    let (mut now, mut watermark) = (1000, 0);
    let (mut fed, mut got, mut late): (Vec<Key>, Vec<Key>, Vec<Key>) = Default::default();
    let mut extended: Vec<Vec<u64>> = vec![Vec::new(); lanes as usize];
    let mut take = |chunk, out: &mut Vec<Key>, most| {
        let (mut merge, mut rows) = (Merge::new(&chunk), Rows::default());
        while merge.next(most, &mut counters, &mut rows) {
            assert!(rows.len() <= most);
            out.extend(keys(&rows));
            rows.cpu.iter().zip(&rows.seq).for_each(|(&cpu, &seq)| extended[usize::from(cpu)].push(seq));
        }
    };
    for i in 0..n {
        now += random.below(3);
        let lane = random.below(lanes);
        let ts = if random.below(100) < disorder { now - random.below(900).min(now) } else { now };
        let seq = &mut seqs[lane as usize];
        *seq = seq.wrapping_add(1);
        let record = RecordBuilder::new(&layout, ts).seq(*seq).build();
        if ts >= watermark {
            fed.push((ts, lane as u16, *seq));
        }
        staging.push(lane as usize, &record);
        if random.below(200) == 0 || i + 1 == n {
            let last = i + 1 == n;
            watermark = now.saturating_sub(random.below(50)).max(watermark);
            let most = 1 + random.below(64) as usize;
            take(staging.cut((!last).then_some(watermark)), &mut got, most);
            take(staging.cut_late(), &mut late, most);
        }
    }
    assert_eq!(got.len() + late.len(), n, "seed {seed}: rows vanished or doubled");
    assert!(got.windows(2).all(|pair| pair[0].0 <= pair[1].0), "seed {seed}: not in time order");
    let mut sorted = fed;
    // Equal times of one cpu: the sequence decides, across its wrap.
    sorted.sort_by_key(|&(ts, cpu, seq)| (ts, cpu, seq.wrapping_add(1 << 31)));
    let mut got_sorted = got.clone();
    got_sorted.sort_by_key(|&(ts, cpu, seq)| (ts, cpu, seq.wrapping_add(1 << 31)));
    assert_eq!(got_sorted, sorted, "seed {seed}: other rows than were fed");
    for (lane, mut numbers) in extended.into_iter().enumerate() {
        numbers.sort_unstable();
        assert!(
            numbers.windows(2).all(|p| p[1] - p[0] == 1),
            "seed {seed}, lane {lane}: sequence broken at the wrap"
        );
    }
    if disorder == 0 {
        assert!(late.is_empty(), "seed {seed}");
    }
}

#[test]
fn any_interleaving_comes_out_sorted_and_complete() {
    for seed in 1..40 {
        compare_with_sort(seed, 3000, 1 + seed % 9, 0);
        compare_with_sort(seed, 3000, 1 + seed % 9, 5);
    }
    compare_with_sort(99, 2000, 3, 100);
}

#[test]
fn rows_of_equal_time_are_ordered_by_cpu_then_sequence() {
    let layout = Layout::new("event", "", vec![], |_| false).0;
    let mut staging = Staging::new(layout.record_size as usize, Pool::default());
    for cpu in 0..3 {
        staging.add_source(0, cpu);
    }
    for (source, seq) in [(2, 1), (0, 4), (1, 2), (2, 0), (0, 5)] {
        staging.push(source, &RecordBuilder::new(&layout, 7).seq(seq).build());
    }
    let chunk = staging.cut(None);
    let mut rows = Rows::default();
    assert!(Merge::new(&chunk).next(100, &mut [SeqCounter::default(); 3], &mut rows));
    let keys = keys(&rows);
    assert_eq!(keys, [(7, 0, 4), (7, 0, 5), (7, 1, 2), (7, 2, 0), (7, 2, 1)]);
}
