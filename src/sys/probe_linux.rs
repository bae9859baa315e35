//! What the system tells of itself: where a directory is mounted, what is free, what is allowed, what time it is.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use rustix::fs::Advice;
use rustix::time::{ClockId, Timespec};

use super::slots::{SLOTS, byte};
use super::{Dir, File, Mount, Names, Space};
use crate::error::{Error, Result};
use crate::names;

/// The mount that a directory is reached through; `None` if the system does not tell.
pub(crate) fn mount(dir: &Dir) -> Option<Mount> {
    let of = format!("/proc/self/fdinfo/{}", dir.descriptor().as_raw_fd());
    let told = std::fs::read_to_string(of).ok()?;
    let id = told.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    mount_in(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, id)
}

/// Lines read `36 35 98:0 /from /mnt/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn mount_in(mountinfo: &str, id: &str) -> Option<Mount> {
    let line = mountinfo.lines().find(|line| line.split(' ').next() == Some(id))?;
    let (mount, system) = line.split_once(" - ")?;
    let (mount, system): (Vec<&str>, Vec<&str>) = (mount.split(' ').collect(), system.split(' ').collect());
    let ([kind, device, of_system], Some(point), Some(of_mount)) = (&system[..], mount.get(4), mount.get(5))
    else {
        return None;
    };
    let mut options: Vec<String> = of_mount.split(',').map(plain).collect();
    for option in of_system.split(',').map(plain) {
        // `rw` of the file system below a mount that is `ro` says nothing.
        if !options.contains(&option) && option != "rw" {
            options.push(option);
        }
    }
    Some(Mount { kind: plain(kind), device: plain(device), point: plain(point), options })
}

/// Spaces, tabs, newlines and backslashes are written as `\040` and so on.
fn plain(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = (*first == b'\\').then(|| tail.get(..3)).flatten();
        match escaped.and_then(|octal| u8::from_str_radix(std::str::from_utf8(octal).ok()?, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is free where a directory is.
pub(crate) fn space(dir: &Dir) -> Result<Space> {
    let stat = rustix::fs::fstatvfs(dir.descriptor())
        .map_err(|e| Error::io("cannot ask for the free space", dir.path(), e.into()))?;
    Ok(Space {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_inodes: stat.f_favail,
        inodes: stat.f_files,
    })
}

/// The kernel's release, such as `6.1.0-18-amd64`.
pub(crate) fn kernel() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_string())
}

/// How many files this process may have open.
pub(crate) fn most_open_files() -> Option<u64> {
    limit(libc::RLIMIT_NOFILE)
}

/// How long a file may become that this process writes.
pub(crate) fn file_size_limit() -> Option<u64> {
    limit(libc::RLIMIT_FSIZE)
}

/// `None`: there is none.
fn limit(of: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the struct is ours.
    let asked = unsafe { libc::getrlimit(of, &raw mut limit) };
    (asked == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// How many mappings a process may have.
pub(crate) fn most_mappings() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Whether this process sees all processes of the system. The first namespace has a number of its own (linux/proc_ns.h).
pub(crate) fn initial_pid_namespace() -> Option<bool> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_str()? == "pid:[4026531836]")
}

/// Three clocks, read one directly after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// Since 1970; negative before.
    pub(crate) wall_ns: i128,
    pub(crate) monotonic: Duration,
}

pub(crate) fn clocks() -> Clocks {
    let wall = rustix::time::clock_gettime(ClockId::Realtime);
    let monotonic = rustix::time::clock_gettime(ClockId::Monotonic);
    Clocks {
        wall_ns: i128::from(wall.tv_sec) * 1_000_000_000 + i128::from(wall.tv_nsec),
        monotonic: duration(monotonic),
    }
}

/// The smallest step of the wall clock.
pub(crate) fn clock_tick() -> Duration {
    duration(rustix::time::clock_getres(ClockId::Realtime))
}

fn duration(time: Timespec) -> Duration {
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Asks the kernel to forget what it has in memory of a synced file, so that the next read comes from where it is kept. It may
/// decline.
pub(crate) fn forget_cached(file: &File) {
    let _ = rustix::fs::fadvise(file.inner().as_fd(), 0, None, Advice::DontNeed);
}

/// How many processes (or handles) are attached to the cohort in a directory by shared memory; `None` if there is no telling.
pub(crate) fn attached(dir: &Dir) -> Option<u32> {
    let control = dir.open_read(names::CONTROL, Names::One).ok()?;
    let mut attached = 0;
    for slot in 0..SLOTS {
        let mut range = byte(slot, libc::F_WRLCK);
        // SAFETY: the descriptor is open as long as `control` lives; the kernel writes into the struct, which is ours.
        let asked = unsafe { libc::fcntl(control.inner().as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) };
        if asked != 0 {
            return None;
        }
        attached += u32::from(range.l_type != libc::F_UNLCK as libc::c_short);
    }
    Some(attached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_number_with_both_kinds_of_options() {
        let mountinfo = "3 1 98:0 / / rw - ext4 /dev/a rw\n\
                         36 35 98:0 /from /mnt/a\\040b ro,noatime master:1 shared:7 - nfs4 host:/x\\134y rw,nolock\n";
        let mount = mount_in(mountinfo, "36").unwrap();
        assert_eq!((&*mount.kind, &*mount.device, &*mount.point), ("nfs4", r"host:/x\y", "/mnt/a b"));
        assert_eq!(mount.options, ["ro", "noatime", "nolock"]);
        assert!(mount.has("nolock") && !mount.has("lock"));
        assert_eq!(mount_in(mountinfo, "6"), None);
    }

    #[test]
    fn this_system_tells_of_itself() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Dir::open(dir.path()).unwrap();
        let space = space(&dir).unwrap();
        assert!(space.free_bytes <= space.bytes && space.free_inodes <= space.inodes, "{space:?}");
        let (first, second) = (clocks(), clocks());
        assert!(second.monotonic >= first.monotonic && clock_tick() < Duration::from_secs(1));
        assert!(kernel().is_some_and(|release| release.contains('.')));
        let mount = mount(&dir).unwrap();
        assert!(mount.point.starts_with('/') && !mount.kind.is_empty(), "{mount:?}");
    }
}
