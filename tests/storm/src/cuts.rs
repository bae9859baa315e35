//! A file system is cut off under writers, as by a power cut, and mounted again. What was durable must be there.

use std::path::Path;
use std::time::Duration;

use tallyfold::{Cohort, Store};

use crate::Result;
use crate::board::{Board, Phase};
use crate::children::{self, Crew, Role};
use crate::disk::{Cut, Disk, Disks};
use crate::judge::{self, Verdict};
use crate::kills::{self, SORTS};
use crate::reader;
use crate::report::{self, Ack, Report};
use crate::writer::{self, Place, Weather};

/// How often one file system is cut off before another is made.
const CUTS_A_DISK: u64 = 4;
const DISK_BYTES: u64 = 1 << 30;
const WRITERS: u64 = 4;

#[derive(Default)]
struct Tally {
    cuts: u64,
    restarts: u64,
    kills: u64,
    durable: u64,
    gone: u64,
    saw: u64,
    epochs: u64,
}

pub fn run(disks: &Disks, cuts: u64, seed: u64) -> Result<Verdict> {
    let (mut tally, mut verdict) = (Tally::default(), Verdict::default());
    for number in 0.. {
        if tally.cuts >= cuts || !verdict.is_clean() {
            break;
        }
        let left = (cuts - tally.cuts).min(CUTS_A_DISK);
        let disk = Disk::make(disks, &format!("cut-{number}"), DISK_BYTES, &[])?;
        let outside = disks.path().join(format!("outside-{number}"));
        std::fs::create_dir(&outside)?;
        let mut series = Series::begin(disks, &disk, &outside, number, seed.wrapping_add(number))?;
        for _ in 0..left {
            series.cut(&mut tally, &mut verdict)?;
        }
    }
    println!(
        "{} cuts, {} of them as if the system had been started anew, and {} kills: {} durable acknowledgements held, {} records that were \
         not durable are gone, {} looks of a witness compared, {} epochs",
        tally.cuts, tally.restarts, tally.kills, tally.durable, tally.gone, tally.saw, tally.epochs
    );
    Ok(verdict)
}

/// One file system, cut off again and again.
struct Series<'a> {
    disks: &'a Disks,
    disk: &'a Disk,
    place: Place,
    board: Board,
    crew: Crew,
    rng: fastrand::Rng,
    /// What is known of the time before the last cut.
    acks: Vec<Ack>,
    saw: Vec<Report>,
    /// Acts that may have been appended and not acknowledged.
    died: u64,
}

impl<'a> Series<'a> {
    fn begin(disks: &'a Disks, disk: &'a Disk, outside: &Path, number: u64, seed: u64) -> Result<Series<'a>> {
        let store = disk.path().join("store");
        let sort = SORTS[number as usize % SORTS.len()];
        Store::open(&store)?.create("c", sort.settings())?;
        let board = Board::open(&outside.join("board"))?;
        let crew = Crew::new(board)?;
        let place =
            Place { store, cohort: "c".into(), outside: outside.into(), lifeline: crew.lifeline(), seed };
        let rng = fastrand::Rng::with_seed(seed);
        let (acks, saw) = (Vec::new(), Vec::new());
        Ok(Series { disks, disk, place, board, crew, rng, acks, saw, died: 0 })
    }

    fn write(&mut self, threads: u64, acts: Option<u64>) -> Result<()> {
        let (place, weather) = (self.place.clone(), Weather::Fair);
        self.crew.start(Role::Write(writer::Task { place, threads, forks: false, weather, acts }))
    }

    fn cut(&mut self, tally: &mut Tally, verdict: &mut Verdict) -> Result<()> {
        self.board.set_phase(Phase::Run);
        self.board.forget_acknowledged();
        for _ in 0..WRITERS {
            let threads = self.rng.u64(1..=3);
            self.write(threads, None)?;
            self.died += threads;
        }
        let (place, weather) = (self.place.clone(), Weather::Fair);
        self.crew.start(Role::Compact(reader::Compact { place: place.clone(), weather }))?;
        self.crew.start(Role::Witness(place.clone()))?;
        self.crew.start(Role::Read(reader::Task { place, attached: false }))?;
        // Some die before, so that what they have left is cut off too.
        for _ in 0..self.rng.u64(..4) {
            children::sleep(Duration::from_millis(self.rng.u64(..100)))?;
            let role = self.crew.kill(self.rng.usize(..self.crew.len()))?;
            self.died += 3;
            tally.kills += 1;
            self.crew.start(role)?;
        }
        children::sleep(Duration::from_millis(self.rng.u64(20..500)))?;
        for what in self.crew.ended()? {
            verdict.wrong(what);
        }
        self.board.set_phase(Phase::Cut);
        let how = if tally.cuts.is_multiple_of(2) { Cut::AtOnce } else { Cut::WithLog };
        self.disk.cut_off(how)?;
        // Writers meet the cut.
        children::sleep(Duration::from_millis(self.rng.u64(..60)))?;
        // Some have ended by themselves: with an error, or by a store to a mapping that nothing is behind any more.
        self.crew.kill_all()?;
        self.disk.unmount()?;
        self.disk.mount()?;
        let restart = (tally.cuts / 2).is_multiple_of(2);
        if restart {
            self.disks.start_system_anew()?;
            tally.restarts += 1;
        }
        tally.cuts += 1;
        self.collect()?;
        for what in report::read_violations(&self.place.outside)? {
            verdict.wrong(what);
        }
        let seen_epoch = self.look(&self.place.open()?, tally, verdict)?;

        // The next writer goes on.
        self.board.set_phase(Phase::Run);
        self.write(1, Some(5))?;
        for what in self.crew.wait()?.into_iter().chain(report::read_violations(&self.place.outside)?) {
            verdict.wrong(what);
        }
        self.collect()?;
        let cohort = self.place.open()?;
        kills::examine(&cohort, self.place.seed, &self.acks, self.died, verdict)?;
        let epoch = cohort.stats()?.epoch;
        if restart && epoch <= seen_epoch {
            verdict.wrong(format!(
                "the system was started anew, and epoch {seen_epoch} is followed by epoch {epoch}"
            ));
        }
        tally.epochs += epoch.saturating_sub(seen_epoch);
        Ok(())
    }

    /// Takes what was reported since the last time.
    fn collect(&mut self) -> Result<()> {
        let reports = report::read_all(&self.place.outside)?;
        std::fs::read_dir(&self.place.outside)?.try_for_each(|entry| {
            let path = entry?.path();
            match path.extension().is_some_and(|extension| extension == "reports") {
                true => std::fs::remove_file(path),
                false => Ok(()),
            }
        })?;
        self.acks.extend(report::acks(&reports));
        self.saw.extend(reports.into_iter().filter(|report| matches!(report, Report::Saw { .. })));
        Ok(())
    }

    /// What the cut has left. Returns the highest epoch that anybody saw before it.
    fn look(&mut self, cohort: &Cohort, tally: &mut Tally, verdict: &mut Verdict) -> Result<u64> {
        let chains = judge::chains(cohort)?;
        let end = chains.len() as u64 - 1;
        let before = self.acks.len();
        let acks = std::mem::take(&mut self.acks);
        self.acks = judge::surviving(acks, end, verdict);
        tally.gone += (before - self.acks.len()) as u64;
        tally.durable += self.acks.iter().filter(|ack| ack.durable).count() as u64;
        let mut highest = 0;
        self.saw.retain(|report| {
            let Report::Saw { epoch, seq, hash, durable } = *report else { return false };
            highest = highest.max(epoch);
            tally.saw += 1;
            match chains.get(seq as usize) {
                Some(chain) if *chain == hash => true,
                Some(_) => {
                    verdict.wrong(format!("records 1 to {seq} of epoch {epoch} have another content now"));
                    false
                }
                None if durable => {
                    verdict.wrong(format!(
                        "seq {seq} of epoch {epoch} was seen durable, and {end} is the last now"
                    ));
                    false
                }
                None => false,
            }
        });
        Ok(highest)
    }
}
