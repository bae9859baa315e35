//! How NaN and the infinities stand in JSON text: the spelling, and the flag put on and taken off a
//! text.

use super::check::{Quoted, strings};
use std::borrow::Cow;

/// What a string that stands as a value means under the flag.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning<'a> {
    /// A number that JSON cannot write.
    Number(f64),
    /// A string: this one, its extra `~` removed.
    Text(&'a str),
}

/// The string that stands for a number, or `None` for a finite one, which needs none.
pub(super) fn spelling(number: f64) -> Option<&'static str> {
    if number.is_nan() {
        Some("NaN")
    } else if number == f64::INFINITY {
        Some("Infinity")
    } else if number == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}

/// The number that a string stands for: the inverse of [`spelling`].
fn number(string: &str) -> Option<f64> {
    match string {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Whether a string matches `~*(NaN|Infinity|-Infinity)`: a genuine one carries an extra `~` under
/// the flag.
fn looks_alike(string: &str) -> bool {
    number(string.trim_start_matches('~')).is_some()
}

/// What a string that stands as a value means under the flag.
pub(crate) fn meaning(string: &str) -> Meaning<'_> {
    if let Some(number) = number(string) {
        return Meaning::Number(number);
    }
    match string.strip_prefix('~') {
        Some(rest) if looks_alike(rest) => Meaning::Text(rest),
        _ => Meaning::Text(string),
    }
}

/// Whether a text under the flag holds a number that JSON cannot write.
pub(crate) fn has_nonfinite(text: &str) -> bool {
    strings(text)
        .filter(|string| !string.is_key)
        .any(|string| string.meaning().is_some_and(|it| number(&it).is_some()))
}

/// Puts a text without the flag under the flag: one more `~` for every string value that could be
/// taken for a number.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    escape_except(text, &[])
}

/// [`escape`] for a text in which the strings that begin at `numbers`, sorted, already stand for
/// numbers.
pub(super) fn escape_except<'a>(text: &'a str, numbers: &[usize]) -> Cow<'a, str> {
    respell(text, |string| {
        let genuine = numbers.binary_search(&string.start).is_err();
        (genuine && looks_alike(&string.meaning()?)).then_some((0, "~"))
    })
}

/// Takes a text from under the flag: the inverse of [`escape`]. Only for a text that
/// [`has_nonfinite`] finds none in; in any other, numbers and strings would become one.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    respell(text, |string| {
        let meaning = string.meaning()?;
        looks_alike(meaning.strip_prefix('~')?).then(|| {
            // Text that came as JSON may spell its `~` out: \u007e.
            let literal = string.text.starts_with("\"~");
            (if literal { 1 } else { r"\u007e".len() }, "")
        })
    })
}

/// Copies a text; of each string value for which `change` answers, so many bytes behind the opening
/// quote are replaced. They must be ASCII.
fn respell<'a>(text: &'a str, change: impl Fn(&Quoted<'_>) -> Option<(usize, &'static str)>) -> Cow<'a, str> {
    let mut out = String::new();
    let mut copied = 0;
    for string in strings(text).filter(|string| !string.is_key) {
        if let Some((replaced, by)) = change(&string) {
            let inside = string.start + 1;
            // A quote and ASCII bytes inside the string are all that lies between the ends of these
            // slices and of the string, so they cannot split a character or lie outside the text.
            out.push_str(&text[copied..inside]);
            out.push_str(by);
            copied = inside + replaced;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::super::samples::Mutated;
    use super::*;
    use quickcheck::QuickCheck;

    #[test]
    fn every_string_is_told_from_every_number() {
        for (string, number) in
            [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)]
        {
            assert_eq!(spelling(number), Some(string));
            assert!(matches!(meaning(string), Meaning::Number(it) if it.total_cmp(&number).is_eq()));
        }
        for (under_flag, genuine) in [
            ("~NaN", "NaN"),
            ("~~NaN", "~NaN"),
            ("~~~-Infinity", "~~-Infinity"),
            ("~Infinity", "Infinity"),
            ("~", "~"),
            ("", ""),
            ("~nan", "~nan"),
            ("NaN~", "NaN~"),
            ("~ NaN", "~ NaN"),
            ("+Infinity", "+Infinity"),
            ("-NaN", "-NaN"),
        ] {
            assert_eq!(meaning(under_flag), Meaning::Text(genuine));
        }
        assert_eq!(spelling(f64::MAX), None);
        assert_eq!(spelling(-0.0), None);
    }

    #[test]
    fn a_text_comes_under_the_flag_and_back_unchanged() {
        fn holds(it: Mutated) -> bool {
            let escaped = escape(&it.0);
            !has_nonfinite(&escaped) && unescape(&escaped) == it.0
        }
        QuickCheck::new().tests(10_000).quickcheck(holds as fn(Mutated) -> bool);
    }

    #[test]
    fn values_are_escaped_and_keys_are_not() {
        let text = r#"{"NaN":"NaN","~NaN":["~NaN","x"],"a":{"Infinity" : "-Infinity"}}"#;
        let flagged = r#"{"NaN":"~NaN","~NaN":["~~NaN","x"],"a":{"Infinity" : "~-Infinity"}}"#;
        assert_eq!(escape(text), flagged);
        assert_eq!(unescape(flagged), text);
        assert!(has_nonfinite(text));
        assert!(!has_nonfinite(flagged));
    }

    #[test]
    fn a_string_counts_as_what_it_means_however_it_is_written() {
        assert!(has_nonfinite(r#"["N\u0061N"]"#));
        assert_eq!(escape(r#"["N\u0061N"]"#), r#"["~N\u0061N"]"#);
        assert_eq!(unescape(r#"["\u007EN\u0061N"]"#), r#"["N\u0061N"]"#);
        assert_eq!(unescape(r#"["\u007e~NaN"]"#), r#"["~NaN"]"#);
    }

    #[test]
    fn what_needs_no_tilde_is_borrowed() {
        for text in [r#"{"NaN":"nan","a":"~"}"#, "12", "", "\"open", "\"\\"] {
            assert!(matches!(escape(text), Cow::Borrowed(it) if it == text));
            assert!(matches!(unescape(text), Cow::Borrowed(it) if it == text));
        }
    }

    #[test]
    fn strings_that_stand_for_numbers_are_left_alone() {
        let text = r#"["NaN","NaN","NaN"]"#;
        assert_eq!(escape_except(text, &[1, 13]), r#"["NaN","~NaN","NaN"]"#);
    }
}
