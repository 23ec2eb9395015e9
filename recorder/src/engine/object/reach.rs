//! Finds the instructions that the programs of a copy of the object can reach with its constants, as the kernel's verifier would.
//!
//! Each function is followed with what is known about its registers and its stack; a comparison of known numbers has one
//! outcome.

use std::collections::{HashMap, HashSet};

use super::instruction::{ADD, CALL, COPY, EXIT, FRAME, GOTO, Instruction, LOAD_64, class};
use super::layout::{Layout, Place, Reference};
use super::values::{self, Value};

/// Arguments, and what a call gives and may change.
const CHANGED_BY_CALLS: usize = 6;
/// Where a run can go from an instruction.
struct Next {
    /// To the one behind it.
    on: bool,
    /// Where it jumps to.
    away: bool,
}

/// What holds of the instructions whatever the constants are.
#[derive(Debug)]
pub struct Facts {
    /// For each section, whether an instruction is jumped to.
    is_target: Vec<Vec<bool>>,
    /// For each function by its place, the lowest part of the stack of which a pointer is made. What is below is reached by
    /// the function's own loads and stores only.
    pointed: HashMap<Place, i16>,
}

impl Facts {
    pub fn new(file: &[u8], layout: &Layout) -> Self {
        let mut facts = Self { is_target: Vec::new(), pointed: HashMap::new() };
        for (index, section) in layout.sections.iter().enumerate() {
            let mut is_target = vec![false; section.len() + 1];
            for function in &section.functions {
                let (mut at, mut pointed) = (function.range.start, 0);
                while let Some(this) = section.instruction(file, at).filter(|_| at < function.range.end) {
                    if this.is_conditional() || this.code == GOTO {
                        is_target[this.target(at)] = true;
                    }
                    pointed = pointed.min(pointer(this, section.instruction(file, at + 1)).unwrap_or(0));
                    at += this.len();
                }
                facts.pointed.insert(Place { section: index, at: function.range.start }, pointed);
            }
            facts.is_target.push(is_target);
        }
        facts
    }
}

/// The part of the stack to which this instruction, with the next one, makes a pointer.
fn pointer(this: Instruction, next: Option<Instruction>) -> Option<i16> {
    let is_copy = matches!(this.class(), class::ALU32 | class::ALU64) && this.is_of_register();
    let is_stored = this.class() == class::STX;
    if this.src != FRAME || !(is_copy || is_stored) {
        return None;
    }
    // r1 = r10; r1 += -8
    let add = next.filter(|next| this.code == COPY && next.code == ADD && next.dst == this.dst);
    Some(add.and_then(|add| i16::try_from(add.imm).ok()).unwrap_or(i16::MIN))
}

/// What is known before an instruction.
#[derive(Clone, PartialEq)]
struct State {
    registers: [Value; FRAME as usize + 1],
    /// Parts of the stack of which something is known.
    stack: Vec<Saved>,
}

#[derive(Clone, Copy, PartialEq)]
struct Saved {
    from: i16,
    width: usize,
    value: Value,
}

impl State {
    const NOTHING: Self = Self { registers: [Value::Unknown; FRAME as usize + 1], stack: Vec::new() };

    /// What is known if it is this or `other`.
    fn or(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.registers.iter_mut().zip(other.registers).for_each(|(one, other)| *one = one.or(other));
        both.stack.retain(|saved| other.stack.contains(saved));
        both
    }

    fn save(&mut self, from: i16, width: usize, value: Value) {
        let end = |from: i16, width: usize| i32::from(from) + width as i32;
        self.stack
            .retain(|it| end(it.from, it.width) <= i32::from(from) || end(from, width) <= i32::from(it.from));
        let value = match value {
            Value::Number(number) if width < 8 => Value::Number(number & ((1 << (width * 8)) - 1)),
            Value::Data(_) if width < 8 => Value::Unknown,
            value => value,
        };
        if value != Value::Unknown {
            self.stack.push(Saved { from, width, value });
        }
    }

    fn saved(&self, from: i16, width: usize) -> Value {
        let saved = self.stack.iter().find(|it| (it.from, it.width) == (from, width));
        saved.map_or(Value::Unknown, |saved| saved.value)
    }
}

/// Follow a copy of the object from the programs at `roots`: for each section, whether each instruction can be reached.
pub fn reach(file: &[u8], layout: &Layout, facts: &Facts, roots: Vec<Place>) -> Vec<Vec<bool>> {
    let reached = layout.sections.iter().map(|section| vec![false; section.len()]).collect();
    let mut walk = Walk { file, layout, facts, reached, called: roots };
    let mut followed = HashSet::new();
    while let Some(place) = walk.called.pop() {
        if followed.insert(place) {
            walk.function(place);
        }
    }
    walk.reached
}

struct Walk<'a> {
    file: &'a [u8],
    layout: &'a Layout,
    facts: &'a Facts,
    reached: Vec<Vec<bool>>,
    /// Functions still to be followed.
    called: Vec<Place>,
}

impl Walk<'_> {
    fn function(&mut self, Place { section, at: start }: Place) {
        let is_target = &self.facts.is_target[section];
        let pointed = self.facts.pointed.get(&Place { section, at: start }).copied().unwrap_or(i16::MIN);
        let mut states = HashMap::from([(start, State::NOTHING)]);
        let mut left = vec![start];
        while let Some(mut at) = left.pop() {
            let Some(mut state) = states.get(&at).cloned() else { continue };
            let mut arrive = |at: usize, state: &State| {
                let known = states.get(&at);
                let both = known.map_or_else(|| state.clone(), |known| known.or(state));
                if known != Some(&both) {
                    states.insert(at, both);
                    left.push(at);
                }
            };
            while let Some(this) = self.layout.sections[section].instruction(self.file, at) {
                self.reached[section][at] = true;
                let next = self.step(section, at, this, &mut state, pointed);
                if next.away {
                    arrive(this.target(at), &state);
                }
                if !next.on {
                    break;
                }
                at += this.len();
                if is_target[at] {
                    arrive(at, &state);
                    break;
                }
            }
        }
    }

    /// What an instruction makes of what is known, and where the run goes from there.
    fn step(
        &mut self,
        section: usize,
        at: usize,
        this: Instruction,
        state: &mut State,
        pointed: i16,
    ) -> Next {
        let reference = self.layout.sections[section].references.get(&at).copied();
        let (dst, src) = (usize::from(this.dst), usize::from(this.src));
        let is_hidden = i32::from(this.offset) + this.width() as i32 <= i32::from(pointed);
        match this.class() {
            class::ALU32 | class::ALU64 => {
                let right = values::operand(this, &state.registers);
                state.registers[dst] = values::arithmetic(this, state.registers[dst], right);
            }
            class::LD => {
                if let Some(Reference::Function(place)) = reference {
                    self.called.push(place);
                }
                state.registers[dst] = match reference {
                    Some(Reference::Data(place)) => Value::Data(place),
                    None if this.code == LOAD_64 => self.number(section, at, this),
                    _ => Value::Unknown,
                };
            }
            class::LDX => {
                state.registers[dst] = match state.registers[src] {
                    _ if !this.is_plain_access() => Value::Unknown,
                    _ if this.src == FRAME => state.saved(this.offset, this.width()),
                    Value::Data(place) => self.constant(place, this),
                    _ => Value::Unknown,
                };
            }
            class::ST | class::STX => {
                if this.is_atomic() {
                    state.registers[src] = Value::Unknown;
                    state.registers[0] = Value::Unknown;
                }
                if this.dst == FRAME {
                    let stored = if this.class() == class::STX {
                        state.registers[src]
                    } else {
                        Value::Number(i64::from(this.imm) as u64)
                    };
                    let is_known = is_hidden && this.is_plain_access();
                    state.save(this.offset, this.width(), if is_known { stored } else { Value::Unknown });
                }
            }
            _ if this.code == CALL => {
                match reference {
                    Some(Reference::Function(place)) => self.called.push(place),
                    _ => self.called.extend(this.called(at).map(|at| Place { section, at })),
                }
                state.registers[..CHANGED_BY_CALLS].fill(Value::Unknown);
            }
            _ if this.code == EXIT => return Next { on: false, away: false },
            _ if this.code == GOTO => return Next { on: false, away: true },
            _ => {
                let right = values::operand(this, &state.registers);
                let is_taken = values::is_taken(this, state.registers[dst], right);
                return Next { on: is_taken != Some(true), away: is_taken != Some(false) };
            }
        }
        Next { on: true, away: false }
    }

    /// The constant that is loaded from a place in `.rodata`.
    fn constant(&self, place: u64, load: Instruction) -> Value {
        let from = place.wrapping_add_signed(i64::from(load.offset)) as usize;
        let data = &self.file[self.layout.data.clone()];
        let Some(bytes) = from.checked_add(load.width()).and_then(|end| data.get(from..end)) else {
            return Value::Unknown;
        };
        let mut number = [0; 8];
        number[..bytes.len()].copy_from_slice(bytes);
        Value::Number(u64::from_le_bytes(number))
    }

    /// The number that an instruction of double length holds.
    fn number(&self, section: usize, at: usize, this: Instruction) -> Value {
        let high = self.layout.sections[section].instruction(self.file, at + 1).map_or(0, |next| next.imm);
        Value::Number(u64::from(high as u32) << 32 | u64::from(this.imm as u32))
    }
}
