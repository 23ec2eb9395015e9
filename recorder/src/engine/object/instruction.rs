//! Decodes and encodes eBPF instructions, and names their opcodes.

/// Bytes of an instruction. One that loads a constant of 64 bits is as long as two.
pub const SIZE: usize = 8;

/// The lowest three bits of an opcode.
pub mod class {
    pub const LD: u8 = 0;
    pub const LDX: u8 = 1;
    pub const ST: u8 = 2;
    pub const STX: u8 = 3;
    pub const ALU32: u8 = 4;
    pub const JMP: u8 = 5;
    pub const JMP32: u8 = 6;
    pub const ALU64: u8 = 7;
}

/// What arithmetic does: bits of the opcode.
pub mod alu {
    pub const ADD: u8 = 0x00;
    pub const SUB: u8 = 0x10;
    pub const MUL: u8 = 0x20;
    pub const OR: u8 = 0x40;
    pub const AND: u8 = 0x50;
    pub const LSH: u8 = 0x60;
    pub const RSH: u8 = 0x70;
    pub const NEG: u8 = 0x80;
    pub const XOR: u8 = 0xa0;
    pub const MOV: u8 = 0xb0;
    pub const ARSH: u8 = 0xc0;
}

/// When a conditional jump is taken: bits of the opcode.
pub mod jump {
    pub const EQ: u8 = 0x10;
    pub const GT: u8 = 0x20;
    pub const GE: u8 = 0x30;
    pub const SET: u8 = 0x40;
    pub const NE: u8 = 0x50;
    pub const SGT: u8 = 0x60;
    pub const SGE: u8 = 0x70;
    pub const LT: u8 = 0xa0;
    pub const LE: u8 = 0xb0;
    pub const SLT: u8 = 0xc0;
    pub const SLE: u8 = 0xd0;
}

/// `BPF_JMP | BPF_JA`.
pub const GOTO: u8 = 0x05;
/// `BPF_JMP | BPF_CALL`.
pub const CALL: u8 = 0x85;
/// `BPF_JMP | BPF_EXIT`.
pub const EXIT: u8 = 0x95;
/// `BPF_LD | BPF_IMM | BPF_DW`: a constant of 64 bits.
pub const LOAD_64: u8 = 0x18;
/// `BPF_STX | BPF_ATOMIC | BPF_DW`.
pub const ATOMIC: u8 = 0xdb;
/// `BPF_ALU64 | BPF_MOV | BPF_K`.
pub const MOVE: u8 = 0xb7;
/// `BPF_ALU64 | BPF_MOV | BPF_X`.
pub const COPY: u8 = 0xbf;
/// `BPF_ALU64 | BPF_ADD | BPF_K`.
pub const ADD: u8 = 0x07;
/// `BPF_STX | BPF_MEM | BPF_DW`.
pub const STORE: u8 = 0x7b;
/// The bits of an opcode that say how many bytes are moved.
const WIDTH: u8 = 0x18;
/// `src` of a call of a function of ours: the number is the way there.
const OF_FUNCTION: u8 = 1;
/// The register that points behind the stack.
pub const FRAME: u8 = 10;

/// One instruction, little-endian in the object as on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    pub dst: u8,
    pub src: u8,
    pub offset: i16,
    pub imm: i32,
}

impl Instruction {
    pub const fn new(code: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Self {
        Self { code, dst, src, offset, imm }
    }

    pub fn from_bytes([code, registers, low, high, imm @ ..]: [u8; SIZE]) -> Self {
        let offset = i16::from_le_bytes([low, high]);
        Self { code, dst: registers & 0xf, src: registers >> 4, offset, imm: i32::from_le_bytes(imm) }
    }

    pub const fn to_bytes(self) -> [u8; SIZE] {
        let (offset, imm) = (self.offset.to_le_bytes(), self.imm.to_le_bytes());
        [self.code, self.dst | self.src << 4, offset[0], offset[1], imm[0], imm[1], imm[2], imm[3]]
    }

    pub const fn class(self) -> u8 {
        self.code & 7
    }

    /// What is done: of arithmetic and of jumps.
    pub const fn operation(self) -> u8 {
        self.code & 0xf0
    }

    /// Whether the second operand is a register.
    pub const fn is_of_register(self) -> bool {
        self.code & 8 != 0
    }

    /// Bytes that a load or store moves.
    pub const fn width(self) -> usize {
        match self.code & WIDTH {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        }
    }

    /// Whether a load or store moves bytes as they are.
    pub const fn is_plain_access(self) -> bool {
        self.code & 0xe0 == 0x60
    }

    /// Whether it reads memory and writes it in one go.
    pub const fn is_atomic(self) -> bool {
        self.code & !WIDTH == ATOMIC & !WIDTH
    }

    /// The place of the function that a call at `at` goes to, if that is in its own section.
    pub fn called(self, at: usize) -> Option<usize> {
        let is_near = self.code == CALL && self.src == OF_FUNCTION;
        (at + 1).checked_add_signed(self.imm as isize).filter(|_| is_near)
    }

    /// Instructions that it is as long as.
    pub const fn len(self) -> usize {
        if self.code == LOAD_64 { 2 } else { 1 }
    }

    /// Whether it goes elsewhere if a comparison holds.
    pub const fn is_conditional(self) -> bool {
        matches!(self.class(), class::JMP | class::JMP32) && !matches!(self.code, GOTO | CALL | EXIT)
    }

    /// The place that a jump at `at` goes to.
    pub fn target(self, at: usize) -> usize {
        (at + 1).wrapping_add_signed(isize::from(self.offset))
    }
}
