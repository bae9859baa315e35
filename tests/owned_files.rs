//! Who may read and write a store, and full disks.
#![allow(clippy::disallowed_methods, reason = "tests put odd things into stores")]

mod fixture;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fixture::{Fixture, names};
use tallyfold::{Cohort, Error, LockClass, Settings, Store};

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Everything that can be done with a cohort, until something fails.
fn use_it(store: &Path) -> Result<(), Error> {
    let cohort = Store::open(store)?.cohort("c")?;
    cohort.view()?;
    for i in 0..3 {
        cohort.append("k", &i)?;
        cohort.compact()?;
    }
    cohort.detach()
}

fn filled() -> Fixture {
    let fixture = Fixture::new();
    fixture.create("c", Settings::latest());
    use_it(fixture.store.path()).unwrap();
    fixture
}

#[test]
fn a_directory_with_other_things_in_it_does_not_become_a_store() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), b"").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(names(dir.path()), ["thesis.tex"]);
    assert!(Store::open_existing(dir.path().join("none")).unwrap_err().is_not_found());
}

/// Every file and directory below a store, with its mode.
fn modes(dir: &Path) -> Vec<(PathBuf, u32)> {
    let mut all = vec![(dir.to_path_buf(), mode(dir))];
    for path in names(dir).into_iter().map(|name| dir.join(name)) {
        match path.is_dir() {
            true => all.extend(modes(&path)),
            false => all.push((path.clone(), mode(&path))),
        }
    }
    all
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_and_directories_are_for_their_owner_alone_whatever_the_umask() {
    for (umask, parent) in [("000", 0o777), ("022", 0o755), ("077", 0o700)] {
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new("sh")
            .args(["-c", &format!("umask {umask} && exec \"$0\" --exact makes_what_it_is_told --nocapture")])
            .arg(std::env::current_exe().unwrap())
            .env("TALLYFOLD_TEST_MAKE", dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let made = modes(&dir.path().join("parent/store"));
        for (path, mode) in &made {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(format!("{mode:o}"), format!("{expected:o}"), "umask {umask}: {}", path.display());
        }
        for name in ["store.json", "cohort.json", "lock", "compact.lock", "snapshot.prev.json", "quarantine"]
        {
            assert!(made.iter().any(|(path, _)| path.ends_with(name)), "{name} was made: {made:?}");
        }
        let above = mode(&dir.path().join("parent"));
        assert_eq!(
            format!("{above:o}"),
            format!("{parent:o}"),
            "directories above the store are by the umask"
        );
    }
}

/// Not a test of its own: what the test above runs with other umasks. It makes every kind of file there is in a store.
#[test]
fn makes_what_it_is_told() {
    let Some(dir) = std::env::var_os("TALLYFOLD_TEST_MAKE") else { return };
    let store = Store::open(Path::new(&dir).join("parent/store")).unwrap();
    for (name, class) in [("file", LockClass::File), ("auto", LockClass::Auto)] {
        let settings = Settings::latest().segment_bytes(4096).compact_bytes(0).lock(class);
        let cohort = store.create(name, settings).unwrap();
        for i in 0..20 {
            cohort.append_durable("k", &"x".repeat(50 * i)).unwrap();
            if i == 10 {
                // It goes to quarantine, and another one is made.
                fixture::flip(&cohort.path().join("snapshot.json"), 20);
            }
            cohort.compact().unwrap();
        }
        cohort.detach().unwrap();
    }
}

#[test]
fn a_store_of_another_user_is_refused_or_read_and_never_changed() {
    if !is_root() {
        println!("skipped: to be another user takes root");
        return;
    }
    const NOBODY: u32 = 65534;
    let fixture = filled();
    // Where anybody may go: a temporary directory is its owner's alone, and so may be the one that this program is in.
    let program = fixture.dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [fixture.dir.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let as_nobody = |told: &str| {
        let output = Command::new(&program)
            .args(["--exact", "does_as_another_user", "--nocapture"])
            .env("TALLYFOLD_TEST_OTHER", fixture.store.path())
            .env("TALLYFOLD_TEST_TOLD", told)
            .current_dir("/")
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        assert!(output.status.success(), "{told}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("done as told"), "{output:?}");
    };
    let before = everything(fixture.store.path());
    as_nobody("refused");
    // Its owner lets everybody read it.
    for (path, mode) in modes(fixture.store.path()) {
        let readable = if path.is_dir() { 0o755 } else { mode | 0o044 };
        fs::set_permissions(&path, fs::Permissions::from_mode(readable)).unwrap();
    }
    as_nobody("read");
    assert_eq!(everything(fixture.store.path()), before, "nothing was changed");
}

/// The content of every file below a directory.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = modes(dir).into_iter().map(|(path, _)| path).filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Not a test of its own: what the test above runs as another user.
#[test]
fn does_as_another_user() {
    let Ok(path) = std::env::var("TALLYFOLD_TEST_OTHER") else { return };
    let denied = |error: Error, file: &str| {
        let text = error.to_string();
        assert!(text.contains("Permission denied") && text.contains(file), "{text}");
        assert!(!error.is_not_found() && !error.is_corruption(), "{error:?}");
    };
    match std::env::var("TALLYFOLD_TEST_TOLD").as_deref() {
        Ok("refused") => {
            denied(Store::open(&path).unwrap_err(), "store");
            denied(Store::open_existing(&path).unwrap_err(), "store");
        }
        _ => {
            let store = Store::open(&path).unwrap();
            let cohort = store.cohort("c").unwrap();
            read_all(&cohort);
            denied(cohort.append("k", &1).unwrap_err(), "lock");
            denied(cohort.append_durable("k", &1).unwrap_err(), "lock");
            denied(cohort.compact().unwrap_err(), "lock");
            denied(store.create("another", Settings::log()).unwrap_err(), "store");
        }
    }
    println!("done as told");
}

/// Reads everything there is to read; nothing of it may need to write.
fn read_all(cohort: &Cohort) {
    assert_eq!(cohort.view().unwrap().iter().count(), 1);
    assert!(cohort.cursor(cohort.stats().unwrap().watermark + 1).unwrap().all(|record| record.is_ok()));
    assert_eq!(cohort.reader().unwrap().refresh().unwrap(), cohort.last_seq().unwrap());
    assert!(!cohort.verify().unwrap().is_damaged());
}

#[test]
fn readers_work_on_a_store_they_may_not_write_and_change_nothing() {
    let fixture = filled();
    let cohort = fixture.reopen("c");
    let before: Vec<_> = names(&cohort.path());
    if is_root() {
        // Modes stop nobody here, so the store is mounted read-only, in a mount namespace that ends with the command.
        let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && exec \"$2\" --exact reads_what_it_is_told --nocapture";
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(fixture.store.path())
            .arg(std::env::current_exe().unwrap())
            .env("TALLYFOLD_TEST_READ", fixture.store.path())
            .output();
        match output {
            Ok(output) if output.status.success() => {
                assert!(String::from_utf8_lossy(&output.stdout).contains("read everything"), "{output:?}");
            }
            Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare") => {
                println!("skipped: no mount namespace here: {}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(output) => panic!("{output:?}"),
            Err(e) => println!("skipped: unshare cannot be started: {e}"),
        }
    } else {
        let chmod = |file: u32, dir: u32| {
            for entry in fs::read_dir(cohort.path()).unwrap() {
                let entry = entry.unwrap();
                let mode = if entry.file_type().unwrap().is_dir() { dir } else { file };
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).unwrap();
            }
            fs::set_permissions(cohort.path(), fs::Permissions::from_mode(dir)).unwrap();
        };
        chmod(0o400, 0o500);
        read_all(&fixture.reopen("c"));
        assert!(fixture.reopen("c").append("k", &1).is_err());
        chmod(0o600, 0o700);
    }
    assert_eq!(names(&cohort.path()), before);
}

/// Not a test of its own: what the test above runs on a store that is mounted read-only.
#[test]
fn reads_what_it_is_told() {
    let Ok(path) = std::env::var("TALLYFOLD_TEST_READ") else { return };
    let cohort = Store::open(&path).unwrap().cohort("c").unwrap();
    read_all(&cohort);
    let error = cohort.append("k", &1).unwrap_err();
    assert!(error.to_string().contains("Read-only"), "{error}");
    assert!(cohort.compact().is_err());
    println!("read everything");
}

#[test]
fn a_full_disk_is_a_typed_error_that_costs_no_record_and_passes_when_there_is_room() {
    if !is_root() {
        println!(
            "skipped: mounting a small file system takes root; the command's tests use a file size limit instead"
        );
        return;
    }
    // A small file system in a mount namespace of its own: it is gone when the process is.
    let script =
        "mount -t tmpfs -o size=256k tmpfs \"$1\" && exec \"$2\" --exact fills_what_it_is_told --nocapture";
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .env("TALLYFOLD_TEST_FILL", dir.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            assert!(String::from_utf8_lossy(&output.stdout).contains("filled and emptied"), "{output:?}");
        }
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("unshare") => {
            println!("skipped: no mount namespace here: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output) => panic!("{output:?}"),
        Err(e) => println!("skipped: unshare cannot be started: {e}"),
    }
}

/// Not a test of its own: what the test above runs on a small file system.
#[test]
fn fills_what_it_is_told() {
    let Ok(path) = std::env::var("TALLYFOLD_TEST_FILL") else { return };
    for lock in [LockClass::File, LockClass::Memory] {
        // tmpfs shares memory on Linux, and where else is it mounted?
        fill(Path::new(&path), lock);
        fs::remove_dir_all(Path::new(&path).join("store")).unwrap();
    }
    println!("filled and emptied");
}

fn fill(path: &Path, lock: LockClass) {
    let cohort = Store::open(path.join("store"))
        .unwrap()
        .create("c", Settings::log().segment_bytes(48 << 10).lock(lock))
        .unwrap();
    let mut last = 0;
    for round in 0..5 {
        let ballast = path.join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        while file.write_all(&[1; 4 << 10]).is_ok() {}
        // In the first round nothing is left, not even what attaching takes; then a little, for the journal to fill.
        let left = if round == 0 { 0 } else { 60 << 10 };
        file.set_len(file.metadata().unwrap().len().saturating_sub(left)).unwrap();
        drop(file);
        let error = loop {
            match cohort.append("k", &"x".repeat(1500)) {
                Ok(seq) => last = seq,
                Err(e) => break e,
            }
            assert!(last < 1000, "the disk never fills");
        };
        assert!(error.is_no_space(), "round {round}: {error:?}");
        assert_eq!(
            cohort.cursor(1).unwrap().count() as u64,
            last,
            "round {round}: earlier records are untouched"
        );
        assert!(cohort.append("k", &"y".repeat(1500)).unwrap_err().is_no_space());
        fs::remove_file(&ballast).unwrap();
        last = cohort.append("k", &round).unwrap();
        assert_eq!(cohort.cursor(1).unwrap().count() as u64, last);
        if round < 4 {
            // Room for the next round: this is a log, so its own files are all there is to remove.
            drop(Store::open(path.join("store")).unwrap().create(&format!("other{round}"), Settings::log()));
            for name in names(&path.join("store")).iter().filter(|name| name.starts_with("other")) {
                fs::remove_dir_all(path.join("store").join(name)).unwrap();
            }
        }
        if last > 90 {
            break;
        }
    }
    assert!(!cohort.verify().unwrap().is_damaged());
}

#[test]
fn a_lock_held_by_another_is_a_timeout_that_names_the_holder_and_stops_no_reader() {
    let fixture = filled();
    let cohort = fixture.reopen("c").with_timeout(Duration::from_millis(50));
    let lock = Fixture::lock_of(&cohort);
    fs4::FileExt::lock(&lock).unwrap();
    let error = cohort.append("k", &1).unwrap_err();
    assert!(error.is_lock_timeout() && error.to_string().contains("0.05 s"), "{error}");
    if cfg!(target_os = "linux") {
        assert_eq!(error.holder(), Some(std::process::id()), "{error}");
    }
    read_all(&fixture.reopen("c"));
    fs4::FileExt::unlock(&lock).unwrap();
    cohort.append("k", &1).unwrap();
}
