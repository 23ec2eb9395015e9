//! Reads one ELF file: which parts of it are code, and what its symbol tables call them.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, bail, ensure};
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym as _};
use object::{Endianness, ReadCache, StringTable, SymbolIndex};

/// Machine that the recorder was built for, as in the header of its programs.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 };
/// Smallest unit in which programs are loaded.
const PAGE_BYTES: u64 = 4096;
/// Longest first line of a script that is looked at.
const SCRIPT_BYTES: usize = 256;
/// What stands between a name and its version in a symbol table that is not for the loader.
const VERSION_MARK: char = '@';

/// Owner and type of notes about probes.
const MARK_OWNER: &[u8] = b"stapsdt";
const MARK_TYPE: u32 = 3;

type Header = FileHeader64<Endianness>;

/// What an ELF file says of itself.
#[derive(Debug, Default)]
pub struct Image {
    /// The parts that are loaded.
    pub segments: Vec<Segment>,
    /// All named symbols that could be a function, and those that could be mistaken for one.
    pub symbols: Vec<Symbol>,
    /// What the linker gave it to tell it from others.
    pub build_id: Option<String>,
    /// Libraries that it is linked with.
    pub needed: Vec<String>,
    /// It has a symbol table beside the one for the loader.
    pub has_all_symbols: bool,
    /// Name and checksum of a file with the symbols that were taken out.
    pub debug_link: Option<(String, u32)>,
    /// Where it says that it has probes built in.
    pub marks: Vec<Mark>,
}

/// A place where a program has a probe built in: a note of type 3 of owner `stapsdt`, as `<sys/sdt.h>` makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Who offers it.
    pub provider: String,
    /// Its name there.
    pub name: String,
    /// As in [`Segment::address`].
    pub address: u64,
    /// Address of the number of those who listen, which the program looks at before it prepares arguments.
    pub semaphore: Option<u64>,
    /// Where the arguments are, as the compiler wrote it.
    pub arguments: String,
}

/// A part of the file that is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where it lies in the file.
    pub offset: u64,
    /// Where it is loaded, relative to the start of the program.
    pub address: u64,
    /// Its length in the file.
    pub size: u64,
    /// It holds code.
    pub is_code: bool,
}

/// A named place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Symbol {
    /// Its name, as the compiler wrote it.
    pub name: String,
    /// The version that the linker gave it, if any.
    pub version: Option<String>,
    /// Programs that are linked now get this one of several versions.
    pub is_default: bool,
    /// What is there.
    pub kind: Kind,
    /// As in [`Segment::address`].
    pub address: u64,
    /// Length in bytes; 0 if it is not known.
    pub size: u64,
}

/// What a symbol names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A function.
    Function,
    /// Code without a type, as assemblers make it.
    Label,
    /// A function that returns the address of the function to call (`STT_GNU_IFUNC`).
    Indirect,
    /// A variable, or anything else that is no code.
    Data,
    /// Something that is in a library, here named if that is known.
    Import(Option<String>),
}

impl Symbol {
    /// `NAME@@VERSION` for the default, `NAME@VERSION` for another.
    pub fn written(&self) -> String {
        match (&self.version, self.is_default) {
            (None, _) => self.name.clone(),
            (Some(version), true) => format!("{}@@{version}", self.name),
            (Some(version), false) => format!("{}@{version}", self.name),
        }
    }

    /// It can be called.
    pub fn is_code(&self) -> bool {
        matches!(self.kind, Kind::Function | Kind::Label | Kind::Indirect)
    }
}

impl Image {
    /// Read `file`. Fails if it is not a program or library of this machine; the error says what it is instead.
    pub fn read(file: &File) -> Result<Self> {
        check(file)?;
        parse(file).context("it is damaged")
    }

    /// The place in the file of a code address; `None` if no code is there.
    pub fn offset(&self, address: u64) -> Option<u64> {
        let holds = |s: &&Segment| s.is_code && address >= s.address && address - s.address < s.size;
        self.segments.iter().find(holds).map(|s| (address - s.address).wrapping_add(s.offset))
    }

    /// The place in the file of the initial value of a variable; `None` if it is not in the file.
    pub fn variable(&self, address: u64) -> Option<u64> {
        let holds = |s: &&Segment| address >= s.address && address - s.address < s.size;
        self.segments.iter().find(holds).map(|s| (address - s.address).wrapping_add(s.offset))
    }

    /// The code address of a place in the file; `None` if no code is there.
    pub fn address(&self, offset: u64) -> Option<u64> {
        let holds = |s: &&Segment| s.is_code && offset >= s.offset && offset - s.offset < s.size;
        self.segments.iter().find(holds).map(|s| (offset - s.offset).wrapping_add(s.address))
    }

    /// The page at which the program begins when nobody moves it.
    fn base(&self) -> u64 {
        self.segments.iter().map(|segment| segment.address & !(PAGE_BYTES - 1)).min().unwrap_or(0)
    }

    /// Functions that have a place in this file.
    pub fn functions(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.is_code())
    }

    /// Take over what `debug`, a file with the symbols of this one, knows in addition.
    pub fn add_symbols(&mut self, debug: Self) {
        // A program whose addresses were changed after it was built (prelink) moves as a whole.
        let moved = self.base().wrapping_sub(debug.base());
        let known: HashSet<(String, u64)> =
            self.symbols.iter().map(|symbol| (symbol.name.clone(), symbol.address)).collect();
        for mut symbol in debug.symbols {
            symbol.address = symbol.address.wrapping_add(moved);
            let is_here = !symbol.is_code() || self.offset(symbol.address).is_some();
            if is_here && !known.contains(&(symbol.name.clone(), symbol.address)) {
                self.symbols.push(symbol);
            }
        }
        self.has_all_symbols |= debug.has_all_symbols;
    }
}

/// What the linker gave the program or library `file` to tell it from others, without reading all of it.
pub fn build_id(file: &File) -> Option<String> {
    let cache = ReadCache::new(file);
    let header = Header::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    let parts = header.program_headers(endian, &cache).ok()?;
    parts.iter().find_map(|part| build_id_in(part, endian, &cache))
}

fn build_id_in(
    part: &elf::ProgramHeader64<Endianness>,
    endian: Endianness,
    data: &ReadCache<&File>,
) -> Option<String> {
    let mut notes = part.notes(endian, data).ok()??;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
            return Some(hexadecimal(note.desc()));
        }
    }
    None
}

/// Fails unless the file is a program or library of this machine.
fn check(file: &File) -> Result<()> {
    let mut start = Vec::new();
    let mut reader = file;
    reader.by_ref().take(SCRIPT_BYTES as u64).read_to_end(&mut start)?;
    ensure!(!start.is_empty(), "it is empty");
    if let Some(line) = start.strip_prefix(b"#!") {
        let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default());
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        let interpreter = if first.ends_with("/env") { words.next().unwrap_or(first) } else { first };
        bail!(
            "it is a script, which {interpreter} runs: only a program that the processor executes can be probed, such as {interpreter}"
        );
    }
    ensure!(start.starts_with(&elf::ELFMAG), "it is not an ELF file, so the processor does not execute it");
    ensure!(
        start.get(4) == Some(&elf::ELFCLASS64),
        "it is a 32-bit program: its arguments are not in the registers where they are looked for, so it cannot be probed"
    );
    let mut header = [0; size_of::<Header>()];
    file.read_exact_at(&mut header, 0).context("it is cut off")?;
    let (header, _) = object::from_bytes::<Header>(&header).map_err(|()| anyhow::anyhow!("it is cut off"))?;
    let endian = header.endian().context("it is damaged")?;
    let machine = header.e_machine(endian);
    ensure!(
        machine == MACHINE && header.is_little_endian(),
        "it is made for another machine (ELF machine {machine}), and this one is {}",
        std::env::consts::ARCH
    );
    match header.e_type(endian) {
        elf::ET_EXEC | elf::ET_DYN => Ok(()),
        elf::ET_REL => bail!("it is an object file: probe the program or library that it is linked into"),
        elf::ET_CORE => bail!("it is a core dump: probe the program that left it"),
        other => bail!("it is neither a program nor a library (ELF type {other})"),
    }
}

fn parse(file: &File) -> Result<Image> {
    let cache = ReadCache::new(file);
    let data = &cache;
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let mut image = Image::default();
    for part in header.program_headers(endian, data)? {
        if part.p_type(endian) == elf::PT_LOAD {
            image.segments.push(Segment {
                offset: part.p_offset(endian),
                address: part.p_vaddr(endian),
                size: part.p_filesz(endian),
                is_code: part.p_flags(endian) & elf::PF_X != 0,
            });
        }
        if image.build_id.is_none() {
            image.build_id = build_id_in(part, endian, data);
        }
    }
    let sections = header.sections(endian, data)?;
    if let Some((_, section)) = sections.section_by_name(endian, b".gnu_debuglink")
        && let Ok(content) = section.data(endian, data)
    {
        image.debug_link = debug_link(content);
    }
    // Where the linker put this section says by how much it moved addresses that stand in no section that it looks at.
    let base = sections.section_by_name(endian, b".stapsdt.base").map(|(_, section)| section.sh_addr(endian));
    if let Some((_, section)) = sections.section_by_name(endian, b".note.stapsdt")
        && let Ok(Some(mut notes)) = section.notes(endian, data)
    {
        while let Ok(Some(note)) = notes.next() {
            if note.name() == MARK_OWNER && note.n_type(endian) == MARK_TYPE {
                image.marks.extend(mark(note.desc(), base));
            }
        }
    }
    if let Ok(table) = sections.dynamic_table(endian, data) {
        let needed = table.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
        let names = needed.filter_map(|entry| table.string(entry).ok());
        image.needed = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    }
    let versions = sections.versions(endian, data)?.unwrap_or_default();
    for kind in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
        let is_for_loader = kind == elf::SHT_DYNSYM;
        let table = sections.symbols(endian, data, kind)?;
        if table.is_empty() {
            continue;
        }
        image.has_all_symbols |= !is_for_loader;
        // Read at once: one by one, names would be a system call each.
        let names = sections.section(table.string_section())?.data(endian, data)?;
        let names = StringTable::new(names, 0, names.len() as u64);
        let known: HashSet<(String, u64)> =
            image.symbols.iter().map(|symbol| (symbol.name.clone(), symbol.address)).collect();
        for (i, raw) in table.symbols().iter().enumerate() {
            let Ok(name) = raw.name(endian, names) else { continue };
            let name = String::from_utf8_lossy(name);
            // `$x`, `$d`: where code and data begin, on some machines.
            if name.is_empty() || name.starts_with('$') {
                continue;
            }
            let mut symbol = Symbol {
                name: name.into_owned(),
                version: None,
                is_default: true,
                kind: Kind::Data,
                address: raw.st_value(endian),
                size: raw.st_size(endian),
            };
            let mut provider = None;
            if is_for_loader {
                let index = versions.version_index(endian, SymbolIndex(i));
                if let Ok(Some(version)) = versions.version(index) {
                    symbol.version = Some(String::from_utf8_lossy(version.name()).into_owned());
                    provider = version.file().map(|file| String::from_utf8_lossy(file).into_owned());
                }
                symbol.is_default = !index.is_hidden();
            } else if let Some((name, version)) = symbol.name.split_once(VERSION_MARK) {
                let default = version.strip_prefix(VERSION_MARK);
                let (name, version, is_default) =
                    (name.to_owned(), default.unwrap_or(version).to_owned(), default.is_some());
                (symbol.name, symbol.version, symbol.is_default) = (name, Some(version), is_default);
            }
            let is_code = image.offset(symbol.address).is_some();
            symbol.kind = match raw.st_type() {
                elf::STT_SECTION | elf::STT_FILE => continue,
                _ if raw.st_shndx(endian) == elf::SHN_UNDEF => Kind::Import(provider),
                elf::STT_FUNC if is_code => Kind::Function,
                elf::STT_GNU_IFUNC if is_code => Kind::Indirect,
                elf::STT_NOTYPE if is_code => Kind::Label,
                // In a file that has symbols only, no part has contents: whoever takes them over knows.
                elf::STT_FUNC | elf::STT_NOTYPE if is_without_code(&image) => Kind::Function,
                elf::STT_GNU_IFUNC if is_without_code(&image) => Kind::Indirect,
                _ => Kind::Data,
            };
            if is_for_loader || !known.contains(&(symbol.name.clone(), symbol.address)) {
                image.symbols.push(symbol);
            }
        }
    }
    Ok(image)
}

/// The file has symbols and no code, as one with debugging information has.
fn is_without_code(image: &Image) -> bool {
    image.segments.iter().all(|segment| !segment.is_code || segment.size == 0)
}

/// Three addresses (the probe's, that of `.stapsdt.base` as it was assembled, the semaphore's), then three texts with a NUL
/// each.
fn mark(content: &[u8], base: Option<u64>) -> Option<Mark> {
    let address = |i: usize| Some(u64::from_le_bytes(*content.get(i * 8..)?.first_chunk()?));
    let (at, assembled, semaphore) = (address(0)?, address(1)?, address(2)?);
    let moved = base.map_or(0, |base| base.wrapping_sub(assembled));
    let mut texts = content.get(24..)?.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    Some(Mark {
        provider: texts.next()?.into_owned(),
        name: texts.next()?.into_owned(),
        address: at.wrapping_add(moved),
        semaphore: (semaphore != 0).then(|| semaphore.wrapping_add(moved)),
        arguments: texts.next()?.into_owned(),
    })
}

/// A name that ends with a NUL, padding to four bytes, and a checksum.
fn debug_link(content: &[u8]) -> Option<(String, u32)> {
    let end = content.iter().position(|byte| *byte == 0)?;
    let at = (end + 1).next_multiple_of(4);
    let checksum = u32::from_le_bytes(*content.get(at..)?.first_chunk()?);
    Some((String::from_utf8_lossy(&content[..end]).into_owned(), checksum))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
