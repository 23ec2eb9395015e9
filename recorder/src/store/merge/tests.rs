use schemas::trace::log::Commit;

use super::*;

const S: i64 = 1_000_000_000;

/// A table with a segment a second, each of so many rows.
fn contents(seconds: i64, rows: impl Fn(i64) -> u64) -> Contents {
    let segment = |s: i64| Segment {
        table: "tick".to_owned(),
        number: s as u64,
        rows: rows(s),
        bytes: 4096,
        ts: Some((s * S, s * S + S - 1)),
        ..Segment::default()
    };
    let mut contents = Contents::default();
    contents.apply(&Commit { add: (0..seconds).map(segment).collect(), ..Commit::default() }).unwrap();
    contents
}

fn numbers(contents: &Contents, limits: Limits) -> Option<Vec<u64>> {
    Some(run_to_merge(contents, limits)?.iter().map(|it| it.number).collect())
}

#[test]
fn neighbours_are_merged_when_there_are_many_or_they_fill_a_file() {
    let all = Limits::default();
    assert_eq!(numbers(&contents(59, |_| 10), all), None);
    assert_eq!(numbers(&contents(61, |_| 10), all), Some((0..60).collect()));
    assert_eq!(numbers(&contents(10, |_| FILE_ROWS / 4), all), Some(vec![0, 1, 2, 3]));
    // What fills a file alone stays, and those behind it are looked at.
    assert_eq!(numbers(&contents(3, |_| FILE_ROWS), all), None);
    let first_is_large = contents(62, |s| if s == 0 { FILE_ROWS } else { 10 });
    assert_eq!(numbers(&first_is_large, all), Some((1..61).collect()));
}

#[test]
fn of_a_trace_of_limited_size_only_a_part_is_there_twice() {
    let limits = Limits { max_bytes: Some(200 * 4096), ..Limits::default() };
    assert_eq!(numbers(&contents(61, |_| 10), limits), Some((0..10).collect()));
}

#[test]
fn epochs_late_rows_and_levels_are_not_mixed() {
    let mut contents = contents(60, |_| 10);
    for segment in contents.segments.values_mut() {
        match segment.number {
            20 => segment.late = true,
            30..40 => segment.epoch = 1,
            _ => {}
        }
    }
    assert_eq!(numbers(&contents, Limits::default()), None);
    contents.segments.values_mut().for_each(|it| (it.late, it.epoch) = (false, 0));
    assert_eq!(numbers(&contents, Limits::default()).unwrap().len(), 60);
    contents.segments.values_mut().filter(|it| it.number > 30).for_each(|it| it.level = 1);
    assert_eq!(numbers(&contents, Limits::default()), None);
}
