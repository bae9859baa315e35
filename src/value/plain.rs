//! The quick way to see that a text is a value: one pass that knows the JSON people write and leaves the rest to serde_json.

/// Appends `text` to `out` without the white space between its tokens, if it is plainly a value.
///
/// `false` says nothing about the text but that it takes a closer look, and leaves any bytes behind those that were in `out`.
/// What is not plain: `\u`, keys with an escape or a `$` in front (they may be reserved), numbers that may be out of range,
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
                    if self.token()? == if object { b'}' } else { b']' } {
                        // It is closed below.
                    } else {
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
                    return if self.token().is_none() { Some(()) } else { None };
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
                    _ => return None,
                },
                _ => return None,
            }
        }
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

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        if !self.bytes[self.at..].starts_with(literal) {
            return None;
        }
        self.at += literal.len();
        Some(())
    }

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
