//! The screen: drawn anew with each sample and each key.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::columns::Column;
use super::detail;
use super::history::History;
use super::list::{self, Sorted};
use super::sample::{Sample, Sampler};
use crate::cli::exit::{self, Failure};
use crate::cli::output::Escaped;
use crate::cli::screen::{Key, Screen};

/// How long to look for a key before it is asked whether there is a new sample.
const NAP: Duration = Duration::from_millis(100);
/// Rows by which PageUp and PageDown move.
const PAGE: usize = 10;

pub(super) fn run(sampler: Sampler, every: Duration, sorted: Sorted) -> Result<(), Failure> {
    let mut state = State::new(sampler.store(), every, sorted);
    let samples = begin(sampler, every)?;
    let mut screen = Screen::take()?;
    loop {
        while let Ok(sample) = samples.try_recv() {
            state.see(sample);
        }
        screen.draw(|area, buffer| state.render(area, buffer))?;
        let deadline = Instant::now() + every.min(NAP * 10);
        loop {
            if let Some(key) = screen.key(NAP)? {
                if state.press(key) {
                    return Ok(());
                }
                break;
            }
            match samples.recv_timeout(Duration::ZERO) {
                Ok(sample) => {
                    state.see(sample);
                    break;
                }
                // The clock on the screen goes on.
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(exit::FAILURE, "the cohorts are not looked at any more"));
                }
            }
        }
    }
}

/// Samples are taken elsewhere: the first look at a long tail takes its time, and keys are to be heard meanwhile.
fn begin(mut sampler: Sampler, every: Duration) -> Result<Receiver<Sample>, Failure> {
    let (send, receive) = mpsc::channel();
    let look = move || {
        let mut next = Instant::now();
        while send.send(sampler.sample()).is_ok() {
            next = (next + every).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    };
    thread::Builder::new().name("look".into()).spawn(look)?;
    Ok(receive)
}

/// What is on the screen.
#[derive(Debug)]
struct State {
    store: String,
    every: Duration,
    sorted: Sorted,
    sample: Option<Sample>,
    history: History,
    /// The name, for rows change places. None until a key is pressed.
    chosen: Option<String>,
    detailed: bool,
    first: usize,
}

impl State {
    fn new(store: String, every: Duration, sorted: Sorted) -> State {
        let (sample, history) = (None, History::default());
        State { store, every, sorted, sample, history, chosen: None, detailed: false, first: 0 }
    }

    fn see(&mut self, sample: Sample) {
        self.history.add(&sample);
        self.sample = Some(sample);
    }

    fn names(&self) -> Vec<&str> {
        let cohorts = self.sample.as_ref().map(|sample| list::order(sample, self.sorted)).unwrap_or_default();
        cohorts.into_iter().map(|seen| seen.name.as_str()).collect()
    }

    /// The row that is chosen; the first if none is, or what was chosen is gone.
    fn row(&self) -> usize {
        let names = self.names();
        self.chosen.as_ref().and_then(|chosen| names.iter().position(|name| name == chosen)).unwrap_or(0)
    }

    fn choose(&mut self, row: usize) {
        let names = self.names();
        let name = names.get(row.min(names.len().saturating_sub(1))).map(ToString::to_string);
        self.chosen = name;
    }

    /// Whether that was all.
    fn press(&mut self, key: Key) -> bool {
        let row = self.row();
        match key {
            Key::Letter('q') => return true,
            Key::Escape if self.detailed => self.detailed = false,
            Key::Escape => return true,
            Key::Enter => {
                self.choose(row);
                self.detailed = !self.detailed;
            }
            Key::Down | Key::Letter('j') => self.choose(row + 1),
            Key::Up | Key::Letter('k') => self.choose(row.saturating_sub(1)),
            Key::PageDown => self.choose(row + PAGE),
            Key::PageUp => self.choose(row.saturating_sub(PAGE)),
            Key::Home | Key::Letter('g') => self.choose(0),
            Key::End | Key::Letter('G') => self.choose(usize::MAX),
            Key::Letter('s') => self.sorted.by = self.sorted.by.step(true),
            Key::Letter('S') => self.sorted.by = self.sorted.by.step(false),
            Key::Letter('r') => self.sorted.reversed = !self.sorted.reversed,
            Key::Letter(_) | Key::Other => {}
        }
        false
    }

    fn render(&mut self, area: Rect, buffer: &mut Buffer) {
        let (bold, dim) =
            (Style::new().add_modifier(Modifier::BOLD), Style::new().add_modifier(Modifier::DIM));
        let width = usize::from(area.width);
        let foot = Rect { y: area.bottom().saturating_sub(1), height: area.height.min(1), ..area };
        let keys = match self.detailed {
            true => "Esc back  j k next, previous  q leave".to_string(),
            false => format!(
                "j k choose  Enter more  s S sort (by {})  r turn  q leave",
                self.sorted.by.title().to_lowercase()
            ),
        };
        buffer.set_stringn(foot.x, foot.y, keys, width, dim);
        let Some(sample) = &self.sample else {
            buffer.set_stringn(area.x, area.y, format!("looking at {} …", Escaped(&self.store)), width, bold);
            return;
        };
        let names = self.names();
        let row = self.row();
        let chosen = names.get(row).and_then(|name| sample.cohorts.iter().find(|seen| seen.name == **name));
        if let (true, Some(seen)) = (self.detailed, chosen) {
            let area = Rect { height: area.height.saturating_sub(1), ..area };
            return detail::render(seen, self.history.of(&seen.name), self.every, area, buffer);
        }
        let [store, sums] = list::head(sample, &self.store);
        buffer.set_stringn(area.x, area.y, store, width, bold);
        buffer.set_stringn(area.x, area.y + area.height.min(2).saturating_sub(1), sums, width, dim);
        // What is wrong with the chosen one stands above the keys.
        let told = match &sample.failure {
            Some(failure) => Some(failure.clone()),
            None => chosen.and_then(|seen| seen.state.told()),
        };
        let rows = area.height.saturating_sub(4);
        if let Some(told) = &told {
            let told = Escaped(&told.replace('\n', "; ")).to_string();
            buffer.set_stringn(area.x, foot.y.saturating_sub(1), told, width, Style::new());
        }
        let below = Rect { y: area.y + 2, height: rows, ..area };
        if area.height < 5 {
            return;
        }
        if sample.cohorts.is_empty() {
            buffer.set_stringn(below.x, below.y, "there is no cohort yet", width, Style::new());
            return;
        }
        // The chosen row is always to be seen.
        let fit = usize::from(rows.saturating_sub(1)).max(1);
        let first = self.first.clamp((row + 1).saturating_sub(fit), row).min(names.len().saturating_sub(fit));
        list::render(sample, self.sorted, first, chosen.map(|seen| seen.name.as_str()), below, buffer);
        self.first = first;
    }
}

/// For who has not chosen.
pub(super) fn sorted(by: Option<Column>) -> Sorted {
    Sorted { by: by.unwrap_or(Column::Records), reversed: false }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Seen;
    use super::super::sample::tests::seen;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn state(cohorts: Vec<Seen>) -> State {
        let mut state = State::new("./store".into(), Duration::from_secs(1), sorted(Some(Column::Name)));
        state.see(Sample { interval: None, cohorts, failure: None });
        state
    }

    fn many(n: usize) -> State {
        state((0..n).map(|i| seen(&format!("cohort-{i:03}"), i as f64, None)).collect())
    }

    /// The lines of the screen, and the one that stands out.
    fn shown(state: &mut State, width: u16, height: u16) -> (Vec<String>, Option<String>) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| state.render(frame.area(), frame.buffer_mut())).unwrap();
        let buffer = terminal.backend().buffer();
        let text = crate::cli::picture::text(buffer, false);
        let reversed =
            (0..height).find(|y| buffer[(0, *y)].modifier.contains(Modifier::REVERSED)).map(usize::from);
        let lines: Vec<String> = text.lines().map(ToString::to_string).collect();
        let chosen = reversed.and_then(|y| lines.get(y)?.split(' ').next().map(ToString::to_string));
        (lines, chosen)
    }

    #[test]
    fn keys_choose_a_cohort_that_is_always_to_be_seen() {
        let mut state = many(100);
        for (key, name) in [
            (Key::Other, "cohort-000"),
            (Key::Down, "cohort-001"),
            (Key::Letter('j'), "cohort-002"),
            (Key::PageDown, "cohort-012"),
            (Key::PageDown, "cohort-022"),
            (Key::Letter('k'), "cohort-021"),
            (Key::End, "cohort-099"),
            (Key::Down, "cohort-099"),
            (Key::PageUp, "cohort-089"),
            (Key::Home, "cohort-000"),
            (Key::Up, "cohort-000"),
        ] {
            assert!(!state.press(key));
            for height in [8, 24, 120] {
                assert_eq!(shown(&mut state, 80, height).1.as_deref(), Some(name), "{key:?} {height}");
            }
        }
    }

    #[test]
    fn who_was_chosen_stays_chosen_when_rows_change_places() {
        let mut state = many(3);
        state.press(Key::Down);
        state.press(Key::Letter('r'));
        assert_eq!(shown(&mut state, 80, 24).1.as_deref(), Some("cohort-001"));
        state.press(Key::Letter('s'));
        state.press(Key::Letter('s'));
        let (lines, chosen) = shown(&mut state, 80, 24);
        assert!(lines.last().unwrap().contains("by records/s"), "{lines:?}");
        assert_eq!((lines[3].split(' ').next(), chosen.as_deref()), (Some("cohort-000"), Some("cohort-001")));
        // It is gone: the first is.
        state.see(Sample { interval: None, cohorts: vec![seen("a", 0.0, None)], failure: None });
        assert_eq!(shown(&mut state, 80, 24).1.as_deref(), Some("a"));
    }

    #[test]
    fn enter_shows_more_escape_goes_back_and_then_leaves() {
        let mut state = many(2);
        state.press(Key::Enter);
        assert!(shown(&mut state, 80, 24).0[0].starts_with("cohort-000  fine"));
        state.press(Key::Down);
        assert!(shown(&mut state, 80, 24).0[0].starts_with("cohort-001  fine"));
        assert!(!state.press(Key::Escape));
        assert!(shown(&mut state, 80, 24).0[0].starts_with("./store: 2 cohorts"));
        assert!(state.press(Key::Escape));
        assert!(many(0).press(Key::Letter('q')));
    }

    #[test]
    fn an_empty_store_and_one_that_cannot_be_listed_are_said() {
        assert_eq!(shown(&mut state(Vec::new()), 80, 24).0[2], "there is no cohort yet");
        let mut state = state(Vec::new());
        state.see(Sample { interval: None, cohorts: Vec::new(), failure: Some("it is gone".into()) });
        assert!(shown(&mut state, 80, 24).0.contains(&"it is gone".to_string()));
        let mut before = State::new("./store".into(), Duration::from_secs(1), sorted(None));
        assert!(shown(&mut before, 80, 24).0[0].starts_with("looking at ./store"));
    }

    #[test]
    fn no_terminal_is_too_small() {
        for width in [1, 5, 30] {
            for height in [1, 2, 3, 4, 5, 6] {
                for n in [0, 1, 30] {
                    let mut state = many(n);
                    for detailed in [false, true] {
                        state.detailed = detailed;
                        assert_eq!(shown(&mut state, width, height).0.len(), usize::from(height));
                    }
                }
            }
        }
    }
}
