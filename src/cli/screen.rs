//! The whole terminal for one picture after another, and what is pressed meanwhile. It is given back whatever happens.

use std::io::{self, IsTerminal, Stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::crossterm::{cursor, execute};
use ratatui::layout::Rect;

use super::exit::{self, Failure};
use super::interrupt::{self, Farewell};
use super::picture;
use super::style::Style;

/// How long to look for a key before it is asked whether the command is to end.
const NAP: Duration = Duration::from_millis(50);

/// Whether the terminal is ours and has to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, until this is dropped.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    colors: bool,
    _farewell: Farewell,
}

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Letter(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Escape,
    /// The terminal has another size now, or something was pressed that means nothing.
    Other,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If it cannot be drawn on.
    pub(crate) fn take() -> Result<Screen, Failure> {
        let refused = |e: io::Error| Failure::new(exit::FAILURE, format!("the terminal cannot be used: {e}"));
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            // First, so that what went wrong can be read.
            give_back();
            before(panic);
        }));
        let farewell = interrupt::farewell(give_back);
        TAKEN.store(true, Ordering::SeqCst);
        let taken = terminal::enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, cursor::Hide))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match taken {
            Ok(terminal) => {
                Ok(Screen { terminal, colors: Style::stdout().has_colors(), _farewell: farewell })
            }
            Err(e) => {
                give_back();
                Err(refused(e))
            }
        }
    }

    /// Draws a picture of the terminal's size.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(crate) fn draw(&mut self, render: impl FnOnce(Rect, &mut Buffer)) -> Result<(), Failure> {
        let colors = self.colors;
        self.terminal.draw(|frame| {
            let area = frame.area();
            render(area, frame.buffer_mut());
            if !colors {
                picture::without_colors(frame.buffer_mut());
            }
        })?;
        Ok(())
    }

    /// What is pressed next, within a time.
    ///
    /// # Errors
    /// Ctrl-C; or that the terminal is gone.
    pub(crate) fn key(&mut self, timeout: Duration) -> Result<Option<Key>, Failure> {
        let mut left = timeout;
        loop {
            interrupt::check()?;
            let nap = left.min(NAP);
            if event::poll(nap)? {
                return self.pressed();
            }
            left -= nap;
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    fn pressed(&mut self) -> Result<Option<Key>, Failure> {
        let key = match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            _ => return Ok(Some(Key::Other)),
        };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        Ok(Some(match key.code {
            // The terminal hands it to us as any other key.
            KeyCode::Char('c') if control => return Err(Failure::new(exit::INTERRUPTED, "")),
            KeyCode::Char('l') if control => {
                self.terminal.clear()?;
                Key::Other
            }
            KeyCode::Char(letter) if !control => Key::Letter(letter),
            KeyCode::Up => Key::Up,
            KeyCode::Down => Key::Down,
            KeyCode::PageUp => Key::PageUp,
            KeyCode::PageDown => Key::PageDown,
            KeyCode::Home => Key::Home,
            KeyCode::End => Key::End,
            KeyCode::Enter => Key::Enter,
            KeyCode::Esc => Key::Escape,
            _ => Key::Other,
        }))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// As it was before. From any thread, and as often as may be.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // There is nobody to be told.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
        let _ = terminal::disable_raw_mode();
    }
}

/// Whether there is a terminal to draw on.
pub(crate) fn is_there() -> bool {
    io::stdout().is_terminal()
}

/// The columns and rows of the terminal that standard output is; none if it is none.
pub(crate) fn size() -> Option<(u16, u16)> {
    // Asked of a pipe, it would tell the size of the terminal that the command was started in.
    is_there().then(terminal::size)?.ok().filter(|(width, height)| *width > 0 && *height > 0)
}
