//! What nothing else would notice: each was found by planting a bug on purpose (`make mutants`).
#![allow(clippy::disallowed_methods, reason = "tests spoil and copy files on purpose")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{PATIENCE, fail_sync, on_network, store, stores, values};
use crate::attach::Attachment;
use crate::cohort::Cohort;
use crate::compact::{self, Compaction};
use crate::format::{BLOCK, Body, FRAMES_BEGIN, Header, Link};
use crate::names;
use crate::record::Kind;
use crate::scan::Place;
use crate::segment::{Access, Found, Linked, Segment, Through};
use crate::sys::{self, Event, Patience, Watch};
use crate::{LockClass, Retain, Settings, Store};

fn attachment(cohort: &Cohort) -> &Arc<Attachment> {
    cohort.writer().attachment(PATIENCE).unwrap()
}

fn place(cohort: &Cohort) -> Place {
    attachment(cohort).journal().unwrap().place()
}

/// A segment that is part of the journal, opened beside it.
fn linked(cohort: &Cohort, number: u64) -> Linked {
    let home = cohort.home();
    match Segment::open(&home.dir, number, &home.owner, Access::Write).unwrap() {
        Some(Found::Linked(linked)) => linked,
        other => panic!("{other:?}"),
    }
}

/// Writes a link anew, with a CRC that fits.
fn relink(cohort: &Cohort, number: u64, change: impl FnOnce(Link) -> Link) {
    let Linked { segment, link } = linked(cohort, number);
    segment.write_link(&change(link)).unwrap();
}

/// Lets go as a process does that dies: nothing is synced or said.
fn die(cohort: Cohort) {
    attachment(&cohort).journal().unwrap().detached();
}

/// What was written and not synced after that, by file.
fn unsynced(events: &[Event]) -> BTreeSet<usize> {
    let mut files = BTreeSet::new();
    for event in events {
        match event {
            Event::Write { file, .. } => drop(files.insert(*file)),
            Event::Sync { file, failed: false } => drop(files.remove(file)),
            _ => {}
        }
    }
    files
}

/// How often the names of the store and of the cohort were synced before the first event of this kind.
fn names_synced(events: &[Event], before: impl Fn(&Event) -> bool) -> usize {
    let done = events.iter().take_while(|event| !before(event));
    done.filter(|event| match event {
        Event::SyncDirectory { at, failed: false } => *at == Path::new("") || *at == Path::new("store"),
        _ => false,
    })
    .count()
}

fn in_cohort(at: &Path, directory: &str) -> bool {
    at.parent() == Some(Path::new(directory))
}

const COHORT: &str = "store/c";
const QUARANTINE: &str = "store/c/quarantine";

/// A cut says in its link what is durable, and later appends trust that: so it is the first who makes something durable.
#[cfg(unix)]
#[test]
fn a_cut_that_makes_the_first_record_durable_syncs_the_names_that_lead_to_it() {
    for (dir, store, class) in stores() {
        store.create("c", Settings::log().lock(class)).unwrap();
        let died = sys::in_forked_child(|| {
            let cohort = store.cohort("c").unwrap();
            let appended = cohort.append("k", &1).is_ok();
            std::mem::forget(cohort);
            appended
        });
        assert_eq!(died, Some(0));
        sys::pretend_boot(Some(1));
        let watch = Watch::over(dir.path());
        watch.record();
        let cohort = store.cohort("c").unwrap();
        assert_eq!(cohort.append("k", &2).unwrap(), 2);
        sys::pretend_boot(None);
        assert_eq!(cohort.stats().unwrap().epoch, 2, "another start of the system: a cut");
        let link = |event: &Event| match event {
            Event::Write { offset, bytes, .. } => {
                *offset == BLOCK as u64 && bytes.iter().any(|byte| *byte != 0)
            }
            _ => false,
        };
        let events = watch.take();
        assert!(events.iter().any(link));
        assert_eq!(names_synced(&events, link), 2, "{class:?}");
    }
}

#[test]
fn nothing_waits_for_a_sync_when_the_lock_of_a_network_file_system_is_given_back() {
    let (dir, store) = store();
    let local = store.create("c", Settings::latest().segment_bytes(4096)).unwrap();
    let cohort = on_network(&local, true);
    let watch = Watch::over(dir.path());
    for i in 0..60u64 {
        watch.record();
        assert_eq!(cohort.append(&format!("k{}", i % 7), &i).unwrap(), i + 1);
        let events = watch.take();
        assert!(unsynced(&events).is_empty(), "append {i}: {events:?}");
        let names = names_synced(&events, |_| false);
        assert_eq!(names, if i == 0 { 2 } else { 0 }, "append {i}: the names of store and cohort");
        if i % 20 == 19 {
            watch.record();
            cohort.compact().unwrap();
            let events = watch.take();
            assert!(unsynced(&events).is_empty(), "compaction: {events:?}");
        }
    }
}

/// Without it damage to the last durable batch could not be told from a torn tail.
#[test]
fn the_last_word_of_who_detaches_is_synced() {
    for (dir, store, class) in stores() {
        let quiet = Settings::log().sync_interval(std::time::Duration::ZERO);
        let cohort = store.create("c", quiet.lock(class)).unwrap();
        let watch = Watch::over(dir.path());
        watch.record();
        assert_eq!(cohort.append("k", &1).unwrap(), 1);
        cohort.detach().unwrap();
        let events = watch.take();
        assert_eq!(cohort.stats().unwrap().durable_seq, 1, "it is said");
        assert!(unsynced(&events).is_empty(), "{class:?}: {events:?}");
    }
}

/// A segment may go only when both snapshots that cover it would be found after a power cut: if one is damaged, the other has to
/// do with what is left of the journal.
#[test]
fn no_segment_retires_before_the_names_of_both_snapshots_are_on_the_medium() {
    for (dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().retain(Retain::None).lock(class)).unwrap();
        let watch = Watch::over(dir.path());
        watch.record();
        for i in 0..4 {
            cohort.append("k", &i).unwrap();
            assert!(matches!(cohort.compact().unwrap(), Compaction::Folded { .. }));
        }
        let (mut named, mut retired) = (BTreeSet::new(), 0);
        for event in watch.take() {
            match event {
                Event::Rename { to, .. } if to.ends_with(names::SNAPSHOT) => drop(named.insert(to)),
                Event::Rename { to, .. } if to.ends_with(names::SNAPSHOT_PREV) => drop(named.insert(to)),
                Event::SyncDirectory { at, failed: false } if at == Path::new(COHORT) => named.clear(),
                Event::Remove { at } if at.extension().is_some_and(|extension| extension == "journal") => {
                    retired += 1;
                    assert!(named.is_empty(), "{class:?}: {at:?} goes, and only processes see {named:?}");
                }
                _ => {}
            }
        }
        assert!(retired >= 2, "{retired}");
    }
}

/// One directory's sync says nothing of another: what has left the one for good must be in the other.
#[test]
fn what_goes_to_quarantine_has_its_name_there_before_it_has_lost_the_old_one() {
    for (dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().retain(Retain::None).lock(class)).unwrap();
        let home = cohort.home();
        cohort.append("k", &0).unwrap();
        // A dead writer's half frame.
        let tail = place(&cohort).offset;
        if let Some(control) = attachment(&cohort).control() {
            control.ends().begin();
        }
        home.dir.open_write("00000001.journal").unwrap().write_at(&[1, 2, 3], tail).unwrap();
        let watch = Watch::over(dir.path());
        watch.record();
        for i in 1..5 {
            cohort.append("k", &i).unwrap();
            cohort.compact().unwrap();
            if i == 3 {
                let snapshot = cohort.path().join(names::SNAPSHOT);
                let mut bytes = std::fs::read(&snapshot).unwrap();
                bytes[30] ^= 1;
                std::fs::write(&snapshot, bytes).unwrap();
            }
        }
        let (mut moved, mut kinds) = (Vec::new(), BTreeSet::new());
        for event in watch.take() {
            match event {
                Event::Rename { to, .. } if in_cohort(&to, QUARANTINE) => {
                    kinds.insert(to.extension().unwrap().to_owned());
                    moved.push(to);
                }
                Event::SyncDirectory { at, failed: false } if at == Path::new(QUARANTINE) => moved.clear(),
                Event::SyncDirectory { at, failed: false } if at == Path::new(COHORT) => {
                    assert!(moved.is_empty(), "{class:?}: {moved:?}");
                }
                _ => {}
            }
        }
        assert_eq!(kinds.len(), 2, "a segment and a snapshot: {kinds:?}");
    }
}

/// Who made the store may have died before its document was on the medium.
#[test]
fn a_cohort_has_no_name_on_the_medium_before_the_document_of_its_store_is_there() {
    let (dir, store) = store();
    let watch = Watch::over(dir.path());
    watch.record();
    store.create("c", Settings::log()).unwrap();
    let events = watch.take();
    let at = |is: &dyn Fn(&Event) -> bool| events.iter().position(is).unwrap();
    let synced = at(&|event| match event {
        Event::SyncDirectory { at, failed: false } => at == Path::new("store"),
        _ => false,
    });
    let named = at(&|event| matches!(event, Event::Rename { to, .. } if to == Path::new(COHORT)));
    assert!(synced < named, "{events:?}");
}

/// In the class `file` whoever opens the segment after the failure was told to somebody is told that all is well.
#[test]
fn a_sync_that_goes_well_after_another_has_failed_acknowledges_nothing() {
    let (_dir, store) = store();
    let cohort = store.create("c", Settings::log().lock(LockClass::File)).unwrap();
    let seq = cohort.append("k", &1).unwrap();
    // Who was told leaves the mark while we are on our way to the sync.
    cohort.home().dir.create(&names::poison(1)).unwrap();
    let error = attachment(&cohort).sync(seq, PATIENCE).unwrap_err();
    assert!(error.is_durability_unknown() && error.seq() == Some(1), "{error}");
    assert_eq!(cohort.append_durable("k", &2).unwrap(), 2);
    assert_eq!(cohort.stats().unwrap().epoch, 2, "the records were carried");
    assert_eq!(values(&store.cohort("c").unwrap()), [(1, 1), (2, 2)]);
}

#[test]
fn a_record_that_need_not_be_durable_is_not_appended_behind_a_failed_sync_either() {
    for (_dir, store, class) in stores() {
        let quiet = Settings::log().sync_interval(std::time::Duration::ZERO);
        let cohort = store.create("c", quiet.lock(class)).unwrap();
        fail_sync(&cohort, "1.journal", 0);
        assert!(cohort.append_durable("k", &1).unwrap_err().is_durability_unknown());
        assert_eq!(cohort.append("k", &2).unwrap(), 2);
        let epoch = cohort.stats().unwrap().epoch;
        // Should it be wrong, who detaches would wait for ever for the records to be carried.
        std::mem::forget(cohort);
        assert_eq!(epoch, 2, "{class:?}");
    }
}

#[test]
fn a_link_that_leaves_out_a_seq_is_not_followed() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::log().lock(class)).unwrap();
        cohort.append("k", &1).unwrap();
        attachment(&cohort).seal(PATIENCE).unwrap();
        die(cohort);
        let cohort = store.cohort("c").unwrap();
        relink(&cohort, 2, |link| Link { first_seq: link.first_seq + 1, ..link });
        assert_eq!(cohort.append("k", &2).unwrap(), 2, "{class:?}");
        assert_eq!(values(&store.cohort("c").unwrap()), [(1, 1), (2, 2)]);
    }
}

#[test]
fn behind_a_segment_that_ends_with_another_frame_than_its_successor_says_nothing_is_appended() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().lock(class)).unwrap();
        cohort.append_durable("k", &1).unwrap();
        attachment(&cohort).seal(PATIENCE).unwrap();
        cohort.append_durable("k", &2).unwrap();
        cohort.detach().unwrap();
        drop(cohort);
        let cohort = store.cohort("c").unwrap();
        relink(&cohort, 2, |link| Link { previous_crc: link.previous_crc ^ 1, ..link });
        let error = cohort.append("k", &3).unwrap_err();
        assert!(error.is_corruption() && error.seq() == Some(2), "{class:?}: {error}");
    }
}

#[test]
fn no_record_of_a_batch_is_handed_out_if_one_of_them_makes_no_sense() {
    let (_dir, store) = store();
    let cohort = store.create("c", Settings::log()).unwrap();
    let mut bytes = Vec::new();
    for key in ["whole", "senseless"] {
        let value = |out: &mut Vec<u8>| {
            out.push(b'1');
            Ok::<_, ()>(false)
        };
        crate::format::put_record(&mut bytes, Kind::Put, key, 1, value).unwrap();
    }
    let second = bytes.len() / 2 - 2;
    assert_eq!(bytes[second], Kind::Put as u8);
    bytes[second] = 7;
    let body = Body::seal(bytes, 2);
    attachment(&cohort).append(&body, Through::File, PATIENCE, |_| Ok(())).unwrap();
    let found = cohort.cursor(1).and_then(|mut cursor| cursor.next_record());
    assert!(found.as_ref().is_err_and(|e| e.is_corruption()), "{found:?}");
}

#[test]
fn bytes_behind_the_last_record_of_a_batch_are_corruption() {
    let (_dir, store) = store();
    let cohort = store.create("c", Settings::log()).unwrap();
    let mut bytes = Vec::new();
    crate::format::put_record(&mut bytes, Kind::Put, "k", 1, |out| {
        out.push(b'1');
        Ok::<_, ()>(false)
    })
    .unwrap();
    bytes.push(0);
    attachment(&cohort).append(&Body::seal(bytes, 1), Through::File, PATIENCE, |_| Ok(())).unwrap();
    let found = cohort.cursor(1).and_then(|mut cursor| cursor.next_record());
    assert!(found.as_ref().is_err_and(|e| e.is_corruption()), "{found:?}");
}

#[test]
fn a_hole_where_the_last_durable_record_stood_is_corruption_and_one_behind_it_a_torn_tail() {
    for (lost, (_dir, store, class)) in
        [2, 3].into_iter().flat_map(|n| stores().into_iter().map(move |s| (n, s)))
    {
        let cohort = store.create("c", Settings::log().lock(class)).unwrap();
        let mut begins = vec![0];
        for i in 1..=4 {
            begins.push(place(&cohort).offset);
            let append = if i <= 2 { Cohort::append_durable } else { Cohort::append };
            append(&cohort, "k", &i).unwrap();
        }
        die(cohort);
        let cohort = store.cohort("c").unwrap();
        let zeros = vec![0; (begins[lost + 1] - begins[lost]) as usize];
        linked(&cohort, 1).segment.write(&zeros, begins[lost]).unwrap();
        match cohort.append("k", &5) {
            Err(e) => assert!(lost == 2 && e.is_corruption() && e.seq() == Some(2), "{class:?}: {e}"),
            Ok(seq) => assert_eq!((lost, seq), (3, 3), "{class:?}"),
        }
    }
}

/// A hole in a segment that is followed by others: they may tell that what stood there was durable.
#[test]
fn a_hole_in_what_a_frame_of_a_later_segment_calls_durable_is_corruption() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::log().lock(class)).unwrap();
        let mut begins = Vec::new();
        for i in 1..=3 {
            begins.push(place(&cohort).offset);
            cohort.append("k", &i).unwrap();
        }
        attachment(&cohort).seal(PATIENCE).unwrap();
        cohort.append_durable("k", &4).unwrap();
        cohort.append("k", &5).unwrap();
        die(cohort);
        let cohort = store.cohort("c").unwrap();
        assert_eq!(linked(&cohort, 2).link.durable_seq, 0, "no link says so");
        let len = (begins[2] - begins[1]) as usize;
        linked(&cohort, 1).segment.write(&vec![0; len], begins[1]).unwrap();
        let error = cohort.append("k", &6).unwrap_err();
        assert!(error.is_corruption() && error.seq() == Some(2), "{class:?}: {error}");
        assert!(error.to_string().contains("records 2 to 4 at least are lost"), "{error}");
    }
}

/// What a user has logged may look like a frame. One that calls itself durable was never written here.
#[test]
fn a_frame_behind_a_torn_tail_that_calls_itself_durable_is_not_believed() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::log().lock(class)).unwrap();
        for i in 1..=2 {
            cohort.append("k", &i).unwrap();
        }
        let tail = place(&cohort).offset;
        die(cohort);
        let cohort = store.cohort("c").unwrap();
        let segment = linked(&cohort, 1).segment;
        let body = Body::empty();
        let (frame, _) = body.frame(&Header::new(&body, 5, 7, 0), segment.salt());
        segment.write(&[1; 8], tail).unwrap();
        segment.write(&frame, tail + 64).unwrap();
        assert_eq!(cohort.append("k", &3).unwrap(), 3, "{class:?}");
        assert_eq!(values(&store.cohort("c").unwrap()), [(1, 1), (2, 2), (3, 3)]);
    }
}

#[test]
fn a_journal_that_ends_one_record_below_the_watermark_is_corruption() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().lock(class)).unwrap();
        cohort.append("k", &1).unwrap();
        let last = place(&cohort).offset;
        cohort.append("k", &2).unwrap();
        let end = place(&cohort).offset;
        cohort.compact().unwrap();
        cohort.detach().unwrap();
        drop(cohort);
        let cohort = store.cohort("c").unwrap();
        cohort.home().dir.remove("00000002.journal").unwrap();
        linked(&cohort, 1).segment.write(&vec![0; (end - last) as usize], last).unwrap();
        for error in [cohort.view().unwrap_err(), cohort.append("k", &3).unwrap_err()] {
            assert!(error.is_corruption() && error.seq() == Some(2), "{class:?}: {error}");
        }
    }
}

/// As in `a_spare_whose_file_was_replaced_meanwhile_is_not_begun`, with the replacement there already.
#[test]
fn a_link_is_not_written_into_a_spare_that_another_one_has_taken_the_place_of() {
    for (_dir, store, class) in stores() {
        let small = Settings::log().segment_bytes(4096).lock(class);
        let (one, other) = (store.create("c", small).unwrap(), store.cohort("c").unwrap());
        for (i, cohort) in (1..).zip([&one, &other]) {
            cohort.append("k", &i).unwrap();
            if let Some(control) = attachment(cohort).control() {
                control.set_spare(0);
            }
            one.home().dir.remove("00000002.journal").unwrap();
            attachment(cohort).make_spare(0, &Patience::of(PATIENCE)).unwrap();
        }
        for i in 3..=60 {
            assert_eq!(one.append("k", &i).unwrap(), i);
        }
        assert!(values(&store.cohort("c").unwrap()).into_iter().eq((1..=60).map(|i| (i, i))), "{class:?}");
    }
}

#[test]
fn the_snapshot_of_another_cohort_is_damage() {
    let (_dir, store) = store();
    let [one, other] = ["one", "other"].map(|name| {
        let cohort = store.create(name, Settings::latest()).unwrap();
        cohort.append(name, &1).unwrap();
        cohort.compact().unwrap();
        cohort
    });
    std::fs::copy(one.path().join(names::SNAPSHOT), other.path().join(names::SNAPSHOT)).unwrap();
    let view = other.view().unwrap();
    assert!(view.damage().is_some_and(|e| e.is_corruption()));
    assert!(view.get("one").unwrap().is_none() && view.get("other").unwrap().is_some());
}

/// Who holds `compact.lock` is alone, but for one on another host whose lock was not seen here, or a copy put back meanwhile.
#[test]
fn a_snapshot_that_another_has_published_meanwhile_is_not_replaced() {
    let (_dir, store) = store();
    let cohort = store.create("c", Settings::latest()).unwrap();
    let (snapshot, aside) = (cohort.path().join(names::SNAPSHOT), store.path().join("aside"));
    for i in 1..=2 {
        cohort.append("k", &i).unwrap();
        cohort.compact().unwrap();
        if i == 1 {
            std::fs::copy(&snapshot, &aside).unwrap();
        }
    }
    cohort.append("k", &3).unwrap();
    let mut others = 0;
    let error = compact::run(attachment(&cohort), PATIENCE, &mut || {
        others += 1;
        std::fs::rename(&aside, &snapshot).unwrap();
        Ok(())
    })
    .unwrap_err();
    assert_eq!(others, 1);
    assert!(error.to_string().contains("another snapshot was published"), "{error}");
    assert_eq!(cohort.home().watermark().unwrap(), 1, "it is there still");
    assert_eq!(cohort.view().unwrap().get("k").unwrap().unwrap().json(), "3");
    cohort.compact().unwrap();
    assert!(!cohort.verify().unwrap().is_damaged());
}

/// The story: a disk gave back other bytes than it was given. The new snapshot was not published, but what was wrong with it was
/// taken for damage to the old one, which went to quarantine.
#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
#[test]
fn a_snapshot_that_cannot_be_read_back_is_not_published_and_the_old_one_stays() {
    let (_dir, store) = store();
    let cohort = store.create("c", Settings::latest()).unwrap();
    cohort.append("key", &1).unwrap();
    cohort.compact().unwrap();
    cohort.append("key", &2).unwrap();
    let path = cohort.path();
    sys::at_step("snapshot written", 0, move || {
        let inside = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        for path in inside.filter(|path| path.extension().is_some_and(|extension| extension == "tmp")) {
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replacen("\"key\":{", "\"kez\":{", 1)).unwrap();
        }
    });
    let error = cohort.compact().unwrap_err();
    assert!(!error.is_corruption() && error.to_string().contains("cannot be read back"), "{error}");
    assert_eq!(cohort.home().watermark().unwrap(), 1, "the old one is there");
    assert!(!cohort.home().dir.exists(names::QUARANTINE).unwrap());
    assert_eq!(cohort.view().unwrap().get("key").unwrap().unwrap().json(), "2");
    cohort.compact().unwrap();
    assert!(!cohort.verify().unwrap().is_damaged());
}

/// A `flock` belongs to the open file description, which a fork shares: to unlock it in the child is to unlock the parent.
#[cfg(unix)]
#[test]
fn a_guard_dropped_in_a_forked_child_unlocks_nothing() {
    let (_dir, store) = store();
    let cohort = store.create("c", Settings::log()).unwrap();
    let open = || sys::LockFile::open(&cohort.home().dir, names::COMPACT_LOCK).unwrap();
    let (lock, other) = (open(), open());
    let mut held = lock.try_exclusive().unwrap();
    let child = sys::in_forked_child(|| {
        drop(held.take());
        true
    });
    assert_eq!(child, Some(0));
    assert!(held.is_some() && other.try_exclusive().unwrap().is_none(), "the parent has it still");
    drop(held);
    assert!(other.try_exclusive().unwrap().is_some());
}

/// Threads that share a handle wait for each other before they read. Those with handles of their own meet at the lock only.
#[test]
fn updates_through_handles_of_their_own_lose_none() {
    const THREADS: u64 = 4;
    const TIMES: u64 = 300;
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::latest().lock(class)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let own = store.cohort("c").unwrap();
                scope.spawn(move || {
                    for _ in 0..TIMES {
                        let add_one = |old: Option<&crate::Entry>| {
                            Ok(Some(old.map_or(Ok(0), |entry| entry.to::<u64>())? + 1))
                        };
                        own.update("n", add_one).unwrap();
                    }
                });
            }
        });
        let sum: u64 = cohort.view().unwrap().get("n").unwrap().unwrap().to().unwrap();
        assert_eq!((sum, cohort.last_seq().unwrap()), (THREADS * TIMES, THREADS * TIMES), "{class:?}");
    }
}

#[test]
fn segments_that_hold_one_record_each_are_all_read() {
    for (_dir, store, class) in stores() {
        let cohort = store.create("c", Settings::log().lock(class)).unwrap();
        for i in 1..=5 {
            cohort.append("k", &i).unwrap();
            attachment(&cohort).seal(PATIENCE).unwrap();
        }
        assert_eq!(values(&store.cohort("c").unwrap()).len(), 5, "{class:?}");
        assert_eq!(linked(&cohort, 5).link.first_seq, 5);
        let again = Store::open(store.path()).unwrap().cohort("c").unwrap();
        assert_eq!(again.append("k", &6).unwrap(), 6);
        assert_eq!(place(&again).offset > FRAMES_BEGIN, place(&again).segment == 6);
    }
}
