//! C's names of integer types -> size and sign.

/// Bytes and sign of the integer type that C calls `name`, words in any order.
pub fn c_integer(name: &str) -> Option<(u8, bool)> {
    let fixed = name.strip_prefix("__").unwrap_or(name);
    let fixed = fixed.strip_suffix("_t").unwrap_or(fixed);
    match fixed {
        "u8" | "uint8" | "bool" | "_Bool" => return Some((1, false)),
        "s8" | "int8" => return Some((1, true)),
        "u16" | "uint16" => return Some((2, false)),
        "s16" | "int16" => return Some((2, true)),
        "u32" | "uint32" => return Some((4, false)),
        "s32" | "int32" => return Some((4, true)),
        "u64" | "uint64" | "size" | "uintptr" => return Some((8, false)),
        "s64" | "int64" | "ssize" | "intptr" => return Some((8, true)),
        _ => {}
    }
    let (mut longs, mut short, mut char, mut int) = (0, false, false, false);
    let (mut unsigned, mut signed) = (false, false);
    let mut words = 0;
    for word in name.split_whitespace() {
        words += 1;
        match word {
            "long" => longs += 1,
            "short" => short = true,
            "char" => char = true,
            "int" => int = true,
            "unsigned" => unsigned = true,
            "signed" => signed = true,
            _ => return None,
        }
    }
    if words == 0
        || (unsigned && signed)
        || longs > 2
        || (char && (int || short))
        || (longs > 0 && (short || char))
    {
        return None;
    }
    let size = match () {
        () if char => 1,
        () if short => 2,
        () if longs > 0 => 8,
        () => 4,
    };
    Some((size, !unsigned))
}

#[cfg(test)]
mod tests {
    use super::c_integer;

    #[test]
    fn integers_are_known_by_all_their_names() {
        for (names, is) in [
            (["int", "s32", "signed", "__s32"], Some((4, true))),
            (["unsigned", "unsigned int", "u32", "uint32_t"], Some((4, false))),
            (["unsigned long", "long unsigned int", "size_t", "unsigned long long"], Some((8, false))),
            (["long", "long int", "long long", "ssize_t"], Some((8, true))),
            (["unsigned char", "u8", "__u8", "uint8_t"], Some((1, false))),
            (["file", "", "unsigned file", "long char"], None),
        ] {
            for name in names {
                assert_eq!(c_integer(name), is, "{name}");
            }
        }
    }
}
