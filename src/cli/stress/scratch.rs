//! Where a run works, and that nothing of it is left: neither after an end of any kind, nor if the parent is killed.
#![allow(
    clippy::disallowed_methods,
    reason = "scratch directories are no files of a store that anybody keeps"
)]

use std::env;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tallyfold::Store;

use super::plan::{Load, Plan};
use super::target::Lock;
use super::worker::{Role, Task};
use crate::cli::again::Again;
use crate::cli::exit::{self, Failure};
use crate::cli::output::say;

/// How long something is tried to be removed that others may be writing to still.
const PATIENCE: Duration = Duration::from_secs(20);

/// Cohorts of our own: in a store that is there, or in one made for this.
pub(super) struct Scratch {
    pub(super) store: Store,
    /// Whether somebody else's store is used.
    pub(super) shared: bool,
    /// Where the boards are: not in the store, for what is noted there is what the store is held against.
    pub(super) notes: PathBuf,
    name: String,
    /// All that is to be removed.
    paths: Vec<PathBuf>,
    /// Waits for our end, to remove what we have not come to remove.
    _janitor: Again,
}

impl Scratch {
    /// `named`: the directory that the user names, a store or any other; else the current one.
    pub(super) fn make(named: Option<&Path>, locks: &[Lock]) -> Result<Scratch, Failure> {
        let random = RandomState::new().build_hasher().finish();
        let name = format!("stress-{:08x}", random >> 32);
        let store = match named.map(Store::open_existing) {
            Some(Ok(store)) => Some(store),
            // A directory without a store will do.
            Some(Err(e)) if !e.is_not_found() => return Err(e.into()),
            Some(Err(_)) | None => None,
        };
        let directory = named.unwrap_or(Path::new("."));
        if !directory.is_dir() {
            let what =
                format!("there is no directory {}: name a store, or any directory", directory.display());
            return Err(Failure::new(exit::NOT_FOUND, what));
        }
        let own = directory.join(format!("tallyfold-{name}"));
        let notes = env::temp_dir().join(format!("tallyfold-{random:016x}"));
        let mut paths = vec![notes.clone()];
        match &store {
            Some(store) => {
                paths.extend(locks.iter().map(|lock| store.path().join(cohort_name(&name, *lock))));
            }
            None => paths.push(own.clone()),
        }
        // Before there is anything to be removed.
        let janitor = janitor(&paths)?;
        let made = make_private(&notes).map_err(|e| {
            let what = format!("cannot make the directory {} for notes: {e}", notes.display());
            Failure::new(exit::FAILURE, what)
        });
        let shared = store.is_some();
        let opened = made.and_then(|()| match store {
            Some(store) => Ok(store),
            None => Store::open(&own).map_err(|e| {
                let failure = Failure::from(e);
                let advice = "name a directory that may be written with --store";
                Failure::new(failure.code, format!("{}; {advice}", failure.message))
            }),
        });
        match opened {
            Ok(store) => Ok(Scratch { store, shared, notes, name, paths, _janitor: janitor }),
            Err(failure) => {
                remove(&paths);
                Err(failure)
            }
        }
    }

    /// The name of the cohort that a run of this lock works in.
    pub(super) fn cohort(&self, lock: Lock) -> String {
        cohort_name(&self.name, lock)
    }

    /// The board of that run.
    pub(super) fn board(&self, lock: Lock) -> PathBuf {
        self.notes.join(lock.name())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for (path, e) in remove(&self.paths) {
            say(format!("{} could not be removed: {e}", path.display()));
        }
    }
}

/// No character in it is encoded: so it is the name of its directory too.
fn cohort_name(name: &str, lock: Lock) -> String {
    format!("{name}-{}", lock.name())
}

fn janitor(paths: &[PathBuf]) -> Result<Again, Failure> {
    // It does nothing of the plan.
    let plan = Plan { seed: 0, lanes: 0, acts: 0, load: Load::Mixed, durable: false };
    let task = Task { role: Role::Clear, plan, lock: Lock::None, cohort: String::new(), timeout: None };
    super::crew::start(&task, paths)
}

/// For this user alone: the directory for temporary files may be everybody's.
fn make_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Removes what is there; returns what could not be removed.
fn remove(paths: &[PathBuf]) -> Vec<(&PathBuf, io::Error)> {
    let removed = |path| match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Some((path, e)),
        _ => None,
    };
    paths.iter().filter_map(removed).collect()
}

/// The same while processes may be writing there that are about to end.
pub(super) fn remove_patiently(paths: &[PathBuf]) {
    let begun = Instant::now();
    while !remove(paths).is_empty() && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(20));
    }
}
