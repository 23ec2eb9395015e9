//! Where things are in the object: instructions, functions, relocations, constants. Read once, for all copies.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, Rel, SectionHeader, Sym};
use object::{LittleEndian, SectionIndex};

use super::instruction::{Instruction, SIZE};

type Elf = FileHeader64<LittleEndian>;
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
        let file = Elf::parse(bytes)?;
        let table = file.sections(LE, bytes)?;
        let symbols = table.symbols(LE, bytes, elf::SHT_SYMTAB)?;
        let headers = file.e_shoff.get(LE) as usize;
        let header_at =
            |index: SectionIndex| headers + index.0 * size_of::<elf::SectionHeader64<LittleEndian>>();
        let (symbol_section, _) =
            table.enumerate().find(|(_, it)| it.sh_type(LE) == elf::SHT_SYMTAB).context("no symbols")?;
        let symbols_from = table.section(symbol_section)?.sh_offset(LE) as usize;

        let texts: Vec<SectionIndex> = table
            .enumerate()
            .filter(|(_, it)| it.sh_flags(LE) & u64::from(elf::SHF_EXECINSTR) != 0)
            .map(|(index, _)| index)
            .collect();
        let place = |section: SectionIndex, address: u64| {
            let section = texts.iter().position(|text| *text == section)?;
            Some(Place { section, at: address as usize / SIZE })
        };
        let (data_index, data) = table.section_by_name(LE, b".rodata").context("no constants")?;
        let data = file_range(data)?;

        let mut constants = HashMap::new();
        let mut functions: Vec<Vec<Function>> = texts.iter().map(|_| Vec::new()).collect();
        for (index, symbol) in symbols.enumerate() {
            let Some(section) = symbols.symbol_section(LE, symbol, index)? else { continue };
            let (from, size) = (symbol.st_value(LE) as usize, symbol.st_size(LE) as usize);
            if symbol.st_type() == elf::STT_FUNC {
                let function = place(section, from as u64).context("a function is not among instructions")?;
                functions[function.section].push(Function {
                    range: function.at..function.at + size / SIZE,
                    symbol: symbols_from + index.0 * size_of::<elf::Sym64<LittleEndian>>(),
                });
            } else if section == data_index && size != 0 {
                let name = std::str::from_utf8(symbols.symbol_name(LE, symbol)?)?;
                constants.insert(name, data.start + from..data.start + from + size);
            }
        }

        let mut sections = Vec::new();
        for (text, mut functions) in texts.iter().zip(functions) {
            let header = table.section(*text)?;
            let name = std::str::from_utf8(table.section_name(LE, header)?)?;
            let range = file_range(header)?;
            functions.sort_by_key(|function| function.range.start);
            let ends = functions
                .iter()
                .scan(0, |end, it| Some(std::mem::replace(end, it.range.end) == it.range.start));
            ensure!(ends.into_iter().all(|follows| follows), "{name}: functions do not follow on each other");
            ensure!(
                functions.last().map(|it| it.range.end * SIZE) == Some(range.len()),
                "{name}: more than functions"
            );

            let mut references = HashMap::new();
            let mut relocations = None;
            for (index, section) in table.enumerate() {
                let Some((rels, _)) = section.rel(LE, bytes)?.filter(|_| section.info_link(LE) == *text)
                else {
                    continue;
                };
                let mut of = Vec::new();
                for rel in rels {
                    let at = rel.r_offset(LE) as usize / SIZE;
                    let symbol_index = rel.symbol(LE).context("a relocation of no symbol")?;
                    let symbol = symbols.symbol(symbol_index)?;
                    let target = symbols
                        .symbol_section(LE, symbol, symbol_index)?
                        .context("what is called is not here")?;
                    let imm = instruction(bytes, &range, at).context("a relocation of no instruction")?.imm;
                    let is_section = symbol.st_type() == elf::STT_SECTION;
                    let address = if is_section {
                        (i64::from(imm) + 1) as u64 * SIZE as u64
                    } else {
                        symbol.st_value(LE)
                    };
                    let reference = match place(target, address) {
                        Some(place) => Reference::Function(place),
                        None if target == data_index => {
                            Reference::Data(symbol.st_value(LE).wrapping_add_signed(i64::from(imm)))
                        }
                        None => Reference::Other,
                    };
                    of.push((at, is_section && matches!(reference, Reference::Function(_))));
                    references.insert(at, reference);
                }
                relocations = Some(Relocations { bytes: file_range(section)?, header: header_at(index), of });
            }
            sections.push(Section {
                name,
                bytes: range,
                header: header_at(*text),
                functions,
                relocations,
                references,
            });
        }
        Ok(Self { sections, data, constants })
    }
}

fn file_range(section: &elf::SectionHeader64<LittleEndian>) -> Result<Range<usize>> {
    let (from, size) = section.file_range(LE).context("a section without bytes")?;
    Ok(from as usize..(from + size) as usize)
}

/// An instruction of a section, whose bytes in the file are `section`.
pub fn instruction(file: &[u8], section: &Range<usize>, at: usize) -> Option<Instruction> {
    let (all, _) = file.get(section.clone())?.as_chunks::<SIZE>();
    all.get(at).copied().map(Instruction::from_bytes)
}
