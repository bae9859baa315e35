//! A disk that another file fills and leaves again and again: what could not be appended is told as that, and nothing else
//! happens.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tallyfold::Store;

use crate::Result;
use crate::board::{Board, Phase};
use crate::children::{self, Crew, Role};
use crate::disk::{Disk, Disks};
use crate::judge::Verdict;
use crate::kills::{self, SORTS};
use crate::reader;
use crate::report;
use crate::writer::{self, Place, Weather};

const DISK_BYTES: u64 = 384 << 20;
const LONGEST: Duration = Duration::from_secs(60);
/// Refusals in a full phase, and acknowledgements in one with room, before the next begins.
const REFUSED: u64 = 20;
const ACKNOWLEDGED: u64 = 200;

pub fn run(disks: &Disks, cycles: u64, seed: u64) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for (number, sort) in (0..).zip(SORTS) {
        let mine = cycles.div_ceil(SORTS.len() as u64);
        let disk = Disk::make(disks, &format!("full-{number}"), DISK_BYTES, &[])?;
        let outside = disks.path().join(format!("outside-full-{number}"));
        fs::create_dir(&outside)?;
        let store = disk.path().join("store");
        Store::open(&store)?.create("c", sort.settings())?;
        let board = Board::open(&outside.join("board"))?;
        let mut crew = Crew::new(board)?;
        let place = Place { store, cohort: "c".into(), outside, lifeline: crew.lifeline(), seed };
        let weather = Weather::Full;
        for threads in 1..=3 {
            let place = place.clone();
            crew.start(Role::Write(writer::Task { place, threads, forks: false, weather, acts: None }))?;
        }
        crew.start(Role::Compact(reader::Compact { place: place.clone(), weather }))?;
        crew.start(Role::Read(reader::Task { place: place.clone(), attached: false }))?;
        let balloon = disk.path().join("balloon");
        let mut cycles = 0;
        while cycles < mine {
            let refused = board.no_space.load(Ordering::Relaxed);
            let begun = Instant::now();
            while board.no_space.load(Ordering::Relaxed) < refused + REFUSED {
                fill(&balloon)?;
                step(&mut crew, &mut verdict, begun)?;
            }
            let acknowledged = board.acks.load(Ordering::Relaxed);
            fs::remove_file(&balloon)?;
            let begun = Instant::now();
            while board.acks.load(Ordering::Relaxed) < acknowledged + ACKNOWLEDGED {
                step(&mut crew, &mut verdict, begun)?;
            }
            cycles += 1;
        }
        board.set_phase(Phase::End);
        for what in crew.wait()?.into_iter().chain(report::read_violations(&place.outside)?) {
            verdict.wrong(what);
        }
        let acks = report::acks(&report::read_all(&place.outside)?);
        let cohort = place.open()?;
        // Nobody was killed, and what was refused was not written: so all there is was acknowledged.
        kills::examine(&cohort, seed, &acks, 0, &mut verdict)?;
        drop(cohort);
        println!(
            "lock {}, fold {}: filled {cycles} times, {} appends refused for want of space, {} acknowledged, {} reader checks",
            sort.lock.name(),
            if sort.log { "log" } else { "latest" },
            board.no_space.load(Ordering::Relaxed),
            acks.len(),
            board.checks.load(Ordering::Relaxed),
        );
        drop(crew);
        disk.unmount()?;
    }
    Ok(verdict)
}

fn step(crew: &mut Crew, verdict: &mut Verdict, begun: Instant) -> Result<()> {
    children::sleep(Duration::from_millis(5))?;
    for what in crew.ended()? {
        verdict.wrong(what);
    }
    if !verdict.is_clean() {
        return Err(verdict.told.join("; ").into());
    }
    if begun.elapsed() > LONGEST {
        return Err("what was waited for does not happen".into());
    }
    Ok(())
}

/// Takes all the space there is, down to the last block.
fn fill(balloon: &Path) -> Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(balloon)?;
    let mut piece: libc::off_t = 64 << 20;
    while piece >= 4096 {
        let len = file.metadata()?.len() as libc::off_t;
        // SAFETY: the descriptor is open; takes no pointer.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, len, piece) } != 0 {
            piece /= 2;
        }
    }
    match file.write_all(&[0; 4096]) {
        Err(e) if e.kind() != std::io::ErrorKind::StorageFull => Err(e.into()),
        _ => Ok(()),
    }
}
