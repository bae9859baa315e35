//! JSON text over several lines, for people. Only white space is added, and colours: numbers keep their digits, members their
//! order.

use std::fmt::{Display, Write};

use super::output::Escaped;
use super::style::Style;

const INDENT: usize = 2;
/// A list without lists and objects in it stays in one line up to this length.
const LINE: usize = 80;

/// A checked value without white space between its tokens, laid out. Its first line is not indented; those behind are, by so
/// many levels at least.
pub(crate) fn pretty(json: &str, level: usize, style: Style) -> String {
    let mut layout = Layout { out: String::with_capacity(json.len() * 2), level, style, short: None };
    let mut rest = json;
    while !rest.is_empty() {
        rest = layout.token(rest);
    }
    layout.out
}

struct Layout {
    out: String,
    level: usize,
    style: Style,
    /// While a list that stays in one line is written: what is left behind it.
    short: Option<usize>,
}

impl Layout {
    /// Writes the token that a text begins with, and returns the rest.
    fn token<'a>(&mut self, text: &'a str) -> &'a str {
        let len = length(text);
        let (token, rest) = text.split_at(len);
        match token {
            "{" | "[" if rest.starts_with(['}', ']']) => {
                self.out.push_str(&text[..2]);
                return &rest[1..];
            }
            "[" if self.short.is_none() && is_short(text) => {
                self.out.push('[');
                self.short = Some(self.level);
            }
            "{" | "[" => {
                self.out.push_str(token);
                self.level += 1;
                self.line();
            }
            "]" if self.short.take().is_some() => self.out.push(']'),
            "}" | "]" => {
                self.level = self.level.saturating_sub(1);
                self.line();
                self.out.push_str(token);
            }
            "," if self.short.is_some() => self.out.push_str(", "),
            "," => {
                self.out.push(',');
                self.line();
            }
            ":" => self.out.push_str(": "),
            scalar => self.scalar(scalar, rest.starts_with(':')),
        }
        rest
    }

    fn scalar(&mut self, token: &str, key: bool) {
        let escaped = Escaped(token);
        let shown: &dyn Display = match token.as_bytes().first() {
            Some(b'"') if key => &self.style.bold(escaped),
            Some(b'"') => &self.style.green(escaped),
            Some(b't' | b'f' | b'n') => &self.style.dim(escaped),
            _ => &self.style.yellow(escaped),
        };
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{shown}");
    }

    fn line(&mut self) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', INDENT * self.level));
    }
}

/// The length of the token that a text begins with.
fn length(text: &str) -> usize {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b'{' | b'}' | b'[' | b']' | b',' | b':') => 1,
        Some(b'"') => {
            let mut at = 1;
            while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            (at + 1).min(bytes.len())
        }
        _ => text.find(['{', '}', '[', ']', ',', ':']).unwrap_or(text.len()),
    }
}

/// Whether the list that a text begins with stays in one line.
fn is_short(text: &str) -> bool {
    let mut at = 1;
    while at < text.len().min(LINE) {
        match text.as_bytes()[at] {
            b']' => return true,
            b'[' | b'{' => return false,
            _ => at += length(&text[at..]),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn plain(json: &str) -> String {
        pretty(json, 0, Style::plain())
    }

    #[test]
    fn objects_have_a_line_for_each_member_and_short_lists_one_for_all() {
        let json = r#"{"b":1.50,"a":{"x":[1,"]",null],"e":{},"l":[]},"n":[[1],{"k":true}]}"#;
        let expected = "{\n  \"b\": 1.50,\n  \"a\": {\n    \"x\": [1, \"]\", null],\n    \"e\": {},\n    \"l\": []\n  },\n  \"n\": [\n    \
                        [1],\n    {\n      \"k\": true\n    }\n  ]\n}";
        assert_eq!(plain(json), expected);
        assert_eq!(pretty("[[1],2]", 1, Style::plain()), "[\n    [1],\n    2\n  ]");
        assert_eq!(plain("-0.0"), "-0.0");
        let long = format!("[{}]", ["12345678"; 12].join(","));
        assert_eq!(plain(&long).lines().count(), 14);
    }

    #[test]
    fn nothing_but_white_space_is_added_and_control_characters_are_escaped() {
        for json in [
            r#"{"a\"b":"c\\","d":"{[,:]}","e":[true,false,null,1E5,-1e-7,"\u00e4ß🦀"]}"#,
            r#""\\\"""#,
            r#"[[[[]]],[{"":""}]]"#,
            "12345678901234567890123",
        ] {
            let laid_out = plain(json);
            let read: Value = serde_json::from_str(&laid_out).unwrap();
            assert_eq!(read, serde_json::from_str::<Value>(json).unwrap(), "{laid_out}");
        }
        assert_eq!(plain("\"a\u{7f}\""), r#""a\u007f""#);
    }
}
