//! The quick way to see that a text is a value: one pass that knows the JSON people write and leaves the rest to serde_json.

/// Appends `text` to `out` without the white space between its tokens, if it is plainly a value.
///
/// `false` says nothing about the text but that it takes a closer look, and leaves any bytes behind those that were in `out`.
/// What is not plain: keys with an escape or a `$` in front (they may be reserved), numbers that may be out of range,
/// deep nesting, and whatever is no value at all.
pub(super) fn copy_plain(text: &str, out: &mut Vec<u8>) -> bool {
    let mut pass = Pass { bytes: text.as_bytes(), at: 0, copied: 0, out };
    let plain = pass.value().is_some();
    if plain {
        pass.keep();
    }
    plain
}

/// Whether a text is plainly a value and has no white space between its tokens.
pub(super) fn is_plain(text: &str) -> bool {
    let mut out = Vec::new();
    let mut pass = Pass { bytes: text.as_bytes(), at: 0, copied: 0, out: &mut out };
    pass.value().is_some() && pass.copied == 0
}

/// The place of the pass in a text, and what it has copied.
struct Pass<'a> {
    bytes: &'a [u8],
    /// Everything before has been seen.
    at: usize,
    /// Everything before is in `out`, or is white space.
    copied: usize,
    out: &'a mut Vec<u8>,
}

/// A [`Stack`] holds so many; serde_json would take 127.
const DEEPEST: u32 = 63;

/// With so many digits before the point and two in the exponent, a number is below 10³⁰⁰: in range for an f64.
const MOST_DIGITS: usize = 200;

/// The same byte eight times.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The objects and arrays that are open: a bit for each, the innermost last, behind a first one.
struct Stack(u64);

impl Stack {
    fn push(&mut self, object: bool) -> Option<()> {
        if self.0 >> DEEPEST != 0 {
            return None;
        }
        self.0 = self.0 << 1 | u64::from(object);
        Some(())
    }
}

impl Pass<'_> {
    /// A value and nothing behind it. `None` as everywhere here: not plain.
    fn value(&mut self) -> Option<()> {
        let mut open = Stack(1);
        loop {
            // Here a value begins.
            match self.token()? {
                b'"' => self.string()?,
                first @ (b'{' | b'[') => {
                    let object = first == b'{';
                    open.push(object)?;
                    self.at += 1;
                    let empty = self.token()? == if object { b'}' } else { b']' };
                    if !empty {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => self.number()?,
            }
            // Here one has ended.
            loop {
                if open.0 == 1 {
                    return self.token().is_none().then_some(());
                }
                let object = open.0 & 1 == 1;
                match self.token()? {
                    b',' => {
                        self.at += 1;
                        if object {
                            self.token()?;
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if object => open.0 >>= 1,
                    b']' if !object => open.0 >>= 1,
                    _ => return None,
                }
                self.at += 1;
            }
        }
    }

    /// The first byte of the next token. `None` at the end of the text.
    fn token(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte > b' ' { Some(byte) } else { self.token_behind_white() }
    }

    /// [`Pass::token`] where the byte is none of a token.
    fn token_behind_white(&mut self) -> Option<u8> {
        self.keep();
        let behind = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let white = self.bytes[self.at..].iter().position(behind);
        self.at = white.map_or(self.bytes.len(), |white| self.at + white);
        self.copied = self.at;
        self.bytes.get(self.at).copied()
    }

    /// Copies what has been seen.
    fn keep(&mut self) {
        self.out.extend_from_slice(&self.bytes[self.copied..self.at]);
        self.copied = self.at;
    }

    /// A key and its colon.
    fn key(&mut self) -> Option<()> {
        let start = self.at;
        if self.bytes.get(start) != Some(&b'"') || self.bytes.get(start + 1) == Some(&b'$') {
            return None;
        }
        self.at += 1;
        // Keys and runs of digits are short: byte by byte is quicker than eight at once.
        while !matches!(self.bytes.get(self.at)?, b'"' | b'\\' | ..0x20) {
            self.at += 1;
        }
        if self.bytes[self.at] != b'"' {
            return None;
        }
        self.at += 1;
        if self.token()? != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// A string that is no key.
    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            self.run();
            match self.bytes.get(self.at)? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => match self.bytes.get(self.at + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
                    b'u' => self.character()?,
                    _ => return None,
                },
                _ => return None,
            }
        }
    }

    /// A character by its number, or by the two halves of it: so Python writes whatever is not ASCII.
    fn character(&mut self) -> Option<()> {
        let second = match self.unit()? {
            0xd800..=0xdbff => self.unit()?,
            0xdc00..=0xdfff => return None,
            _ => return Some(()),
        };
        matches!(second, 0xdc00..=0xdfff).then_some(())
    }

    /// `\u` and four digits.
    fn unit(&mut self) -> Option<u32> {
        let unit = self.bytes.get(self.at..self.at + 6)?;
        let digits = unit.strip_prefix(b"\\u")?;
        self.at += 6;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }

    /// Goes on to the next byte that cannot stand in a string as itself.
    fn run(&mut self) {
        while let Some(chunk) = self.bytes[self.at..].first_chunk() {
            let word = u64::from_le_bytes(*chunk);
            let below = |word: u64, bound: u8| word.wrapping_sub(eight(bound)) & !word & eight(0x80);
            let found = below(word, 0x20) | below(word ^ eight(b'"'), 1) | below(word ^ eight(b'\\'), 1);
            if found != 0 {
                // A borrow can only have touched bytes above the first one found.
                self.at += found.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        while self.bytes.get(self.at).is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
            self.at += 1;
        }
    }

    /// This literal.
    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        if !self.bytes[self.at..].starts_with(literal) {
            return None;
        }
        self.at += literal.len();
        Some(())
    }

    /// A number, or nothing that is plain: what begins no other value comes here.
    fn number(&mut self) -> Option<()> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let zero = self.bytes.get(self.at) == Some(&b'0');
        let digits = self.digits()?;
        if digits > MOST_DIGITS || zero && digits > 1 {
            return None;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits()? > 2 {
                return None;
            }
        }
        Some(())
    }

    /// Goes behind a run of digits and counts them: one or more.
    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::{compact, verify};
    use super::super::samples::{Json, Mutated};
    use super::*;
    use quickcheck::{Arbitrary, Gen, QuickCheck};
    use std::borrow::Cow;

    /// The text as copied, if it is plain.
    fn copied(text: &str) -> Option<String> {
        let mut out = Vec::new();
        copy_plain(text, &mut out).then(|| String::from_utf8(out).unwrap())
    }

    /// Whether the quick way lets pass only what the thorough one does, and as the same text.
    fn agrees(text: &str) -> bool {
        let compacted = compact(text);
        let copied = copied(text);
        let sound = copied.as_ref().is_none_or(|it| *it == compacted && verify(text).is_ok());
        sound && is_plain(text) == (copied.is_some() && matches!(compacted, Cow::Borrowed(_)))
    }

    /// Tokens in any order, whole and broken: more of this is nearly JSON than of any bytes.
    #[derive(Clone, Debug)]
    struct Soup(String);

    impl Arbitrary for Soup {
        fn arbitrary(g: &mut Gen) -> Soup {
            let tokens = "{ } [ ] : , \" \" \"a\" \"a\": \"$serde_json::private::Number\": \\ \\n \\u0041 \\\" - + . 0 1 12 e E e9 e400 \
                          true false null tru \u{1f} \u{7f} é 🦀";
            let tokens: Vec<&str> = tokens.split(' ').chain([" ", "\n", "\t\r", "\u{b}", "\u{a0}"]).collect();
            Soup((0..u8::arbitrary(g) % 12).map(|_| *g.choose(&tokens).unwrap()).collect())
        }
    }

    #[test]
    fn what_is_plain_is_a_value_and_copied_as_such() {
        QuickCheck::new().tests(60_000).quickcheck((|it: Mutated| agrees(&it.0)) as fn(Mutated) -> bool);
        QuickCheck::new().tests(30_000).quickcheck((|it: Json| agrees(&it.0)) as fn(Json) -> bool);
        QuickCheck::new().tests(200_000).quickcheck((|it: Soup| agrees(&it.0)) as fn(Soup) -> bool);
    }

    #[test]
    fn every_short_text_is_judged_right() {
        let mut plain = 0;
        for (alphabet, len) in [
            ("{}[]\":, a1", 6),
            ("-+.eE019 ", 6),
            ("\"\\u/n$\u{1f}é", 6),
            ("\"\\u0dD8g", 7),
            ("{\"a\\$\": }", 6),
        ] {
            let alphabet: Vec<char> = alphabet.chars().collect();
            let texts = (1..=len).map(|len| alphabet.len().pow(len)).sum();
            for mut number in 0..=texts {
                let mut text = String::new();
                while number > 0 {
                    text.push(alphabet[(number - 1) % alphabet.len()]);
                    number = (number - 1) / alphabet.len();
                }
                assert!(agrees(&text), "{text:?}");
                plain += usize::from(copied(&text).is_some());
            }
        }
        assert!(plain > 10_000, "{plain} were plain");
    }

    #[test]
    fn every_character_at_every_place_is_judged_right() {
        let texts =
            ["\"0123456789abcdefghi\"", "{\"0123456789abcdefg\" :1}", "[-1234567890.1234567890e-12, 9]"];
        for text in texts {
            assert_eq!(copied(text).as_deref(), Some(&*compact(text)), "{text}");
            for at in 0..text.len() {
                for character in ('\0'..='\u{ff}').chain(['🦀', '\u{2028}']) {
                    let odd = format!("{}{character}{}", &text[..at], &text[at + 1..]);
                    assert!(agrees(&odd), "{odd:?}");
                }
                assert!(agrees(&text[..at]), "{}", &text[..at]);
            }
        }
    }

    #[test]
    fn every_half_of_a_character_is_judged_right_alone_and_in_pairs() {
        for unit in 0..=0xffffu32 {
            let mut texts = vec![format!("\"\\u{unit:04x}\""), format!("\"\\u{unit:04X}z\"")];
            for other in [0x41, 0xd7ff, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xe000] {
                texts.push(format!("\"\\u{unit:04x}\\u{other:04x}\""));
            }
            for text in texts {
                assert!(agrees(&text), "{text}");
                assert_eq!(copied(&text).is_some(), verify(&text).is_ok(), "{text}");
            }
        }
    }

    #[test]
    fn usual_json_is_plain() {
        let texts = [
            r#"{"run_id":"run-0042","step":1234,"loss":0.123456,"ts":1767871234.123}"#,
            r#"{"run_id": "run-0042", "tags": ["a", "b c"], "best": null, "done": false, "on": true}"#,
            r#" [ -0, -1.5, 1e9, 2E-07, 1e+10, 18446744073709551616, {}, [], "", {"": {}} ] "#,
            r#"["a \"word\"","C:\\dir\/","\b\f\n\r\t","$","é 🦀","a string of more than eight bytes"]"#,
            r#"["\u00e9t\u00C9","\ud83e\udd80","\u0000\uffff"]"#,
            "{\n  \"a\": [\n    1,\n    2\n  ]\n}\n",
            "null",
        ];
        for text in texts {
            assert_eq!(copied(text).as_deref(), Some(&*compact(text)), "{text}");
            assert!(verify(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_needs_a_closer_look_is_not_plain() {
        let deep = |depth| "[".repeat(depth) + &"]".repeat(depth);
        let object = |depth| r#"{"a":"#.repeat(depth) + "1" + &"}".repeat(depth);
        for depth in 1..=DEEPEST as usize {
            assert!(is_plain(&deep(depth)) && is_plain(&object(depth)), "{depth}");
        }
        let digits = |count| "9".repeat(count);
        assert!(is_plain(&digits(MOST_DIGITS)) && is_plain(&(digits(MOST_DIGITS) + "e99")));
        let closer = [
            deep(DEEPEST as usize + 1),
            object(DEEPEST as usize + 1),
            deep(128),
            deep(1_000_000),
            // Not closed: the bit of the object must not be taken for the first one.
            r#"{"a":"#.to_owned() + &deep(DEEPEST as usize),
            digits(MOST_DIGITS + 1),
            "1e100".into(),
            r#"{"$":1}"#.into(),
            r#"{"\n":1}"#.into(),
            r#"{"\u0041":1}"#.into(),
            r#""\ud83e""#.into(),
            r#""\ud83e\u0041""#.into(),
            r#""\udd80\ud83e""#.into(),
            r#""\u00+1""#.into(),
        ];
        for text in closer {
            assert!(agrees(&text) && copied(&text).is_none(), "{text}");
        }
    }
}
