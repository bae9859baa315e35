//! A store with one cohort, made by hand file by file, and what using it must come to whatever the files hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use tallyfold::{Cohort, Error, Kind, Record, Result, Settings, Store, View};
use tempfile::TempDir;

use super::bytes::{COHORT, Found, STORE_JSON};

/// A directory of its own, in memory if the system has such a place, removed at the end.
pub struct Scene {
    dir: TempDir,
}

/// key → (seq, JSON text)
pub type State = BTreeMap<String, (u64, String)>;

/// The settings of all targets: small segments, and nothing in the background, so that an input always does the same.
pub fn settings(fold: &str, lock: &str) -> String {
    format!(
        "{{\"tallyfold\":1,\"fold\":{{\"kind\":\"{fold}\"}},\"segment_bytes\":4096,\"lock\":\"{lock}\",\
         \"lock_timeout_s\":10,\"sync_interval_ms\":0,\"compact_bytes\":0}}"
    )
}

impl Scene {
    /// An empty directory.
    pub fn empty() -> Scene {
        let memory = tempfile::tempdir_in("/dev/shm");
        Scene { dir: memory.or_else(|_| tempfile::tempdir()).expect("a directory can be made") }
    }

    /// A cohort without segments.
    pub fn new(settings: &str) -> Scene {
        let scene = Scene::empty();
        fs::create_dir(scene.cohort_path()).expect("a directory can be made");
        scene.put("../store.json", STORE_JSON.as_bytes());
        scene.put("cohort.json", settings.as_bytes());
        scene.put("lock", b"");
        scene.put("compact.lock", b"");
        scene
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    pub fn cohort_path(&self) -> PathBuf {
        self.dir.path().join(COHORT)
    }

    /// Puts a file into the cohort's directory.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.cohort_path().join(name), bytes).expect("a file can be written");
    }

    pub fn put_segment(&self, number: u64, bytes: &[u8]) {
        self.put(&format!("{number:08}.journal"), bytes);
    }

    pub fn open(&self) -> Result<Cohort> {
        Store::open_existing(self.dir.path())?.cohort(COHORT)
    }
}

/// Whether cohorts of the class `memory` can be where scenes are.
pub fn shares_memory() -> bool {
    static SHARES: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let store = Store::open(Scene::empty().path().join("store"));
        let cohort = store.and_then(|store| store.create(COHORT, Settings::log()));
        cohort.and_then(|cohort| cohort.stats()).is_ok_and(|stats| stats.lock == "memory")
    });
    *SHARES
}

/// Panics unless an error is one that strange bytes may lead to, and says where they are.
pub fn must_be_placed(e: &Error) {
    assert!(
        e.is_corruption() || e.is_unsupported() || e.is_compacted() || e.is_unsafe_file() || e.is_invalid(),
        "{e:?}"
    );
    if e.is_corruption() {
        assert!(e.path().is_some() || e.segment().is_some(), "which file? {e:?}");
        assert!(e.what().len() > 10, "{e:?}");
    }
}

/// All records from the first on, and why there are no more.
pub fn records(cohort: &Cohort, from: u64) -> (Vec<Record>, Option<Error>) {
    let mut records = Vec::new();
    let mut cursor = match cohort.cursor(from) {
        Ok(cursor) => cursor,
        Err(e) => return (records, Some(e)),
    };
    loop {
        match cursor.next_record() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, None),
            Err(e) => return (records, Some(e)),
        }
    }
}

/// A record as the bytes have it.
pub fn found(record: &Record) -> Found {
    let kind = match record.kind() {
        Kind::Put => 1,
        Kind::Delete => 2,
        Kind::Raw => 3,
    };
    Found {
        seq: record.seq(),
        kind: kind | if record.nonfinite() { 8 } else { 0 },
        key: record.key().to_string(),
        value: record.bytes().to_vec(),
    }
}

/// A whole state, unless something in it cannot be read.
pub fn state(view: &View) -> Result<State> {
    view.iter()
        .map(|item| {
            let (key, entry) = item?;
            // Whether it is JSON or not: it must not end the process.
            let _ = entry.to::<serde_json::Value>();
            Ok((key.into_owned(), (entry.seq(), entry.json().to_string())))
        })
        .collect()
}

/// What the last put of each key comes to, where there is no raw record.
pub fn latest(records: &[Record]) -> State {
    let mut state = State::new();
    for record in records {
        match record.kind() {
            Kind::Delete => drop(state.remove(record.key())),
            _ => {
                let json = String::from_utf8_lossy(record.bytes()).into_owned();
                state.insert(record.key().to_string(), (record.seq(), json));
            }
        }
    }
    state
}

/// Uses a cohort as anybody would whose disk gave it these bytes. Panics if a reader and a writer disagree, or if a compaction
/// changes what is read. `trusting`: whether its bytes tell of what was written; else they may contradict each other, and it is
/// enough that nothing ends the process.
pub fn go_on(scene: &Scene, trusting: bool) -> Result<()> {
    let cohort = scene.open()?;
    let before = cohort.view();
    let _ = cohort.view_until_damage().map(|(view, _)| state(&view));
    let (_, _, report) = (cohort.stats().is_ok(), cohort.last_seq().is_ok(), cohort.verify());
    let appended = cohort.append("after", &serde_json::json!({"more": 1}));
    if let Err(e) = &appended {
        must_be_placed(e);
    }
    if trusting && let (Ok(before), Ok(seq)) = (&before, &appended) {
        assert_eq!(*seq, before.seq() + 1, "the seq goes on where the readers saw the end");
    }
    let grown = cohort.view().and_then(|view| state(&view).map(|state| (view.seq(), state)));
    if let (true, Ok(before), Ok(seq), Ok((end, grown))) = (trusting, &before, &appended, &grown) {
        assert_eq!(end, seq);
        if let Ok(mut expected) = state(before) {
            assert!(grown.contains_key("after"));
            expected.remove("after");
            let mut others = grown.clone();
            others.remove("after");
            assert_eq!(expected, others, "an append changes other keys");
        }
    }
    let compacted = cohort.compact();
    if let Err(e) = &compacted {
        must_be_placed(e);
    }
    drop(cohort);
    let cohort = scene.open()?;
    let again = cohort.view().and_then(|view| state(&view).map(|state| (view.seq(), state)));
    let sound = trusting && report.is_ok_and(|report| !report.is_damaged());
    if sound && let (Ok(_), Ok(_), Ok(grown), Ok(again)) = (&appended, &compacted, &grown, &again) {
        assert_eq!(grown, again, "a compaction changes what is read");
    }
    if let Err(e) = cohort.append_durable("after", &2) {
        must_be_placed(&e);
    }
    let _ = cohort.verify();
    Ok(())
}
