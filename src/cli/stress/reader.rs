//! A process that reads without pause, and checks that each view is a prefix of the order, never goes back, holds all that was
//! acknowledged before it was asked for, and no part of a batch.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tallyfold::{Cohort, Cursor, Reader, Seq, Store, View};

use super::board::{Board, Phase};
use super::worker::Task;
use crate::cli::exit::{self, Failure};

pub(super) fn run(task: &Task, store: &Path, board: &Board, attached: bool) -> Result<(), Failure> {
    let cohort = Store::open_existing(store)?.cohort(&task.cohort)?;
    if attached {
        cohort.sync()?;
    }
    let mut watch = Watch::begin(&cohort)?;
    loop {
        // Asked first: so the last look comes after the last record.
        let last = board.phase() == Phase::End;
        watch.look(&cohort, board)?;
        board.count_view();
        if last {
            return Ok(());
        }
    }
}

/// What a reader has seen so far.
struct Watch {
    reader: Reader,
    cursor: Cursor,
    highest: Seq,
    followed: Followed,
}

/// The records up to a seq, one after another, and what they fold into. What is told of an entry is enough to know it again.
#[derive(Default)]
struct Followed {
    seq: Seq,
    last_of_batch: bool,
    log: bool,
    state: BTreeMap<String, (Seq, String)>,
}

#[derive(Deserialize)]
struct Part {
    part: u64,
    of: u64,
}

impl Watch {
    fn begin(cohort: &Cohort) -> tallyfold::Result<Watch> {
        let log = *cohort.settings().fold() == tallyfold::Fold::Log;
        let followed = Followed { log, ..Followed::default() };
        Ok(Watch { reader: cohort.reader()?, cursor: cohort.cursor(1)?, highest: 0, followed })
    }

    fn look(&mut self, cohort: &Cohort, board: &Board) -> Result<(), Failure> {
        let told = board.last();
        let seq = self.reader.refresh()?;
        self.highest = forward("a kept reader", self.highest.max(told), seq)?;
        let told = board.last();
        let view = cohort.view()?;
        self.highest = forward("a view", self.highest.max(told), view.seq())?;
        self.followed.to(view.seq(), &mut self.cursor)?;
        self.followed.is(&view)?;
        let told = board.last();
        self.highest = forward("the last seq", self.highest.max(told), cohort.last_seq()?)?;
        Ok(())
    }
}

fn stale(what: String) -> Failure {
    Failure::new(exit::CORRUPTION, what)
}

/// What is at `seq` must not be behind what was seen or acknowledged before.
fn forward(what: &str, least: Seq, seq: Seq) -> Result<Seq, Failure> {
    match seq < least {
        true => Err(stale(format!("{what} is at seq {seq}, and seq {least} was there before"))),
        false => Ok(seq),
    }
}

impl Followed {
    /// Follows the journal to a seq that must be there.
    fn to(&mut self, seq: Seq, cursor: &mut Cursor) -> Result<(), Failure> {
        while self.seq < seq {
            let Some(record) = cursor.next_ref()? else {
                return Err(stale(format!(
                    "a cursor ends at seq {}, and seq {seq} was there before",
                    self.seq
                )));
            };
            if record.seq() != self.seq + 1 {
                return Err(stale(format!("a cursor gives seq {} behind seq {}", record.seq(), self.seq)));
            }
            self.seq = record.seq();
            let json = record.json().unwrap_or_default();
            if self.seq == seq {
                let part: Part = serde_json::from_str(json)
                    .map_err(|e| stale(format!("seq {seq} is not as it was sent: {e}")))?;
                self.last_of_batch = part.part + 1 == part.of;
            }
            if !self.log {
                match self.state.get_mut(record.key()) {
                    Some((at, text)) => {
                        *at = record.seq();
                        text.clear();
                        text.push_str(json);
                    }
                    None => {
                        self.state.insert(record.key().to_string(), (record.seq(), json.to_string()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares a view at the seq that was followed to.
    fn is(&self, view: &View) -> Result<(), Failure> {
        let at = view.seq();
        if at != self.seq {
            return Ok(());
        }
        if at > 0 && !self.last_of_batch {
            return Err(stale(format!("a view at seq {at} holds a part of a batch")));
        }
        let mut expected = self.state.iter();
        for item in view.iter() {
            let (key, entry) = item?;
            let same = expected.next().is_some_and(|(name, (seq, json))| {
                (name.as_str(), *seq, json.as_str()) == (&*key, entry.seq(), entry.json())
            });
            if !same {
                return Err(stale(format!(
                    "the entry of {key:?} in a view at seq {at} is not what its records fold into"
                )));
            }
        }
        match expected.next() {
            Some((key, _)) => Err(stale(format!("a view at seq {at} lacks the entry of {key:?}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tallyfold::{Batch, Settings};

    use super::*;

    fn batch(n: u64, of: u64) -> Batch {
        let mut batch = Batch::new();
        for part in 0..of {
            batch.put(&format!("key-{part}"), &json!({"n": n, "part": part, "of": of})).unwrap();
        }
        batch
    }

    #[test]
    fn a_look_finds_nothing_in_a_whole_cohort_and_each_fault_that_is_planted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let cohort = store.create("c", Settings::latest().retain(tallyfold::Retain::All)).unwrap();
        let board = Board::make(&dir.path().join("board"), 1, 100).unwrap();
        let mut watch = Watch::begin(&cohort).unwrap();
        for n in 0..10 {
            let seq = cohort.append_batch(batch(n, 3)).unwrap();
            board.lane(0).acknowledge(n, seq);
            watch.look(&cohort, &board).unwrap();
            cohort.compact().unwrap();
            watch.look(&cohort, &board).unwrap();
        }
        assert_eq!((watch.followed.seq, watch.highest), (30, 30));

        let view = cohort.view().unwrap();
        let told = |result: Result<(), Failure>| result.unwrap_err().message;
        let entry = watch.followed.state.remove("key-2").unwrap();
        assert!(told(watch.followed.is(&view)).contains("\"key-2\""));
        watch.followed.state.insert("key-2".into(), (entry.0, entry.1.replace('9', "8")));
        assert!(told(watch.followed.is(&view)).contains("not what its records fold into"));
        watch.followed.state.insert("key-2".into(), entry);
        watch.followed.state.insert("key-3".into(), (1, "1".into()));
        assert!(told(watch.followed.is(&view)).contains("lacks the entry of \"key-3\""));
        watch.followed.state.remove("key-3");
        watch.followed.is(&view).unwrap();

        // A record that says it is the first of two: a view must not end with it.
        let seq = cohort.append("key-0", &json!({"part": 0, "of": 2})).unwrap();
        assert!(told(watch.look(&cohort, &board)).contains("a part of a batch"));
        // Something acknowledged that is not there.
        board.lane(0).acknowledge(11, seq + 1);
        assert!(told(watch.look(&cohort, &board)).contains("was there before"));
    }
}
