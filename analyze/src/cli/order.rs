//! Command-line words in the order of the user -> the order that clap reads: the subcommand first, and a query that
//! begins with a comment is no option.

use std::ffi::OsString;

use clap::Command;

/// The same words: options may stand anywhere.
pub fn ordered(words: impl IntoIterator<Item = OsString>, command: &Command) -> Vec<OsString> {
    let mut words = words.into_iter();
    let mut before: Vec<OsString> = words.next().into_iter().collect();
    let (mut rest, mut queries) = (Vec::new(), Vec::new());
    let mut subcommand: Option<&Command> = None;
    let mut is_seen = false;
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            queries.extend(words);
            break;
        }
        if is_query(&text, subcommand.unwrap_or(command)) {
            queries.push(word);
        } else if text.starts_with('-') && text.len() > 1 {
            let value = takes_next(&text).then(|| words.next()).flatten();
            rest.push(word);
            rest.extend(value);
        } else if let (false, Some(found)) = (is_seen, command.find_subcommand(&*text)) {
            (is_seen, subcommand) = (true, Some(found));
            before.push(word);
        } else {
            is_seen = true;
            rest.push(word);
        }
    }
    before.extend(rest);
    if !queries.is_empty() {
        before.push("--".into());
        before.extend(queries);
    }
    before
}

/// Options have no blanks, but for the value of a known one: `--from='2027-01-15 08:00'`.
fn is_query(text: &str, command: &Command) -> bool {
    let is_option = |name: &str| command.get_opts().any(|option| option.get_long() == Some(name));
    let assigned = text.strip_prefix("--").and_then(|text| text.split_once('='));
    text.starts_with('-')
        && text.contains(char::is_whitespace)
        && !assigned.is_some_and(|(name, _)| is_option(name))
}

/// All options but these take a value, which stands beside it or in the next word.
fn takes_next(option: &str) -> bool {
    let is_flag = matches!(option, "-h" | "--help" | "-V" | "--version");
    match option.strip_prefix("--") {
        Some(long) => !is_flag && !long.contains('='),
        None => !is_flag && option.len() == 2,
    }
}
