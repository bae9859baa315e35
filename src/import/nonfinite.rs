//! The words `NaN`, `Infinity` and `-Infinity` that stand bare in the JSON of Python and others.

use std::borrow::Cow;

use crate::value;

const WORDS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The text with these words in quotes where they stand as values, and where in it those quotes begin. Everything else stays,
/// also what is no JSON: whoever checks it says so.
pub(super) fn quoted(text: &str) -> (Cow<'_, str>, Vec<usize>) {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return (Cow::Borrowed(text), Vec::new());
    }
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut starts = Vec::new();
    let (mut at, mut copied) = (0, 0);
    // Whether a value may begin here: behind `[`, `:`, `,`, or at the very beginning.
    let mut begins = true;
    while let Some(&byte) = bytes.get(at) {
        let word = WORDS.iter().find(|word| begins && bytes[at..].starts_with(word.as_bytes()));
        if let Some(word) = word
            && ends_a_value(&bytes[at + word.len()..])
        {
            out.push_str(&text[copied..at]);
            starts.push(out.len());
            out.extend(["\"", word, "\""]);
            at += word.len();
            copied = at;
            begins = false;
            continue;
        }
        match byte {
            b'"' => at = value::string_end(text, at),
            _ => at += 1,
        }
        begins = match byte {
            b'[' | b':' | b',' => true,
            b' ' | b'\t' | b'\n' | b'\r' => begins,
            _ => false,
        };
    }
    if starts.is_empty() {
        return (Cow::Borrowed(text), starts);
    }
    out.push_str(&text[copied..]);
    (Cow::Owned(out), starts)
}

/// Whether what follows a value may stand there. A name is followed by a colon, so it is none.
fn ends_a_value(rest: &[u8]) -> bool {
    let next = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    matches!(next, None | Some(b',' | b']' | b'}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::QuickCheck;

    #[test]
    fn bare_words_that_stand_as_values_get_quotes_and_nothing_else_changes() {
        for (text, expected, starts) in [
            ("NaN", r#""NaN""#, vec![0]),
            (
                r#"{"a": NaN, "NaN": [-Infinity ,Infinity]}"#,
                r#"{"a": "NaN", "NaN": ["-Infinity" ,"Infinity"]}"#,
                vec![6, 21, 34],
            ),
            (r#"["é\"NaN",NaN]"#, r#"["é\"NaN","NaN"]"#, vec![11]),
            (r#""NaN""#, r#""NaN""#, vec![]),
            ("{NaN:1}", "{NaN:1}", vec![]),
            ("[-NaN]", "[-NaN]", vec![]),
            ("[1NaN]", "[1NaN]", vec![]),
            ("[NaN1]", "[NaN1]", vec![]),
            ("[NaN NaN]", "[NaN NaN]", vec![]),
            (r#"["NaN"#, r#"["NaN"#, vec![]),
        ] {
            let (quoted, found) = quoted(text);
            assert_eq!((&*quoted, &found), (expected, &starts), "{text}");
            assert!(found.iter().all(|at| quoted[*at..].starts_with('"')), "{text}");
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        fn holds(parts: Vec<u8>) -> bool {
            let tokens =
                ["NaN", "Infinity", "-Infinity", "\"", "\\", "[", "]", "{", "}", ":", ",", " ", "é", "1"];
            let text: String = parts.iter().map(|part| tokens[*part as usize % tokens.len()]).collect();
            let (quoted, starts) = quoted(&text);
            quoted.len() == text.len() + 2 * starts.len()
        }
        QuickCheck::new().tests(20_000).quickcheck(holds as fn(Vec<u8>) -> bool);
    }
}
