//! Many processes at once, some of them killed.
#![allow(clippy::disallowed_methods, reason = "tests read the journal's files")]

mod fixture;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

use fixture::Fixture;
use fixture::writers::{Heard, Said, Writer, acknowledge, told};
use serde_json::json;
use tallyfold::{Batch, Cohort, Compaction, Retain, Settings, Store};

/// Not a test of its own: what the worker processes run, each started as this program with this name.
#[test]
fn worker() {
    let Some(spec) = told() else { return };
    let cohort = Store::open_existing(spec["store"].as_str().unwrap()).unwrap().cohort("c").unwrap();
    let (writer, appends) = (spec["writer"].as_u64().unwrap(), spec["appends"].as_u64().unwrap());
    let large = spec["large"].as_bool().unwrap();
    // A kill takes effect between two pages of a write, so only frames of many pages are torn by it.
    let pad = |n: u64| if large && n.is_multiple_of(5) { 150_000 } else { n as usize % 90 };
    let mut n = 0;
    while n < appends {
        // Every seventh act is a batch of three, some are durable.
        let size = if n % 7 == 0 { 3.min(appends - n) } else { 1 };
        let mut batch = Batch::new();
        for i in n..n + size {
            batch
                .put(
                    &format!("w{writer}:{}", i % 20),
                    &json!({"writer": writer, "n": i, "pad": "x".repeat(pad(i))}),
                )
                .unwrap();
        }
        let last = match n % 97 {
            0 => cohort.append_batch_durable(batch),
            _ => cohort.append_batch(batch),
        }
        .unwrap();
        for i in n..n + size {
            acknowledge(writer, i, last + 1 + i - n - size);
        }
        n += size;
    }
}

fn start(fixture: &Fixture, writer: u64, appends: u64, large: bool, heard: Sender<Said>) -> Writer {
    let told = json!({"store": fixture.store.path(), "writer": writer, "appends": appends, "large": large});
    Writer::start(&["env"], &told, heard)
}

#[test]
fn eight_processes_two_of_them_killed_and_a_compactor_lose_and_repeat_nothing() {
    const WRITERS: u64 = 8;
    const APPENDS: u64 = 2000;
    let fixture = Fixture::new();
    let settings = Settings::latest().retain(Retain::All).segment_bytes(256 << 10);
    let cohort = fixture.create("c", settings);
    let (send, receive) = channel();
    let mut writers: BTreeMap<u64, Writer> =
        (0..WRITERS).map(|writer| (writer, start(&fixture, writer, APPENDS, false, send.clone()))).collect();
    drop(send);

    let done = AtomicBool::new(false);
    let mut acknowledged = Heard::default();
    let mut compactions = 0;
    std::thread::scope(|scope| {
        let compactor = scope.spawn(|| {
            let mut folded = 0;
            loop {
                let last = done.load(Ordering::Acquire);
                if matches!(cohort.compact().unwrap(), Compaction::Folded { .. }) {
                    folded += 1;
                }
                if last {
                    return folded;
                }
            }
        });
        // A reader follows from the beginning, and must see the one order.
        let follower = scope.spawn(|| {
            let mut cursor = fixture.reopen("c").cursor(1).unwrap();
            let (mut expected, mut highest_view) = (1, 0);
            let mut reader = fixture.reopen("c").reader().unwrap();
            loop {
                let last = done.load(Ordering::Acquire);
                while let Some(record) = cursor.next_record().unwrap() {
                    assert_eq!(record.seq(), expected, "the follower sees every seq once, in order");
                    expected += 1;
                }
                let seq = reader.refresh().unwrap();
                assert!(seq >= highest_view && seq >= expected - 1, "a view holds what was read before");
                highest_view = seq;
                if last {
                    return expected - 1;
                }
            }
        });
        let mut heard_of = [0; WRITERS as usize];
        for (writer, n, seq) in receive {
            acknowledged.hear((writer, n, seq));
            heard_of[writer as usize] += 1;
            // In mid-run, at a moment that no clock decides.
            for (victim, after) in [(2, 300), (5, 900)] {
                if writer == victim && heard_of[writer as usize] == after {
                    writers.remove(&writer).unwrap().kill();
                }
            }
        }
        done.store(true, Ordering::Release);
        compactions = compactor.join().unwrap();
        let followed = follower.join().unwrap();
        assert!(followed >= acknowledged.0.keys().next_back().copied().unwrap());
    });
    assert_eq!(writers.len() as u64, WRITERS - 2);
    writers.into_values().for_each(Writer::end);
    assert!(compactions > 1, "{compactions} compactions");
    check(&fixture.reopen("c"), &acknowledged, WRITERS, APPENDS);
}

fn check(cohort: &Cohort, acknowledged: &Heard, writers: u64, appends: u64) {
    let (seq, count_of) = acknowledged.is_held_by(cohort);
    let unkilled = (0..writers).filter(|writer| *writer != 2 && *writer != 5);
    for writer in unkilled {
        assert_eq!(count_of[&writer], appends);
    }
    // At most what was between the append and its acknowledgement in the two killed ones.
    let said = acknowledged.0.len();
    assert!(seq as usize - said <= 2 * 3, "{seq} records, {said} acknowledged");
    let view = cohort.view().unwrap();
    assert_eq!(view.seq(), seq);
    assert_eq!(view.iter().count() as u64, writers * 20);
}

#[test]
fn writers_killed_one_after_another_in_the_middle_of_large_frames_lose_nothing_acknowledged() {
    const KILLS: u64 = 60;
    const AT_ONCE: u64 = 6;
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().retain(Retain::All).segment_bytes(1 << 20));
    let (send, receive) = channel();
    let begin = |writer: u64| start(&fixture, writer, u64::MAX, true, send.clone());
    let mut writers: BTreeMap<u64, Writer> = (0..AT_ONCE).map(|writer| (writer, begin(writer))).collect();
    let (mut reader, mut cursor, mut followed) = (cohort.reader().unwrap(), cohort.cursor(1).unwrap(), 0);
    let mut acknowledged = Heard::default();
    let mut heard_of: BTreeMap<u64, u64> = BTreeMap::new();
    let mut killed = 0;
    while killed < KILLS {
        let (number, ..) = acknowledged.next(&receive);
        let heard = heard_of.entry(number).or_default();
        *heard += 1;
        // Each after another number of acknowledgements, so that they die at all places.
        if *heard < 3 + number * 7 % 31 {
            continue;
        }
        let Some(writer) = writers.remove(&number) else { continue };
        writer.kill();
        killed += 1;
        let next = killed + AT_ONCE - 1;
        writers.insert(next, begin(next));
        for record in &mut cursor {
            followed += 1;
            assert_eq!(record.unwrap().seq(), followed, "the follower sees every seq once, in order");
        }
        assert!(reader.refresh().unwrap() >= followed);
        if killed % 10 == 0 {
            cohort.compact().unwrap();
        }
    }
    writers.into_values().for_each(Writer::kill);
    acknowledged.rest(&receive);

    let cohort = fixture.reopen("c");
    let (seq, _) = acknowledged.is_held_by(&cohort);
    let stats = cohort.stats().unwrap();
    println!("{killed} kills, {seq} records, epoch {}", stats.epoch);
}

#[test]
fn processes_that_make_the_same_store_and_cohort_at_once_share_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep").join("store");
    std::thread::scope(|scope| {
        for i in 0..8u64 {
            let path = &path;
            scope.spawn(move || {
                let store = Store::open(path).unwrap();
                for cohort in ["a", "b/c"] {
                    store.create(cohort, Settings::log()).unwrap().append("", &i).unwrap();
                }
            });
        }
    });
    let store = Store::open_existing(&path).unwrap();
    assert_eq!(store.cohorts().unwrap(), ["a", "b/c"]);
    for name in ["a", "b/c"] {
        let mut values: Vec<u64> = store
            .cohort(name)
            .unwrap()
            .cursor(1)
            .unwrap()
            .map(|record| record.unwrap().to().unwrap())
            .collect();
        values.sort_unstable();
        assert_eq!(values, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
    assert_eq!(fixture::names(&path), ["a", "b%2Fc", "store.json"], "nothing is left over");
}

#[test]
fn what_a_dead_maker_of_a_cohort_left_is_removed_and_a_living_one_is_left_alone() {
    let fixture = Fixture::new();
    let dead = fixture.store.path().join(".new-00000000000000aa");
    let living = fixture.store.path().join(".new-00000000000000bb");
    let held: Vec<std::fs::File> = [&dead, &living]
        .map(|dir| {
            std::fs::create_dir(dir).unwrap();
            std::fs::File::create(dir.join("lock")).unwrap()
        })
        .into();
    fs4::FileExt::lock(&held[1]).unwrap();
    fixture.create("c", Settings::log());
    assert!(!dead.exists() && living.exists());
}
