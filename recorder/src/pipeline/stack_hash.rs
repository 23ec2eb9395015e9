//! 64-bit words in, the 64 bits under which a stack is in a trace out: the function `fold23`.
//!
//! Frozen: ids of stacks are on disk, and rows of two recordings can be joined by them. docs/trace-format.md defines
//! it, so that others can compute an id; another function would be another format.

const FOLD23_XOR: u64 = 0x2545_f491_4f6c_dd1d;
const FOLD23_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// `fold23` of `words`: from 0, each word w takes h to low(p) xor high(p), the halves of the 128-bit product
/// p = (rotate_left(h, 23) xor w xor [`FOLD23_XOR`]) * [`FOLD23_MULTIPLIER`].
pub fn fold23(words: impl IntoIterator<Item = u64>) -> u64 {
    words.into_iter().fold(0, |hash: u64, word| {
        let product = u128::from(hash.rotate_left(23) ^ word ^ FOLD23_XOR) * u128::from(FOLD23_MULTIPLIER);
        product as u64 ^ (product >> 64) as u64
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow_array::RecordBatch;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Int64Type, UInt32Type, UInt64Type};

    use super::super::merged::Input;
    use super::*;

    #[test]
    fn it_is_what_the_format_says() {
        assert_eq!(fold23([]), 0);
        assert_eq!(fold23([0]), 0xec0d_a830_c086_1664);
        assert_eq!(fold23([0, 0xffff_ffff_8100_0000, 0xffff_ffff_8123_4567]), 0xa387_1d9b_f15a_7cc3);
        assert_eq!(fold23([1 << 32 | 4242, 0x7f00_1122_3344]), 0xab67_3345_a8a9_0fb3);
        assert_eq!(fold23([u64::MAX; 3]), 0xf985_9988_f099_8ea8);
    }

    #[test]
    fn ids_of_a_captured_trace_are_those_of_its_frames() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/captured/kmem.trace/stacks");
        let mut stacks = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            for batch in Input::open(0, &entry.unwrap().path()).unwrap().batches().unwrap() {
                let batch: RecordBatch = batch.unwrap();
                let [ids, pids, frames] =
                    ["stack_id", "pid", "frames"].map(|name| batch.column_by_name(name).unwrap());
                let (ids, pids) = (ids.as_primitive::<Int64Type>(), pids.as_primitive::<UInt32Type>());
                for (row, frames) in frames.as_list::<i32>().iter().enumerate() {
                    let frames = frames.unwrap().as_primitive::<UInt64Type>().values().to_vec();
                    let pid = pids.iter().nth(row).unwrap();
                    let owner = pid.map_or(0, |pid| 1 << 32 | u64::from(pid));
                    let id = fold23([owner].into_iter().chain(frames));
                    assert_eq!(ids.value(row), id.cast_signed(), "row {row}");
                    stacks += 1;
                }
            }
        }
        assert!(stacks > 100, "{stacks} stacks");
    }
}
