//! A pattern or a name in, what can be recorded on standard output: events, samples, tracepoints, functions, and the
//! columns of one event.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use glob::Pattern;
use schemas::def::{EventDef, builtin};
use schemas::expr::{HARDWARE_EVENTS, SOFTWARE_EVENTS, UNITS};

use crate::cli::{EXIT_OK, say};
use crate::kernel::Kernel;
use crate::{resolve, select, user};

/// `recorder list`: without `glob` the built-in events, with it also samples, tracepoints and functions that match.
pub fn list(glob: Option<&str>, out: &mut impl Write) -> Result<u8> {
    if let Some((kind, target)) = glob.and_then(user_functions) {
        return list_user(kind, target, out);
    }
    let pattern = glob
        .map(|glob| Pattern::new(glob).with_context(|| format!("'{glob}' is not a pattern")))
        .transpose()?;
    let matches = |name: &str| pattern.as_ref().is_none_or(|pattern| pattern.matches(name));
    let events: Vec<&EventDef> = builtin().iter().filter(|event| matches(&event.name)).collect();
    let width = events.iter().map(|event| event.name.len()).max().unwrap_or(0);
    for event in &events {
        writeln!(out, "{:width$}  {}", event.name, event.summary)?;
    }
    let Some(glob) = glob else { return Ok(EXIT_OK) };
    let mut found = events.len();
    for (written, name) in samples() {
        if matches(name) || matches(&written) {
            writeln!(out, "{written}")?;
            found += 1;
        }
    }
    let kernel = Kernel::running()?;
    match kernel.tracefs().and_then(|tracefs| tracefs.tracepoints()) {
        Ok(tracepoints) => {
            for (category, name) in tracepoints {
                let written = format!("tp:{category}:{name}");
                if matches(&name) || matches(&written["tp:".len()..]) || matches(&written) {
                    writeln!(out, "{written}")?;
                    found += 1;
                }
            }
        }
        Err(error) => say(format_args!("warning: tracepoints are not listed: {error:#}")),
    }
    for name in kernel.probeable_functions() {
        let written = format!("fn:{name}");
        if matches(name) || matches(&written) {
            writeln!(out, "{written}")?;
            found += 1;
        }
    }
    ensure!(found > 0, "nothing matches '{glob}': no event, sample, tracepoint or function; try '*{glob}*'");
    Ok(EXIT_OK)
}

/// What can be sampled, with the name of what a processor or the kernel counts.
fn samples() -> impl Iterator<Item = (String, &'static str)> {
    let counted = |kind: &'static str, events: &'static [(&str, u64)]| {
        events.iter().map(move |(name, _)| (format!("{kind}:{name}:COUNT"), *name))
    };
    let rates = UNITS.iter().map(|(unit, _)| (format!("profile:{unit}:N"), "profile"));
    rates.chain(counted("software", &SOFTWARE_EVENTS)).chain(counted("hardware", &HARDWARE_EVENTS))
}

/// `uprobe:PATH:GLOB`, `usdt:PATH:GLOB`, without the glob too: its kind, and the rest.
fn user_functions(glob: &str) -> Option<(&str, &str)> {
    let (kind, target) = glob.split_once(':')?;
    ["uprobe", "uretprobe", "usdt"].contains(&kind).then_some((kind, target))
}

/// Functions of a program or library, or the probes that it has built in.
fn list_user(kind: &str, target: &str, out: &mut impl Write) -> Result<u8> {
    let is_usdt = kind == "usdt";
    let example = if is_usdt { "python3:*" } else { "libc:*open*" };
    ensure!(
        !target.is_empty() && target != "*",
        "name a program or library, as in 'recorder list {kind}:{example}'"
    );
    let all = match is_usdt {
        true => user::usdt::list(target),
        false => user::list(target).or_else(|error| match target.contains(':') {
            true => Err(error),
            false => user::list(&format!("{target}:*")),
        }),
    }?;
    let width = all.iter().map(|function| function.target.len()).max().unwrap_or(0);
    for user::Function { target, place } in all {
        writeln!(out, "{kind}:{target:width$}  {place}")?;
    }
    Ok(EXIT_OK)
}

/// `recorder describe`: what an event records; how on this kernel, if that can be known here.
pub fn describe(word: &str, out: &mut impl Write) -> Result<u8> {
    let kernel = Kernel::running();
    for event in select::find(word)? {
        write!(out, "{}", resolve::describe(&event, kernel.as_ref().ok()))?;
    }
    if let Err(error) = kernel {
        say(format_args!("warning: what this kernel offers is not known: {error:#}"));
    }
    Ok(EXIT_OK)
}
