//! Numbers as text: compared exactly, and added.

use std::cmp::Ordering;

/// Compares two finite JSON numbers by what they are, however many digits they have: `1.0` equals `1`, and 2⁵³ + 1 is more than
/// 2⁵³. So it is a total order, which a comparison of doubles is not as soon as some are compared as integers.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Decimal::of(a), Decimal::of(b));
    match (a.sign(), b.sign()) {
        (-1, -1) => b.magnitude(&a),
        (1, 1) => a.magnitude(&b),
        (a, b) => a.cmp(&b),
    }
}

/// The sum as the text of a number. Two integers give their exact sum as long as it has at most 38 digits; anything else is
/// added as doubles. `None`: the sum is beyond the largest double.
pub(crate) fn add(a: &str, b: &str) -> Option<String> {
    if let (Ok(a), Ok(b)) = (a.parse::<i128>(), b.parse::<i128>())
        && let Some(sum) = a.checked_add(b)
    {
        return Some(sum.to_string());
    }
    let sum = double(a) + double(b);
    sum.is_finite().then(|| text(sum))
}

/// The shortest decimal that reads as this double, which is finite: `101.0`, `0.0001`, `1.5e-7`. Spelled here, for a sum that
/// another version spells differently would be another state.
fn text(double: f64) -> String {
    let scientific = format!("{double:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        // Rust writes these without an exponent, and an integer without its fraction.
        Ok(-4..16) => format!("{double:?}"),
        _ => format!("{mantissa}e{exponent}"),
    }
}

/// The nearest double.
fn double(number: &str) -> f64 {
    // The grammar of JSON numbers is a part of Rust's.
    number.parse().unwrap_or(f64::NAN)
}

/// ± 0.d₁d₂d₃… · 10^exponent, d₁ ≠ 0; no digits: zero.
struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Decimal<'a> {
    fn of(text: &'a str) -> Decimal<'a> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // An exponent beyond 64 bits stands behind a zero or in a number as good as zero: append refuses those out of range.
        let beyond = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse().unwrap_or(beyond).clamp(i64::MIN / 2, i64::MAX / 2);
        let whole = trim_start(whole.as_bytes());
        let (fraction, below) = match whole {
            [] => (trim_start(fraction.as_bytes()), fraction.len()),
            _ => (fraction.as_bytes(), 0),
        };
        let exponent = exponent + whole.len() as i64 - (below - below.min(fraction.len())) as i64;
        Decimal { negative, whole, fraction, exponent }
    }

    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.whole.iter().chain(self.fraction).copied()
    }

    fn sign(&self) -> i8 {
        match (self.digits().all(|digit| digit == b'0'), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// Compares what is left without the signs; neither is zero.
    fn magnitude(&self, other: &Decimal<'_>) -> Ordering {
        self.exponent.cmp(&other.exponent).then_with(|| {
            let len = (self.whole.len() + self.fraction.len()).max(other.whole.len() + other.fraction.len());
            let padded = |decimal: &Decimal<'_>| -> Vec<u8> {
                decimal.digits().chain(std::iter::repeat(b'0')).take(len).collect()
            };
            padded(self).cmp(&padded(other))
        })
    }
}

fn trim_start(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::QuickCheck;

    #[test]
    fn numbers_are_compared_by_what_they_are() {
        let ascending = [
            "-1e308",
            "-123456789012345678901234567890",
            "-2.5",
            "-1",
            "-1e-999999999999999999999",
            "0",
            "1e-400",
            "0.001",
            "0.0010000000000000000000001",
            "0.1",
            "1",
            "1.0000000000000000000001",
            "9007199254740992",
            "9007199254740992.5",
            "9007199254740993",
            "123456789012345678901234567890",
            "123456789012345678901234567891",
            "1e300",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        for equal in [
            ["0", "-0.0"],
            ["0e5", "0"],
            ["1", "1.000"],
            ["100", "1E2"],
            ["0.05", "5e-2"],
            ["0.050", "0.5e-1"],
            ["12.5e1", "125"],
        ] {
            assert_eq!(compare(equal[0], equal[1]), Ordering::Equal, "{equal:?}");
        }
    }

    #[test]
    fn doubles_are_compared_as_doubles_are() {
        fn holds(a: f64, b: f64) -> bool {
            !(a.is_finite() && b.is_finite())
                || Some(compare(&serde_json::to_string(&a).unwrap(), &serde_json::to_string(&b).unwrap()))
                    == a.partial_cmp(&b)
        }
        QuickCheck::new().tests(5_000).quickcheck(holds as fn(f64, f64) -> bool);
    }

    #[test]
    fn a_sum_reads_as_the_double_that_it_is() {
        fn holds(a: f64, b: f64) -> bool {
            let sum = a + b;
            !sum.is_finite() || text(sum).parse::<f64>().is_ok_and(|read| read.to_bits() == sum.to_bits())
        }
        QuickCheck::new().tests(5_000).quickcheck(holds as fn(f64, f64) -> bool);
    }

    #[test]
    fn integers_are_added_exactly_and_everything_else_as_doubles() {
        for (a, b, sum) in [
            ("1", "2", Some("3")),
            ("18446744073709551615", "1", Some("18446744073709551616")),
            ("-5", "5", Some("0")),
            ("-0", "0", Some("0")),
            ("0.1", "0.2", Some("0.30000000000000004")),
            ("1", "0.5", Some("1.5")),
            ("1e2", "1", Some("101.0")),
            ("170141183460469231731687303715884105727", "1", Some("1.7014118346046923e38")),
            ("0.0001", "0", Some("0.0001")),
            ("0.00001", "0", Some("1e-5")),
            ("1e-7", "5e-8", Some("1.5e-7")),
            ("-1e16", "0.0", Some("-1e16")),
            ("1e15", "0.0", Some("1000000000000000.0")),
            ("-0.0", "-0.0", Some("-0.0")),
            ("1e308", "1e308", None),
        ] {
            assert_eq!(add(a, b).as_deref(), sum, "{a} + {b}");
        }
    }
}
