//! Where a cohort lives, and what is fixed about it: what every part of the engine stands on.

use std::sync::Arc;
use std::time::Duration;

use crate::chain::Floor;
use crate::error::{Error, Kind, Result};
use crate::fold::Fold;
use crate::names;
use crate::record::Seq;
use crate::segment::Owner;
use crate::settings::{LockClass, Settings};
use crate::snapshot::Snapshot;
use crate::store;
use crate::sys::{Dir, Reach};

/// Where a cohort lives and what is fixed about it.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) dir: Arc<Dir>,
    pub(crate) owner: Arc<Owner>,
    pub(crate) settings: Settings,
    pub(crate) reach: Reach,
    pub(crate) file_system: String,
    /// Whether processes can share memory here.
    pub(crate) shares_memory: bool,
}

impl Home {
    pub(crate) fn timeout(&self) -> Duration {
        self.settings.timeout()
    }

    /// The settings as they are now: they may have been altered since the cohort was opened.
    pub(crate) fn settings_now(&self) -> Result<Settings> {
        store::settings(&self.dir)
    }

    pub(crate) fn snapshot(&self, name: &str) -> Result<Option<Snapshot>> {
        Snapshot::open(&self.dir, name, &self.owner, &self.settings.fold, self.reach)
    }

    /// The highest seq that a snapshot covers; a damaged one counts for nothing, for it has to be rebuilt.
    pub(crate) fn watermark(&self) -> Result<Seq> {
        for name in [names::SNAPSHOT, names::SNAPSHOT_PREV] {
            match self.snapshot(name) {
                Ok(Some(snapshot)) => return Ok(snapshot.head.seq),
                Ok(None) => {}
                Err(e) if e.is_corruption() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(0)
    }

    /// The names of the cohort and of its store reach the medium. Who made them may have died before, or failed: so who makes
    /// something durable where nothing says that anything was, does this first.
    pub(crate) fn sync_names(&self) -> Result<()> {
        Dir::open(&self.dir.path().join(".."))?.sync()?;
        // A directory that may not be read cannot be synced; whoever made the store in it had the same trouble.
        match Dir::open(&self.dir.path().join("../..")) {
            Ok(parent) => parent.sync(),
            Err(_) => Ok(()),
        }
    }

    /// Where a writer's scan begins.
    pub(crate) fn floor(&self) -> Result<Floor> {
        match self.settings.fold {
            Fold::Log => Ok(Floor::Durable),
            _ => self.watermark().map(Floor::Seq),
        }
    }

    /// Whether the cohort's lock can be believed here.
    pub(crate) fn check_file_system(&self) -> Result<()> {
        if self.settings.lock == LockClass::Memory && !self.shares_memory {
            return Err(self.refused_memory());
        }
        if self.reach != Reach::Network || self.settings.trust_network_locks {
            return Ok(());
        }
        let what =
            format!("refused: {} may be shared with hosts whose locks are not seen here", self.file_system);
        Err(Error::new(Kind::UnsafeFileSystem, what).at(self.dir.path()).advise(
            "put the store on a local file system; or, if its locks do exclude all hosts (NFS without nolock, Lustre with \
             flock), make the cohort with \"trust_network_locks\": true",
        ))
    }

    fn refused_memory(&self) -> Error {
        no_shared_memory(&self.file_system).at(self.dir.path()).advise(
            "put the store on ext4, xfs or tmpfs of one Linux host; or make a cohort with \"lock\": \"file\" and append \
             these records to it",
        )
    }
}

/// The lock class `memory` does not fit a file system.
pub(crate) fn no_shared_memory(file_system: &str) -> Error {
    let what = format!(
        "refused: the lock class `memory` needs shared memory, and {file_system} does not keep space reserved"
    );
    Error::new(Kind::UnsafeFileSystem, what)
}
