//! What is counted of an event in the kernel: `--count KEY,KEY --sum EXPR --hist EXPR` -> [`Aggregate`].

use super::{DefError, EventDef, fail, is_name};
use crate::expr::{Field, Kind};
use crate::wire::MAX_SUMS;

/// The options, as they are written on the command line and behind an event.
const COUNT: &str = "--count";
const SUM: &str = "--sum";
const HIST: &str = "--hist";
/// What the table of an aggregated event is called if nobody says: the event's name and this.
const SUFFIX: &str = "_counts";

/// How the events of an interval become rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aggregate {
    /// Columns: a row for each combination of their values.
    pub keys: Vec<String>,
    /// What is added up.
    pub sums: Vec<Measure>,
    /// Of what the powers of two are one more key.
    pub hist: Option<Measure>,
}

/// A number of each event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// What it is called in the names of columns.
    pub name: String,
    /// A column, or an expression of columns, arguments and builtins.
    pub field: Field,
}

impl Measure {
    /// Read `EXPR` or `NAME=EXPR`.
    fn parse(option: &str, text: &str) -> Result<Self, DefError> {
        let text = text.trim();
        let (name, expr) = match text.split_once('=') {
            Some((name, expr)) if is_name(name.trim()) && !expr.starts_with('=') => (Some(name.trim()), expr),
            _ => (None, text),
        };
        let field = Field::parse(expr).map_err(|error| DefError(format!("{option}: {error}")))?;
        if matches!(field.expr.kind, Kind::Entry(_)) {
            return fail(format!(
                "{option} {text}: a value that is read at the entry can be a key only (--count)"
            ));
        }
        let name = match (name, &field.expr.kind) {
            (Some(name), _) => name.to_owned(),
            (None, Kind::Name(name)) => name.clone(),
            (None, Kind::Retval) => "retval".to_owned(),
            (None, Kind::Duration) => "dur_ns".to_owned(),
            (None, _) => {
                return fail(format!("{option} {text}: say what it is called, as in {option} 'NAME={expr}'"));
            }
        };
        Ok(Self { name, field })
    }

    /// The column that it is, if it is no more than that.
    pub fn column(&self) -> Option<&str> {
        match &self.field.expr.kind {
            Kind::Name(name) if self.field.ty.is_none() => Some(name),
            Kind::Retval if self.field.ty.is_none() => Some("retval"),
            Kind::Duration if self.field.ty.is_none() => Some("dur_ns"),
            _ => None,
        }
    }
}

impl Aggregate {
    /// Of names of columns and expressions, the latter also as `NAME=EXPR`.
    pub fn new(keys: Vec<String>, sums: &[String], hist: Option<&str>) -> Result<Self, DefError> {
        let keys: Vec<String> =
            keys.iter().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).collect();
        for (i, key) in keys.iter().enumerate() {
            if !is_name(key) {
                return fail(format!(
                    "{COUNT} {key}: a key is a column of the event; give an expression a name in braces"
                ));
            }
            if keys[..i].contains(key) {
                return fail(format!("{COUNT}: {key} is there twice"));
            }
        }
        if sums.len() > MAX_SUMS {
            return fail(format!("{SUM} is there {} times, the limit is {MAX_SUMS}", sums.len()));
        }
        let sums: Vec<Measure> =
            sums.iter().map(|text| Measure::parse(SUM, text)).collect::<Result<_, _>>()?;
        for (i, sum) in sums.iter().enumerate() {
            if sums[..i].iter().any(|other| other.name == sum.name) {
                return fail(format!(
                    "{SUM}: {} is there twice: name one otherwise, as in {SUM} NAME=EXPR",
                    sum.name
                ));
            }
        }
        let hist = hist.map(|text| Measure::parse(HIST, text)).transpose()?;
        Ok(Self { keys, sums, hist })
    }

    /// Take the options off the end of an event as people write it: `EVENT if CONDITION --count KEY --sum EXPR`. `None` if
    /// there are none.
    pub fn split(word: &str) -> Result<Option<(&str, Self)>, DefError> {
        let Some(start) = next_option(word, 0) else { return Ok(None) };
        let (mut keys, mut sums, mut hist) = (Vec::new(), Vec::new(), None);
        let mut at = start;
        loop {
            let next = next_option(word, at + 1);
            let text = word[at..next.unwrap_or(word.len())].trim();
            let (option, value) = text.split_at(text.find([' ', '=']).unwrap_or(text.len()));
            let value = value.trim_start_matches(['=', ' ']).trim();
            match option {
                COUNT => keys.extend(value.split(',').map(str::to_owned)),
                _ if value.is_empty() => {
                    return fail(format!("'{word}': {option} needs a column or an expression"));
                }
                SUM => sums.push(value.to_owned()),
                _ if hist.is_some() => {
                    return fail(format!("'{word}': {HIST} is there twice, the limit is 1"));
                }
                _ => hist = Some(value),
            }
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(Some((word[..start].trim(), Self::new(keys, &sums, hist)?)))
    }
}

/// Where the next option begins, with the blank before it.
fn next_option(word: &str, from: usize) -> Option<usize> {
    let is_option = |at: usize| {
        [COUNT, SUM, HIST].iter().any(|option| {
            let rest = word[at + 1..].strip_prefix(option);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '=']))
        })
    };
    word.match_indices(" --").map(|(at, _)| at).find(|at| *at >= from && is_option(*at))
}

impl DefError {
    /// The same, of event `name`.
    pub(super) fn within(self, name: &str) -> Self {
        Self(format!("event {name}, aggregate: {}", self.0))
    }
}

impl EventDef {
    /// The event, counted as `aggregate` says, in a table called `name`: else `EVENT_counts`, because its rows are others
    /// than those of the event, on which analyses rely.
    pub fn aggregated(self, aggregate: Aggregate, name: Option<&str>) -> Result<Self, DefError> {
        if self.aggregate.is_some() {
            return fail(format!("{} is counted already, by its definition", self.name));
        }
        let name = name.map_or_else(|| format!("{}{SUFFIX}", self.name), str::to_owned);
        if let Some(refusal) = crate::name::refusal(&name) {
            return fail(refusal);
        }
        Ok(Self { name, always: false, aggregate: Some(aggregate), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(word: &str) -> (&str, Aggregate) {
        Aggregate::split(word).unwrap().unwrap()
    }

    #[test]
    fn options_behind_an_event_are_those_of_the_command_line() {
        let (event, aggregate) =
            split("packets if len > 5 --count saddr, dport --sum len --hist=bits=len * 8");
        assert_eq!(
            (event, aggregate.keys.as_slice()),
            ("packets if len > 5", &["saddr".to_owned(), "dport".to_owned()][..])
        );
        assert_eq!((aggregate.sums[0].name.as_str(), aggregate.sums[0].column()), ("len", Some("len")));
        let hist = aggregate.hist.unwrap();
        assert_eq!((hist.name.as_str(), hist.column()), ("bits", None));
        assert_eq!(split("mkdirs --count"), ("mkdirs", Aggregate::default()));
        assert_eq!(Aggregate::split("mkdirs if a --counted"), Ok(None));
    }

    #[test]
    fn what_has_no_name_wants_one_and_what_is_there_twice_is_refused() {
        let error = |word: &str| Aggregate::split(word).unwrap_err().to_string();
        assert!(error("a --sum b * 2").contains("NAME=b * 2"), "{}", error("a --sum b * 2"));
        assert!(error("a --count x,x").contains("twice"));
        assert!(error("a --sum x --sum x").contains("twice"));
        assert!(error("a --hist x --hist y").contains("the limit is 1"));
        assert!(error("a --sum a --sum b --sum c --sum d --sum e").contains("the limit is 4"));
        assert!(error("a --sum").contains("needs a column"));
        assert!(error("a --count x+1").contains("a key is a column"));
        assert!(error("a --sum entry(x)").contains("a key only"));
    }
}
