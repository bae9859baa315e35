//! A store under watch, and the verbs of the workloads.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::ledger::{Content, Ledger, Note};
use crate::error::Error;
use crate::record::Kind;
use crate::sys::{self, Event, Watch};
use crate::{Batch, Cohort, Settings, Store, journal, names};

/// A directory that costs no disk, if there is one.
pub(super) fn directory() -> tempfile::TempDir {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory),
        _ => tempfile::tempdir(),
    }
    .unwrap()
}

pub(super) const COHORT: &str = "c";
pub(super) const FIRST_BOOT: u8 = 1;

/// What was recorded of a workload.
pub(super) struct Recorded {
    pub(super) events: Vec<Event>,
    pub(super) notes: Vec<Note>,
    pub(super) ledger: Rc<Ledger>,
    pub(super) settings: Settings,
}

/// See the module. A verb that fails says so in `errors` and nowhere else: the workload goes on.
pub(super) struct Scene {
    pub(super) settings: Settings,
    pub(super) watch: Watch,
    pub(super) errors: Vec<Error>,
    pub(super) notes: Vec<Note>,
    pub(super) ledger: Ledger,
    /// Told of every note, as it is made.
    pub(super) told: Option<Box<dyn FnMut(Note)>>,
    store: Option<Store>,
    writers: Vec<Option<Cohort>>,
    _dir: Option<tempfile::TempDir>,
    root: PathBuf,
}

impl Scene {
    /// A scene in a directory of its own, recorded from the beginning.
    pub(super) fn new(settings: Settings) -> Scene {
        let dir = directory();
        let root = dir.path().to_path_buf();
        let mut scene = Scene { _dir: Some(dir), ..Scene::at(&root, settings) };
        scene.watch.record();
        // A start of its own, so that starts are told apart whatever the system tells.
        scene.start(Some(FIRST_BOOT));
        scene
    }

    pub(super) fn at(root: &Path, settings: Settings) -> Scene {
        Scene {
            settings,
            watch: Watch::over(root),
            errors: Vec::new(),
            notes: Vec::new(),
            ledger: Ledger::default(),
            told: None,
            store: None,
            writers: Vec::new(),
            _dir: None,
            root: root.to_path_buf(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn note(&mut self, note: Note) {
        self.watch.note(self.notes.len());
        self.notes.push(note);
        if let Some(told) = &mut self.told {
            told(note);
        }
    }

    /// Makes the store and the cohort.
    pub(super) fn make(&mut self) {
        let made = Store::open(self.root.join("store")).and_then(|store| {
            let made = store.create(COHORT, self.settings.clone());
            self.store = Some(store);
            made
        });
        match made {
            Ok(_) => self.note(Note::Made),
            Err(e) => self.errors.push(e),
        }
    }

    fn is_made(&self) -> bool {
        self.notes.contains(&Note::Made)
    }

    /// A writer with an attachment of its own, as another process has it.
    pub(super) fn open(&mut self, writer: usize) {
        self.writers.resize_with(self.writers.len().max(writer + 1), || None);
        let opened = self.store.as_ref().filter(|_| self.is_made()).map(|store| store.cohort(COHORT));
        match opened {
            Some(Ok(cohort)) => self.writers[writer] = Some(cohort),
            Some(Err(e)) => self.errors.push(e),
            None => {}
        }
    }

    pub(super) fn writer(&self, writer: usize) -> Option<Cohort> {
        self.writers.get(writer).cloned().flatten()
    }

    /// The last handle of this writer is dropped: it detaches.
    pub(super) fn close(&mut self, writer: usize) {
        self.writers[writer] = None;
        self.note(Note::Closed);
    }

    pub(super) fn append(&mut self, writer: usize, records: &[Content], durable: bool) {
        if let Some(cohort) = self.writer(writer) {
            self.append_by(&cohort, records, durable);
        }
    }

    pub(super) fn append_by(&mut self, cohort: &Cohort, records: &[Content], durable: bool) {
        let mut batch = Batch::new();
        for record in records {
            let put = match record.kind {
                Kind::Put => batch.put_json(&record.key, &record.value),
                _ => batch.delete(&record.key),
            };
            put.unwrap();
        }
        let number = self.ledger.enter(records);
        self.note(Note::Begun(number));
        let appended = match durable {
            true => cohort.append_batch_durable(batch),
            false => cohort.append_batch(batch),
        };
        match appended {
            Ok(last) => self.note(Note::Acknowledged { batch: number, last, durable }),
            Err(e) => {
                match e.seq().filter(|_| e.is_durability_unknown()) {
                    Some(last) => self.note(Note::Unknown { batch: number, last }),
                    None => self.note(Note::Refused(number)),
                }
                self.errors.push(e);
            }
        }
    }

    /// Some records that were never appended before, of about `len` bytes each.
    pub(super) fn records(&self, count: usize, len: usize) -> Vec<Content> {
        let batch = self.notes.len();
        let record = |i: usize| Content {
            kind: Kind::Put,
            key: format!("key {}", (batch + i) % 5),
            value: format!(r#"{{"batch":{batch},"part {}":{i},"pad":"{}"}}"#, i % 3, "x".repeat(len)),
        };
        (0..count).map(record).collect()
    }

    pub(super) fn put(&mut self, writer: usize, len: usize) {
        let records = self.records(1, len);
        self.append(writer, &records, false);
    }

    pub(super) fn put_durable(&mut self, writer: usize, len: usize) {
        let records = self.records(1, len);
        self.append(writer, &records, true);
    }

    pub(super) fn batch(&mut self, writer: usize, count: usize, len: usize) {
        let records = self.records(count, len);
        self.append(writer, &records, false);
    }

    /// A put under a key of its own, and later its delete.
    pub(super) fn put_and_delete(&mut self, writer: usize) {
        let key = format!("gone {}", self.notes.len());
        let put = Content { kind: Kind::Put, key: key.clone(), value: "1".into() };
        self.append(writer, &[put], false);
        self.append(writer, &[Content { kind: Kind::Delete, key, value: String::new() }], false);
    }

    fn act(&mut self, writer: usize, act: impl FnOnce(&Cohort) -> crate::Result<()>) -> bool {
        let Some(cohort) = self.writer(writer) else { return false };
        act(&cohort).map_err(|e| self.errors.push(e)).is_ok()
    }

    pub(super) fn sync(&mut self, writer: usize) {
        if self.act(writer, Cohort::sync) {
            self.note(Note::Synced);
        }
    }

    pub(super) fn compact(&mut self, writer: usize) {
        self.act(writer, |cohort| cohort.compact().map(|_| ()));
    }

    /// The system is started anew, as far as this thread can tell. Nobody may be attached.
    pub(super) fn start(&mut self, boot: Option<u8>) {
        sys::pretend_boot(boot);
        self.note(Note::Boot(boot));
    }

    /// The next sync of a segment fails.
    pub(super) fn fail_sync(&self) {
        sys::fail_sync(&self.root, ".journal", 0);
    }

    /// Bytes at the tail that are no frame, as a writer leaves that dies. Nobody may be attached.
    pub(super) fn tear(&mut self) {
        let torn = self.store.as_ref().filter(|_| self.is_made()).map(|store| {
            let cohort = store.cohort(COHORT)?;
            let home = cohort.home();
            let place = journal::begin(home)?.place();
            let file = home.dir.open_write(&names::segment(place.segment))?;
            file.write_at(&[0xA5; 60], place.offset).map_err(|short| short.error)
        });
        if let Some(Err(e)) = torn {
            self.errors.push(e);
        }
    }

    /// Ends it, and returns what was recorded.
    pub(super) fn end(mut self) -> Recorded {
        self.writers.clear();
        sys::pretend_boot(None);
        let events = self.watch.take();
        let (notes, settings) = (std::mem::take(&mut self.notes), self.settings.clone());
        Recorded { events, notes, ledger: Rc::new(std::mem::take(&mut self.ledger)), settings }
    }
}
