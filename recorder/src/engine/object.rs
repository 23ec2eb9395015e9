//! The compiled kernel side -> a copy whose sections are named after the kinds of program that a probe needs.

use anyhow::{Context, Result};

static OBJECT: &[u8] = aya::include_bytes_aligned!("ktape.bpf.o");

/// The sections of the programs of the object, as recorder-ebpf/src/main.rs names them.
const SECTIONS: [&str; 5] = [
    "ktape_event_program",
    "ktape_nested_program",
    "ktape_entry_program",
    "ktape_fork_program",
    "ktape_free_program",
];
/// aya passes over sections whose name starts so.
const UNUSED: &str = "license_unused";

/// New names of the sections, `None` for those that are not needed.
#[derive(Clone, Copy, Default)]
pub struct Sections {
    /// Of the recording program.
    pub event: Option<&'static str>,
    /// Of its second copy.
    pub nested: Option<&'static str>,
    /// Of the entry program.
    pub entry: Option<&'static str>,
    /// Of the two programs that keep the pid set.
    pub follow: Option<&'static str>,
}

/// The object with other section names, in memory that is aligned for ELF.
pub fn with_sections(names: Sections) -> Result<Vec<u64>> {
    let mut bytes = OBJECT.to_vec();
    let Sections { event, nested, entry, follow } = names;
    for (section, name) in SECTIONS.iter().zip([event, nested, entry, follow, follow]) {
        rename(&mut bytes, section, name.unwrap_or(UNUSED)).with_context(|| {
            format!("the eBPF object has no section {section}: rebuild it (cargo xtask ebpf)")
        })?;
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    Ok(bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_ne_bytes).collect())
}

/// Replace the name in the string tables (of ELF and BTF); a shorter one ends with NUL. (The name of the section's
/// relocations, `.rel` before its own, changes with it.) `None` if it is not there.
fn rename(bytes: &mut [u8], from: &str, to: &str) -> Option<()> {
    let old = [from.as_bytes(), &[0]].concat();
    let mut found = None;
    while let Some(at) = bytes.windows(old.len()).position(|window| window == old) {
        let place = bytes.get_mut(at..at + old.len())?;
        place.fill(0);
        place.get_mut(..to.len())?.copy_from_slice(to.as_bytes());
        found = Some(());
    }
    found
}
