//! Times: as records show them, and as people write them.

use jiff::civil::{self, DateTime};
use jiff::{SignedDuration, Span, Timestamp, Zoned};

const MICROS: u64 = 1_000_000;
const EPOCH: DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);

/// What [`moment`] takes, for help and errors.
pub(crate) const TAKEN: &str = "RFC 3339 (2026-01-08T12:00:01Z), a date (2026-01-08) or a date and time (2026-01-08 12:00) in the local \
                                zone, a time of today (12:00), seconds since 1970 (@1767873601), now, today, yesterday, tomorrow, or \
                                how long ago (10m, -10m, \"10m ago\", 2h, 1d12h)";

/// Microseconds since 1970 such as `2026-01-08T12:00:01.000123Z`. Years before 0 carry a sign, as ISO 8601 has it. What lies
/// outside of the years -9999 to 9999 is `@` and the seconds since 1970, which `date -d` understands too.
pub(crate) fn rfc3339(time_us: i64) -> String {
    let Ok(time) = EPOCH.checked_add(SignedDuration::from_micros(time_us)) else {
        let (sign, micros) = (if time_us < 0 { "-" } else { "" }, time_us.unsigned_abs());
        return format!("@{sign}{}.{:06}", micros / MICROS, micros % MICROS);
    };
    let year = match time.year() {
        year @ 0.. => format!("{year:04}"),
        year => format!("{year:+05}"),
    };
    let (month, day) = (time.month(), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!(
        "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:06}Z",
        time.subsec_nanosecond() / 1000
    )
}

/// The time that a text means, in microseconds since 1970. A date is its first moment.
pub(crate) fn moment(text: &str) -> Result<i64, String> {
    as_of(&Zoned::now(), text)
}

fn as_of(now: &Zoned, text: &str) -> Result<i64, String> {
    let text = text.trim();
    let local = |time: DateTime| time.to_zoned(now.time_zone().clone()).ok();
    let day = |day: Result<Zoned, jiff::Error>| day.and_then(|day| day.start_of_day()).ok();
    let found = match text {
        "now" => Some(now.clone()),
        "today" => day(Ok(now.clone())),
        "yesterday" => day(now.yesterday()),
        "tomorrow" => day(now.tomorrow()),
        _ => None,
    };
    let found = found
        .map(|zoned| zoned.timestamp())
        .or_else(|| since_1970(text))
        .or_else(|| text.parse().ok())
        .or_else(|| Some(local(text.parse().ok()?)?.timestamp()))
        .or_else(|| Some(local(now.date().to_datetime(time_of_day(text)?))?.timestamp()))
        .or_else(|| Some(now.checked_add(distance(text)?).ok()?.timestamp()));
    found.map(Timestamp::as_microsecond).ok_or_else(|| format!("this is no time; what is taken: {TAKEN}"))
}

/// `@` and seconds, with or without a fraction.
fn since_1970(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.strip_prefix('@').map(|text| text.split_once('.').unwrap_or((text, "0")))?;
    let micros = format!("{fraction:0<6}").get(..6)?.parse::<u32>().ok()?;
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = whole.parse::<i64>().ok()?.checked_mul(MICROS as i64)?;
    let micros = if whole.starts_with('-') { -i64::from(micros) } else { i64::from(micros) };
    Timestamp::from_microsecond(seconds.checked_add(micros)?).ok()
}

fn time_of_day(text: &str) -> Option<civil::Time> {
    // 1200 would be one as well, and is more likely a mistake.
    text.contains(':').then(|| text.parse().ok()).flatten()
}

/// How far from now: back, unless it has a plus.
fn distance(text: &str) -> Option<Span> {
    let span = text.parse::<Span>().ok()?.abs();
    Some(if text.starts_with('+') { span } else { -span })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::{self, TimeZone};

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
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000Z"),
            (-62_167_219_200_000_001, "-0001-12-31T23:59:59.999999Z"),
            // Here the years end that have a text.
            (253_402_300_800_000_000, "@253402300800.000000"),
            (-377_705_116_800_000_000, "-9999-01-01T00:00:00.000000Z"),
            (-377_705_116_800_000_001, "@-377705116800.000001"),
            (i64::MAX, "@9223372036854.775807"),
            (i64::MIN, "@-9223372036854.775808"),
        ] {
            assert_eq!(rfc3339(time_us), text);
        }
    }

    /// The calendar that records were shown by before, worked out anew: from 1 January 1600 on, and on for 1000 years.
    #[test]
    fn dates_follow_each_other_as_the_calendar_says() {
        let (mut year, mut month, mut day) = (1600, 1, 1);
        let first = -135_140;
        for days in first..first + 365_243 {
            let text = rfc3339(days * 86_400 * MICROS as i64);
            assert_eq!(text, format!("{year:04}-{month:02}-{day:02}T00:00:00.000000Z"));
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

    fn meant(text: &str) -> Result<String, String> {
        // Two hours ahead of UTC, whatever the system says.
        let now: Timestamp = "2026-01-08T10:30:00Z".parse().unwrap();
        as_of(&now.to_zoned(TimeZone::fixed(tz::offset(2))), text).map(rfc3339)
    }

    #[test]
    fn a_time_is_taken_as_people_write_it() {
        for (text, means) in [
            ("2026-01-08T12:00:01Z", "2026-01-08T12:00:01.000000Z"),
            ("2026-01-08T12:00:01.000123+01:00", "2026-01-08T11:00:01.000123Z"),
            ("2026-01-08 12:00:01Z", "2026-01-08T12:00:01.000000Z"),
            ("2026-01-08", "2026-01-07T22:00:00.000000Z"),
            ("2026-01-08 12:00", "2026-01-08T10:00:00.000000Z"),
            ("2026-01-08T12:00:01", "2026-01-08T10:00:01.000000Z"),
            ("12:00", "2026-01-08T10:00:00.000000Z"),
            ("@1767871234", "2026-01-08T11:20:34.000000Z"),
            ("@1767871234.000123", "2026-01-08T11:20:34.000123Z"),
            ("@-0.5", "1969-12-31T23:59:59.500000Z"),
            ("now", "2026-01-08T10:30:00.000000Z"),
            ("today", "2026-01-07T22:00:00.000000Z"),
            ("yesterday", "2026-01-06T22:00:00.000000Z"),
            ("tomorrow", "2026-01-08T22:00:00.000000Z"),
            ("10m", "2026-01-08T10:20:00.000000Z"),
            ("-10m", "2026-01-08T10:20:00.000000Z"),
            ("10m ago", "2026-01-08T10:20:00.000000Z"),
            ("10 minutes ago", "2026-01-08T10:20:00.000000Z"),
            ("2h", "2026-01-08T08:30:00.000000Z"),
            ("1d12h", "2026-01-06T22:30:00.000000Z"),
            ("+1h", "2026-01-08T11:30:00.000000Z"),
            (" now ", "2026-01-08T10:30:00.000000Z"),
        ] {
            assert_eq!(meant(text).as_deref(), Ok(means), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_is_taken() {
        let refused = [
            "",
            "soon",
            "10",
            "1200",
            "2026-13-01",
            "2026-02-30",
            "25:00",
            "@",
            "@1.",
            "@1.x",
            "10 parsecs",
            "-",
        ];
        for text in refused {
            let refusal = meant(text).unwrap_err();
            assert!(refusal.contains("RFC 3339") && refusal.contains("10m ago"), "{text}: {refusal}");
        }
    }

    #[test]
    fn what_was_printed_means_what_it_was_printed_for() {
        for time_us in [0, -1, 1_767_871_234_000_123, -62_167_219_200_000_000, 253_402_207_200_000_000] {
            assert_eq!(moment(&rfc3339(time_us)), Ok(time_us));
        }
    }
}
