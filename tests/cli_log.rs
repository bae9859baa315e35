//! `log`: which records it prints, following a journal that changes under it, and going on where it has stopped.
#![allow(clippy::disallowed_methods, reason = "tests write, copy and remove files on purpose")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{Ended, Fixture, Running};
use serde_json::{Value, json};
use tallyfold::{Cohort, Fold, Retain, Settings};

fn seq(line: &str) -> u64 {
    let record: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    record["seq"].as_u64().unwrap()
}

#[track_caller]
fn seqs(ended: Ended) -> Vec<u64> {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out.lines().map(seq).collect()
}

/// A cohort of runs: of ten records one is of the run `r7`, and the loss goes down.
fn runs(fixture: &Fixture, cohort: &str, records: u64) -> Cohort {
    let made = fixture.library().create(cohort, Settings::log()).unwrap();
    let mut batch = tallyfold::Batch::new();
    for n in 1..=records {
        let (run, loss) = (n % 10, 1.0 / n as f64);
        batch
            .put(&format!("r{run}:TRAINING"), &json!({"step": n, "loss": loss, "run": {"id": run}}))
            .unwrap();
        if batch.len() == 100 {
            made.append_batch(std::mem::take(&mut batch)).unwrap();
        }
    }
    if !batch.is_empty() {
        made.append_batch(batch).unwrap();
    }
    made
}

#[test]
fn n_with_a_filter_is_the_last_records_that_are_wanted() {
    let fixture = Fixture::new();
    runs(&fixture, "c", 30_000);
    let log = |args: &[&str]| seqs(fixture.run(&[&["log", "c"], args].concat()));
    assert_eq!(log(&["-n", "3", "--key", "r7:TRAINING"]), [29_977, 29_987, 29_997]);
    assert_eq!(log(&["-n", "3", "--where", "step<=15"]), [13, 14, 15], "far from the end");
    assert_eq!(log(&["-n", "99", "--where", "step<=2"]), [1, 2], "fewer than asked for");
    assert_eq!(log(&["-n", "0", "--where", "step<=2"]), [0; 0]);
    assert_eq!(log(&["-n", "2", "--to", "100", "--prefix", "r7"]), [87, 97]);
    assert_eq!(log(&["-n", "2", "--from", "100", "--parts", "r7"]), [107, 117]);
    assert_eq!(log(&["-n", "2", "--where", "run.id=7", "--where", "loss<0.001"]), [29_987, 29_997]);
    let of_two = log(&["-n", "3", "--key", "r7:TRAINING", "--key", "r8:TRAINING"]);
    assert_eq!(of_two, [29_988, 29_997, 29_998]);
    assert_eq!(log(&["--from", "5", "--to", "7"]), [5, 6, 7]);
    assert_eq!(log(&["--to", "0"]), [0; 0]);
    let history =
        fixture.run(&["history", "c", "--key", "r7:TRAINING", "--from", "29980", "--where", "step>1"]);
    assert_eq!(seqs(history), [29_987, 29_997], "the same in history");
}

#[test]
fn a_follower_with_a_filter_prints_the_last_and_then_those_that_come() {
    let fixture = Fixture::new();
    let cohort = runs(&fixture, "c", 50);
    let mut follower = Running::start(
        &mut fixture.command(&["log", "c", "-f", "-n", "2", "--parts", "r7", "--where", "step>20"]),
    );
    let mut lines = follower.lines();
    assert_eq!([seq(&lines.next()), seq(&lines.next())], [37, 47]);
    for n in [51, 7, 57] {
        for key in ["r7:TRAINING", "r8:TRAINING"] {
            cohort.append(key, &json!({"step": n})).unwrap();
        }
    }
    assert_eq!([seq(&lines.next()), seq(&lines.next())], [51, 55]);
}

#[test]
fn forms_are_for_people_or_programs_and_json_is_json() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("k", r#"{"a":1.50,"b":{"c":[1,2]}}"#)]);
    fixture.ok(&["delete", "c", "k"]);
    let log = fixture.ok(&["log", "c"]);
    assert_eq!(fixture.ok(&["log", "c", "-o", "json"]), log);
    let time = log.split('"').nth(5).unwrap();
    let short = fixture.ok(&["log", "c", "-o", "short", "-n", "2"]);
    let mut lines = short.lines();
    assert_eq!(lines.next().unwrap(), format!("       1  {time}  k  {{\"a\":1.50,\"b\":{{\"c\":[1,2]}}}}"));
    assert!(lines.next().unwrap().ends_with("Z  k  deleted"), "{short}");
    let pretty = fixture.ok(&["history", "c", "-o", "pretty", "--to", "1"]);
    let laid_out = "  {\n    \"a\": 1.50,\n    \"b\": {\n      \"c\": [1, 2]\n    }\n  }\n";
    assert_eq!(pretty, format!("seq 1  {time}  k\n{laid_out}"));
    let colored = fixture.ok(&["log", "c", "-o", "pretty", "--to", "1", "--color", "always"]);
    assert!(colored.contains("\x1b[33m1.50\x1b[0m") && colored.contains("\x1b[1mk\x1b[0m"), "{colored:?}");
    fixture.run(&["log", "c", "--json", "-o", "short"]).fails(2, &["--json is -o json"]);
    fixture.run(&["log", "c", "-o", "xml"]).fails(2, &["short", "pretty"]);
}

/// Gives the records of a journal of one segment, each of them in a frame of its own, other times, as if clocks had been set.
fn set_times(fixture: &Fixture, cohort: &str, times: &[&str]) {
    let path = fixture.file(cohort, "00000001.journal");
    let mut bytes = fs::read(&path).unwrap();
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let salt = u32_at(&bytes, 48);
    let mut at = 1024;
    for time in times {
        let time: jiff::Timestamp = time.parse().unwrap();
        assert_eq!(u32_at(&bytes, at + 4), 1, "a frame of one record");
        bytes[at + 24..at + 32].copy_from_slice(&time.as_microsecond().to_le_bytes());
        let mut crc = crc32fast::Hasher::new_with_initial(salt);
        crc.update(&bytes[at..at + 36]);
        bytes[at + 36..at + 40].copy_from_slice(&crc.finalize().to_le_bytes());
        at += 40 + (u32_at(&bytes, at) as usize).next_multiple_of(8);
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn times_are_asked_of_each_record_though_clocks_go_back() {
    let fixture = Fixture::new();
    let cohort = fixture.library().create("c", Settings::log()).unwrap();
    for n in 1..=5 {
        cohort.append("k", &n).unwrap();
    }
    drop(cohort);
    // The clock was a year ahead at first, and again later.
    set_times(
        &fixture,
        "c",
        &[
            "2027-01-08T10:00:00Z",
            "2026-01-08T10:00:00Z",
            "2026-01-08T11:00:00.5Z",
            "2027-01-08T12:00:00Z",
            "2026-01-08T12:00:00Z",
        ],
    );
    let log = |args: &[&str]| {
        let mut command = fixture.command(&[&["log", "c"], args].concat());
        command.env("TZ", "Asia/Tokyo");
        seqs(command.output().unwrap().into())
    };
    assert_eq!(log(&[]), [1, 2, 3, 4, 5]);
    assert_eq!(log(&["--since", "2026-12-31"]), [1, 4]);
    assert_eq!(log(&["--until", "2026-12-31"]), [2, 3, 5]);
    assert_eq!(log(&["--since", "2026-01-08T11:00:00.5Z", "--until", "2026-01-08T12:00:00Z"]), [3, 5]);
    assert_eq!(log(&["--since", "2026-01-08 19:30", "--until", "2026-01-08 20:30"]), [3], "the local zone");
    assert_eq!(log(&["--since", "@1767870000", "--until", "2026-01-08T12:00:01+01:00", "-n", "1"]), [3]);
    assert_eq!(log(&["--since", "-500000h"]), [1, 2, 3, 4, 5]);
    assert_eq!(log(&["--until", "500000h ago"]), [0; 0]);
    assert_eq!(log(&["-n", "1", "--since", "2026-12-31"]), [4]);
    for args in [&["log", "c", "--since", "soon"], &["history", "c", "--until", "2026-02-30"]] {
        fixture.run(args).fails(2, &["this is no time", "RFC 3339", "10m ago", "yesterday"]);
    }
}

/// The journal changes in every way while it is followed: four writers, segments of a few records, a compactor that removes all
/// but the newest. Each writer waits while the follower is far behind, so that nothing is removed before it is read.
#[test]
fn a_follower_misses_and_repeats_nothing_while_writers_rotate_and_a_compactor_removes() {
    const EACH: u64 = 600;
    for fold in [Fold::Latest, Fold::Log] {
        let fixture = Fixture::new();
        let settings = Settings::new(fold.clone()).segment_bytes(4096).retain(Retain::Records(1500));
        let cohort = fixture.library().create("c", settings.compact_bytes(0)).unwrap();
        cohort.append("first", &0).unwrap();
        let last = 4 * EACH + 1;
        let mut follower = Running::start(
            fixture
                .command(&["log", "c", "-f", "--from", "1", "--to", &last.to_string()])
                .stderr(Stdio::piped()),
        );
        let mut lines = follower.lines();
        let (read, done) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut seen = Vec::new();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let (cohort, read) = (&cohort, &read);
                scope.spawn(move || {
                    for n in 0..EACH {
                        let seq =
                            cohort.append(&format!("w{writer}:{}", n % 7), &json!({"pad": "p".repeat(100)}));
                        let seq = seq.unwrap();
                        while seq.saturating_sub(read.load(Ordering::SeqCst)) > 1000 {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                });
            }
            let compactor = scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    cohort.compact().unwrap();
                }
            });
            while (seen.len() as u64) < last {
                let line = lines.next();
                if line.is_empty() {
                    break;
                }
                seen.push(seq(&line));
                read.store(seen.len() as u64, Ordering::SeqCst);
            }
            // Were it to end too early, the writers must not wait for it.
            read.store(u64::MAX / 2, Ordering::SeqCst);
            done.store(true, Ordering::SeqCst);
            compactor.join().unwrap();
        });
        let ended = follower.ended();
        assert_eq!((ended.code, ended.err.as_str(), ended.out.as_str()), (0, "", ""), "{fold:?}");
        assert!(seen.iter().copied().eq(1..=last), "{fold:?}: {seen:?}");
        let gone = cohort.cursor(1).unwrap_err();
        assert!(gone.is_compacted(), "{fold:?}: segments were removed while it read: {gone}");
        assert!(cohort.stats().unwrap().segments < 400, "{fold:?}");
    }
}

/// A follower whose output nobody reads stands still, while compaction removes what it has not read.
fn overtaken(fixture: &Fixture, more: &[&str]) -> (Ended, u64) {
    let settings = Settings::latest().segment_bytes(16 << 10).compact_bytes(0);
    let cohort = fixture.library().create("c", settings).unwrap();
    let pad = "p".repeat(1000);
    let append = |n: u64| cohort.append(&format!("k{}", n % 5), &json!({"n": n, "pad": pad})).unwrap();
    for n in 0..300 {
        append(n);
    }
    let (filled, last) = (300, 306);
    let mut command = fixture.command(&[&["log", "c", "-f", "--to", &last.to_string()], more].concat());
    let mut follower = Running::start(command.stderr(Stdio::piped()));
    // More than the pipe takes is there to be printed, so now it stands before the end of that.
    let mut first = [0];
    follower.0.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    for n in filled..last {
        append(n);
        cohort.compact().unwrap();
    }
    let mut ended = follower.ended();
    ended.out.insert(0, char::from(first[0]));
    (ended, last)
}

#[test]
fn a_follower_overtaken_by_removal_says_which_records_are_gone_goes_on_and_ends_with_1() {
    let fixture = Fixture::new();
    let (ended, last) = overtaken(&fixture, &[]);
    let printed: Vec<u64> = ended.out.lines().map(seq).collect();
    let jump = printed.windows(2).find(|pair| pair[1] != pair[0] + 1).expect("some are missing").to_vec();
    let ended = ended.fails(1, &[&format!("records {} to {} were removed", jump[0] + 1, jump[1] - 1)]);
    ended.says(&[&format!("going on with record {}", jump[1]), "retain"]);
    let expected: Vec<u64> = (1..=jump[0]).chain(jump[1]..=last).collect();
    assert_eq!(printed, expected, "all others, once each");
}

#[test]
fn who_remembers_where_he_stopped_does_not_go_on_over_a_gap() {
    let fixture = Fixture::new();
    let (ended, last) = overtaken(&fixture, &["--cursor-file", "here"]);
    let printed: Vec<u64> = ended.out.lines().map(seq).collect();
    let stopped = *printed.last().unwrap();
    assert!(printed.iter().copied().eq(1..=stopped) && stopped < last, "{printed:?}");
    ended.fails(1, &[&format!("records {} to ", stopped + 1), "remove the cursor file", "--from"]);
    let document: Value = serde_json::from_slice(&fs::read(fixture.dir().join("here")).unwrap()).unwrap();
    assert_eq!(document["seq"], stopped);
    // Nor does the next one.
    let again = fixture.run(&["log", "c", "--cursor-file", "here"]);
    assert_eq!(again.out, "");
    again.fails(1, &[&format!("records {} to ", stopped + 1), "folded away", "here"]);
}

#[test]
fn a_cursor_file_goes_on_behind_what_was_read_whatever_was_printed_of_it() {
    let fixture = Fixture::new();
    let cohort = runs(&fixture, "c", 20);
    let log = |args: &[&str]| fixture.run(&[&["log", "c", "--cursor-file", "here"], args].concat());
    assert_eq!(seqs(log(&["--from", "3", "--to", "5"])), [3, 4, 5]);
    assert_eq!(seqs(log(&["-n", "2"])), [6, 7], "the next ones");
    assert_eq!(seqs(log(&["--from", "1", "--to", "8"])), [8], "--from is for the first time");
    assert_eq!(seqs(log(&["--where", "step=11"])), [11], "and looked at all");
    assert_eq!(seqs(log(&[])), [0; 0]);
    cohort.append("k", &1).unwrap();
    assert_eq!(seqs(log(&[])), [21]);
    cohort.compact().unwrap();
    assert_eq!(seqs(log(&[])), [0; 0]);
    // Folded away up to it, and nothing behind it: that is no gap.
    let index = fixture.library().create("index", Settings::latest().compact_bytes(0)).unwrap();
    for n in 0..3 {
        index.append("k", &n).unwrap();
    }
    let of_index = || fixture.run(&["log", "index", "--cursor-file", "of-index"]);
    assert_eq!(seqs(of_index()), [1, 2, 3]);
    for n in 3..6 {
        index.compact().unwrap();
        index.append("k", &n).unwrap();
        assert_eq!(seqs(of_index()), [n + 1]);
    }
    // One that has read nothing yet misses nothing either.
    fixture.ok(&["create", "new", "--fold", "log"]);
    let of_new = || fixture.run(&["log", "new", "--cursor-file", "of-new"]);
    assert_eq!(seqs(of_new()), [0; 0]);
    fixture.feed(&["append", "new"], "1\n2").ok();
    assert_eq!(seqs(of_new()), [1, 2]);
}

#[test]
fn a_cursor_file_of_something_else_is_refused_and_left_as_it_is() {
    let fixture = Fixture::new();
    runs(&fixture, "c", 3);
    runs(&fixture, "d", 3);
    let log = |cohort: &str, file: &str| fixture.run(&["log", cohort, "--cursor-file", file]);
    assert_eq!(seqs(log("c", "here")), [1, 2, 3]);
    let document = fs::read_to_string(fixture.dir().join("here")).unwrap();
    let put = |name: &str, from: &str, to: &str| {
        assert!(document.contains(from), "{document}");
        fs::write(fixture.dir().join(name), document.replace(from, to)).unwrap();
    };
    fs::write(fixture.dir().join("notes"), "buy milk\n").unwrap();
    fs::write(fixture.dir().join("other.json"), "{\"seq\":1}").unwrap();
    fs::write(fixture.dir().join("empty"), "").unwrap();
    put("newer", "\"tallyfold_cursor\":1", "\"tallyfold_cursor\":2");
    put("crc", "\"crc32\":\"", "\"crc32\":\"x");
    put("end", "\"seq\":3", "\"seq\":18446744073709551615");
    for (cohort, file, code, words) in [
        ("c", "notes", 1, "is no cursor file"),
        ("c", "other.json", 1, "is no cursor file"),
        ("c", "empty", 1, "is no cursor file"),
        ("c", "newer", 1, "version 2"),
        ("c", "crc", 1, "damaged"),
        ("c", "end", 1, "damaged"),
        ("d", "here", 7, "of another cohort, \"c\""),
        ("c", "missing/here", 1, "missing"),
        ("c", ".", 1, ""),
    ] {
        let before = fs::read(fixture.dir().join(file)).ok();
        let refused = log(cohort, file);
        assert_eq!(refused.out, "", "{file}");
        refused.fails(code, &[words]);
        assert_eq!(fs::read(fixture.dir().join(file)).ok(), before, "{file}");
    }
    let other = Fixture::new();
    runs(&other, "c", 3);
    fs::copy(fixture.dir().join("here"), other.dir().join("here")).unwrap();
    other.run(&["log", "c", "--cursor-file", "here"]).fails(7, &["of another store"]);
}

#[test]
fn two_readers_at_one_cursor_file_are_told() {
    let fixture = Fixture::new();
    runs(&fixture, "c", 3);
    let mut first = Running::start(&mut fixture.command(&["log", "c", "-f", "--cursor-file", "here"]));
    let mut lines = first.lines();
    lines.next();
    let refused = fixture.run(&["log", "c", "--cursor-file", "here"]);
    assert_eq!(refused.out, "");
    refused.fails(4, &["another reader goes by the cursor file here"]);
}

/// The seq that was read is given to another record: what a power cut does, which takes what was not durable.
#[test]
fn a_cursor_whose_record_was_cut_says_so() {
    let fixture = Fixture::new();
    let copy = fixture.dir().join("copy");
    fixture.feed(&["append", "c", "--key", "k"], "1").ok();
    let duplicate = |from: &std::path::Path, to: &std::path::Path| {
        let copied = fixture.bare("cp", &["-r".as_ref(), from.as_os_str(), to.as_os_str()]).status().unwrap();
        assert!(copied.success());
    };
    duplicate(&fixture.store(), &copy);
    fixture.feed(&["append", "c", "--key", "k"], "2").ok();
    let log = || fixture.run(&["log", "c", "--cursor-file", "here"]);
    assert_eq!(seqs(log()), [1, 2]);
    fs::remove_dir_all(fixture.store()).unwrap();
    duplicate(&copy, &fixture.store());
    log().fails(7, &["record 2 of epoch 1", "was cut", "the journal ends before it", "remove the file"]);
    fixture.feed(&["append", "c", "--key", "k"], "3").ok();
    let told = log().fails(7, &["record 2 of epoch 1", "was cut", "another record has that seq now"]);
    assert_eq!(told.out, "");
    fs::remove_file(fixture.dir().join("here")).unwrap();
    assert_eq!(seqs(log()), [1, 2]);
}

#[test]
fn a_reader_killed_again_and_again_misses_no_record() {
    let fixture = Fixture::new();
    let cohort = runs(&fixture, "c", 2000);
    let mut seen = BTreeSet::new();
    for round in 0..6 {
        let mut reader = Running::start(&mut fixture.command(&["log", "c", "-f", "--cursor-file", "here"]));
        let mut lines = reader.lines();
        // It is killed at some point of its way; of what it printed, all whole lines count.
        for _ in 0..(round * 97) % 400 {
            seen.insert(seq(&lines.next()));
        }
        cohort.append("k", &round).unwrap();
        reader.0.kill().unwrap();
        reader.0.wait().unwrap();
        loop {
            match lines.next() {
                line if line.ends_with('\n') => seen.insert(seq(&line)),
                _ => break,
            };
        }
    }
    let rest = fixture.run(&["log", "c", "--cursor-file", "here"]);
    seen.extend(seqs(rest));
    let last = cohort.last_seq().unwrap();
    assert!(
        seen.iter().copied().eq(1..=last),
        "{:?}",
        (1..=last).filter(|seq| !seen.contains(seq)).collect::<Vec<_>>()
    );
}

#[test]
fn ctrl_c_ends_a_reader_with_130_and_it_has_remembered_where() {
    let fixture = Fixture::new();
    runs(&fixture, "c", 3);
    let mut command = fixture.command(&["log", "c", "-f", "--cursor-file", "here"]);
    let mut reader = Running::start(command.stderr(Stdio::piped()));
    let mut lines = reader.lines();
    let printed: Vec<u64> = (0..3).map(|_| seq(&lines.next())).collect();
    assert_eq!(printed, [1, 2, 3]);
    reader.interrupt();
    let ended = reader.ended();
    assert_eq!((ended.code, ended.err.as_str()), (130, ""), "{ended:?}");
    let rest = seqs(fixture.run(&["log", "c", "--cursor-file", "here"]));
    assert!(rest.is_empty() || rest.ends_with(&[3]), "at worst some come again: {rest:?}");
}

#[test]
#[cfg(unix)]
fn a_cursor_file_that_cannot_be_written_is_told_before_anything_is_printed() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    runs(&fixture, "c", 3);
    let directory = fixture.dir().join("locked");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o555)).unwrap();
    let as_root = fs::write(directory.join("probe"), "").is_ok();
    if as_root {
        return println!("skipped: root may write anywhere");
    }
    let refused = fixture.run(&["log", "c", "--cursor-file", "locked/here"]);
    assert_eq!(refused.out, "");
    refused.fails(1, &["the cursor file locked/here"]);
}
