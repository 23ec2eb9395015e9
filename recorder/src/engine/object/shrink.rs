//! Removes the instructions that the programs of a copy of the object can never reach.
//!
//! The kernel would remove them too, but one stretch at a time, moving everything behind it each time. Together with what else
//! grows with the size, that is nearly all the time loading takes: a plan uses a few thousand of tens of thousands.

use std::mem::offset_of;
use std::ops::Range;

use object::LittleEndian;
use object::elf::{Rel64, SectionHeader64, Sym64};

use super::instruction::{CALL, EXIT, GOTO, Instruction, SIZE};
use super::layout::{Layout, Reference, Section};

type Header = SectionHeader64<LittleEndian>;
type Symbol = Sym64<LittleEndian>;
type Relocation = Rel64<LittleEndian>;

/// Remove what is not `reached`.
pub fn shrink(file: &mut [u8], layout: &Layout, reached: &[Vec<bool>]) {
    let sections = layout.sections.iter().zip(reached);
    let fates: Vec<Fates> = sections.map(|(section, reached)| Fates::new(file, section, reached)).collect();
    for (section, fate) in layout.sections.iter().zip(&fates) {
        fate.move_instructions(file, section, &fates);
        fate.move_relocations(file, section);
        for function in &section.functions {
            let Range { start, end } = function.range;
            let (start, end) = (fate.new_place(start), fate.new_place(end));
            put(file, function.symbol + offset_of!(Symbol, st_value), start * SIZE);
            put(file, function.symbol + offset_of!(Symbol, st_size), (end - start) * SIZE);
        }
        put(file, section.header + offset_of!(Header, sh_size), fate.new_place(section.len()) * SIZE);
    }
}

/// What remains of the instructions of a section, and where.
struct Fates {
    /// By old place: what remains there, `None` if nothing does.
    instructions: Vec<Option<Instruction>>,
    /// By old place: the new one; one more for the end.
    new_places: Vec<usize>,
}

impl Fates {
    fn new(file: &[u8], section: &Section, reached: &[bool]) -> Self {
        let mut instructions = vec![None; section.len()];
        for function in &section.functions {
            let Range { start, end } = function.range;
            if !reached[start] {
                // Nobody calls it, and it must not be empty.
                instructions[start] = Some(Instruction::new(EXIT, 0, 0, 0, 0));
                continue;
            }
            for at in (start..end).filter(|at| reached[*at]) {
                let Some(this) = section.instruction(file, at) else { continue };
                // As the kernel does: a comparison is dropped only if one of its two successors is never reached.
                let goto = Instruction { code: GOTO, dst: 0, src: 0, imm: 0, ..this };
                let stays = if !this.is_conditional() {
                    this
                } else if !reached[this.target(at)] {
                    Instruction { offset: 0, ..goto }
                } else if !reached[at + 1] {
                    goto
                } else {
                    this
                };
                instructions[at] = Some(stays);
                if this.len() == 2 {
                    instructions[at + 1] = section.instruction(file, at + 1);
                }
            }
            // In the kernel's order, so that the same jumps remain.
            for at in start..end {
                if let Some(this) = instructions[at].filter(|this| this.code == GOTO) {
                    let target = this.target(at);
                    if target > at && instructions[at + 1..target].iter().all(Option::is_none) {
                        instructions[at] = None;
                    }
                }
            }
        }
        let mut new_places = vec![0];
        new_places.extend(instructions.iter().scan(0, |count, it| {
            *count += usize::from(it.is_some());
            Some(*count)
        }));
        Self { instructions, new_places }
    }

    fn new_place(&self, at: usize) -> usize {
        self.new_places[at]
    }

    fn move_instructions(&self, file: &mut [u8], section: &Section, fates: &[Self]) {
        for (at, this) in self.instructions.iter().enumerate().filter_map(|(at, this)| Some((at, (*this)?))) {
            let new = self.new_place(at);
            let to = section.bytes.start + new * SIZE;
            let mut moved = this;
            // (The second half of a long instruction is neither: its opcode is 0.)
            if this.is_conditional() || this.code == GOTO {
                moved.offset = (self.new_place(this.target(at)) as isize - new as isize - 1) as i16;
            } else if this.code == CALL {
                moved.imm = self.called(section, fates, at, this).unwrap_or(this.imm);
            }
            file[to..to + SIZE].copy_from_slice(&moved.to_bytes());
        }
    }

    /// Where in its section the function is now that a call names by its place.
    fn called(&self, section: &Section, fates: &[Self], at: usize, this: Instruction) -> Option<i32> {
        match section.references.get(&at) {
            Some(Reference::Function(place)) => {
                let mut named = section.relocations.as_ref()?.of.iter();
                let is_place = named.any(|(of, is_place)| *of == at && *is_place);
                is_place.then(|| fates[place.section].new_place(place.at) as i32 - 1)
            }
            _ => Some(self.new_place(this.called(at)?) as i32 - self.new_place(at) as i32 - 1),
        }
    }

    fn move_relocations(&self, file: &mut [u8], section: &Section) {
        let Some(relocations) = &section.relocations else { return };
        let mut kept = 0;
        for (nth, (at, _)) in relocations.of.iter().enumerate() {
            // Of a function that nobody calls only an exit is left.
            let is_there = self.instructions[*at].is_some_and(|this| this.code != EXIT);
            if is_there {
                let at_file = |nth: usize| relocations.bytes.start + nth * size_of::<Relocation>();
                file.copy_within(at_file(nth)..at_file(nth + 1), at_file(kept));
                put(file, at_file(kept) + offset_of!(Relocation, r_offset), self.new_place(*at) * SIZE);
                kept += 1;
            }
        }
        put(file, relocations.header + offset_of!(Header, sh_size), kept * size_of::<Relocation>());
    }
}

/// Write a number of 8 bytes.
fn put(file: &mut [u8], at: usize, number: usize) {
    file[at..at + size_of::<u64>()].copy_from_slice(&(number as u64).to_le_bytes());
}
