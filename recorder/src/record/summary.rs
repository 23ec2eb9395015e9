//! What a recording gave in, the text that the recorder ends with out.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use schemas::trace::{LOSS_REASONS, LossReason, NOT_OBSERVED};

use crate::cli::units::show_size;
use crate::pipeline::{ClockSteps, ProbeRow, Step, Summary, Totals};
use crate::snapshot::clock;

/// The text, lines without the program's name. `dir` is where the trace is, if it is kept; `took` is how it begins.
pub fn text(summary: &Summary, rows: &[ProbeRow], order: &[&str], dir: Option<&str>, took: &str) -> String {
    let Summary { events, bytes, kept_from_ns, unknown_cgroups, clock_steps, .. } = summary;
    let mut out = took.to_owned();
    // Writing to a String cannot fail.
    let _ = match dir {
        Some(dir) => writeln!(out, ": {} in {dir}", show_size(*bytes)),
        None => writeln!(out, ", not kept"),
    };
    if let Some(kept_ns) = kept_from_ns {
        let _ = writeln!(
            out,
            "  rows before {} were removed while recording (--max-age, --max-size)",
            clock::iso(*kept_ns)
        );
    }
    let width = order.iter().map(|name| name.len()).max().unwrap_or(0).max("event".len());
    let _ =
        writeln!(out, "  {:width$} {:>12} {:>12} {:>12}  observed by", "event", "seen", "recorded", "lost");
    for name in order {
        let Totals { fired: _, filtered: _, seen, recorded, lost, .. } =
            events.get(*name).cloned().unwrap_or_default();
        let _ = writeln!(
            out,
            "  {name:width$} {seen:>12} {recorded:>12} {lost:>12}  {}",
            observed_by(rows, name)
        );
    }
    clock_was_set(&mut out, clock_steps);
    if *unknown_cgroups > 0 {
        let _ = writeln!(
            out,
            "  {unknown_cgroups} cgroups have no path (rows of table cgroups where path is NULL): they existed before, \
             and are not below the cgroup2 mount of the recorder, or rows of cgroup_changes were lost"
        );
    }
    for name in order {
        if let Some(ways) = unobserved(rows, name) {
            let _ = writeln!(out, "  {name}: not observed: {ways}");
        }
    }
    for name in order {
        if let Some(totals) = events.get(*name) {
            problems(&mut out, name, totals);
        }
    }
    for reason in LOSS_REASONS {
        let is_unknown =
            |name: &&&str| events.get(**name).is_some_and(|totals| totals.unknown.contains(&reason.name));
        let names: Vec<&str> = order.iter().filter(is_unknown).copied().collect();
        if !names.is_empty() {
            let _ = writeln!(out, "  {}: {}", names.join(", "), unknown(reason, rows, &names));
        }
    }
    out
}

fn clock_was_set(out: &mut String, steps: &ClockSteps) {
    for Step { ts_ns, step_ns, shown_ns } in &steps.first {
        let direction = if *step_ns < 0 { "back" } else { "forward" };
        let by = show_duration(Duration::from_nanos(step_ns.unsigned_abs()));
        let (at, to) = (clock::iso(*ts_ns), clock::iso(*shown_ns));
        let _ = writeln!(
            out,
            "  the wall clock was set {direction} by {by} at {at}, to {to}: ts is not affected (table clock)"
        );
    }
    let untold = steps.count - steps.first.len() as u64;
    if untold > 0 {
        let _ = writeln!(out, "  the wall clock was set {untold} times more: table clock has all of them");
    }
}

/// `3600.000000 s`: nobody sets a clock more exactly than that.
fn show_duration(duration: Duration) -> String {
    format!("{:.6} s", duration.as_secs_f64())
}

/// How many events that were wanted are missing, and the reason of most.
pub fn lost<'a>(totals: impl Iterator<Item = &'a Totals> + Clone) -> (u64, Option<&'static LossReason>) {
    let count = |reason: &LossReason| -> u64 {
        totals.clone().filter_map(|totals| totals.reasons.get(reason.name)).sum()
    };
    let wanted = LOSS_REASONS.iter().filter(|reason| reason.loses_event && !reason.is_asked_for);
    let counts: Vec<(u64, &LossReason)> = wanted.map(|reason| (count(reason), reason)).collect();
    let worst = counts.iter().filter(|(count, _)| *count > 0).max_by_key(|(count, _)| *count);
    (counts.iter().map(|(count, _)| count).sum(), worst.map(|(_, reason)| *reason))
}

/// Most targets of a kind that are named; table `probes` has them all.
const MOST_TARGETS: usize = 24;

fn observed_by(rows: &[ProbeRow], event: &str) -> String {
    let rows = rows.iter().filter(|row| row.event == event && row.probe.is_some() && row.kind != "snapshot");
    let mut by_kind: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows {
        let targets = by_kind.entry(&row.kind).or_default();
        if !targets.contains(&row.target.as_str()) {
            targets.push(&row.target);
        }
    }
    let text = |(kind, targets): (&str, Vec<&str>)| match targets.get(MOST_TARGETS..) {
        Some(rest @ [_, ..]) => {
            format!("{kind}:{} and {} more", targets[..MOST_TARGETS].join(","), rest.len())
        }
        _ => format!("{kind}:{}", targets.join(",")),
    };
    let texts: Vec<String> = by_kind.into_iter().map(text).collect();
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(" ") }
}

/// The ways into the event that no probe saw.
fn unobserved(rows: &[ProbeRow], event: &str) -> Option<String> {
    let ways = rows.iter().filter(|row| row.event == event && row.kind == NOT_OBSERVED);
    let ways: Vec<&str> = ways.map(|row| row.target.as_str()).collect();
    (!ways.is_empty()).then(|| ways.join(", "))
}

fn problems(out: &mut String, event: &str, totals: &Totals) {
    for reason in LOSS_REASONS {
        let count = totals.reasons.get(reason.name).copied().unwrap_or(0);
        let severity = match (reason.loses_event, reason.is_asked_for) {
            (true, false) => "lost",
            (true, true) => "left out",
            (false, false) => "incomplete",
            (false, true) => "without a return",
        };
        if count > 0 {
            let _ = writeln!(
                out,
                "  {event}: {count} {severity} ({}): {}; {}",
                reason.name, reason.meaning, reason.remedy
            );
        }
    }
}

/// What this kernel does not count of `events`.
fn unknown(reason: &LossReason, rows: &[ProbeRow], events: &[&str]) -> String {
    let mut kinds = rows.iter().filter(|row| row.probe.is_some() && events.contains(&row.event.as_str()));
    let is_uretprobe = reason.name == "kprobe_missed" && kinds.all(|row| row.kind == "uretprobe");
    let (meaning, remedy) = match is_uretprobe {
        true => {
            ("returns where more than 64 calls of a thread were in progress", "a uprobe sees every entry")
        }
        false => (reason.meaning, reason.remedy),
    };
    format!("unknown how many lost ({}): {meaning}; {remedy}", reason.name)
}
