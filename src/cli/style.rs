//! Colours and weights, for a terminal that shows them and a user who wants them.

use std::env;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use clap::ValueEnum;
use serde::Deserialize;

/// When output has colours. On a terminal, unless the variable NO_COLOR is set; also into a pipe; nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// What the user has chosen. Said once, before anything is printed.
static CHOSEN: OnceLock<Color> = OnceLock::new();

pub(crate) fn choose(color: Color) {
    let _ = CHOSEN.set(color);
}

/// How one of the two outputs shows text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colors: bool,
}

impl Style {
    pub(crate) fn stdout() -> Style {
        Style { colors: colors(io::stdout().is_terminal()) }
    }

    /// Without colours.
    #[cfg(test)]
    pub(crate) fn plain() -> Style {
        Style { colors: false }
    }

    /// Whether there are colours at all.
    pub(crate) fn has_colors(self) -> bool {
        self.colors
    }

    pub(crate) fn dim<T: fmt::Display>(self, text: T) -> Styled<T> {
        self.with("2", text)
    }

    pub(crate) fn bold<T: fmt::Display>(self, text: T) -> Styled<T> {
        self.with("1", text)
    }

    pub(crate) fn red<T: fmt::Display>(self, text: T) -> Styled<T> {
        self.with("31", text)
    }

    pub(crate) fn yellow<T: fmt::Display>(self, text: T) -> Styled<T> {
        self.with("33", text)
    }

    pub(crate) fn green<T: fmt::Display>(self, text: T) -> Styled<T> {
        self.with("32", text)
    }

    fn with<T>(self, code: &'static str, text: T) -> Styled<T> {
        Styled { code: self.colors.then_some(code), text }
    }
}

/// See <https://no-color.org>: what the variable says does not count, only that it says something.
fn colors(terminal: bool) -> bool {
    match CHOSEN.get().copied().unwrap_or(Color::Auto) {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
            terminal && !set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Text with its colour.
pub(crate) struct Styled<T> {
    code: Option<&'static str>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Styled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            // ECMA-48, Select Graphic Rendition.
            Some(code) => {
                write!(f, "\x1b[{code}m")?;
                self.text.fmt(f)?;
                f.write_str("\x1b[0m")
            }
            None => self.text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_its_width_with_colours_and_is_itself_without() {
        let (colored, plain) = (Style { colors: true }, Style { colors: false });
        assert_eq!(format!("{:>4}", colored.red("ab")), "\x1b[31m  ab\x1b[0m");
        assert_eq!(format!("{:<4}", plain.red("ab")), "ab  ");
    }
}
