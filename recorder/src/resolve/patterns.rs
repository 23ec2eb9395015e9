//! A source that names functions or tracepoints by a pattern -> a source for each that matches.

use std::borrow::Cow;

use anyhow::{Context as _, Result, bail, ensure};
use glob::Pattern;
use schemas::def::{EventDef, SourceDef};
use schemas::expr::{ProbeKind, Target};

use crate::kernel::Kernel;

/// Most functions that a pattern may stand for: each takes a program, and time when it is attached and detached.
const MOST: usize = 500;

/// `def` without patterns.
pub(super) fn expanded<'a>(kernel: &Kernel, def: &'a EventDef) -> Result<Cow<'a, EventDef>> {
    if !def.sources.iter().any(|source| source.probes.iter().any(|probe| probe.on.is_pattern())) {
        return Ok(Cow::Borrowed(def));
    }
    let mut sources = Vec::new();
    for source in &def.sources {
        let [probe] = source.probes.as_slice() else {
            let pattern = source.probes.iter().find(|probe| probe.on.is_pattern());
            ensure!(
                pattern.is_none(),
                "source {}: a pattern must be the only probe of its source",
                source.name
            );
            sources.push(source.clone());
            continue;
        };
        if !probe.on.is_pattern() {
            sources.push(source.clone());
            continue;
        }
        for on in matches(kernel, &probe.on)? {
            let mut one = SourceDef { name: on.default_name(), ..source.clone() };
            one.probes[0].on = on;
            sources.push(one);
        }
    }
    Ok(Cow::Owned(EventDef { sources, ..def.clone() }))
}

fn matches(kernel: &Kernel, target: &Target) -> Result<Vec<Target>> {
    let pattern = Pattern::new(&target.name).with_context(|| format!("'{target}' is not a pattern"))?;
    let names: Vec<String> = match target.kind {
        ProbeKind::Tracepoint => {
            let all = kernel.tracefs().and_then(|tracefs| tracefs.tracepoints())?.into_iter();
            all.map(|(category, name)| format!("{category}:{name}")).collect()
        }
        _ => kernel.probeable_functions().into_iter().map(str::to_owned).collect(),
    };
    let found: Vec<Target> = names
        .into_iter()
        .filter(|name| pattern.matches(name))
        .map(|name| Target { kind: target.kind, name })
        .collect();
    if found.is_empty() {
        bail!(
            "nothing matches {target}: 'recorder list' shows what there is, as in: recorder list '*{}*'",
            word(target)
        );
    }
    ensure!(
        found.len() <= MOST,
        "{target} matches {}, of which each takes a program; at most {MOST} are possible: use a narrower pattern",
        found.len()
    );
    Ok(found)
}

/// The longest part of a pattern that is the same in all that it matches.
fn word(target: &Target) -> &str {
    target.name.split(['*', '?', '[', ']', ':']).max_by_key(|part| part.len()).unwrap_or_default()
}
