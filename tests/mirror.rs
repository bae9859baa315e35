//! Mirrors: the plain file beside the store, for readers that know nothing of it.
#![allow(clippy::disallowed_methods, reason = "tests read and spoil the user's files")]

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};

use fixture::{Fixture, names};
use serde_json::{Value, json};
use tallyfold::{Cohort, Compaction, Mirror, Settings};

fn mirrored(fixture: &Fixture, to: &str) -> (Cohort, PathBuf) {
    let cohort = fixture.create("c", Settings::latest().mirror(Mirror::new(to)));
    (cohort, fixture.store.path().join(to))
}

fn parsed(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What stands beside the store, hidden files too.
fn beside(fixture: &Fixture) -> Vec<String> {
    names(fixture.dir.path())
}

#[test]
fn every_compaction_writes_the_whole_state_an_entry_on_each_line_and_sorted() {
    let fixture = Fixture::new();
    let (cohort, path) = mirrored(&fixture, "../metrics.json");
    assert_eq!(cohort.compact().unwrap(), Compaction::Nothing);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
    let mut batch = tallyfold::Batch::new();
    batch.put_json("run-2:TRAINING", r#"{"b": 1.50, "a": 1e3, "n": 1180591620717411303424}"#).unwrap();
    batch.put_json("run-1:\"x\"\n", "null").unwrap();
    batch.put_json("", "[]").unwrap();
    cohort.append_batch(batch).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n", "a mirror is as new as the last compaction");
    cohort.compact().unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "{\n\"\":[],\n\"run-1:\\\"x\\\"\\n\":null,\n\"run-2:TRAINING\":{\"b\":1.50,\"a\":1e3,\"n\":1180591620717411303424}\n}\n"
    );
    cohort.delete("").unwrap();
    cohort.compact().unwrap();
    assert_eq!(parsed(&path).as_object().unwrap().len(), 2);
    assert_eq!(cohort.mirror_failure(), None);
    assert_eq!(beside(&fixture), ["metrics.json", "store"]);
}

#[test]
fn it_is_written_on_demand_with_what_is_not_compacted_and_anywhere() {
    let fixture = Fixture::new();
    let (cohort, path) = mirrored(&fixture, "metrics.json");
    cohort.append("a", &1).unwrap();
    cohort.append("b", &json!({"x": [1, 2]})).unwrap();
    let told = cohort.mirror().unwrap();
    assert_eq!((told.seq, told.entries), (2, 2));
    assert_eq!(told.path, path);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\n\"a\":1,\n\"b\":{\"x\":[1,2]}\n}\n");
    assert_eq!(cohort.stats().unwrap().watermark, 0, "nothing was compacted");

    let elsewhere = fixture.dir.path().join("b.json");
    assert_eq!(cohort.mirror_to(&elsewhere, Some("b")).unwrap().entries, 1);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "{\"x\":[1,2]}\n");
    assert!(cohort.mirror_to(&elsewhere, Some("c")).unwrap_err().is_not_found());
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "{\"x\":[1,2]}\n", "the old file stays");

    let other = fixture.create("other", Settings::latest());
    assert!(other.mirror().unwrap_err().is_invalid());
    let log = fixture.create("log", Settings::log());
    assert!(log.mirror_to(&elsewhere, None).unwrap_err().is_invalid());
    assert!(fixture.store.create("l", Settings::log().mirror(Mirror::new("x"))).unwrap_err().is_invalid());
}

#[test]
fn a_mirror_of_one_key_is_its_value() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("metrics.json");
    let settings = Settings::merge().mirror(Mirror::of_key(path.to_str().unwrap(), "run-1"));
    let cohort = fixture.create("c", settings.clone());
    cohort.append("run-2", &1).unwrap();
    assert!(
        matches!(cohort.compact().unwrap(), Compaction::Folded { seq: 1, .. }),
        "the fold does not fail for it"
    );
    assert!(cohort.mirror_failure().unwrap().contains("\"run-1\""));
    assert!(cohort.stats().unwrap().mirror_failure.is_some());
    assert!(!path.exists());
    cohort.append("run-1", &json!({"auc": 0.61})).unwrap();
    cohort.append("run-1", &json!({"n_models": 5})).unwrap();
    cohort.compact().unwrap();
    assert_eq!(cohort.mirror_failure(), None);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"auc\":0.61,\"n_models\":5}\n");
    // What the document says is what was set.
    assert_eq!(*fixture.reopen("c").settings(), cohort.settings().clone());
    assert_eq!(fixture.create("c", settings).name(), "c");
}

#[test]
fn non_finite_numbers_stay_strings_and_genuine_strings_are_what_they_were() {
    let fixture = Fixture::new();
    let (cohort, path) = mirrored(&fixture, "m.json");
    let value = (f64::NAN, f64::NEG_INFINITY, 1.0, "NaN", "~NaN", "Infinity~");
    cohort.append("flagged", &value).unwrap();
    cohort.append("unflagged", &("NaN", "~NaN")).unwrap();
    cohort.compact().unwrap();
    assert_eq!(
        parsed(&path),
        json!({"flagged": ["NaN", "-Infinity", 1.0, "NaN", "~NaN", "Infinity~"], "unflagged": ["NaN", "~NaN"]})
    );
}

#[test]
fn a_mirror_that_cannot_be_written_is_told_and_tried_again_by_the_next_compaction() {
    let fixture = Fixture::new();
    let (cohort, path) = mirrored(&fixture, "../not/there/m.json");
    cohort.append("a", &1).unwrap();
    assert!(matches!(cohort.compact().unwrap(), Compaction::Folded { .. }));
    let failure = cohort.mirror_failure().unwrap();
    assert!(failure.contains("cannot open the directory") && failure.contains("not/there"), "{failure}");
    assert!(cohort.mirror().unwrap_err().is_not_found());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    assert_eq!(cohort.compact().unwrap(), Compaction::Nothing);
    assert_eq!(cohort.mirror_failure(), None);
    assert_eq!(parsed(&path), json!({"a": 1}));
    // A directory in the place of the file.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(cohort.compact().unwrap(), Compaction::Nothing);
    assert!(cohort.mirror_failure().unwrap().contains("not a regular file"));
    assert_eq!(names(path.parent().unwrap()), ["m.json"], "nothing is left lying about");
}

#[test]
fn a_mirror_that_shows_the_same_is_left_alone_and_one_that_was_spoilt_is_put_right() {
    let fixture = Fixture::new();
    let (cohort, path) = mirrored(&fixture, "m.json");
    for i in 0..300 {
        cohort.append(&format!("k{i:03}"), &"v".repeat(2000)).unwrap();
    }
    cohort.compact().unwrap();
    let whole = fs::read(&path).unwrap();
    fixture::flip(&path, 0);
    fixture::flip(&path, 0);
    let modified = || fs::metadata(&path).unwrap().modified().unwrap();
    let before = modified();
    assert_eq!(cohort.compact().unwrap(), Compaction::Nothing);
    assert_eq!(modified(), before, "the same file");
    for spoil in [0, whole.len() as u64 / 2, whole.len() as u64 - 1] {
        fixture::flip(&path, spoil);
        assert_eq!(cohort.compact().unwrap(), Compaction::Nothing);
        assert!(fs::read(&path).unwrap() == whole, "byte {spoil}");
    }
    fixture::cut(&path, 100);
    cohort.compact().unwrap();
    assert!(fs::read(&path).unwrap() == whole);
    fs::write(&path, [&whole[..], b" "].concat()).unwrap();
    cohort.compact().unwrap();
    assert!(fs::read(&path).unwrap() == whole);
    fs::remove_file(&path).unwrap();
    cohort.compact().unwrap();
    assert!(fs::read(&path).unwrap() == whole);
}

#[cfg(unix)]
#[test]
fn the_mode_of_the_file_and_the_links_that_lead_to_it_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let fixture = Fixture::new();
    let (cohort, path) = mirrored(&fixture, "../link.json");
    let data = fixture.dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("real.json"), "old").unwrap();
    fs::set_permissions(data.join("real.json"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("data/second.json", &path).unwrap();
    symlink("real.json", data.join("second.json")).unwrap();
    cohort.append("a", &1).unwrap();
    cohort.compact().unwrap();
    assert_eq!(cohort.mirror_failure(), None);
    assert_eq!(parsed(&data.join("real.json")), json!({"a": 1}));
    assert_eq!(fs::metadata(data.join("real.json")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("data/second.json"));
    assert_eq!(fs::read_link(data.join("second.json")).unwrap(), Path::new("real.json"));
    assert_eq!(names(&data), ["real.json", "second.json"]);
    // A link that leads nowhere yet gets its file, and a circle is told.
    fs::remove_file(data.join("real.json")).unwrap();
    cohort.compact().unwrap();
    assert_eq!(parsed(&data.join("real.json")), json!({"a": 1}));
    fs::remove_file(data.join("real.json")).unwrap();
    symlink("second.json", data.join("real.json")).unwrap();
    cohort.compact().unwrap();
    assert!(cohort.mirror_failure().unwrap().contains("links"));
}

/// A new file is the user's, not ours: others may read it where the umask lets them.
#[cfg(unix)]
#[test]
fn a_new_mirror_has_the_mode_that_a_program_of_the_user_would_give_it() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();
    let (cohort, path) = mirrored(&fixture, "m.json");
    cohort.compact().unwrap();
    let plain = fixture.dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let expected = if cfg!(tallyfold_portable) { mode(&path) } else { mode(&plain) };
    assert_eq!(mode(&path), expected);
}

#[test]
fn what_dead_writers_left_is_removed_and_what_others_have_there_stays() {
    let fixture = Fixture::new();
    let (cohort, path) = mirrored(&fixture, "../m.json");
    let left = ".m.json.0123456789abcdef.tmp.json";
    let others = [
        ".m.json.0123456789ABCDEF.tmp.json",
        ".m.json.1.tmp.json",
        ".n.json.0123456789abcdef.tmp.json",
        "m.json.bak",
    ];
    for name in others.iter().chain([&left]) {
        fs::write(fixture.dir.path().join(name), "half").unwrap();
    }
    cohort.append("a", &1).unwrap();
    cohort.compact().unwrap();
    assert_eq!(parsed(&path), json!({"a": 1}));
    let mut expected: Vec<&str> = others.to_vec();
    expected.extend(["m.json", "store"]);
    expected.sort_unstable();
    assert_eq!(beside(&fixture), expected);
}

#[test]
fn a_mirror_never_takes_the_place_of_a_file_of_the_store() {
    let fixture = Fixture::new();
    for (i, path) in ["store.json", "c0/snapshot.json", "c0/x.json", "c3/cohort.json"].into_iter().enumerate()
    {
        let cohort = fixture.create(&format!("c{i}"), Settings::latest().mirror(Mirror::new(path)));
        cohort.append("a", &1).unwrap();
        cohort.compact().unwrap();
        assert!(cohort.mirror_failure().unwrap().contains("the store's own files"), "{path}");
        assert!(!cohort.verify().unwrap().is_damaged());
    }
    assert!(!fixture.store.path().join("c0/x.json").exists());
    assert_eq!(fixture.reopen("c3").view().unwrap().seq(), 1);
}

#[test]
fn of_two_mirrors_at_once_none_shows_less_than_one_before_it() {
    let fixture = Fixture::new();
    let (cohort, path) = mirrored(&fixture, "m.json");
    cohort.append("n", &0).unwrap();
    cohort.mirror().unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..20 {
                        cohort.update("n", |old| Ok(Some(old.unwrap().to::<u64>()? + 1))).unwrap();
                        cohort.mirror().unwrap();
                    }
                })
            })
            .collect();
        let mut last = 0;
        while !writers.iter().all(|writer| writer.is_finished()) {
            let now = parsed(&path)["n"].as_u64().unwrap();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    });
    assert_eq!(parsed(&path), json!({"n": 60}));
    assert_eq!(names(fixture.store.path()), ["c", "m.json", "store.json"]);
}
