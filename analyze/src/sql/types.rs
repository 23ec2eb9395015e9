//! What DataFusion says of types that do not go together -> the same in words, and how to write it.

/// Types that do not go together.
pub struct Difference {
    /// What is wrong.
    pub message: String,
    /// The function to which they are given, if it is one.
    pub function: Option<String>,
    /// How to write it; may be empty.
    pub help: String,
}

/// Read a message of DataFusion; `None` if it is about something else.
pub fn difference(text: &str) -> Option<Difference> {
    if let Some(function) =
        quoted_after(text, "satisfy a call to '").or_else(|| quoted_after(text, "Function '"))
    {
        let found = text
            .split_once("No function matches the given name and argument types '")
            .and_then(|(_, rest)| rest.split_once("(")?.1.split_once(")'"))
            .map(|(types, _)| types.to_owned())
            .or_else(|| {
                text.split_once("(DataType: ")?.1.split_once(")").map(|(ty, rest)| {
                    match rest.starts_with([')', '.', ',']) {
                        true if ty.contains('(') => format!("{ty})"),
                        _ => ty.to_owned(),
                    }
                })
            });
        let given = found.map_or_else(|| "these values".to_owned(), |types| listed(&types));
        let help = if given == "text" { "CAST(x AS BIGINT) makes a number of text" } else { "" };
        return Some(Difference {
            message: format!("function {function} does not take {given}"),
            function: Some(function),
            help: help.to_owned(),
        });
    }
    let (what, rest) = [
        ("cannot be compared with", "for comparison operation "),
        ("cannot be matched with", "isn't a common type to coerce "),
        ("do not go together:", "Cannot coerce arithmetic expression "),
        ("do not go together:", "Cannot get result type for temporal operation "),
    ]
    .into_iter()
    .find_map(|(what, begin)| Some((what, text.split_once(begin)?.1)))?;
    let rest = rest.split(" to valid types").next().unwrap_or(rest);
    let rest = rest.split(" in LIKE").next().unwrap_or(rest);
    let separators = [
        " and ",
        " <= ",
        " >= ",
        " != ",
        " = ",
        " < ",
        " > ",
        " + ",
        " - ",
        " * ",
        " / ",
        " % ",
        " IS DISTINCT FROM ",
        " IS NOT DISTINCT FROM ",
    ];
    let (left, right) = separators.iter().find_map(|separator| rest.split_once(separator))?;
    let (left, right) = (in_words(left), in_words(right.split(['\n', ';', ':']).next().unwrap_or(right)));
    let message = match what {
        "do not go together:" => format!("{left} and {right} do not go together in a calculation"),
        what => format!("{left} {what} {right}"),
    };
    Some(Difference { message, function: None, help: remedy(&left, &right).to_owned() })
}

fn remedy(left: &str, right: &str) -> &'static str {
    let has = |ty: &str| left == ty || right == ty;
    if has("time") && has("number") {
        "ns(ts) is the number of a time, utc(n) the time of a number"
    } else if has("time") && has("text") {
        "write a time as '2027-01-15T08:00:00Z'"
    } else if has("text") && has("number") {
        "text stands in quotes; CAST(x AS BIGINT) makes a number of text, CAST(x AS VARCHAR) the reverse"
    } else if left == "time" && right == "time" {
        "ns(a) - ns(b) is the time between them in nanoseconds"
    } else {
        ""
    }
}

fn quoted_after(text: &str, begin: &str) -> Option<String> {
    Some(text.split_once(begin)?.1.split_once('\'')?.0.to_owned())
}

/// A list of Arrow types in words.
fn listed(types: &str) -> String {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in types.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        match (c, depth, parts.last_mut()) {
            (',', 0, _) => parts.push(String::new()),
            (c, _, Some(last)) => last.push(c),
            _ => {}
        }
    }
    let words: Vec<String> = parts.iter().map(|part| in_words(part)).collect();
    if words == [""] { "no value".to_owned() } else { words.join(" and ") }
}

/// An Arrow type in one word for people.
pub fn in_words(ty: &str) -> String {
    let ty = ty.trim();
    let starts = |names: &[&str]| names.iter().any(|name| ty.starts_with(name));
    let word = if starts(&["Dictionary(Int32, Utf8", "Utf8", "LargeUtf8", "String"]) {
        "text"
    } else if starts(&["Timestamp", "Date", "Time"]) {
        "time"
    } else if starts(&["Int", "UInt", "Float", "Decimal"]) && !starts(&["Interval"]) {
        "number"
    } else if starts(&["Interval", "Duration"]) {
        "interval"
    } else if starts(&["Boolean"]) {
        "true or false"
    } else if starts(&["Binary", "LargeBinary", "FixedSizeBinary"]) {
        "bytes"
    } else if starts(&["List", "LargeList"]) {
        "list"
    } else if starts(&["Null"]) {
        "NULL"
    } else {
        ty
    };
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_named_in_words() {
        let said = |text: &str| difference(text).map(|d| d.message);
        assert_eq!(
            said("Cannot infer common argument type for comparison operation Timestamp(ns, \"UTC\") > Int64")
                .unwrap(),
            "time cannot be compared with number"
        );
        assert_eq!(
            said("Cannot coerce arithmetic expression Dictionary(Int32, Utf8) + Int64 to valid types")
                .unwrap(),
            "text and number do not go together in a calculation"
        );
        assert_eq!(
            said("Failed to coerce arguments to satisfy a call to 'f' function: x. No function matches the given name and \
                  argument types 'f(Dictionary(Int32, Utf8), Int64)'. You might")
            .unwrap(),
            "function f does not take text and number"
        );
        assert_eq!(said("something else"), None);
    }
}
