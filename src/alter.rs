//! Other settings for a cohort that exists: its document is replaced as a whole, under the lock of compaction.
//!
//! | step | what | a crash after it leaves |
//! |---|---|---|
//! | 1 | take `compact.lock`, and read the document | nothing |
//! | 2 | write the new one to a temporary file, and sync it | a temporary file, which the next compaction removes |
//! | 3 | rename it over `cohort.json`. **Commit point: the rename** | the new document |
//! | 4 | sync the directory | the same; a power cut before it leaves the old or the new one |
//!
//! What can be altered is what each process may know differently without harm: writers seal a segment when it is full by their
//! own measure, readers take any body that the format allows. The fold and the lock cannot: records were checked by the one, and
//! running processes exclude each other by the other.

use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::home::Home;
use crate::names::{self, Purpose};
use crate::settings::{LockClass, Settings};
use crate::sys::{self, LockFile, Patience};

/// See [`Cohort::alter`](crate::Cohort::alter).
pub(crate) fn run(
    home: &Home,
    timeout: Duration,
    change: impl FnOnce(Settings) -> Result<Settings>,
) -> Result<Settings> {
    let lock = LockFile::open(&home.dir, names::COMPACT_LOCK)?;
    let _held = lock.exclusive(&Patience::of(timeout))?;
    let old = home.settings_now()?;
    let mut new = change(old.clone())?;
    if new.lock == LockClass::Auto {
        new.lock = old.lock;
    }
    for (what, differs) in [("fold", new.fold != old.fold), ("class of lock", new.lock != old.lock)] {
        if differs {
            return Err(Error::invalid(format!("the {what} of a cohort cannot be altered"))
                .at(home.dir.path())
                .advise("make another cohort of its records, with refold"));
        }
    }
    new.check()?;
    if !new.trust_network_locks {
        home.check_file_system()?;
    }
    if new != old {
        replace(home, &new)?;
    }
    Ok(new)
}

fn replace(home: &Home, settings: &Settings) -> Result<()> {
    let temporary = names::temporary(Purpose::Json, sys::random_u64());
    let written = home.dir.create(&temporary).and_then(|file| {
        file.write_at(settings.document()?.as_bytes(), 0).map_err(|short| short.error)?;
        file.sync_all()
    });
    if let Err(e) = written.and_then(|()| home.dir.rename(&temporary, names::COHORT)) {
        let _ = home.dir.remove(&temporary);
        let kind: Kind = e.kind();
        return Err(e.become_kind(kind, "nothing was altered"));
    }
    home.dir.sync()
}
