//! Appends, deletes, batches, compactions, reopenings, and processes that die in all of it, beside a `BTreeMap`.
//!
//! An input is read as a list of operations. A process that dies leaves its handle as it is, and may leave bytes behind the tail
//! or a last frame that is not whole. After each operation, or at the end, what is read must be what the model holds.

use std::collections::BTreeMap;
use std::fs;

use arbitrary::{Arbitrary, Unstructured};
use serde_json::{Value, json};
use tallyfold::{Batch, Cohort, Compaction, Fold, Store};

use super::bytes::{self, COHORT, Link};
use super::scene::{self, Scene};

#[derive(Arbitrary, Debug)]
enum Change {
    Put { key: u8, value: Given },
    Delete { key: u8 },
}

#[derive(Arbitrary, Debug)]
enum Given {
    Number(i32),
    Text(u16),
    Null,
    Fields { x: Option<u8>, y: Option<bool>, deep: Option<u8> },
}

#[derive(Arbitrary, Debug)]
enum Operation {
    Append(Change),
    Durable(Change),
    Batch(Vec<Change>),
    Compact,
    /// The handle is dropped, and so the journal ends with a last word.
    Reopen,
    /// The process dies. These bytes stand behind the tail then.
    Die(Vec<u8>),
    /// The power is cut: of the last frame, if it is not durable, this byte and all after it are others.
    CutPower {
        at: u8,
        with: u8,
    },
    Check,
    /// Two handles at once, as two processes have them.
    Another(Change),
}

const MOST_OPERATIONS: usize = 48;
const KEYS: [&str; 8] = ["a", "b", "run-1:TRAINING", "", "\"q\"\n", "ä", "z", "\u{10FFFF}"];

/// What was done and what it must have come to.
struct Model {
    merge: bool,
    /// Every record: key, and the value of a put.
    records: Vec<(String, Option<Value>)>,
    /// After each seq: key → (seq, value).
    states: Vec<BTreeMap<String, (u64, Value)>>,
    /// The last seq that is durable.
    durable: usize,
    /// Records in the last frame.
    last_frame: usize,
    /// Seqs up to here may be folded away.
    folded: usize,
}

pub fn run(input: &[u8]) {
    let mut source = Unstructured::new(input);
    let Ok(flags) = source.arbitrary::<u8>() else { return };
    let fold = [Fold::Latest, Fold::Merge, Fold::Log][usize::from(flags % 3)].clone();
    let lock = if flags & 16 != 0 && scene::shares_memory() { "memory" } else { "file" };
    let scene = Scene::new(&scene::settings(fold.name(), lock));
    scene.put_segment(1, &bytes::segment(1, 7, Link { epoch: 1, first_seq: 1, ..Link::default() }));
    let mut cohort = scene.open().expect("it is whole");
    let mut model = Model {
        merge: fold == Fold::Merge,
        records: Vec::new(),
        states: vec![BTreeMap::new()],
        durable: 0,
        last_frame: 0,
        folded: 0,
    };
    for _ in 0..MOST_OPERATIONS {
        if source.is_empty() {
            break;
        }
        let Ok(operation) = source.arbitrary::<Operation>() else { break };
        match operation {
            Operation::Append(change) => {
                let seq = cohort.append_batch(batch(&[&change])).expect("it can be appended");
                model.apply(&[&change], seq);
            }
            Operation::Another(change) => {
                let another = scene.open().expect("it is whole");
                let seq = another.append_batch(batch(&[&change])).expect("another can append");
                model.apply(&[&change], seq);
                drop(another);
                // It has synced what it wrote, and said so.
                model.durable = model.records.len();
            }
            Operation::Durable(change) => {
                let seq = cohort.append_batch_durable(batch(&[&change])).expect("it can be appended");
                model.apply(&[&change], seq);
                model.durable = model.records.len();
            }
            Operation::Batch(changes) => {
                let changes: Vec<_> = changes.iter().take(40).collect();
                if changes.is_empty() {
                    continue;
                }
                let seq = cohort.append_batch(batch(&changes)).expect("it can be appended");
                model.apply(&changes, seq);
            }
            Operation::Compact => {
                let done = cohort.compact().expect("it can be compacted");
                assert_ne!(done, Compaction::Busy);
                model.durable = model.records.len();
                if fold != Fold::Log {
                    model.folded = model.records.len();
                }
            }
            Operation::Reopen => {
                drop(cohort);
                cohort = scene.open().expect("it is whole");
                model.durable = model.records.len();
            }
            Operation::Die(left) => {
                cohort = die(&scene, cohort);
                let (path, end) = active(&scene);
                overwrite(&path, end.at as usize, &left);
                if left.iter().any(|byte| *byte != 0) {
                    // Cutting syncs what is kept.
                    model.last_frame = 0;
                }
            }
            Operation::CutPower { at, with } => {
                cohort = die(&scene, cohort);
                if model.lose_last_frame() {
                    let (path, end) = active(&scene);
                    let (begin, len) = (end.last as usize, (end.at - end.last) as usize);
                    let at = begin + usize::from(at) % len;
                    // One byte at least is another, and the frame is whole no more.
                    let mut bytes = fs::read(&path).expect("it can be read");
                    let tail = end.at as usize;
                    let changed = bytes[at..tail].iter().any(|byte| *byte != with);
                    bytes[at..tail].fill(with);
                    if !changed {
                        bytes[begin] ^= 0xFF;
                    }
                    fs::write(&path, bytes).expect("it can be written");
                }
            }
            Operation::Check => model.check(&cohort),
        }
    }
    model.check(&cohort);
    drop(cohort);
    model.check(&scene.open().expect("it is whole"));
}

impl Model {
    fn apply(&mut self, changes: &[&Change], last: u64) {
        for change in changes {
            let (seq, mut state) = (self.states.len() as u64, self.states[self.states.len() - 1].clone());
            let (key, value) = change.parts();
            match &value {
                None => drop(state.remove(key)),
                Some(value) => {
                    let old = state.get(key).map(|(_, old)| old.clone());
                    let new = if self.merge { merged(old, value) } else { value.clone() };
                    state.insert(key.to_string(), (seq, new));
                }
            }
            self.records.push((key.to_string(), value));
            self.states.push(state);
        }
        assert_eq!(last, self.records.len() as u64, "seqs are handed out in order, without gaps");
        self.last_frame = changes.len();
    }

    /// Forgets the records of the last frame, unless they are durable. Whether it did.
    fn lose_last_frame(&mut self) -> bool {
        let left = self.records.len() - self.last_frame;
        if self.last_frame == 0 || left < self.durable {
            return false;
        }
        self.records.truncate(left);
        self.states.truncate(left + 1);
        self.last_frame = 0;
        true
    }

    fn check(&self, cohort: &Cohort) {
        let seq = self.records.len();
        let view = cohort.view().expect("it can be read");
        assert_eq!((view.seq(), cohort.last_seq().expect("it can be read")), (seq as u64, seq as u64));
        if *cohort.settings().fold() != Fold::Log {
            let mut found = BTreeMap::new();
            for item in view.iter() {
                let (key, entry) = item.expect("it can be read");
                found.insert(key.into_owned(), (entry.seq(), entry.to::<Value>().expect("it is JSON")));
            }
            assert_eq!(found, self.states[seq]);
            for key in KEYS {
                let entry = view.get(key).expect("it can be read");
                assert_eq!(entry.is_some(), found.contains_key(key));
            }
        }
        let (records, error) = match cohort.cursor(1) {
            Err(e) if e.is_compacted() => {
                let first = e.seq().expect("it says what is there");
                assert!(first as usize <= self.folded + 1, "{first} is not folded");
                scene::records(cohort, first)
            }
            _ => scene::records(cohort, 1),
        };
        assert!(error.is_none(), "{error:?}");
        let first = seq - records.len();
        assert!(first <= self.folded, "records are missing that are not folded");
        for (record, (key, value)) in records.iter().zip(&self.records[first..]) {
            assert_eq!((record.key(), record.json().is_some()), (&key[..], value.is_some()));
            if let Some(value) = value {
                assert_eq!(&record.to::<Value>().expect("it is JSON"), value);
            }
        }
        let report = cohort.verify().expect("it can be checked");
        assert!(!report.is_damaged(), "{:?}", report.findings);
    }
}

impl Change {
    fn parts(&self) -> (&'static str, Option<Value>) {
        let key = |key: u8| KEYS[usize::from(key) % KEYS.len()];
        match self {
            Change::Delete { key: k } => (key(*k), None),
            Change::Put { key: k, value } => (key(*k), Some(value.json())),
        }
    }
}

impl Given {
    fn json(&self) -> Value {
        match self {
            Given::Number(number) => json!(number),
            Given::Text(len) => json!("x".repeat(usize::from(len % 2500))),
            Given::Null => Value::Null,
            Given::Fields { x, y, deep } => json!({"x": x, "y": y, "deep": {"z": deep, "x": y}}),
        }
    }
}

/// RFC 7396, as its section 2 puts it.
fn merged(target: Option<Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut target = match target {
        Some(Value::Object(target)) => target,
        _ => serde_json::Map::new(),
    };
    for (name, value) in patch {
        let old = target.remove(name);
        if !value.is_null() {
            target.insert(name.clone(), merged(old, value));
        }
    }
    Value::Object(target)
}

fn batch(changes: &[&Change]) -> Batch {
    let mut batch = Batch::new();
    for change in changes {
        let (key, value) = change.parts();
        let put = match value {
            None => batch.delete(key).map(|_| ()),
            Some(value) => batch.put(key, &value).map(|_| ()),
        };
        put.expect("it can be appended");
    }
    batch
}

/// Leaves a cohort as a process does that dies. What the handle says when it is dropped goes to a directory that has lost its
/// name to a copy.
fn die(scene: &Scene, cohort: Cohort) -> Cohort {
    let (path, away) = (scene.cohort_path(), scene.path().join(".dead"));
    fs::rename(&path, &away).expect("it can be renamed");
    fs::create_dir(&path).expect("a directory can be made");
    for entry in fs::read_dir(&away).expect("it can be listed") {
        let entry = entry.expect("it can be listed");
        let to = path.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).expect("a directory can be made");
            for kept in fs::read_dir(entry.path()).expect("it can be listed") {
                let kept = kept.expect("it can be listed");
                fs::copy(kept.path(), to.join(kept.file_name())).expect("it can be copied");
            }
        } else {
            fs::copy(entry.path(), to).expect("it can be copied");
        }
    }
    drop(cohort);
    fs::remove_dir_all(&away).expect("it can be removed");
    Store::open_existing(scene.path()).and_then(|store| store.cohort(COHORT)).expect("it is whole")
}

/// Where the frames of the active segment end, and where the last one begins.
struct Tail {
    at: u64,
    last: u64,
}

fn active(scene: &Scene) -> (std::path::PathBuf, Tail) {
    let names = fs::read_dir(scene.cohort_path()).expect("it can be listed");
    let mut paths: Vec<_> = names.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
    paths.sort_unstable();
    while let Some(path) = paths.pop() {
        let bytes = fs::read(&path).expect("it can be read");
        // A spare has no link yet.
        if bytes[512..1024].iter().all(|byte| *byte == 0) {
            continue;
        }
        let frames = bytes::frames(&bytes);
        let at = frames.last().map_or(1024, |frame| frame.end) as u64;
        let last = frames.iter().rev().nth(1).map_or(1024, |frame| frame.end) as u64;
        return (path, Tail { at, last });
    }
    panic!("there is an active segment");
}

fn overwrite(path: &std::path::Path, at: usize, bytes: &[u8]) {
    let mut content = fs::read(path).expect("it can be read");
    content.resize(content.len().max(at + bytes.len()), 0);
    content[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, content).expect("it can be written");
}
