//! Infers the type of a column from its values as text, and converts them to that type.

use std::sync::Arc;

use anyhow::{Result, bail};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow_array::{TimestampNanosecondArray, UInt64Array};
use arrow_cast::parse::string_to_timestamp_nanos;
use arrow_schema::{DataType, Field};
use schemas::column::{field, timestamp, typed};

/// What a number counts from 1970 in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    S,
    Ms,
    Us,
    Ns,
}

impl Unit {
    /// `s`, `ms`, `us` or `ns`.
    pub fn named(text: &str) -> Option<Self> {
        Some(match text {
            "s" => Self::S,
            "ms" => Self::Ms,
            "us" => Self::Us,
            "ns" => Self::Ns,
            _ => return None,
        })
    }

    /// The unit that the name of a column says: `ts_ms`, `start_epoch_s`. Names such as `time_ms` may be of durations.
    pub fn of_column(name: &str) -> Option<Self> {
        let (stem, unit) = name.rsplit_once('_')?;
        let last = stem.rsplit('_').next().unwrap_or(stem);
        matches!(last, "ts" | "timestamp" | "epoch" | "unix").then(|| Self::named(unit)).flatten()
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::S => "seconds",
            Self::Ms => "milliseconds",
            Self::Us => "microseconds",
            Self::Ns => "nanoseconds",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::S => 9,
            Self::Ms => 6,
            Self::Us => 3,
            Self::Ns => 0,
        }
    }

    /// Nanoseconds of a decimal number of this unit; `None` if they do not fit, or there are parts of a nanosecond.
    pub fn ns(self, text: &str) -> Option<i64> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let part = part.trim_end_matches('0');
        let is_number = !whole.trim_start_matches('-').is_empty() && part.bytes().all(|c| c.is_ascii_digit());
        if !is_number || part.len() > self.digits() {
            return None;
        }
        format!("{whole}{part:0<width$}", width = self.digits()).parse().ok()
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    UInt,
    Float,
    /// In one of the usual forms; `true`: none of them says a zone.
    Time(bool),
    Epoch(Unit),
    /// `0x1f`
    Hex,
    Text,
}

/// What the values of a column were seen to be.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    kinds: u8,
    is_negative: bool,
    has_zone: bool,
    /// The first value, if there is one, that is no number of this unit.
    not_epoch: Option<(Unit, String)>,
}

const BOOL: u8 = 1;
const INT: u8 = 2;
const UINT: u8 = 4;
const FLOAT: u8 = 8;
const TIME: u8 = 16;
const HEX: u8 = 32;
const TEXT: u8 = 64;

impl Seen {
    /// See a value; `epoch` is the unit in which the column may count.
    pub fn value(&mut self, text: &str, epoch: Option<Unit>) {
        if let (Some(unit), None) = (epoch, &self.not_epoch)
            && unit.ns(text).is_none()
        {
            self.not_epoch = Some((unit, text.to_owned()));
        }
        // Once it is text it stays text.
        if self.kinds & TEXT == 0 {
            self.kinds |= number(text).unwrap_or_else(|| kind_of_text(text));
            self.is_negative |= text.starts_with('-');
            self.has_zone |= self.kinds & TIME != 0 && has_zone(text);
        }
    }

    /// See a value that is text, also if it looks like a number.
    pub fn text(&mut self, text: &str) {
        let kind = match kind_of_text(text) {
            BOOL => TEXT,
            kind => kind,
        };
        self.kinds |= kind;
        self.has_zone |= kind == TIME && has_zone(text);
    }

    /// The type that has all values. `told` is the unit that the user says, `named` the one that its name says.
    ///
    /// Fails if a value is none of the unit that the user says.
    pub fn kind(&self, told: Option<Unit>, named: Option<Unit>) -> Result<Kind> {
        match (told, named, &self.not_epoch) {
            (Some(unit), _, None) => return Ok(Kind::Epoch(unit)),
            (Some(unit), _, Some((_, text))) => {
                bail!("'{}' is no number of {}", text.escape_debug(), unit.text())
            }
            (None, Some(unit), None) if self.kinds != 0 => return Ok(Kind::Epoch(unit)),
            _ => {}
        }
        Ok(match self.kinds {
            BOOL => Kind::Bool,
            INT => Kind::Int,
            kinds if kinds & !(INT | UINT) == 0 && kinds != 0 && !self.is_negative => Kind::UInt,
            kinds if kinds & FLOAT != 0 && kinds & !(INT | UINT | FLOAT) == 0 => Kind::Float,
            TIME => Kind::Time(!self.has_zone),
            HEX => Kind::Hex,
            _ => Kind::Text,
        })
    }
}

fn number(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let whole = digits.split(['.', 'e', 'E']).next().unwrap_or_default();
    // Such as a post code: the zeros matter.
    if whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    if digits.bytes().all(|c| c.is_ascii_digit()) {
        return match (text.parse::<i64>(), text.parse::<u64>()) {
            (Ok(_), _) => Some(INT),
            (_, Ok(_)) => Some(UINT),
            // More digits than a number can keep.
            _ => None,
        };
    }
    let is_decimal =
        digits.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'.' | b'e' | b'E' | b'-' | b'+'));
    (is_decimal && text.parse::<f64>().is_ok_and(f64::is_finite)).then_some(FLOAT)
}

fn kind_of_text(text: &str) -> u8 {
    if matches!(text, "true" | "false") {
        BOOL
    } else if hex(text).is_some() {
        HEX
    } else if time(text).is_some() {
        TIME
    } else {
        TEXT
    }
}

fn hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

fn time(text: &str) -> Option<i64> {
    let is_date = text.len() >= 10 && text.as_bytes()[4] == b'-';
    is_date.then(|| string_to_timestamp_nanos(text).ok()).flatten()
}

fn has_zone(text: &str) -> bool {
    let clock = text.get(10..).unwrap_or_default();
    clock.ends_with(['Z', 'z'])
        || clock.contains(['+', '-'])
        || clock.ends_with(|c: char| c.is_ascii_alphabetic())
}

impl Kind {
    /// The column called `name`.
    pub fn field(self, name: &str, doc: &str) -> Field {
        let plain = |ty: DataType, unit: Option<&str>| field(name, ty, true, unit, doc);
        match self {
            Self::Bool => plain(DataType::Boolean, None),
            Self::Int => plain(DataType::Int64, None),
            Self::UInt => plain(DataType::UInt64, None),
            Self::Float => plain(DataType::Float64, None),
            Self::Time(_) | Self::Epoch(_) => plain(timestamp(), Some("ns")),
            Self::Hex => typed("x64", plain(DataType::UInt64, None)),
            Self::Text => plain(DataType::Utf8, None),
        }
    }

    /// How it is understood, for people.
    pub fn text(self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Int | Self::UInt => "whole number".to_owned(),
            Self::Float => "number".to_owned(),
            Self::Time(true) => "time (without a zone: taken as UTC)".to_owned(),
            Self::Time(false) => "time".to_owned(),
            Self::Epoch(unit) => format!("time ({} since 1970)", unit.text()),
            Self::Hex => "hexadecimal number".to_owned(),
            Self::Text => "text".to_owned(),
        }
    }

    /// The values of `texts`; `Err` is the first row whose value is none of this type.
    pub fn convert(self, texts: &StringArray) -> Result<ArrayRef, usize> {
        fn each<T, A: FromIterator<Option<T>> + Array + 'static>(
            texts: &StringArray,
            of: impl Fn(&str) -> Option<T>,
        ) -> Result<ArrayRef, usize> {
            let value = |(row, text): (usize, Option<&str>)| match text {
                Some(text) => of(text).map(Some).ok_or(row),
                None => Ok(None),
            };
            let values: A = texts.iter().enumerate().map(value).collect::<Result<_, usize>>()?;
            Ok(Arc::new(values))
        }
        let times = |of: &dyn Fn(&str) -> Option<i64>| -> Result<ArrayRef, usize> {
            let mut times = TimestampNanosecondArray::builder(texts.len());
            for (row, text) in texts.iter().enumerate() {
                times.append_option(text.map(|text| of(text).ok_or(row)).transpose()?);
            }
            Ok(Arc::new(times.finish().with_timezone("UTC")))
        };
        match self {
            Self::Bool => each::<bool, BooleanArray>(texts, |text| text.parse().ok()),
            Self::Int => each::<i64, Int64Array>(texts, |text| text.parse().ok()),
            Self::UInt => each::<u64, UInt64Array>(texts, |text| text.parse().ok()),
            Self::Float => each::<f64, Float64Array>(texts, |text| text.parse().ok()),
            Self::Hex => each::<u64, UInt64Array>(texts, hex),
            Self::Time(_) => times(&time),
            Self::Epoch(unit) => times(&|text| unit.ns(text)),
            Self::Text => Ok(Arc::new(texts.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(values: &[&str]) -> Kind {
        let mut seen = Seen::default();
        values.iter().for_each(|value| seen.value(value, None));
        seen.kind(None, None).unwrap()
    }

    #[test]
    fn a_column_has_the_type_that_all_of_its_values_have() {
        for (values, wanted) in [
            (&["1", "-2"][..], Kind::Int),
            (&["1", "18446744073709551615"], Kind::UInt),
            (&["-1", "18446744073709551615"], Kind::Text),
            (&["1", "2.5", "1e3"], Kind::Float),
            (&["007"], Kind::Text),
            (&["123456789012345678901234567890"], Kind::Text),
            (&["0x1f", "0xffff888100dc7000"], Kind::Hex),
            (&["0x1f", "31"], Kind::Text),
            (&["true", "false"], Kind::Bool),
            (&["2027-01-15 08:00:00", "2027-01-15"], Kind::Time(true)),
            (&["2027-01-15T08:00:00Z", "2027-01-15T08:00:00.5+02:00"], Kind::Time(false)),
            (&["2027-01-15", "tomorrow"], Kind::Text),
            (&["1", "one"], Kind::Text),
            (&[], Kind::Text),
        ] {
            assert_eq!(kind(values), wanted, "{values:?}");
        }
    }

    #[test]
    fn what_counts_from_1970_is_exact_or_refused() {
        assert_eq!(Unit::S.ns("1800000000.25"), Some(1_800_000_000_250_000_000));
        assert_eq!(Unit::S.ns("1800000000.123456789"), Some(1_800_000_000_123_456_789));
        assert_eq!(Unit::Ms.ns("-1"), Some(-1_000_000));
        assert_eq!(Unit::Us.ns("1.5"), Some(1500));
        for (unit, text) in
            [(Unit::S, "18000000000"), (Unit::Ns, "1.5"), (Unit::S, "now"), (Unit::S, "-"), (Unit::S, "1e9")]
        {
            assert_eq!(unit.ns(text), None, "{text}");
        }
        let named =
            ["ts_ms", "start_ts_ns", "epoch_s", "time_ms", "dur_ns", "ts", "unix_us"].map(Unit::of_column);
        let wanted = [Some(Unit::Ms), Some(Unit::Ns), Some(Unit::S), None, None, None, Some(Unit::Us)];
        assert_eq!(named, wanted);
    }
}
