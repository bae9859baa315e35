//! Going over the journal: the records that are wanted, as they come.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use tallyfold::process::output_is_closed;
use tallyfold::{Cohort, Cursor, Error, Record, Seq};

use super::cursor_file::{CursorFile, Mark, records};
use super::exit::{self, Failure};
use super::filter::Filter;
use super::interrupt;
use super::output::{Output, say};
use super::progress::Progress;
use super::record::Printer;

/// How long a follower waits before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// How often a reader under way remembers where it is.
const REMEMBER: Duration = Duration::from_secs(1);
/// So many records are read between two looks at the clock.
const STRIDE: u64 = 1024;
/// How many records the last ones are looked for among, at first; each time they are not found among four times as many.
const WINDOW: u64 = 4096;

/// How far to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// At most so many records are printed.
    pub(crate) limit: Option<u64>,
    /// Wait at the end for more.
    pub(crate) follow: bool,
}

/// One who reads the journal and prints what is wanted.
pub(crate) struct Reading<'a> {
    cohort: &'a Cohort,
    filter: &'a Filter,
    printer: Printer,
    out: Output,
    file: Option<CursorFile>,
    progress: Option<Progress>,
    /// Whether compaction has removed records before they were read.
    missed: bool,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(cohort: &'a Cohort, filter: &'a Filter, printer: Printer) -> Reading<'a> {
        Reading { cohort, filter, printer, out: Output::new(), file: None, progress: None, missed: false }
    }

    pub(crate) fn remembering(self, file: CursorFile) -> Reading<'a> {
        Reading { file: Some(file), ..self }
    }

    /// Prints from a cursor on.
    pub(crate) fn run(mut self, cursor: Cursor, extent: Extent) -> Result<(), Failure> {
        if io::stderr().is_terminal() {
            let last = self.cohort.last_seq().ok().map(|last| last.min(self.filter.to));
            let total = last.map(|last| (last + 1).saturating_sub(cursor.next_seq()));
            self.progress = Some(Progress::new("reading", total));
        }
        let read = self.read(cursor, extent);
        drop(self.progress.take());
        read?;
        match self.missed {
            // It was told when it happened.
            true => Err(Failure::new(exit::FAILURE, "")),
            false => Ok(()),
        }
    }

    fn read(&mut self, mut cursor: Cursor, Extent { limit, follow }: Extent) -> Result<(), Failure> {
        let first = cursor.next_seq();
        let mut mark = Mark::before(&cursor);
        let (mut printed, mut looked_at) = (0, Instant::now());
        while limit.is_none_or(|limit| printed < limit) {
            if interrupt::requested() {
                self.settle(&mark)?;
                return interrupt::check();
            }
            let next_seq = cursor.next_seq();
            match cursor.next_ref() {
                Ok(Some(record)) => {
                    if record.seq() > self.filter.to {
                        break;
                    }
                    if self.filter.passes(&record) {
                        let text = self.printer.record(&record);
                        self.print(&text)?;
                        printed += 1;
                    }
                    if self.file.is_some() {
                        mark = Mark::behind(&record);
                    }
                    if (next_seq - first).is_multiple_of(STRIDE) {
                        self.on_the_way(next_seq - first, &mut looked_at, (&cursor, &mut mark))?;
                    }
                }
                Ok(None) => {
                    drop(self.progress.take());
                    self.settle(&mark)?;
                    if !follow || cursor.next_seq() > self.filter.to {
                        break;
                    }
                    // Whoever read our output has seen enough: that is no failure, and no record may come for long.
                    if output_is_closed() {
                        return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                    }
                    // What goes wrong while it waits, the next look tells.
                    let _ = cursor.wait(LOOK);
                }
                Err(e) if e.is_compacted() => {
                    self.settle(&mark)?;
                    let first = self.overtaken(next_seq, e)?;
                    cursor = cursor_at_least(self.cohort, first)?;
                    mark = Mark::before(&cursor);
                }
                Err(e) => {
                    // Everything before the damage, and then what it is.
                    self.settle(&mark)?;
                    return Err(e.into());
                }
            }
            if mark.epoch == 0 {
                mark.epoch = cursor.epoch();
            }
        }
        self.settle(&mark)
    }

    /// Now and then.
    fn on_the_way(
        &mut self,
        read: u64,
        looked_at: &mut Instant,
        (cursor, mark): (&Cursor, &mut Mark),
    ) -> Result<(), Failure> {
        if let Some(progress) = &mut self.progress {
            progress.at(read);
        }
        if looked_at.elapsed() >= REMEMBER {
            mark.epoch = cursor.epoch();
            self.settle(mark)?;
            *looked_at = Instant::now();
        }
        Ok(())
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        if self.printer.terminal {
            // A bar would stand between the lines.
            drop(self.progress.take());
        }
        self.out.write_all(text.as_bytes())?;
        if self.printer.terminal {
            self.out.flush()?;
        }
        Ok(())
    }

    /// First what was printed goes out, and then it is remembered: so a record may come again, and none is missed.
    fn settle(&mut self, mark: &Mark) -> Result<(), Failure> {
        self.out.flush()?;
        match &mut self.file {
            Some(file) => file.remember(mark),
            None => Ok(()),
        }
    }

    /// Compaction was faster: says what is gone. Returns where to go on; who remembers where he stopped does not go on, for he
    /// wants every record.
    fn overtaken(&mut self, next_seq: Seq, e: Error) -> Result<Seq, Failure> {
        let Some(first) = e.seq().filter(|first| *first > next_seq) else { return Err(e.into()) };
        let gone = format!(
            "{} were removed by a compaction before they were read (the setting retain keeps records longer)",
            records(next_seq, first - 1)
        );
        if self.file.is_some() {
            let remedy =
                format!("to go on without them, remove the cursor file and begin with --from {first}");
            return Err(Failure::new(exit::FAILURE, format!("{gone}; {remedy}")));
        }
        self.missed = true;
        say(format!("{gone}; going on with record {first}"));
        Ok(first)
    }

    /// Prints the last records that are wanted, and goes on behind them if it is to follow.
    pub(crate) fn run_last(mut self, number: u64, follow: bool) -> Result<(), Failure> {
        let (last, damaged) = match self.cohort.last_seq() {
            // The last before the damage. The cursor will meet it too, and tell, if it may go on so far.
            Err(e) if e.is_corruption() => (e.seq().ok_or(e)?.saturating_sub(1), true),
            other => (other?, false),
        };
        let last = last.min(self.filter.to);
        let limit = (!follow && !damaged).then_some(number);
        if self.filter.takes_all() {
            let cursor = cursor_at_least(self.cohort, last.saturating_sub(number) + 1)?;
            return self.run(cursor, Extent { limit, follow });
        }
        let (found, broken) = self.last_wanted(number, last);
        for record in &found {
            let text = self.printer.record(&record.as_record_ref());
            self.print(&text)?;
        }
        self.out.flush()?;
        broken?;
        match follow || damaged {
            true => {
                let cursor = cursor_at_least(self.cohort, last + 1)?;
                self.run(cursor, Extent { limit: None, follow })
            }
            false => Ok(()),
        }
    }

    /// The last records up to a seq that are wanted, and why there are no more if that is a failure. From the end back, window by
    /// window: most look for what was written not long ago.
    fn last_wanted(&self, number: u64, last: Seq) -> (VecDeque<Record>, Result<(), Failure>) {
        let mut found = VecDeque::new();
        let (mut to, mut width) = (last, WINDOW);
        while (found.len() as u64) < number && to > 0 {
            let asked = to.saturating_sub(width - 1).max(1);
            let from = match self.window(asked, to, number, &mut found) {
                Ok(from) => from,
                Err(failure) => return (found, Err(failure)),
            };
            if from > asked {
                say(format!("records before seq {from} are folded away"));
                break;
            }
            (to, width) = (from - 1, width.saturating_mul(4));
        }
        (found, Ok(()))
    }

    /// Puts the last records of a window that are wanted before those found already. Returns where it begins: later than asked
    /// for, if what is before is folded away.
    fn window(&self, asked: Seq, to: Seq, number: u64, found: &mut VecDeque<Record>) -> Result<Seq, Failure> {
        let wanted = number - found.len() as u64;
        let mut last = VecDeque::new();
        let (mut cursor, mut from) = first_kept(self.cohort, asked)?;
        let read = loop {
            match cursor.next_ref() {
                Ok(Some(record)) if record.seq() <= to => {
                    if self.filter.passes(&record) {
                        last.push_back(record.to_record());
                    }
                    if last.len() as u64 > wanted {
                        last.pop_front();
                    }
                }
                Ok(_) => break Ok(()),
                // What was read before it is gone as well by now, but it was read.
                Err(e) if e.is_compacted() => (cursor, from) = first_kept(self.cohort, cursor.next_seq())?,
                Err(e) => break Err(e),
            }
        };
        last.into_iter().rev().for_each(|record| found.push_front(record));
        Ok(read.map(|()| from)?)
    }
}

/// From `asked` on, or from the first record still there: nobody has asked for it by its number.
pub(crate) fn first_kept(cohort: &Cohort, asked: Seq) -> tallyfold::Result<(Cursor, Seq)> {
    let mut from = asked;
    loop {
        match cohort.cursor(from) {
            // Compaction may be at it, so perhaps more than once.
            Err(e) if e.is_compacted() && e.seq().is_some_and(|first| first > from) => {
                from = e.seq().unwrap_or(from);
            }
            cursor => return Ok((cursor?, from)),
        }
    }
}

/// The same, and says so if it begins later than asked for.
pub(crate) fn cursor_at_least(cohort: &Cohort, asked: Seq) -> Result<Cursor, Failure> {
    let (cursor, from) = first_kept(cohort, asked)?;
    if from > asked {
        say(format!("records before seq {from} are folded away"));
    }
    Ok(cursor)
}
