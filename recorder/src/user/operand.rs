//! The text of one argument of a probe that a program has built in (`-4@-20(%rbp)`) -> where its value is.
//!
//! ```text
//! SIZE@OPERAND    SIZE: bytes, negative if the value is signed
//! OPERAND         what the compiler wrote for the assembler, in AT&T syntax
//!   $5  $name  $name+8                 a constant
//!   %eax  %ah                          a register
//!   -20(%rbp)  8(%rax,%rdx,4)          memory
//!   name(%rip)  name+8(%rip)  name     a variable
//! ```
//! The syntax is that of x86; that of other machines is not read.

/// An argument as a probe's note has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Bytes of the value.
    pub size: u8,
    /// Whether it has a sign.
    pub signed: bool,
    /// Where it is.
    pub at: Operand,
}

/// Where a value is. Registers are words of `struct pt_regs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Nowhere: this is its value.
    Constant(u64),
    /// In a register, from this bit on.
    Register { word: u8, from_bit: u8 },
    /// In memory.
    Memory(Address),
    /// It is an address.
    Address(Address),
}

/// The sum of registers, each shifted to the left, and a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Words of `struct pt_regs`, and by how many bits each is shifted.
    pub registers: Vec<(u8, u8)>,
    /// What is added.
    pub offset: i32,
}

/// The instruction pointer in `struct pt_regs`. When a probe runs it is the probe's own address.
const IP: u8 = 16;
/// Names of the words of `struct pt_regs`.
const WORDS: [&str; 21] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "eflags", "rsp", "ss",
];

/// The name of a word of `struct pt_regs`, or of what a sample has behind it.
pub fn register_name(word: u8) -> &'static str {
    WORDS.get(usize::from(word)).copied().unwrap_or("period")
}

/// The arguments in the text of a note, one text each. (An operand in another syntax may hold spaces.)
pub fn split(arguments: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in arguments.split_ascii_whitespace() {
        match all.last_mut() {
            Some(last) if !word.contains('@') => *last = format!("{last} {word}"),
            _ => all.push(word.to_owned()),
        }
    }
    all
}

/// Read one argument of the probe at `site`. `variable` finds the address of a name. An error says why it cannot be read.
pub fn parse(
    text: &str,
    site: u64,
    variable: &dyn Fn(&str) -> Result<u64, String>,
) -> Result<Argument, String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("arguments are read on x86_64 only".to_owned());
    }
    let unknown = || "this form is not known (of x86 in AT&T syntax)".to_owned();
    let (size, operand) = text.split_once('@').ok_or_else(unknown)?;
    if size.ends_with('f') {
        return Err("it is a floating-point number, whose registers a probe does not get".to_owned());
    }
    let signed = size.starts_with('-');
    let size: u8 = size.trim_start_matches('-').parse().map_err(|_| unknown())?;
    if !matches!(size, 1 | 2 | 4 | 8) {
        return Err(format!("a value of {size} bytes is no number"));
    }
    // From the instruction pointer, wherever the program is loaded.
    let relative = |name: &str, plus: i64| {
        let distance = variable(name)?.wrapping_add_signed(plus).wrapping_sub(site).cast_signed();
        i32::try_from(distance).map_err(|_| format!("{name} is too far away"))
    };
    let at = if let Some(value) = operand.strip_prefix('$') {
        match sum(value).ok_or_else(unknown)? {
            (None, value) => Operand::Constant(cut(value as u64, size, signed)),
            (Some(name), plus) => {
                Operand::Address(Address { registers: vec![(IP, 0)], offset: relative(name, plus)? })
            }
        }
    } else if let Some(name) = operand.strip_prefix('%').filter(|name| !name.contains(['(', ':'])) {
        let (word, from_bit, bytes) = register(name)?;
        if bytes < size {
            return Err(format!("%{name} has {bytes} bytes, and the value {size}"));
        }
        Operand::Register { word, from_bit }
    } else {
        let (displacement, registers) = match operand.split_once('(') {
            Some((displacement, rest)) => (displacement, rest.strip_suffix(')').ok_or_else(unknown)?),
            None => (operand, ""),
        };
        if displacement.contains([':', '@']) {
            return Err("it is in a segment of its own, or found by a table of the loader".to_owned());
        }
        let (name, plus) =
            if displacement.is_empty() { (None, 0) } else { sum(displacement).ok_or_else(unknown)? };
        let mut parts = registers.split(',').map(str::trim);
        let whole = |name: &str| match name.strip_prefix('%').map(register) {
            Some(Ok((word, 0, 8))) => Ok(word),
            _ => Err(unknown()),
        };
        let base = parts.next().filter(|base| !base.is_empty()).map(whole).transpose()?;
        let index = parts.next().map(whole).transpose()?;
        let shift = match parts.next().unwrap_or("1") {
            "1" => 0,
            "2" => 1,
            "4" => 2,
            "8" => 3,
            _ => return Err(unknown()),
        };
        if parts.next().is_some() || (base.is_none() && index.is_none() && name.is_none()) {
            return Err(unknown());
        }
        let mut registers: Vec<(u8, u8)> = Vec::new();
        let offset = match name {
            Some(name) => {
                registers.push((IP, 0));
                relative(name, plus)?
            }
            // Without a name it counts from the next instruction, and nobody says where that is.
            None if base == Some(IP) => return Err(unknown()),
            None => i32::try_from(plus).map_err(|_| unknown())?,
        };
        registers.extend(base.filter(|base| *base != IP).map(|base| (base, 0)));
        registers.extend(index.map(|index| (index, shift)));
        Operand::Memory(Address { registers, offset })
    };
    Ok(Argument { size, signed, at })
}

/// `value` as a variable of `size` bytes has it.
fn cut(value: u64, size: u8, signed: bool) -> u64 {
    let unused = 64 - u32::from(size) * 8;
    let high = value << unused;
    if signed { (high.cast_signed() >> unused).cast_unsigned() } else { high >> unused }
}

/// Numbers and at most one name, added or subtracted.
fn sum(text: &str) -> Option<(Option<&str>, i64)> {
    let (mut name, mut total) = (None, 0_i64);
    let mut rest = text;
    while !rest.is_empty() {
        let negative = rest.starts_with('-');
        rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        let end = rest.find(['-', '+']).unwrap_or(rest.len());
        let (term, after) = rest.split_at(end);
        rest = after;
        if term.starts_with(|c: char| c.is_ascii_digit()) {
            let value = match term.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok()?,
                None => term.parse().ok()?,
            };
            let value = value.cast_signed();
            total = total.wrapping_add(if negative { value.wrapping_neg() } else { value });
        } else {
            let is_name = |c: char| c.is_alphanumeric() || "_.$".contains(c);
            if negative || name.is_some() || term.is_empty() || !term.chars().all(is_name) {
                return None;
            }
            name = Some(term);
        }
    }
    (!text.is_empty()).then_some((name, total))
}

/// Word, first bit and bytes of a register.
fn register(name: &str) -> Result<(u8, u8, u8), String> {
    let word = |name: &str| WORDS.iter().position(|word| *word == name).map(|word| word as u8);
    let numbered = name.strip_prefix('r').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let found = if numbered.is_some() {
        match name.as_bytes().last() {
            Some(b'd') => word(&name[..name.len() - 1]).map(|word| (word, 0, 4)),
            Some(b'w') => word(&name[..name.len() - 1]).map(|word| (word, 0, 2)),
            Some(b'b' | b'l') => word(&name[..name.len() - 1]).map(|word| (word, 0, 1)),
            _ => word(name).map(|word| (word, 0, 8)),
        }
    } else {
        let general = |name: &str| word(name).filter(|word| *word < 15 || *word == IP || *word == 19);
        match name.len() {
            3 if name.starts_with('r') => general(name).map(|word| (word, 0, 8)),
            3 if name.starts_with('e') => general(&format!("r{}", &name[1..])).map(|word| (word, 0, 4)),
            3 if name.ends_with('l') => general(&format!("r{}", &name[..2])).map(|word| (word, 0, 1)),
            2 if name.ends_with('l') => general(&format!("r{}x", &name[..1])).map(|word| (word, 0, 1)),
            2 if name.ends_with('h') => general(&format!("r{}x", &name[..1])).map(|word| (word, 8, 1)),
            2 => general(&format!("r{name}")).map(|word| (word, 0, 2)),
            _ => None,
        }
    };
    found.ok_or_else(|| format!("a probe does not get the register %{name}"))
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    const SITE: u64 = 0x1000;

    fn read(text: &str) -> Result<Argument, String> {
        let variable = |name: &str| match name {
            "counter" => Ok(0x4010),
            ".LC0" => Ok(0x800),
            name => Err(format!("there is no {name}")),
        };
        parse(text, SITE, &variable)
    }

    fn at(text: &str) -> Operand {
        read(text).unwrap_or_else(|error| panic!("{text}: {error}")).at
    }

    fn memory(registers: &[(&str, u8)], offset: i32) -> Operand {
        let word = |name: &str| WORDS.iter().position(|word| *word == name).unwrap() as u8;
        let registers = registers.iter().map(|(name, shift)| (word(name), *shift)).collect();
        Operand::Memory(Address { registers, offset })
    }

    #[test]
    fn constants_have_the_size_and_the_sign_of_their_argument() {
        for (text, value) in [
            ("-4@$5", 5),
            ("4@$-1", 0xffff_ffff),
            ("-4@$-1", u64::MAX),
            ("-1@$255", u64::MAX),
            ("1@$-1", 255),
            ("8@$-1", u64::MAX),
            ("8@$18446744073709551615", u64::MAX),
            ("-8@$-9223372036854775808", 1 << 63),
            ("2@$0x12345", 0x2345),
            ("-8@$16-4", 12),
        ] {
            assert_eq!(at(text), Operand::Constant(value), "{text}");
        }
    }

    #[test]
    fn registers_of_each_width_are_parts_of_the_same_words() {
        for (text, name, from_bit) in [
            ("8@%rax", "rax", 0),
            ("-4@%eax", "rax", 0),
            ("2@%ax", "rax", 0),
            ("1@%al", "rax", 0),
            ("-1@%ah", "rax", 8),
            ("1@%bh", "rbx", 8),
            ("1@%sil", "rsi", 0),
            ("1@%dil", "rdi", 0),
            ("1@%bpl", "rbp", 0),
            ("2@%bp", "rbp", 0),
            ("4@%esp", "rsp", 0),
            ("8@%rsp", "rsp", 0),
            ("8@%r8", "r8", 0),
            ("4@%r15d", "r15", 0),
            ("2@%r10w", "r10", 0),
            ("1@%r11b", "r11", 0),
            ("-2@%edx", "rdx", 0),
        ] {
            let Operand::Register { word, from_bit: bit } = at(text) else { panic!("{text}") };
            assert_eq!((register_name(word), bit), (name, from_bit), "{text}");
        }
        for text in
            ["8@%eax", "2@%al", "8@%xmm0", "8@%st", "8@%cs", "8@%ss", "8@%ds", "8@%r16", "8@%", "8@%rh"]
        {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn memory_is_a_sum_of_registers_and_a_number() {
        assert_eq!(at("-4@-20(%rbp)"), memory(&[("rbp", 0)], -20));
        assert_eq!(at("8@(%rsp)"), memory(&[("rsp", 0)], 0));
        assert_eq!(at("8@0x10(%r12)"), memory(&[("r12", 0)], 16));
        assert_eq!(at("8@8(%rax,%rdx,4)"), memory(&[("rax", 0), ("rdx", 2)], 8));
        assert_eq!(at("8@8(%rax,%rdx)"), memory(&[("rax", 0), ("rdx", 0)], 8));
        assert_eq!(at("8@16(,%r9,8)"), memory(&[("r9", 3)], 16));
        assert_eq!(at("4@4+8(%rsp)"), memory(&[("rsp", 0)], 12));
        for text in
            ["8@8(%eax)", "8@(%rax,%rdx,3)", "8@()", "8@8(%rax", "8@(%rax,%rdx,4,1)", "8@12(%rip)", "8@77"]
        {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn a_variable_lies_as_far_from_the_probe_as_in_the_file() {
        assert_eq!(at("-4@counter(%rip)"), memory(&[("rip", 0)], 0x3010));
        assert_eq!(at("-4@counter+8(%rip)"), memory(&[("rip", 0)], 0x3018));
        assert_eq!(at("-4@8+counter(%rip)"), memory(&[("rip", 0)], 0x3018));
        assert_eq!(at("-4@counter"), memory(&[("rip", 0)], 0x3010));
        assert_eq!(at("8@counter-16(,%rax,8)"), memory(&[("rip", 0), ("rax", 3)], 0x3000));
        assert_eq!(at("8@$.LC0"), Operand::Address(Address { registers: vec![(IP, 0)], offset: -0x800 }));
        assert_eq!(read("8@other(%rip)").unwrap_err(), "there is no other");
        assert!(read("8@counter@GOTPCREL(%rip)").is_err() && read("8@%fs:16").is_err());
    }

    #[test]
    fn a_form_that_is_not_known_is_no_argument() {
        for text in [
            "%rax",
            "x@%rax",
            "3@%rax",
            "16@%rax",
            "8@",
            "-4@DWORD PTR [rbp-20]",
            "8@rax",
            "8f@%xmm0",
            "-@%rax",
        ] {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
        assert_eq!(split("-4@$5 8@%rax  8@8(%rax,%rdx,4)"), ["-4@$5", "8@%rax", "8@8(%rax,%rdx,4)"]);
        assert_eq!(split("-4@DWORD PTR [rbp-20] 8@rax"), ["-4@DWORD PTR [rbp-20]", "8@rax"]);
        assert!(split("").is_empty());
    }
}
