//! What goes out: data to standard output, everything else to standard error.

use std::fmt;
use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

/// Standard output, buffered: whoever writes flushes at the end, so that a failure is told.
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

impl Output {
    pub(crate) fn new() -> Output {
        Output(BufWriter::new(io::stdout().lock()))
    }

    /// One JSON document and a newline.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self, value)?;
        writeln!(self)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

/// A full disk is to be told from a full disk of the store. The kind stays: a closed pipe must be known as one.
fn named(e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("cannot write to standard output: {e}"))
}

/// Tells the user something. Where nobody listens there is nothing to be done.
pub(crate) fn say(message: impl fmt::Display) {
    let mut message = message.to_string();
    if message.contains(|c: char| c.is_control() && c != '\n') {
        message = message.split('\n').map(|line| Escaped(line).to_string()).collect::<Vec<_>>().join("\n");
    }
    let _ = writeln!(io::stderr(), "tallyfold: {message}");
}

/// Text for a terminal, with every control character as JSON would escape it.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, control)) = rest.char_indices().find(|(_, c)| c.is_control()) {
            let (before, from) = rest.split_at(at);
            write!(f, "{before}\\u{:04x}", u32::from(control))?;
            rest = from.strip_prefix(control).unwrap_or_default();
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_all_else_stays() {
        assert_eq!(Escaped("a\x1b[31mb\n\u{9b}\u{7f}").to_string(), r"a\u001b[31mb\u000a\u009b\u007f");
        assert_eq!(Escaped("Ärger:run-1 %").to_string(), "Ärger:run-1 %");
        assert_eq!(Escaped("").to_string(), "");
    }
}
