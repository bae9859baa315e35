//! The processes of a run, as they are inside: those that write, that compact, and the one that clears away what is left if the
//! parent dies.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tallyfold::{Compaction, Store};

use super::board::{Board, Phase};
use super::plan::{Kind, Plan};
use super::target::{Lock, Target};
use super::{histogram, reader, scratch};
use crate::cli::exit::{self, Failure};
use crate::cli::random::Random;

/// How long a writer rests that did not get the lock.
const AFTER_TIMEOUT: Duration = Duration::from_micros(200);
/// The longest rest of the compactor between two rounds.
const LONGEST_REST_US: usize = 20_000;

/// What a process is for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Role {
    /// Goes on in a lane from an act on; `life` counts the processes that were there before.
    Write {
        lane: u64,
        life: u64,
        from: u64,
    },
    /// Those that are attached learn the end of the journal from shared memory, the others by reading.
    Read {
        attached: bool,
    },
    Compact,
    /// Removes the paths it is given when its parent is gone.
    Clear,
}

/// All that a process is told, but for paths.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) role: Role,
    pub(super) plan: Plan,
    pub(super) lock: Lock,
    pub(super) cohort: String,
    pub(super) timeout: Option<Duration>,
}

/// What `tallyfold stress` starts its processes with.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// What to do, as JSON
    task: String,
    /// The store and the board; or what is to be removed
    paths: Vec<PathBuf>,
}

pub(crate) fn work(args: &WorkerArgs) -> Result<(), Failure> {
    let task: Task = serde_json::from_str(&args.task)
        .map_err(|e| Failure::new(exit::USAGE, format!("not for people: {e}")))?;
    if let Role::Clear = task.role {
        // What it is told does not matter, only that it ends.
        io::copy(&mut io::stdin().lock(), &mut io::sink())?;
        scratch::remove_patiently(&args.paths);
        return Ok(());
    }
    let [store, board] = args.paths.as_slice() else {
        return Err(Failure::new(exit::USAGE, "not for people: a store and a board are needed"));
    };
    let board = Board::open(board)?;
    match task.role {
        Role::Write { lane, life, from } => Writer::open(&task, store, &board, lane, life)?.run(from),
        Role::Read { attached } => {
            if begin()? {
                reader::run(&task, store, &board, attached)
            } else {
                Ok(())
            }
        }
        Role::Compact => {
            if begin()? {
                compact(&task, store, &board)
            } else {
                Ok(())
            }
        }
        Role::Clear => Ok(()),
    }
}

/// Waits for the common beginning; `false`: the parent is gone. From then on this process ends when the parent does.
fn begin() -> Result<bool, Failure> {
    let mut word = [0];
    if io::stdin().read(&mut word)? == 0 {
        return Ok(false);
    }
    thread::Builder::new().spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        process::exit(exit::FAILURE.into());
    })?;
    Ok(true)
}

struct Writer<'a> {
    plan: Plan,
    target: Target,
    board: &'a Board,
    lane: u64,
    life: u64,
    keys: Vec<String>,
}

impl<'a> Writer<'a> {
    fn open(
        task: &Task,
        store: &Path,
        board: &'a Board,
        lane: u64,
        life: u64,
    ) -> Result<Writer<'a>, Failure> {
        let target = Target::open(store, &task.cohort, task.lock, task.timeout, task.plan.durable)?;
        let writer = Writer { plan: task.plan, target, board, lane, life, keys: task.plan.keys() };
        writer.unless_late(writer.target.attach())?;
        writer.board.lane(lane).set_ready();
        Ok(writer)
    }

    /// A lock that was not had in time is counted, and no failure.
    fn unless_late<T>(&self, result: tallyfold::Result<T>) -> Result<Option<T>, Failure> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(e) if e.is_lock_timeout() => {
                self.board.lane(self.lane).count_timeout();
                Ok(None)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn run(&self, from: u64) -> Result<(), Failure> {
        if !begin()? {
            return Ok(());
        }
        let lane = self.board.lane(self.lane);
        let histograms = Kind::ALL.map(|kind| lane.histogram(kind));
        let mut texts: Vec<String> = Vec::new();
        'acts: for n in from..self.plan.acts {
            let act = self.plan.act(self.lane, n);
            // The text of an update says what it found.
            let ready = if act.kind == Kind::Update { 0 } else { act.records as usize };
            texts.resize_with(ready.max(texts.len()), String::new);
            for (part, text) in (0..).zip(&mut texts[..ready]) {
                act.text(self.life, part, 0, text);
            }
            loop {
                if self.board.phase() != Phase::Work {
                    break 'acts;
                }
                let begun = Instant::now();
                let performed = self.target.perform(&act, self.life, &texts[..ready], &self.keys);
                let took = begun.elapsed();
                match performed {
                    // Written it is, and must not be appended again.
                    Err(e) if e.is_durability_unknown() && e.seq().is_some() => {
                        lane.count_unknown();
                        lane.acknowledge(n, e.seq().unwrap_or_default());
                        break;
                    }
                    other => {
                        if let Some(seq) = self.unless_late(other)? {
                            lane.acknowledge(n, seq);
                            histogram::count(histograms[act.kind as usize], took);
                            break;
                        }
                    }
                }
                thread::sleep(AFTER_TIMEOUT);
            }
        }
        lane.set_done();
        match self.target.detach() {
            // All are acknowledged as written, and that is what is checked.
            Err(e) if e.is_durability_unknown() => {
                lane.count_unknown();
                Ok(())
            }
            other => self.unless_late(other).map(drop),
        }
    }
}

/// Compacts until all writers have ended.
fn compact(task: &Task, store: &Path, board: &Board) -> Result<(), Failure> {
    let cohort = Store::open_existing(store)?.cohort(&task.cohort)?;
    let mut random = Random::new(task.plan.seed);
    while board.phase() != Phase::End {
        match cohort.compact() {
            Ok(Compaction::Folded { .. } | Compaction::Sealed { .. }) => board.count_compaction(),
            Ok(_) => {}
            // There is a next time.
            Err(e) if e.is_lock_timeout() => {}
            Err(e) => return Err(e.into()),
        }
        thread::sleep(Duration::from_micros(random.below(LONGEST_REST_US) as u64));
    }
    Ok(())
}
