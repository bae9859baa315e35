//! The scales beside and below a plot: where a value lies on them, and the round numbers that say so.

use jiff::Timestamp;

/// The longest text of a number in full; others have an exponent.
const LONGEST_NUMBER: usize = 9;
/// How many digits of a number are worth reading.
const DIGITS: usize = 6;
/// On a logarithmic scale everything below this is drawn there.
const SMALLEST: f64 = 1e-300;

const MICROS: f64 = 1e6;
const MINUTE: f64 = 60.0 * MICROS;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// What a scale counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Number,
    /// Microseconds since 1970.
    Time,
}

/// From the low end to the high end of a scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    unit: Unit,
}

/// A mark on a scale: how far from the low end, 0 to 1, and what it says.
pub(crate) type Tick = (f64, String);

impl Scale {
    /// From one value to another, exactly: for what lies below.
    pub(crate) fn exact(low: f64, high: f64, unit: Unit) -> Scale {
        Scale { low, high, log: false, unit }
    }

    /// With room for all values from one to another, and a round number at both ends: for what lies beside. `most` ticks at most.
    pub(crate) fn round(low: f64, high: f64, most: usize) -> Scale {
        let (low, high) = match low == high {
            // In the middle.
            true if low == 0.0 => (-1.0, 1.0),
            true => (low - low.abs() / 10.0, high + high.abs() / 10.0),
            false => (low, high),
        };
        let step = step(high - low, most);
        let outside =
            |end: f64, ends: fn(f64) -> f64| Some(ends(end / step) * step).filter(|end| end.is_finite());
        let (low, high) = (outside(low, f64::floor).unwrap_or(low), outside(high, f64::ceil).unwrap_or(high));
        Scale { low, high, log: false, unit: Unit::Number }
    }

    /// As [`round`](Scale::round), of positive values and with as much room for each power of ten.
    pub(crate) fn logarithmic(low: f64, high: f64) -> Scale {
        let low = low.max(SMALLEST);
        let high = high.max(low);
        let down =
            *one_two_five(low).iter().rev().find(|round| **round <= low * (1.0 + 1e-9)).unwrap_or(&low);
        let up = *one_two_five(high).iter().find(|round| **round >= high * (1.0 - 1e-9)).unwrap_or(&high);
        let (down, up) = match down == up {
            true => (down / 2.0, up * 2.0),
            false => (down, up),
        };
        Scale { low: down, high: up, log: true, unit: Unit::Number }
    }

    /// How far from the low end a value lies, 0 to 1; in the middle if there is only one.
    pub(crate) fn place(&self, value: f64) -> f64 {
        let (low, high, value) = match self.log {
            true => (self.low.log10(), self.high.log10(), value.max(SMALLEST).log10()),
            false => (self.low, self.high, value),
        };
        if low == high { 0.5 } else { ((value - low) / (high - low)).clamp(0.0, 1.0) }
    }

    /// Round numbers on the scale, about `most`, in order.
    pub(crate) fn ticks(&self, most: usize) -> Vec<Tick> {
        let most = most.max(2);
        let values = match (self.log, self.unit) {
            _ if self.low == self.high => vec![self.low],
            (true, _) => self.powers(most),
            (false, Unit::Number) => self.multiples(step(self.high - self.low, most)),
            (false, Unit::Time) => self.multiples(time_step(self.high - self.low, most)),
        };
        let between =
            values.iter().zip(values.iter().skip(1)).map(|(a, b)| b - a).fold(f64::INFINITY, f64::min);
        let text = |value: f64| match self.unit {
            Unit::Number if self.log => number(value),
            Unit::Number => label(value, between),
            Unit::Time => time(value, between),
        };
        values.into_iter().map(|value| (self.place(value), text(value))).collect()
    }

    /// Both ends if they are whole numbers, so that they are known; then as [`ticks`](Scale::ticks).
    pub(crate) fn ticks_and_ends(&self, most: usize) -> Vec<Tick> {
        let whole = self.unit == Unit::Number && [self.low, self.high].iter().all(|end| end.fract() == 0.0);
        let ends = [self.low, self.high].into_iter().filter(|end| whole && end.abs() < 1e9);
        ends.map(|end| (self.place(end), format!("{end}"))).chain(self.ticks(most)).collect()
    }

    fn multiples(&self, step: f64) -> Vec<f64> {
        // A little beyond, for what a division has rounded off.
        let (first, last) = ((self.low / step - 1e-6).ceil(), (self.high / step + 1e-6).floor());
        let count = (last - first).clamp(0.0, 1000.0) as u32;
        (0..=count).map(|i| (first + f64::from(i)) * step).filter(|value| value.is_finite()).collect()
    }

    fn powers(&self, most: usize) -> Vec<f64> {
        let (low, high) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let on_scale = |value: &f64| (self.low * (1.0 - 1e-9)..=self.high * (1.0 + 1e-9)).contains(value);
        let every = |digits: &[f64], step: usize| -> Vec<f64> {
            let powers = (low..=high).filter(|power| power.rem_euclid(step as i32) == 0);
            powers
                .flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)))
                .filter(on_scale)
                .collect()
        };
        let all = every(&[1.0, 2.0, 5.0], 1);
        if all.len() <= most {
            return all;
        }
        (1..=700)
            .map(|step| every(&[1.0], step))
            .find(|powers| powers.len() <= most)
            .filter(|it| !it.is_empty())
            .unwrap_or(all)
    }
}

/// 1, 2 and 5 times the powers of ten around a value.
fn one_two_five(value: f64) -> Vec<f64> {
    let power = value.log10().floor() as i32;
    [power - 1, power, power + 1]
        .iter()
        .flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(*power)))
        .collect()
}

/// The smallest of 1, 2 and 5 times a power of ten that divides a range into fewer parts than `most`.
fn step(range: f64, most: usize) -> f64 {
    let parts = most.max(2) as f64 - 1.0;
    let least = range / parts;
    if !(least.is_finite() && least > 0.0) {
        return 1.0;
    }
    one_two_five(least).into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(least)
}

/// As [`step`], of times.
fn time_step(range: f64, most: usize) -> f64 {
    let least = range / (most.max(2) as f64 - 1.0);
    let seconds = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0].map(|seconds| seconds * MICROS);
    let minutes = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0].map(|minutes| minutes * MINUTE);
    let hours = [1.0, 2.0, 3.0, 6.0, 12.0].map(|hours| hours * HOUR);
    if least < 0.5 * MICROS {
        return step(range, most).max(1.0);
    }
    seconds.into_iter().chain(minutes).chain(hours).find(|step| *step >= least).unwrap_or_else(|| {
        // Whole days from here on.
        step(range / DAY, most).max(1.0) * DAY
    })
}

/// A number of a scale on which the next one is so far away: with as many digits as tell them apart.
fn label(value: f64, between: f64) -> String {
    let value = if value.abs() < between / 1e6 { 0.0 } else { value };
    if !between.is_finite() {
        return number(value);
    }
    let decimals = (-between.log10().floor()).clamp(0.0, 300.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.len() <= LONGEST_NUMBER {
        return text;
    }
    let digits = (value.abs().log10() - between.log10()).ceil().clamp(0.0, 15.0) as usize;
    if value == 0.0 { "0".into() } else { format!("{value:.digits$e}") }
}

/// A number to be read, with no more digits than that takes.
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".into() } else { format!("{value}") };
    }
    let rounded: f64 = format!("{value:.*e}", DIGITS - 1).parse().unwrap_or(value);
    let text = format!("{rounded}");
    if text.len() <= LONGEST_NUMBER { text } else { format!("{rounded:e}") }
}

/// A time of a scale on which the next one is so many microseconds away. In UTC, as everywhere.
fn time(micros: f64, between: f64) -> String {
    let Some(time) = timestamp(micros) else { return number(micros) };
    let format = match between {
        ..1e3 => "%H:%M:%S.%6f",
        ..MICROS => "%H:%M:%S.%3f",
        ..MINUTE => "%H:%M:%S",
        ..DAY => "%H:%M",
        _ if between.is_finite() => "%Y-%m-%d",
        _ => "%H:%M:%S",
    };
    time.strftime(format).to_string()
}

/// The day of a time, for what lies below shows hours at most.
pub(crate) fn day(micros: f64) -> Option<String> {
    timestamp(micros).map(|time| time.strftime("%Y-%m-%d").to_string())
}

fn timestamp(micros: f64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, most: usize) -> String {
        scale.ticks(most).into_iter().map(|(_, label)| label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_scale_begins_and_ends_with_a_round_number() {
        for (low, high, most, expected) in [
            (0.11, 0.93, 5, "0.0 0.5 1.0"),
            (0.11, 0.93, 6, "0.0 0.2 0.4 0.6 0.8 1.0"),
            (-3.0, 17.0, 6, "-5 0 5 10 15 20"),
            (0.0, 100.0, 6, "0 20 40 60 80 100"),
            (1e-7, 3e-7, 6, "1.0e-7 1.5e-7 2.0e-7 2.5e-7 3.0e-7"),
            (7.0, 7.0, 3, "6 7 8"),
            (0.0, 0.0, 3, "-1 0 1"),
            (
                1e15,
                1e15 + 4.0,
                5,
                "1.000000000000000e15 1.000000000000001e15 1.000000000000002e15 1.000000000000003e15 1.000000000000004e15",
            ),
        ] {
            assert_eq!(labels(Scale::round(low, high, most), most), expected, "{low} {high}");
        }
    }

    #[test]
    fn a_logarithmic_scale_has_as_much_room_for_each_power_of_ten() {
        let scale = Scale::logarithmic(0.01, 1.0);
        assert!((scale.place(0.1) - 0.5).abs() < 1e-12);
        for (low, high, most, expected) in [
            (0.11, 0.93, 5, "0.1 0.2 0.5 1"),
            (0.04, 1.1, 7, "0.02 0.05 0.1 0.2 0.5 1 2"),
            (0.04, 1.1, 6, "0.1 1"),
            (1e-8, 1.0, 4, "0.000001 0.001 1"),
            (3.0, 3.0, 4, "2 5"),
            (1.0, 1.0, 4, "0.5 1 2"),
        ] {
            assert_eq!(labels(Scale::logarithmic(low, high), most), expected, "{low} {high}");
        }
    }

    #[test]
    fn any_range_has_places_from_0_to_1_and_some_numbers() {
        for (low, high) in [(-1e300, 1e300), (5e-324, 1e300), (1e300, 1e300), (1.0, 1.0 + 1e-15), (-0.0, 0.0)]
        {
            for most in [2, 3, 8, 40] {
                for scale in [Scale::round(low, high, most), Scale::exact(low, high, Unit::Number)] {
                    let ticks = scale.ticks(most);
                    assert!(!ticks.is_empty() && ticks.len() <= 2 * most, "{low} {high} {most}: {ticks:?}");
                    for (place, text) in ticks {
                        assert!((0.0..=1.0).contains(&place) && !text.is_empty());
                    }
                    assert!([low, high].iter().all(|end| (0.0..=1.0).contains(&scale.place(*end))));
                }
            }
            if low > 0.0 {
                let ticks = Scale::logarithmic(low, high).ticks(5);
                assert!((1..=8).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            }
        }
    }

    #[test]
    fn times_are_told_as_exactly_as_they_lie_apart() {
        let noon = 1_767_873_600_000_000.0;
        for (range, most, expected) in [
            (4e6, 5, "12:00:00 12:00:01 12:00:02 12:00:03 12:00:04"),
            (2e5, 3, "12:00:00.000 12:00:00.100 12:00:00.200"),
            (3.0 * HOUR, 4, "12:00 13:00 14:00 15:00"),
            (3.0 * DAY, 4, "2026-01-09 2026-01-10 2026-01-11"),
        ] {
            let scale = Scale::exact(noon, noon + range, Unit::Time);
            assert_eq!(labels(scale, most), expected);
        }
        assert_eq!(labels(Scale::exact(noon, noon, Unit::Time), 3), "12:00:00");
        assert_eq!(day(noon).as_deref(), Some("2026-01-08"));
    }

    #[test]
    fn numbers_have_as_many_digits_as_are_worth_reading() {
        for (value, text) in [
            (0.1 + 0.2, "0.3"),
            (0.123_456_789, "0.123457"),
            (1_234_567.0, "1234570"),
            (-0.0, "0"),
            (1e-12, "1e-12"),
            (123_456_789_012.0, "1.23457e11"),
            (f64::NAN, "NaN"),
            (-0.000_123_456, "-1.23456e-4"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
