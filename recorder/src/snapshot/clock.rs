//! The machine's clocks in, nanoseconds and their text out.

pub use crate::pipeline::utc_minus_boottime_ns;

use crate::pipeline;

const NS_PER_S: i64 = 1_000_000_000;
const S_PER_DAY: i64 = 86_400;

/// CLOCK_BOOTTIME now: what the events' timestamps count.
pub fn boottime_ns() -> i64 {
    pipeline::boottime_ns().cast_signed()
}

/// `20261120-133505` (UTC), for file names.
pub fn file_stamp(utc_ns: i64) -> String {
    let (year, month, day) = date(utc_ns.div_euclid(NS_PER_S * S_PER_DAY));
    let second = utc_ns.div_euclid(NS_PER_S).rem_euclid(S_PER_DAY);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `13:35:05.123456789` (UTC), for people who watch.
pub fn time_of_day(utc_ns: i64) -> String {
    let second = utc_ns.div_euclid(NS_PER_S).rem_euclid(S_PER_DAY);
    let ns = utc_ns.rem_euclid(NS_PER_S);
    format!("{:02}:{:02}:{:02}.{ns:09}", second / 3600, second / 60 % 60, second % 60)
}

/// `2026-11-20T13:35:05.123456789Z`.
pub fn iso(utc_ns: i64) -> String {
    let (year, month, day) = date(utc_ns.div_euclid(NS_PER_S * S_PER_DAY));
    format!("{year:04}-{month:02}-{day:02}T{}Z", time_of_day(utc_ns))
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar: years are taken to start in
/// March, so that the leap day is the last of a year, and 400 years always have 146 097 days.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(20_777), (2026, 11, 20));
        assert_eq!(date(-1), (1969, 12, 31));
    }

    #[test]
    fn a_time_is_shown_in_full() {
        assert_eq!(iso(1_795_182_905_000_000_042), "2026-11-20T13:55:05.000000042Z");
    }

    #[test]
    fn the_offset_leads_from_boot_time_to_utc() {
        let utc = boottime_ns() + utc_minus_boottime_ns();
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
        assert!((now - utc).abs() < NS_PER_S);
    }
}
