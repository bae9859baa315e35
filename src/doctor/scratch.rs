//! The directory where things are tried: made in the one that is examined, and removed again.
//!
//! It is locked as long as its process lives. So who finds one whose lock can be had knows that it was left by the dead.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::names;
use crate::sys::{self, Dir, LockFile, Wanted};

/// The file whose lock says that somebody is at it.
const OWNED: &str = "owned";
/// How often a name may be taken, or a directory be removed as a leftover before it is locked.
const TRIES: u32 = 10;

pub(super) struct Scratch {
    pub(super) dir: Dir,
    parent: Dir,
    name: String,
    /// Held until the end.
    _owned: LockFile,
}

impl Scratch {
    /// Makes it, and removes those that the dead have left.
    pub(super) fn make(parent: &Dir) -> Result<Scratch> {
        remove_abandoned(parent);
        let parent = Dir::open(parent.path())?;
        for _ in 0..TRIES {
            let name = names::scratch(sys::random_u64());
            if !parent.make_sub(&name)? {
                continue;
            }
            match own(&parent, &name) {
                Ok(Some((dir, owned))) => return Ok(Scratch { dir, parent, name, _owned: owned }),
                // Taken for a leftover in the moment before it was locked.
                Ok(None) => {}
                Err(e) => {
                    let _ = parent.remove_tree(&name);
                    return Err(e);
                }
            }
        }
        Err(Error::invalid("no directory can be made to try things in: each is removed at once")
            .at(parent.path())
            .advise("see who removes directories there"))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }

    /// A directory of its own for a step.
    pub(super) fn room(&self, name: &str) -> Result<Dir> {
        self.dir.make_sub(name)?;
        self.dir.sub(name)
    }
}

fn own(parent: &Dir, name: &str) -> Result<Option<(Dir, LockFile)>> {
    let made = parent.sub(name).and_then(|dir| {
        dir.create(OWNED)?;
        Ok((LockFile::open(&dir, OWNED)?, dir))
    });
    let (lock, dir) = match made {
        Err(e) if e.is_not_found() => return Ok(None),
        other => other?,
    };
    // Where there are no locks, that is for the steps to find out.
    let kept = lock.keep_exclusive().unwrap_or(true);
    Ok((kept && parent.exists(name)?).then_some((dir, lock)))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A process that takes part may still be making a file while it is ended.
        for _ in 0..TRIES {
            if self.parent.remove_tree(&self.name).is_ok() {
                return;
            }
        }
    }
}

fn remove_abandoned(parent: &Dir) {
    for name in parent.names().unwrap_or_default().iter().filter(|name| names::is_scratch(name)) {
        let Ok(lock) = parent.sub(name).and_then(|dir| LockFile::open(&dir, OWNED)) else { continue };
        if matches!(lock.at_once(Wanted::Exclusive), Ok(Some(_))) {
            let _ = parent.remove_tree(name);
        }
    }
}

/// As dropping it does, for another thread of a process that ends.
pub(super) fn remove(path: &Path) {
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| names::is_scratch(name));
    let parent = path.parent().map(Dir::open);
    if let (Some(name), Some(Ok(parent))) = (name, parent) {
        for _ in 0..TRIES {
            if parent.remove_tree(name).is_ok() {
                return;
            }
        }
    }
}
