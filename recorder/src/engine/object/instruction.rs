//! An eBPF instruction: its fields, and the words for those of its opcode.

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
/// `BPF_STX | BPF_MEM | BPF_DW`.
pub const STORE: u8 = 0x7b;
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
        match self.code & 0x18 {
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
