//! Resolved events in, attached probes out: of each source the best candidate that the kernel takes, and a row of table
//! `probes` for it and for everything better.

use anyhow::{Result, bail, ensure};

use super::plan::{Plan, Planned};
use super::signals::{ENDED_EARLY, Signals};
use crate::engine::Engine;
use crate::pipeline::ProbeRow;
use crate::resolve::{Candidate, ResolvedSource};
use crate::source::ProbeId;
use crate::user::Place;

/// What came of attaching.
#[derive(Debug, Default)]
pub struct Attached {
    /// Rows of table `probes`.
    pub rows: Vec<ProbeRow>,
    /// The number that the next probe gets.
    pub next: ProbeId,
    /// Events of which nothing is observed, and sources that are missing, with the reasons.
    pub warnings: Vec<String>,
    /// What is to be known about probes that are attached.
    pub notes: Vec<String>,
}

/// Attach all of `plan`. Fails if nothing that was asked for can be observed, or with `require` if anything cannot, or
/// if a signal comes meanwhile.
pub fn attach(engine: &mut Engine, plan: &Plan, require: bool, signals: &Signals) -> Result<Attached> {
    let mut attached = Attached::default();
    for (event, reason) in &plan.denied {
        attached.warnings.push(format!("event {event} is not recorded: {}", brief(&lines_of(reason))));
        attached.rows.push(ProbeRow {
            event: event.clone(),
            reason: Some(reason.clone()),
            ..ProbeRow::default()
        });
    }
    let mut observed = 0;
    for (i, event) in plan.events.iter().enumerate() {
        let mut sources = 0;
        for source in &event.resolved.sources {
            ensure!(signals.next().is_none(), ENDED_EARLY);
            let done = attached.source(engine, event, source);
            sources += usize::from(done);
        }
        observed += usize::from(i < plan.asked && sources > 0);
    }
    let reasons = attached.warnings.join("; ");
    if observed == 0 {
        bail!("nothing can be recorded: {reasons}; 'recorder doctor' tells what this kernel allows");
    }
    if require && !attached.warnings.is_empty() {
        bail!("--require: {reasons}");
    }
    Ok(attached)
}

impl Attached {
    /// Try the candidates of one source, best first. True if one was attached.
    fn source(&mut self, engine: &mut Engine, event: &Planned, source: &ResolvedSource) -> bool {
        let name = &event.def.name;
        let mut reasons: Vec<String> = Vec::new();
        let mut refused = 0;
        for candidate in &source.candidates {
            let Candidate { mechanism, target, better, explain, user, .. } = candidate;
            self.refused(name, source, refused..*better, &mut reasons);
            refused = *better;
            let row = ProbeRow {
                event: name.clone(),
                source: source.name.clone(),
                kind: mechanism.to_string(),
                target: target.clone(),
                program: Some(explain.clone()),
                ..ProbeRow::default()
            };
            match engine.attach_weighted(self.next, candidate, event.def.weight) {
                Ok(()) => {
                    let notes = user.iter().flat_map(|place| &place.notes);
                    self.notes.extend(notes.map(|note| format!("event {name}: {note}")));
                    let reason = user.as_ref().and_then(Place::remarks);
                    self.rows.push(ProbeRow { probe: Some(self.next), reason, ..row.clone() });
                    self.next += 1;
                    for _ in 1..candidate.copies() {
                        let reason = "events in interrupts of the probe before".to_owned();
                        self.rows.push(ProbeRow {
                            probe: Some(self.next),
                            reason: Some(reason),
                            ..row.clone()
                        });
                        self.next += 1;
                    }
                    return true;
                }
                Err(error) => {
                    reasons.push(format!("{error:#}"));
                    self.rows.push(ProbeRow { reason: Some(format!("{error:#}")), ..row });
                }
            }
        }
        self.refused(name, source, refused..source.refused.len(), &mut reasons);
        if !source.optional {
            let why = if reasons.is_empty() { "it has no probe".to_owned() } else { brief(&reasons) };
            self.warnings.push(format!("event {name}, source {} is not observed: {why}", source.name));
        }
        false
    }

    /// Rows of probes that could not be tried.
    fn refused(
        &mut self,
        event: &str,
        source: &ResolvedSource,
        which: std::ops::Range<usize>,
        reasons: &mut Vec<String>,
    ) {
        for (probe, reason) in &source.refused[which] {
            let (kind, target) = parts(probe);
            reasons.push(format!("{probe}: {reason}"));
            self.rows.push(ProbeRow {
                event: event.to_owned(),
                source: source.name.clone(),
                kind: kind.to_owned(),
                target: target.to_owned(),
                reason: Some(reason.clone()),
                ..ProbeRow::default()
            });
        }
    }

    /// All that was attached sees from `now_ns` on (UTC).
    pub fn started(&mut self, now_ns: i64) {
        for row in self.rows.iter_mut().filter(|row| row.probe.is_some()) {
            row.attached_ns = Some(now_ns);
        }
    }

    /// A number and a row for the rows that the recorder itself makes of `event`.
    pub fn snapshot(&mut self, event: &str, target: &str, reason: Option<String>, now_ns: i64) -> ProbeId {
        let probe = self.next;
        self.next += 1;
        self.rows.push(ProbeRow {
            probe: Some(probe),
            event: event.to_owned(),
            source: "snapshot".to_owned(),
            kind: "snapshot".to_owned(),
            target: target.to_owned(),
            reason,
            attached_ns: Some(now_ns),
            ..ProbeRow::default()
        });
        probe
    }
}

/// Mechanism and target of a refused probe, as the resolver writes it: `tp:sched:sched_switch (raw_tp)`.
pub fn parts(probe: &str) -> (&str, &str) {
    let (written, mechanism) = match probe.strip_suffix(')').and_then(|probe| probe.rsplit_once(" (")) {
        Some((written, mechanism)) => (written, Some(mechanism)),
        None => (probe, None),
    };
    let (kind, target) = written.split_once(':').unwrap_or((written, ""));
    (mechanism.unwrap_or(kind), target)
}

fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// Reasons in one line: the first line of each, each once.
pub fn brief(reasons: &[String]) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in reasons.iter().filter_map(|reason| reason.lines().next()) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_probe_has_a_mechanism_and_a_target() {
        assert_eq!(parts("tp:sched:sched_switch (raw_tp)"), ("raw_tp", "sched:sched_switch"));
        assert_eq!(parts("uprobe:/bin/a (b):main"), ("uprobe", "/bin/a (b):main"));
        assert_eq!(parts("fentry:vfs_open"), ("fentry", "vfs_open"));
    }

    #[test]
    fn reasons_come_once_and_in_one_line() {
        let reasons = ["a\n  ^".to_owned(), "b".to_owned(), "a".to_owned()];
        assert_eq!(brief(&reasons), "a; b");
    }
}
