//! `tallyfold plot --watch`: the plot drawn anew as records come.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::curves::Curves;
use super::source::Source;
use super::{Args, fill, notes, read};
use crate::cli::exit::Failure;
use crate::cli::options::Options;
use crate::cli::screen::{Key, Screen};

/// How often it is looked for new records.
pub(super) const EVERY: Duration = Duration::from_millis(250);

pub(super) fn run(options: &Options, args: &Args) -> Result<(), Failure> {
    let (mut curves, mut source, first) = read(options, args)?;
    let mut stopped = first.err().map(|failure| failure.message);
    let mut screen = Screen::take()?;
    loop {
        screen.draw(|area, buffer| draw(args, &curves, &source, stopped.as_deref(), area, buffer))?;
        if matches!(screen.key(EVERY)?, Some(Key::Letter('q') | Key::Escape)) {
            return Ok(());
        }
        if stopped.is_none() {
            // Damage is shown, with what is before it.
            stopped = more(args, &mut curves, &mut source).err().map(|failure| failure.message);
        }
        crate::cli::interrupt::check()?;
    }
}

fn more(args: &Args, curves: &mut Curves, source: &mut Source) -> Result<(), Failure> {
    if !source.begins_anew() {
        fill(curves, source)?;
        return Ok(());
    }
    let mut anew = Curves::new(args.how(), args.most());
    if fill(&mut anew, source)? {
        *curves = anew;
    }
    Ok(())
}

fn draw(
    args: &Args,
    curves: &Curves,
    source: &Source,
    stopped: Option<&str>,
    area: Rect,
    buffer: &mut Buffer,
) {
    let notes = match stopped {
        Some(what) => vec![what.to_string()],
        None => notes(curves, source),
    };
    let foot = Rect { y: area.bottom().saturating_sub(1), height: area.height.min(1), ..area };
    let within = Rect { height: area.height.saturating_sub(1), ..area };
    let size = Rect {
        width: args.width.unwrap_or(u16::MAX).min(within.width),
        height: args.height.unwrap_or(u16::MAX).min(within.height),
        ..within
    };
    match curves.is_empty() {
        true => {
            let what = format!("no record has a number in the field {} yet", args.metric);
            buffer.set_stringn(size.x, size.y, what, size.width.into(), Style::new());
        }
        false => args.plot(source.x()).render(&curves.drawn(), size, buffer),
    }
    let text = format!("q leaves  {}", crate::cli::output::Escaped(&notes.join("; ")));
    buffer.set_stringn(foot.x, foot.y, text, foot.width.into(), Style::new().add_modifier(Modifier::DIM));
}
