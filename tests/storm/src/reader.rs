//! Reader processes: they check without pause that what they see is a prefix, never goes back, and holds all that was
//! acknowledged before they looked. A compactor has its loop here too.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tallyfold::{Cohort, Cursor, Fold, Reader, Seq, View};

use crate::Result;
use crate::act::{self, KEYS, key_name, parse_key};
use crate::board::{Board, Phase};
use crate::children;
use crate::judge::Chain;
use crate::report::{Report, Reporter};
use crate::writer::{Place, Weather};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub place: Place,
    /// Attached processes learn the end of the journal from shared memory.
    pub attached: bool,
}

/// Runs `look` again and again, as long as there is somebody to look for. An error is none of ours once the disk is cut off.
fn again_and_again(place: &Place, board: Board, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    while board.phase() == Phase::Run && !children::parent_is_gone(place.lifeline) {
        if let Err(e) = look() {
            return if board.phase() == Phase::Cut { Ok(()) } else { Err(e) };
        }
    }
    Ok(())
}

pub fn run(task: &Task) -> Result<()> {
    let board = task.place.board()?;
    let cohort = task.place.open()?;
    if task.attached {
        cohort.sync()?;
    }
    let mut reader = cohort.reader()?;
    let mut follower = Follower::begin(&cohort, task.place.seed)?;
    let mut rng = fastrand::Rng::new();
    let mut highest = 0;
    again_and_again(&task.place, board, || {
        highest = check_reader(&mut reader, &board, highest, rng.usize(..KEYS), follower.entries)?;
        let acknowledged = board.acknowledged();
        let view = cohort.view()?;
        highest = forward("a fresh view", highest.max(acknowledged), view.seq())?;
        follower.follow_to(view.seq())?;
        follower.compare(&view)?;
        let acknowledged = board.acknowledged();
        follower.follow_to(acknowledged)?;
        let last = cohort.last_seq()?;
        highest = forward("the last seq", highest.max(acknowledged), last)?;
        board.checks.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(rng.u64(..2000)));
        Ok(())
    })
}

/// What is at `seq` must not be behind what was seen or acknowledged before.
pub fn forward(what: &str, least: Seq, seq: Seq) -> Result<Seq> {
    match seq {
        seq if seq < least => Err(format!("{what} is at seq {seq}, and seq {least} was there before").into()),
        seq => Ok(seq),
    }
}

pub fn check_reader(
    reader: &mut Reader,
    board: &Board,
    least: Seq,
    key: usize,
    entries: bool,
) -> Result<Seq> {
    let (acknowledged, of_key) = (board.acknowledged(), board.acknowledged_of(key));
    let seq = forward("a kept reader", least.max(acknowledged), reader.refresh()?)?;
    if entries {
        let entry = reader.get(&key_name(key))?.map_or(0, |entry| entry.seq());
        forward(&format!("the entry of {:?}", key_name(key)), of_key, entry)?;
        if entry > seq {
            return Err(format!("a reader at seq {seq} has an entry of seq {entry}").into());
        }
    }
    Ok(seq)
}

/// A cursor that follows, and the state that a plain replay of its records gives.
pub struct Follower {
    cursor: Cursor,
    seed: u64,
    entries: bool,
    at: Seq,
    next_of: HashMap<u64, u64>,
    pub state: BTreeMap<String, (Seq, String)>,
}

impl Follower {
    pub fn begin(cohort: &Cohort, seed: u64) -> Result<Follower> {
        Ok(Follower {
            cursor: cohort.cursor(1)?,
            seed,
            entries: *cohort.settings().fold() != Fold::Log,
            at: 0,
            next_of: HashMap::new(),
            state: BTreeMap::new(),
        })
    }

    /// Reads up to a seq that must be there.
    pub fn follow_to(&mut self, seq: Seq) -> Result<()> {
        while self.at < seq {
            let Some(record) = self.cursor.next_record()? else {
                return Err(
                    format!("a cursor ends at seq {}, and seq {seq} was there before", self.at).into()
                );
            };
            if record.seq() != self.at + 1 {
                return Err(format!("a cursor gives seq {} behind seq {}", record.seq(), self.at).into());
            }
            self.at += 1;
            let seen = act::read(self.seed, self.entries, &record)?;
            let next = self.next_of.entry(seen.worker).or_default();
            if seen.n != *next {
                return Err(
                    format!("seq {} is act {} of a worker whose next was {next}", self.at, seen.n).into()
                );
            }
            *next += u64::from(seen.i + 1 == seen.of);
            if self.entries {
                let json = record.json().unwrap_or_default().to_string();
                self.state.insert(record.key().to_string(), (self.at, json));
            }
        }
        Ok(())
    }

    /// A view at the seq that the cursor has just reached, or came to before: then only its entries' contents can be checked.
    pub fn compare(&self, view: &View) -> Result<()> {
        if self.at != view.seq() {
            return Ok(());
        }
        let mut expected = self.state.iter();
        for item in view.iter() {
            let (key, entry) = item?;
            match expected.next() {
                Some((name, (seq, json)))
                    if (&**name, *seq, &**json) == (&*key, entry.seq(), entry.json()) => {}
                other => {
                    let other = other.map(|(name, (seq, _))| (name, seq));
                    let at = view.seq();
                    return Err(format!(
                        "a view at seq {at} has {key:?} of seq {}, a replay {other:?}",
                        entry.seq()
                    )
                    .into());
                }
            }
            if parse_key(&key).is_none() {
                return Err(format!("a view has the key {key:?}").into());
            }
        }
        match expected.next() {
            Some((name, (seq, _))) => Err(format!("a view lacks the entry of {name:?} of seq {seq}").into()),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compact {
    pub place: Place,
    pub weather: Weather,
}

pub fn compact(task: &Compact) -> Result<()> {
    let board = task.place.board()?;
    let cohort = task.place.open()?;
    let mut rng = fastrand::Rng::new();
    again_and_again(&task.place, board, || {
        match (cohort.compact(), task.weather) {
            (Ok(_), _) => {}
            (Err(e), Weather::Full) if e.is_no_space() => {}
            (Err(e), Weather::Failing) if !e.is_corruption() => {}
            (Err(e), _) => return Err(e.into()),
        }
        std::thread::sleep(Duration::from_millis(rng.u64(..40)));
        Ok(())
    })
}

/// Reads all there is, and reports what it saw in which epoch, and what was durable.
pub fn witness(place: &Place) -> Result<()> {
    let board = place.board()?;
    let cohort = place.open()?;
    let reporter = Reporter::new(&place.outside, &format!("witness-{}", std::process::id()))?;
    let mut path = Path { cursor: cohort.cursor(1)?, chain: Chain::default(), at: 0 };
    again_and_again(place, board, || {
        let stats = cohort.stats()?;
        if path.at < stats.durable_seq {
            let hash = path.read_to(stats.durable_seq)?;
            let durable = board.phase().keeps_syncs();
            reporter.tell(&Report::Saw { epoch: stats.epoch, seq: path.at, hash, durable })?;
        }
        if path.at < stats.seq {
            let hash = path.read_to(stats.seq)?;
            // Nothing that was read is of a higher epoch, or it would be the epoch of the whole by now.
            let epoch = cohort.stats()?.epoch;
            if epoch == stats.epoch {
                reporter.tell(&Report::Saw { epoch, seq: path.at, hash, durable: false })?;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    })
}

/// What a witness has read so far.
struct Path {
    cursor: Cursor,
    chain: Chain,
    at: Seq,
}

impl Path {
    /// The hash of all records up to a seq that must be there.
    fn read_to(&mut self, seq: Seq) -> Result<u64> {
        while self.at < seq {
            let Some(record) = self.cursor.next_ref()? else {
                return Err(
                    format!("a cursor ends at seq {}, and seq {seq} was there before", self.at).into()
                );
            };
            self.at = record.seq();
            self.chain.add(self.at, record.key(), record.bytes());
        }
        Ok(self.chain.0)
    }
}
