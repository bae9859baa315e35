//! A writer process: threads that append, report each acknowledgement, and only then go on. Some fork, and the child writes on.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tallyfold::{Batch, Cohort, Entry, Error, Expect, Fold, Seq, Store};

use crate::Result;
use crate::act::{Act, Kind, key_name};
use crate::board::{Board, Phase};
use crate::children;
use crate::report::{Ack, Report, Reporter, tell_violation};

/// What every child is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    pub store: PathBuf,
    pub cohort: String,
    /// Where the board and the reports are.
    pub outside: PathBuf,
    /// A pipe that ends when the parent does.
    pub lifeline: RawFd,
    pub seed: u64,
}

impl Place {
    pub fn open(&self) -> Result<Cohort> {
        Ok(Store::open_existing(&self.store)?.cohort(&self.cohort)?)
    }

    pub fn board(&self) -> Result<Board> {
        Board::open(&self.outside.join("board"))
    }
}

/// Which errors are no violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Weather {
    Fair,
    /// The disk is full now and then.
    Full,
    /// Syncs fail now and then.
    Failing,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub place: Place,
    pub threads: u64,
    pub forks: bool,
    pub weather: Weather,
    /// How many acts each thread does; `None`: as many as it can.
    pub acts: Option<u64>,
}

pub fn run(task: &Task) -> Result<()> {
    let (cohort, board) = match task.place.open() {
        Ok(cohort) => (cohort, task.place.board()?),
        Err(e) => return ended(task, e),
    };
    let ended = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..task.threads)
            .map(|thread| {
                let (cohort, forks) = (&cohort, task.forks && thread == 0);
                scope.spawn(move || Worker::new(task, cohort, board)?.work(forks))
            })
            .collect();
        writers.into_iter().try_for_each(|writer| writer.join().unwrap_or(Err("a writer panicked".into())))
    });
    match ended {
        Ok(()) if board.phase() == Phase::End || task.acts.is_some() => match cohort.detach() {
            Err(e) if task.weather == Weather::Fair => Err(e.into()),
            _ => Ok(()),
        },
        Ok(()) => Ok(()),
        Err(e) => self::ended(task, e),
    }
}

/// Once the disk is cut off any error may be met.
fn ended(task: &Task, e: Box<dyn std::error::Error + Send + Sync>) -> Result<()> {
    match task.place.board()?.phase() {
        Phase::Cut => Ok(()),
        _ => Err(e),
    }
}

struct Worker<'a> {
    task: &'a Task,
    cohort: &'a Cohort,
    board: Board,
    reporter: Reporter,
    number: u64,
    rng: fastrand::Rng,
    entries: bool,
}

impl<'a> Worker<'a> {
    fn new(task: &'a Task, cohort: &'a Cohort, board: Board) -> Result<Worker<'a>> {
        let number = board.new_worker();
        Ok(Worker {
            task,
            cohort,
            board,
            reporter: Reporter::new(&task.place.outside, &format!("worker-{number}"))?,
            number,
            rng: fastrand::Rng::with_seed(task.place.seed ^ number),
            entries: *cohort.settings().fold() != Fold::Log,
        })
    }

    fn work(&mut self, forks: bool) -> Result<()> {
        let fork_at = forks.then(|| self.rng.u64(5..100));
        for n in 0..self.task.acts.unwrap_or(u64::MAX) {
            if self.board.phase() == Phase::End || children::parent_is_gone(self.task.place.lifeline) {
                return Ok(());
            }
            if fork_at == Some(n) {
                self.fork()?;
            }
            let act = Act::draw(self.task.place.seed, self.number, n, self.entries);
            let Some((last, durable)) = self.perform(&act)? else { return Ok(()) };
            self.reporter.tell(&Report::Ack(Ack { worker: self.number, n, last, durable }))?;
            for i in 0..act.count {
                self.board.acknowledge(act.key(i), last + 1 + i - act.count);
            }
            self.board.acks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if durable {
                self.board.durable_acks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            if self.rng.u8(..4) > 0 {
                std::thread::sleep(Duration::from_micros(self.rng.u64(..3000)));
            }
        }
        Ok(())
    }

    /// Starts a child that goes on with the same handle.
    fn fork(&self) -> Result<()> {
        // SAFETY: this process has other threads, so the child may only do what does not depend on them: the library is made for
        // that, and the C library's allocator is too. The child never returns from here.
        match unsafe { libc::fork() } {
            -1 => Err(std::io::Error::last_os_error().into()),
            0 => {
                let written = std::panic::catch_unwind(|| {
                    self.board.note_fork();
                    Worker::new(self.task, self.cohort, self.board)?.work(false)
                });
                match written {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) if self.board.phase() == Phase::Cut => {}
                    Ok(Err(e)) => tell_violation(&self.task.place.outside, &format!("a forked writer: {e}")),
                    Err(_) => tell_violation(&self.task.place.outside, "a forked writer panicked"),
                }
                // SAFETY: ends the process without running what its parent has registered for its own end.
                unsafe { libc::_exit(0) }
            }
            _ => Ok(()),
        }
    }

    /// Does an act until it is done: its last seq, and whether it is durable. `None`: the storm is over.
    fn perform(&mut self, act: &Act) -> Result<Option<(Seq, bool)>> {
        loop {
            let e = match self.attempt(act) {
                Ok(last) => {
                    let durable =
                        act.durable && self.is_made_durable(act) && self.board.phase().keeps_syncs();
                    return Ok(Some((last, durable)));
                }
                Err(e) => e,
            };
            let counted = |counter: &std::sync::atomic::AtomicU64| {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            };
            match self.task.weather {
                Weather::Full if e.is_no_space() => counted(&self.board.no_space),
                Weather::Failing if e.is_durability_unknown() => {
                    counted(&self.board.unknown);
                    // It is written, and must not be appended again.
                    let seq = e.seq().ok_or("an unknown durability without a seq")?;
                    return Ok(Some((seq, false)));
                }
                Weather::Failing if e.is_poisoned() => counted(&self.board.poisoned),
                Weather::Failing if e.is_no_space() => counted(&self.board.no_space),
                Weather::Failing if !e.is_corruption() && !e.is_lock_timeout() => counted(&self.board.failed),
                _ => return Err(e.into()),
            }
            if self.board.phase() != Phase::Run || children::parent_is_gone(self.task.place.lifeline) {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(self.rng.u64(1..10)));
        }
    }

    /// There is no durable `update` and `append_if`: these follow the cohort's setting.
    fn is_made_durable(&self, act: &Act) -> bool {
        matches!(act.kind, Kind::Put | Kind::Batch)
    }

    fn attempt(&self, act: &Act) -> tallyfold::Result<Seq> {
        let batch = |found: u64| -> tallyfold::Result<Batch> {
            let mut batch = Batch::new();
            for i in 0..act.count {
                batch.put(&key_name(act.key(i)), &act.value(i, found))?;
            }
            Ok(batch)
        };
        let key = key_name(act.key(0));
        match act.kind {
            Kind::Put if act.durable => self.cohort.append_durable(&key, &act.value(0, 0)),
            Kind::Put => self.cohort.append(&key, &act.value(0, 0)),
            Kind::Batch if act.durable => self.cohort.append_batch_durable(batch(0)?),
            Kind::Batch => self.cohort.append_batch(batch(0)?),
            Kind::Update => {
                let written = self.cohort.update(&key, |old: Option<&Entry>| {
                    let found = match old {
                        Some(entry) => entry.to::<crate::act::Value>()?.found,
                        None => 0,
                    };
                    Ok(Some(act.value(0, found + 1)))
                });
                written.map(|seq| seq.unwrap_or(0))
            }
            Kind::IfKey => until_it_holds(|| {
                let found = self.cohort.view()?.get(&key)?.map_or(0, |entry| entry.seq());
                self.cohort.append_if(Expect::Key(&key, found), batch(found)?)
            }),
            Kind::IfHead => until_it_holds(|| {
                let found = self.cohort.last_seq()?;
                self.cohort.append_if(Expect::Head(found), batch(found)?)
            }),
        }
    }
}

/// A conflict is the answer of an `append_if` that came too late: read again.
fn until_it_holds(mut act: impl FnMut() -> tallyfold::Result<Seq>) -> Result<Seq, Error> {
    loop {
        match act() {
            Err(e) if e.is_conflict() => {}
            other => return other,
        }
    }
}
