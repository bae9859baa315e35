//! The lock class `memory` between processes that do not know each other: in other pid namespaces, with threads, killed.
#![cfg(all(target_os = "linux", not(tallyfold_portable)))]
#![allow(clippy::disallowed_methods, reason = "tests start processes and mount file systems")]

mod fixture;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use fixture::writers::{Heard, Said, Writer, acknowledge, told};
use fixture::{Fixture, shares_memory};
use serde_json::json;
use tallyfold::{Cohort, LockClass, Retain, Settings, Store};

/// Not a test of its own: what the worker processes run, each started as this program with this name. Its threads share a
/// handle and append for ever, every fifth record durable; what is acknowledged is said a line each.
#[test]
fn worker() {
    let Some(spec) = told() else { return };
    let cohort = Store::open_existing(spec["store"].as_str().unwrap()).unwrap().cohort("c").unwrap();
    let (first, threads) = (spec["first"].as_u64().unwrap(), spec["threads"].as_u64().unwrap());
    std::thread::scope(|scope| {
        for writer in first..first + threads {
            let cohort = &cohort;
            scope.spawn(move || {
                for n in 0.. {
                    let value =
                        json!({"writer": writer, "n": n, "pad": "x".repeat((n * 37 % 3000) as usize)});
                    let seq = match n % 5 {
                        4 => cohort.append_durable(&format!("w{}", n % 20), &value),
                        _ => cohort.append(&format!("w{}", n % 20), &value),
                    };
                    acknowledge(writer, n, seq.unwrap());
                }
            });
        }
    });
}

fn start(within: &[&str], store: &Path, first: u64, threads: u64, heard: Sender<Said>) -> Writer {
    Writer::start(within, &json!({"store": store, "first": first, "threads": threads}), heard)
}

fn cohort(fixture: &Fixture) -> Option<Cohort> {
    if !shares_memory() {
        println!("skipped: no shared memory on the file system of the temporary directory");
        return None;
    }
    let settings = Settings::latest().retain(Retain::All).segment_bytes(128 << 10).lock(LockClass::Memory);
    Some(fixture.store.create("c", settings).unwrap())
}

#[test]
fn processes_of_many_threads_killed_one_after_another_lose_nothing_acknowledged() {
    const KILLS: u64 = 60;
    const AT_ONCE: usize = 3;
    const THREADS: u64 = 3;
    let fixture = Fixture::new();
    let Some(cohort) = cohort(&fixture) else { return };
    let (send, receive) = channel();
    let mut started = 0;
    let mut start_next = || {
        started += 1;
        (started, start(&["env"], fixture.store.path(), started * 100, THREADS, send.clone()))
    };
    let mut workers: Vec<_> = (0..AT_ONCE).map(|_| start_next()).collect();
    let (mut heard, mut heard_of) = (Heard::default(), HashMap::<u64, u64>::new());
    let mut killed = 0;
    while killed < KILLS {
        let said = heard.next(&receive);
        let number = said.0 / 100;
        let count = heard_of.entry(number).or_default();
        *count += 1;
        // Each after another number of acknowledgements, so that they die at all places.
        let Some(i) = workers.iter().position(|(n, _)| *n == number && *count >= 5 + number * 13 % 47) else {
            continue;
        };
        workers.remove(i).1.kill();
        killed += 1;
        workers.push(start_next());
        if killed % 10 == 0 {
            cohort.compact().unwrap();
        }
    }
    workers.into_iter().for_each(|(_, worker)| worker.kill());
    heard.rest(&receive);
    heard.is_held_by(&fixture.reopen("c"));
}

/// What starts a program in a pid namespace of its own here; prints why nothing does. `--kill-child` ends the program with
/// `unshare`, which is what we can kill.
fn pid_namespace() -> Option<Vec<&'static str>> {
    let alone = vec!["unshare", "--pid", "--fork", "--kill-child"];
    let as_a_user = [&alone[..], &["--user", "--map-root-user"]].concat();
    [alone, as_a_user].into_iter().find(|unshare| {
        match Command::new(unshare[0]).args(&unshare[1..]).arg("true").output() {
            Ok(output) if output.status.success() => true,
            Ok(output) => {
                println!("no pid namespace by {unshare:?}: {}", String::from_utf8_lossy(&output.stderr));
                false
            }
            Err(e) => {
                println!("unshare cannot be started: {e}");
                false
            }
        }
    })
}

#[test]
fn processes_in_pid_namespaces_of_their_own_append_together_and_outlive_each_other() {
    let fixture = Fixture::new();
    let Some(cohort) = cohort(&fixture) else { return };
    let Some(unshare) = pid_namespace() else {
        println!("skipped: see above");
        return;
    };
    // Each calls itself process 1.
    let (send, receive) = channel();
    let start_alone = |first| start(&unshare, fixture.store.path(), first, 1, send.clone());
    let mut heard = Heard::default();
    let stays = start_alone(0);
    for victim in 1..=8 {
        let dies = start_alone(victim);
        let (mut of_it, mut of_other) = (0, 0);
        while of_it < 10 * victim || of_other < 10 {
            match heard.next(&receive).0 {
                0 => of_other += 1,
                _ => of_it += 1,
            }
        }
        dies.kill();
        heard.rest(&receive);
        // Those who live go on, wherever it died: the one in the other namespace, and we in this one.
        while heard.next(&receive).0 != 0 {}
        assert!(matches!(cohort.compact().unwrap(), tallyfold::Compaction::Folded { .. }));
    }
    stays.kill();
    heard.rest(&receive);
    heard.is_held_by(&fixture.reopen("c"));
}

/// A command of the built program on a store, inside of a mount namespace where `sh` has run a script first.
fn in_mount_namespace(script: &str, dir: &Path) -> Option<std::process::Output> {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(dir)
        .env_remove("TALLYFOLD_STORE")
        .env_remove("TALLYFOLD_LOCK")
        .output();
    match output {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("tallyfold: ") => Some(output),
        Ok(output) => {
            println!("skipped: no overlay can be mounted here: {output:?}");
            None
        }
        Err(e) => {
            println!("skipped: unshare cannot be started: {e}");
            None
        }
    }
}

#[test]
#[cfg(feature = "cli")]
fn a_cohort_on_a_file_system_that_keeps_nothing_reserved_is_refused_with_the_remedy() {
    let fixture = Fixture::new();
    let Some(cohort) = cohort(&fixture) else { return };
    cohort.append("k", &1).unwrap();
    drop(cohort);
    let script = format!(
        "cd \"$1\" && mkdir upper work merged && mount -t overlay overlay -o lowerdir=store,upperdir=upper,workdir=work merged \
         && echo 2 | {} append c --key k --store merged",
        env!("CARGO_BIN_EXE_tallyfold")
    );
    let Some(output) = in_mount_namespace(&script, fixture.dir.path()) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{said}");
    for words in ["overlay", "lock class `memory`", "\"lock\": \"file\"", "ext4, xfs or tmpfs"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(fixture.reopen("c").last_seq().unwrap(), 1, "nothing was written");
}
