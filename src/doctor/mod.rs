//! What a directory is good for: everything that the store asks of a file system, tried there.
//!
//! What is tried goes through the same doors as the store's own calls, in a scratch directory of its own, and with processes
//! that are started for it: `tallyfold doctor-worker`. Only the command is for this; nothing of it is the library's interface.

mod check;
mod crew;
mod exclusion;
mod files;
mod host;
mod place;
mod scratch;
mod store;
mod work;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use check::{Check, Outcome};
pub use work::work;

use crate::error::{Error, Result};
use crate::store::Store;
use crate::sys::{self, Dir, FileSystem, Mount};
use scratch::Scratch;

/// What is to be said of the directory in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Many processes may write here.
    Safe,
    /// They may, and there is something that should be known.
    Warning,
    /// They may not.
    Unsafe,
    /// Nothing can be written here; a store that is here can be read.
    ReadOnly,
}

/// A directory while it is examined, one step after the other.
pub struct Examination {
    dir: Dir,
    system: FileSystem,
    mount: Option<Mount>,
    /// Where things are tried; else why they are not.
    scratch: std::result::Result<Scratch, Error>,
    /// How a process is started that takes part: a program and its first arguments.
    worker: Vec<OsString>,
    store: Option<Result<Store>>,
    checks: Vec<Check>,
    next: usize,
}

/// A question and how it is answered.
struct Step {
    check: &'static str,
    act: Act,
}

enum Act {
    Ask(fn(&Examination) -> Result<Vec<Check>>),
    /// Needs the scratch directory.
    Try(fn(&Examination, &Scratch) -> Result<Vec<Check>>),
}

const STEPS: [Step; 20] = [
    Step { check: "file-system", act: Act::Ask(place::file_system) },
    Step { check: "mount-options", act: Act::Ask(place::mount_options) },
    Step { check: "lock-class", act: Act::Ask(place::lock_class) },
    Step { check: "writable", act: Act::Ask(place::writable) },
    Step { check: "space", act: Act::Ask(place::space) },
    Step { check: "limits", act: Act::Ask(host::limits) },
    Step { check: "kernel", act: Act::Ask(host::kernel) },
    Step { check: "processes", act: Act::Ask(host::processes) },
    Step { check: "clock", act: Act::Ask(host::clock) },
    Step { check: "names", act: Act::Try(files::names) },
    Step { check: "create", act: Act::Try(exclusion::create) },
    Step { check: "rename", act: Act::Try(exclusion::rename) },
    Step { check: "link", act: Act::Try(files::link) },
    Step { check: "reserve", act: Act::Try(files::reserve) },
    Step { check: "read-back", act: Act::Try(files::read_back) },
    Step { check: "sync", act: Act::Try(files::sync) },
    Step { check: "file-locks", act: Act::Try(exclusion::file_locks) },
    Step { check: "flock", act: Act::Try(exclusion::flock) },
    Step { check: "shared-memory", act: Act::Try(exclusion::shared_memory) },
    Step { check: "store", act: Act::Ask(store::store) },
];

impl Examination {
    /// Begins to examine a directory. `worker` starts a process that calls [`work`] with the arguments that follow. Dropping
    /// this removes what was made.
    ///
    /// # Errors
    /// If there is no such directory, or it may not even be looked at.
    pub fn begin(path: &Path, worker: Vec<OsString>) -> Result<Examination> {
        let dir = Dir::open(path)?;
        let system = sys::file_system(&dir)?;
        Ok(Examination::of(dir, system, worker))
    }

    fn of(dir: Dir, system: FileSystem, worker: Vec<OsString>) -> Examination {
        let store = match Store::open_existing(dir.path()) {
            Err(e) if e.is_not_found() => None,
            other => Some(other),
        };
        Examination {
            mount: sys::mount(&dir),
            scratch: Scratch::make(&dir),
            dir,
            system,
            worker,
            store,
            checks: Vec::new(),
            next: 0,
        }
    }

    /// The directory that is made for this, and removed in the end: for who must remove it some other way.
    pub fn scratch(&self) -> Option<PathBuf> {
        self.scratch.as_ref().ok().map(|scratch| scratch.path())
    }

    /// How many steps there are.
    pub fn steps() -> u64 {
        STEPS.len() as u64
    }

    /// Takes the next step; `false`: there is none.
    pub fn step(&mut self) -> bool {
        let Some(step) = STEPS.get(self.next) else { return false };
        self.next += 1;
        let answer = match (&step.act, &self.scratch) {
            (Act::Ask(ask), _) => ask(self),
            (Act::Try(attempt), Ok(scratch)) => attempt(self, scratch),
            (Act::Try(_), Err(_)) => {
                Ok(vec![Check::skipped(step.check, "nothing can be tried where nothing can be written")])
            }
        };
        self.checks.extend(answer.unwrap_or_else(|error| vec![Check::failed(step.check, &error)]));
        true
    }

    /// What was found so far.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The file system's name.
    pub fn file_system(&self) -> &str {
        &self.system.name
    }

    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        match self.checks.iter().map(|check| check.outcome).max() {
            Some(Outcome::Unsafe) if self.scratch.is_ok() => Verdict::Unsafe,
            _ if self.scratch.is_err() => Verdict::ReadOnly,
            Some(Outcome::Warning) => Verdict::Warning,
            _ => Verdict::Safe,
        }
    }
}

/// Removes what [`Examination::scratch`] named, as far as that can be done at once: for a process that must end.
pub fn remove_scratch(path: &Path) {
    scratch::remove(path);
}

#[cfg(all(test, target_os = "linux", not(tallyfold_portable)))]
mod tests;
