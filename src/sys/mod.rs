//! The only door to the operating system, and the only place with `unsafe`.
//!
//! Each system-dependent part is a pair of sibling files with one face: `*_unix` or `*_linux` beside `*_portable` or
//! `*_unknown`, which need nothing but std and fs4. `--cfg tallyfold_portable` builds the portable ones anywhere.
#![allow(clippy::disallowed_methods, reason = "this is the door that the list points to")]

#[cfg_attr(all(target_os = "linux", not(tallyfold_portable)), path = "advice_linux.rs")]
#[cfg_attr(not(all(target_os = "linux", not(tallyfold_portable))), path = "advice_none.rs")]
mod advice;
mod atomic;
#[cfg_attr(all(target_os = "linux", not(tallyfold_portable)), path = "boot_linux.rs")]
#[cfg_attr(not(all(target_os = "linux", not(tallyfold_portable))), path = "boot_unknown.rs")]
mod boot;
#[cfg(feature = "cli")]
#[cfg_attr(target_os = "linux", path = "child_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "child_none.rs")]
mod child;
#[cfg_attr(unix, path = "clock_unix.rs")]
#[cfg_attr(not(unix), path = "clock_std.rs")]
mod clock;
#[cfg_attr(test, path = "clock_testing.rs")]
#[cfg_attr(not(test), path = "clock_real.rs")]
mod clock_here;
#[cfg_attr(all(target_os = "linux", not(tallyfold_portable)), path = "control_linux.rs")]
#[cfg_attr(not(all(target_os = "linux", not(tallyfold_portable))), path = "control_none.rs")]
mod control;
mod counters;
#[cfg_attr(all(unix, not(tallyfold_portable)), path = "dir_unix.rs")]
#[cfg_attr(not(all(unix, not(tallyfold_portable))), path = "dir_portable.rs")]
mod dir;
mod ends;
#[cfg_attr(unix, path = "exclusion_unix.rs")]
#[cfg_attr(not(unix), path = "exclusion_none.rs")]
mod exclusion;
mod file;
#[cfg_attr(unix, path = "fork_unix.rs")]
#[cfg_attr(not(unix), path = "fork_none.rs")]
mod fork;
#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
#[path = "futex_linux.rs"]
mod futex;
#[cfg_attr(target_os = "linux", path = "holder_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "holder_unknown.rs")]
mod holder;
#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
#[path = "layout_linux.rs"]
mod layout;
mod lock;
mod map;
#[cfg_attr(all(target_os = "linux", not(tallyfold_portable)), path = "mount_linux.rs")]
#[cfg_attr(not(all(target_os = "linux", not(tallyfold_portable))), path = "mount_unknown.rs")]
mod mount;
#[cfg(feature = "cli")]
mod numbers;
#[cfg(feature = "cli")]
#[cfg_attr(unix, path = "pipe_unix.rs")]
#[cfg_attr(not(unix), path = "pipe_none.rs")]
mod pipe;
mod plain;
#[cfg_attr(unix, path = "plain_unix.rs")]
#[cfg_attr(not(unix), path = "plain_none.rs")]
mod plain_here;
#[cfg(feature = "cli")]
#[cfg_attr(all(target_os = "linux", not(tallyfold_portable)), path = "probe_linux.rs")]
#[cfg_attr(not(all(target_os = "linux", not(tallyfold_portable))), path = "probe_unknown.rs")]
mod probe;
#[cfg_attr(all(target_os = "linux", not(tallyfold_portable)), path = "queue_linux.rs")]
#[cfg_attr(not(all(target_os = "linux", not(tallyfold_portable))), path = "queue_none.rs")]
mod queue;
mod seam;
#[cfg_attr(all(test, unix), path = "seam_testing.rs")]
#[cfg_attr(not(all(test, unix)), path = "seam_none.rs")]
mod seam_here;
#[cfg_attr(all(target_os = "linux", not(tallyfold_portable)), path = "shared_linux.rs")]
#[cfg_attr(not(all(target_os = "linux", not(tallyfold_portable))), path = "shared_none.rs")]
mod shared;
#[cfg(feature = "cli")]
#[cfg_attr(unix, path = "signal_unix.rs")]
#[cfg_attr(not(unix), path = "signal_none.rs")]
mod signal;
#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
#[path = "slots_linux.rs"]
mod slots;
#[cfg_attr(test, path = "step_testing.rs")]
#[cfg_attr(not(test), path = "step_none.rs")]
mod step;
mod temporary;
#[cfg_attr(unix, path = "thread_unix.rs")]
#[cfg_attr(not(unix), path = "thread_none.rs")]
mod thread;
mod turn;
#[cfg(all(target_os = "linux", not(tallyfold_portable)))]
mod word;

#[cfg(all(test, unix))]
mod testing;

pub(crate) use boot::boot_id;
#[cfg(feature = "cli")]
pub use child::end_with_parent;
#[cfg(all(test, unix))]
pub(crate) use clock_here::set_clock;
pub(crate) use clock_here::wall_clock_us;
pub(crate) use control::{Control, Owned, prepare as prepare_control, read_counters};
pub(crate) use counters::{Counts, Held, Stripe, count};
pub(crate) use dir::{Dir, page_size};
pub(crate) use ends::End;
pub(crate) use exclusion::{Answer, ask_another_process};
pub(crate) use file::{File, ShortWrite};
pub(crate) use fork::PerProcess;
pub(crate) use lock::{LockFile, Locked, Patience};
pub(crate) use map::Mapping;
pub(crate) use mount::file_system;
#[cfg(feature = "cli")]
pub use numbers::SharedNumbers;
#[cfg(feature = "cli")]
pub use pipe::output_is_closed;
pub(crate) use plain::{Target, list, make_parents, read_whole, remove as remove_plain};
#[cfg(feature = "cli")]
pub(crate) use probe::{
    Clocks, attached, clock_tick, clocks, file_size_limit, forget_cached, initial_pid_namespace, kernel,
    most_mappings, most_open_files, mount, space,
};
#[cfg(all(test, unix))]
pub(crate) use seam_here::{Event, Fault, Watch, adopt_control, fail_sync, pretend_boot};
pub(crate) use shared::Window;
#[cfg(feature = "cli")]
pub use signal::ignore_file_size_signal;
#[cfg(all(test, unix))]
pub(crate) use step::at_step;
pub(crate) use step::reached;
pub(crate) use temporary::Temporary;
#[cfg(all(test, target_os = "linux", not(tallyfold_portable)))]
pub(crate) use testing::{Forked, stop_self};
#[cfg(all(test, unix))]
pub(crate) use testing::{Pipe, fork_and_linger, in_forked_child, kill_self};
pub(crate) use thread::{at_exit, spawn_quietly};
pub(crate) use turn::Wanted;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// What a file system is to us: whether `flock` on it excludes every process that can reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub(crate) name: String,
    pub(crate) reach: Reach,
    /// Whether processes can share memory through a file on it that is written without fear of SIGBUS: what `fallocate` has
    /// reserved can be stored to, whatever else fills the disk.
    pub(crate) shares_memory: bool,
}

/// How a file system is mounted: on Linux a line of `/proc/self/mountinfo`, see proc_pid_mountinfo(5).
#[cfg(feature = "cli")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: String,
    pub(crate) device: String,
    pub(crate) point: String,
    /// Those of the mount, and then those of the file system.
    pub(crate) options: Vec<String>,
}

#[cfg(feature = "cli")]
impl Mount {
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }
}

/// What is free on a file system for this user, and what there is.
#[cfg(feature = "cli")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    pub(crate) free_bytes: u64,
    pub(crate) bytes: u64,
    pub(crate) free_inodes: u64,
    /// 0 where inodes are made as they are needed.
    pub(crate) inodes: u64,
}

/// Who can write to a file system at the same time as we do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Processes of this kernel only.
    #[cfg_attr(
        any(not(target_os = "linux"), tallyfold_portable),
        allow(dead_code, reason = "nobody tells there")
    )]
    Local,
    /// Perhaps other hosts too, whose locks this kernel may not see.
    Network,
    /// Nobody told us.
    Unknown,
}

/// How many names a file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Exactly one: a second name would be a way around our locks.
    One,
    /// The two snapshots and their temporary file may share an inode while one replaces the other.
    Several,
}

/// 64 unpredictable bits for salts, ids and temporary names. std seeds `RandomState` from the system once per thread, and a
/// forked child inherits that seed: so the process, a counter and the time go in as well.
pub(crate) fn random_u64() -> u64 {
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_u64(DRAWN.fetch_add(1, Ordering::Relaxed));
    hasher.write_i64(wall_clock_us());
    hasher.finish()
}
