//! Events that are counted in the kernel: the same as rows of the same run that SQL would count, and errors.

use std::collections::BTreeMap;

use crate::sandbox::{Sandbox, Table, counts, meta, record};

/// Enough system calls of several programs, in three intervals at least.
const WORK: &str = "for i in 1 2 3 4 5 6 7 8 9 10; do mkdir d$i; ls d$i nowhere >/dev/null 2>&1; [ $i != 5 ] || sleep 0.3; done; sleep 0.3; cat /proc/self/status >/dev/null";

fn refused(args: &[&str], parts: &[&str]) {
    let mut all = vec!["record"];
    all.extend(args);
    let text = Sandbox::for_recording().expect(2, &all).err;
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

/// Sums of `values` in rows with the same text in `keys`; a NULL counts as nothing.
pub fn grouped(table: &Table, keys: &[&str], values: &[&str]) -> BTreeMap<Vec<String>, Vec<i128>> {
    let keys: Vec<Vec<String>> = keys.iter().map(|key| table.text(key)).collect();
    let values: Vec<Vec<Option<i128>>> = values.iter().map(|value| table.integers(value)).collect();
    let mut all: BTreeMap<Vec<String>, Vec<i128>> = BTreeMap::new();
    for row in 0..table.len() {
        let key = keys.iter().map(|key| key[row].clone()).collect();
        let sums = all.entry(key).or_insert_with(|| vec![0; values.len() + 1]);
        sums[0] += 1;
        values.iter().zip(&mut sums[1..]).for_each(|(value, sum)| *sum += value[row].unwrap_or(0));
    }
    all
}

/// The numbers with the same power of two: from the first to the last.
fn power(number: i128) -> (i128, i128) {
    match number {
        0 => (0, 0),
        1.. => (1 << number.ilog2(), (2 << number.ilog2()) - 1),
        _ => {
            let (from, to) = power(-number);
            (-to, -from)
        }
    }
}

#[test]
fn what_is_counted_in_the_kernel_is_what_would_be_counted_of_rows() {
    let sandbox = Sandbox::for_recording();
    let counted = "syscalls if nr != 39 --count comm,nr,pid --sum ret --sum twice=nr * 2";
    let powers = "powers=syscalls --hist nr";
    record(&sandbox, 0, &["syscalls", counted, powers, "--interval", "100ms"], WORK);
    let trace = sandbox.path("t");
    let (rows, table, powers) = (
        Table::read(&trace, "syscalls"),
        Table::read(&trace, "syscalls_counts"),
        Table::read(&trace, "powers"),
    );
    let keys = ["comm", "nr", "pid"];
    let mut wanted = BTreeMap::new();
    let known: Vec<usize> = rows.integers("ret").iter().map(|ret| usize::from(ret.is_some())).collect();
    let (nr, ret) = (rows.integers("nr"), rows.integers("ret"));
    let names: Vec<Vec<String>> = keys.iter().map(|key| rows.text(key)).collect();
    let mut by_power: BTreeMap<(i128, i128), i128> = BTreeMap::new();
    for row in 0..rows.len() {
        let number = nr[row].unwrap();
        *by_power.entry(power(number)).or_default() += 1;
        if number == 39 {
            continue;
        }
        let key: Vec<String> = names.iter().map(|name| name[row].clone()).collect();
        let sums = wanted.entry(key).or_insert([0i128; 4]);
        sums[0] += 1;
        sums[1] += known[row] as i128;
        sums[2] += ret[row].unwrap_or(0);
        sums[3] += 2 * number;
    }
    assert!(wanted.len() > 20, "{wanted:?}");
    let found = grouped(&table, &keys, &["count", "count_ret", "sum_ret", "sum_twice"]);
    let found: BTreeMap<_, _> =
        found.into_iter().map(|(key, sums)| (key, [sums[1], sums[2], sums[3], sums[4]])).collect();
    assert_eq!(found, wanted);
    assert!(grouped(&table, &["ts"], &[]).len() > 2, "one interval only");
    let (from, to, count) = (powers.integers("from_nr"), powers.integers("to_nr"), powers.integers("count"));
    let mut found: BTreeMap<(i128, i128), i128> = BTreeMap::new();
    for row in 0..powers.len() {
        *found.entry((from[row].unwrap(), to[row].unwrap())).or_default() += count[row].unwrap();
    }
    assert_eq!(found, by_power);
    for event in ["syscalls_counts", "powers"] {
        let events: i128 = Table::read(&trace, event).integers("count").iter().flatten().sum();
        assert_eq!(counts(&trace, event), (events, events, 0), "{event}");
    }
}

#[test]
fn a_table_that_is_full_is_a_loss() {
    let sandbox = Sandbox::for_recording();
    let args = ["syscalls", "--count", "nr", "--max-keys", "3", "--interval", "1m", "--fail-on-loss"];
    let text = record(&sandbox, 1, &args, WORK);
    assert!(text.contains("lost (keys_full)"), "{text}");
    let (seen, recorded, lost) = counts(&sandbox.path("t"), "syscalls_counts");
    let table = Table::read(&sandbox.path("t"), "syscalls_counts");
    assert_eq!(table.integers("count").iter().flatten().sum::<i128>(), recorded);
    assert_eq!(seen, recorded + lost);
    assert!(recorded > 0 && lost > 0, "{recorded} {lost}");
}

#[test]
fn functions_of_programs_are_counted_with_arguments_from_the_entry() {
    let sandbox = Sandbox::for_recording();
    let probe = "writes=syscall:write{ fd, name=entry(buf):ustring[7], retval, dur }";
    let counted = format!("{probe} --count fd,name,comm --sum retval --hist dur");
    record(
        &sandbox,
        0,
        &[&probe.replace("writes", "single"), &counted],
        "for i in 1 2 3; do echo one-$i; echo two; done >out",
    );
    let trace = sandbox.path("t");
    let (all, writes) = (Table::read(&trace, "single"), Table::read(&trace, "writes"));
    let keys = ["fd", "name", "comm"];
    let wanted: BTreeMap<_, _> = grouped(&all, &keys, &["retval"]);
    let found = grouped(&writes, &keys, &["count", "sum_retval"]);
    let found: BTreeMap<_, _> = found.into_iter().map(|(key, sums)| (key, vec![sums[1], sums[2]])).collect();
    assert_eq!(found, wanted);
    assert!(found.keys().any(|key| key[1].starts_with("two")), "{found:?}");
    let (from, to) = (writes.integers("from_dur_ns"), writes.integers("to_dur_ns"));
    assert!(from.iter().zip(&to).all(|(from, to)| from.unwrap() * 2 - 1 == to.unwrap()), "{from:?} {to:?}");
}

#[test]
fn an_event_file_can_say_what_is_counted() {
    let sandbox = Sandbox::for_recording();
    let event = "summary = \"a directory is made\"\n[aggregate]\ncount = [\"mode\"]\n[[source]]\n[[source.probe]]\n\
                 on = \"syscall:mkdir\"\n[[column]]\nname = \"mode\"\ntype = \"x16\"\ndoc = \"its rights\"\nexpr = \"mode\"\n";
    std::fs::write(sandbox.path("made.toml"), event).unwrap();
    record(&sandbox, 0, &["./made.toml"], "mkdir a b c; mkdir -m 700 d");
    let made = Table::read(&sandbox.path("t"), "made");
    assert_eq!(made.integers("count").iter().flatten().sum::<i128>(), 4);
    assert!(grouped(&made, &["mode"], &[]).len() == 2);
}

#[test]
fn a_key_that_comes_too_often_in_an_interval_sets_a_trigger_off() {
    let sandbox = Sandbox::for_recording();
    let often = "syscall:chdir{ filename:ustring[31] } --count comm: count > 400";
    let never = "syscall:chdir{ filename:ustring[31] } --count comm: count > 100_000";
    let script = "i=0; while [ $i -lt 1000 ]; do cd .; i=$((i+1)); done; sleep 1";
    let args = ["mkdirs", "--interval", "500ms", "--trigger", often, "--trigger", never];
    let text = record(&sandbox, 0, &args, script);
    let snapshots: Vec<String> =
        sandbox.files().into_iter().filter(|name| name.contains("-snapshot-")).collect();
    assert_eq!(snapshots.len(), 1, "{text}");
    let frozen = &meta(&sandbox.path(&snapshots[0]))["frozen"];
    assert_eq!(frozen["text"], often);
    assert!(frozen["event"]["count"].as_i64().unwrap() > 400, "{frozen}");
    assert_eq!(frozen["event"]["comm"], "sh");
    refused(&["mkdirs", "--trigger", "mkdirs --count comm"], &["count > 1000"]);
    refused(&["mkdirs", "--trigger", "mkdirs --count comm: n > 5"], &["n is none of count"]);
}

#[test]
fn what_cannot_be_counted_is_refused_with_the_reason() {
    refused(&["syscalls", "--count", "com"], &["--count com", "did you mean comm?", "nr", "pid"]);
    refused(&["syscalls", "--sum", "comm"], &["--sum comm", "char[16]", "no number"]);
    refused(&["syscalls", "--sum", "nr * 2"], &["--sum nr * 2", "NAME=nr * 2"]);
    refused(&["syscalls", "mkdirs", "--count", "comm"], &["there are 2", "'syscalls --count comm'"]);
    refused(&["syscalls --count comm", "--sample", "2"], &["--sample", "syscalls_counts"]);
    refused(&["syscalls", "--count", "comm", "--interval", "1ms"], &["--interval", "100ms"]);
    refused(
        &["syscalls --count comm", "syscalls_counts=mkdirs --count"],
        &["two events are named syscalls_counts"],
    );
    refused(&["a=syscall:read{ count } --count count"], &["column count of its own"]);
    refused(&["a=syscall:read{ fd, was=entry(fd) } --sum was"], &["--sum was", "at the entry"]);
}
