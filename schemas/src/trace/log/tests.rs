use super::*;

fn segment(table: &str, number: u64) -> Segment {
    Segment { table: table.to_owned(), number, rows: 3, bytes: 100, ts: Some((10, 20)), ..Segment::default() }
}

fn text(commits: &[Commit]) -> String {
    commits.iter().map(|commit| commit.line().unwrap()).collect()
}

fn three() -> [Commit; 3] {
    let add = vec![segment("tick", 0), segment("counts", 0)];
    let one = Commit { n: 4, add, until_ns: Some(20), ..Commit::default() };
    let two = Commit { n: 5, durable: Some(4), ..Commit::default() };
    let remove = vec![segment("tick", 0).name()];
    let status = Status { kept_from_ns: Some(21), ..Status::default() };
    let three =
        Commit { n: 6, add: vec![segment("tick", 1)], remove, status: Some(status), ..Commit::default() };
    [one, two, three]
}

#[test]
fn what_is_written_is_read_and_each_line_is_plain_json() {
    let commits = three();
    let text = text(&commits);
    let log = Log::parse(text.as_bytes());
    assert_eq!((&log.commits[..], log.bytes, &log.stopped), (&commits[..], text.len() as u64, &None));
    assert_eq!(log.durable(), Some(4));
    for line in text.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap()["crc"].is_string());
    }
    let contents = log.contents().unwrap();
    let there: Vec<String> = contents.segments.keys().map(SegmentName::path).collect();
    assert_eq!(there, ["counts/000000.parquet", "tick/000001.parquet"]);
    assert_eq!(
        (contents.status.kept_from_ns, contents.until_ns, contents.last),
        (Some(21), Some(20), Some(6))
    );
}

#[test]
fn every_cut_and_every_damaged_byte_leaves_whole_lines_only() {
    let commits = three();
    let text = text(&commits);
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let whole = |bytes: usize| ends.iter().filter(|end| **end <= bytes).count();
    for cut in 0..text.len() {
        let log = Log::parse(&text.as_bytes()[..cut]);
        assert_eq!(log.commits[..], commits[..whole(cut)], "cut at {cut}");
        assert_eq!(log.stopped.is_some_and(|it| it.is_torn), cut > 0 && !ends.contains(&cut), "cut at {cut}");
    }
    for at in 0..text.len() {
        let mut damaged = text.clone().into_bytes();
        damaged[at] ^= 0x10;
        let log = Log::parse(&damaged);
        assert_eq!(log.commits[..], commits[..whole(at)], "damaged at {at}");
        assert!(log.stopped.is_some());
    }
}

#[test]
fn a_line_that_is_left_out_or_contradicts_others_is_not_taken() {
    let [one, two, three] = three();
    let log = Log::parse(text(&[one.clone(), three.clone()]).as_bytes());
    assert_eq!(log.commits.len(), 1);
    assert!(log.stopped.unwrap().why.contains("does not follow"));
    let twice = Commit { n: 5, ..one.clone() };
    let error = Log::parse(text(&[one, twice]).as_bytes()).contents().unwrap_err();
    assert_eq!(format!("{error:#}"), "commit 5 makes no sense: it adds tick/000000.parquet, which is there");
    let error = Log::parse(text(&[two, three]).as_bytes()).contents().unwrap_err();
    assert!(format!("{error:#}").contains("which is not there"), "{error:#}");
}

#[test]
fn carried_rows_are_seen_in_the_oldest_epoch_only() {
    let in_epoch = |number, epoch, carried| Segment { epoch, carried, ..segment("processes", number) };
    let add = vec![
        in_epoch(0, 3, false),
        in_epoch(1, 3, true),
        in_epoch(2, 4, true),
        in_epoch(3, 4, false),
        Segment { epoch: 1, ..segment(PROBES, 0) },
    ];
    let mut contents = Contents::default();
    contents.apply(&Commit { add, ..Commit::default() }).unwrap();
    let numbers = |contents: &Contents| {
        let visible = contents.visible();
        let of_table = visible.iter().filter(|it| it.table == "processes");
        of_table.map(|it| it.number).collect::<Vec<u64>>()
    };
    assert_eq!(numbers(&contents), [0, 1, 3]);
    let remove = vec![segment("processes", 0).name(), segment("processes", 1).name()];
    contents.apply(&Commit { n: 1, remove, ..Commit::default() }).unwrap();
    assert_eq!(numbers(&contents), [2, 3]);
}
