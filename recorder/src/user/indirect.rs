//! Finds which implementation of an indirect function (IFUNC) this machine's loader chooses.
//!
//! The choice is made by code of the library, from what the processor can do, so only running it tells. Where the recorder
//! itself has loaded the same library (the same build id), the loader has made the choice here already, and it is the same
//! for every process of the machine. Nothing is loaded or run in order to find out.

use std::fs::{self, File};

use anyhow::{Result, bail};

use super::elf::{Image, Symbol};

/// An address in this process, and in the file.
#[derive(Clone, Debug)]
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    path: String,
}

/// A library that this process has loaded.
#[derive(Debug)]
pub struct Loaded {
    mappings: Vec<Mapping>,
    all: Vec<Mapping>,
}

impl Loaded {
    /// The library with that build id, if this process has loaded it.
    pub fn find(build_id: &str) -> Option<Self> {
        let maps = fs::read_to_string("/proc/self/maps").ok()?;
        let all: Vec<Mapping> = maps.lines().filter_map(mapping).collect();
        let mut paths: Vec<&str> =
            all.iter().map(|m| m.path.as_str()).filter(|p| p.starts_with('/')).collect();
        paths.dedup();
        let is_it = |path: &&str| {
            let image = File::open(path).ok().and_then(|file| Image::read(&file).ok());
            image.and_then(|image| image.build_id).as_deref() == Some(build_id)
        };
        let path = paths.into_iter().find(is_it)?.to_owned();
        Some(Self { mappings: all.iter().filter(|m| m.path == path).cloned().collect(), all })
    }

    /// The place in the file of what the loader chose for `symbol`. Fails if it is not in this file.
    pub fn choice(&self, symbol: &Symbol) -> Result<u64> {
        let Some(address) = address_of(symbol) else {
            bail!("the loader does not tell which implementation it chooses");
        };
        let holds = |m: &&Mapping| (m.start..m.end).contains(&address);
        if let Some(m) = self.mappings.iter().find(holds) {
            return Ok(address - m.start + m.offset);
        }
        match self.all.iter().find(holds) {
            Some(m) if m.path == "[vdso]" => {
                bail!(
                    "here the kernel provides it (vDSO), in memory that belongs to no file and cannot be probed; probe what \
                     calls it"
                )
            }
            Some(m) => {
                bail!("the loader chooses an implementation that is not in this file but in {}", m.path)
            }
            None => bail!("the loader does not tell which implementation it chooses"),
        }
    }
}

/// `START-END PERMISSIONS OFFSET DEVICE INODE PATH`
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let offset = words.nth(1)?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let path = words.skip(2).collect::<Vec<_>>().join(" ");
    Some(Mapping { start: number(start)?, end: number(end)?, offset: number(offset)?, path })
}

/// Where a call of `symbol` goes in this process.
#[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
fn address_of(symbol: &Symbol) -> Option<u64> {
    use std::ffi::CString;
    let name = CString::new(symbol.name.as_str()).ok()?;
    let version = symbol.version.as_ref().and_then(|version| CString::new(version.as_str()).ok());
    // SAFETY: strings that end with a NUL; what is found is not called here.
    let address = unsafe {
        match &version {
            Some(version) => libc::dlvsym(libc::RTLD_DEFAULT, name.as_ptr(), version.as_ptr()),
            None => libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()),
        }
    };
    (!address.is_null()).then_some(address as u64)
}

#[cfg(not(all(target_env = "gnu", not(target_feature = "crt-static"))))]
fn address_of(_: &Symbol) -> Option<u64> {
    None
}
