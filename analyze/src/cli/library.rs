//! The analyses on the command line: `--library` is found before the rest is read, because it makes subcommands.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, value_parser};

use crate::library::Library;
use crate::library::analysis::Analysis;
use crate::library::params::ParamType;

/// The library that `words` ask for.
///
/// Fails if one of its directories cannot be read.
pub fn of(words: &[OsString]) -> Result<Arc<Library>> {
    Library::open(&dirs(words), Library::own_dir().as_deref())
}

fn dirs(words: &[OsString]) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    let mut words = words.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == "--library" {
            dirs.extend(words.next().map(PathBuf::from));
        } else if let Some(dir) = word.as_bytes().strip_prefix(b"--library=") {
            dirs.push(PathBuf::from(OsStr::from_bytes(dir)));
        }
    }
    dirs
}

/// The option itself, for help and for clap.
pub fn option() -> Arg {
    Arg::new("library")
        .long("library")
        .value_name("DIR")
        .help("Analyses of your own, *.sql; those in ~/.config/ktape/sql are always there")
        .action(ArgAction::Append)
        .value_parser(value_parser!(PathBuf))
}

/// A subcommand for each analysis, with the arguments `common`, and for each file that is none, which says why.
pub fn subcommands(mut command: Command, library: &Library, common: &[Arg]) -> Command {
    for analysis in library.all() {
        command = command.subcommand(subcommand(analysis, common));
    }
    for broken in library.broken() {
        let is_known = command.find_subcommand(&broken.name).is_some();
        if !is_known && !broken.name.is_empty() {
            let words = Arg::new("words").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
            let words = words.value_parser(value_parser!(OsString));
            command = command
                .subcommand(Command::new(broken.name.clone()).hide(true).disable_help_flag(true).arg(words));
        }
    }
    command
}

fn subcommand(analysis: &Analysis, common: &[Arg]) -> Command {
    let mut text = format!("{}\n\n", analysis.summary);
    if !analysis.doc.is_empty() {
        text += &format!("{}\n\n", analysis.doc);
    }
    if !analysis.columns.is_empty() {
        text += "Columns:";
    }
    for column in &analysis.columns {
        text += &format!("\n  {:18} {}", column.name, column.doc);
    }
    let file = analysis.file.as_ref().map_or_else(String::new, |file| format!("\nFile: {}", file.display()));
    let mut command = Command::new(analysis.name.clone())
        .about(analysis.summary.trim_end_matches('.').to_owned())
        .long_about(text.trim_end().to_owned())
        .after_help(format!("In SQL: SELECT * FROM {}\nLosses: {}{file}", analysis.call(), analysis.loss))
        .args(common);
    for param in &analysis.params {
        let mut arg = Arg::new(param.name.clone())
            .long(param.flag.clone())
            .help(sentence(&param.doc))
            .default_value(param.default.clone())
            .action(ArgAction::Set);
        arg = match &param.ty {
            ParamType::Choice(words) => arg.value_parser(PossibleValuesParser::new(words.iter().cloned())),
            ParamType::Duration => arg.value_name("DURATION"),
            ParamType::Count => arg.value_name("N").allow_negative_numbers(true),
            ParamType::Number => arg.value_name("NUMBER").allow_negative_numbers(true),
            ParamType::Address => arg.value_name("ADDRESS"),
            ParamType::Text => arg.value_name("TEXT").allow_hyphen_values(true),
            ParamType::Time => arg.value_name("TIME"),
        };
        command = command.arg(arg);
    }
    command
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::reserved;

    #[test]
    fn directories_are_found_wherever_they_stand() {
        let found = |words: &str| {
            let words: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            dirs(&words).iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found("analyze --library a mine t.trace --library=b/c -F csv"), ["a", "b/c"]);
        assert!(found("analyze sql t.trace -- --library x").is_empty());
        assert!(found("analyze --library").is_empty());
    }

    #[test]
    fn options_and_subcommands_are_reserved() {
        let command = crate::cli::command(&Library::shipped());
        for sub in command.get_subcommands().filter(|sub| Library::shipped().find(sub.get_name()).is_none()) {
            assert!(reserved::SUBCOMMANDS.contains(&sub.get_name()), "{}", sub.get_name());
            for arg in sub.get_arguments() {
                let names = [Some(arg.get_id().as_str()), arg.get_long()];
                for name in names.into_iter().flatten() {
                    assert!(reserved::OPTIONS.contains(&name), "{}: --{name}", sub.get_name());
                }
            }
        }
    }
}
