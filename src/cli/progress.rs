//! Bars for what takes longer than a second, on a terminal only.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is over sooner shows nothing.
const SILENCE: Duration = Duration::from_secs(1);
/// How often something that turns is turned.
const FRAME: Duration = Duration::from_millis(120);

/// How far something has come. It is drawn on standard error and vanishes when this is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    begun: Instant,
    drawn: bool,
}

impl Progress {
    /// Of so many things in all, if that is known. `what` is a word such as "reading".
    pub(crate) fn new(what: &'static str, total: Option<u64>) -> Progress {
        let style = match total {
            Some(_) => "{msg} {wide_bar} {human_pos} of {human_len}, {eta} left",
            None => "{msg} {spinner} {human_pos} in {elapsed}",
        };
        Progress::styled(what, total, style)
    }

    /// Of so many bytes.
    pub(crate) fn bytes(what: &'static str, total: u64) -> Progress {
        Progress::styled(what, Some(total), "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left")
    }

    fn styled(what: &'static str, total: Option<u64>, style: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_message(what);
        // Each is a constant of this file, and a test makes them all.
        let bar = match ProgressStyle::with_template(style) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        Progress { bar, begun: Instant::now(), drawn: false }
    }

    /// So many more are done.
    pub(crate) fn advance(&mut self, more: u64) {
        self.bar.inc(more);
        self.show();
    }

    /// So many are done.
    pub(crate) fn at(&mut self, done: u64) {
        self.bar.set_position(done);
        self.show();
    }

    fn show(&mut self) {
        if !self.drawn && self.begun.elapsed() >= SILENCE {
            // Where standard error is no terminal this draws nothing.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.drawn = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Says that something is being done of which nobody knows how far it has come. It is drawn on standard error and vanishes when
/// this is dropped.
pub(crate) struct Waiting(Option<(Sender<()>, JoinHandle<()>)>);

impl Waiting {
    /// `what` is a word such as "compacting".
    pub(crate) fn new(what: &'static str) -> Waiting {
        if !io::stderr().is_terminal() {
            return Waiting(None);
        }
        let (done, ended) = mpsc::channel();
        let draw = move || {
            if ended.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
                let bar = ProgressBar::new_spinner().with_message(what).with_elapsed(SILENCE);
                let bar = match ProgressStyle::with_template("{msg} {spinner} {elapsed}") {
                    Ok(style) => bar.with_style(style),
                    Err(_) => bar,
                };
                while ended.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                    bar.tick();
                }
                bar.finish_and_clear();
            }
        };
        // Without a thread nothing is shown, and nothing else is different.
        Waiting(thread::Builder::new().spawn(draw).ok().map(|thread| (done, thread)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((done, thread)) = self.0.take() {
            drop(done);
            // Before anything else is printed, the line has to be clear.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_can_be_drawn_and_counts() {
        for mut progress in
            [Progress::new("reading", Some(7)), Progress::new("reading", None), Progress::bytes("copying", 7)]
        {
            progress.advance(2);
            progress.advance(1);
            assert_eq!(progress.bar.position(), 3);
            progress.at(7);
            assert_eq!(progress.bar.position(), 7);
        }
        for style in [
            "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left",
            "{msg} {spinner} {elapsed}",
            "{msg} {wide_bar} {human_pos} of {human_len}, {eta} left",
            "{msg} {spinner} {human_pos} in {elapsed}",
        ] {
            assert!(ProgressStyle::with_template(style).is_ok());
        }
    }
}
