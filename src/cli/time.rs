//! Microseconds since 1970 as RFC 3339 says them, in UTC.

const MICROS: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;

/// Years are counted from March here, so that the day that comes and goes is the last one. Days from the first of March of
/// the year 0 to the first of January 1970:
const BEFORE_1970: i64 = 719_468;
/// The lengths of a cycle of 400 years, of a century and of four years that do not end one, and of a common year.
const CYCLE: i64 = 146_097;
const CENTURY: i64 = 36_524;
const FOUR_YEARS: i64 = 1_461;
const YEAR: i64 = 365;
/// The lengths of the months, from March to February.
const MONTHS: [i64; 12] = [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31, 29];

/// Such as `2026-01-08T12:00:01.000123Z`. Years that need more than four digits, or are before 0, carry a sign, as ISO 8601
/// has it.
pub(crate) fn rfc3339(time_us: i64) -> String {
    let (seconds, micros) = (time_us.div_euclid(MICROS), time_us.rem_euclid(MICROS));
    let (days, second) = (seconds.div_euclid(SECONDS_A_DAY), seconds.rem_euclid(SECONDS_A_DAY));
    let (year, month, day) = date(days);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+05}"),
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a day counted from 1970-01-01 on, in the Gregorian calendar.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + BEFORE_1970;
    let (cycle, rest) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    // The last century of a cycle and the last year of four are a day longer: that day belongs to them, not to a fifth.
    let century = (rest / CENTURY).min(3);
    let rest = rest - century * CENTURY;
    let (four, rest) = (rest / FOUR_YEARS, rest % FOUR_YEARS);
    let single = (rest / YEAR).min(3);
    let mut day = rest - single * YEAR;
    let mut month = 3;
    for length in MONTHS {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let year = cycle * 400 + century * 100 + four * 4 + single;
    match month {
        13.. => (year + 1, month - 12, day + 1),
        _ => (year, month, day + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_written_as_they_are_known() {
        for (time_us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_767_871_234_000_123, "2026-01-08T11:20:34.000123Z"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "+10000-01-01T00:00:00.000000Z"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000Z"),
            (-62_167_219_200_000_001, "-0001-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(rfc3339(time_us), text);
        }
    }

    #[test]
    fn every_time_there_is_has_a_text() {
        assert!(rfc3339(i64::MAX).starts_with("+294247-01-10T04:00:54.775807"));
        assert!(rfc3339(i64::MIN).starts_with("-290308-12-21T19:59:05.224192"));
    }

    #[test]
    fn dates_follow_each_other_as_the_calendar_says() {
        // 1600-01-01, and on for 1000 years.
        let (mut year, mut month, mut day) = (1600, 1, 1);
        let first = -135_140;
        for days in first..first + 365_243 {
            assert_eq!(date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (2600, 1, 1));
    }
}
