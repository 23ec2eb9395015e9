//! Reads and writes durations and times as people write them.

use anyhow::{Context, Result, anyhow, bail};
use arrow_cast::parse::string_to_timestamp_nanos;

const UNITS: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("min", 60e9),
    ("h", 3600e9),
];

/// Nanoseconds of `500ms`, `1.5s`, `100us`; a bare number is nanoseconds.
pub fn duration_ns(text: &str) -> Result<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let wrong =
        || format!("'{text}' is no duration: write 500ms, 1.5s or 100us; a bare number is nanoseconds");
    if unit.is_empty() {
        return number.parse().with_context(wrong);
    }
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).with_context(wrong)?;
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(*factor as i64).with_context(wrong);
    }
    let ns = number.parse::<f64>().with_context(wrong)? * factor;
    if !(0.0..9e18).contains(&ns) {
        bail!(wrong());
    }
    Ok(ns.round() as i64)
}

/// Is `text` a date, which means what the wall clock of the recorded machine showed.
pub fn is_date(text: &str) -> bool {
    !text.starts_with('+') && text.parse::<i64>().is_err()
}

/// UTC nanoseconds of `+1.5s` (after the start), RFC 3339, or a bare number.
pub fn time_ns(text: &str, start_ns: i64) -> Result<i64> {
    let wrong =
        || format!("'{text}' is no time: write +1.5s (after the start), 2027-01-15T08:00:00Z, or end");
    if let Some(after) = text.strip_prefix('+') {
        return start_ns.checked_add(duration_ns(after)?).with_context(wrong);
    }
    match text.parse::<i64>() {
        Ok(ns) => Ok(ns),
        Err(_) => string_to_timestamp_nanos(text).map_err(|_| anyhow!(wrong())),
    }
}

/// `+1.234s`
pub fn seconds(ns: i64) -> String {
    format!("{}{:.3}s", if ns < 0 { "-" } else { "+" }, ns.unsigned_abs() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_exact() {
        assert_eq!(duration_ns("500ms").unwrap(), 500_000_000);
        assert_eq!(duration_ns("1.5s").unwrap(), 1_500_000_000);
        assert_eq!(duration_ns("100000").unwrap(), 100_000);
        assert_eq!(time_ns("+2us", 7).unwrap(), 2_007);
        assert_eq!(time_ns("2027-01-15T08:00:00.000000005Z", 0).unwrap(), 1_800_000_000_000_000_005);
        for wrong in ["", "5 weeks", "-1s", "1e400s", "99999999999999999h"] {
            assert!(duration_ns(wrong).is_err(), "{wrong}");
        }
        assert!(time_ns("yesterday", 0).is_err());
        assert!(time_ns("+9223372036854775807", 1).is_err());
    }
}
