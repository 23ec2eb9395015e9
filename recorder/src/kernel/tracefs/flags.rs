//! The `print fmt` of a tracepoint -> the names of the flags that it prints, with their values on this kernel.

/// Masks and names in the `__print_flags` of `field`, in the order in which the kernel looks for them. None if there is
/// no such list, or a value in it is no constant (an enum that the kernel does not resolve): a part would be wrong.
pub(super) fn flags(text: &str, field: &str) -> Vec<(u64, String)> {
    let list = text.split_once("print fmt: ").and_then(|(_, line)| {
        let line = line.lines().next()?;
        line.split("__print_flags(")
            .skip(1)
            .find(|list| list.trim_start().starts_with(&format!("REC->{field},")))
    });
    let mut found = Vec::new();
    let mut rest = list.unwrap_or_default();
    while let Some((_, entry)) = rest.split_once('{') {
        let Some((value, after)) = entry.split_once(", ") else { break };
        let Some(name) = after.trim_start().strip_prefix('"').and_then(|text| text.split('"').next()) else {
            break;
        };
        let Some(value) = Constant::of(value) else { return Vec::new() };
        found.push((value, name.to_owned()));
        rest = after;
    }
    found
}

/// Reads a constant expression of C: numbers, casts, `~`, `<<`, `&`, `|`.
struct Constant<'a> {
    rest: &'a str,
}

impl<'a> Constant<'a> {
    fn of(text: &'a str) -> Option<u64> {
        let mut reader = Self { rest: text };
        let value = reader.or()?;
        reader.rest.trim().is_empty().then_some(value)
    }

    fn take(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn or(&mut self) -> Option<u64> {
        let mut value = self.and()?;
        while self.take("|") {
            value |= self.and()?;
        }
        Some(value)
    }

    fn and(&mut self) -> Option<u64> {
        let mut value = self.shift()?;
        while self.take("&") {
            value &= self.shift()?;
        }
        Some(value)
    }

    fn shift(&mut self) -> Option<u64> {
        let mut value = self.unary()?;
        while self.take("<<") {
            value = value.checked_shl(u32::try_from(self.unary()?).ok()?)?;
        }
        Some(value)
    }

    fn unary(&mut self) -> Option<u64> {
        if self.take("~") {
            return Some(!self.unary()?);
        }
        if !self.take("(") {
            return self.number();
        }
        let (inside, after) = self.rest.split_once(')')?;
        let is_type = inside.trim().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && inside.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b' '));
        if is_type {
            // All of them are unsigned, and no narrower than the flags.
            self.rest = after;
            return self.unary();
        }
        let value = self.or()?;
        self.take(")").then_some(value)
    }

    fn number(&mut self) -> Option<u64> {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        let digits = number.trim_end_matches(['u', 'U', 'l', 'L']);
        self.rest = rest;
        match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Constant, flags};

    #[test]
    fn flags_have_the_values_of_this_kernel() {
        // As Linux 6.1 and 6.18 have them.
        let old = r#"{(unsigned long)((((( gfp_t)(0x400u|0x800u)) | (( gfp_t)0x40u)) | (( gfp_t)0u)) & ~(( gfp_t)0x40u)), "A"}"#;
        let new = r#"{( unsigned long)(( gfp_t)((((1UL))) << (22))), "B"}, { 0, ((void *)0) } ) : "none", REC->node"#;
        let text = format!(
            "name: x\nprint fmt: \"gfp=%s\", (REC->gfp_flags) ? __print_flags(REC->gfp_flags, \"|\", {old}, {new}\n"
        );
        assert_eq!(flags(&text, "gfp_flags"), [(0xc00, "A".to_owned()), (1 << 22, "B".to_owned())]);
        assert!(flags(&text, "flags").is_empty());
        let unknown = text.replace("(22)", "(___GFP_ACCOUNT_BIT)");
        assert!(flags(&unknown, "gfp_flags").is_empty(), "a part would be wrong");
        assert!(flags("", "gfp_flags").is_empty());
    }

    #[test]
    fn constants_are_computed_as_c_does() {
        for (text, value) in [
            ("1|2&3<<1", Some(3)),
            ("~(~0x10u)", Some(16)),
            ("(unsigned long)(gfp_t)4", Some(4)),
            ("1 << 64", None),
            ("1 +", None),
            ("x", None),
            ("(1", None),
        ] {
            assert_eq!(Constant::of(text), value, "{text}");
        }
    }
}
