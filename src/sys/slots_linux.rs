//! The slots of `control`: who is attached. A process has a slot as long as it has the lock on the slot's byte, which belongs to
//! an open file description: so the kernel tells, in any pid namespace, whether it lives.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use super::fork::Kept;
use super::word::Owner;
use crate::error::{Error, Kind, Result};

/// Processes that can be attached to one cohort at a time.
pub(super) const SLOTS: u32 = 1024;
/// Where the bytes that stand for slots are locked: behind anything that could ever be in the file.
const SLOT_BYTES: i64 = 1 << 40;

/// An attached process. Written by who has locked its byte.
#[repr(C)]
pub(super) struct Slot {
    pub(super) incarnation: AtomicU32,
    /// For people: as the process sees itself.
    pub(super) pid: AtomicU32,
}

/// Locks the byte of the first free slot and makes the slot ours.
pub(super) fn claim(file: &Kept, slots: &[Slot], path: &std::path::Path) -> Result<Owner> {
    for (slot, entry) in (0u32..).zip(slots) {
        let locked = lock_byte(file, slot).map_err(|e| Error::io("cannot lock a slot", path, e))?;
        if locked {
            entry.pid.store(std::process::id(), Ordering::Relaxed);
            let incarnation = entry.incarnation.fetch_add(1, Ordering::AcqRel).wrapping_add(1);
            return Ok(Owner::new(slot, incarnation));
        }
    }
    Err(Error::new(Kind::LockTimeout, format!("{SLOTS} processes are attached to this cohort already"))
        .at(path)
        .advise("nothing was written; let some of them end"))
}

pub(super) fn byte(slot: u32, kind: libc::c_int) -> libc::flock {
    // SAFETY: a struct of integers, for which zeros are valid.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind as libc::c_short;
    range.l_whence = libc::SEEK_SET as libc::c_short;
    range.l_start = (SLOT_BYTES + i64::from(slot)) as libc::off_t;
    range.l_len = 1;
    range
}

/// Locks a slot's byte for the open file description; `false` if somebody else has it.
fn lock_byte(file: &Kept, slot: u32) -> std::io::Result<bool> {
    let Some(file) = file.file() else { return Ok(false) };
    let range = byte(slot, libc::F_WRLCK);
    // SAFETY: the descriptor is open as long as `file` lives; the struct is ours.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) } {
        0 => Ok(true),
        _ => match std::io::Error::last_os_error() {
            e if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            e => Err(e),
        },
    }
}

pub(super) fn unlock_byte(file: &Kept, slot: u32) {
    let Some(file) = file.file() else { return };
    let range = byte(slot, libc::F_UNLCK);
    // SAFETY: as for `lock_byte`. The call fails only for a bad descriptor, which this is not.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
}

/// How many slots are locked by other open file descriptions. Only those that somebody has ever had are asked about.
pub(super) fn count_locked(file: &File, slots: &[Slot]) -> std::io::Result<u64> {
    let used = (0u32..).zip(slots).filter(|(_, entry)| entry.incarnation.load(Ordering::Relaxed) != 0);
    used.map(|(slot, _)| is_byte_locked(file, slot).map(u64::from)).sum()
}

/// Whether another open file description has locked a slot's byte.
pub(super) fn is_locked(file: &Kept, slot: u32) -> std::io::Result<bool> {
    let Some(file) = file.file() else { return Ok(true) };
    is_byte_locked(file, slot)
}

fn is_byte_locked(file: &File, slot: u32) -> std::io::Result<bool> {
    let mut range = byte(slot, libc::F_WRLCK);
    // SAFETY: the descriptor is open as long as `file` lives; the kernel writes into the struct, which is ours.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) } {
        0 => Ok(range.l_type != libc::F_UNLCK as libc::c_short),
        _ => Err(std::io::Error::last_os_error()),
    }
}
