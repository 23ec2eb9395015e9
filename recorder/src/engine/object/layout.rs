//! Finds functions, relocations and constants in the object, once for all copies.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use object::elf::{self, FileHeader64, Rel64, SectionHeader64, Sym64};
use object::read::elf::{FileHeader, Rel, SectionHeader, SectionTable, Sym, SymbolTable};
use object::{LittleEndian, SectionIndex, SymbolIndex};

use super::instruction::{Instruction, SIZE};

type Elf = FileHeader64<LittleEndian>;
type Header = SectionHeader64<LittleEndian>;
type Symbol = Sym64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

/// What an instruction refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A place in `.rodata`.
    Data(u64),
    /// A function.
    Function(Place),
    /// A map, or a constant elsewhere.
    Other,
}

/// An instruction: its section, counted among those of instructions, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub section: usize,
    pub at: usize,
}

/// A function or program.
#[derive(Debug)]
pub struct Function {
    /// Its instructions.
    pub range: Range<usize>,
    /// Where its symbol is in the file.
    pub symbol: usize,
}

/// A section of instructions.
#[derive(Debug)]
pub struct Section {
    pub name: &'static str,
    /// Its bytes in the file.
    pub bytes: Range<usize>,
    /// Where its header is in the file.
    pub header: usize,
    /// In the order of their instructions, without gaps.
    pub functions: Vec<Function>,
    pub relocations: Option<Relocations>,
    pub references: HashMap<usize, Reference>,
}

impl Section {
    /// Number of its instructions.
    pub fn len(&self) -> usize {
        self.functions.last().map_or(0, |function| function.range.end)
    }

    /// One of them, of a copy of the object.
    pub fn instruction(&self, file: &[u8], at: usize) -> Option<Instruction> {
        instruction(file, &self.bytes, at)
    }
}

/// Relocations of a section.
#[derive(Debug)]
pub struct Relocations {
    /// Their bytes in the file.
    pub bytes: Range<usize>,
    /// Where the header of their section is.
    pub header: usize,
    /// Which instruction each is for, and whether the instruction holds where a function begins in its section.
    pub of: Vec<(usize, bool)>,
}

/// The object.
#[derive(Debug)]
pub struct Layout {
    pub sections: Vec<Section>,
    /// The bytes of `.rodata` in the file.
    pub data: Range<usize>,
    /// Constants by name: where they are in the file.
    pub constants: HashMap<&'static str, Range<usize>>,
}

impl Layout {
    /// Read an object.
    ///
    /// # Errors
    /// If it is not an ELF file as the compiler of the kernel side makes it.
    pub fn read(bytes: &'static [u8]) -> Result<Self> {
        let reader = Reader::new(bytes)?;
        let (_, data) = reader.table.section_by_name(LE, b".rodata").context("no constants")?;
        Ok(Self {
            sections: reader.texts.iter().map(|text| reader.section(*text)).collect::<Result<_>>()?,
            data: file_range(data)?,
            constants: reader.constants()?,
        })
    }
}

/// Reads the tables of the file.
struct Reader {
    bytes: &'static [u8],
    headers: usize,
    table: SectionTable<'static, Elf>,
    symbols: SymbolTable<'static, Elf>,
    /// Where the symbols are in the file.
    symbols_from: usize,
    /// The sections of instructions.
    texts: Vec<SectionIndex>,
    data: SectionIndex,
}

impl Reader {
    fn new(bytes: &'static [u8]) -> Result<Self> {
        let file = Elf::parse(bytes)?;
        let table = file.sections(LE, bytes)?;
        let symbols = table.symbols(LE, bytes, elf::SHT_SYMTAB)?;
        let symbols_from = table.section(symbols.section())?.sh_offset(LE) as usize;
        let is_text = |section: &Header| section.sh_flags(LE) & u64::from(elf::SHF_EXECINSTR) != 0;
        let texts =
            table.enumerate().filter(|(_, section)| is_text(section)).map(|(index, _)| index).collect();
        let (data, _) = table.section_by_name(LE, b".rodata").context("no constants")?;
        Ok(Self { bytes, headers: file.e_shoff.get(LE) as usize, table, symbols, symbols_from, texts, data })
    }

    /// Where the header of a section is in the file.
    fn header(&self, index: SectionIndex) -> usize {
        self.headers + index.0 * size_of::<Header>()
    }

    /// The instruction at an address of a section, if it is one of instructions.
    fn place(&self, section: SectionIndex, address: u64) -> Option<Place> {
        let section = self.texts.iter().position(|text| *text == section)?;
        Some(Place { section, at: address as usize / SIZE })
    }

    fn constants(&self) -> Result<HashMap<&'static str, Range<usize>>> {
        let start = file_range(self.table.section(self.data)?)?.start;
        let mut constants = HashMap::new();
        for symbol in self.symbols_of(self.data)?.into_iter().map(|(_, symbol)| symbol) {
            let name = std::str::from_utf8(self.symbols.symbol_name(LE, symbol)?)?;
            let from = start + symbol.st_value(LE) as usize;
            constants.insert(name, from..from + symbol.st_size(LE) as usize);
        }
        Ok(constants)
    }

    /// What has a size in a section.
    fn symbols_of(&self, section: SectionIndex) -> Result<Vec<(SymbolIndex, &'static Symbol)>> {
        let mut found = Vec::new();
        for (index, symbol) in self.symbols.enumerate().filter(|(_, symbol)| symbol.st_size(LE) != 0) {
            if self.symbols.symbol_section(LE, symbol, index)? == Some(section) {
                found.push((index, symbol));
            }
        }
        Ok(found)
    }

    fn section(&self, index: SectionIndex) -> Result<Section> {
        let header = self.table.section(index)?;
        let name = std::str::from_utf8(self.table.section_name(LE, header)?)?;
        let bytes = file_range(header)?;
        let mut section = Section {
            name,
            header: self.header(index),
            functions: self.functions(index, bytes.len() / SIZE).with_context(|| name.to_owned())?,
            relocations: None,
            references: HashMap::new(),
            bytes,
        };
        for (of, relocations) in self.table.enumerate() {
            let rels = relocations.rel(LE, self.bytes)?;
            if let Some((rels, _)) = rels.filter(|_| relocations.info_link(LE) == index) {
                let mut places = Vec::new();
                for rel in rels {
                    let at = rel.r_offset(LE) as usize / SIZE;
                    let (reference, is_place) = self.reference(&section.bytes, at, rel)?;
                    section.references.insert(at, reference);
                    places.push((at, is_place));
                }
                let bytes = file_range(relocations)?;
                section.relocations = Some(Relocations { bytes, header: self.header(of), of: places });
            }
        }
        Ok(section)
    }

    /// The functions of a section, which they are all of.
    fn functions(&self, section: SectionIndex, len: usize) -> Result<Vec<Function>> {
        let symbols = self.symbols_of(section)?.into_iter();
        let mut functions: Vec<Function> = symbols
            .filter(|(_, symbol)| symbol.st_type() == elf::STT_FUNC)
            .map(|(index, symbol)| {
                let start = symbol.st_value(LE) as usize / SIZE;
                Function {
                    range: start..start + symbol.st_size(LE) as usize / SIZE,
                    symbol: self.symbols_from + index.0 * size_of::<Symbol>(),
                }
            })
            .collect();
        functions.sort_by_key(|function| function.range.start);
        let end = functions.iter().try_fold(0, |end, it| (it.range.start == end).then_some(it.range.end));
        ensure!(end == Some(len), "its functions do not follow on each other");
        Ok(functions)
    }

    /// What the instruction at `at` refers to, and whether it says where in its section that is.
    fn reference(
        &self,
        section: &Range<usize>,
        at: usize,
        rel: &Rel64<LittleEndian>,
    ) -> Result<(Reference, bool)> {
        let index = rel.symbol(LE).context("a relocation of no symbol")?;
        let symbol = self.symbols.symbol(index)?;
        let target = self.symbols.symbol_section(LE, symbol, index)?.context("what is called is not here")?;
        let imm =
            i64::from(instruction(self.bytes, section, at).context("a relocation of no instruction")?.imm);
        let is_place = symbol.st_type() == elf::STT_SECTION;
        let address = if is_place { (imm + 1) as u64 * SIZE as u64 } else { symbol.st_value(LE) };
        Ok(match self.place(target, address) {
            Some(place) => (Reference::Function(place), is_place),
            None if target == self.data => {
                (Reference::Data(symbol.st_value(LE).wrapping_add_signed(imm)), false)
            }
            None => (Reference::Other, false),
        })
    }
}

fn file_range(section: &Header) -> Result<Range<usize>> {
    let (from, size) = section.file_range(LE).context("a section without bytes")?;
    Ok(from as usize..(from + size) as usize)
}

/// An instruction of a section, whose bytes in the file are `section`.
pub fn instruction(file: &[u8], section: &Range<usize>, at: usize) -> Option<Instruction> {
    let (all, _) = file.get(section.clone())?.as_chunks::<SIZE>();
    all.get(at).copied().map(Instruction::from_bytes)
}
