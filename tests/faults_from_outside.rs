//! Calls of the built command that the kernel refuses, one at a time: strace answers them in its place.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "tests read what strace says")]

mod common;
mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Ended, TALLYFOLD};
use fixture::{Fixture, copy_all, shares_memory, state};
use serde_json::Value;
use tallyfold::{LockClass, Settings, Store};

const NO_SPACE: [&str; 3] = ["ENOSPC", "EDQUOT", "EFBIG"];

/// The calls that are refused, and with what.
const FAULTS: [(&str, &[&str]); 11] = [
    ("openat", &["EIO", "EINTR", "ENOSPC", "EROFS", "EDQUOT"]),
    ("pwrite64", &["ENOSPC", "EDQUOT", "EIO", "EFBIG", "EROFS", "EINTR"]),
    ("fallocate", &["ENOSPC", "EDQUOT", "EIO", "EFBIG", "EROFS", "EINTR"]),
    ("fsync", &["EIO", "ENOSPC", "EDQUOT", "EROFS", "EINTR"]),
    ("fdatasync", &["EIO", "ENOSPC", "EDQUOT", "EROFS", "EINTR"]),
    ("renameat", &["ENOSPC", "EDQUOT", "EIO", "EROFS", "EINTR"]),
    ("linkat", &["ENOSPC", "EDQUOT", "EIO", "EROFS", "EINTR"]),
    ("unlinkat", &["EIO", "EROFS", "EINTR"]),
    ("mkdirat", &["ENOSPC", "EDQUOT", "EIO", "EROFS", "EINTR"]),
    ("mmap", &["ENOMEM", "EIO"]),
    ("flock", &["EINTR", "EIO", "ENOLCK"]),
];

/// Of so many places where a file is opened one is taken, for there are most of those.
const OPENED: usize = 4;

/// What a command is run for, on a copy of what store.
struct Scene {
    name: &'static str,
    args: Vec<&'static str>,
    /// What it is to append, as keys and values.
    input: Vec<(String, Value)>,
    class: LockClass,
    /// A store with records that are folded, and records that are not.
    base: Fixture,
    /// What was appended to it.
    before: Vec<(String, Value)>,
}

impl Scene {
    fn new(name: &'static str, class: LockClass, args: &[&'static str], records: u64) -> Scene {
        let base = Fixture::in_memory();
        let value = |n: u64| (format!("k{}", n % 7), Value::from(format!("{n}{}", "x".repeat(700))));
        let mut before = Vec::new();
        if name != "append to nothing" {
            let settings = Settings::latest().segment_bytes(4096).compact_bytes(0).lock(class);
            let cohort = base.store.create("c", settings).unwrap();
            before = (1..=17).map(value).collect();
            for (i, (key, value)) in before.iter().enumerate() {
                cohort.append(key, value).unwrap();
                if i == 4 || i == 8 {
                    cohort.compact().unwrap();
                }
            }
        }
        let input = (before.len() as u64 + 1..).take(records as usize).map(value).collect();
        Scene { name, args: args.to_vec(), input, class, base, before }
    }

    /// The command on a copy of the store, with one call refused; and what strace saw.
    fn run(&self, fault: Option<&str>) -> (Fixture, Ended, String) {
        let copy = Fixture::in_memory();
        let (dir, store) = (copy.dir.path(), copy.store.path());
        fs::remove_dir_all(store).unwrap();
        if self.name != "append to nothing" {
            copy_all(self.base.store.path(), store);
        }
        let lines = self.input.iter().fold(String::new(), |mut lines, (key, value)| {
            writeln!(lines, "{}", serde_json::json!({"k": key, "v": value})).unwrap();
            lines
        });
        fs::write(dir.join("lines"), lines).unwrap();
        let calls: Vec<_> = FAULTS.iter().map(|(call, _)| *call).collect();
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-e", &format!("trace={}", calls.join(",")), "-o"]).arg(dir.join("trace"));
        if let Some(fault) = fault {
            command.args(["-e", &format!("inject={fault}")]);
        }
        command.arg(TALLYFOLD).args(&self.args).arg("--store").arg(store).current_dir(dir);
        command.env_remove("TALLYFOLD_STORE").env_remove("TALLYFOLD_LOCK").env("RUST_BACKTRACE", "0");
        let ended = Ended::from(command.output().unwrap());
        let trace = fs::read_to_string(dir.join("trace")).unwrap();
        (copy, ended, trace)
    }

    /// Which calls the first thread makes on the store's files: the call, and how many of its kind it has made by then.
    fn calls(&self) -> Vec<(&'static str, usize)> {
        let (copy, ended, trace) = self.run(None);
        assert_eq!(ended.code, 0, "{}: {ended:?}", self.name);
        self.judge(copy.store.path(), &ended, "nothing refused");
        let store = copy.store.path().to_str().unwrap();
        let thread = trace.split(' ').next().unwrap();
        let mut made = BTreeMap::new();
        let mut calls = Vec::new();
        for line in trace.lines().filter_map(|line| line.strip_prefix(thread)) {
            let Some((call, arguments)) = line.trim_start().split_once('(') else { continue };
            let Some((call, _)) = FAULTS.iter().find(|(name, _)| *name == call) else { continue };
            let count: &mut usize = made.entry(call).or_default();
            *count += 1;
            if arguments.contains(store) {
                calls.push((*call, *count));
            }
        }
        calls
    }

    /// Whether what the command has said is so, and the store can be used.
    fn judge(&self, store: &Path, ended: &Ended, what: &str) {
        let what = format!("{} in class {:?}, {what}: {ended:?}", self.name, self.class);
        assert!([0, 1].contains(&ended.code), "{what}");
        if ended.code == 1 {
            assert!(ended.err.starts_with("tallyfold: "), "{what}");
            assert!(ended.err.contains(store.to_str().unwrap()), "the message names the file: {what}");
        }
        let (acknowledged, unknown) = self.told(ended);
        assert!(
            ended.code != 0 || self.input.len() as u64 + self.before.len() as u64 == acknowledged,
            "{what}"
        );
        let last = acknowledged.max(unknown) as usize;

        let handle = Store::open(store).unwrap();
        let cohort = match handle.cohort("c") {
            Err(e) if e.is_not_found() => {
                assert_eq!(last, 0, "{what}");
                handle.create("c", Settings::latest().lock(self.class)).unwrap()
            }
            other => other.unwrap(),
        };
        let mut expected = BTreeMap::new();
        for (i, (key, value)) in self.before.iter().chain(&self.input).take(last).enumerate() {
            let value = match i < self.before.len() {
                true => value.to_string(),
                false => serde_json::json!({"k": key, "v": value}).to_string(),
            };
            expected.insert(key.clone(), (i as u64 + 1, value));
        }
        assert_eq!(state(&cohort.view().unwrap()), expected, "before anything else is done: {what}");
        let appended = cohort.append_durable("after", &1).or_else(|_| cohort.append_durable("after", &1));
        assert_eq!(appended.expect(&what), last as u64 + 1, "{what}");
        expected.insert("after".into(), (last as u64 + 1, "1".into()));
        cohort.compact().expect(&what);
        let report = cohort.verify().unwrap();
        assert!(!report.is_damaged(), "{:?}: {what}", report.findings);
        assert_eq!(state(&cohort.view().unwrap()), expected, "{what}");
    }

    /// The last seq that the command has called appended, and the one it has called written with unknown durability.
    fn told(&self, ended: &Ended) -> (u64, u64) {
        let number_behind = |words: &str| {
            let (_, rest) = ended.err.split_once(words)?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse::<u64>().ok()
        };
        let before = self.before.len() as u64;
        let printed = ended.out.trim().parse().ok().filter(|_| self.args[0] == "append");
        let said = number_behind("record was appended before, as seq ")
            .or_else(|| number_behind("records were appended before, the last as seq "));
        let acknowledged = printed.or(said).unwrap_or(before);
        (acknowledged, number_behind("written as seq ").unwrap_or(0))
    }
}

/// Whether strace may answer calls here; prints why not.
fn strace_answers() -> bool {
    let output = Command::new("strace")
        .args([
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "trace=openat",
            "-e",
            "inject=openat:error=EIO:when=9999",
            "true",
        ])
        .output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            println!("skipped: strace does not work here: {}", String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(e) => {
            println!("skipped: strace cannot be started: {e}");
            false
        }
    }
}

#[test]
fn a_call_that_the_kernel_refuses_costs_nothing_that_the_command_has_acknowledged() {
    if !strace_answers() {
        return;
    }
    let mut classes = vec![LockClass::File];
    if shares_memory() {
        classes.push(LockClass::Memory);
    }
    let mut scenes = Vec::new();
    for class in classes {
        let append = ["append", "c", "--key-from", "k", "lines"];
        let with = |more: &[&'static str]| [&append[..], more].concat();
        scenes.push(Scene::new("append", class, &append, 1));
        scenes.push(Scene::new("append in batches", class, &with(&["--batch", "3"]), 8));
        scenes.push(Scene::new("append durably", class, &with(&["--durable"]), 3));
        scenes.push(Scene::new("compact", class, &["compact", "c"], 0));
        if class != LockClass::File {
            scenes.push(Scene::new("append to nothing", class, &append, 2));
        }
    }
    let mut work = Vec::new();
    for scene in &scenes {
        let mut seen = BTreeSet::new();
        for (i, (call, when)) in scene.calls().into_iter().enumerate() {
            let errnos = FAULTS.iter().find(|(name, _)| *name == call).unwrap().1;
            if call == "openat" && i % OPENED != 0 {
                continue;
            }
            // The first of its kind with all of them, the others each with another one.
            let these = if seen.insert(call) { errnos } else { &errnos[i % errnos.len()..][..1] };
            work.extend(these.iter().map(|errno| (scene, call, *errno, format!("{when}"))));
            // And from then on for ever, but for what is tried again for ever.
            let errno = errnos[(i + 1) % errnos.len()];
            if errno != "EINTR" {
                work.push((scene, call, errno, format!("{when}+")));
            }
        }
    }
    let (next, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let counts: Mutex<BTreeMap<(&str, i32), usize>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((scene, call, errno, when)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let what = format!("{errno} at {call} {when}");
                    let (copy, ended, trace) = scene.run(Some(&format!("{call}:error={errno}:when={when}")));
                    refused.fetch_add(usize::from(trace.contains("(INJECTED)")), Ordering::Relaxed);
                    if ended.code == 1
                        && NO_SPACE.contains(errno)
                        && !ended.err.contains("durability unknown")
                    {
                        assert!(ended.err.contains("make room"), "{what}: {ended:?}");
                    }
                    scene.judge(copy.store.path(), &ended, &what);
                    *counts.lock().unwrap().entry((call, ended.code)).or_default() += 1;
                }
            });
        }
    });
    let (runs, refused) = (work.len(), refused.into_inner());
    for ((call, code), count) in counts.into_inner().unwrap() {
        println!("{call}: exit code {code}: {count}");
    }
    println!("{runs} runs of the command, {refused} of them with a call refused");
    assert!(refused * 10 > runs * 9, "the calls are where they were found");
}
