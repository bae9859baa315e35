//! The storm: writers, readers and a compactor, killed and stopped at random moments.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tallyfold::{Cohort, LockClass, Retain, Settings, Store};

use crate::Result;
use crate::board::{Board, Phase};
use crate::children::{self, Crew, Role};
use crate::judge::{self, Verdict};
use crate::reader::{self, Follower};
use crate::report;
use crate::writer::{self, Place, Weather};

/// A round ends after as many kills, for what it has written is held in memory when it is judged.
const KILLS_A_ROUND: u64 = 250;
/// A round that takes longer than this hangs.
const LONGEST: Duration = Duration::from_secs(240);

#[derive(Default)]
pub struct Tally {
    pub rounds: u64,
    pub kills: u64,
    pub forks_killed: u64,
    pub stops: u64,
    pub epochs: u64,
    pub checks: u64,
    pub verdict: Verdict,
}

/// One kind of cohort.
#[derive(Clone, Copy)]
pub struct Sort {
    pub lock: LockClass,
    pub log: bool,
}

pub const SORTS: [Sort; 4] = [
    Sort { lock: LockClass::Memory, log: false },
    Sort { lock: LockClass::File, log: false },
    Sort { lock: LockClass::Memory, log: true },
    Sort { lock: LockClass::File, log: true },
];

impl Sort {
    pub fn settings(self) -> Settings {
        // All history is kept, for it is all read at the end. Segments are small, so that there are many rotations.
        let settings = if self.log { Settings::log() } else { Settings::latest() };
        settings
            .lock(self.lock)
            .retain(Retain::All)
            .segment_bytes(512 << 10)
            .compact_bytes(256 << 10)
            .sync_interval(Duration::from_millis(100))
    }
}

pub fn run(dir: &Path, kills: u64, writers: u64, seed: u64) -> Result<Tally> {
    let mut tally = Tally::default();
    let rounds = kills.div_ceil(KILLS_A_ROUND).next_multiple_of(SORTS.len() as u64);
    for number in 0..rounds {
        let left = kills - tally.kills.min(kills);
        let sort = SORTS[number as usize % SORTS.len()];
        let begun = Instant::now();
        let before = tally.kills;
        let mut round = Round::begin(dir, sort, seed.wrapping_add(number))?;
        let stormed = round.storm(left.div_ceil(rounds - number), writers, &mut tally);
        let (verdict, epoch) = round.end(&mut tally, stormed)?;
        println!(
            "round {}, lock {}, fold {}: {} kills, {} records, {} acknowledged, epoch {epoch}, {:.1} s{}",
            number + 1,
            sort.lock.name(),
            if sort.log { "log" } else { "latest" },
            tally.kills - before,
            verdict.records,
            verdict.acks,
            begun.elapsed().as_secs_f64(),
            if verdict.is_clean() { "" } else { ": VIOLATIONS" },
        );
        tally.rounds += 1;
        tally.epochs += epoch;
        tally.verdict.add(verdict);
    }
    Ok(tally)
}

/// A cohort of its own and the processes at it.
pub struct Round {
    /// Removed with the round.
    _dir: tempfile::TempDir,
    pub place: Place,
    pub board: Board,
    crew: Crew,
    rng: fastrand::Rng,
    kills: u64,
    bad: Vec<String>,
}

impl Round {
    pub fn begin(dir: &Path, sort: Sort, seed: u64) -> Result<Round> {
        let dir = tempfile::tempdir_in(dir)?;
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside)?;
        let store = dir.path().join("store");
        Store::open(&store)?.create("c", sort.settings())?;
        let board = Board::open(&outside.join("board"))?;
        let crew = Crew::new(board)?;
        let place = Place { store, cohort: "c".into(), outside, lifeline: crew.lifeline(), seed };
        let rng = fastrand::Rng::with_seed(seed);
        Ok(Round { _dir: dir, place, board, crew, rng, kills: 0, bad: Vec::new() })
    }

    fn writer(&mut self) -> Role {
        Role::Write(writer::Task {
            place: self.place.clone(),
            threads: self.rng.u64(1..=3),
            forks: self.rng.u8(..5) == 0,
            weather: Weather::Fair,
            acts: None,
        })
    }

    pub fn storm(&mut self, kills: u64, writers: u64, tally: &mut Tally) -> Result<()> {
        for _ in 0..writers {
            let writer = self.writer();
            self.crew.start(writer)?;
        }
        for attached in [false, true] {
            self.crew.start(Role::Read(reader::Task { place: self.place.clone(), attached }))?;
        }
        let weather = Weather::Fair;
        self.crew.start(Role::Compact(reader::Compact { place: self.place.clone(), weather }))?;
        let begun = Instant::now();
        let mut stopped: Vec<(u32, Instant)> = Vec::new();
        while self.kills < kills {
            // Most kills come one by one, some in bursts.
            let wait = if self.rng.u8(..4) == 0 { self.rng.u64(..1500) } else { self.rng.u64(..50_000) };
            children::sleep(Duration::from_micros(wait))?;
            self.bad.extend(self.crew.ended()?);
            if !self.bad.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > LONGEST {
                return Err("the round takes too long".into());
            }
            stopped.retain(|(id, until)| {
                let Some(at) = self.crew.find(*id) else { return false };
                let due = *until <= Instant::now();
                if due {
                    self.crew.signal(at, libc::SIGCONT);
                }
                !due
            });
            match self.rng.u8(..10) {
                0..2 if stopped.len() < 2 => {
                    let at = self.rng.usize(..self.crew.len());
                    self.crew.signal(at, libc::SIGSTOP);
                    tally.stops += 1;
                    stopped.push((
                        self.crew.id(at),
                        Instant::now() + Duration::from_millis(self.rng.u64(1..80)),
                    ));
                }
                2..4 if self.crew.kill_a_fork() => {
                    self.kills += 1;
                    tally.forks_killed += 1;
                }
                // Now and then all at once, so that the next one finds nobody attached.
                _ => {
                    let all = self.rng.u8(..50) == 0;
                    let mut dead = Vec::new();
                    while self.crew.len() > 0 && (all || dead.is_empty()) {
                        let at = self.rng.usize(..self.crew.len());
                        dead.push(self.crew.kill(at)?);
                    }
                    while all && self.crew.kill_a_fork() {
                        self.kills += 1;
                        tally.forks_killed += 1;
                    }
                    for role in dead {
                        self.kills += 1;
                        let role = match role {
                            Role::Write(_) => self.writer(),
                            other => other,
                        };
                        self.crew.start(role)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub fn kill_all(&mut self) -> Result<()> {
        self.crew.kill_all().map(|_| ())
    }

    /// Kills all, and judges what is there. Returns the epoch too.
    fn end(mut self, tally: &mut Tally, stormed: Result<()>) -> Result<(Verdict, u64)> {
        let (killed, bad) = self.crew.kill_all()?;
        self.bad.extend(bad);
        self.kills += killed;
        tally.kills += self.kills;
        tally.checks += self.board.checks.load(Ordering::Relaxed);
        let mut verdict = Verdict::default();
        children::check_interrupted()?;
        if let Err(e) = stormed {
            verdict.wrong(e.to_string());
        }
        for what in self.bad.drain(..).chain(report::read_violations(&self.place.outside)?) {
            verdict.wrong(what);
        }
        let acks = report::acks(&report::read_all(&self.place.outside)?);
        let cohort = self.place.open()?;
        // A killed process can have died over one act in each of its threads.
        if let Err(e) = examine(&cohort, self.place.seed, &acks, 3 * self.kills, &mut verdict) {
            verdict.wrong(e.to_string());
        }
        goes_on(&cohort, &mut verdict);
        let epoch = cohort.stats()?.epoch;
        self.board.set_phase(Phase::End);
        Ok((verdict, epoch))
    }
}

/// Reads all there is in every way, and judges it.
pub fn examine(
    cohort: &Cohort,
    seed: u64,
    acks: &[report::Ack],
    kills: u64,
    verdict: &mut Verdict,
) -> Result<()> {
    let seen = judge::read_all(cohort, seed, verdict)?;
    judge::judge(&seen, acks, kills, verdict);
    let view = cohort.view()?;
    let mut follower = Follower::begin(cohort, seed)?;
    follower.follow_to(seen.len() as u64)?;
    reader::forward("the last view", seen.len() as u64, view.seq())?;
    follower.compare(&view)?;
    let verified = cohort.verify()?;
    for finding in verified.findings.iter().filter(|finding| finding.severity == tallyfold::Severity::Damage)
    {
        verdict.wrong(format!("verify: {}", finding.what));
    }
    Ok(())
}

/// Whatever died, the next one appends behind the last seq.
fn goes_on(cohort: &Cohort, verdict: &mut Verdict) {
    let appended = cohort.last_seq().and_then(|last| {
        let seq = cohort.append_durable("after", &"the storm")?;
        Ok((last, seq, cohort.verify()?.is_damaged()))
    });
    match appended {
        Ok((last, seq, false)) if seq == last + 1 => {}
        other => verdict.wrong(format!("an append after the storm: {other:?}")),
    }
}
