//! Triggers as written in; probes whose records make snapshots instead of rows out.
//!
//! A trigger is an event and a predicate: one more probe of that event, so the kernel decides. Its records and counters
//! are kept apart from those of the trace.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use schemas::def::{EventDef, builtin, parse_inline};

use super::attach::{Attached, brief};
use super::seed::PROCESSES;
use super::signals::{ENDED_EARLY, Signals};
use crate::cli::args::PrintFormat;
use crate::engine::Engine;
use crate::kernel::Kernel;
use crate::pipeline::decode_record;
use crate::print::Printer;
use crate::resolve::{Filter, Request, ResolvedEvent, Stacks, resolve};
use crate::select::find;
use crate::source::{ProbeCounters, ProbeId};

/// Hits that are looked at between two drains; more of them are only counted.
const MOST_HITS: usize = 16;

/// A trigger that has a name.
struct Named {
    name: &'static str,
    /// What it is short for.
    event: &'static str,
    /// The only source of a built-in event that counts.
    source: Option<&'static str>,
    predicate: Option<&'static str>,
    /// Also of processes that are not followed.
    is_global: bool,
    doc: &'static str,
}

const NAMED: [Named; 2] = [
    Named {
        name: "oom",
        event: "oom=tp:oom:mark_victim",
        source: None,
        predicate: None,
        is_global: true,
        doc: "the kernel kills a process because memory is short",
    },
    Named {
        name: "exit!=0",
        event: PROCESSES,
        source: Some("exit"),
        predicate: Some("exit_code != 0"),
        is_global: false,
        doc: "a recorded process exits with another code than 0, or by a signal",
    },
];

/// Help of `--trigger`.
pub fn help() -> String {
    let named: Vec<String> = NAMED.iter().map(|named| format!("'{}' ({})", named.name, named.doc)).collect();
    format!(
        "Make a snapshot when this happens: 'EVENT: CONDITION', such as 'listens: port == 4444', an inline probe, or \
         {}. The event need not be recorded (repeatable)",
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
    is_global: bool,
}

impl Trigger {
    /// Fails if there is no such event.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_plain(text).with_context(|| format!("--trigger '{text}'"))
    }

    fn parse_plain(text: &str) -> Result<Self> {
        let dense: String = text.split_whitespace().collect();
        if let Some(named) = NAMED.iter().find(|named| named.name == dense) {
            let mut def = match named.source {
                None => parse_inline(named.event)?,
                Some(_) => one(named.event)?,
            };
            def.sources.retain(|source| named.source.is_none_or(|name| source.name == name));
            let predicate = named.predicate.map(str::to_owned);
            return Ok(Self { text: text.to_owned(), def, predicate, is_global: named.is_global });
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
        Ok(Self { text: text.to_owned(), def, predicate, is_global: false })
    }
}

fn one(event: &str) -> Result<EventDef> {
    let names: Vec<&str> = NAMED.iter().map(|named| named.name).collect();
    let found = find(event).with_context(|| format!("it is none of {} either", names.join(", ")))?;
    match <[EventDef; 1]>::try_from(found) {
        Ok([def]) => Ok(def),
        Err(several) => bail!("it names {} events: write one trigger for each", several.len()),
    }
}

/// A trigger on this kernel.
pub struct PlannedTrigger {
    trigger: Trigger,
    resolved: ResolvedEvent,
}

impl PlannedTrigger {
    /// Resolve `trigger`; with `pids` it is set off only by processes of the pid set. Fails if its condition does not
    /// fit this kernel.
    pub fn new(kernel: &Kernel, trigger: Trigger, pids: bool) -> Result<Self> {
        let filter = Filter {
            pids: pids && !trigger.is_global,
            exclude_pid: Some(std::process::id()),
            extra: trigger.predicate.clone(),
            ..Filter::default()
        };
        let request =
            Request { def: &trigger.def, filter: &filter, stacks: Stacks::None, all_sources: false };
        let resolved = resolve(kernel, &request).with_context(|| format!("--trigger '{}'", trigger.text))?;
        Ok(Self { trigger, resolved })
    }

    /// Rings that it needs.
    pub fn sources(&self) -> u32 {
        self.resolved.sources.iter().filter(|source| !source.candidates.is_empty()).count() as u32
    }
}

/// A trigger was set off.
pub struct Hit {
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
}

impl Triggers {
    /// Attach `planned`; probes get the numbers after those in `attached`. Fails if one cannot be observed at all: a
    /// trigger that never comes would not be noticed.
    pub fn attach(
        engine: &mut Engine,
        planned: Vec<PlannedTrigger>,
        attached: &mut Attached,
        utc_minus_boottime_ns: i64,
        signals: &mut Signals,
    ) -> Result<Self> {
        let mut probes = HashMap::new();
        for (index, PlannedTrigger { trigger, resolved }) in planned.iter().enumerate() {
            let before = probes.len();
            let mut reasons = Vec::new();
            for source in &resolved.sources {
                anyhow::ensure!(signals.next().is_none(), ENDED_EARLY);
                reasons.extend(source.refused.iter().map(|(probe, reason)| format!("{probe}: {reason}")));
                for candidate in &source.candidates {
                    match engine.attach_weighted(attached.next, candidate, 1) {
                        Ok(()) => {
                            probes.insert(attached.next, index);
                            attached.next += 1;
                            break;
                        }
                        Err(error) => reasons.push(format!("{error:#}")),
                    }
                }
            }
            if probes.len() == before {
                bail!("--trigger '{}' cannot be observed: {}", trigger.text, brief(&reasons));
            }
        }
        Ok(Self { planned, probes, utc_minus_boottime_ns, ..Self::default() })
    }

    /// Take a record if it is of a trigger.
    pub fn take(&mut self, probe: ProbeId, cpu: u16, record: &[u8]) -> bool {
        let Some(&index) = self.probes.get(&probe) else { return false };
        if self.hits.len() >= MOST_HITS {
            self.more += 1;
            return true;
        }
        let PlannedTrigger { trigger, resolved } = &self.planned[index];
        let ts_ns = record.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let batch = decode_record(&resolved.layout, self.utc_minus_boottime_ns, probe, cpu, record);
        // What cannot be shown sets it off all the same.
        let event = batch.ok().and_then(|batch| {
            let mut line = Vec::new();
            Printer::new(&mut line, PrintFormat::Ndjson).print(&trigger.def.name, &batch).ok()?;
            serde_json::from_slice(&line).ok()
        });
        self.hits.push(Hit { ts_ns, text: trigger.text.clone(), event });
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

    /// `counters` without those of triggers.
    pub fn without(&self, mut counters: Vec<ProbeCounters>) -> Vec<ProbeCounters> {
        counters.retain(|counters| !self.probes.contains_key(&counters.probe));
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_wrong_event_is_told_with_the_nearest_one() {
        let error = format!("{:#}", Trigger::parse("lisens: port == 1").unwrap_err());
        assert!(error.starts_with("--trigger 'lisens: port == 1'"), "{error}");
        assert!(error.contains("did you mean listens?") && error.contains("oom"), "{error}");
        let error = format!("{:#}", Trigger::parse("*").unwrap_err());
        assert!(error.contains("write one trigger for each"), "{error}");
    }
}
