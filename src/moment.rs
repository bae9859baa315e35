//! Days and moments as ISO 8601 has them, in UTC.

const SECONDS_A_DAY: i64 = 86_400;

/// Microseconds since 1970, always with six digits: readers that guess the format from the first row find it in every other.
pub(crate) fn micros(time_us: i64) -> String {
    let (second, micros) = (time_us.div_euclid(1_000_000), time_us.rem_euclid(1_000_000));
    let (days, second) = (second.div_euclid(SECONDS_A_DAY), second.rem_euclid(SECONDS_A_DAY));
    format!("{}T{}.{micros:06}Z", date(days), clock(second, 1, 0))
}

/// As Python's `isoformat` has it: a fraction only if there is one.
pub(crate) fn timestamp(units: i64, a_second: i64, digits: usize, utc: bool) -> String {
    let a_day = SECONDS_A_DAY * a_second;
    let zone = if utc { "Z" } else { "" };
    format!("{}T{}{zone}", date(units.div_euclid(a_day)), clock(units.rem_euclid(a_day), a_second, digits))
}

pub(crate) fn clock(units: i64, a_second: i64, digits: usize) -> String {
    let (second, rest) = (units.div_euclid(a_second), units.rem_euclid(a_second));
    let fraction = if rest > 0 { format!(".{rest:0digits$}") } else { String::new() };
    format!("{:02}:{:02}:{:02}{fraction}", second / 3600, second / 60 % 60, second % 60)
}

/// A day counted from 1970-01-01 on, in the Gregorian calendar.
pub(crate) fn date(days: i64) -> String {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    // Four hundred years have the same number of days wherever they begin; so at most so many are counted one by one.
    let mut year = 1970 + 400 * days.div_euclid(146_097);
    let mut day = days.rem_euclid(146_097);
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let year = if (0..=9999).contains(&year) { format!("{year:04}") } else { format!("{year:+05}") };
    format!("{year}-{month:02}-{:02}", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_moments_are_what_the_calendar_says() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (20_461, "2026-01-08"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (-25_509, "1900-02-28"),
            (-25_508, "1900-03-01"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "+10000-01-01"),
        ] {
            assert_eq!(date(days), expected);
        }
        assert_eq!(timestamp(1_767_873_601_000_000, 1_000_000, 6, false), "2026-01-08T12:00:01");
        assert_eq!(
            timestamp(1_767_873_601_000_012_000, 1_000_000_000, 9, true),
            "2026-01-08T12:00:01.000012000Z"
        );
        assert_eq!(timestamp(-1, 1_000, 3, false), "1969-12-31T23:59:59.999");
    }

    #[test]
    fn microseconds_have_six_digits_whatever_they_are() {
        for (time_us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_767_871_234_000_123, "2026-01-08T11:20:34.000123Z"),
        ] {
            assert_eq!(micros(time_us), text);
        }
        assert!(micros(i64::MAX).starts_with("+294247-01-10T04:00:54.775807"));
    }
}
