//! What programs and libraries offer to uprobes: finds the file and the function that `PATH:SYMBOL` names, and the places
//! in the file that the kernel is to probe.
//!
//! ```text
//! PATH    file (paths, the PATH, containers), libraries (names of libraries), running (what processes run) -> an open file
//! SYMBOL  elf (symbol tables), debug (symbols kept elsewhere), indirect (IFUNC) -> offsets in that file
//! PROVIDER:NAME  usdt (probes that the file has built in) -> offsets, and where arguments are (operand)
//! ```
//! A name can stand for several places: several versions of a function, of which programs that are linked now get one, and
//! functions of that name in several source files. What a name does not decide is refused, with what would.

mod debug;
mod elf;
mod file;
mod indirect;
mod libraries;
pub mod operand;
mod running;
pub mod usdt;

use std::fmt;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use schemas::expr::near;

use elf::{Image, Kind, Symbol};
use indirect::Loaded;

/// Most other names of a place that are told.
const MAX_ALIASES: usize = 6;
/// What marks a version in a name.
const VERSION: char = '@';
/// Stands for all versions.
const ALL: &str = "*";

/// Where in a file a user's probe is, in all processes that run that file.
#[derive(Clone, Debug)]
pub struct Place {
    /// `PATH:SYMBOL` or `PATH:PROVIDER:NAME`, which means the same when it is given again.
    pub target: String,
    /// Bytes from the start of the file, in order.
    pub offsets: Vec<u64>,
    /// Other names of the same code.
    pub aliases: Vec<String>,
    /// What is not seen here, or more than was asked for.
    pub notes: Vec<String>,
    /// Where in the file the number of those who listen is, which is to be raised.
    pub semaphore: Option<u64>,
    build_id: Option<String>,
    file: Arc<File>,
}

impl Place {
    /// The place that `target` (`PATH:SYMBOL`) names; `at_return` if what is probed is the return from there.
    pub fn find(target: &str, at_return: bool) -> Result<Self> {
        let (path, place) = split(target)?;
        let program = Program::open(path)?;
        let shown = program.path.display();
        let found = if place.starts_with("0x") && program.named(place).next().is_none() {
            program.at_offset(place, at_return)
        } else {
            program.function(place, at_return)
        };
        let Found { written, mut offsets, aliases, notes } = found.with_context(|| format!("in {shown}"))?;
        offsets.sort_unstable();
        offsets.dedup();
        Ok(Self {
            target: format!("{shown}:{written}"),
            offsets,
            aliases,
            notes,
            semaphore: None,
            build_id: program.image.build_id,
            file: Arc::new(program.file),
        })
    }

    /// A path to the very file in which the offsets were found, whatever has taken its place.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Take over the places of another one of the same file.
    pub fn join(&mut self, other: &Self) {
        self.offsets.extend(&other.offsets);
        self.offsets.sort_unstable();
    }

    /// What is to be known about rows from here, in one line.
    pub fn remarks(&self) -> Option<String> {
        let aliases =
            (!self.aliases.is_empty()).then(|| format!("the same code as {}", self.aliases.join(", ")));
        let all: Vec<String> = aliases.into_iter().chain(self.notes.iter().cloned()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

impl fmt::Display for Place {
    /// Offsets and the file's build id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offsets: Vec<String> = self.offsets.iter().map(|offset| format!("{offset:#x}")).collect();
        let plural = if offsets.len() == 1 { "" } else { "s" };
        write!(f, "file offset{plural} {}", offsets.join(", "))?;
        if let Some(semaphore) = self.semaphore {
            write!(f, ", semaphore at {semaphore:#x}")?;
        }
        match &self.build_id {
            Some(id) => write!(f, ", build id {id}"),
            None => Ok(()),
        }
    }
}

/// Path and symbol. Both can hold colons: the path is the longest one that is there.
fn split(target: &str) -> Result<(&str, &str)> {
    let places = || target.rmatch_indices(':').map(|(i, _)| (&target[..i], &target[i + 1..]));
    let is_whole = |(path, symbol): &(&str, &str)| !path.is_empty() && !symbol.is_empty();
    let last = places().find(is_whole);
    let found = places().filter(is_whole).find(|(path, _)| file::exists(path)).or(last);
    found.with_context(|| format!("'{target}' is not of the form PATH:SYMBOL"))
}

/// What was found for a symbol.
struct Found {
    written: String,
    offsets: Vec<u64>,
    aliases: Vec<String>,
    notes: Vec<String>,
}

/// A program or library.
struct Program {
    path: PathBuf,
    file: File,
    image: Image,
}

impl Program {
    fn open(path: &str) -> Result<Self> {
        let file::Found { file, path } = file::find(path)?;
        let mut image = Image::read(&file).with_context(|| format!("{} cannot be probed", path.display()))?;
        if !image.has_all_symbols
            && let Some(symbols) = debug::find(&image, &path)
        {
            image.add_symbols(symbols);
        }
        Ok(Self { path, file, image })
    }

    fn named<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Symbol> + use<'a, 'n> {
        self.image.symbols.iter().filter(move |symbol| symbol.name == name)
    }

    /// `NAME`, `NAME@VERSION`, either with `+OFFSET`.
    fn function(&self, written: &str, at_return: bool) -> Result<Found> {
        // The whole may be a name: a plus can be a part of one.
        let (symbol, plus) = match written.rsplit_once('+') {
            Some((symbol, offset)) if self.named(written).next().is_none() => (symbol, Some(number(offset)?)),
            _ => (written, None),
        };
        let plus = plus.unwrap_or(0);
        ensure!(
            plus == 0 || !at_return,
            "a return probe is at the start of a function, where the address to return to is known: leave out +{plus:#x}"
        );
        let (name, version) = match symbol.split_once(VERSION) {
            Some((name, version)) => (name, Some(version.trim_start_matches(VERSION))),
            None => (symbol, None),
        };
        let chosen = self.choose(name, version)?;
        let mut found = Found {
            written: written.to_owned(),
            offsets: Vec::new(),
            aliases: Vec::new(),
            notes: Vec::new(),
        };
        if let ([only], true) = (chosen.as_slice(), version != Some(ALL)) {
            found.written = only.written();
            if plus > 0 {
                found.written.push_str(&format!("+{plus:#x}"));
            }
        }
        for symbol in &chosen {
            let start = if symbol.kind == Kind::Indirect {
                self.implementation(symbol, &mut found)?
            } else {
                let here = || self.aliases(symbol);
                found.aliases.extend(if plus == 0 { here() } else { Vec::new() });
                self.image.offset(symbol.address).context("there is no code at its address")?
            };
            ensure!(
                plus == 0 || symbol.kind != Kind::Indirect,
                "{name} is an indirect function (IFUNC): give the place in its implementation as {:#x}",
                start.saturating_add(plus)
            );
            let at = start.saturating_add(plus);
            let is_inside = match symbol.size {
                0 => self.image.address(at).is_some(),
                size => plus == 0 || plus < size,
            };
            ensure!(is_inside, "{name} is {} bytes long, so +{plus:#x} is not in it", symbol.size);
            found.offsets.push(at);
        }
        found.notes.extend(self.left_out(name, version, &chosen));
        Ok(found)
    }

    /// The symbols that `name` and `version` mean. Fails if there is none, or if it is not clear which.
    fn choose(&self, name: &str, version: Option<&str>) -> Result<Vec<&Symbol>> {
        let code: Vec<&Symbol> = self.named(name).filter(|symbol| symbol.is_code()).collect();
        if code.is_empty() {
            bail!(self.why_not(name));
        }
        let versions = || code.iter().map(|s| s.written()).collect::<Vec<_>>().join(", ");
        let chosen: Vec<&Symbol> = match version {
            Some(ALL) => code.clone(),
            Some(version) => code.iter().filter(|s| s.version.as_deref() == Some(version)).copied().collect(),
            None => code.iter().filter(|s| s.is_default).copied().collect(),
        };
        match (chosen.is_empty(), version) {
            (false, _) => Ok(chosen),
            (true, Some(version)) => bail!("{name} has no version {version}; there is {}", versions()),
            // Only programs that were linked long ago call it; if there is one, it is meant.
            (true, None) if code.iter().all(|s| s.address == code[0].address) => Ok(code),
            (true, None) => bail!(
                "no version of {name} is the default one: give {}, or {name}{VERSION}{ALL} for all of them",
                versions()
            ),
        }
    }

    /// Why there is no code of that name.
    fn why_not(&self, name: &str) -> String {
        let imported = self.named(name).find_map(|symbol| match &symbol.kind {
            Kind::Import(library) => Some(library.clone()),
            _ => None,
        });
        if self.named(name).any(|symbol| symbol.kind == Kind::Data) {
            return format!("{name} is data, not a function");
        }
        if let Some(library) = imported {
            let libraries = library.map_or_else(|| self.image.needed.clone(), |library| vec![library]);
            let tries: Vec<String> = libraries.iter().map(|library| format!("{library}:{name}")).collect();
            let place =
                if tries.is_empty() { String::new() } else { format!(": try {}", tries.join(" or ")) };
            return format!("{name} is only called there, and is in a library{place}");
        }
        let mut text = format!("there is no function {name}");
        if let Some(clone) = self.clones(name).first() {
            return format!("the compiler made {clone} of {name}, try that name");
        }
        // Names of C++ and Rust are encoded, but each part of one is there with its length in front.
        let last = name.rsplit("::").next().unwrap_or(name);
        let last: String = last.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let inner = format!("{}{last}", last.len());
        let encoded = |s: &&Symbol| {
            // A digit in front belongs to another length.
            let is_part = |(i, _): (usize, &str)| !s.name[..i].ends_with(|c: char| c.is_ascii_digit());
            let is_encoded = s.name.starts_with("_Z") || s.name.starts_with("_R");
            is_encoded && !last.is_empty() && s.name.match_indices(&inner).any(is_part)
        };
        let encoded = self.image.functions().filter(encoded);
        let mut near: Vec<&str> = encoded.map(|s| s.name.as_str()).take(MAX_ALIASES).collect();
        if near.is_empty() {
            near = self::near(name, self.image.functions().map(|s| s.name.as_str()));
        }
        if !near.is_empty() {
            text.push_str(&format!("; near: {}", near.join(", ")));
        }
        if !self.image.has_all_symbols {
            let id = self.image.build_id.as_ref().map_or(String::new(), |id| format!(" (build id {id})"));
            text.push_str(&format!(
                "; the file is stripped, so only what it exports has a name: install its debug symbols{id}, or give the \
                 place as 0xOFFSET"
            ));
        } else if near.is_empty() {
            text.push_str(" (it may be inlined)");
        }
        text
    }

    /// Where the loader sends calls of an indirect function.
    fn implementation(&self, symbol: &Symbol, found: &mut Found) -> Result<u64> {
        let name = symbol.written();
        let loaded = self.image.build_id.as_deref().and_then(Loaded::find);
        let choice = match &loaded {
            Some(loaded) => loaded.choice(symbol),
            None => {
                let others = self.implementations(&symbol.name);
                let remedy = match others.is_empty() {
                    true => "give the place of the one in use as 0xOFFSET, or probe what calls it".to_owned(),
                    false => format!("name one: {}", others.join(", ")),
                };
                Err(anyhow!(
                    "which one is not known, because the recorder itself has not loaded this file; {remedy}"
                ))
            }
        };
        let address = choice.map_err(|cause| {
            anyhow!(
                "{name} is an indirect function (IFUNC), whose implementation the loader chooses: {cause:#}"
            )
        })?;
        let loaded = loaded.as_ref();
        let has_same = |other: &&Symbol| {
            other.kind == Kind::Indirect
                && loaded.is_some_and(|l| l.choice(other).is_ok_and(|at| at == address))
        };
        let (mut calls, mut aliases) = (Vec::new(), Vec::new());
        for other in self.image.functions().filter(|other| other.name != symbol.name) {
            if has_same(&other) {
                calls.push(other.written());
            } else if other.kind == Kind::Function && other.address == address {
                aliases.push(other.written());
            }
        }
        for names in [&mut calls, &mut aliases] {
            names.sort();
            names.dedup();
        }
        if !calls.is_empty() {
            found.notes.push(format!(
                "{name} has the same code as {} on this machine, so calls of these are recorded too",
                calls.join(", ")
            ));
        }
        aliases.truncate(MAX_ALIASES);
        found.aliases.extend(aliases);
        self.image.offset(address).context("there is no code where the loader sends calls")
    }

    /// Functions that look like implementations of `name`.
    fn implementations(&self, name: &str) -> Vec<&str> {
        let start = format!("__{name}_");
        let is_one = |s: &&Symbol| {
            s.kind == Kind::Function && s.name.starts_with(&start) && !s.name.ends_with("_ifunc")
        };
        let mut names: Vec<&str> = self.image.functions().filter(is_one).map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Other names of the code of `symbol`.
    fn aliases(&self, symbol: &Symbol) -> Vec<String> {
        let same = |other: &&Symbol| {
            other.address == symbol.address && other.name != symbol.name && other.kind != Kind::Label
        };
        let mut names: Vec<String> =
            self.image.functions().filter(same).map(|other| other.name.clone()).collect();
        names.sort();
        names.dedup();
        names.truncate(MAX_ALIASES);
        names
    }

    /// What calls of `name` are not seen, because they go to other versions or to code that the compiler made of it.
    fn left_out(&self, name: &str, version: Option<&str>, chosen: &[&Symbol]) -> Vec<String> {
        let is_other = |s: &&Symbol| s.is_code() && chosen.iter().all(|chosen| chosen.address != s.address);
        let others: Vec<String> = self.named(name).filter(is_other).map(Symbol::written).collect();
        let versions = (version.is_none() && !others.is_empty()).then(|| {
            format!(
                "programs that were linked with {} call other code, which is not recorded: {name}{VERSION}{ALL} is all of them",
                others.join(", ")
            )
        });
        let clones = self.clones(name);
        let clones = (!clones.is_empty()).then(|| {
            format!(
                "the compiler made {} of {name}, whose calls are not recorded: give that name too",
                clones.join(", ")
            )
        });
        versions.into_iter().chain(clones).collect()
    }

    /// Functions that the compiler made of `name` and calls in its place.
    fn clones(&self, name: &str) -> Vec<&str> {
        let parts = [".isra.", ".constprop.", ".part.", ".llvm."];
        let is_one = |s: &&Symbol| {
            let rest = s.name.strip_prefix(name);
            rest.is_some_and(|rest| {
                parts.iter().any(|part| rest.starts_with(part)) && !rest.contains(".cold")
            })
        };
        let mut names: Vec<&str> = self.image.functions().filter(is_one).map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// `0xOFFSET`: bytes from the start of the file.
    fn at_offset(&self, written: &str, at_return: bool) -> Result<Found> {
        let offset = number(written)?;
        let Some(address) = self.image.address(offset) else {
            let code = self.image.segments.iter().filter(|segment| segment.is_code);
            let code: Vec<String> =
                code.map(|s| format!("{:#x} to {:#x}", s.offset, s.offset.saturating_add(s.size))).collect();
            bail!("{offset:#x} is not in its code, which is at file offset {}", code.join(" and "));
        };
        let holds = |s: &&Symbol| {
            s.kind == Kind::Function
                && (s.address == address || s.address < address && address - s.address < s.size)
        };
        let within: Vec<&Symbol> = self.image.functions().filter(holds).collect();
        let starts = within.iter().any(|s| s.address == address);
        if at_return
            && !starts
            && let Some(symbol) = within.first()
        {
            bail!(
                "{offset:#x} is inside {}, and a return probe is at the start of a function, where the address to return \
                 to is known: here {:#x}",
                symbol.name,
                offset - (address - symbol.address)
            );
        }
        let name = |s: &&Symbol| match address - s.address {
            0 => s.written(),
            plus => format!("{}+{plus:#x}", s.written()),
        };
        let mut aliases: Vec<String> = within.iter().map(name).collect();
        aliases.sort();
        aliases.dedup();
        aliases.truncate(MAX_ALIASES);
        Ok(Found { written: format!("{offset:#x}"), offsets: vec![offset], aliases, notes: Vec::new() })
    }
}

/// A function or a built-in probe, as `recorder list` shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// `PATH:SYMBOL` or `PATH:PROVIDER:NAME`, to be given as it is.
    pub target: String,
    /// File offset and length, or why it has none; the arguments.
    pub place: String,
}

/// The functions of `PATH:GLOB` whose name matches, sorted by name.
pub fn list(target: &str) -> Result<Vec<Function>> {
    let (path, glob) = split(target)?;
    let pattern = glob::Pattern::new(glob).with_context(|| format!("'{glob}' is not a pattern"))?;
    let program = Program::open(path)?;
    let mut all: Vec<Function> = Vec::new();
    for symbol in program.image.functions().filter(|s| s.kind != Kind::Label) {
        let Some(offset) = program.image.offset(symbol.address) else { continue };
        let written = symbol.written();
        if !pattern.matches(&symbol.name) && !pattern.matches(&written) {
            continue;
        }
        let place = match symbol.kind {
            Kind::Indirect => "indirect: the loader chooses the code".to_owned(),
            _ => format!("{offset:#x}, {} bytes", symbol.size),
        };
        all.push(Function { target: format!("{}:{written}", program.path.display()), place });
    }
    all.sort();
    all.dedup();
    if all.is_empty() {
        let near = near(glob.trim_matches('*'), program.image.functions().map(|s| s.name.as_str()));
        let near = if near.is_empty() { String::new() } else { format!("; near: {}", near.join(", ")) };
        bail!("{} has no function that matches '{glob}'{near}", program.path.display());
    }
    Ok(all)
}

fn number(text: &str) -> Result<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.ok().with_context(|| format!("offset '{text}' is not a number"))
}

#[cfg(test)]
mod tests;
