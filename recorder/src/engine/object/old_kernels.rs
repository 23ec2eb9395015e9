//! Instructions of the compiled kernel side that kernels before Linux 5.12 do not know, and what does their work there.
//!
//! A kernel refuses a program for an instruction that it does not know, also where the program never comes to it. So these
//! are replaced, one for one, before the object is loaded.

use std::sync::LazyLock;

use super::instruction::{ATOMIC, EXIT, FRAME, Instruction, MOVE, SIZE, STORE};
use super::layout::Layout;
use crate::engine::sys;

/// Its immediate for an addition that gives the old value.
const FETCH_ADD: i32 = 0x01;
/// Its immediate for an exchange if the value is that of `r0`.
const CMPXCHG: i32 = 0xf1;
/// Its immediate for an exchange.
const XCHG: i32 = 0xe1;

/// Whether this kernel lacks atomic instructions that give the old value. There, a program in a process runs to its end
/// before another one runs on that CPU, so that nothing needs them to count.
pub static IS_OLD: LazyLock<bool> = LazyLock::new(|| !sys::loads(&PROGRAM));

/// A program with one of each: the least that shows whether the kernel knows them.
const PROGRAM: [[u8; SIZE]; 7] = [
    instruction(MOVE, 0, 0, 0, 0),
    // *(u64 *)(r10 - 8) = r0
    instruction(STORE, FRAME, 0, -8, 0),
    instruction(ATOMIC, FRAME, 0, -8, FETCH_ADD),
    instruction(ATOMIC, FRAME, 0, -8, CMPXCHG),
    instruction(ATOMIC, FRAME, 0, -8, XCHG),
    instruction(MOVE, 0, 0, 0, 0),
    instruction(EXIT, 0, 0, 0, 0),
];

/// A place in the object with an instruction, and what replaces it.
pub type Replacement = (usize, [u8; SIZE]);

/// Replace in `bytes`, a copy of `object`, what an old kernel does not know.
pub fn replace(bytes: &mut [u8], replacements: &[Replacement]) {
    for (at, instruction) in replacements {
        if let Some(place) = bytes.get_mut(*at..at + SIZE) {
            place.copy_from_slice(instruction);
        }
    }
}

/// What is to be replaced in an object.
pub fn replacements(object: &[u8], layout: &Layout) -> Vec<Replacement> {
    let all = layout.sections.iter().flat_map(|section| (0..section.len()).map(move |at| (section, at)));
    let replaced = all.filter_map(|(section, at)| {
        let replacement = replacement(section.instruction(object, at)?)?;
        Some((section.bytes.start + at * SIZE, replacement))
    });
    replaced.collect()
}

/// Where [`IS_OLD`], additions that give the old value and plain exchanges are not reached, and an exchange with a condition
/// is taken to have found another value: the set of objects has a map for those that its buckets have no room for.
fn replacement(this: Instruction) -> Option<[u8; SIZE]> {
    match (this.code, this.imm) {
        (ATOMIC, FETCH_ADD | XCHG) => Some(instruction(MOVE, this.src, 0, 0, 0)),
        (ATOMIC, CMPXCHG) => Some(instruction(MOVE, 0, 0, 0, 1)),
        _ => None,
    }
}

const fn instruction(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> [u8; SIZE] {
    Instruction::new(opcode, dst, src, offset, imm).to_bytes()
}

#[cfg(test)]
mod tests {
    use object::{Object, ObjectSection, SectionKind};

    use super::*;
    use crate::engine::object::OBJECT;

    #[test]
    fn nothing_is_left_that_an_old_kernel_does_not_know() {
        let layout = Layout::read(OBJECT).unwrap();
        let found = replacements(OBJECT, &layout);
        assert!(!found.is_empty());
        let mut bytes = OBJECT.to_vec();
        replace(&mut bytes, &found);
        assert_eq!(replacements(&bytes, &layout), []);
        let atomics = |bytes: &[u8]| {
            let file = object::File::parse(bytes).unwrap();
            let texts = file.sections().filter(|section| section.kind() == SectionKind::Text);
            let opcodes = texts.flat_map(|section| {
                section.data().unwrap().chunks_exact(SIZE).map(|it| it[0]).collect::<Vec<_>>()
            });
            opcodes.filter(|opcode| *opcode == ATOMIC).count()
        };
        assert_eq!(atomics(OBJECT), found.len());
        assert_eq!(atomics(&bytes), 0);
    }

    #[test]
    fn this_kernel_is_not_old() {
        assert!(!*IS_OLD || !nix::unistd::geteuid().is_root());
    }
}
