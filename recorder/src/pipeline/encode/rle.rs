//! Small integers or validity bits in, Parquet's hybrid of runs and packed values out.

use super::pack::{GROUP, pack, varint};

/// Bits of packed values that a run must save to be worth its own header and the next one's.
const RUN_BITS: usize = 64;

/// Append `values` of `width` bits each.
pub fn encode(values: &[u32], width: u8, out: &mut Vec<u8>) {
    let least =
        if width == 0 { GROUP } else { (RUN_BITS / usize::from(width)).next_multiple_of(GROUP).max(GROUP) };
    let (mut packed_from, mut at) = (0, 0);
    while at < values.len() {
        let mut run = run_length(&values[at..]);
        if at + run < values.len() {
            // What is packed before and after it comes in whole groups.
            run -= run % GROUP;
        }
        if run >= least || run == values.len() {
            packed(&values[packed_from..at], width, out);
            varint((run as u64) << 1, out);
            out.extend_from_slice(&values[at].to_le_bytes()[..usize::from(width).div_ceil(8)]);
            at += run;
            packed_from = at;
        } else {
            at += run.max(GROUP);
        }
    }
    packed(&values[packed_from..], width, out);
}

fn packed(values: &[u32], width: u8, out: &mut Vec<u8>) {
    if !values.is_empty() {
        varint((values.len().div_ceil(GROUP) as u64) << 1 | 1, out);
        pack(values, width, out);
    }
}

/// Values that equal the first one, counted no further than to the first group that does not.
fn run_length(values: &[u32]) -> usize {
    let first = values[0];
    let differs = |group: &[u32; GROUP]| group.iter().fold(0, |all, value| all | (value ^ first)) != 0;
    let (groups, rest) = values.as_chunks::<GROUP>();
    match groups.iter().position(differs) {
        Some(group) => group * GROUP,
        None => groups.len() * GROUP + rest.iter().take_while(|value| **value == first).count(),
    }
}

/// Append `n` bits of `bytes`, lowest first.
pub fn encode_bits(bytes: &[u8], n: usize, out: &mut Vec<u8>) {
    // Whole bytes only: the last run or group takes the bits that are left.
    const LEAST_BYTES: usize = RUN_BITS / GROUP;
    let bytes = &bytes[..n.div_ceil(GROUP)];
    let (mut packed_from, mut at) = (0, 0);
    while at < bytes.len() {
        let first = bytes[at];
        let run = if matches!(first, 0 | 0xff) {
            bytes[at..].iter().take_while(|byte| **byte == first).count()
        } else {
            1
        };
        let reaches_end = at + run == bytes.len();
        if run >= LEAST_BYTES || (run == bytes.len() && matches!(first, 0 | 0xff)) {
            packed_bits(&bytes[packed_from..at], out);
            let bits = if reaches_end { n - at * GROUP } else { run * GROUP };
            varint((bits as u64) << 1, out);
            out.push(first & 1);
            packed_from = at + run;
        }
        at += run;
    }
    packed_bits(&bytes[packed_from..], out);
}

/// Append `n` set bits.
pub fn encode_ones(n: usize, out: &mut Vec<u8>) {
    varint((n as u64) << 1, out);
    out.push(1);
}

fn packed_bits(bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        varint((bytes.len() as u64) << 1 | 1, out);
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_varint(bytes: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }

    fn decode(mut bytes: &[u8], width: usize, n: usize) -> Vec<u32> {
        let mut values = vec![];
        while !bytes.is_empty() {
            let header = read_varint(&mut bytes);
            let count = (header >> 1) as usize;
            if header & 1 == 0 {
                let size = width.div_ceil(8);
                let mut value = [0; 4];
                value[..size].copy_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                values.extend(std::iter::repeat_n(u32::from_le_bytes(value), count));
                assert!(values.len() <= n, "a run goes beyond the end");
            } else {
                let bit = |i: usize| u32::from(bytes[i / 8] >> (i % 8) & 1);
                values
                    .extend((0..count * 8).map(|v| (0..width).map(|b| bit(v * width + b) << b).sum::<u32>()));
                bytes = &bytes[count * width..];
            }
        }
        assert!(values.len() >= n && values.len() < n + GROUP, "{} of {n}", values.len());
        values.truncate(n);
        values
    }

    #[test]
    fn runs_and_what_is_between_them_read_back() {
        let mut random = 1u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        for width in [0u8, 1, 2, 5, 9, 17, 20, 32] {
            for case in 0..60 {
                let mut values = vec![];
                for _ in 0..case % 7 {
                    let value = if width == 0 { 0 } else { next(1 << width) as u32 };
                    values.extend(std::iter::repeat_n(value, next(200) as usize));
                    let mixed = (0..next(40)).map(|_| if width == 0 { 0 } else { next(1 << width) as u32 });
                    values.extend(mixed.collect::<Vec<_>>());
                }
                let mut bytes = vec![];
                encode(&values, width, &mut bytes);
                assert_eq!(decode(&bytes, width.into(), values.len()), values, "width {width}");
                let bits: Vec<u8> = values
                    .chunks(3)
                    .map(|c| if c.len() < 3 { 0x5a } else { [0, 0xff][c[0] as usize % 2] })
                    .collect();
                for n in [bits.len() * 8, (bits.len() * 8).saturating_sub(5)] {
                    let expected: Vec<u32> = (0..n).map(|i| u32::from(bits[i / 8] >> (i % 8) & 1)).collect();
                    let mut bytes = vec![];
                    encode_bits(&bits, n, &mut bytes);
                    assert_eq!(decode(&bytes, 1, n), expected);
                }
            }
        }
    }

    #[test]
    fn a_column_of_one_value_takes_a_few_bytes() {
        let mut bytes = vec![];
        encode(&[7; 20_000], 3, &mut bytes);
        encode_bits(&[0xff; 2500], 20_000, &mut bytes);
        assert!(bytes.len() < 10, "{bytes:?}");
    }
}
