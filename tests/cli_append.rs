//! `append` and `delete`: what is taken, what is refused, and what is said of it.
#![allow(clippy::disallowed_methods, reason = "tests write files on purpose")]

mod common;

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use common::{Ended, Fixture, Running, TALLYFOLD, feed, python, shares_memory};
use serde_json::{Value, json};

/// Seq, key and value of every record, as `log` prints them.
fn records(fixture: &Fixture, cohort: &str) -> Vec<(u64, String, Value)> {
    let log = fixture.run(&["log", cohort]);
    assert_eq!(log.code, 0, "{log:?}");
    let take = |record: Value| {
        (
            record["seq"].as_u64().unwrap(),
            record["key"].as_str().unwrap().to_string(),
            record["value"].clone(),
        )
    };
    log.json().into_iter().map(take).collect()
}

#[test]
fn the_last_seq_is_printed_at_the_end() {
    let fixture = Fixture::new();
    assert_eq!(fixture.feed(&["append", "c"], "1\n2\n3\n").ok(), "3\n");
    assert_eq!(fixture.feed(&["append", "c", "--json"], "4\n5").ok(), "{\"seq\":5,\"appended\":2}\n");
    assert_eq!(fixture.feed(&["append", "c", "-"], "6\n").ok(), "6\n");
    fs::write(fixture.dir().join("rows.jsonl"), "7\n\n8\r\n").unwrap();
    assert_eq!(fixture.ok(&["append", "c", "rows.jsonl"]), "8\n");
    let values: Vec<Value> = records(&fixture, "c").into_iter().map(|(_, _, value)| value).collect();
    assert_eq!(Value::from(values), json!([1, 2, 3, 4, 5, 6, 7, 8]));
}

#[test]
fn each_line_is_appended_as_it_arrives() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c", "--fold", "log"]);
    let mut follower = Running::start(&mut fixture.command(&["log", "c", "-f"]));
    let mut lines = follower.lines();
    let mut writer = Running::start(fixture.command(&["append", "c"]).stdin(Stdio::piped()));
    let mut stdin = writer.0.stdin.take().unwrap();
    for n in 1..=3 {
        writeln!(stdin, "{{\"n\":{n}}}").unwrap();
        // The writer still waits for more, and yet the record can be read.
        let record: Value = serde_json::from_str(&lines.next()).unwrap();
        assert_eq!((&record["seq"], &record["value"]["n"]), (&json!(n), &json!(n)));
    }
    assert!(writer.0.try_wait().unwrap().is_none());
    drop(stdin);
    assert_eq!(writer.lines().next(), "3\n");
    assert!(writer.0.wait().unwrap().success());
}

#[test]
fn a_line_that_is_no_json_ends_it_and_says_what_was_appended_before() {
    for (bad, words) in [
        ("{\"a\":", "EOF"),
        ("nonsense", "column"),
        ("NaN", "column"),
        ("1 2", "trailing"),
        ("1e999", "out of range"),
        ("\"\\ud800\"", "hex escape"),
    ] {
        let fixture = Fixture::new();
        let refused = fixture.feed(&["append", "c"], format!("1\n\n 2 \n{bad}\n3\n"));
        let refused = refused.fails(1, &["line 4: the value cannot be taken as JSON", words]);
        let refused = refused.says(&["2 records were appended before, the last as seq 2"]);
        assert_eq!(refused.out, "", "{bad}");
        assert_eq!(records(&fixture, "c").len(), 2, "{bad}");
    }
    let fixture = Fixture::new();
    fixture.feed(&["append", "c"], "?\n1\n").fails(1, &["line 1: ", "nothing was appended before"]);
    fixture
        .feed(&["append", "c"], "1\n?\n")
        .fails(1, &["line 2: ", "1 record was appended before, as seq 1"]);
}

#[test]
fn a_line_that_is_not_utf_8_is_refused_with_its_number() {
    let fixture = Fixture::new();
    fixture
        .feed(&["append", "c"], b"1\n\"a\xffb\"\n2\n")
        .fails(1, &["line 2: it is not UTF-8 at byte 3", "1 record was"]);
    assert_eq!(records(&fixture, "c").len(), 1);
}

#[test]
fn lines_of_a_batch_are_appended_together_and_the_rest_at_the_end() {
    let fixture = Fixture::new();
    let args = ["append", "c", "--batch", "2", "--json"];
    assert_eq!(fixture.feed(&args, "1\n2\n\n3\n4\n5\n").ok(), "{\"seq\":5,\"appended\":5}\n");
    let times: Vec<Value> =
        fixture.run(&["log", "c"]).json().into_iter().map(|record| record["time"].clone()).collect();
    assert!(times[0] == times[1] && times[2] == times[3], "a batch is written at once: {times:?}");
    // A frame for each batch, and the last word.
    let report = &fixture.run(&["verify", "c", "--json"]).json()[0];
    assert_eq!(report["frames"], 4, "{report}");
}

#[test]
fn a_bad_line_refuses_its_whole_batch_and_no_other() {
    let fixture = Fixture::new();
    let refused = fixture.feed(&["append", "c", "--batch", "3"], "1\n2\n3\n4\n5\n?\n7\n");
    refused.fails(
        1,
        &[
            "line 6: ",
            "lines 4 to 5, of the same batch, not appended either",
            "3 records were appended before",
        ],
    );
    assert_eq!(records(&fixture, "c").len(), 3);
}

#[test]
fn a_key_is_taken_as_it_is() {
    let fixture = Fixture::new();
    fixture.feed(&["append", "c", "--key", "a:b%"], "1\n2").ok();
    assert_eq!(records(&fixture, "c"), [(1, "a:b%".into(), json!(1)), (2, "a:b%".into(), json!(2))]);
    assert_eq!(fixture.ok(&["get", "c", "a:b%"]), "2\n");
}

#[test]
fn keys_from_fields_are_joined_and_escaped_and_numbers_keep_their_text() {
    let fixture = Fixture::new();
    let lines = r#"{"run":"r-1","n":1.50}
        {"n":1.5,"run":"r:1%"}
        {"run":true,"n":"x"}
        {"run":123456789012345678901,"n":-0.0}"#;
    fixture.feed(&["append", "c", "--key-from", "run,n"], lines).ok();
    let keys: Vec<String> = records(&fixture, "c").into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(keys, ["r-1:1.50", "r%3A1%25:1.5", "true:x", "123456789012345678901:-0.0"]);
    assert_eq!(fixture.ok(&["get", "c", "r-1:1.50"]), "{\"run\":\"r-1\",\"n\":1.50}\n");
}

#[test]
fn a_field_that_can_be_no_key_is_named_with_its_line() {
    for (bad, words) in [
        (r#"{"other":1}"#, r#"line 2: there is no field "run""#),
        (r#"{"run":null}"#, r#"line 2: the field "run" is null"#),
        (r#"{"run":{"id":1}}"#, r#"line 2: the field "run" is an object"#),
        (r#"{"run":[1]}"#, r#"line 2: the field "run" is a list"#),
        ("7", r#"line 2: the value is no object: it has no field "run""#),
        ("{?}", "line 2: the value cannot be taken as JSON"),
    ] {
        let fixture = Fixture::new();
        let refused = fixture.feed(&["append", "c", "--key-from", "run"], format!("{{\"run\":1}}\n{bad}\n"));
        refused.fails(1, &[words, "1 record was appended before, as seq 1"]);
    }
}

#[test]
fn a_missing_cohort_is_made_by_what_is_asked_and_that_is_said() {
    let fixture = Fixture::new();
    let fold = |cohort: &str| fixture.run(&["stats", cohort, "--json"]).json()[0]["fold"].clone();
    fixture
        .feed(&["append", "a"], "1")
        .says(&["made the store", "made the cohort \"a\" with the fold log"])
        .ok();
    fixture
        .feed(&["append", "b", "--key", "k"], "1")
        .says(&["made the cohort \"b\" with the fold latest"])
        .ok();
    fixture
        .feed(&["append", "c", "--key-from", "k"], r#"{"k":1}"#)
        .says(&["\"c\" with the fold latest"])
        .ok();
    assert_eq!([fold("a"), fold("b"), fold("c")], ["log", "latest", "latest"]);
    let quiet = fixture.feed(&["append", "a"], "1");
    assert_eq!(quiet.err, "", "what was there is nothing to speak of");
    // Of a file that cannot be read nothing is left behind.
    fixture.run(&["append", "d", "missing.jsonl"]).fails(1, &["cannot open missing.jsonl"]);
    assert!(!fixture.store().join("d").exists());
}

#[test]
fn of_an_empty_input_nothing_is_appended_and_nothing_printed() {
    let fixture = Fixture::new();
    for input in ["", "\n", " \t\r\n\n"] {
        let ended = fixture.feed(&["append", "c", "--json"], input).says(&["nothing was appended"]);
        assert_eq!(ended.ok(), "", "{input:?}");
    }
    assert!(records(&fixture, "c").is_empty());
}

#[test]
fn a_line_may_be_as_long_as_a_batch_and_white_space_does_not_count() {
    let fixture = Fixture::new();
    let most = 3_000_000;
    fixture.ok(&["create", "c", "--fold", "log", "--settings", &format!(r#"{{"max_body_bytes":{most}}}"#)]);
    // A record takes 17 bytes besides its key and value, and a string has two quotes.
    let longest = "x".repeat(most - 17 - 2);
    fixture.feed(&["append", "c"], format!("1\n\"{longest}\"\n")).ok();
    fixture.feed(&["append", "c"], format!("[1, {}2]", " ".repeat(most))).ok();
    fixture
        .feed(&["append", "c"], format!("4\n\"{longest}x\"\n"))
        .fails(1, &["line 2: ", "max_body_bytes", "as seq 4"]);
    fixture
        .feed(&["append", "c"], "[".repeat(3 * most))
        .fails(1, &["line 1: it is longer than", "nothing was"]);
    // Together they are too much; each is not.
    let half = format!("\"{}\"\n", "y".repeat(most / 2));
    fixture
        .feed(&["append", "c", "--batch", "10"], half.repeat(4))
        .fails(1, &["lines 1 to 2: ", "max_body_bytes"]);
    fixture.feed(&["append", "c"], half.repeat(2)).ok();
    let stats = &fixture.run(&["stats", "c", "--json"]).json()[0];
    assert_eq!(stats["seq"], 6);
}

#[test]
fn what_was_appended_is_durable_when_the_command_has_ended() {
    let fixture = Fixture::new();
    let durable = || {
        let stats = &fixture.run(&["stats", "c", "--json"]).json()[0];
        (stats["seq"].as_u64().unwrap(), stats["durable_seq"].as_u64().unwrap())
    };
    fixture.feed(&["append", "c", "--key", "k"], "1\n2").ok();
    assert_eq!(durable(), (2, 2));
    fixture.feed(&["append", "c", "--key", "k", "--durable", "--batch", "2"], "3\n4\n5").ok();
    assert_eq!(durable(), (5, 5));
    fixture.ok(&["delete", "c", "k"]);
    assert_eq!(durable(), (6, 6));
    fixture.feed(&["append", "c"], "7\n?").fails(1, &["as seq 7"]);
    assert_eq!(durable(), (7, 7), "also when it ended with a failure");
}

#[test]
fn a_delete_is_a_record_with_a_seq_of_its_own() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "1"), ("b", "2")]);
    assert_eq!(fixture.ok(&["delete", "c", "a"]), "3\n");
    assert_eq!(fixture.ok(&["delete", "c", "never-there", "--json"]), "{\"seq\":4}\n");
    fixture.run(&["get", "c", "a"]).fails(3, &["no key \"a\""]);
    assert_eq!(fixture.ok(&["get", "c", "b"]), "2\n");
}

#[test]
fn a_lock_that_is_not_had_in_time_ends_with_4_and_names_its_holder() {
    let fixture = Fixture::new();
    fixture.feed(&["append", "c", "--key", "k"], "1").ok();
    let lock = fs::OpenOptions::new().read(true).write(true).open(fixture.file("c", "lock")).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    let holder = match cfg!(target_os = "linux") {
        true => format!("process {} holds it", std::process::id()),
        false => "no lock within".to_string(),
    };
    let words = ["line 1: no lock within ", &holder, "nothing was appended before"];
    fixture.feed(&["append", "c", "--key", "k", "--timeout", "0.3"], "2").fails(4, &words);
    fixture.run(&["delete", "c", "k", "--timeout", "0.3"]).fails(4, &[&holder]);
    fixture.run(&["compact", "c", "--timeout", "0.3"]).fails(4, &[&holder]);
    assert_eq!(fixture.ok(&["get", "c", "k"]), "1\n", "readers take no lock");
    fs4::FileExt::unlock(&lock).unwrap();
    assert_eq!(fixture.feed(&["append", "c", "--key", "k", "--timeout", "0.3"], "2").ok(), "2\n");
}

#[test]
#[cfg(unix)]
fn a_lock_held_by_a_stopped_process_is_not_broken_and_the_process_is_named() {
    let Some(python) = python() else { return };
    let fixture = Fixture::new();
    fixture.feed(&["append", "c"], "1").ok();
    let holds = "import fcntl, sys, time\n\
                 f = open(sys.argv[1], 'r+')\n\
                 fcntl.flock(f, fcntl.LOCK_EX)\n\
                 print('held', flush=True)\n\
                 time.sleep(600)\n";
    let lock = fixture.file("c", "lock");
    let mut holder =
        Running::start(&mut fixture.bare(python, &["-c".as_ref(), holds.as_ref(), lock.as_os_str()]));
    assert_eq!(holder.lines().next(), "held\n");
    let pid = holder.0.id().to_string();
    assert!(fixture.bare("kill", &["-STOP", &pid]).status().unwrap().success());
    let refused = fixture.feed(&["append", "c", "--timeout", "0.3"], "2").fails(4, &["no lock within"]);
    if cfg!(target_os = "linux") {
        refused.says(&[&format!("process {pid} holds it")]);
    }
    drop(holder);
    assert_eq!(fixture.feed(&["append", "c"], "2").ok(), "2\n");
}

#[test]
fn a_lock_lost_in_the_middle_says_what_was_appended_before() {
    let fixture = Fixture::new();
    fixture.ok(&["create", "c", "--settings", r#"{"fold":{"kind":"log"},"lock":"file"}"#]);
    let mut follower = Running::start(&mut fixture.command(&["log", "c", "-f"]));
    let mut lines = follower.lines();
    let mut command = fixture.command(&["append", "c", "--timeout", "0.3"]);
    let mut writer =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    stdin.write_all(b"1\n2\n").unwrap();
    lines.next();
    lines.next();
    let lock = fs::OpenOptions::new().read(true).write(true).open(fixture.file("c", "lock")).unwrap();
    fs4::FileExt::lock(&lock).unwrap();
    stdin.write_all(b"3\n").unwrap();
    drop(stdin);
    let ended = Ended::from(writer.wait_with_output().unwrap());
    ended.fails(
        4,
        &["line 3: no lock within", "2 records were appended before, the last as seq 2", "besides, "],
    );
}

#[test]
#[cfg(unix)]
fn a_full_disk_ends_it_and_leaves_what_was_appended_before() {
    let fixture = Fixture::new();
    fixture.feed(&["append", "c"], "\"before\"").ok();
    let line = format!("\"{}\"\n", "x".repeat(1000));
    // Shells count in blocks of 512 or of 1024 bytes.
    let limited = ["-c", r#"ulimit -f 64; exec "$0" "$@""#, TALLYFOLD, "append", "c", "--store"];
    let mut command = fixture.bare("sh", &limited);
    command.arg(fixture.store());
    let ended = feed(command, line.repeat(500).as_bytes());
    let ended = ended.fails(
        1,
        &[
            "make room (or raise the limit)",
            "earlier records are untouched",
            "were appended before, the last as seq",
        ],
    );
    let appended = records(&fixture, "c").len();
    assert!((2..500).contains(&appended), "{appended}");
    ended.says(&[&format!("{} records were appended before, the last as seq {appended}", appended - 1)]);
    assert_eq!(fixture.feed(&["append", "c"], &line).ok(), format!("{}\n", appended + 1));
    assert_eq!(records(&fixture, "c")[0].2, "before");
    fixture.ok(&["verify", "c"]);
}

#[test]
fn a_damaged_journal_takes_no_appends() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("a", "\"one\""), ("b", "\"damaged\""), ("c", "\"three\"")]);
    fixture.damage("c", "00000001.journal", "damaged");
    fixture
        .feed(&["append", "c", "--key", "k"], "1")
        .fails(5, &["line 1: ", "seq 2", "nothing was appended before"]);
    fixture.run(&["delete", "c", "a"]).fails(5, &["seq 2"]);
    fixture.run(&["compact", "c"]).fails(5, &["seq 2"]);
}

#[test]
fn many_appends_at_once_lose_nothing() {
    let fixture = Fixture::new();
    let lines: String = (0..200).map(|n| format!("{n}\n")).collect();
    std::thread::scope(|scope| {
        for writer in ["a", "b", "c", "d"] {
            let (fixture, lines) = (&fixture, &lines);
            scope.spawn(move || fixture.feed(&["append", "c", "--key", writer], lines).ok());
        }
    });
    let records = records(&fixture, "c");
    assert!(records.iter().map(|(seq, _, _)| *seq).eq(1..=800), "seqs without gaps, in order");
    for writer in ["a", "b", "c", "d"] {
        let values =
            records.iter().filter(|(_, key, _)| key == writer).map(|(_, _, value)| value.as_u64().unwrap());
        assert!(values.eq(0..200), "the order of {writer}");
    }
}

/// Not a test of its own: what a process does that has the append lock of a cohort most of the time. See [`stopped_in_the_lock`].
#[test]
#[cfg(target_os = "linux")]
fn holder() {
    let Ok(store) = std::env::var("TALLYFOLD_TEST_HOLD") else { return };
    let cohort = tallyfold::Store::open_existing(store).unwrap().cohort("c").unwrap();
    let value = "x".repeat(100_000);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| while cohort.append("", &value).is_ok() {});
        }
    });
}

/// A process that was stopped while it had the append lock of the cohort `c`, of the class memory.
#[cfg(target_os = "linux")]
fn stopped_in_the_lock(fixture: &Fixture) -> Running {
    let program = std::env::current_exe().unwrap();
    let mut command = fixture.bare(program, &["--exact", "holder", "--quiet"]);
    let holder = Running::start(command.env("TALLYFOLD_TEST_HOLD", fixture.store()));
    let pid = holder.0.id().to_string();
    let signal =
        |name| assert!(fixture.bare("kill", &[name, pid.as_str()]).status().unwrap().success(), "{name}");
    let is_stopped = || {
        fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .all(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).unwrap().contains(") T "))
    };
    let probe = fixture.library().cohort("c").unwrap().with_timeout(Duration::from_millis(20));
    let begun = probe.last_seq().unwrap();
    while probe.last_seq().unwrap() < begun + 5 {
        std::thread::yield_now();
    }
    // It has the lock most of the time, and not always.
    for _ in 0..1000 {
        signal("-STOP");
        while !is_stopped() {
            std::thread::yield_now();
        }
        match probe.append("", &"the lock was free") {
            Err(e) if e.is_lock_timeout() => {
                assert_eq!(e.holder(), Some(holder.0.id()), "{e}");
                return holder;
            }
            appended => drop(appended.unwrap()),
        }
        signal("-CONT");
    }
    panic!("it never had the lock");
}

#[test]
#[cfg(target_os = "linux")]
fn a_lock_in_memory_lost_in_the_middle_says_what_was_appended_before_and_names_its_holder() {
    let fixture = Fixture::new();
    if !shares_memory(&fixture) {
        println!("skipped: no shared memory on the file system of the temporary directory");
        return;
    }
    let settings = r#"{"fold":{"kind":"log"},"lock":"memory","sync_interval_ms":0,"compact_bytes":0}"#;
    fixture.ok(&["create", "c", "--settings", settings]);
    let mut follower = Running::start(&mut fixture.command(&["log", "c", "-f"]));
    let mut lines = follower.lines();
    let mut command = fixture.command(&["append", "c", "--timeout", "0.3"]);
    let mut writer =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    stdin.write_all(b"1\n2\n").unwrap();
    lines.next();
    lines.next();
    drop((lines, follower));
    let stopped = stopped_in_the_lock(&fixture);
    stdin.write_all(b"3\n").unwrap();
    drop(stdin);
    let holder = format!("process {} holds it", stopped.0.id());
    let words = ["line 3: no lock within", "2 records were appended before, the last as seq 2", &holder];
    Ended::from(writer.wait_with_output().unwrap()).fails(4, &words);
    fixture
        .feed(&["append", "c", "--timeout", "0.3"], "4")
        .fails(4, &[&holder, "nothing was appended before"]);
    fixture.run(&["compact", "c", "--timeout", "0.3"]).fails(4, &[&holder]);
    let last = fixture.run(&["log", "c"]).json().len();
    assert!(last > 2, "readers take no lock");
    // Killed as it has the lock. What it was writing is there as a whole, or not at all.
    drop(stopped);
    let seq: usize = fixture.feed(&["append", "c"], "4").ok().trim().parse().unwrap();
    assert!([last + 1, last + 2].contains(&seq), "{seq}");
    assert_eq!(fixture.run(&["log", "c"]).json().len(), seq);
    fixture.ok(&["verify", "c"]);
}
