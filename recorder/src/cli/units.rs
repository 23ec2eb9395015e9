//! Times and sizes as people type them: `500ms`, `2m`, `64M` in, `Duration` and bytes out.

use std::time::Duration;

/// Longest time, days: 100 years. The clocks that it is added to end later.
const MAX_DAYS: u64 = 36_525;

/// Read a time: a number and `ms`, `s` (also without), `m`, `h` or `d`. Fails if it is zero, too long or unreadable.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    if number.is_empty() {
        return Err("not a time: give a number, such as 10, 500ms or 2m".to_owned());
    }
    let seconds_per_unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(format!("unknown unit '{unit}': use ms, s, m, h or d")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{number}' is not a number"))?;
    let too_long = || format!("too long: {MAX_DAYS}d is the most");
    let duration = Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| too_long())?;
    match duration {
        Duration::ZERO => Err("must be more than 0".to_owned()),
        _ if duration > Duration::from_secs(MAX_DAYS * 86_400) => Err(too_long()),
        _ => Ok(duration),
    }
}

/// Read a size in bytes: a number and nothing, `K`, `M` or `G` (powers of 1024; `KiB` and `KB` are the same).
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    if number.is_empty() {
        return Err("not a size: give a number, such as 4096 or 64M".to_owned());
    }
    let shift = match unit.trim_end_matches(['B', 'b']).trim_end_matches('i') {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => return Err(format!("unknown unit '{unit}': use K, M or G")),
    };
    let number: u64 = number.parse().map_err(|_| format!("'{number}' is not a whole number"))?;
    match number.checked_mul(1 << shift) {
        None | Some(0) => Err("out of range".to_owned()),
        Some(bytes) => Ok(bytes),
    }
}

/// `bytes` for people, in powers of 1024.
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_with_their_units() {
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(size("64M"), Ok(64 << 20));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("4096"), Ok(4096));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "0", "x", "10y", "1e3", "-1", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "0", "M", "10T", "1.5M", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_that_no_clock_reaches_is_refused_with_the_longest_one() {
        assert_eq!(duration("36525d"), Ok(Duration::from_secs(36_525 * 86_400)));
        for text in ["36526d", "110000000000000d", "99999999999999999999d"] {
            assert_eq!(duration(text), Err("too long: 36525d is the most".to_owned()), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_fits() {
        assert_eq!(show_size(17), "17 B");
        assert_eq!(show_size(3 << 20), "3.0 MiB");
    }
}
