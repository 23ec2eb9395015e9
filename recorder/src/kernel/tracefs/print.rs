//! The `print fmt` of a tracepoint -> the fields that it prints as names of code.

/// Conversions of `%p` that print a code address as a name.
const CODE: [&str; 5] = ["pS", "ps", "pF", "pf", "pB"];

/// Names of the fields (`REC->name`, perhaps cast) that a `format` file prints with one of [`CODE`].
pub(super) fn code_fields(text: &str) -> Vec<&str> {
    let Some((_, line)) = text.split_once("print fmt: ") else { return Vec::new() };
    let parts = arguments(line.lines().next().unwrap_or_default());
    let Some((format, arguments)) = parts.split_first() else { return Vec::new() };
    let conversions = conversions(format);
    let mut at = 0;
    let mut found = Vec::new();
    for (words, is_code) in conversions {
        // A width or precision of `*` takes an argument of its own, before the value.
        at += words;
        if is_code && let Some(name) = arguments.get(at - 1).and_then(|argument| field(argument)) {
            found.push(name);
        }
    }
    found
}

/// The parts of a list that commas separate, without those in parentheses, brackets, braces and text.
fn arguments(line: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0_i32);
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(line[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(line[from..].trim());
    parts
}

/// For each conversion of a format: how many arguments it takes, and whether it prints the last as code.
fn conversions(format: &str) -> Vec<(usize, bool)> {
    let mut found = Vec::new();
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(after) = after.strip_prefix('%') {
            rest = after;
            continue;
        }
        let end = after.find(|c: char| !"-+ #0123456789.*".contains(c)).unwrap_or(after.len());
        let (flags, conversion) = after.split_at(end);
        let is_code = CODE.iter().any(|code| conversion.starts_with(code));
        found.push((1 + flags.matches('*').count(), is_code));
        rest = conversion;
    }
    found
}

/// The name in `REC->name`, `(void *)REC->name` or `((void *)(REC->name))`.
fn field(argument: &str) -> Option<&str> {
    let (before, name) = argument.split_once("REC->")?;
    let name = name.trim_end_matches([')', ' ']);
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_cast = before.bytes().all(|b| b.is_ascii_alphanumeric() || b"_ ()*".contains(&b));
    (is_name && is_cast).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::code_fields;

    #[test]
    fn fields_that_are_printed_as_names_of_code_are_found() {
        for (format, fields) in [
            (r#""call_site=%pS ptr=%p", (void *)REC->call_site, REC->ptr"#, &["call_site"][..]),
            (r#""%*pbl at %ps, 100%% of %s", 4, REC->mask, REC->fn, f(REC->a, REC->b)"#, &["fn"]),
            (r#""a, \"b\" %d %pS", __print_flags(REC->f, "|", { 1, "x, y" }), (char *)REC->ip"#, &["ip"]),
            (r#""%ps %ps", (void *)REC->caller[0], REC->a + 4"#, &[]),
            (r#""%p %px %pU", REC->a, REC->b, REC->c"#, &[]),
            (r#""%-16.*s %#lx %pB", 4, REC->s, REC->x, ((void *)(REC->y))"#, &["y"]),
        ] {
            assert_eq!(code_fields(&format!("format:\n\nprint fmt: {format}\n")), fields, "{format}");
        }
        assert!(code_fields("").is_empty());
    }
}
