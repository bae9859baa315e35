//! Plain files, by many processes at once: some are killed, some are other programs.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests look at the files as others see them")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tallyfold::files::*;
use tempfile::TempDir;

const WORKER: &str = "TALLYFOLD_TEST_FILES_WORKER";
/// Longer than any test takes: no test is about this.
const LONG: Duration = Duration::from_secs(300);

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("a.json")
    }

    fn lock(&self) -> PathBuf {
        lock_path(self.file(), LockName::Appended)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Starts this program as a worker.
    fn start(&self, does: &str, worker: u64, times: u64) -> Worker {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker", "--nocapture", "--quiet"]);
        command.env(WORKER, format!("{does} {worker} {times} {}", self.file().display()));
        Worker::start(&mut command)
    }
}

/// A process that is killed with its test.
struct Worker {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Worker {
    fn start(command: &mut Command) -> Worker {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Worker { child, out }
    }

    /// The next line of its own, without what the test harness prints; `None` when it has ended.
    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            // What is not whole was cut off by a kill.
            if self.out.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
                return None;
            }
            if let Some((_, said)) = line.trim_end().split_once("worker: ") {
                return Some(said.to_string());
            }
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        assert!(self.child.wait().unwrap().code().is_none(), "it ended by itself");
    }

    /// Lets it go on, or end.
    fn nod(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    fn end(mut self) {
        while self.line().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(words: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("worker: {words}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn wait_for_a_nod() {
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
}

/// Counts one in the file, under this worker's name.
fn count(file: &Path, worker: u64, options: &Options) -> BTreeMap<String, u64> {
    update_json(file, options, |old: Option<BTreeMap<String, u64>>| {
        let mut counts = old.unwrap_or_default();
        *counts.entry(format!("w{worker}")).or_default() += 1;
        counts
    })
    .unwrap()
}

/// Not a test of its own: what the worker processes run, each started as this program with this name.
#[test]
fn worker() {
    let Ok(spec) = std::env::var(WORKER) else { return };
    let mut words = spec.splitn(4, ' ');
    let mut next = || words.next().unwrap();
    let (does, worker, times) = (next(), next().parse::<u64>().unwrap(), next().parse::<u64>().unwrap());
    let file = Path::new(next());
    let lock = lock_path(file, LockName::Appended);
    let options = Options::new().timeout(LONG);
    match does {
        "count" => {
            for n in 1..=times {
                // Some are durable, which takes longer.
                let options = options.clone().durable((n + worker) % 5 == 0);
                let counts = count(file, worker, &options);
                assert_eq!(counts[&format!("w{worker}")], n, "my own are all there");
                say(n);
            }
        }
        "write" => {
            for n in 0..times {
                let document = vec![n; 1 + (n as usize * 7919) % 3000];
                write_json(file, &document, &options.clone().durable(false)).unwrap();
            }
        }
        "hold" => {
            let _lock = FileLock::exclusive(&lock, LONG).unwrap();
            say("held");
            wait_for_a_nod();
        }
        "begin" => {
            let mut begun = AtomicFile::create(file, &options).unwrap();
            begun.write_all(b"half of it").unwrap();
            begun.flush().unwrap();
            say(begun.path().display());
            wait_for_a_nod();
        }
        "section" => {
            for _ in 0..times {
                let _lock = FileLock::exclusive(&lock, LONG).unwrap();
                section(file);
            }
        }
        other => panic!("{other}"),
    }
}

/// What may only be done by one at a time: two would find the directory there, or lose a count.
fn section(file: &Path) {
    let (inside, count) = (file.with_file_name("inside"), file.with_file_name("count"));
    fs::create_dir(&inside).expect("nobody else is inside");
    let n: u64 = fs::read_to_string(&count).map_or(0, |text| text.parse().unwrap());
    std::thread::sleep(Duration::from_micros(200));
    fs::write(&count, (n + 1).to_string()).unwrap();
    fs::remove_dir(&inside).unwrap();
}

/// The same section, by a program that knows nothing of tallyfold; `-` for no lock.
const PYTHON_SECTION: &str = "
import fcntl, os, sys, time
lock, directory, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
inside, count = os.path.join(directory, 'inside'), os.path.join(directory, 'count')
for _ in range(times):
    file = None if lock == '-' else open(lock, 'w')
    if file:
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        os.mkdir(inside)
    except FileExistsError:
        sys.exit('overlap')
    n = int(open(count).read()) if os.path.exists(count) else 0
    time.sleep(0.0002)
    with open(count, 'w') as out:
        out.write(str(n + 1))
    os.rmdir(inside)
    if file:
        fcntl.flock(file, fcntl.LOCK_UN)
        file.close()
";

fn python(lock: &Path, place: &Place, times: u64) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON_SECTION]).arg(lock).arg(place.dir.path()).arg(times.to_string());
    command
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: there is no {program} here");
    }
    found
}

#[test]
fn eight_processes_that_update_one_file_lose_nothing() {
    let place = Place::new();
    let workers: Vec<Worker> = (0..8).map(|worker| place.start("count", worker, 50)).collect();
    workers.into_iter().for_each(Worker::end);
    let counts: BTreeMap<String, u64> = read_json(place.file()).unwrap();
    assert_eq!(counts, (0..8).map(|worker| (format!("w{worker}"), 50)).collect());
    assert_eq!(place.names(), ["a.json", "a.json.lock"]);
}

#[test]
fn a_storm_of_kills_leaves_the_old_file_or_the_new_one_and_no_acknowledged_update_is_lost() {
    const KILLS: u64 = 40;
    let place = Place::new();
    let done = AtomicBool::new(false);
    let (mut acknowledged, mut killed) = (BTreeMap::new(), 0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut highest) = (0u64, 0);
            while !done.load(Ordering::Acquire) {
                match read_json::<BTreeMap<String, u64>>(place.file()) {
                    Ok(counts) => {
                        let sum = counts.values().sum();
                        assert!(sum >= highest, "it never goes back");
                        highest = sum;
                        reads += 1;
                    }
                    Err(e) => assert!(e.is_not_found() && reads == 0, "what is there can be read: {e}"),
                }
            }
            reads
        });
        let mut workers: Vec<(u64, Worker)> =
            (0..4).map(|worker| (worker, place.start("count", worker, u64::MAX))).collect();
        while killed < KILLS {
            // Each after another number of updates, in the middle of the next one; its neighbours go on.
            let at = killed as usize % workers.len();
            let (worker, victim) = &mut workers[at];
            for _ in 0..1 + killed % 5 {
                let n: u64 = victim.line().expect("it goes on").parse().unwrap();
                acknowledged.insert(*worker, n);
            }
            std::thread::sleep(Duration::from_micros(killed * 379 % 5000));
            victim.kill();
            // What it had said before it was killed.
            while let Some(n) = victim.line() {
                acknowledged.insert(*worker, n.parse().unwrap());
            }
            let counts: BTreeMap<String, u64> = read_json(place.file()).unwrap();
            let said = acknowledged[worker];
            let found = counts[&format!("w{worker}")];
            assert!(found == said || found == said + 1, "{found} of {said}");
            killed += 1;
            let worker = 3 + killed;
            workers[at] = (worker, place.start("count", worker, u64::MAX));
        }
        drop(workers);
        done.store(true, Ordering::Release);
        assert!(reader.join().unwrap() > 0);
    });
    let counts: BTreeMap<String, u64> = read_json(place.file()).unwrap();
    for (worker, said) in acknowledged {
        assert!(counts[&format!("w{worker}")] >= said, "worker {worker}");
    }
    // What the killed left over is removed when it is old enough, by a process that looks for it.
    let left = place.names().into_iter().filter(|name| name.contains(".tallyfold-"));
    let left: Vec<PathBuf> = left.map(|name| place.dir.path().join(name)).collect();
    left.iter().for_each(|path| age(path));
    place.start("count", 1_000, 1).end();
    assert_eq!(place.names(), ["a.json", "a.json.lock"]);
    println!("{killed} kills left {} temporary files", left.len());
}

/// As if nothing had been done to the file for two days, which is enough on any file system.
fn age(path: &Path) {
    let then = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    fs::OpenOptions::new().write(true).open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn what_a_killed_writer_has_begun_is_removed_by_the_next_one_and_what_a_living_one_has_is_not() {
    let place = Place::new();
    let begin = |worker| {
        let mut worker = place.start("begin", worker, 1);
        let path = PathBuf::from(worker.line().unwrap());
        (worker, path)
    };
    let ((mut dead, left), (living, begun)) = (begin(0), begin(1));
    dead.kill();
    age(&left);
    age(&begun);
    write_json(place.file(), &1, &Options::new()).unwrap();
    assert!(!left.exists() && begun.exists());
    drop(living);
}

#[test]
fn readers_beside_writers_never_see_a_torn_file() {
    let place = Place::new();
    write_json(place.file(), &vec![0], &Options::new()).unwrap();
    let reads = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let document: Vec<u64> = read_json(place.file()).unwrap();
                    let n = document[0];
                    assert_eq!(document, vec![n; 1 + (n as usize * 7919) % 3000]);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let writers: Vec<Worker> = (0..3).map(|worker| place.start("write", worker, 300)).collect();
        writers.into_iter().for_each(Worker::end);
        done.store(true, Ordering::Release);
    });
    assert!(reads.into_inner() > 0);
}

/// The story: while a pipeline moves over, old workers lock the same lock file with fcntl.flock.
#[test]
fn workers_in_python_with_a_plain_flock_and_ours_are_never_inside_together() {
    if !is_there("python3") {
        return;
    }
    let place = Place::new();
    // Whether the check would find it: one who takes no lock comes in while we are inside.
    fs::create_dir(place.dir.path().join("inside")).unwrap();
    let careless = python(Path::new("-"), &place, 1).output().unwrap();
    assert!(String::from_utf8_lossy(&careless.stderr).contains("overlap"), "{careless:?}");
    fs::remove_dir(place.dir.path().join("inside")).unwrap();

    let mut all: Vec<Worker> =
        (0..3).map(|_| Worker::start(&mut python(&place.lock(), &place, 60))).collect();
    all.extend((0..3).map(|worker| place.start("section", worker, 60)));
    all.into_iter().for_each(Worker::end);
    assert_eq!(fs::read_to_string(place.dir.path().join("count")).unwrap(), "360");
}

#[test]
fn the_command_flock_and_ours_keep_each_other_out() {
    if !is_there("flock") {
        return;
    }
    let place = Place::new();
    let tries = |kind: &str| {
        let mut command = Command::new("flock");
        command.args(["--nonblock", kind]).arg(place.lock()).arg("true");
        command.status().unwrap().success()
    };
    let lock = FileLock::exclusive(place.lock(), LONG).unwrap();
    assert!(!tries("--exclusive") && !tries("--shared"));
    drop(lock);
    let lock = FileLock::shared(place.lock(), LONG).unwrap();
    assert!(!tries("--exclusive") && tries("--shared"));
    drop(lock);
    assert!(tries("--exclusive"));

    let mut command = Command::new("flock");
    let mut theirs =
        Worker::start(command.arg(place.lock()).args(["sh", "-c", "echo worker: held; read nod"]));
    assert_eq!(theirs.line().as_deref(), Some("held"));
    assert!(FileLock::try_shared(place.lock()).unwrap().is_none());
    theirs.nod();
    assert!(FileLock::exclusive(place.lock(), LONG).unwrap().is_held());
    theirs.end();
}

/// The story: a waiter that gave up removed the holder's lock file, and the next one came in.
#[test]
fn a_waiter_that_times_out_names_the_holder_and_leaves_its_lock_alone() {
    let place = Place::new();
    let mut holder = place.start("hold", 0, 1);
    assert_eq!(holder.line().as_deref(), Some("held"));
    let inode = fs::metadata(place.lock()).unwrap().ino();
    let options = Options::new().timeout(Duration::from_millis(50));
    for _ in 0..2 {
        let error = update_json(place.file(), &options, |_: Option<u64>| 1).unwrap_err();
        let said = error.to_string();
        assert!(error.is_lock_timeout() && !error.is_no_space() && !error.is_io(), "{error:?}");
        assert!(said.contains("0.05 s") && said.contains("a.json.lock"), "{said}");
        if cfg!(target_os = "linux") && !cfg!(tallyfold_portable) {
            assert_eq!(error.holder(), Some(holder.child.id()), "{said}");
            assert!(said.contains(&format!("process {}", holder.child.id())), "{said}");
        }
    }
    assert_eq!(fs::metadata(place.lock()).unwrap().ino(), inode);
    assert!(FileLock::try_exclusive(place.lock()).unwrap().is_none(), "the holder still has it");
    assert_eq!(cleanup_lock_files(place.dir.path()).unwrap(), 0);
    holder.kill();
    assert!(FileLock::try_exclusive(place.lock()).unwrap().is_some(), "and with it the lock has gone");
}

/// The story: whoever polls gets in only if it looks in the moment between an unlock and the next lock of the same worker, and
/// starves. Rounds are counted here, and no time.
#[test]
fn one_who_waits_has_its_turn_though_others_take_the_lock_again_at_once() {
    const TURNS: u64 = 20;
    let place = Place::new();
    let done = AtomicBool::new(false);
    let rounds = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let _lock = FileLock::exclusive(place.lock(), LONG).unwrap();
                    std::thread::sleep(Duration::from_millis(3));
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while rounds.load(Ordering::Relaxed) < 5 {
            std::thread::yield_now();
        }
        let before = rounds.load(Ordering::Relaxed);
        for turn in 0..TURNS {
            let lock = if turn % 2 == 0 { FileLock::exclusive } else { FileLock::shared };
            drop(lock(place.lock(), LONG).unwrap());
        }
        let others = rounds.load(Ordering::Relaxed) - before;
        done.store(true, Ordering::Release);
        println!("{others} rounds of two others in {TURNS} turns");
        // By chance each of three would have a third.
        if cfg!(target_os = "linux") && !cfg!(tallyfold_portable) {
            assert!(others < TURNS * 10, "{others} rounds in {TURNS} turns");
        }
    });
}

#[test]
fn a_writer_has_its_turn_though_readers_share_the_lock_all_the_time() {
    if !cfg!(target_os = "linux") || cfg!(tallyfold_portable) {
        return println!("skipped: only Linux tells readers that a writer waits");
    }
    let place = Place::new();
    let done = AtomicBool::new(false);
    let started = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (place, done, started) = (&place, &done, &started);
            scope.spawn(move || {
                // At every moment one of them has it, unless they make room.
                while !done.load(Ordering::Acquire) {
                    let lock = FileLock::shared(place.lock(), LONG).unwrap();
                    started.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(5 + 3 * n));
                    drop(lock);
                }
            });
        }
        while started.load(Ordering::Relaxed) < 10 {
            std::thread::yield_now();
        }
        for _ in 0..10 {
            drop(FileLock::exclusive(place.lock(), LONG).unwrap());
        }
        done.store(true, Ordering::Release);
    });
}

/// The story: who cleans up lock files removes one that is waited for; its waiters get what has no name any more.
#[test]
fn waiters_for_a_lock_file_that_is_replaced_end_up_with_the_one_that_everybody_sees() {
    for remove in [true, false] {
        let place = Place::new();
        let held = FileLock::exclusive(place.lock(), LONG).unwrap();
        let inside = AtomicU64::new(0);
        let had = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let lock = FileLock::exclusive(place.lock(), LONG).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::AcqRel), 0, "alone");
                        assert!(lock.is_held(), "it is the one that has the name");
                        std::thread::sleep(Duration::from_millis(1));
                        inside.fetch_sub(1, Ordering::AcqRel);
                        had.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // Some wait for it by now, and some will come later: both are to be right.
            std::thread::sleep(Duration::from_millis(20));
            if remove {
                fs::remove_file(place.lock()).unwrap();
            } else {
                fs::write(place.dir.path().join("new"), "").unwrap();
                fs::rename(place.dir.path().join("new"), place.lock()).unwrap();
            }
            assert!(!held.is_held());
            drop(held);
        });
        assert_eq!(had.into_inner(), 20);
    }
}

#[test]
fn cleaning_up_lock_files_all_the_time_costs_no_update() {
    let place = Place::new();
    let done = AtomicBool::new(false);
    let removed = std::thread::scope(|scope| {
        let cleaner = scope.spawn(|| {
            let mut removed = 0;
            while !done.load(Ordering::Acquire) {
                removed += cleanup_lock_files(place.dir.path()).unwrap();
                std::thread::sleep(Duration::from_micros(300));
            }
            removed
        });
        let workers: Vec<Worker> = (0..4).map(|worker| place.start("count", worker, 50)).collect();
        workers.into_iter().for_each(Worker::end);
        done.store(true, Ordering::Release);
        cleaner.join().unwrap()
    });
    let counts: BTreeMap<String, u64> = read_json(place.file()).unwrap();
    assert_eq!(counts, (0..4).map(|worker| (format!("w{worker}"), 50)).collect());
    assert!(removed > 0, "some were removed");
    println!("{removed} lock files removed in 200 updates");
}
