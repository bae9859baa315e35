//! The face of `probe_linux.rs` where the system is not asked.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Dir, File, Mount, Space};
use crate::error::{Error, Kind, Result};

pub(crate) fn mount(_dir: &Dir) -> Option<Mount> {
    None
}

pub(crate) fn space(dir: &Dir) -> Result<Space> {
    Err(Error::new(Kind::Unsupported, "the free space is asked for on Linux only").at(dir.path()))
}

pub(crate) fn kernel() -> Option<String> {
    None
}

pub(crate) fn most_open_files() -> Option<u64> {
    None
}

pub(crate) fn file_size_limit() -> Option<u64> {
    None
}

pub(crate) fn most_mappings() -> Option<u64> {
    None
}

pub(crate) fn initial_pid_namespace() -> Option<bool> {
    None
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    pub(crate) wall_ns: i128,
    pub(crate) monotonic: Duration,
}

pub(crate) fn clocks() -> Clocks {
    static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let wall_ns = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    };
    Clocks { wall_ns, monotonic: BEGUN.get_or_init(Instant::now).elapsed() }
}

/// Nobody tells; what std gives is no coarser.
pub(crate) fn clock_tick() -> Duration {
    Duration::from_micros(1)
}

pub(crate) fn forget_cached(_file: &File) {}

pub(crate) fn attached(_dir: &Dir) -> Option<u32> {
    None
}
