//! Many processes at once, some of them killed.
#![allow(clippy::disallowed_methods, reason = "tests read the journal's files")]

mod fixture;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use fixture::Fixture;
use serde_json::{Value, json};
use tallyfold::{Batch, Cohort, Compaction, Retain, Settings, Store};

const WORKER: &str = "TALLYFOLD_TEST_WORKER";

/// Not a test of its own: what the worker processes run, each started as this program with this name.
#[test]
fn worker() {
    let Ok(spec) = std::env::var(WORKER) else { return };
    let spec: Value = serde_json::from_str(&spec).unwrap();
    let cohort = Store::open_existing(spec["store"].as_str().unwrap()).unwrap().cohort("c").unwrap();
    let (worker, appends) = (spec["worker"].as_u64().unwrap(), spec["appends"].as_u64().unwrap());
    let large = spec["large"].as_bool().unwrap();
    // A kill takes effect between two pages of a write, so only frames of many pages are torn by it.
    let pad = |n: u64| if large && n.is_multiple_of(5) { 150_000 } else { n as usize % 90 };
    let mut out = std::io::stdout().lock();
    let mut n = 0;
    while n < appends {
        // Every seventh act is a batch of three, some are durable.
        let size = if n % 7 == 0 { 3.min(appends - n) } else { 1 };
        let mut batch = Batch::new();
        for i in n..n + size {
            batch
                .put(
                    &format!("w{worker}:{}", i % 20),
                    &json!({"worker": worker, "n": i, "pad": "x".repeat(pad(i))}),
                )
                .unwrap();
        }
        let last = match n % 97 {
            0 => cohort.append_batch_durable(batch),
            _ => cohort.append_batch(batch),
        }
        .unwrap();
        for i in n..n + size {
            // One write a line, straight to the pipe: what was said is not lost with the process.
            out.write_all(format!("ack {worker} {i} {}\n", last + 1 + i - n - size).as_bytes()).unwrap();
        }
        out.flush().unwrap();
        n += size;
    }
}

fn start(fixture: &Fixture, worker: u64, appends: u64, large: bool) -> Child {
    let spec = json!({"store": fixture.store.path(), "worker": worker, "appends": appends, "large": large});
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture", "--quiet"])
        .env(WORKER, spec.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Acknowledgements as a worker's pipe carries them: (worker, n, seq).
fn acks(child: &mut Child, heard: mpsc::Sender<(u64, u64, u64)>) -> std::thread::JoinHandle<()> {
    let stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let line = line.unwrap();
            // The test harness writes to the same pipe, before the worker and after it.
            let Some(at) = line.find("ack ") else { continue };
            let mut words = line[at + 4..].split(' ').map(|word| word.parse::<u64>().unwrap());
            let (Some(worker), Some(n), Some(seq)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            heard.send((worker, n, seq)).unwrap();
        }
    })
}

#[test]
fn eight_processes_two_of_them_killed_and_a_compactor_lose_and_repeat_nothing() {
    const WORKERS: u64 = 8;
    const APPENDS: u64 = 2000;
    let fixture = Fixture::new();
    let settings = Settings::latest().retain(Retain::All).segment_bytes(256 << 10);
    let cohort = fixture.create("c", settings);
    let (send, receive) = mpsc::channel();
    let mut children: Vec<Child> =
        (0..WORKERS).map(|worker| start(&fixture, worker, APPENDS, false)).collect();
    let listeners: Vec<_> = children.iter_mut().map(|child| acks(child, send.clone())).collect();
    drop(send);

    let done = AtomicBool::new(false);
    let mut acknowledged: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
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
        let mut heard_of = [0; WORKERS as usize];
        for (worker, n, seq) in receive {
            heard_of[worker as usize] += 1;
            // In mid-run, at a moment that no clock decides.
            for (victim, after) in [(2, 300), (5, 900)] {
                if worker == victim && heard_of[worker as usize] == after {
                    children[worker as usize].kill().unwrap();
                }
            }
            assert_eq!(acknowledged.insert(seq, (worker, n)), None, "seq {seq} was acknowledged twice");
        }
        done.store(true, Ordering::Release);
        compactions = compactor.join().unwrap();
        let followed = follower.join().unwrap();
        assert!(followed >= acknowledged.keys().next_back().copied().unwrap());
    });
    for (worker, mut child) in children.into_iter().enumerate() {
        let killed = worker == 2 || worker == 5;
        assert_eq!(child.wait().unwrap().success(), !killed, "worker {worker}");
    }
    for listener in listeners {
        listener.join().unwrap();
    }
    assert!(compactions > 1, "{compactions} compactions");
    check(&fixture.reopen("c"), &acknowledged, WORKERS, APPENDS);
}

/// Reads the whole journal: no gaps, each worker's records once and in its order, and all that was acknowledged as it was said.
/// Returns the last seq, and how many records each worker has.
fn replay(cohort: &Cohort, acknowledged: &BTreeMap<u64, (u64, u64)>) -> (u64, BTreeMap<u64, u64>) {
    let (mut seq, mut found) = (0, 0);
    let mut count_of: BTreeMap<u64, u64> = BTreeMap::new();
    for record in cohort.cursor(1).unwrap() {
        let record = record.unwrap();
        seq += 1;
        assert_eq!(record.seq(), seq, "no gaps");
        let value: Value = record.to().unwrap();
        let (worker, n) = (value["worker"].as_u64().unwrap(), value["n"].as_u64().unwrap());
        let count = count_of.entry(worker).or_default();
        assert_eq!(n, *count, "each worker's records once and in its order");
        *count += 1;
        if let Some(said) = acknowledged.get(&seq) {
            assert_eq!(*said, (worker, n), "seq {seq} is what was acknowledged");
            found += 1;
        }
    }
    assert_eq!(found, acknowledged.len(), "acknowledged records are lost");
    let report = cohort.verify().unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
    (seq, count_of)
}

fn check(cohort: &Cohort, acknowledged: &BTreeMap<u64, (u64, u64)>, workers: u64, appends: u64) {
    let (seq, count_of) = replay(cohort, acknowledged);
    let unkilled = (0..workers).filter(|worker| *worker != 2 && *worker != 5);
    for worker in unkilled {
        assert_eq!(count_of[&worker], appends);
    }
    // At most what was between the append and its acknowledgement in the two killed ones.
    assert!(seq as usize - acknowledged.len() <= 2 * 3, "{seq} records, {} acknowledged", acknowledged.len());
    let view = cohort.view().unwrap();
    assert_eq!(view.seq(), seq);
    assert_eq!(view.iter().count() as u64, workers * 20);
}

#[test]
fn writers_killed_one_after_another_in_the_middle_of_large_frames_lose_nothing_acknowledged() {
    const KILLS: u64 = 60;
    const AT_ONCE: u64 = 6;
    let fixture = Fixture::new();
    let cohort = fixture.create("c", Settings::latest().retain(Retain::All).segment_bytes(1 << 20));
    let (send, receive) = mpsc::channel();
    let mut children = BTreeMap::new();
    let mut listeners = Vec::new();
    let mut begin = |worker: u64, children: &mut BTreeMap<u64, Child>| {
        let mut child = start(&fixture, worker, u64::MAX, true);
        listeners.push(acks(&mut child, send.clone()));
        children.insert(worker, child);
    };
    (0..AT_ONCE).for_each(|worker| begin(worker, &mut children));
    let (mut reader, mut cursor, mut followed) = (cohort.reader().unwrap(), cohort.cursor(1).unwrap(), 0);
    let mut acknowledged = BTreeMap::new();
    let mut heard_of: BTreeMap<u64, u64> = BTreeMap::new();
    let mut killed = 0;
    while killed < KILLS {
        let (worker, n, seq) = receive.recv().unwrap();
        assert_eq!(acknowledged.insert(seq, (worker, n)), None, "seq {seq} was acknowledged twice");
        let heard = heard_of.entry(worker).or_default();
        *heard += 1;
        // Each after another number of acknowledgements, so that they die at all places.
        if *heard < 3 + worker * 7 % 31 {
            continue;
        }
        let Some(mut child) = children.remove(&worker) else { continue };
        child.kill().unwrap();
        assert!(child.wait().unwrap().code().is_none(), "worker {worker} ended by itself");
        killed += 1;
        begin(killed + AT_ONCE - 1, &mut children);
        for record in &mut cursor {
            followed += 1;
            assert_eq!(record.unwrap().seq(), followed, "the follower sees every seq once, in order");
        }
        assert!(reader.refresh().unwrap() >= followed);
        if killed % 10 == 0 {
            cohort.compact().unwrap();
        }
    }
    for child in children.values_mut() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    drop(send);
    acknowledged.extend(receive.iter().map(|(worker, n, seq)| (seq, (worker, n))));
    listeners.into_iter().for_each(|listener| listener.join().unwrap());

    let cohort = fixture.reopen("c");
    let (seq, _) = replay(&cohort, &acknowledged);
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
