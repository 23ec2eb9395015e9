//! Triggers as written in; probes whose records make snapshots instead of rows out.
//!
//! A trigger is an event and a predicate: one more probe of that event, so the kernel decides. Its records and counters
//! are kept apart from those of the trace. What it may have missed is told, because no table does.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail, ensure};
use schemas::def::{Aggregate, EventDef, builtin, parse_inline, parse_toml};
use schemas::trace::PROCESSES;
use schemas::wire::NONE;

use super::amounts::{Amounts, Limit};
use super::attach::{Attached, brief};
use super::plan::filter;
use super::signals::{ENDED_EARLY, Signals};
use crate::cli::args::PrintFormat;
use crate::cli::options::Options;
use crate::cli::say;
use crate::engine::Engine;
use crate::kernel::Kernel;
use crate::pipeline::decode_record;
use crate::print::Printer;
use crate::resolve::{Candidate, Filter, Request, ResolvedEvent, ResolvedSource, Stacks, resolve};
use crate::select::find;
use crate::source::{ProbeCounters, ProbeId};

/// Hits of a trigger that are looked at between two drains; more of them are only counted.
const MOST_HITS: usize = 16;

/// A trigger that has a name.
struct Named {
    name: &'static str,
    event: Short,
    predicate: Option<&'static str>,
    /// Also of what is not recorded.
    is_global: bool,
    doc: &'static str,
}

/// What a name is short for.
enum Short {
    /// A definition.
    Def(&'static str),
    /// A built-in event, and the only source of it that counts.
    BuiltIn(&'static str, &'static str),
}

const NAMED: [Named; 2] = [
    Named {
        name: "oom",
        event: Short::Def(include_str!("oom.toml")),
        predicate: None,
        is_global: true,
        doc: "the kernel kills a process because memory is short",
    },
    Named {
        name: "exit!=0",
        event: Short::BuiltIn(PROCESSES, "exit"),
        predicate: Some("exit_code != 0"),
        is_global: false,
        doc: "a recorded process exits with another code than 0, or by a signal",
    },
];

/// Help of `--trigger`.
pub fn help() -> String {
    let named: Vec<String> = NAMED.iter().map(|named| format!("'{}' ({})", named.name, named.doc)).collect();
    format!(
        "Make a snapshot when this happens: 'EVENT: CONDITION', such as 'listens: port == 4444', an inline probe, \
         'EVENT --count KEY: count > N' for a key that comes more often in an interval, or {}. The event need not be \
         recorded (repeatable)",
        named.join(", ")
    )
}

/// A trigger.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// As written.
    text: String,
    def: EventDef,
    predicate: Option<String>,
    /// Of an event that is counted: what has to be more than how much.
    limit: Option<Limit>,
    is_global: bool,
}

impl Trigger {
    /// Fails if there is no such event.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_plain(text).with_context(|| format!("--trigger '{text}'"))
    }

    fn parse_plain(text: &str) -> Result<Self> {
        // An event that is counted, and how much is too much: 'EVENT --count KEY: count > N'.
        if let Some((event, limit)) = text.rsplit_once(':')
            && Aggregate::split(event)?.is_some()
        {
            let limit = Some(Limit::parse(limit)?);
            return Ok(Self {
                text: text.to_owned(),
                def: one(event)?,
                predicate: None,
                limit,
                is_global: false,
            });
        }
        let dense: String = text.split_whitespace().collect();
        if let Some(named) = NAMED.iter().find(|named| named.name == dense) {
            let def = match named.event {
                Short::Def(text) => parse_toml(named.name, text)?,
                Short::BuiltIn(event, source) => {
                    let mut def = one(event)?;
                    def.sources.retain(|own| own.name == source);
                    def
                }
            };
            let predicate = named.predicate.map(str::to_owned);
            let is_global = named.is_global;
            return Ok(Self { text: text.to_owned(), def, predicate, limit: None, is_global });
        }
        // KIND:TARGET has no blank behind the colon.
        let (def, predicate) = match text.split_once(':') {
            Some((event, rest))
                if rest.starts_with(' ') || builtin().iter().any(|e| e.name == event.trim()) =>
            {
                (one(event.trim())?, Some(rest.trim().to_owned()).filter(|rest| !rest.is_empty()))
            }
            Some(_) => (parse_inline(text)?, None),
            None => (one(text.trim())?, None),
        };
        ensure!(
            def.aggregate.is_none(),
            "an event that is counted sets a trigger off by how much there is: '{text}: count > 1000'"
        );
        Ok(Self { text: text.to_owned(), def, predicate, limit: None, is_global: false })
    }

    /// What may set it off, where rows pass the filter `rows`.
    fn filter(&self, rows: Filter) -> Filter {
        // What concerns the whole machine may come about in any process, this one included.
        let base = if self.is_global { Filter::default() } else { rows };
        // Every one counts, also of rows of which only some are recorded.
        Filter { extra: self.predicate.clone(), sample: 0, ..base }
    }
}

fn one(event: &str) -> Result<EventDef> {
    let names: Vec<&str> = NAMED.iter().map(|named| named.name).collect();
    let found = find(event).with_context(|| {
        format!("it is none of {} either; a probe of your own is written there in full", names.join(", "))
    })?;
    match <[EventDef; 1]>::try_from(found) {
        Ok([def]) => Ok(def),
        Err(several) => bail!("it names {} events: write one trigger for each", several.len()),
    }
}

/// A trigger on this kernel.
pub struct PlannedTrigger {
    trigger: Trigger,
    resolved: ResolvedEvent,
    amounts: Option<Amounts>,
}

impl PlannedTrigger {
    /// Resolve `trigger`; it is set off only by what `options` record. Fails if its condition does not fit this kernel.
    pub fn new(kernel: &Kernel, trigger: Trigger, options: &Options) -> Result<Self> {
        let filter = trigger.filter(filter(options));
        let request =
            Request { def: &trigger.def, filter: &filter, stacks: Stacks::None, all_sources: false };
        let mut resolved =
            resolve(kernel, &request).with_context(|| format!("--trigger '{}'", trigger.text))?;
        if let Some(why) = never(&resolved) {
            bail!("--trigger '{}' can never come: {why}", trigger.text);
        }
        // Objects that it has seen begin are its own: what it takes away would be missing from the trace.
        for candidate in resolved.sources.iter_mut().flat_map(|source| &mut source.candidates) {
            candidate.event = format!("{} of --trigger '{}'", candidate.event, trigger.text);
        }
        let amounts = trigger.limit.as_ref().map(|limit| Amounts::new(limit, &resolved)).transpose();
        let amounts = amounts.with_context(|| format!("--trigger '{}'", trigger.text))?;
        Ok(Self { trigger, resolved, amounts })
    }

    /// Rings that it needs.
    pub fn sources(&self) -> u32 {
        let is_counted = self.amounts.is_some();
        let sources = self.resolved.sources.iter().filter(|source| !source.candidates.is_empty());
        if is_counted { 0 } else { sources.count() as u32 }
    }
}

/// Why `event` cannot come with its condition.
fn never(event: &ResolvedEvent) -> Option<&'static str> {
    let all = || event.sources.iter().flat_map(|source| &source.candidates);
    let is_end = |candidate: &&Candidate| candidate.plan.ends != NONE;
    if !all().filter(|candidate| !is_end(candidate)).all(|candidate| candidate.is_never) {
        return None;
    }
    if all().filter(is_end).all(|candidate| candidate.is_never) {
        return Some("no event meets its condition");
    }
    Some(
        "its condition is met only where an object ends, and an end counts if its begin met it too: change it, or record \
         without a filter by process",
    )
}

/// A trigger was set off.
pub struct Hit {
    /// Which trigger.
    pub trigger: usize,
    /// When, boot time (ns).
    pub ts_ns: u64,
    /// The trigger as written.
    pub text: String,
    /// The event: its columns.
    pub event: Option<serde_json::Value>,
}

/// Attached triggers.
#[derive(Default)]
pub struct Triggers {
    planned: Vec<PlannedTrigger>,
    probes: HashMap<ProbeId, usize>,
    utc_minus_boottime_ns: i64,
    hits: Vec<Hit>,
    more: u64,
    /// Events that may have set one off and did not come, as of the last counters.
    missed: BTreeMap<ProbeId, u64>,
    has_warned: bool,
}

impl Triggers {
    /// Attach `planned`; probes get the numbers after those in `attached`. Fails if one cannot be observed at all: a
    /// trigger that never comes would not be noticed. Of one that is observed in part, `attached` gets a warning.
    pub fn attach(
        engine: &mut Engine,
        planned: Vec<PlannedTrigger>,
        attached: &mut Attached,
        utc_minus_boottime_ns: i64,
        signals: &Signals,
    ) -> Result<Self> {
        let mut triggers = Self { utc_minus_boottime_ns, ..Self::default() };
        for (index, PlannedTrigger { trigger, resolved, .. }) in planned.iter().enumerate() {
            let (mut all, mut missing) = (Vec::new(), Vec::new());
            for source in &resolved.sources {
                anyhow::ensure!(signals.next().is_none(), ENDED_EARLY);
                let unseen = |way: &str| format!("--trigger '{}' is not set off by {way}", trigger.text);
                let reasons = match triggers.source(engine, index, source, &mut attached.next) {
                    Ok(()) => {
                        missing.extend(source.unobserved.iter().map(|way| unseen(&way.what)));
                        continue;
                    }
                    Err(reasons) => reasons,
                };
                if let Some(way) = &source.way {
                    missing.push(unseen(way));
                } else if !source.optional {
                    let why = if reasons.is_empty() { "it has no probe".to_owned() } else { brief(&reasons) };
                    missing.push(format!(
                        "--trigger '{}', source {} is not observed: {why}",
                        trigger.text, source.name
                    ));
                }
                all.extend(reasons);
            }
            if !triggers.probes.values().any(|of| *of == index) {
                bail!("--trigger '{}' cannot be observed: {}", trigger.text, brief(&all));
            }
            missing.retain(|text| !attached.warnings.contains(text));
            attached.warnings.extend(missing);
        }
        Ok(Self { planned, ..triggers })
    }

    /// Attach the best candidate of a source that the kernel takes; it gets the numbers from `next` on. Otherwise the
    /// reasons.
    fn source(
        &mut self,
        engine: &mut Engine,
        trigger: usize,
        source: &ResolvedSource,
        next: &mut ProbeId,
    ) -> Result<(), Vec<String>> {
        let mut reasons: Vec<String> =
            source.refused.iter().map(|(probe, reason)| format!("{probe}: {reason}")).collect();
        for candidate in &source.candidates {
            match engine.attach_weighted(*next, candidate, 1) {
                Ok(()) => {
                    // The second number, if there is one, is for what happens in interrupts.
                    for _ in 0..candidate.copies() {
                        self.probes.insert(*next, trigger);
                        *next += 1;
                    }
                    return Ok(());
                }
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        Err(reasons)
    }

    /// Take a record if it is of a trigger.
    pub fn take(&mut self, probe: ProbeId, cpu: u16, record: &[u8]) -> bool {
        let Some(&index) = self.probes.get(&probe) else { return false };
        let mut total = None;
        if let Some(amounts) = &mut self.planned[index].amounts {
            total = amounts.add(record);
            if total.is_none() {
                return true;
            }
        }
        let record = total.as_deref().unwrap_or(record);
        // Each on its own: a frequent one does not hide a rare one.
        if self.hits.iter().filter(|hit| hit.trigger == index).count() >= MOST_HITS {
            self.more += 1;
            return true;
        }
        let PlannedTrigger { trigger, resolved, .. } = &self.planned[index];
        let ts_ns = record.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let batch = decode_record(&resolved.layout, self.utc_minus_boottime_ns, probe, cpu, record);
        // What cannot be shown sets it off all the same.
        let event = batch.ok().and_then(|batch| {
            let mut line = Vec::new();
            Printer::new(&mut line, PrintFormat::Ndjson).print(&trigger.def.name, &batch).ok()?;
            serde_json::from_slice(&line).ok()
        });
        self.hits.push(Hit { trigger: index, ts_ns, text: trigger.text.clone(), event });
        true
    }

    /// Those since the last call.
    pub fn take_hits(&mut self) -> Vec<Hit> {
        std::mem::take(&mut self.hits)
    }

    /// How many more there were.
    pub fn take_more(&mut self) -> u64 {
        std::mem::take(&mut self.more)
    }

    /// `counters` without those of triggers, of which only what was missed is kept.
    pub fn without(&mut self, mut counters: Vec<ProbeCounters>) -> Vec<ProbeCounters> {
        counters.retain(|counters| {
            let is_trigger = self.probes.contains_key(&counters.probe);
            if is_trigger {
                let most = self.missed.entry(counters.probe).or_default();
                *most = missed(counters).max(*most);
            }
            !is_trigger
        });
        counters
    }

    /// What each trigger may have missed, as it is to be told: there is no snapshot of that.
    pub fn missed(&self) -> Vec<String> {
        let mut by_trigger: BTreeMap<usize, u64> = BTreeMap::new();
        for (probe, missed) in self.missed.iter().filter(|(_, missed)| **missed > 0) {
            *by_trigger.entry(self.probes[probe]).or_default() += missed;
        }
        let text = |(index, missed): (usize, u64)| {
            let trigger = &self.planned[index].trigger.text;
            format!(
                "trigger '{trigger}' was missed, {missed} times at most: its ring buffer or its table of keys was full, or \
                 the kernel skipped its program; raise --buffer-size or --max-keys, or narrow its condition"
            )
        };
        by_trigger.into_iter().map(text).collect()
    }

    /// Say once, while recording, that some were missed.
    pub fn warn(&mut self) {
        if !self.has_warned && self.missed.values().any(|missed| *missed > 0) {
            self.has_warned = true;
            self.missed().iter().for_each(|text| say(format_args!("warning: {text}")));
        }
    }
}

/// Events of a trigger's probe that did not come, or may not have.
fn missed(counters: &ProbeCounters) -> u64 {
    let ProbeCounters { probe: _, per_cpu, recursion_misses, kprobe_misses, sample_misses, unfollowed: _ } =
        counters;
    let in_program: u64 = per_cpu.iter().flat_map(|counters| counters.lost).sum();
    in_program + recursion_misses.unwrap_or(0) + kprobe_misses.unwrap_or(0) + sample_misses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::Cgroup;

    #[test]
    fn a_trigger_is_an_event_and_a_condition_or_an_inline_probe_or_a_name() {
        let parse = |text| Trigger::parse(text).unwrap();
        let listens = parse("listens: port == 4444");
        assert_eq!(
            (listens.def.name.as_str(), listens.predicate.as_deref()),
            ("listens", Some("port == 4444"))
        );
        assert_eq!(parse("listens").predicate, None);
        assert_eq!(parse("fn:vfs_rmdir{ retval } if retval != 0").predicate, None);
        assert!(parse("oom").is_global);
        let exit = parse("exit != 0");
        let sources: Vec<&str> = exit.def.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!((sources, exit.predicate.as_deref()), (vec!["exit"], Some("exit_code != 0")));
    }

    #[test]
    fn a_trigger_is_set_off_by_what_is_recorded_or_by_anybody_if_it_is_about_the_machine() {
        let web = Cgroup { id: 8, level: Some(2) };
        let rows = Filter {
            pids: true,
            comm: vec!["sh".to_owned()],
            netns: vec![7],
            cgroups: vec![web],
            exclude_pid: Some(9),
            extra: None,
            sample: 10,
        };
        let own = Trigger::parse("listens: port == 4444").unwrap().filter(rows.clone());
        assert_eq!(
            (own.pids, own.comm, own.netns, own.cgroups),
            (true, vec!["sh".to_owned()], vec![7], vec![web])
        );
        assert_eq!((own.exclude_pid, own.extra.as_deref(), own.sample), (Some(9), Some("port == 4444"), 0));
        let global = Trigger::parse("oom").unwrap().filter(rows);
        assert_eq!((global.pids, global.comm, global.netns), (false, vec![], vec![]));
        // The allocation that was too much may be one of the recorder.
        assert_eq!((global.cgroups, global.exclude_pid, global.sample), (vec![], None, 0));
    }

    #[test]
    fn a_wrong_event_is_told_with_the_nearest_one() {
        let error = format!("{:#}", Trigger::parse("lisens: port == 1").unwrap_err());
        assert!(error.starts_with("--trigger 'lisens: port == 1'"), "{error}");
        assert!(error.contains("did you mean listens?") && error.contains("oom"), "{error}");
        let error = format!("{:#}", Trigger::parse("*").unwrap_err());
        assert!(error.contains("write one trigger for each"), "{error}");
    }
}
