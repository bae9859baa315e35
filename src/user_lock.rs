//! The lock of a cohort that is for its users, to do one thing at a time of what is no append.

use std::path::PathBuf;

use crate::cohort::Cohort;
use crate::error::Result;
use crate::names;

impl Cohort {
    /// The lock file for users of this cohort: programs and people who want to do something about it one at a time, such as a
    /// report or a training step. It stands in the cohort's directory, and no part of the store takes it: while somebody has it,
    /// appends, reads and compactions go on. `tallyfold lock COHORT` takes it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?; let store = tallyfold::Store::open(dir.path().join("s"))?;
    /// use std::time::Duration;
    /// use tallyfold::{Settings, files::FileLock};
    ///
    /// let index = store.create("index", Settings::latest())?;
    /// let lock = FileLock::exclusive(index.user_lock()?, Duration::from_secs(30))?;
    /// index.append("run-1", &0.61)?;
    /// # drop(lock);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `is_unsafe_file_system` where writing would be refused too: what does not exclude writers excludes nobody else.
    pub fn user_lock(&self) -> Result<PathBuf> {
        self.home().check_file_system()?;
        Ok(self.path().join(names::USER_LOCK))
    }
}
