//! Plain files, by one process: what is written, what is kept of the file replaced, and what is refused.
#![allow(clippy::disallowed_methods, reason = "tests look at the files as others see them")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tallyfold::Error;
use tallyfold::files::*;
use tempfile::TempDir;

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.json");
    (dir, file)
}

/// Every name in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_file_is_made_and_replaced_as_a_whole_and_nothing_else_is_left_there() {
    let (dir, file) = place();
    for content in ["one", "", "three"] {
        atomic_write(&file, content, &Options::new()).unwrap();
        assert_eq!(text(&file), content);
    }
    let large = "x".repeat(300_000);
    atomic_write_with(&file, &Options::new().durable(false), |out| {
        for chunk in large.as_bytes().chunks(7_001) {
            out.write_all(chunk)?;
        }
        out.flush()?;
        out.write_all(b"end")
    })
    .unwrap();
    assert_eq!(text(&file), large + "end");
    assert_eq!(names(dir.path()), ["a.json"]);
}

/// The story: a file rewritten in place is read half old, half new.
#[test]
fn who_has_the_old_file_open_reads_all_of_it_and_none_of_the_new_one() {
    let (_dir, file) = place();
    atomic_write(&file, "old ".repeat(10_000), &Options::new()).unwrap();
    let open = fs::File::open(&file).unwrap();
    atomic_write(&file, "new", &Options::new()).unwrap();
    assert_eq!(std::io::read_to_string(open).unwrap(), "old ".repeat(10_000));
    assert_eq!(text(&file), "new");
}

#[test]
fn a_writer_that_fails_leaves_the_old_file_and_no_other() {
    let (dir, file) = place();
    atomic_write(&file, "old", &Options::new()).unwrap();
    let error = atomic_write_with(&file, &Options::new(), |out| {
        out.write_all(&[1; 100_000])?;
        Err(std::io::Error::other("the model is broken"))
    })
    .unwrap_err();
    assert!(error.is_io() && error.to_string().contains("the model is broken"), "{error}");
    assert!(error.to_string().contains("a.json"), "{error}");
    let given_up = AtomicFile::create(&file, &Options::new()).unwrap();
    assert_eq!(names(dir.path()).len(), 2);
    drop(given_up);
    assert_eq!((text(&file).as_str(), names(dir.path())), ("old", vec!["a.json".to_string()]));
}

#[test]
fn what_is_handed_the_path_may_write_to_it_or_put_another_file_there() {
    let (dir, file) = place();
    for replaced in [false, true] {
        let model = AtomicFile::create(&file, &Options::new()).unwrap();
        assert_eq!(model.path().extension(), file.extension(), "some libraries choose by it");
        assert_eq!(model.path().parent(), file.parent());
        if replaced {
            let own = dir.path().join("own temporary");
            fs::write(&own, "replaced").unwrap();
            fs::rename(&own, model.path()).unwrap();
        } else {
            fs::write(model.path(), "written").unwrap();
        }
        model.commit().unwrap();
        assert_eq!(text(&file), if replaced { "replaced" } else { "written" });
    }
    let model = AtomicFile::create(&file, &Options::new()).unwrap();
    fs::remove_file(model.path()).unwrap();
    let error = model.commit().unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("the temporary file is gone"), "{error}");
    assert_eq!((text(&file).as_str(), names(dir.path())), ("replaced", vec!["a.json".to_string()]));
}

/// The story: `a.json` and `a.yaml` had one temporary name, `a.tmp`, and readers found the other one's content.
#[test]
fn files_that_differ_in_their_extension_never_get_each_others_content() {
    let (dir, _) = place();
    let options = Options::new().durable(false);
    std::thread::scope(|scope| {
        for name in ["a.json", "a.yaml", "a", "a.json.gz"] {
            for _ in 0..2 {
                let (file, options) = (dir.path().join(name), &options);
                scope.spawn(move || {
                    for _ in 0..100 {
                        atomic_write(&file, name.repeat(1000), options).unwrap();
                        assert_eq!(text(&file), name.repeat(1000));
                    }
                });
            }
        }
    });
    assert_eq!(names(dir.path()), ["a", "a.json", "a.json.gz", "a.yaml"]);
}

/// The story: temporary files are made with mode 0600, and the file that everybody read is so after the first update.
#[cfg(unix)]
#[test]
fn a_replaced_file_keeps_its_mode_and_a_new_one_gets_what_the_umask_leaves() {
    let (dir, file) = place();
    let plain = dir.path().join("plain");
    fs::File::create(&plain).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    write_json(&file, &1, &Options::new()).unwrap();
    assert_eq!(mode(&file), mode(&plain));
    for wanted in [0o600, 0o644, 0o664, 0o640, 0o444, 0o755] {
        fs::set_permissions(&file, fs::Permissions::from_mode(wanted)).unwrap();
        let begun = AtomicFile::create(&file, &Options::new()).unwrap();
        assert_eq!(mode(begun.path()) & 0o077, 0, "nobody reads what is not there yet");
        drop(begun);
        update_json(&file, &Options::new(), |old: Option<u64>| old.unwrap() + 1).unwrap();
        assert_eq!(mode(&file), wanted);
    }
    assert_eq!(text(&file), "7\n");
}

/// The story: the rename replaced the link that led to the shared directory, and others went on reading the old file there.
#[cfg(unix)]
#[test]
fn a_link_stays_and_the_file_that_it_leads_to_is_replaced_where_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let (here, there) = (dir.path().join("here"), dir.path().join("there"));
    fs::create_dir(&here).unwrap();
    fs::create_dir(&there).unwrap();
    symlink("../there/second", here.join("first")).unwrap();
    symlink("real.json", there.join("second")).unwrap();
    for n in 1..3 {
        // The first time the last link leads to nothing yet.
        write_json(here.join("first"), &n, &Options::new()).unwrap();
        assert_eq!(text(&there.join("real.json")), format!("{n}\n"));
    }
    assert_eq!(
        (names(&here), names(&there)),
        (vec!["first".into()], vec!["real.json".into(), "second".into()])
    );
    assert!(here.join("first").is_symlink() && there.join("second").is_symlink());
    assert_eq!(fs::metadata(there.join("real.json")).unwrap().nlink(), 1);

    symlink("circle", here.join("circle")).unwrap();
    let error = write_json(here.join("circle"), &1, &Options::new()).unwrap_err();
    assert!(error.is_unsafe_file() && error.to_string().contains("links"), "{error}");
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced_and_a_name_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let (dir, file) = place();
    fs::create_dir(&file).unwrap();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for odd in [&file, &fifo] {
        for error in [
            write_json(odd, &1, &Options::new()).unwrap_err(),
            read_json::<Value>(odd).unwrap_err(),
            FileLock::exclusive(odd, Duration::ZERO).unwrap_err(),
        ] {
            assert!(error.is_unsafe_file() && error.advice().is_some(), "{error:?}");
        }
    }
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe.json"));
    update_json(&odd, &Options::new(), |old: Option<u64>| old.unwrap_or(6) + 1).unwrap();
    assert_eq!(read_json::<u64>(&odd).unwrap(), 7);
    assert!(lock_path(&odd, LockName::Appended).exists());
    assert!(atomic_write("/", "x", &Options::new()).is_err());
    assert!(atomic_write("..", "x", &Options::new()).is_err());
}

#[test]
fn directories_above_are_made_unless_that_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a").join("b").join("c.json");
    let without = Options::new().parents(false);
    assert!(write_json(&deep, &1, &without).unwrap_err().is_not_found());
    assert!(update_json(&deep, &without, |_: Option<u64>| 1).unwrap_err().is_not_found());
    assert!(
        update_json(&deep, &Options::new().create(false), |_: Option<u64>| 1).unwrap_err().is_not_found()
    );
    assert_eq!(names(dir.path()).len(), 0, "a refusal makes nothing");
    assert_eq!(update_json(&deep, &Options::new(), |_: Option<u64>| 1).unwrap(), 1);
    assert_eq!(names(deep.parent().unwrap()), ["c.json", "c.json.lock"]);
}

#[test]
fn errors_of_reading_say_what_is_wrong_where_and_in_which_file() {
    let (_dir, file) = place();
    let read = || read_json::<Value>(&file).unwrap_err();
    let missing = read();
    assert!(missing.is_not_found() && !missing.is_not_json(), "{missing}");
    for (content, words, offset) in [
        (&b"{\n  \"a\": [1,\n ?]}"[..], "line 3 column 2", 14),
        (b"", "the file is empty, at line 1 column 1", 0),
        (b"{\"a\":1", "EOF while parsing an object at line 1 column 6", 5),
        (b"{\"loss\": NaN}", "at line 1 column", 9),
        (b"[1]\n[2]", "trailing characters at line 2 column 1", 4),
        (b"[1,\n\"\xff\"]", "not UTF-8 at line 2 column 2", 5),
        (b"[1e999]", "number out of range at line 1", 5),
    ] {
        fs::write(&file, content).unwrap();
        let error = read();
        assert!(error.is_not_json() && !error.is_corruption() && !error.is_io(), "{error:?}");
        let said = error.to_string();
        assert!(said.starts_with("not JSON: ") && said.contains(words) && said.contains("a.json"), "{said}");
        assert!(error.offset().unwrap().abs_diff(offset) <= 1, "{said}: {offset}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidData);
    }
    fs::write(&file, "{\n\"a\": \"x\"}").unwrap();
    let error = read_json::<BTreeMap<String, u64>>(&file).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("line 2"), "{error}");
}

/// The story: an index that could not be read was taken for an empty one, and replaced by one row.
#[test]
fn an_update_never_replaces_what_it_cannot_read() {
    let (_dir, file) = place();
    for content in ["", "{\"a\":", "{\"a\": NaN}", "[]"] {
        fs::write(&file, content).unwrap();
        let error =
            update_json(&file, &Options::new(), |old: Option<BTreeMap<String, u64>>| old.unwrap_or_default())
                .unwrap_err();
        assert!(error.is_not_json() || content == "[]" && error.is_invalid(), "{content}: {error:?}");
        assert_eq!(text(&file), content);
    }
}

#[test]
fn equal_values_have_the_same_bytes_sorted_indented_and_with_a_newline() {
    let (_dir, file) = place();
    let value = json!({"b": [1, 2.5, {"z": null, "y": "é"}], "a": {}});
    write_json(&file, &value, &Options::new()).unwrap();
    let indented = "{\n  \"a\": {},\n  \"b\": [\n    1,\n    2.5,\n    {\n      \"y\": \"é\",\n      \"z\": null\n    }\n  ]\n}\n";
    assert_eq!(text(&file), indented);
    let raw = RawValue::from_string(r#" {"b":[1,2.5,{"z":null,"y":"\u00e9"}],"a":{ }}"#.into()).unwrap();
    write_json(&file, &raw, &Options::new()).unwrap();
    assert_eq!(text(&file), indented);
    write_json(&file, &value, &Options::new().indent(None).ensure_ascii(true)).unwrap();
    assert_eq!(text(&file), "{\"a\":{},\"b\":[1,2.5,{\"y\":\"\\u00e9\",\"z\":null}]}\n");
}

#[test]
fn python_writes_the_same_bytes() {
    let (_dir, file) = place();
    let value = r#"{"b":[1,2.5,-0.001,{"z":null,"y":"é\u007f\n\"\\/\u2028🦀"},[],{}],"é":[[true,false]],"A":340282366920938463463374607431768211456,"":"x"}"#;
    let json: Json = value.parse().unwrap();
    for indent in [0, 1, 2, 4] {
        for ascii in [true, false] {
            let script = "import json,sys; v=json.loads(sys.argv[1]); sys.stdout.buffer.write((json.dumps(v, \
                          sort_keys=True, indent=int(sys.argv[2]), ensure_ascii=sys.argv[3]=='true')+'\\n').encode())";
            let output = Command::new("python3")
                .args(["-c", script, value, &indent.to_string(), &ascii.to_string()])
                .output();
            let Ok(output) = output else { return println!("skipped: there is no python3 here") };
            assert!(output.status.success(), "{output:?}");
            write_json(&file, &json, &Options::new().indent(indent).ensure_ascii(ascii)).unwrap();
            assert_eq!(text(&file), String::from_utf8(output.stdout).unwrap(), "indent {indent}, {ascii}");
        }
    }
}

/// The story: Python writes NaN as it is, which is no JSON, and other readers cannot read the file at all.
#[test]
fn a_number_that_json_has_no_way_to_write_is_refused_with_its_place_and_the_file_stays() {
    let (dir, file) = place();
    write_json(&file, &1, &Options::new()).unwrap();
    let data = BTreeMap::from([("run-1", BTreeMap::from([("loss", vec![0.5, f64::NAN])]))]);
    let error = write_json(&file, &data, &Options::new()).unwrap_err();
    assert!(error.is_invalid(), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("NaN") && said.contains("run-1.loss[1]") && said.contains("a.json"), "{said}");
    assert_eq!((text(&file).as_str(), names(dir.path())), ("1\n", vec!["a.json".to_string()]));
    write_json(&file, &data, &Options::new().nonfinite(Nonfinite::Null).indent(None)).unwrap();
    assert_eq!(text(&file), "{\"run-1\":{\"loss\":[0.5,null]}}\n");
}

#[test]
fn integers_beyond_64_bits_keep_their_digits_or_the_update_is_refused() {
    let (_dir, file) = place();
    let big = "123456789012345678901234567890";
    let content = format!("{{\"ids\":[1,{big}],\"n\":1}}");
    fs::write(&file, &content).unwrap();
    let options = Options::new().indent(None);
    update_json(&file, &options, |old: Option<Json>| {
        let mut json = old.unwrap();
        json.set("n", 2);
        json
    })
    .unwrap();
    assert_eq!(text(&file), format!("{{\"ids\":[1,{big}],\"n\":2}}\n"));
    update_json(&file, &options, |old: Option<Box<RawValue>>| old.unwrap()).unwrap();
    assert_eq!(text(&file), format!("{{\"ids\":[1,{big}],\"n\":2}}\n"));

    let error = update_json(&file, &options, |old: Option<Value>| old.unwrap()).unwrap_err();
    let said = error.to_string();
    assert!(error.is_invalid() && said.contains(big) && said.contains("ids[1]"), "{said}");
    assert_eq!(text(&file), format!("{{\"ids\":[1,{big}],\"n\":2}}\n"));
    // A type that does not look at them drops them, which is its right.
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Narrow {
        n: u64,
    }
    update_json(&file, &options, |old: Option<Narrow>| Narrow { n: old.unwrap().n + 1 }).unwrap();
    assert_eq!(text(&file), "{\"n\":3}\n");
    write_json(&file, &(u128::MAX, i128::MIN, u64::MAX), &options).unwrap();
    assert_eq!(text(&file), format!("[{},{},{}]\n", u128::MAX, i128::MIN, u64::MAX));
}

#[test]
fn an_update_returns_the_new_data_and_one_that_refuses_changes_nothing() {
    let (dir, file) = place();
    let add = |old: Option<Vec<u64>>| {
        let mut list = old.unwrap_or_default();
        list.push(list.len() as u64);
        list
    };
    assert_eq!(update_json(&file, &Options::new(), add).unwrap(), [0]);
    assert_eq!(update_json(&file, &Options::new(), add).unwrap(), [0, 1]);
    let refused: Result<Vec<u64>, Box<dyn std::error::Error>> =
        try_update_json(&file, &Options::new(), |_: Option<Vec<u64>>| Err("no such run".into()));
    assert_eq!(refused.unwrap_err().to_string(), "no such run");
    assert_eq!(read_json::<Vec<u64>>(&file).unwrap(), [0, 1]);
    assert_eq!(names(dir.path()), ["a.json", "a.json.lock"]);
    assert!(
        FileLock::try_exclusive(dir.path().join("a.json.lock")).unwrap().is_some(),
        "all locks are given back"
    );
}

#[test]
fn a_panic_in_an_update_gives_the_lock_back_and_leaves_the_file() {
    let (dir, file) = place();
    write_json(&file, &1, &Options::new()).unwrap();
    let panicked = std::panic::catch_unwind(|| {
        update_json(&file, &Options::new(), |_: Option<u64>| panic!("in the middle of a test"))
    });
    assert!(panicked.is_err());
    assert_eq!(update_json(&file, &Options::new(), |old: Option<u64>| old.unwrap() + 1).unwrap(), 2);
    assert_eq!(names(dir.path()), ["a.json", "a.json.lock"]);
}

#[test]
fn the_lock_file_is_named_as_asked_and_never_the_file_itself() {
    let (dir, file) = place();
    update_json(&file, &Options::new().lock(LockName::Replaced), |_: Option<u64>| 1).unwrap();
    assert_eq!(names(dir.path()), ["a.json", "a.lock"]);
    let itself = dir.path().join("b.lock");
    let error =
        update_json(&itself, &Options::new().lock(LockName::Replaced), |_: Option<u64>| 1).unwrap_err();
    assert!(error.is_invalid() && !itself.exists(), "{error}");
}

#[test]
fn locks_exclude_and_share_as_their_kinds_say() {
    let (_dir, file) = place();
    let lock = lock_path(&file, LockName::Appended);
    let exclusive = FileLock::exclusive(&lock, Duration::ZERO).unwrap();
    assert!(exclusive.is_exclusive() && exclusive.is_held() && exclusive.path() == lock);
    assert!(FileLock::try_exclusive(&lock).unwrap().is_none());
    assert!(FileLock::try_shared(&lock).unwrap().is_none());
    drop(exclusive);
    let shared = FileLock::shared(&lock, Duration::ZERO).unwrap();
    let another = FileLock::try_shared(&lock).unwrap().unwrap();
    assert!(!shared.is_exclusive() && another.is_held());
    assert!(FileLock::try_exclusive(&lock).unwrap().is_none());
    drop(shared);
    assert!(FileLock::exclusive(&lock, Duration::ZERO).unwrap_err().is_lock_timeout());
    drop(another);
    let _exclusive = FileLock::try_exclusive(&lock).unwrap().unwrap();
    assert_eq!(fs::metadata(&lock).unwrap().len(), 0);
}

#[test]
fn who_waits_for_a_lock_that_it_has_itself_is_told_so() {
    let (_dir, file) = place();
    let lock = lock_path(&file, LockName::Appended);
    let _mine = FileLock::exclusive(&lock, Duration::ZERO).unwrap();
    let error = FileLock::exclusive(&lock, Duration::from_millis(30)).unwrap_err();
    let said = error.to_string();
    assert!(error.is_lock_timeout() && said.contains("0.03 s") && said.contains("a.json.lock"), "{said}");
    if cfg!(target_os = "linux") {
        assert_eq!(error.holder(), Some(std::process::id()), "{said}");
        assert!(said.contains("this very process"), "{said}");
    }
    let nested: Result<u64, Error> = update_json(&file, &Options::new().timeout(Duration::ZERO), |_| 1);
    assert!(nested.unwrap_err().is_lock_timeout());
    assert!(!file.exists());
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_a_lock_file_is_refused_and_a_lock_file_that_may_only_be_read_will_do() {
    let (dir, file) = place();
    let lock = lock_path(&file, LockName::Appended);
    symlink(dir.path().join("elsewhere"), &lock).unwrap();
    let error = FileLock::exclusive(&lock, Duration::ZERO).unwrap_err();
    assert!(error.is_unsafe_file() && names(dir.path()) == ["a.json.lock"], "{error}");
    fs::remove_file(&lock).unwrap();
    fs::write(&lock, "left by another program").unwrap();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o444)).unwrap();
    let _lock = FileLock::exclusive(&lock, Duration::ZERO).unwrap();
    assert!(FileLock::try_shared(&lock).unwrap().is_none());
    assert_eq!(text(&lock), "left by another program");
    let nowhere = dir.path().join("none").join("a.lock");
    assert!(FileLock::exclusive(nowhere, Duration::ZERO).unwrap_err().is_not_found());
}

#[test]
fn only_lock_files_that_nobody_has_are_cleaned_up() {
    let (dir, file) = place();
    let path = |name: &str| dir.path().join(name);
    for name in ["free.lock", "shared.lock", "held.lock"] {
        drop(FileLock::exclusive(path(name), Duration::ZERO).unwrap());
    }
    fs::write(path("Cargo.lock"), "version = 4").unwrap();
    fs::write(path("lock"), "").unwrap();
    fs::create_dir(path("directory.lock")).unwrap();
    fs::create_dir(path("below")).unwrap();
    fs::write(path("below").join("a.lock"), "").unwrap();
    write_json(&file, &1, &Options::new()).unwrap();
    let (held, shared) = (
        FileLock::exclusive(path("held.lock"), Duration::ZERO).unwrap(),
        FileLock::shared(path("shared.lock"), Duration::ZERO).unwrap(),
    );
    assert_eq!(cleanup_lock_files(dir.path()).unwrap(), 1);
    assert!(held.is_held() && shared.is_held());
    drop((held, shared));
    assert_eq!(cleanup_lock_files(dir.path()).unwrap(), 2);
    assert_eq!(names(dir.path()), ["Cargo.lock", "a.json", "below", "directory.lock", "lock"]);
    assert_eq!(names(&path("below")), ["a.lock"]);
    assert!(cleanup_lock_files(path("none")).unwrap_err().is_not_found());
}

#[test]
fn the_locks_of_a_cohort_are_not_cleaned_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = tallyfold::Store::open(dir.path().join("store")).unwrap();
    let cohort = store.create("c", tallyfold::Settings::latest()).unwrap();
    let error = cleanup_lock_files(cohort.path()).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("cohort"), "{error}");
    assert!(cohort.path().join("compact.lock").exists());
}

#[test]
fn two_processes_are_seen_to_exclude_each_other_here() {
    let dir = tempfile::tempdir().unwrap();
    let support = verify_lock_support(dir.path()).unwrap();
    if cfg!(unix) {
        assert!(support.excludes_processes(), "{support}");
        assert_eq!(support.checks.len(), 7);
    }
    assert_eq!(names(dir.path()), Vec::<String>::new(), "nothing is left there");
    assert!(verify_lock_support(dir.path().join("none")).unwrap_err().is_not_found());
}
