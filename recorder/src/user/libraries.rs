//! Finds the file of a library by its name, as the loader would: in its cache, else in the usual directories.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

const CACHE: &str = "/etc/ld.so.cache";
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// Length of the cache's header and of an entry.
const HEADER_BYTES: usize = 48;
const ENTRY_BYTES: usize = 24;
/// Which machine an entry is for: these bits of its flags, with this value.
const MACHINE_MASK: u32 = 0xff00;
const MACHINE: u32 = if cfg!(target_arch = "aarch64") { 0x0a00 } else { 0x0300 };
/// Where libraries are, if there is no cache.
const DIRECTORIES: [&str; 5] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"];

/// Files of the library `name`: `libc.so.6`, `libc`, or `c`. The whole name goes before the others.
pub fn find(name: &str) -> Result<Vec<PathBuf>> {
    let cached = fs::read(CACHE).ok().map(|cache| entries(&cache)).unwrap_or_default();
    let all = if cached.is_empty() { in_directories() } else { cached };
    let starts = [name.to_owned(), format!("{name}.so"), format!("lib{name}.so")];
    for (i, start) in starts.iter().enumerate() {
        let is_it = |soname: &str| match soname.strip_prefix(start.as_str()) {
            Some(rest) if i == 0 => rest.is_empty(),
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => false,
        };
        let mut found: Vec<PathBuf> = Vec::new();
        for (_, path) in all.iter().filter(|(soname, _)| is_it(soname)) {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            if !found.contains(&path) && is_elf(&path) {
                found.push(path);
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Names and paths in the loader's cache; nothing if it is not understood.
fn entries(cache: &[u8]) -> Vec<(String, PathBuf)> {
    let number = |at: usize| Some(u32::from_le_bytes(*cache.get(at..)?.first_chunk()?));
    let text = |at: usize| {
        let rest = cache.get(at..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    };
    let entry = |at: usize| {
        let is_ours = number(at)? & MACHINE_MASK == MACHINE;
        let (name, path) = (text(number(at + 4)? as usize)?, text(number(at + 8)? as usize)?);
        is_ours.then(|| (name.to_owned(), PathBuf::from(path)))
    };
    if !cache.starts_with(MAGIC) {
        return Vec::new();
    }
    let count = (number(MAGIC.len()).unwrap_or(0) as usize).min(cache.len() / ENTRY_BYTES);
    (0..count).filter_map(|i| entry(HEADER_BYTES + i * ENTRY_BYTES)).collect()
}

fn in_directories() -> Vec<(String, PathBuf)> {
    let multiarch = [
        format!("/lib/{}-linux-gnu", std::env::consts::ARCH),
        format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH),
    ];
    let directories = DIRECTORIES.iter().map(Path::new).chain(multiarch.iter().map(Path::new));
    let files = directories.filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten();
    files.filter_map(|file| Some((file.file_name().into_string().ok()?, file.path()))).collect()
}

/// Some files of that name are texts for the linker.
fn is_elf(path: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 4];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == object::elf::ELFMAG
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_found_by_its_names() {
        // What the loader mapped into this process is the truth.
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        let libc = mapped.filter(|path| path.ends_with("/libc.so.6")).map(PathBuf::from).next().unwrap();
        for name in ["libc.so.6", "libc", "c"] {
            assert_eq!(find(name).unwrap(), std::slice::from_ref(&libc), "{name}");
        }
        assert_eq!(find("libno-such-library").unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_cache_that_is_cut_off_or_foreign_has_no_entries() {
        let cache = fs::read(CACHE).unwrap();
        assert!(!entries(&cache).is_empty());
        for end in [0, MAGIC.len(), HEADER_BYTES, HEADER_BYTES + 10, cache.len() / 2] {
            entries(&cache[..end]);
        }
        assert!(entries(b"ld.so-1.7.0\0\x01\0\0\0").is_empty());
        let mut wild = cache;
        wild[MAGIC.len()..MAGIC.len() + 4].fill(0xff);
        entries(&wild);
    }
}
