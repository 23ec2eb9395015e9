//! Makes a copy of the compiled kernel side for a probe, with its constants, the program types and table sizes that it needs, and
//! only the instructions that its programs can reach.

mod instruction;
mod layout;
pub mod old_kernels;
mod reach;
mod shrink;
#[cfg(test)]
mod tests;
mod values;

use std::sync::LazyLock;

use anyhow::{Context, Result, anyhow, bail, ensure};
use schemas::wire::{KEY_TEMPLATE, MAX_COPIES, VALUE_TEMPLATE};
use zerocopy::{Immutable, IntoBytes};

use layout::{Layout, Place};
use old_kernels::{IS_OLD, Replacement};
use reach::Facts;

static OBJECT: &[u8] = aya::include_bytes_aligned!("../ktape.bpf.o");

/// What is found out about the object once, for all copies.
struct Known {
    layout: Layout,
    facts: Facts,
    /// What an old kernel does not know.
    replacements: Vec<Replacement>,
}

static KNOWN: LazyLock<Result<Known, String>> = LazyLock::new(|| {
    let layout = Layout::read(OBJECT).map_err(|error| format!("{error:#}"))?;
    let (facts, replacements) = (Facts::new(OBJECT, &layout), old_kernels::replacements(OBJECT, &layout));
    Ok(Known { layout, facts, replacements })
});

/// The sections of the programs of the object, as recorder-ebpf/src/main.rs names them.
const SECTIONS: [&str; 11] = [
    "ktape_event_program",
    "ktape_nested_program",
    "ktape_third_program",
    "ktape_each_program",
    "ktape_each_nested_program",
    "ktape_each_third_program",
    "ktape_entry_program",
    "ktape_exit_program",
    "ktape_fork_program",
    "ktape_free_program",
    "ktape_iterator_program",
];
/// aya passes over sections whose name starts so.
const UNUSED: &str = "license_unused";

/// The programs that record: one and, for a probe that nests, its further copies; and the same for `each` sources.
pub const EVENTS: [[&str; MAX_COPIES]; 2] =
    [["on_event", "on_nested", "on_third"], ["on_each", "on_each_nested", "on_each_third"]];

/// New names of the sections, `None` for those that are not needed.
#[derive(Clone, Copy, Default)]
pub struct Sections {
    /// Of the recording program and its copies, in the order of [`EVENTS`].
    pub events: [[Option<&'static str>; MAX_COPIES]; 2],
    /// Of the entry program.
    pub entry: Option<&'static str>,
    /// Of the program that forgets the calls of threads which end.
    pub exit: Option<&'static str>,
    /// Of the two programs that keep the pid set.
    pub follow: Option<&'static str>,
    /// Of the iterator over tasks.
    pub iterator: Option<&'static str>,
    /// Bytes of keys and words of values of the tables of an aggregated event; none: as small as can be.
    pub table: Option<(u32, u32)>,
}

impl Sections {
    /// Those of a recording program with as many copies, for an `each` source or not.
    pub fn of_events(section: &'static str, each: bool, copies: u32) -> Self {
        let mut sections = Self::default();
        let names = &mut sections.events[usize::from(each)];
        names.iter_mut().take(copies as usize).for_each(|name| *name = Some(section));
        sections
    }

    /// In the order of [`SECTIONS`].
    fn new_names(self) -> impl Iterator<Item = Option<&'static str>> {
        let Self { events, entry, exit, follow, iterator, .. } = self;
        events.into_iter().flatten().chain([entry, exit, follow, follow, iterator])
    }
}

/// Where the names of [`SECTIONS`] are. Found once: to look through the object takes longer than all else that is done
/// to a copy of it, and there is a copy for each probe.
static PLACES: LazyLock<[Vec<usize>; SECTIONS.len()]> = LazyLock::new(|| SECTIONS.map(places));

/// Where the types of the tables of an aggregated event say how long keys and values are.
static SIZES: LazyLock<[Vec<usize>; 2]> =
    LazyLock::new(|| [KEY_TEMPLATE, VALUE_TEMPLATE].map(|size| find(&(size as u32).to_ne_bytes())));

/// Values of the constants of a copy, by name.
#[derive(Clone, Debug, Default)]
pub struct Constants(Vec<(&'static str, Vec<u8>)>);

impl Constants {
    pub fn set(&mut self, name: &'static str, value: impl IntoBytes + Immutable) {
        self.0.push((name, value.as_bytes().to_vec()));
    }
}

/// A copy of the object, in memory that is aligned for ELF.
///
/// # Errors
/// If the object does not have what is wanted.
pub fn copy(sections: Sections, constants: &Constants) -> Result<Vec<u64>> {
    let mut bytes = whole_copy(sections, constants)?;
    let Known { layout, facts, .. } = known()?;
    let names = SECTIONS.into_iter().zip(sections.new_names());
    let wanted: Vec<&str> = names.filter_map(|(section, name)| name.map(|_| section)).collect();
    let is_wanted = |(_, section): &(usize, &layout::Section)| wanted.contains(&section.name);
    let programs = layout.sections.iter().enumerate().filter(is_wanted);
    let programs = programs.map(|(section, _)| Place { section, at: 0 }).collect();
    let file = bytes.as_mut_bytes();
    let reached = reach::reach(file, layout, facts, programs);
    shrink::shrink(file, layout, &reached);
    Ok(bytes)
}

/// A copy with all instructions.
pub(super) fn whole_copy(sections: Sections, constants: &Constants) -> Result<Vec<u64>> {
    let mut copy = vec![0u64; OBJECT.len().div_ceil(size_of::<u64>())];
    let bytes = copy.as_mut_bytes();
    bytes[..OBJECT.len()].copy_from_slice(OBJECT);
    let Known { layout, replacements, .. } = known()?;
    if *IS_OLD {
        old_kernels::replace(bytes, replacements);
    }
    for (name, value) in &constants.0 {
        let place =
            layout.constants.get(name).with_context(|| format!("the eBPF object has no constant {name}"))?;
        ensure!(place.len() == value.len(), "constant {name} of the eBPF object has another size");
        bytes[place.clone()].copy_from_slice(value);
    }
    let (key_bytes, value_words) = sections.table.unwrap_or((8, 1));
    for (place, size) in SIZES.iter().zip([key_bytes, value_words]) {
        let [at] = place.as_slice() else {
            bail!("the eBPF object has other tables: rebuild it (cargo xtask ebpf)")
        };
        bytes[*at..at + 4].copy_from_slice(&size.to_ne_bytes());
    }
    for ((section, places), name) in SECTIONS.iter().zip(&*PLACES).zip(sections.new_names()) {
        rename(bytes, places, section.len(), name.unwrap_or(UNUSED)).with_context(|| {
            format!("the eBPF object has no section {section}: rebuild it (cargo xtask ebpf)")
        })?;
    }
    Ok(copy)
}

fn known() -> Result<&'static Known> {
    KNOWN.as_ref().map_err(|error| anyhow!("the eBPF object is damaged: {error}"))
}

/// Places of a name in the string tables (of ELF and BTF).
fn places(name: &str) -> Vec<usize> {
    find(&[name.as_bytes(), &[0]].concat())
}

fn find(bytes: &[u8]) -> Vec<usize> {
    let windows = OBJECT.windows(bytes.len()).enumerate();
    windows.filter(|(_, window)| *window == bytes).map(|(at, _)| at).collect()
}

/// Put another name there; a shorter one ends with NUL. (The name of the section's relocations, `.rel` before its own,
/// changes with it.) `None` if there is no place, or too little.
fn rename(bytes: &mut [u8], places: &[usize], len: usize, to: &str) -> Option<()> {
    for at in places {
        let place = bytes.get_mut(*at..at + len)?;
        place.fill(0);
        place.get_mut(..to.len())?.copy_from_slice(to.as_bytes());
    }
    (!places.is_empty()).then_some(())
}
