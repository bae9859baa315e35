//! Syncs that fail once and then "succeed", because there is no space beneath the file system: nothing may be acknowledged
//! that is not there when the file system is mounted again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tallyfold::Store;

use crate::Result;
use crate::board::{Board, Phase};
use crate::children::{self, Crew, Role};
use crate::disk::{Disk, Disks, command};
use crate::judge::{self, Verdict};
use crate::kills::{self, SORTS};
use crate::reader;
use crate::report;
use crate::writer::{self, Place, Weather};

const IMAGE_BYTES: u64 = 256 << 20;
/// What is left beneath the file system when space is to become short.
const SPACE: u64 = 2 << 20;
/// The beginning of the image, with all tables.
const TABLES: u64 = 2 << 20;
/// Small, so that the extents of a segment have room in its inode: a block of them would be a table that cannot be reserved.
const SEGMENT_BYTES: u64 = 64 << 10;
/// How often it becomes short in a round.
const FAILURES: u64 = 3;
const LONGEST: Duration = Duration::from_secs(60);
/// Acknowledgements that show that the store goes on.
const ENOUGH: u64 = 50;

pub fn run(disks: &Disks, rounds: u64, seed: u64) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    for number in 0..rounds {
        let sort = SORTS[number as usize % SORTS.len()];
        let beneath = disks.path().join(format!("beneath-{number}"));
        std::fs::create_dir(&beneath)?;
        let beneath_name = beneath.to_string_lossy().into_owned();
        command("mount", &["-t", "tmpfs", "-o", "size=512m", "tmpfs", &beneath_name])?;
        let result = round(disks, &beneath, number, sort, seed.wrapping_add(number), &mut verdict);
        command("umount", &["-l", &beneath_name])?;
        result?;
        if !verdict.is_clean() {
            break;
        }
    }
    Ok(verdict)
}

fn round(
    disks: &Disks,
    beneath: &Path,
    number: u64,
    sort: kills::Sort,
    seed: u64,
    verdict: &mut Verdict,
) -> Result<()> {
    // No journal, few inodes, and their tables at the beginning, where space is reserved beneath: what is lacking is space for
    // data. A lost write of an inode is told to nobody (without a journal, fsync does not even wait for it), and no store can
    // do anything about that.
    let options = ["-b", "4096", "-N", "1024", "-O", "^has_journal,^resize_inode,^metadata_csum"];
    let disk = Disk::make_in(beneath, disks, &format!("failing-{number}"), IMAGE_BYTES, &options)?;
    disk.reserve(TABLES)?;
    disk.write_single_pages()?;
    let outside = disks.path().join(format!("outside-syncs-{number}"));
    std::fs::create_dir(&outside)?;
    let store = disk.path().join("store");
    Store::open(&store)?.create("c", sort.settings().segment_bytes(SEGMENT_BYTES))?;
    command("sync", &["-f", &store.to_string_lossy()])?;
    let board = Board::open(&outside.join("board"))?;
    let mut crew = Crew::new(board)?;
    let place = Place { store, cohort: "c".into(), outside, lifeline: crew.lifeline(), seed };
    let resize =
        |bytes: u64| command("mount", &["-o", &format!("remount,size={bytes}"), &beneath.to_string_lossy()]);
    let write = |crew: &mut Crew, threads| {
        let (place, weather) = (place.clone(), Weather::Failing);
        crew.start(Role::Write(writer::Task { place, threads, forks: false, weather, acts: None }))
    };
    for _ in 0..3 {
        write(&mut crew, 2)?;
    }
    let weather = Weather::Failing;
    crew.start(Role::Compact(reader::Compact { place: place.clone(), weather }))?;
    let failures = || {
        [&board.unknown, &board.poisoned, &board.failed, &board.no_space]
            .iter()
            .map(|n| n.load(Ordering::Relaxed))
            .sum::<u64>()
    };
    let (mut late, mut told) = (0, 0);
    for _ in 0..FAILURES {
        // Writers may have taken more than that meanwhile: then once more.
        let mut tries = 0;
        while let Err(e) = resize(used(beneath)? + SPACE) {
            tries += 1;
            if tries == 10 {
                return Err(e);
            }
        }
        let (failed, durable) = (failures(), board.durable_acks.load(Ordering::Relaxed));
        until(&mut crew, &place.outside, "a failure", || failures() > failed)?;
        // Who opens the files after the failure is told by the kernel that all is well.
        write(&mut crew, 2)?;
        children::sleep(Duration::from_millis(800))?;
        late += board.durable_acks.load(Ordering::Relaxed) - durable;
        told += failures() - failed;
        resize(IMAGE_BYTES * 2)?;
        let durable = board.durable_acks.load(Ordering::Relaxed);
        until(&mut crew, &place.outside, "that durable appends go on", || {
            board.durable_acks.load(Ordering::Relaxed) >= durable + ENOUGH
        })?;
    }
    board.set_phase(Phase::End);
    for what in crew.wait()?.into_iter().chain(report::read_violations(&place.outside)?) {
        verdict.wrong(what);
    }
    let acks = report::acks(&report::read_all(&place.outside)?);
    let written = acks.len();
    let durable = acks.iter().filter(|ack| ack.durable).count();
    // In the page cache all is there, durable or not. A writer may have ended over an act that it could not do.
    let mut epoch = 0;
    let mut examined = |acks: &[report::Ack], verdict: &mut Verdict| -> Result<()> {
        let cohort = place.open()?;
        kills::examine(&cohort, seed, acks, 0, verdict)?;
        epoch = cohort.stats()?.epoch;
        Ok(())
    };
    examined(&acks, verdict).map_err(|e| format!("before the file system was unmounted: {e}"))?;
    // And on the disk what is durable.
    disk.unmount()?;
    disk.mount()?;
    disk.write_single_pages()?;
    let end =
        place.open()?.last_seq().map_err(|e| format!("after the file system was mounted again: {e}"))?;
    examined(&judge::surviving(acks, end, verdict), verdict)
        .map_err(|e| format!("after the file system was mounted again: {e}"))?;
    disk.unmount()?;
    println!(
        "round {}, lock {}: the space beneath was used up {FAILURES} times: {told} appends failed then ({} written, durability \
         unknown); {written} acknowledged, {durable} of them durable, {late} of these while space was short; epoch {epoch}",
        number + 1,
        sort.lock.name(),
        board.unknown.load(Ordering::Relaxed),
    );
    Ok(())
}

/// The bytes that the files in a directory take.
fn used(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.blocks() * 512;
    }
    Ok(bytes)
}

/// Waits until something is so, as long as all children live.
fn until(crew: &mut Crew, outside: &Path, what: &str, so: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !so() {
        children::sleep(Duration::from_millis(5))?;
        let ended = crew.ended()?;
        if !ended.is_empty() {
            let told = report::read_violations(outside)?;
            return Err(format!("{}: {}", ended.join("; "), told.join("; ")).into());
        }
        if begun.elapsed() > LONGEST {
            return Err(format!("{what} was waited for and did not come").into());
        }
    }
    Ok(())
}
