//! What is known of a register: a number, a place in the constants, or nothing; and what arithmetic and comparisons make
//! of it.

use super::instruction::{Instruction, class};

/// What is known of a register or of a place on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Unknown,
    Number(u64),
    /// A place in `.rodata`.
    Data(u64),
}

use Value::{Data, Number, Unknown};

impl Value {
    /// What is known where either may be there.
    pub fn or(self, other: Self) -> Self {
        if self == other { self } else { Unknown }
    }
}

/// The second operand of an instruction: a register's value, or its own number.
pub fn operand(instruction: Instruction, registers: &[Value]) -> Value {
    if instruction.is_of_register() {
        registers[usize::from(instruction.src)]
    } else {
        Number(i64::from(instruction.imm) as u64)
    }
}

/// The result of arithmetic.
pub fn arithmetic(instruction: Instruction, left: Value, right: Value) -> Value {
    // Moves that extend a sign, and divisions of numbers with one.
    if instruction.offset != 0 {
        return Unknown;
    }
    let is_wide = instruction.class() == class::ALU64;
    match (instruction.operation(), left, right) {
        (MOV, _, right) if is_wide => right,
        (ADD, Data(place), Number(by)) | (ADD, Number(by), Data(place)) if is_wide => {
            Data(place.wrapping_add(by))
        }
        (MOV, _, Number(right)) => Number(right & LOW),
        (NEG, Number(left), _) if is_wide => Number(left.wrapping_neg()),
        (NEG, Number(left), _) => Number(left.wrapping_neg() & LOW),
        (operation, Number(left), Number(right)) if is_wide => wide(operation, left, right),
        (operation, Number(left), Number(right)) => narrow(operation, left as u32, right as u32),
        _ => Unknown,
    }
}

const LOW: u64 = 0xffff_ffff;
const ADD: u8 = 0x00;
const SUB: u8 = 0x10;
const MUL: u8 = 0x20;
const OR: u8 = 0x40;
const AND: u8 = 0x50;
const LSH: u8 = 0x60;
const RSH: u8 = 0x70;
const NEG: u8 = 0x80;
const XOR: u8 = 0xa0;
const MOV: u8 = 0xb0;
const ARSH: u8 = 0xc0;

fn wide(operation: u8, left: u64, right: u64) -> Value {
    Number(match operation {
        ADD => left.wrapping_add(right),
        SUB => left.wrapping_sub(right),
        MUL => left.wrapping_mul(right),
        OR => left | right,
        AND => left & right,
        XOR => left ^ right,
        LSH => left.wrapping_shl(right as u32),
        RSH => left.wrapping_shr(right as u32),
        ARSH => (left as i64).wrapping_shr(right as u32) as u64,
        _ => return Unknown,
    })
}

fn narrow(operation: u8, left: u32, right: u32) -> Value {
    Number(u64::from(match operation {
        ADD => left.wrapping_add(right),
        SUB => left.wrapping_sub(right),
        MUL => left.wrapping_mul(right),
        OR => left | right,
        AND => left & right,
        XOR => left ^ right,
        LSH => left.wrapping_shl(right),
        RSH => left.wrapping_shr(right),
        ARSH => (left as i32).wrapping_shr(right) as u32,
        _ => return Unknown,
    }))
}

/// Whether a conditional jump is taken, if that is known.
pub fn is_taken(instruction: Instruction, left: Value, right: Value) -> Option<bool> {
    let (Number(left), Number(right)) = (left, right) else { return None };
    let is_wide = instruction.class() == class::JMP;
    let (left, right) = if is_wide { (left, right) } else { (left & LOW, right & LOW) };
    let signed = |number: u64| if is_wide { number as i64 } else { i64::from(number as i32) };
    Some(match instruction.operation() {
        0x10 => left == right,
        0x20 => left > right,
        0x30 => left >= right,
        0x40 => left & right != 0,
        0x50 => left != right,
        0x60 => signed(left) > signed(right),
        0x70 => signed(left) >= signed(right),
        0xa0 => left < right,
        0xb0 => left <= right,
        0xc0 => signed(left) < signed(right),
        0xd0 => signed(left) <= signed(right),
        _ => return None,
    })
}
