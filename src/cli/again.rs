//! This program once more: the processes that a verb starts as its workers.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, Stdio};

use super::exit::{self, Failure};

/// A worker process. Dropping it ends it, if it has not ended.
pub(crate) struct Again(Child);

impl Again {
    /// Starts this program with a hidden verb and what `with` adds. All three of its streams are pipes: the end of its input
    /// tells it that who started it is gone.
    pub(crate) fn start(verb: &str, with: impl FnOnce(&mut Command)) -> Result<Again, Failure> {
        let cannot = |e| Failure::new(exit::FAILURE, format!("cannot start a worker process: {e}"));
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        with(&mut command);
        Ok(Again(command.spawn().map_err(cannot)?))
    }
}

impl Deref for Again {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Again {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        // Of one that has been waited for, both do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
