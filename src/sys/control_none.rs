//! The face of `control_linux.rs` where there is no lock class `memory`: nothing is ever attached by it.

use std::time::Duration;

use super::ends::{End, Ends};
use super::{Counts, Dir, LockFile, Patience, Stripe};
use crate::counters::Counters;
use crate::error::{Error, Kind, Result};

pub(crate) enum Control {}

pub(crate) enum Owned<'a> {
    #[allow(dead_code, reason = "there is no such thing here")]
    Never(&'a Control),
}

pub(crate) fn prepare(dir: &Dir, _lock: &LockFile, _doubt: impl FnOnce() -> Result<()>) -> Result<()> {
    Err(Error::new(Kind::UnsafeFileSystem, "refused: the lock class `memory` needs Linux").at(dir.path()))
}

pub(crate) fn read_counters(_dir: &Dir) -> Result<Option<Counters>> {
    Ok(None)
}

#[cfg(all(test, unix))]
pub(super) fn adopt(_dir: &Dir) -> Result<()> {
    Ok(())
}

impl Control {
    pub(crate) fn open(_dir: &Dir, lock: LockFile) -> Result<std::result::Result<Control, LockFile>> {
        Ok(Err(lock))
    }

    pub(crate) fn ends(&self) -> &Ends {
        match *self {}
    }

    pub(crate) fn end(&self) -> Option<End> {
        match *self {}
    }

    pub(crate) fn try_lock_append(&self) -> Option<Owned<'_>> {
        match *self {}
    }

    pub(crate) fn wait_append(&self, _patience: &Patience) -> Result<(Owned<'_>, bool)> {
        match *self {}
    }

    pub(crate) fn counts(&self) -> &Counts {
        match *self {}
    }

    pub(crate) fn stripe(&self) -> &Stripe {
        match *self {}
    }

    pub(crate) fn attached(&self) -> Option<u64> {
        match *self {}
    }

    pub(crate) fn lock_ready(&self, _patience: &Patience) -> Result<Owned<'_>> {
        match *self {}
    }

    pub(crate) fn lock_sync(&self, _patience: &Patience) -> Result<Owned<'_>> {
        match *self {}
    }

    pub(crate) fn try_lock_sync(&self, _test: bool) -> Option<Owned<'_>> {
        match *self {}
    }

    pub(crate) fn durable_seq(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn unsynced_from(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn set_durable(&self, _seq: u64, _unsynced_from: u64) {
        match *self {}
    }

    pub(crate) fn said_seq(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn said(&self, _seq: u64) {
        match *self {}
    }

    pub(crate) fn begin_sync(&self) -> bool {
        match *self {}
    }

    pub(crate) fn end_sync(&self) {
        match *self {}
    }

    pub(crate) fn since_last_sync(&self) -> Duration {
        match *self {}
    }

    pub(crate) fn set_synced_at(&self, _now: Duration) {
        match *self {}
    }

    pub(crate) fn now(&self) -> Duration {
        match *self {}
    }

    pub(crate) fn syncing_to(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn set_syncing_to(&self, _seq: u64) {
        match *self {}
    }

    pub(crate) fn end_round(&self, _all: bool) {
        match *self {}
    }

    pub(crate) fn wake_leader(&self) {
        match *self {}
    }

    pub(crate) fn round(&self) -> u32 {
        match *self {}
    }

    pub(crate) fn sleep_in_round(&self, _round: u32, _until: u32, _timeout: Duration) -> bool {
        match *self {}
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        match *self {}
    }

    pub(crate) fn set_poisoned(&self, _poisoned: bool) {
        match *self {}
    }

    pub(crate) fn spare(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn set_spare(&self, _number: u64) {
        match *self {}
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}
