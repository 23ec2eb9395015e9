//! The compiled kernel side -> a copy whose sections are named after the kinds of program that a probe needs, and whose
//! tables have keys and values of the sizes that it needs.

use std::sync::LazyLock;

use anyhow::{Context, Result, bail};
use schemas::wire::{KEY_TEMPLATE, MAX_COPIES, VALUE_TEMPLATE};

use super::old_kernels::{self, IS_OLD};

pub static OBJECT: &[u8] = aya::include_bytes_aligned!("ktape.bpf.o");

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
}

/// Where the names of [`SECTIONS`] are. Found once: to look through the object takes longer than all else that is done
/// to a copy of it, and there is a copy for each probe.
static PLACES: LazyLock<[Vec<usize>; SECTIONS.len()]> = LazyLock::new(|| SECTIONS.map(places));

/// What an old kernel does not know. Found once, too.
static UNKNOWN: LazyLock<Vec<(usize, [u8; 8])>> = LazyLock::new(|| old_kernels::replacements(OBJECT));

/// Where the types of the tables of an aggregated event say how long keys and values are.
static SIZES: LazyLock<[Vec<usize>; 2]> =
    LazyLock::new(|| [KEY_TEMPLATE, VALUE_TEMPLATE].map(|size| find(&(size as u32).to_ne_bytes())));

/// The object with other section names and sizes, in memory that is aligned for ELF.
pub fn with_sections(names: Sections) -> Result<Vec<u64>> {
    let mut bytes = OBJECT.to_vec();
    if *IS_OLD {
        old_kernels::replace(&mut bytes, &UNKNOWN);
    }
    let Sections { events, entry, exit, follow, iterator, table } = names;
    let (key_bytes, value_words) = table.unwrap_or((8, 1));
    for (place, size) in SIZES.iter().zip([key_bytes, value_words]) {
        let [at] = place.as_slice() else {
            bail!("the eBPF object has other tables: rebuild it (cargo xtask ebpf)")
        };
        bytes[*at..at + 4].copy_from_slice(&size.to_ne_bytes());
    }
    let names = events.into_iter().flatten().chain([entry, exit, follow, follow, iterator]);
    for ((section, places), name) in SECTIONS.iter().zip(&*PLACES).zip(names) {
        rename(&mut bytes, places, section.len(), name.unwrap_or(UNUSED)).with_context(|| {
            format!("the eBPF object has no section {section}: rebuild it (cargo xtask ebpf)")
        })?;
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    Ok(bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_ne_bytes).collect())
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
