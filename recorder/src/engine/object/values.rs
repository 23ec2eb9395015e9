//! Computes what is known about a register: a number, a place in the constants, or nothing.

use super::instruction::{Instruction, alu, class, jump};

/// What is known about a register or a place on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Unknown,
    Number(u64),
    /// A place in `.rodata`.
    Data(u64),
}

use Value::{Data, Number, Unknown};

impl Value {
    /// What is known if either may be there.
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
        (alu::MOV, _, right) if is_wide => right,
        (alu::ADD, Data(place), Number(by)) | (alu::ADD, Number(by), Data(place)) if is_wide => {
            Data(place.wrapping_add(by))
        }
        (alu::MOV, _, Number(right)) => Number(right & LOW),
        (operation, Number(left), Number(right)) => compute(operation, left, right, is_wide),
        _ => Unknown,
    }
}

const LOW: u64 = 0xffff_ffff;

/// Of 64 bits, or of the low 32, which leave the others zero.
fn compute(operation: u8, left: u64, right: u64, is_wide: bool) -> Value {
    let (mask, bits) = if is_wide { (u64::MAX, 64) } else { (LOW, 32) };
    let by = right as u32 % bits;
    let result = match operation {
        alu::ADD => left.wrapping_add(right),
        alu::SUB => left.wrapping_sub(right),
        alu::MUL => left.wrapping_mul(right),
        alu::OR => left | right,
        alu::AND => left & right,
        alu::XOR => left ^ right,
        alu::NEG => left.wrapping_neg(),
        alu::LSH => left << by,
        alu::RSH => (left & mask) >> by,
        alu::ARSH => (signed(left, is_wide) >> by) as u64,
        _ => return Unknown,
    };
    Number(result & mask)
}

fn signed(number: u64, is_wide: bool) -> i64 {
    if is_wide { number as i64 } else { i64::from(number as i32) }
}

/// Whether a conditional jump is taken, if that is known.
pub fn is_taken(instruction: Instruction, left: Value, right: Value) -> Option<bool> {
    let (Number(left), Number(right)) = (left, right) else { return None };
    let is_wide = instruction.class() == class::JMP;
    let (left, right) = if is_wide { (left, right) } else { (left & LOW, right & LOW) };
    let (a, b) = (signed(left, is_wide), signed(right, is_wide));
    Some(match instruction.operation() {
        jump::EQ => left == right,
        jump::NE => left != right,
        jump::GT => left > right,
        jump::GE => left >= right,
        jump::LT => left < right,
        jump::LE => left <= right,
        jump::SGT => a > b,
        jump::SGE => a >= b,
        jump::SLT => a < b,
        jump::SLE => a <= b,
        jump::SET => left & right != 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the rules of the instruction set (RFC 9669), worked out by hand.
    #[test]
    fn numbers_are_computed_as_the_instruction_set_says() {
        let of = |class: u8, operation: u8, left: u64, right: u64| {
            arithmetic(Instruction::new(class | operation | 8, 1, 2, 0, 0), Number(left), Number(right))
        };
        for (class, operation, left, right, result) in [
            (class::ALU64, alu::ADD, u64::MAX, 2, 1),
            (class::ALU32, alu::ADD, 0xffff_ffff, 2, 1),
            (class::ALU32, alu::SUB, 0, 1, 0xffff_ffff),
            (class::ALU32, alu::MOV, 7, 0x1_0000_0005, 5),
            (class::ALU32, alu::NEG, 1, 0, 0xffff_ffff),
            (class::ALU64, alu::NEG, 1, 0, u64::MAX),
            (class::ALU64, alu::LSH, 1, 65, 2),
            (class::ALU32, alu::LSH, 0x8000_0001, 33, 2),
            (class::ALU32, alu::RSH, 0x1_8000_0000, 31, 1),
            (class::ALU32, alu::ARSH, 0x8000_0000, 31, 0xffff_ffff),
            (class::ALU64, alu::ARSH, 1 << 63, 63, u64::MAX),
        ] {
            assert_eq!(of(class, operation, left, right), Number(result), "{class} {operation:#x} {left:#x}");
        }
        assert_eq!(of(class::ALU64, 0x30, 8, 2), Unknown);
    }

    #[test]
    fn comparisons_look_at_as_many_bits_and_at_signs_as_they_say() {
        let of = |class: u8, operation: u8, left: u64, imm: i32| {
            let jump = Instruction::new(class | operation, 1, 0, 5, imm);
            is_taken(jump, Number(left), operand(jump, &[]))
        };
        assert_eq!(of(class::JMP, jump::EQ, u64::MAX, -1), Some(true));
        assert_eq!(of(class::JMP, jump::EQ, 0xffff_ffff, -1), Some(false));
        assert_eq!(of(class::JMP32, jump::EQ, 0xffff_ffff, -1), Some(true));
        assert_eq!(of(class::JMP32, jump::SLT, 0xffff_ffff, 0), Some(true));
        assert_eq!(of(class::JMP, jump::SLT, 0xffff_ffff, 0), Some(false));
        assert_eq!(of(class::JMP, jump::GT, 3, -1), Some(false));
        assert_eq!(of(class::JMP, jump::SGT, 3, -1), Some(true));
        assert_eq!(of(class::JMP, jump::SET, 6, 1), Some(false));
        let unknown = Instruction::new(class::JMP | jump::EQ, 1, 0, 5, 0);
        assert_eq!(is_taken(unknown, Unknown, Number(0)), None);
        assert_eq!(is_taken(unknown, Data(0), Number(0)), None);
    }
}
