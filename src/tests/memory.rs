//! The lock class `memory`: writers that die, stop and fork at every step under its locks.
#![allow(clippy::disallowed_methods, reason = "tests spoil and copy files on purpose")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{PATIENCE, names, shares_memory, values};
use crate::cohort::Cohort;
use crate::home::Home;
use crate::names::LOCK;
use crate::sys::{self, Forked, LockFile, Pipe, Reach};
use crate::{Batch, LockClass, Settings, Store};

/// A store with a cohort `c` of this class.
struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    /// `None` where processes cannot share memory.
    fn new(settings: Settings) -> Option<Place> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        if !shares_memory(&store) {
            println!("skipped: no shared memory on the file system of the temporary directory");
            return None;
        }
        store.create("c", settings.lock(LockClass::Memory)).unwrap();
        Some(Place { dir, store })
    }

    /// A handle with an attachment of its own, as another process has it.
    fn open(&self) -> Cohort {
        self.store.cohort("c").unwrap().with_timeout(PATIENCE)
    }

    fn attached(&self) -> Cohort {
        let cohort = self.open();
        cohort.writer().attachment(PATIENCE).unwrap();
        cohort
    }

    /// Where a child says what was acknowledged to it.
    fn acknowledged(&self) -> PathBuf {
        self.dir.path().join("acknowledged")
    }

    /// Whether nobody is attached: then the lock is had exclusively.
    fn is_left(&self) -> bool {
        let lock = LockFile::new(self.open().home().dir.open_write(LOCK).unwrap());
        lock.try_exclusive().unwrap().is_some()
    }
}

/// Appends 1, 2, 3, … and says so, until something ends it.
fn append_on(cohort: &Cohort, said: &Path, durable: bool) -> bool {
    for i in 1..1000u64 {
        let appended = match durable {
            true => cohort.append_durable("k", &i),
            false => cohort.append("k", &i),
        };
        if appended.is_err() || std::fs::write(said, appended.unwrap_or(0).to_string()).is_err() {
            return false;
        }
    }
    false
}

fn number_in(path: &Path) -> u64 {
    std::fs::read_to_string(path).map_or(0, |text| text.parse().unwrap())
}

/// Asks again and again until it is so; the test fails if that takes a minute.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_whole(place: &Place) {
    let cohort = place.open();
    let found = values(&cohort);
    assert!(found.iter().map(|(seq, _)| *seq).eq(1..=found.len() as u64), "no gaps: {found:?}");
    let report = cohort.verify().unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
}

/// Writes the first half of the frame that comes next, as far as a dying writer may get.
fn half_a_frame(cohort: &Cohort, path: &Path) {
    let end = cohort.writer().attached().unwrap().control().unwrap().ends().read();
    let name = crate::names::segment(end.segment);
    let file = std::fs::OpenOptions::new().write(true).open(path.join(name)).unwrap();
    let half: Vec<u8> = (1..=40).collect();
    std::os::unix::fs::FileExt::write_all_at(&file, &half, end.offset).unwrap();
}

/// Lets a child append until it dies at a step, and then another go on: with a handle that was attached all the time, and with
/// one that finds nobody attached. `adopted`: whether what the child was at is there.
fn dies_at(step: &'static str, before: usize, settings: &Settings, durable: bool, adopted: bool) {
    for beside in [true, false] {
        let Some(place) = Place::new(settings.clone()) else { return };
        let survivor = place.open();
        if beside {
            survivor.writer().attachment(PATIENCE).unwrap();
        }
        let said = place.acknowledged();
        let status = sys::in_forked_child(|| {
            let cohort = place.attached();
            sys::at_step(step, before, sys::kill_self);
            append_on(&cohort, &said, durable)
        });
        let what = format!("{step}, {}", if beside { "with another attached" } else { "alone" });
        assert_eq!(status, None, "{what}: it died there");
        let acknowledged = number_in(&said);
        let expected = acknowledged + 1 + u64::from(adopted);
        assert_eq!(survivor.append_durable("k", &0).unwrap(), expected, "{what}");
        for i in 1..40 {
            assert_eq!(survivor.append("k", &i).unwrap(), expected + i, "{what}");
        }
        let found = values(&place.open());
        let survived = (1..expected).map(|seq| (seq, seq));
        assert!(survived.eq(found[..expected as usize - 1].iter().copied()), "{what}: {found:?}");
        is_whole(&place);
    }
}

#[test]
fn a_writer_that_dies_at_any_step_of_an_append_leaves_a_whole_frame_or_none() {
    for (step, adopted) in
        [("lock taken", false), ("frame begun", false), ("frame written", true), ("frame published", true)]
    {
        for durable in [false, true] {
            dies_at(step, 7, &Settings::log(), durable, adopted);
        }
    }
}

#[test]
fn a_writer_that_dies_in_the_middle_of_a_frame_is_cut_off_by_one_who_was_there_before_and_by_a_newcomer() {
    for beside in [true, false] {
        let Some(place) = Place::new(Settings::log()) else { return };
        let survivor = place.open();
        if beside {
            survivor.writer().attachment(PATIENCE).unwrap();
        }
        let (mut cursor, mut reader) = (survivor.cursor(1).unwrap(), 0);
        let said = place.acknowledged();
        let status = sys::in_forked_child(|| {
            let cohort = place.attached();
            let (inside, path) = (cohort.clone(), cohort.path());
            sys::at_step("frame begun", 5, move || {
                half_a_frame(&inside, &path);
                sys::kill_self();
            });
            append_on(&cohort, &said, false)
        });
        assert_eq!((status, number_in(&said)), (None, 5));
        assert_eq!(values(&survivor).len(), 5, "readers stop before it");
        assert_eq!(survivor.append("k", &6).unwrap(), 6);
        assert_eq!(survivor.stats().unwrap().epoch, 2, "it was cut off");
        assert_eq!(survivor.append("k", &7).unwrap(), 7);
        while let Some(record) = cursor.next_record().unwrap() {
            reader += 1;
            assert_eq!((record.seq(), record.to::<u64>().unwrap()), (reader, reader));
        }
        assert_eq!(reader, 7);
        is_whole(&place);
    }
}

#[test]
fn a_writer_that_dies_at_any_step_of_a_rotation_leaves_the_old_segment_or_the_new_one() {
    let small = Settings::log().segment_bytes(4096);
    for step in ["link begun", "link written"] {
        for before in [0, 2] {
            dies_at(step, before, &small, false, false);
        }
    }
}

#[test]
fn a_leader_that_dies_at_any_step_of_its_sync_is_replaced_and_the_records_are_carried() {
    for step in ["sync begun", "synced", "sync published"] {
        dies_at(step, 3, &Settings::log(), true, true);
        dies_at(step, 3, &Settings::latest().segment_bytes(4096), true, true);
    }
}

/// The story: a writer died while it carried records into a spare. The next one carried others into the same spare, fewer of
/// them, and what the first one had left stood behind.
#[test]
fn a_writer_that_dies_while_it_carries_records_leaves_a_spare_that_nobody_uses() {
    for step in ["frame carried", "cut written", "cut published"] {
        let Some(place) = Place::new(Settings::log()) else { return };
        let survivor = place.attached();
        for i in 1..=20 {
            survivor.append("k", &i).unwrap();
        }
        // A leader dies, so that whoever comes next has to carry all of them.
        let leader = sys::in_forked_child(|| {
            let cohort = place.attached();
            sys::at_step("sync begun", 0, sys::kill_self);
            cohort.append_durable("k", &21).is_ok()
        });
        assert_eq!(leader, None);
        let carrier = sys::in_forked_child(|| {
            let cohort = place.attached();
            sys::at_step(step, if step == "frame carried" { 9 } else { 0 }, sys::kill_self);
            cohort.append_durable("k", &22).is_ok()
        });
        assert_eq!(carrier, None, "{step}");
        let next = survivor.append_durable("k", &23).unwrap();
        assert_eq!(next, 23, "{step}: what both had written is there");
        for i in 24..=60 {
            assert_eq!(survivor.append("k", &i).unwrap(), i);
        }
        assert!(values(&place.open()).into_iter().eq((1..=60).map(|i| (i, i))), "{step}");
        assert!(survivor.stats().unwrap().epoch >= 2 && !survivor.stats().unwrap().poisoned);
        is_whole(&place);
    }
}

/// The story: everybody was gone when somebody attached next, and found a spare behind the active segment. The mark of the
/// sync whose result was missing was made at the spare, where nobody looked.
#[test]
fn a_sync_whose_result_is_missing_is_remembered_when_nobody_is_left() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let cohort = place.attached();
    cohort.append("k", &1).unwrap();
    let attachment = cohort.writer().attached().unwrap();
    attachment.make_spare(0, &sys::Patience::of(PATIENCE)).unwrap();
    let status = sys::in_forked_child(|| {
        let cohort = place.attached();
        sys::at_step("sync begun", 0, sys::kill_self);
        cohort.append_durable("k", &2).is_ok()
    });
    assert_eq!(status, None);
    // As one that dies: detaching would sync, and find out.
    attachment.journal().unwrap().detached();
    drop(cohort);
    assert!(place.is_left() && names(&place.open()).contains(&"00000002.journal".to_string()));
    let next = place.attached();
    assert!(names(&next).contains(&"00000001.poison".to_string()), "{:?}", names(&next));
    assert_eq!(next.append_durable("k", &3).unwrap(), 3);
    assert_eq!(next.stats().unwrap().epoch, 2, "the records were carried");
    assert_eq!(values(&next), [(1, 1), (2, 2), (3, 3)]);
    is_whole(&place);
}

#[test]
fn those_who_wait_for_a_sync_whose_leader_is_killed_are_acknowledged() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let survivor = place.attached();
    for i in 1..=3 {
        survivor.append("k", &i).unwrap();
    }
    let leader = Forked::begin(|| {
        let cohort = place.attached();
        sys::at_step("sync begun", 0, sys::stop_self);
        cohort.append_durable("k", &4).is_ok()
    });
    leader.stopped();
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let waiter = place.attached();
                scope.spawn(move || waiter.append_durable("k", &5))
            })
            .collect();
        let control = survivor.writer().attached().unwrap().control().unwrap();
        until("they wait", || control.sleepers() >= 3);
        assert_eq!(control.durable_seq(), 0, "nobody is acknowledged before");
        leader.kill();
        let mut seqs: Vec<u64> = waiters.into_iter().map(|waiter| waiter.join().unwrap().unwrap()).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, [5, 6, 7]);
    });
    assert_eq!(leader.end(), None);
    assert_eq!(survivor.append("k", &8).unwrap(), 8);
    let stats = survivor.stats().unwrap();
    assert_eq!((stats.epoch, stats.poisoned), (2, false), "the records were carried");
    assert!(survivor.writer().attached().unwrap().control().unwrap().durable_seq() >= 7);
    is_whole(&place);
}

#[test]
fn a_holder_that_is_stopped_keeps_the_lock_and_is_named() {
    let Some(place) = Place::new(Settings::latest()) else { return };
    let survivor = place.attached();
    survivor.append("k", &1).unwrap();
    for step in ["lock taken", "frame begun", "frame written"] {
        let before = survivor.last_seq().unwrap();
        let holder = Forked::begin(|| {
            let cohort = place.attached();
            sys::at_step(step, 0, sys::stop_self);
            cohort.append("k", &2).is_ok()
        });
        holder.stopped();
        let impatient = survivor.clone().with_timeout(Duration::from_millis(50));
        for error in [
            impatient.append("k", &3).unwrap_err(),
            impatient.append_durable("k", &3).unwrap_err(),
            impatient.compact().unwrap_err(),
        ] {
            assert!(error.is_lock_timeout() && error.holder() == Some(holder.pid()), "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("process {} holds it", holder.pid())), "{text}");
            assert!(text.contains("nothing was written"), "{text}");
        }
        assert!(survivor.view().is_ok(), "it stops no reader");
        holder.go_on();
        assert_eq!(holder.end(), Some(0), "{step}: it went on where it was");
        assert_eq!(survivor.append("k", &4).unwrap(), before + 2, "{step}: only what was acknowledged");
        assert_eq!(survivor.stats().unwrap().epoch, 1, "nothing was in doubt");
    }
    is_whole(&place);
}

#[test]
fn a_leader_that_is_stopped_makes_those_who_wait_say_that_durability_is_unknown() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let survivor = place.attached();
    let leader = Forked::begin(|| {
        let cohort = place.attached();
        sys::at_step("sync begun", 0, sys::stop_self);
        cohort.append_durable("k", &1).is_ok()
    });
    leader.stopped();
    let impatient = survivor.clone().with_timeout(Duration::from_millis(50));
    let error = impatient.append_durable("k", &2).unwrap_err();
    assert!(error.is_durability_unknown() && error.seq() == Some(2), "{error}");
    assert_eq!(
        impatient.append("k", &3).unwrap(),
        3,
        "a sync of others delays nobody who has not asked for it"
    );
    leader.go_on();
    assert_eq!(leader.end(), Some(0));
    assert_eq!(survivor.append_durable("k", &4).unwrap(), 4);
    assert_eq!(survivor.stats().unwrap().epoch, 1);
    is_whole(&place);
}

#[test]
fn the_child_of_a_fork_has_a_slot_of_its_own_and_dies_without_its_parents() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let cohort = place.attached();
    cohort.append("k", &1).unwrap();
    let inside = cohort.clone();
    let status = sys::in_forked_child(|| {
        let appended = inside.append("k", &2).is_ok_and(|seq| seq == 2);
        sys::at_step("frame begun", 0, sys::kill_self);
        appended && inside.append("k", &3).is_ok()
    });
    assert_eq!(status, None, "it died with the lock");
    assert_eq!(cohort.append("k", &3).unwrap(), 3, "its parent takes it over");
    // A child that never uses the handle takes nothing and frees nothing.
    assert_eq!(sys::in_forked_child(|| true), Some(0));
    assert!(!place.is_left(), "the parent is attached");
    assert_eq!(cohort.append_durable("k", &4).unwrap(), 4);
    drop((cohort, inside));
    assert!(place.is_left());
    is_whole(&place);
}

/// The story: the lock on a slot's byte belonged to the description that `control` was mapped through, and a forked child keeps
/// the mapping. So the owner of the lock was taken for alive as long as a child of its lived.
#[test]
fn a_child_that_lives_on_does_not_keep_its_dead_parents_slot() {
    for beside in [true, false] {
        let Some(place) = Place::new(Settings::log()) else { return };
        let survivor = place.open();
        if beside {
            survivor.writer().attachment(PATIENCE).unwrap();
        }
        let pipe = Arc::new(Pipe::new().unwrap());
        let status = sys::in_forked_child(|| {
            let cohort = place.attached();
            let forks = Arc::clone(&pipe);
            sys::at_step("frame begun", 0, move || {
                sys::fork_and_linger(&forks);
                sys::kill_self();
            });
            cohort.append("k", &1).is_ok()
        });
        assert_eq!(status, None);
        assert_eq!(survivor.append("k", &1).unwrap(), 1, "while the grandchild lives");
        drop(pipe);
        is_whole(&place);
    }
}

/// The story: a thread forked after another one had opened a file to be locked and before that was noted. The child did not know
/// the descriptor, kept it, and with it the lock that came later.
#[test]
fn a_child_forked_in_the_middle_of_an_opening_does_not_keep_its_dead_parents_slot() {
    // `lock` and `control`.
    for before in [0, 1] {
        let Some(place) = Place::new(Settings::log()) else { return };
        let survivor = place.attached();
        let pipe = Arc::new(Pipe::new().unwrap());
        let status = sys::in_forked_child(|| {
            let forks = Arc::clone(&pipe);
            sys::at_step("file to be locked opened", before, move || sys::fork_and_linger(&forks));
            let cohort = place.attached();
            sys::at_step("frame begun", 0, sys::kill_self);
            cohort.append("k", &1).is_ok()
        });
        assert_eq!(status, None);
        assert_eq!(survivor.append("k", &1).unwrap(), 1, "while the grandchild lives");
        drop(survivor);
        assert!(place.is_left(), "and `lock` is free");
        drop(pipe);
        is_whole(&place);
    }
}

#[test]
fn a_child_that_lives_on_does_not_keep_its_parent_attached() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let pipe = Pipe::new().unwrap();
    let cohort = place.attached();
    cohort.append("k", &1).unwrap();
    let child = Forked::begin(|| pipe.linger());
    drop(cohort);
    until("the lock is free", || place.is_left());
    pipe.release();
    assert_eq!(child.end(), Some(0));
}

#[test]
fn a_program_started_meanwhile_does_not_keep_the_slot() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let cohort = place.attached();
    cohort.append("k", &1).unwrap();
    let mut program = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(cohort);
    until("the slot is free", || place.is_left());
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success(), "it lived until now");
}

#[test]
fn threads_that_fork_and_detach_at_once_leave_no_slot_behind() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let pipe = Pipe::new().unwrap();
    std::thread::scope(|scope| {
        let (place, pipe) = (&place, &pipe);
        let forks = scope.spawn(move || (0..40).map(|_| Forked::begin(|| pipe.linger())).collect::<Vec<_>>());
        for i in 0.. {
            let cohort = place.open();
            let mut batch = Batch::new();
            batch.put("k", &i).unwrap();
            cohort.append_batch(batch).unwrap();
            drop(cohort);
            if forks.is_finished() {
                break;
            }
        }
        // All forty children live.
        let children = forks.join().unwrap();
        until("every slot is free", || place.is_left());
        drop(children);
    });
    is_whole(&place);
}

/// A copy of the directory is another cohort, with nobody attached, whatever its `control` says.
#[test]
fn a_directory_that_is_copied_while_somebody_writes_stands_on_its_own() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let cohort = place.attached();
    for i in 1..=5 {
        cohort.append("k", &i).unwrap();
    }
    let held = cohort.writer().attached().unwrap();
    let copied = place.dir.path().join("copied");
    held.under_lock(PATIENCE, |_| {
        copy_all(place.store.path(), &copied);
        Ok(crate::journal::Turn::Done(()))
    })
    .unwrap();
    let copy = Store::open_existing(&copied).unwrap().cohort("c").unwrap().with_timeout(PATIENCE);
    assert_eq!(copy.append("k", &6).unwrap(), 6, "the word in the copy names an owner that is none there");
    assert_eq!(cohort.append("k", &6).unwrap(), 6);
    assert_eq!(copy.append_durable("k", &7).unwrap(), 7);
    assert_eq!((values(&copy).len(), values(&cohort).len()), (7, 6));
    assert!(!copy.verify().unwrap().is_damaged());
    is_whole(&place);
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn a_control_that_nobody_uses_may_be_anything() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let path = place.open().path().join("control");
    let mut next = 1;
    let rubbish: [&dyn Fn(&Path); 6] = [
        &|path| std::fs::write(path, vec![0xA5; std::fs::metadata(path).unwrap().len() as usize]).unwrap(),
        &|path| std::fs::write(path, vec![0; std::fs::metadata(path).unwrap().len() as usize]).unwrap(),
        &|path| std::fs::write(path, b"short").unwrap(),
        &|path| std::fs::write(path, vec![7; 1 << 20]).unwrap(),
        &|path| std::fs::remove_file(path).unwrap(),
        &|path| {
            let mut bytes = std::fs::read(path).unwrap();
            bytes[8] = bytes[8].wrapping_add(1);
            std::fs::write(path, bytes).unwrap();
        },
    ];
    for (i, spoil) in rubbish.iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(place.open().append_durable("k", &next).unwrap(), next, "after {i} kinds of rubbish");
            next += 1;
        }
        assert!(place.is_left());
        spoil(&path);
    }
    assert_eq!(place.open().append("k", &next).unwrap(), next);
    assert!(values(&place.open()).into_iter().eq((1..=next).map(|i| (i, i))));
    is_whole(&place);
}

#[test]
fn a_control_that_is_removed_under_those_attached_lets_nobody_else_in() {
    let Some(place) = Place::new(Settings::log()) else { return };
    let cohort = place.attached();
    cohort.append("k", &1).unwrap();
    std::fs::remove_file(cohort.path().join("control")).unwrap();
    let late = place.open().with_timeout(Duration::from_millis(50));
    let error = late.append("k", &2).unwrap_err();
    assert!(error.is_lock_timeout() && error.to_string().contains("control"), "{error}");
    assert_eq!(cohort.append("k", &2).unwrap(), 2, "who is attached goes on");
    drop(cohort);
    assert_eq!(late.append("k", &3).unwrap(), 3, "and then it is made anew");
    assert!(names(&late).contains(&"control".to_string()));
    is_whole(&place);
}

/// A cohort as it would be on another local file system, which shares no memory.
fn elsewhere(cohort: &Cohort, file_system: &str) -> Cohort {
    let home = cohort.home();
    Cohort::new(Arc::new(Home {
        dir: Arc::clone(&home.dir),
        owner: Arc::clone(&home.owner),
        settings: home.settings.clone(),
        reach: Reach::Local,
        file_system: file_system.into(),
        shares_memory: false,
    }))
}

#[test]
fn a_file_system_that_keeps_nothing_reserved_is_refused_with_what_to_do() {
    let Some(place) = Place::new(Settings::latest()) else { return };
    place.open().append("k", &1).unwrap();
    let home = elsewhere(&place.open(), "btrfs");
    for error in [home.append("k", &2).unwrap_err(), home.compact().unwrap_err()] {
        assert!(error.is_unsafe_file_system(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("btrfs") && text.contains("memory") && text.contains("\"lock\": \"file\""),
            "{text}"
        );
    }
    assert_eq!(home.view().unwrap().get("k").unwrap().unwrap().json(), "1", "reading is always allowed");
}

/// The story: a segment ended in the middle of a page, where its first frame did. When it grew, ext4 put zeros into the rest of
/// that page after the new length could be seen, over what another process had stored there.
#[test]
fn what_a_segment_reserves_ends_with_a_page() {
    let Some(place) = Place::new(Settings::latest().segment_bytes(100_001)) else { return };
    let cohort = place.open();
    for i in 0..30u64 {
        cohort.append("k", &"x".repeat(7000 + 1001 * i as usize)).unwrap();
        if i % 10 == 9 {
            // Frames are carried into a segment that has room for none.
            super::fail_sync(&cohort, ".journal", 0);
            let _ = cohort.append_durable("k", &i);
        }
        for name in names(&cohort).iter().filter(|name| name.ends_with(".journal")) {
            let len = std::fs::metadata(cohort.path().join(name)).unwrap().len();
            assert!(len.is_multiple_of(sys::page_size()), "{name} has {len} bytes");
        }
    }
    assert!(cohort.stats().unwrap().epoch > 1 && names(&cohort).len() > 6);
}

/// The story: a writer was killed in the middle of a sync, and nobody else was attached. Who came next wiped the memory that says
/// what is durable, took the missing result for a failure, and wanted to carry every record from seq 1 on. Compaction had
/// folded the first ones away: so nothing could be appended ever again.
#[test]
fn after_a_sync_without_a_result_what_the_journal_calls_durable_need_not_be_carried() {
    let Some(place) = Place::new(Settings::latest().compact_bytes(0)) else { return };
    {
        let cohort = place.open();
        for i in 1..=3 {
            cohort.append("k", &i).unwrap();
            cohort.compact().unwrap();
        }
        assert!(cohort.cursor(1).unwrap_err().is_compacted());
    }
    let status = sys::in_forked_child(|| {
        let cohort = place.attached();
        sys::at_step("sync begun", 0, sys::kill_self);
        cohort.append_durable("k", &4).is_ok()
    });
    assert_eq!(status, None, "it died there");
    let cohort = place.open();
    assert_eq!(cohort.append("k", &5).unwrap(), 5);
    assert!(cohort.stats().unwrap().epoch > 1, "the record was carried");
    assert_eq!(cohort.view().unwrap().get("k").unwrap().unwrap().json(), "5");
    assert!(!cohort.verify().unwrap().is_damaged());
}
