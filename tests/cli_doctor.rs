//! `doctor`: what it finds, what it leaves behind, and that its tests of exclusion can fail. And `completions`.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests make odd directories on purpose")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Ended, Fixture, TALLYFOLD, shares_memory};
use serde_json::Value;

fn doctor(fixture: &Fixture, args: &[&str]) -> Ended {
    fixture.bare(TALLYFOLD, &[&["doctor"], args].concat()).output().unwrap().into()
}

fn examined(fixture: &Fixture, args: &[&str]) -> Value {
    let ended = doctor(fixture, &[args, &["--json"]].concat());
    assert_eq!(ended.err, "", "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// The answers to one question.
fn checks<'a>(examined: &'a Value, check: &str) -> Vec<&'a Value> {
    let checks: Vec<&Value> =
        examined["checks"].as_array().unwrap().iter().filter(|c| c["check"] == check).collect();
    assert!(!checks.is_empty(), "{check}: {examined}");
    checks
}

/// The one answer to a question.
fn check<'a>(examined: &'a Value, name: &str) -> &'a Value {
    let all = checks(examined, name);
    assert_eq!(all.len(), 1, "{name}: {examined}");
    all[0]
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn on_local_disk(fixture: &Fixture) -> bool {
    let local = ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "f2fs", "zfs"]
        .contains(&examined(fixture, &["."])["file_system"].as_str().unwrap());
    if !local {
        println!("skipped: the temporary directory is on no local file system known here");
    }
    local
}

#[test]
fn a_local_directory_is_safe_and_nothing_is_left_in_it() {
    let fixture = Fixture::new();
    if !on_local_disk(&fixture) {
        return;
    }
    let ended = doctor(&fixture, &["."]);
    assert!(ended.out.lines().last().unwrap().starts_with(".: many processes may write here"), "{ended:?}");
    assert_eq!((ended.code, &*ended.err), (0, ""));
    assert!(!ended.out.contains("UNSAFE") && !ended.out.contains('\x1b'), "{ended:?}");
    assert_eq!(names(fixture.dir()), [""; 0]);

    let examined = examined(&fixture, &["."]);
    assert!(["safe", "warning"].contains(&examined["verdict"].as_str().unwrap()), "{examined}");
    for name in ["create", "rename", "link", "read-back", "file-locks", "names"] {
        let check = check(&examined, name);
        assert_eq!(check["outcome"], "ok", "{check}");
    }
    let made = check(&examined, "create");
    assert_eq!((&made["made"], &made["names"]), (&300.into(), &300.into()));
    let flock = checks(&examined, "flock");
    assert_eq!((&flock[0]["not_alone"], &flock[0]["counted"]), (&0.into(), &flock[0]["turns"]));
    assert_eq!((&flock[1]["outcome"], flock.len()), (&"ok".into(), 2));
    let class = if shares_memory(&fixture) { "memory" } else { "file" };
    assert_eq!(check(&examined, "lock-class")["lock"], class);
    let memory = checks(&examined, "shared-memory");
    if class == "memory" {
        assert_eq!((&memory[0]["not_alone"], &memory[0]["counted"]), (&0.into(), &memory[0]["turns"]));
        assert_eq!((&memory[1]["outcome"], &memory[1]["holder_named"]), (&"ok".into(), &true.into()));
    } else {
        assert_eq!(memory[0]["outcome"], "skipped");
    }
    for kind in ["data_us", "file_us", "directory_us"] {
        assert!(check(&examined, "sync")[kind].as_f64().unwrap() > 0.0);
    }
}

/// What is found where the kernel's answer to some calls is another one; `None` where strace cannot give it.
fn with_answers(fixture: &Fixture, calls: &str, answer: &str) -> Option<Value> {
    let inject = format!("inject={calls}:{answer}");
    let trace = ["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject];
    let answers = fixture.bare("strace", &[&trace[..], &["true"]].concat()).output();
    if !answers.is_ok_and(|output| output.status.success()) {
        println!("skipped: strace answers no calls here");
        return None;
    }
    let output = fixture
        .bare("strace", &[&trace[..], &[TALLYFOLD, "doctor", "--json", "."]].concat())
        .output()
        .unwrap();
    assert_eq!(names(fixture.dir()), [""; 0]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(if found["verdict"] == "unsafe" { 8 } else { 0 }), "{found}");
    Some(found)
}

#[test]
fn where_flock_excludes_nobody_the_directory_is_unsafe() {
    let fixture = Fixture::new();
    let Some(found) = with_answers(&fixture, "flock", "retval=0") else { return };
    assert_eq!(found["verdict"], "unsafe");
    let flock = checks(&found, "flock");
    assert_eq!((&flock[0]["outcome"], &flock[1]["outcome"]), (&"unsafe".into(), &"unsafe".into()), "{found}");
    assert!(flock[0]["not_alone"].as_u64() > Some(0), "{found}");
    assert_eq!(check(&found, "file-locks")["outcome"], "unsafe");
}

#[test]
fn where_a_sync_fails_the_directory_is_unsafe() {
    let fixture = Fixture::new();
    let Some(found) = with_answers(&fixture, "fsync,fdatasync", "error=EIO") else { return };
    let sync = check(&found, "sync");
    assert!(sync["outcome"] == "unsafe" && sync["advice"].as_str().unwrap().contains("disk"), "{sync}");
}

#[test]
fn where_there_are_no_links_and_no_space_can_be_reserved_that_is_told_and_many_may_write() {
    let fixture = Fixture::new();
    if !on_local_disk(&fixture) {
        return;
    }
    let memory = shares_memory(&fixture);
    let Some(found) = with_answers(&fixture, "linkat,fallocate", "error=EOPNOTSUPP") else { return };
    assert_eq!(check(&found, "link")["links"], false);
    let reserve = check(&found, "reserve");
    assert_eq!((&reserve["reserved"], reserve["outcome"] == "warning"), (&false.into(), memory), "{reserve}");
    assert_eq!(checks(&found, "shared-memory")[0]["outcome"], "skipped");
    assert_ne!(found["verdict"], "unsafe");
}

/// One that counts under a lock that excludes nobody: so it is seen that the count would tell.
struct Counter(Child, BufReader<std::process::ChildStdout>);

impl Counter {
    fn start(fixture: &Fixture, dir: &Path) -> Counter {
        let mut command = fixture.bare(TALLYFOLD, &["doctor-worker", "--", "nothing", "2000"]);
        command.arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut counter = Counter(child, out);
        assert_eq!(counter.hear(), "ready\n");
        counter
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn processes_that_no_lock_keeps_apart_are_seen_to_meet_and_lose_counts() {
    let fixture = Fixture::new();
    fs::write(fixture.dir().join("counted"), [0; 16]).unwrap();
    let mut counters: Vec<Counter> = (0..3).map(|_| Counter::start(&fixture, fixture.dir())).collect();
    for counter in &mut counters {
        counter.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }
    let met: u64 = counters
        .iter_mut()
        .map(|counter| counter.hear().trim().split(' ').nth(1).unwrap().parse::<u64>().unwrap())
        .sum();
    let bytes = fs::read(fixture.dir().join("counted")).unwrap();
    let counted = u64::from_ne_bytes(bytes[..8].try_into().unwrap());
    assert!(met > 0 && counted < 6000, "met {met} times, counted {counted}");
}

#[test]
fn a_directory_that_may_not_be_written_is_for_reading_and_ends_with_8() {
    let fixture = Fixture::new();
    fixture.fill("c", &[], &[("k", "1")]);
    let (store, tallyfold) = (fixture.store(), TALLYFOLD);
    let root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    let output = if root {
        // Root may write everywhere but on a mount that is read-only.
        let mount = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" || exit 99; exec \"$2\" doctor \"$1\"";
        let mut command = fixture.bare("unshare", &["-m", "sh", "-c", mount, "sh"]);
        command.arg(&store).arg(tallyfold).output()
    } else {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&store, fs::Permissions::from_mode(0o500)).unwrap();
        let output = fixture.bare(tallyfold, &["doctor"]).arg(&store).output();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
        output
    };
    let Ok(output) = output else { return println!("skipped: there is no unshare here") };
    if output.status.code() == Some(99) || output.status.code() == Some(1) && root {
        return println!("skipped: no mount can be made here");
    }
    let ended = Ended::from(output);
    assert_eq!(ended.code, 8, "{ended:?}");
    for words in
        ["nothing can be made here", "the store here can be read", "lock class", "nothing can be tried"]
    {
        assert!(ended.out.contains(words), "{words}: {ended:?}");
    }
    assert!(ended.out.lines().last().unwrap().contains("nothing can be written here"), "{ended:?}");
}

#[test]
fn memory_is_a_warning() {
    let fixture = Fixture::new();
    let shm = Path::new("/dev/shm");
    let kind = fixture.bare("stat", &["-f", "-c", "%T", "/dev/shm"]).output();
    if !kind.is_ok_and(|kind| kind.stdout == b"tmpfs\n") {
        return println!("skipped: /dev/shm is no tmpfs here");
    }
    let dir = tempfile::tempdir_in(shm).unwrap();
    let examined = examined(&fixture, &[dir.path().to_str().unwrap()]);
    assert_eq!((&examined["verdict"], &examined["file_system"]), (&"warning".into(), &"tmpfs".into()));
    let said = check(&examined, "file-system")["said"].as_str().unwrap();
    assert!(said.contains("nothing on it survives"), "{said}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn without_a_directory_it_is_the_stores_or_the_one_it_would_be_in() {
    let fixture = Fixture::new();
    let directory = |args: &[&str]| examined(&fixture, args)["directory"].as_str().unwrap().to_string();
    assert_eq!(directory(&[]), ".");
    fs::create_dir(fixture.dir().join("named")).unwrap();
    assert_eq!(directory(&["--store", "named/store"]), "named");
    fs::create_dir(fixture.dir().join("tallyfold-store")).unwrap();
    assert_eq!(directory(&[]), "./tallyfold-store");
    fixture.library();
    assert_eq!(directory(&["--store", "store"]), "store");
    doctor(&fixture, &["nowhere"]).fails(3, &["nowhere", "make it"]);
    fs::write(fixture.dir().join("file"), "").unwrap();
    doctor(&fixture, &["file"]).fails(1, &["file"]);
}

#[test]
fn what_the_past_has_left_in_a_store_is_told_and_nothing_in_it_is_changed() {
    let fixture = Fixture::new();
    fixture.fill("good", &[], &[("k", "1")]);
    fixture.fill("left\x1b", &["--settings", r#"{"fold":{"kind":"latest"},"lock":"file"}"#], &[("k", "1")]);
    fixture.fill("bad", &[], &[("k", "1")]);
    fs::write(fixture.file("bad", "cohort.json"), "{}").unwrap();
    let left = |name: &str| fixture.store().join("left%1B").join(name);
    fs::write(left("snapshot.00000000000000aa.tmp"), "").unwrap();
    fs::write(left("00000001.poison"), "").unwrap();
    fs::create_dir(left("quarantine")).unwrap();
    fs::write(left("quarantine/00000009.journal"), "").unwrap();
    fs::create_dir(fixture.store().join(".new-00000000000000aa")).unwrap();
    let before: Vec<_> =
        ["good", "left%1B", "bad"].map(|cohort| names(&fixture.store().join(cohort))).to_vec();

    let store = fixture.store();
    let examined = examined(&fixture, &[store.to_str().unwrap()]);
    assert_eq!(check(&examined, "store")["cohorts"], 3);
    assert_eq!(check(&examined, "store")["unfinished"], 1);
    let of = |name: &str| *checks(&examined, "cohort").iter().find(|check| check["cohort"] == name).unwrap();
    let good = of("good");
    assert_eq!((&good["outcome"], &good["attachable"]), (&"ok".into(), &true.into()), "{good}");
    if shares_memory(&fixture) {
        assert_eq!((&good["lock"], &good["attached"]), (&"memory".into(), &0.into()));
    }
    let left = of("left\x1b");
    assert_eq!(
        (&left["lock"], &left["temporary"], &left["quarantined"], &left["poisoned"], &left["outcome"]),
        (&"file".into(), &1.into(), &1.into(), &true.into(), &"warning".into()),
        "{left}"
    );
    let bad = of("bad");
    assert!(bad["outcome"] == "warning" && bad["advice"].as_str().unwrap().contains("verify"), "{bad}");
    let after: Vec<_> =
        ["good", "left%1B", "bad"].map(|cohort| names(&fixture.store().join(cohort))).to_vec();
    assert_eq!(before, after);
    let ended = doctor(&fixture, &[store.to_str().unwrap()]);
    assert!(ended.out.contains(r"left\u001b: lock class file") && !ended.out.contains('\x1b'), "{ended:?}");
}

#[test]
fn the_processes_attached_to_a_cohort_are_counted() {
    let fixture = Fixture::new();
    if !shares_memory(&fixture) {
        return println!("skipped: the lock class memory is not used here");
    }
    let store = fixture.library();
    let cohort = store.create("c", tallyfold::Settings::latest()).unwrap();
    cohort.append("k", &1).unwrap();
    let path = fixture.store();
    let attached = || check(&examined(&fixture, &[path.to_str().unwrap()]), "cohort")["attached"].clone();
    assert_eq!(attached(), 1);
    drop(cohort);
    assert_eq!(attached(), 0);
}

#[test]
fn two_at_once_do_not_disturb_each_other_and_what_the_dead_left_is_removed() {
    let fixture = Fixture::new();
    fs::create_dir_all(fixture.dir().join(".doctor-00000000000000aa/room")).unwrap();
    fs::write(fixture.dir().join(".doctor-00000000000000aa/owned"), "").unwrap();
    let start = || {
        let mut command = fixture.bare(TALLYFOLD, &["doctor", "."]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()];
    let ended: Vec<Ended> = both.map(|child| child.wait_with_output().unwrap().into()).into();
    for ended in &ended {
        assert!(!ended.out.contains("UNSAFE") && ended.err.is_empty(), "{ended:?}");
    }
    assert_eq!(names(fixture.dir()), [""; 0]);
}

#[test]
fn ctrl_c_ends_it_with_130_and_leaves_nothing() {
    let fixture = Fixture::new();
    // Early, late, and in between: each time everything is removed.
    for patience in [0, 1, 3, 9] {
        let mut command = fixture.bare(TALLYFOLD, &["doctor", "."]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        // Made by one that listens to Ctrl-C already.
        while !names(fixture.dir()).iter().any(|name| name.starts_with(".doctor-")) {
            assert_eq!(child.try_wait().unwrap(), None);
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_millis(20 * patience));
        let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        // It may have been done.
        assert!(interrupted.success() && matches!(status.code(), Some(130 | 0)), "{status:?}");
        assert_eq!(names(fixture.dir()), [""; 0], "after {} ms", 20 * patience);
    }
}

#[test]
fn nobody_has_to_listen_to_the_end() {
    let fixture = Fixture::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut child =
        fixture.bare(TALLYFOLD, &["doctor", "."]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let mut one = [0];
    reader.read_exact(&mut one).unwrap();
    drop(reader);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), &*said), (Some(0), ""));
    assert_eq!(names(fixture.dir()), [""; 0]);
}

/// What bash offers for a line, with what `completions bash` prints.
fn offered(fixture: &Fixture, words: &[&str]) -> Option<String> {
    let script = fixture.dir().join("tallyfold.bash");
    fs::write(&script, fixture.bare(TALLYFOLD, &["completions", "bash"]).output().unwrap().stdout).unwrap();
    let ask = "source ./tallyfold.bash; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))\n\
               _tallyfold tallyfold \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"\n\
               printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = match fixture.bare("bash", &["--norc", "-c", ask, "bash"]).args(words).output() {
        Ok(output) => output,
        Err(_) => {
            println!("skipped: there is no bash here");
            return None;
        }
    };
    assert!(output.status.success(), "{output:?}");
    let accepted = fixture.bare("bash", &["-n"]).arg(&script).output().unwrap();
    assert!(accepted.status.success() && accepted.stderr.is_empty(), "{accepted:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn bash_accepts_its_completions_and_completes_verbs_and_options() {
    let fixture = Fixture::new();
    let Some(all) = offered(&fixture, &["tallyfold", ""]) else { return };
    for verb in ["append", "compact", "completions", "doctor", "lock"] {
        assert!(all.lines().any(|line| line == verb), "{verb}: {all}");
    }
    assert!(!all.contains("worker"), "{all}");
    assert_eq!(offered(&fixture, &["tallyfold", "doc"]).unwrap(), "doctor\n");
    assert!(offered(&fixture, &["tallyfold", "compact", "--ev"]).unwrap().contains("--every"));
}

#[test]
fn a_shell_that_is_not_known_is_a_mistake_and_those_that_are_are_named() {
    let fixture = Fixture::new();
    let ended = Ended::from(fixture.bare(TALLYFOLD, &["completions", "csh"]).output().unwrap());
    ended.fails(2, &["bash", "fish", "zsh"]);
}
