//! A column -> how its numbers are written down: as an address, as an identifier, or as an amount.
//!
//! JSON has only one kind of number, and most readers (jq, browsers, pandas) make a double of it, which changes what
//! lies beyond 2^53. Identifiers and addresses of 64 bits are therefore text in JSON, by the type of their column, so
//! that a column never has both.

use arrow_schema::{DataType, Field};

/// How the numbers of a column are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notation {
    /// An amount: a number everywhere.
    #[default]
    Amount,
    /// It only tells one from another (a cgroup, a cookie, a hash); text in JSON if it has 64 bits.
    Identifier,
    /// An address or flags: hexadecimal where people read; text `"0x1f"` in JSON if it has 64 bits.
    Hexadecimal,
}

/// Parts of a name that say that a number of 64 bits is an amount, where no unit does.
const AMOUNTS: &[&str] = &[
    "amount", "avail", "bytes", "byte", "count", "cnt", "delay", "delta", "depth", "duration", "dur",
    "elapsed", "free", "len", "length", "limit", "min", "max", "ms", "n", "nr", "ns", "num", "number",
    "offset", "page", "pages", "percent", "pos", "rate", "runtime", "sec", "secs", "seconds", "sector",
    "sectors", "seq", "size", "time", "timeout", "total", "us", "usage", "usec", "nsec", "used", "vruntime",
    "weight", "width",
];

impl Notation {
    /// The notation of `field`, which says its type and unit in its metadata: `x8` to `x64` and `sym` are hexadecimal,
    /// stacks are identifiers, and so is each `u64` that has no unit and whose name does not say that it is an amount.
    pub fn of(field: &Field) -> Self {
        let ty = field.metadata().get("ktape_type").map_or("", String::as_str);
        let values = match field.data_type() {
            DataType::List(item) | DataType::LargeList(item) => item.data_type(),
            other => other,
        };
        if !values.is_integer() {
            Self::Amount
        } else if ty == "sym" || ty.starts_with('x') {
            Self::Hexadecimal
        } else if ty.starts_with("kstack")
            || ty.starts_with("ustack")
            || (*values == DataType::UInt64
                && !field.metadata().contains_key("unit")
                && !is_amount(field.name()))
        {
            Self::Identifier
        } else {
            Self::Amount
        }
    }

    /// Whether JSON has the values of this type as text.
    pub fn is_text_in_json(self, ty: &DataType) -> bool {
        self != Self::Amount && matches!(ty, DataType::UInt64 | DataType::Int64)
    }
}

fn is_amount(name: &str) -> bool {
    name.to_ascii_lowercase().split('_').any(|part| AMOUNTS.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Type, field};

    fn notation(name: &str, ty: &str, unit: Option<&str>) -> Notation {
        let arrow = ty.parse::<Type>().unwrap().arrow();
        let mut field = field(name, arrow, true, unit, "");
        let mut metadata = field.metadata().clone();
        metadata.insert("ktape_type".to_owned(), ty.to_owned());
        field.set_metadata(metadata);
        Notation::of(&field)
    }

    #[test]
    fn the_type_decides_and_a_unit_or_a_name_makes_an_amount() {
        for (name, ty, unit, wanted) in [
            ("ptr", "x64", None, Notation::Hexadecimal),
            ("call_site", "sym", None, Notation::Hexadecimal),
            ("gfp", "x32", None, Notation::Hexadecimal),
            ("kstack", "kstack[32]", None, Notation::Identifier),
            ("cgroup_id", "u64", None, Notation::Identifier),
            ("cookie", "u64", None, Notation::Identifier),
            ("bytes_req", "u64", None, Notation::Amount),
            ("x", "u64", Some("bytes"), Notation::Amount),
            ("retval", "s64", None, Notation::Amount),
            ("pid", "u32", None, Notation::Amount),
            ("comm", "char[16]", None, Notation::Amount),
        ] {
            assert_eq!(notation(name, ty, unit), wanted, "{name} {ty}");
        }
        assert!(!Notation::Hexadecimal.is_text_in_json(&DataType::UInt32));
    }
}
