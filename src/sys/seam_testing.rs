//! The seam in tests: a watch over a directory records what passes below it, and lets operations fail.
//!
//! Tests run in many threads of one process, so a watch is found by the path of what is done: whichever thread does it, it
//! belongs to the store it is done to. Watches are never freed, and found without a lock, for a forked child may look too.
#![allow(clippy::unwrap_used, reason = "this is a part of tests")]

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::seam::{At, Bytes, Errno, Op, Seam};
use super::{Dir, control, testing};
use crate::names;

/// What has passed. Paths are relative to the watch.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// There when the recording began.
    Found {
        at: PathBuf,
        file: usize,
        bytes: Vec<u8>,
    },
    FoundDirectory {
        at: PathBuf,
    },
    FoundSymlink {
        at: PathBuf,
        target: String,
    },
    Create {
        at: PathBuf,
        file: usize,
    },
    MakeDirectory {
        at: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    Symlink {
        at: PathBuf,
        target: String,
    },
    Remove {
        at: PathBuf,
    },
    SyncDirectory {
        at: PathBuf,
        failed: bool,
    },
    /// `stored`: through memory.
    Write {
        file: usize,
        offset: u64,
        bytes: Vec<u8>,
        stored: bool,
    },
    /// The file has this length now.
    Allocate {
        file: usize,
        len: u64,
    },
    Punch {
        file: usize,
        from: u64,
        to: u64,
    },
    Sync {
        file: usize,
        failed: bool,
    },
    /// What shared memory holds now.
    Control {
        at: PathBuf,
        bytes: Arc<[u8]>,
    },
    /// What a test has to say.
    Note(usize),
}

impl Event {
    /// Whether it is an operation of the store.
    pub(crate) fn is_operation(&self) -> bool {
        let other = matches!(
            self,
            Event::Found { .. }
                | Event::FoundDirectory { .. }
                | Event::FoundSymlink { .. }
                | Event::Control { .. }
                | Event::Note(_)
        );
        !other
    }
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It fails and does nothing.
    Errno(i32),
    /// A write writes half of its bytes; other operations are as they are.
    Short,
    /// The process is killed before it.
    Kill,
}

/// Which operations a fault is for.
#[derive(Clone, Debug)]
struct Planned {
    fault: Fault,
    /// How many of those that it could be for go well before.
    before: usize,
    for_ever: bool,
    /// Only syncs of files whose path ends so.
    sync_of: Option<String>,
}

#[derive(Default)]
struct Tape {
    recording: bool,
    events: Vec<Event>,
    planned: Vec<Planned>,
    /// Files by inode.
    files: HashMap<u64, usize>,
    made: usize,
    controls: HashMap<PathBuf, Arc<[u8]>>,
    /// What was done, in order: also what failed. `false`: a store, which cannot fail.
    passed: Vec<bool>,
}

struct Node {
    root: PathBuf,
    active: AtomicBool,
    tape: Mutex<Tape>,
    next: *mut Node,
}

// SAFETY: `next` is written before a node is published, and only read after.
unsafe impl Sync for Node {}
// SAFETY: as above.
unsafe impl Send for Node {}

static NODES: AtomicPtr<Node> = AtomicPtr::new(ptr::null_mut());

impl Node {
    fn of(path: &Path) -> Option<&'static Node> {
        let mut at = NODES.load(Ordering::Acquire);
        while !at.is_null() {
            // SAFETY: nodes come from `Box::leak` and are never freed.
            let node: &'static Node = unsafe { &*at };
            if node.active.load(Ordering::Acquire) && path.starts_with(&node.root) {
                return Some(node);
            }
            at = node.next;
        }
        None
    }

    fn begin(root: &Path) -> &'static Node {
        let node = Box::leak(Box::new(Node {
            root: root.to_path_buf(),
            active: AtomicBool::new(true),
            tape: Mutex::default(),
            next: ptr::null_mut(),
        }));
        loop {
            let first = NODES.load(Ordering::Acquire);
            node.next = first;
            if NODES.compare_exchange(first, node, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return node;
            }
        }
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(plain.pop()),
                part => plain.push(part),
            }
        }
        plain.strip_prefix(&self.root).map_or(plain.clone(), Path::to_path_buf)
    }

    fn path(&self, at: At<'_>) -> PathBuf {
        match at.name {
            "" => self.relative(at.dir),
            name => self.relative(at.dir).join(name),
        }
    }
}

/// A directory being watched, until this is dropped.
pub(crate) struct Watch(&'static Node);

impl Watch {
    /// Watches what is done below a directory.
    pub(crate) fn over(root: &Path) -> Watch {
        Watch(Node::begin(root))
    }

    /// Records from now on, beginning with what is there.
    pub(crate) fn record(&self) {
        let mut tape = self.0.tape();
        tape.recording = true;
        tape.find(self.0, &self.0.root);
    }

    /// What was recorded.
    pub(crate) fn take(&self) -> Vec<Event> {
        let mut tape = self.0.tape();
        tape.recording = false;
        std::mem::take(&mut tape.events)
    }

    pub(crate) fn note(&self, note: usize) {
        let mut tape = self.0.tape();
        tape.look_at_all_controls(self.0);
        tape.put(Event::Note(note));
    }

    /// The operation after the next `before` fails; `for_ever`: so do all that follow.
    pub(crate) fn plan(&self, fault: Fault, before: usize, for_ever: bool) {
        self.0.tape().planned.push(Planned { fault, before, for_ever, sync_of: None });
    }

    /// From now on everything goes well.
    pub(crate) fn relent(&self) {
        self.0.tape().planned.clear();
    }

    /// Every operation so far, in order; `false`: it cannot fail.
    pub(crate) fn passed(&self) -> Vec<bool> {
        self.0.tape().passed.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.active.store(false, Ordering::Release);
        *self.0.tape() = Tape::default();
    }
}

/// A sync of a file below `root` whose name ends in `suffix` fails with EIO, once, after `before` of them have gone well.
pub(crate) fn fail_sync(root: &Path, suffix: &str, before: usize) {
    let node = Node::of(root).unwrap_or_else(|| Node::begin(root));
    let sync_of = Some(suffix.to_string());
    node.tape().planned.push(Planned { fault: Fault::Errno(libc::EIO), before, for_ever: false, sync_of });
}

thread_local! {
    static BOOT: Cell<Option<u8>> = const { Cell::new(None) };
}

/// Lets this thread believe that the system has been started anew; `None`: as it is.
pub(crate) fn pretend_boot(boot: Option<u8>) {
    BOOT.set(boot);
}

impl Tape {
    fn put(&mut self, event: Event) {
        if self.recording {
            self.events.push(event);
        }
    }

    fn file(&self, file: &fs::File) -> Option<usize> {
        self.files.get(&file.metadata().ok()?.ino()).copied()
    }

    fn new_file(&mut self, path: &Path) -> Option<usize> {
        let inode = fs::symlink_metadata(path).ok()?.ino();
        let file = self.made;
        self.made += 1;
        self.files.insert(inode, file);
        Some(file)
    }

    fn find(&mut self, node: &Node, dir: &Path) {
        let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            let at = node.relative(&path);
            if path.is_symlink() {
                let target = fs::read_link(&path).unwrap().to_string_lossy().into_owned();
                self.put(Event::FoundSymlink { at, target });
                continue;
            }
            if path.is_dir() {
                self.put(Event::FoundDirectory { at });
                self.find(node, &path);
                continue;
            }
            let inode = fs::symlink_metadata(&path).unwrap().ino();
            let known = self.files.get(&inode).copied();
            let file = known.or_else(|| self.new_file(&path)).unwrap();
            self.put(Event::Found { at, file, bytes: fs::read(&path).unwrap() });
        }
    }

    /// Whether this operation fails, or how.
    fn fault(&mut self, sync_of: Option<&Path>) -> Option<Fault> {
        for i in 0..self.planned.len() {
            let planned = &mut self.planned[i];
            if let Some(suffix) = &planned.sync_of
                && sync_of.is_none_or(|path| !path.to_string_lossy().ends_with(suffix.as_str()))
            {
                continue;
            }
            if planned.before > 0 {
                planned.before -= 1;
                continue;
            }
            let fault = planned.fault;
            if !planned.for_ever {
                self.planned.remove(i);
            }
            if fault == Fault::Kill {
                testing::kill_self();
            }
            return Some(fault);
        }
        None
    }

    /// Shared memory as it is before and after an operation.
    fn look_at_control(&mut self, node: &Node, dir: &Path) {
        if !self.recording {
            return;
        }
        let Ok(bytes) = fs::read(dir.join(names::CONTROL)) else { return };
        let at = node.relative(&dir.join(names::CONTROL));
        if self.controls.get(&at).is_none_or(|last| **last != *bytes) {
            let bytes: Arc<[u8]> = bytes.into();
            self.controls.insert(at.clone(), Arc::clone(&bytes));
            self.put(Event::Control { at, bytes });
        }
    }

    fn look_at_all_controls(&mut self, node: &Node) {
        let known: Vec<PathBuf> = self.controls.keys().cloned().collect();
        for at in known {
            self.look_at_control(node, node.root.join(at).parent().unwrap_or(&node.root));
        }
    }

    fn done(&mut self, node: &Node, op: Op<'_>, failed: bool) {
        if !self.recording {
            return;
        }
        let event = match op {
            Op::Sync { file, .. } => self.file(file).map(|file| Event::Sync { file, failed }),
            Op::SyncDirectory(at) => Some(Event::SyncDirectory { at: node.path(at), failed }),
            _ if failed => None,
            Op::Create(at) => {
                let file = self.new_file(&at.dir.join(at.name));
                file.map(|file| Event::Create { at: node.path(at), file })
            }
            Op::MakeDirectory(at) => Some(Event::MakeDirectory { at: node.path(at) }),
            Op::Rename { from, to } => Some(Event::Rename { from: node.path(from), to: node.path(to) }),
            Op::Link { from, to } => Some(Event::Link { from: node.path(from), to: node.path(to) }),
            Op::Symlink { at, target } => {
                Some(Event::Symlink { at: node.path(at), target: target.to_string() })
            }
            Op::Remove(at) => Some(Event::Remove { at: node.path(at) }),
            Op::Allocate { file, .. } => file.metadata().ok().and_then(|meta| {
                let len = meta.len();
                self.file(file).map(|file| Event::Allocate { file, len })
            }),
            Op::Punch { file, from, to, .. } => self.file(file).map(|file| Event::Punch { file, from, to }),
        };
        if let Some(event) = event {
            self.put(event);
        }
    }

    fn wrote(&mut self, to: Bytes<'_>, bytes: Vec<u8>, stored: bool) {
        if self.recording
            && let Some(file) = self.file(to.file)
        {
            self.put(Event::Write { file, offset: to.offset, bytes, stored });
        }
    }
}

impl Op<'_> {
    /// The directory that it is done in, or the one of the file that it is done to.
    fn dir(&self) -> &Path {
        match self {
            Op::Create(at)
            | Op::MakeDirectory(at)
            | Op::Symlink { at, .. }
            | Op::Remove(at)
            | Op::SyncDirectory(at) => at.dir,
            Op::Rename { from, .. } | Op::Link { from, .. } => from.dir,
            Op::Allocate { path, .. } | Op::Punch { path, .. } | Op::Sync { path, .. } => dir_of(path),
        }
    }
}

fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// See the module.
pub(super) enum Here {}

impl Seam for Here {
    /// The tape is held meanwhile: so what is recorded stands in the order in which it was done.
    fn pass<T, E: Errno>(op: Op<'_>, act: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let Some(node) = Node::of(op.dir()) else { return act() };
        let mut tape = node.tape();
        tape.look_at_control(node, op.dir());
        tape.passed.push(true);
        let synced = match op {
            Op::Sync { path, .. } => Some(path),
            _ => None,
        };
        if let Some(Fault::Errno(errno)) = tape.fault(synced) {
            tape.done(node, op, true);
            return Err(E::of(errno));
        }
        let done = act();
        tape.done(node, op, done.is_err());
        tape.look_at_control(node, op.dir());
        done
    }

    fn write(to: Bytes<'_>, bytes: &[u8], act: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<usize> {
        let Some(node) = Node::of(to.path) else { return act(bytes) };
        let mut tape = node.tape();
        tape.look_at_control(node, dir_of(to.path));
        tape.passed.push(true);
        let bytes = match tape.fault(None) {
            Some(Fault::Errno(errno)) => return Err(io::Error::of(errno)),
            Some(Fault::Short) => &bytes[..bytes.len().div_ceil(2)],
            _ => bytes,
        };
        let written = act(bytes);
        if let Ok(len) = written {
            tape.wrote(to, bytes[..len].to_vec(), false);
        }
        tape.look_at_control(node, dir_of(to.path));
        written
    }

    fn store(to: Bytes<'_>, parts: [&[u8]; 2], act: impl FnOnce()) {
        let Some(node) = Node::of(to.path) else { return act() };
        let mut tape = node.tape();
        tape.look_at_control(node, dir_of(to.path));
        tape.passed.push(false);
        // It cannot fail; but the process can be killed, and the count goes on.
        let _ = tape.fault(None);
        act();
        tape.wrote(to, parts.concat(), true);
        tape.look_at_control(node, dir_of(to.path));
    }

    fn boot(told: [u8; 16]) -> [u8; 16] {
        BOOT.get().map_or(told, |boot| [boot; 16])
    }
}

/// Makes a cohort's `control`, copied from another directory, one of this directory: as after the death of a process.
pub(crate) fn adopt_control(dir: &Path) {
    let dir = Dir::open(dir).unwrap();
    control::adopt(&dir).unwrap();
}
