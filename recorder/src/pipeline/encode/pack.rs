//! Integers in, the same integers with a fixed number of bits each out, lowest bits first: how Parquet packs
//! dictionary indices and differences.

/// Values that are packed together: eight of any width fill whole bytes.
pub const GROUP: usize = 8;

/// Bits that `value` needs.
pub fn width(value: u64) -> u8 {
    (u64::BITS - value.leading_zeros()) as u8
}

/// Append `values` with `width` bits each, none of which needs more; a last group that is not full ends with zeros.
pub fn pack<T: Copy + Into<u64>>(values: &[T], width: u8, out: &mut Vec<u8>) {
    // One copy of the loop for each width: shifts become constants, which is five times as fast.
    macro_rules! by_width {
        ($($w:literal)*) => {
            match width {
                $($w => pack_width::<$w, T>(values, out),)*
                _ => pack_width::<64, T>(values, out),
            }
        };
    }
    by_width!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36
        37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63)
}

fn pack_width<const WIDTH: usize, T: Copy + Into<u64>>(values: &[T], out: &mut Vec<u8>) {
    if WIDTH == 0 {
        return;
    }
    out.reserve(values.len().div_ceil(GROUP) * WIDTH);
    let (groups, rest) = values.as_chunks::<GROUP>();
    for group in groups {
        out.extend_from_slice(&pack_group::<WIDTH>(&group.map(Into::into))[..WIDTH]);
    }
    if !rest.is_empty() {
        let mut group = [0; GROUP];
        for (slot, value) in group.iter_mut().zip(rest) {
            *slot = (*value).into();
        }
        out.extend_from_slice(&pack_group::<WIDTH>(&group)[..WIDTH]);
    }
}

#[inline(always)]
fn pack_group<const WIDTH: usize>(group: &[u64; GROUP]) -> [u8; 64] {
    let mut words = [0u64; GROUP];
    for (i, &value) in group.iter().enumerate() {
        let (word, shift) = (i * WIDTH / 64, i * WIDTH % 64);
        words[word] |= value << shift;
        if shift + WIDTH > 64 {
            words[word + 1] |= value >> (64 - shift);
        }
    }
    let mut bytes = [0; 64];
    for (slot, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *slot = word.to_le_bytes();
    }
    bytes
}

/// Append `value`, seven bits a byte.
pub fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small numbers of either sign as small numbers.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(bytes: &[u8], width: usize, n: usize) -> Vec<u64> {
        let bit = |i: usize| u64::from(bytes[i / 8] >> (i % 8) & 1);
        (0..n).map(|v| (0..width).map(|b| bit(v * width + b) << b).sum()).collect()
    }

    #[test]
    fn every_width_keeps_every_bit() {
        let mut random = 88172645463325252u64;
        for bits in 0..=64 {
            for n in [0usize, 1, 7, 8, 9, 64, 131] {
                let values: Vec<u64> = (0..n)
                    .map(|_| {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        random.checked_shr(64 - bits).unwrap_or(0)
                    })
                    .collect();
                let mut bytes = vec![];
                pack(&values, bits as u8, &mut bytes);
                assert_eq!(bytes.len(), n.div_ceil(GROUP) * bits as usize);
                assert_eq!(unpack(&bytes, bits as usize, n), values, "width {bits}");
            }
        }
    }

    #[test]
    fn a_width_is_the_bits_of_the_largest_value() {
        assert_eq!([0, 1, 2, 255, 256, u64::MAX].map(width), [0, 1, 2, 8, 9, 64]);
    }
}
