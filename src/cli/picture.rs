//! What was drawn into a buffer, as lines of text.

use std::fmt::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use ratatui::text::Span;

/// The lines of a buffer, each with a newline and without blanks at its end; with their colours if asked for.
pub(crate) fn text(buffer: &Buffer, colors: bool) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        line(buffer, y, colors, &mut text);
        text.push('\n');
    }
    text
}

fn line(buffer: &Buffer, y: u16, colors: bool, text: &mut String) {
    let cells: Vec<&Cell> = (buffer.area.left()..buffer.area.right()).map(|x| &buffer[(x, y)]).collect();
    let end = cells.iter().rposition(|cell| cell.symbol() != " ").map_or(0, |last| last + 1);
    let mut shown = String::new();
    let mut hidden = 0;
    for cell in cells.into_iter().take(end) {
        if hidden > 0 {
            // It lies under a wide character.
            hidden -= 1;
            continue;
        }
        hidden = Span::raw(cell.symbol()).width().saturating_sub(1);
        let wanted = if colors && cell.symbol() != " " { code(cell) } else { String::new() };
        if wanted != shown {
            // Writing to memory does not fail.
            let _ = write!(text, "\x1b[0{wanted}m");
            shown = wanted;
        }
        text.push_str(cell.symbol());
    }
    if !shown.is_empty() {
        text.push_str("\x1b[0m");
    }
}

/// What follows the 0 of a Select Graphic Rendition (ECMA-48).
fn code(cell: &Cell) -> String {
    let style = cell.style();
    let mut code = String::new();
    for (modifier, number) in [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::REVERSED, 7)] {
        if style.add_modifier.contains(modifier) {
            let _ = write!(code, ";{number}");
        }
    }
    let foreground = match style.fg {
        Some(Color::Red) => 31,
        Some(Color::Green) => 32,
        Some(Color::Yellow) => 33,
        Some(Color::Blue) => 34,
        Some(Color::Magenta) => 35,
        Some(Color::Cyan) => 36,
        _ => return code,
    };
    let _ = write!(code, ";{foreground}");
    code
}

/// Takes the colours away, and leaves what is bold, dim or reversed.
pub(crate) fn without_colors(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        cell.fg = Color::Reset;
        cell.bg = Color::Reset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    fn picture() -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 2));
        buffer.set_string(1, 0, "ab", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        buffer.set_string(0, 1, "界c", Style::new());
        buffer
    }

    #[test]
    fn lines_are_as_long_as_what_is_in_them_and_wide_characters_hide_what_lies_under_them() {
        assert_eq!(text(&picture(), false), " ab\n界c\n");
    }

    #[test]
    fn colours_begin_and_end_where_the_text_does() {
        assert_eq!(text(&picture(), true), " \x1b[0;1;31mab\x1b[0m\n界c\n");
        let mut plain = picture();
        without_colors(&mut plain);
        assert_eq!(text(&plain, true), " \x1b[0;1mab\x1b[0m\n界c\n");
    }
}
