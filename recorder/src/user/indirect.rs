//! Finds which implementation of an indirect function (IFUNC) this machine's loader chooses.
//!
//! The choice is made by code of the library, from what the processor can do, so only running it tells. Where the recorder
//! itself has loaded the same library (the same build id), the loader has made the choice here already, and it is the same
//! for every process of the machine. Nothing is loaded or run in order to find out.

use std::ffi::CStr;
use std::fs::File;

use anyhow::{Result, bail};

use super::elf::{Image, Symbol};

/// What the C library calls the memory in which the kernel offers functions.
const VDSO: &str = "linux-vdso.so.1";

/// A program or library that this process has loaded.
#[derive(Clone, Debug)]
struct Object {
    name: String,
    /// What is added to the addresses of its file.
    base: u64,
    /// Addresses in its file, and lengths.
    parts: Vec<(u64, u64)>,
}

impl Object {
    fn holds(&self, address: u64) -> bool {
        self.parts.iter().any(|(start, bytes)| address.wrapping_sub(self.base).wrapping_sub(*start) < *bytes)
    }
}

/// A library that this process has loaded, and what else it has.
#[derive(Debug)]
pub struct Loaded {
    own: Object,
    all: Vec<Object>,
}

impl Loaded {
    /// The library with that build id, if this process has loaded it.
    pub fn find(build_id: &str) -> Option<Self> {
        let all = objects();
        let is_it = |object: &&Object| {
            let image = File::open(&object.name).ok().and_then(|file| Image::read(&file).ok());
            image.and_then(|image| image.build_id).as_deref() == Some(build_id)
        };
        let own = all.iter().filter(|object| object.name.starts_with('/')).find(is_it)?.clone();
        Some(Self { own, all })
    }

    /// The address in the file of what the loader chose for `symbol`. Fails if it is not in this file.
    pub fn choice(&self, symbol: &Symbol) -> Result<u64> {
        let Some(address) = address_of(symbol) else {
            bail!("the loader does not tell which one it chooses; probe what calls it");
        };
        if self.own.holds(address) {
            return Ok(address.wrapping_sub(self.own.base));
        }
        match self.all.iter().find(|object| object.holds(address)) {
            Some(object) if object.name == VDSO => bail!(
                "here the kernel provides it (vDSO), in memory that belongs to no file and cannot be probed; probe what \
                 calls it"
            ),
            Some(object) => bail!("it chooses one that is not in this file but in {}", object.name),
            None => bail!("it chooses one that is in no file; probe what calls it"),
        }
    }
}

/// All that is loaded.
fn objects() -> Vec<Object> {
    unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: usize, all: *mut libc::c_void) -> i32 {
        // SAFETY: the loader hands over valid information, and the pointer that `objects` gave it.
        let (info, all) = unsafe { (&*info, &mut *all.cast::<Vec<Object>>()) };
        let name = match info.dlpi_name.is_null() {
            true => String::new(),
            // SAFETY: a string of the loader, which stays for as long as this call.
            false => unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned(),
        };
        let parts = match info.dlpi_phdr.is_null() {
            true => &[][..],
            // SAFETY: as many program headers as the loader says.
            false => unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) },
        };
        let parts = parts.iter().filter(|part| part.p_type == libc::PT_LOAD);
        let parts = parts.map(|part| (part.p_vaddr, part.p_memsz)).collect();
        all.push(Object { name, base: info.dlpi_addr, parts });
        0
    }
    let mut all: Vec<Object> = Vec::new();
    // SAFETY: the callback gets the vector that lives until this call is over, and does not unwind.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut all).cast()) };
    all
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
