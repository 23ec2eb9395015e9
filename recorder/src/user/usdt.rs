//! Probes that a program or library has built in (USDT): `PATH:PROVIDER:NAME` -> places in the file, and where the arguments are
//! there.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use schemas::expr::near;

use super::elf::Mark;
use super::operand::{self, Argument};
use super::{Function, Place, Program, file};

/// Most probes that an error names.
const MAX_NAMED: usize = 12;

/// Places of one probe in which all arguments are found in the same way.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where they are.
    pub place: Place,
    /// Each argument, or why it cannot be read.
    pub arguments: Vec<Result<Argument, String>>,
}

/// The places of the probe that `target` names. Fails if there are none.
pub fn find(target: &str) -> Result<Vec<Site>> {
    let (path, provider, name) = split(target)?;
    let program = Program::open(path)?;
    let shown = program.path.display().to_string();
    let is_it = |mark: &&Mark| mark.provider == provider && mark.name == name;
    let marks: Vec<&Mark> = program.image.marks.iter().filter(is_it).collect();
    if marks.is_empty() {
        bail!("in {shown}: {}", why_not(&program, provider, name));
    }
    let file = Arc::new(program.file.try_clone().with_context(|| format!("cannot keep {shown}"))?);
    let mut sites: Vec<Site> = Vec::new();
    let mut known = BTreeSet::new();
    for mark in marks {
        let offset = program.image.offset(mark.address).with_context(|| {
            format!(
                "in {shown}: there is no code where its note about {provider}:{name} says, {:#x}",
                mark.address
            )
        })?;
        // Where the linker has folded functions that are the same, their notes say the same.
        if !known.insert(offset) {
            continue;
        }
        let semaphore = mark.semaphore.map(|address| {
            program.image.variable(address).with_context(|| {
                format!("in {shown}: the semaphore of {provider}:{name} is not in the file, at {address:#x}")
            })
        });
        let semaphore = semaphore.transpose()?;
        let variable = |name: &str| program.variable(name);
        let texts = operand::split(&mark.arguments);
        let arguments: Vec<_> =
            texts.iter().map(|text| operand::parse(text, mark.address, &variable)).collect();
        let arguments = texts.iter().zip(arguments);
        let arguments: Vec<_> = arguments
            .map(|(text, argument)| argument.map_err(|why| format!("'{text}' is not read: {why}")))
            .collect();
        match sites.iter_mut().find(|site| site.place.semaphore == semaphore && site.arguments == arguments) {
            Some(site) => site.place.offsets.push(offset),
            None => sites.push(Site {
                place: Place {
                    target: format!("{shown}:{provider}:{name}"),
                    offsets: vec![offset],
                    aliases: Vec::new(),
                    notes: Vec::new(),
                    semaphore,
                    build_id: program.image.build_id.clone(),
                    file: file.clone(),
                },
                arguments,
            }),
        }
    }
    for site in &mut sites {
        site.place.offsets.sort_unstable();
    }
    Ok(sites)
}

/// The probes of `PATH:GLOB` (of `PROVIDER:NAME`) or of `PATH`, sorted, with their arguments.
pub fn list(target: &str) -> Result<Vec<Function>> {
    let (path, glob) = match target.rsplitn(3, ':').collect::<Vec<_>>().as_slice() {
        _ if file::exists(target) => (target, "*".to_owned()),
        [name, provider, path] if file::exists(path) => (*path, format!("{provider}:{name}")),
        _ => match target.rsplit_once(':') {
            Some((path, glob)) => (path, glob.to_owned()),
            None => (target, "*".to_owned()),
        },
    };
    let pattern = glob::Pattern::new(&glob).with_context(|| format!("'{glob}' is not a pattern"))?;
    let program = Program::open(path)?;
    let shown = program.path.display();
    let matches = |mark: &&Mark| {
        pattern.matches(&mark.name) || pattern.matches(&format!("{}:{}", mark.provider, mark.name))
    };
    let mut all: Vec<Function> = Vec::new();
    for mark in program.image.marks.iter().filter(matches) {
        let semaphore = if mark.semaphore.is_some() { ", with a semaphore" } else { "" };
        let arguments = if mark.arguments.is_empty() { "no arguments" } else { &mark.arguments };
        let Some(offset) = program.image.offset(mark.address) else { continue };
        all.push(Function {
            target: format!("{shown}:{}:{}", mark.provider, mark.name),
            place: format!("{offset:#x}, {arguments}{semaphore}"),
        });
    }
    all.sort();
    all.dedup();
    if all.is_empty() {
        ensure!(!program.image.marks.is_empty(), "{shown} has no probes built in{}", elsewhere(&program));
        bail!("{shown} has no probe that matches '{glob}'; it has {}", names(&program));
    }
    Ok(all)
}

/// Path, provider and name. Only the path can hold colons.
fn split(target: &str) -> Result<(&str, &str, &str)> {
    match target.rsplitn(3, ':').collect::<Vec<_>>().as_slice() {
        [name, provider, path] => Ok((path, provider, name)),
        _ => bail!("'{target}' is not of the form PATH:PROVIDER:NAME"),
    }
}

/// Why the program has no such probe.
fn why_not(program: &Program, provider: &str, name: &str) -> String {
    let marks = &program.image.marks;
    if marks.is_empty() {
        return format!("it has no probes built in{}", elsewhere(program));
    }
    let wanted = format!("{provider}:{name}");
    let known: BTreeSet<String> =
        marks.iter().map(|mark| format!("{}:{}", mark.provider, mark.name)).collect();
    let same: Vec<&str> =
        known.iter().map(String::as_str).filter(|known| known.rsplit(':').next() == Some(name)).collect();
    let near = if same.is_empty() { near(&wanted, known.iter().map(String::as_str)) } else { same };
    match near.is_empty() {
        true => format!("there is no probe {wanted}; it has {}", names(program)),
        false => format!("there is no probe {wanted}; near: {}", near.join(", ")),
    }
}

/// Where else to look.
fn elsewhere(program: &Program) -> String {
    match program.image.needed.as_slice() {
        [] => " (no section .note.stapsdt)".to_owned(),
        needed => format!(
            " (no section .note.stapsdt); a library that it is linked with may have: {}",
            needed.join(", ")
        ),
    }
}

/// The probes of a program, for an error.
fn names(program: &Program) -> String {
    let marks = &program.image.marks;
    let names: BTreeSet<String> =
        marks.iter().map(|mark| format!("{}:{}", mark.provider, mark.name)).collect();
    let more = if names.len() > MAX_NAMED { ", ..." } else { "" };
    let names: Vec<String> = names.into_iter().take(MAX_NAMED).collect();
    format!("{}{more}", names.join(", "))
}

impl Program {
    /// The address of a variable.
    fn variable(&self, name: &str) -> Result<u64, String> {
        let addresses: BTreeSet<u64> = self
            .named(name)
            .filter(|symbol| !matches!(symbol.kind, super::Kind::Import(_)))
            .map(|symbol| symbol.address)
            .collect();
        match addresses.into_iter().collect::<Vec<_>>().as_slice() {
            [address] => Ok(*address),
            [] if self.image.has_all_symbols => Err(format!("the file does not say where {name} is")),
            [] => Err(format!(
                "the file is stripped, so it does not say where {name} is: install its debug symbols"
            )),
            _ => Err(format!("several variables are named {name}")),
        }
    }
}
