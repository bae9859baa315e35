//! Tests that need what no user has: failing syncs, a network file system that is none, forks.

#[cfg(unix)]
mod bite;
#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
mod memory;
#[cfg(unix)]
mod mirror;
#[cfg(unix)]
mod race;
#[cfg(unix)]
mod time;

use std::sync::Arc;
use std::time::Duration;

use crate::cohort::Cohort;
use crate::home::Home;
use crate::sys::{self, Reach};
use crate::{LockClass, Settings, Store};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

const PATIENCE: Duration = Duration::from_secs(30);

fn shares_memory(store: &Store) -> bool {
    let made = store.create("whether memory is shared", Settings::log()).unwrap();
    made.settings().lock == LockClass::Memory
}

/// The lock classes that there are here; each with a store of its own.
fn stores() -> Vec<(tempfile::TempDir, Store, LockClass)> {
    let mut classes = vec![LockClass::File];
    let (dir, store) = store();
    if shares_memory(&store) {
        classes.push(LockClass::Memory);
    }
    drop(dir);
    classes
        .into_iter()
        .map(|class| (self::store(), class))
        .map(|((dir, store), class)| (dir, store, class))
        .collect()
}

fn values(cohort: &Cohort) -> Vec<(u64, u64)> {
    cohort.cursor(1).unwrap().map(|r| r.unwrap()).map(|r| (r.seq(), r.to().unwrap())).collect()
}

fn names(cohort: &Cohort) -> Vec<String> {
    let mut names = cohort.home().dir.names().unwrap();
    names.sort();
    names
}

fn fail_sync(cohort: &Cohort, suffix: &str, before: usize) {
    sys::fail_sync(cohort.home().dir.path(), suffix, before);
}

/// The story: a sync fails, the kernel marks the lost pages clean, and every later sync says that all is well, also to
/// processes that open the file afterwards. So what is not known durable must reach the disk from other pages.
#[test]
fn after_a_failed_sync_the_next_append_by_anybody_carries_the_records_into_a_new_segment() {
    for (by_another, (_dir, store, class)) in
        [false, true].into_iter().flat_map(|by| stores().into_iter().map(move |made| (by, made)))
    {
        let cohort = store.create("c", Settings::log().lock(class)).unwrap();
        cohort.append_durable("k", &1).unwrap();
        cohort.append("k", &2).unwrap();
        fail_sync(&cohort, "00000001.journal", 0);
        let error = cohort.append_durable("k", &3).unwrap_err();
        assert!(error.is_durability_unknown() && error.seq() == Some(3), "{error}");
        assert!(error.to_string().contains("written as seq 3"), "{error}");
        assert!(names(&cohort).contains(&"00000001.poison".to_string()));
        assert_eq!(values(&cohort), [(1, 1), (2, 2), (3, 3)], "written, and visible");

        let other = store.cohort("c").unwrap();
        let next = if by_another { &other } else { &cohort };
        assert_eq!(next.append_durable("k", &4).unwrap(), 4);
        assert_eq!(values(&other), [(1, 1), (2, 2), (3, 3), (4, 4)], "the same seqs");
        let stats = other.stats().unwrap();
        assert_eq!((stats.epoch, stats.durable_seq >= 3, stats.poisoned), (2, true, false));
        // The old segment ends behind what was durable; the rest of it is not read any more.
        let scan = crate::scan::Scan::begin(
            &cohort.home().dir,
            &cohort.home().owner,
            crate::chain::Floor::Seq(0),
            crate::segment::Access::Read,
        )
        .unwrap();
        let link = scan.chain().active().unwrap().link;
        assert_eq!((link.first_seq, link.previous, link.durable_seq), (2, 1, 1));
        assert_eq!(cohort.append("k", &5).unwrap(), 5, "whoever was there before finds the new segment");
        assert_eq!(values(&cohort).len(), 5);
        assert!(!cohort.verify().unwrap().is_damaged());
    }
}

#[test]
fn while_the_records_of_a_failed_sync_cannot_be_moved_nothing_is_appended() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().lock(class)).unwrap();
        cohort.append("k", &1).unwrap();
        fail_sync(&cohort, "00000001.journal", 0);
        assert!(cohort.append_durable("k", &2).unwrap_err().is_durability_unknown());
        // First the making of the new segment fails, then its name, then the records in it, then its link.
        for (suffix, before, poisoned) in
            [(".tmp", 0, false), ("2.journal", 0, false), ("2.journal", 1, true)]
        {
            fail_sync(&cohort, suffix, before);
            let error = cohort.append("k", &3).unwrap_err();
            assert!(error.to_string().contains("nothing was written"), "{suffix} {before}: {error}");
            assert_eq!(error.is_poisoned(), poisoned, "{suffix} {before}: {error}");
            assert_eq!(values(&cohort).len(), 2);
            assert!(
                !names(&cohort).contains(&"00000002.journal".to_string()),
                "what could not be synced is not used"
            );
        }
        fail_sync(&cohort, "2.journal", 2);
        assert!(cohort.append("k", &3).is_err());
        assert!(
            names(&cohort).contains(&"00000002.poison".to_string()),
            "the link was written and not synced"
        );
        assert_eq!(cohort.append_durable("k", &3).unwrap(), 3, "the disk is well again");
        assert_eq!(values(&store.cohort("c").unwrap()), [(1, 1), (2, 2), (3, 3)]);
    }
}

/// The story: the sync failed in a segment that had just been begun. Its records were carried into the next one, whose link led
/// back through it; but its own link was among what the sync had lost. After a power cut everything before was out of reach.
#[test]
fn no_link_leads_through_a_segment_of_which_nothing_was_ever_synced() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().segment_bytes(4096).lock(class)).unwrap();
        // The sync of the spare goes well, and the first one after it is a part of the journal does not.
        fail_sync(&cohort, "2.journal", 1);
        let mut written = 0;
        let unknown = loop {
            match cohort.append_durable("k", &"x".repeat(1000)) {
                Ok(seq) => written = seq,
                Err(e) => break e,
            }
        };
        assert!(unknown.is_durability_unknown() && unknown.seq() == Some(written + 1), "{unknown}");
        assert_eq!(cohort.append_durable("k", &"y").unwrap(), written + 2);
        drop(cohort);
        let restarted = store.cohort("c").unwrap();
        let dir = &restarted.home().dir;
        let lost = dir.open_write("00000002.journal").unwrap();
        let from = crate::format::BLOCK;
        lost.write_at(&vec![0; lost.len().unwrap() as usize - from], from as u64).unwrap();
        assert_eq!(
            restarted.cursor(1).unwrap().collect::<Result<Vec<_>, _>>().unwrap().len() as u64,
            written + 2
        );
        assert_eq!(restarted.append("k", &"z").unwrap(), written + 3);
        assert!(!restarted.verify().unwrap().is_damaged());
    }
}

/// The story: after a failed sync the records were carried into a new segment, and readers saw them there, in the next epoch. A
/// power cut took the link, which was not synced yet. Who went on began the same epoch again, with other records under the
/// same seqs.
#[cfg(unix)]
#[test]
fn an_epoch_that_readers_saw_and_a_power_cut_took_is_not_begun_again() {
    for (_dir, store, class) in stores() {
        store.create("c", Settings::log().lock(class)).unwrap();
        let seen = sys::in_forked_child(|| {
            let cohort = store.cohort("c").unwrap();
            cohort.append("k", &1).unwrap();
            fail_sync(&cohort, "1.journal", 0);
            assert!(cohort.append_durable("k", &2).unwrap_err().is_durability_unknown());
            // The spare, the frames that are carried, and then the link.
            fail_sync(&cohort, "2.journal", 2);
            assert!(cohort.append("k", &3).is_err());
            assert_eq!((values(&cohort), cohort.stats().unwrap().epoch), (vec![(1, 1), (2, 2)], 2));
            // It ends without detaching.
            std::mem::forget(cohort);
            true
        });
        assert_eq!(seen, Some(0));

        let cohort = store.cohort("c").unwrap();
        let dir = &cohort.home().dir;
        for (segment, frames) in [(1, true), (2, false)] {
            // Neither what the first sync was for has reached the disk, nor the link.
            let file = dir.open_write(&crate::names::segment(segment)).unwrap();
            let from = if frames { crate::format::FRAMES_BEGIN } else { crate::format::BLOCK as u64 };
            file.write_at(&[0; crate::format::BLOCK], from).unwrap();
        }
        dir.remove("00000002.poison").unwrap();
        sys::pretend_boot(Some(1));
        assert_eq!(cohort.append("k", &4).unwrap(), 1);
        assert_eq!(cohort.stats().unwrap().epoch, 3);
        assert!(!cohort.verify().unwrap().is_damaged());
        sys::pretend_boot(None);
    }
}

/// The story: who made the store, or the cohort, died before its name was on the medium. Another process found both, appended,
/// and synced the segment: a power cut took the directory with the durable record in it.
#[test]
fn who_makes_something_durable_first_syncs_the_names_that_lead_to_it() {
    for (dir, store, class) in stores() {
        store.create("c", Settings::log().lock(class)).unwrap();
        let watch = sys::Watch::over(dir.path());
        for expected in [2, 0, 0] {
            watch.record();
            let cohort = store.cohort("c").unwrap();
            cohort.append_durable("k", &1).unwrap();
            let synced = watch.take().into_iter().filter(|event| match event {
                sys::Event::SyncDirectory { at, .. } => at.as_os_str() == "" || at.as_os_str() == "store",
                _ => false,
            });
            assert_eq!(synced.count(), expected, "{class:?}: once and for all");
            cohort.detach().unwrap();
        }
    }
}

/// The story: who made a cut died before its link was synced. Another process appended behind it, a power cut took the link, and
/// the next cut gave the same epoch and seqs to other records.
#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
#[test]
fn nothing_is_appended_behind_a_cut_before_its_link_is_synced() {
    // In the class memory a sync whose result is missing counts as a failure.
    for (dir, store, class) in stores().into_iter().filter(|(.., class)| *class == LockClass::File) {
        store.create("c", Settings::log().lock(class)).unwrap().append_durable("k", &1).unwrap();
        sys::pretend_boot(Some(1));
        let status = sys::in_forked_child(|| {
            let cohort = store.cohort("c").unwrap();
            sys::at_step("cut written", 0, sys::kill_self);
            cohort.append("k", &2).is_ok()
        });
        assert_eq!(status, None, "it died there");
        let watch = sys::Watch::over(dir.path());
        watch.record();
        store.cohort("c").unwrap().append("k", &2).unwrap();
        let mut cut = None;
        let done: Vec<bool> = watch
            .take()
            .into_iter()
            .filter_map(|event| match event {
                sys::Event::Found { at, file, .. } if at.ends_with("00000002.journal") => {
                    cut = Some(file);
                    None
                }
                sys::Event::Sync { file, .. } if Some(file) == cut => Some(true),
                sys::Event::Write { file, .. } if Some(file) == cut => Some(false),
                _ => None,
            })
            .collect();
        assert_eq!(done[..2], [true, false], "a sync, and then a frame");
        sys::pretend_boot(None);
    }
}

/// The story: a process has a spare ready, another one removes that file because a sync of it failed, and a third makes the
/// next with the same number. A link written through the first one's handle would lead into a file without a name.
#[test]
fn a_spare_whose_file_was_replaced_meanwhile_is_not_begun() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::log().segment_bytes(4096).lock(class)).unwrap();
        cohort.append("k", &1).unwrap();
        {
            let attachment = cohort.writer().attachment(Duration::from_secs(5)).unwrap();
            attachment.make_spare(0, &sys::Patience::of(Duration::from_secs(5))).unwrap();
            cohort.home().dir.remove("00000002.journal").unwrap();
        }
        for i in 2..=60 {
            assert_eq!(cohort.append("k", &i).unwrap(), i);
        }
        assert_eq!(values(&store.cohort("c").unwrap()).len(), 60);
    }
}

#[test]
fn a_failed_sync_in_a_compaction_leaves_the_old_snapshot_and_every_record() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().lock(class)).unwrap();
        cohort.append("k", &1).unwrap();
        cohort.compact().unwrap();
        cohort.append("k", &2).unwrap();
        fail_sync(&cohort, "00000002.journal", 0);
        assert!(cohort.compact().unwrap_err().is_durability_unknown());
        assert_eq!(
            cohort.home().watermark().unwrap(),
            1,
            "a snapshot never covers what a power cut could take"
        );
        cohort.append("k", &3).unwrap();
        for suffix in [".tmp", "snapshot"] {
            fail_sync(&cohort, suffix, 0);
            let _ = cohort.compact();
            assert_eq!(cohort.view().unwrap().get("k").unwrap().unwrap().json(), "3");
        }
        cohort.compact().unwrap();
        assert_eq!(store.cohort("c").unwrap().view().unwrap().get("k").unwrap().unwrap().json(), "3");
        assert!(!cohort.verify().unwrap().is_damaged());
    }
}

#[test]
fn a_cut_whose_sync_fails_is_tried_again_from_other_pages() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::log().lock(class)).unwrap();
        for i in 1..=3 {
            cohort.append("k", &i).unwrap();
        }
        // A dead writer's half frame.
        let segment = cohort.home().dir.open_write("00000001.journal").unwrap();
        let tail =
            cohort.writer().attachment(Duration::from_secs(5)).unwrap().journal().unwrap().place().offset;
        if let Some(control) = cohort.writer().attachment(Duration::from_secs(5)).unwrap().control() {
            control.ends().begin();
        }
        segment.write_at(&[1, 2, 3], tail).unwrap();
        fail_sync(&cohort, "00000001.journal", 0);
        assert!(cohort.append("k", &4).is_err());
        assert_eq!(cohort.append("k", &4).unwrap(), 4);
        assert_eq!(values(&store.cohort("c").unwrap()), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    }
}

/// A cohort as it would be on a file system that other hosts write to.
fn on_network(cohort: &Cohort, trusted: bool) -> Cohort {
    let home = cohort.home();
    Cohort::new(Arc::new(Home {
        dir: Arc::clone(&home.dir),
        owner: Arc::clone(&home.owner),
        settings: home.settings.clone().lock(LockClass::File).trust_network_locks(trusted),
        reach: Reach::Network,
        file_system: "nfs".into(),
        shares_memory: false,
    }))
}

#[test]
fn a_network_file_system_is_read_and_not_written_unless_its_locks_are_trusted() {
    let (_dir, store) = store();
    let local = store.create("c", Settings::latest()).unwrap();
    local.append("k", &1).unwrap();
    let remote = on_network(&local, false);
    for error in [remote.append("k", &2).unwrap_err(), remote.compact().unwrap_err()] {
        assert!(error.is_unsafe_file_system(), "{error}");
        assert!(
            error.to_string().contains("nfs") && error.to_string().contains("trust_network_locks"),
            "{error}"
        );
    }
    assert_eq!(remote.view().unwrap().get("k").unwrap().unwrap().json(), "1");
}

#[test]
fn trusted_network_locks_sync_before_the_lock_is_free_and_see_what_other_hosts_wrote() {
    let (_dir, store) = store();
    let settings = Settings::latest().segment_bytes(4096);
    let one = on_network(&store.create("c", settings).unwrap(), true);
    let other = on_network(&one, true);
    for i in 0..60u64 {
        let cohort = if i % 2 == 0 { &one } else { &other };
        assert_eq!(cohort.append(&format!("k{}", i % 7), &i).unwrap(), i + 1);
        if i % 20 == 19 {
            one.compact().unwrap();
        }
    }
    let durable = other.writer().attachment(Duration::from_secs(5)).unwrap().journal().unwrap().durable_seq();
    assert_eq!(durable, 60, "nothing waits to be synced");
    assert_eq!(other.view().unwrap().seq(), 60);
    assert!(!one.verify().unwrap().is_damaged());
    let active = names(&one).into_iter().rfind(|name| name.ends_with(".journal")).unwrap();
    fail_sync(&other, &active, 0);
    let error = other.append("k", &1).unwrap_err();
    assert!(error.is_durability_unknown() && error.seq() == Some(61), "it is written: {error}");
    assert_eq!(one.append("k", &2).unwrap(), 62);
}

#[test]
fn a_thread_that_panicked_over_the_journal_stops_nobody() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::log().lock(class)).unwrap();
        cohort.append("k", &1).unwrap();
        let shared = cohort.clone();
        let panicked = std::thread::spawn(move || {
            let _journal = shared.writer().attachment(Duration::from_secs(5)).unwrap().journal().unwrap();
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(panicked.join().is_err());
        assert_eq!(cohort.append("k", &2).unwrap(), 2);
    }
}

#[cfg(unix)]
#[test]
fn a_forked_child_goes_on_with_the_handle_and_never_unlocks_its_parent() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().lock(class)).unwrap();
        cohort.append("k", &0).unwrap();
        let mut reader = cohort.reader().unwrap();
        // One child while the parent does not hold the lock: it appends, updates, reads, and drops its handle.
        let status = sys::in_forked_child(|| {
            cohort.append("child", &1).is_ok()
                && cohort.update("n", |old| Ok(old.is_none().then_some(1))).is_ok()
                && cohort.view().is_ok_and(|view| view.seq() == 3)
                && cohort.detach().is_ok()
        });
        assert_eq!(status, Some(0), "the child appended");
        assert_eq!(cohort.append("k", &2).unwrap(), 4, "parent and child have one order");
        assert_eq!(reader.refresh().unwrap(), 4);

        // One child in the middle of a turn under the lock: it cannot have the lock, and its end frees nothing.
        let other = store.cohort("c").unwrap().with_timeout(Duration::from_millis(30));
        let timed_out = cohort
            .writer()
            .attachment(Duration::from_secs(5))
            .unwrap()
            .under_lock(Duration::from_secs(5), |_| {
                let child = sys::in_forked_child(|| {
                    let late = cohort.clone().with_timeout(Duration::from_millis(30));
                    late.append("child", &2).is_err_and(|e| e.is_lock_timeout())
                });
                let seen = other.append("k", &3);
                Ok(crate::journal::Turn::Done((child, seen)))
            })
            .unwrap();
        assert_eq!(timed_out.0, Some(0), "the child waits for its parent's lock like anybody");
        assert!(timed_out.1.unwrap_err().is_lock_timeout(), "the child's end did not unlock its parent");
        assert_eq!(cohort.append("k", &3).unwrap(), 5);
    }
}

#[cfg(unix)]
#[test]
fn a_forked_child_has_a_background_of_its_own() {
    let (_dir, store) = store();
    let cohort = store.create("c", Settings::log().sync_interval(Duration::from_millis(1))).unwrap();
    let synced = |cohort: &Cohort, seq| {
        let attachment = cohort.writer().attachment(Duration::from_secs(5)).unwrap();
        let begun = std::time::Instant::now();
        while attachment.journal().unwrap().durable_seq() < seq && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
        attachment.journal().unwrap().durable_seq() >= seq
    };
    assert!(synced(&cohort, cohort.append("k", &0).unwrap()));
    for _ in 0..20 {
        // Forked while the parent's thread is there, at whatever it is at.
        let seq = cohort.append("k", &1).unwrap();
        let child = sys::in_forked_child(|| synced(&cohort, cohort.append("k", &2).unwrap()));
        assert_eq!(child, Some(0), "the child's record is synced");
        assert!(synced(&cohort, seq), "and the parent's");
    }
}

#[cfg(unix)]
#[test]
fn a_child_that_lives_on_does_not_keep_its_dead_parents_lock() {
    for (dir, store, class) in stores() {
        store.create("c", Settings::log().lock(class)).unwrap();
        let path = dir.path().join("store");
        // The child forks a grandchild while it holds the lock, and is killed: the grandchild lives on with all descriptors.
        let pipe = sys::Pipe::new().unwrap();
        let status = sys::in_forked_child(|| {
            let cohort = Store::open(&path).and_then(|store| store.cohort("c"));
            let Ok(cohort) = cohort else { return false };
            let Ok(attachment) = cohort.writer().attachment(PATIENCE) else { return false };
            let _ = attachment.under_lock(Duration::from_secs(5), |_| {
                sys::fork_and_linger(&pipe);
                sys::kill_self();
                Ok(crate::journal::Turn::Done(()))
            });
            false
        });
        assert_eq!(status, None, "the child was killed");
        let cohort = store.cohort("c").unwrap().with_timeout(Duration::from_secs(5));
        assert_eq!(cohort.append("k", &1).unwrap(), 1, "the lock is free while the grandchild lives");
        pipe.release();
    }
}

/// The story: whoever checked a cohort opened `compact.lock` as any other file. A thread that forked at that moment left a child
/// with the descriptor; the checking process was killed, and no compactor got the lock while that child lived.
#[test]
#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
fn a_child_forked_while_a_cohort_is_checked_does_not_keep_the_compactor_off() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().lock(class)).unwrap();
        cohort.append("k", &1).unwrap();
        let pipe = Arc::new(sys::Pipe::new().unwrap());
        let status = sys::in_forked_child(|| {
            let forks = Arc::clone(&pipe);
            // Set in motion by the opening, so that a lock that is opened in any other way kills nobody.
            sys::at_step("file to be locked opened", 0, move || {
                sys::fork_and_linger(&forks);
                sys::at_step("compactor held off", 0, sys::kill_self);
            });
            cohort.verify().is_ok()
        });
        assert_eq!(status, None, "a child was forked, and this one killed while it held the lock");
        let folded = cohort.compact().unwrap();
        assert!(matches!(folded, crate::Compaction::Folded { .. }), "while the grandchild lives: {folded:?}");
        drop(pipe);
    }
}

/// A spare under this number with frames in it, as one is left while records are carried into it.
fn half_carried(cohort: &Cohort, number: u64) {
    let home = cohort.home();
    let name = crate::names::segment(number);
    let spare = crate::segment::Segment::make(&home.dir, &name, home.owner.identity(number), 8192).unwrap();
    spare.write(&[1; 40], crate::format::FRAMES_BEGIN).unwrap();
}

/// The story: records could not be carried into a spare, which was removed when there was a later one already: so the journal went
/// on two numbers further. A writer that had been there before looked for the next number only, found the mark of the failed sync
/// in its old segment, and cut there once more: what had been acknowledged since was cut off.
#[test]
fn a_writer_that_was_there_before_goes_on_behind_a_cut_though_a_number_is_missing() {
    for (_dir, store, class) in stores() {
        let before = store.create("c", Settings::log().lock(class)).unwrap();
        before.append("k", &1).unwrap();
        let cuts = store.cohort("c").unwrap();
        fail_sync(&cuts, "1.journal", 0);
        assert!(cuts.append_durable("k", &2).unwrap_err().is_durability_unknown());
        half_carried(&cuts, 2);
        assert_eq!(cuts.append("k", &3).unwrap(), 3);
        assert_eq!(cuts.append_durable("k", &4).unwrap(), 4);
        assert!(names(&cuts).contains(&"00000003.journal".to_string()));
        assert!(cuts.home().dir.remove("00000002.journal").unwrap());
        assert_eq!(before.append("k", &5).unwrap(), 5);
        let all = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)];
        assert_eq!(values(&before), all);
        assert_eq!(values(&store.cohort("c").unwrap()), all);
        assert_eq!(before.stats().unwrap().epoch, 3, "nothing was cut again");
        assert!(!before.verify().unwrap().is_damaged());
    }
}

/// The story: as above; and no mark could be made on a full disk. So in the class `file` no number is left out in the first place.
#[test]
fn no_spare_is_named_behind_a_number_that_has_become_free() {
    let (_dir, store) = store();
    let cohort = store.create("c", Settings::log().lock(LockClass::File)).unwrap();
    cohort.append("k", &1).unwrap();
    half_carried(&cohort, 2);
    let attachment = cohort.writer().attachment(PATIENCE).unwrap();
    let lock = sys::LockFile::open(&cohort.home().dir, crate::names::LOCK).unwrap();
    let locked = lock.exclusive(&sys::Patience::of(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        let maker = scope.spawn(|| attachment.make_spare(0, &sys::Patience::of(PATIENCE)));
        // It has seen the number 2 when it makes its file, and waits for the lock to give it the number 3.
        while !names(&cohort).iter().any(|name| name.ends_with(".tmp")) {
            std::thread::yield_now();
        }
        cohort.home().dir.remove("00000002.journal").unwrap();
        drop(locked);
        maker.join().unwrap().unwrap();
    });
    let there: Vec<_> = names(&cohort).into_iter().filter(|name| name.ends_with(".journal")).collect();
    assert_eq!(there, ["00000001.journal"], "the next turn makes one with the number 2");
    attachment.make_spare(0, &sys::Patience::of(PATIENCE)).unwrap();
    assert!(names(&cohort).contains(&"00000002.journal".to_string()));
}

/// The other way round: the later spare is there already when the one before it is found to be of no use.
#[test]
#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
fn a_spare_that_is_removed_takes_those_behind_it_along() {
    for (_dir, store, class) in stores() {
        let before = store.create("c", Settings::log().lock(class)).unwrap();
        before.append("k", &1).unwrap();
        let cuts = store.cohort("c").unwrap();
        fail_sync(&cuts, "1.journal", 0);
        assert!(cuts.append_durable("k", &2).unwrap_err().is_durability_unknown());
        // Not the sync of the spare, but the one of the records in it.
        fail_sync(&cuts, "2.journal", 1);
        let later = store.cohort("c").unwrap();
        sys::at_step("frame carried", 0, {
            let later = later.clone();
            move || half_carried(&later, 3)
        });
        assert!(cuts.append("k", &3).unwrap_err().is_poisoned());
        let there: Vec<_> = names(&cuts).into_iter().filter(|name| name.ends_with(".journal")).collect();
        assert_eq!(there, ["00000001.journal"]);
        // Nothing tells the other writer of the failed sync but the segment that comes next.
        assert_eq!(cuts.append("k", &3).unwrap(), 3);
        before.home().dir.remove("00000001.poison").unwrap();
        assert_eq!(before.append("k", &4).unwrap(), 4);
        assert_eq!(values(&store.cohort("c").unwrap()), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    }
}
